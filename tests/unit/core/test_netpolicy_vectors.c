/* SPDX-License-Identifier: Apache-2.0 */
/* test_netpolicy_vectors.c - the default policy: the vectors of URLs, addresses, ports and
 * metadata services, and spellings of random addresses. */
#include "netpolicy_rig.h"

/* ---- vectors ---- */

/* May a URL that the vectors refuse at `stage` be refused with this fault? */
static bool fits(rbk_str stage, rbk_dsn_fault f)
{
    if (rbk_str_eqz(stage, "scheme"))
        return f == RBK_DSN_PROTOCOL;
    if (rbk_str_eqz(stage, "parse")) /* "example.com:443" has the scheme "example.com" */
        return f == RBK_DSN_EMPTY || f == RBK_DSN_TOO_LONG || f == RBK_DSN_INVALID ||
               f == RBK_DSN_NO_PROTOCOL || f == RBK_DSN_PROTOCOL;
    if (rbk_str_eqz(stage, "userinfo")) /* with a blank, "\" or "#" it is no URL first */
        return f == RBK_DSN_USERINFO || f == RBK_DSN_INVALID;
    if (rbk_str_eqz(stage, "port"))
        return f == RBK_DSN_PORT || f == RBK_DSN_INVALID;
    if (rbk_str_eqz(stage, "host"))
        return f == RBK_DSN_HOST || f == RBK_DSN_INVALID;
    if (rbk_str_eqz(stage, "ip")) /* other spellings of an IPv4 address are no URL */
        return f == RBK_DSN_ADDRESS || f == RBK_DSN_INVALID;
    return false;
}

/* The rows of stage "dns" are names that resolve to special addresses. Without a lookup
 * nobody can tell, so here they pass; the check of each socket address refuses them. */
static void judges_callback_urls(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open("callback-urls.json");
    rbk_netpolicy *p = policy_of(defaults, NULL, 0);
    yyjson_val *row;
    size_t i, max, dns = 0, allowed = 0, blocked = 0;
    yyjson_arr_foreach(vectors_list(doc, "cases"), i, max, row) {
        rbk_dsn d;
        rbk_str url = vectors_str(row, "url"), stage = vectors_str(row, "stage");
        bool want = rbk_str_eqz(vectors_str(row, "verdict"), "allowed");
        rbk_dsn_fault f = rbk_netpolicy_check(p, url, &d);
        if (rbk_str_eqz(stage, "dns"))
            want = ++dns;
        if (want ? f != RBK_DSN_OK : !fits(stage, f))
            fail_msg("%.*s: fault %d, stage %.*s", RBK_FMT(url), f, RBK_FMT(stage));
        allowed += f == RBK_DSN_OK;
        blocked += f != RBK_DSN_OK;
    }
    print_message("%zu callback URLs: %zu blocked, %zu allowed, %zu of these for DNS to judge\n", max,
                  blocked, allowed, dns);
    assert_int_equal(max, yyjson_get_int(yyjson_obj_get(yyjson_doc_get_root(doc), "count")));
    rbk_netpolicy_unref(p);
    yyjson_doc_free(doc);
}

static void judges_addresses(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open("addresses.json");
    rbk_netpolicy *p = policy_of(defaults, NULL, 0);
    yyjson_val *row;
    size_t i, max;
    yyjson_arr_foreach(vectors_list(doc, "cases"), i, max, row) {
        char url[100];
        const char *text = vectors_str(row, "address").p;
        bool want = rbk_str_eqz(vectors_str(row, "verdict"), "allowed");
        if (addr_ok(p, text) != want)
            fail_msg("%s is not %s", text, want ? "allowed" : "blocked");
        snprintf(url, sizeof url, strchr(text, ':') ? "https://[%s]/" : "https://%s/", text);
        expect(p, url, want ? RBK_DSN_OK : RBK_DSN_ADDRESS);
    }
    rbk_netpolicy_unref(p);
    yyjson_doc_free(doc);
}

/* First and last address of a block. */
static void expect_block_refused(const rbk_netpolicy *p, rbk_str block)
{
    char text[64];
    rbk_own_listener l;
    snprintf(text, sizeof text, "%.*s", RBK_FMT(block));
    char *slash = strchr(text, '/');
    unsigned bits = (unsigned)atoi(slash + 1);
    *slash = 0;
    l = listener(text, 0);
    if (rbk_netpolicy_addr_ok(p, l.kind, l.addr, 443))
        fail_msg("the first of %.*s is allowed", RBK_FMT(block));
    for (unsigned b = bits; b < (l.kind == RBK_HOST_IPV4 ? 32 : 128); b++)
        l.addr[b / 8] |= (uint8_t)(0x80 >> b % 8);
    if (rbk_netpolicy_addr_ok(p, l.kind, l.addr, 443))
        fail_msg("the last of %.*s is allowed", RBK_FMT(block));
}

static void refuses_every_registered_block(void **state)
{
    (void)state;
    static const char *const files[] = {"iana-ipv4-special.json", "iana-ipv6-special.json",
                                        "extra-blocks.json"};
    rbk_netpolicy *p = policy_of(defaults, NULL, 0);
    for (size_t f = 0; f < 3; f++) {
        yyjson_doc *doc = vectors_open(files[f]);
        yyjson_val *row;
        size_t i, max;
        yyjson_arr_foreach(vectors_list(doc, "rows"), i, max, row) {
            rbk_str block = vectors_str(row, "block");
            if (block.p[0] != '!') /* "!2000::/3": see the addresses */
                expect_block_refused(p, block);
        }
        yyjson_doc_free(doc);
    }
    assert_false(addr_ok(p, "2001:4860::5efe:808:808")); /* ISATAP */
    assert_false(addr_ok(p, "2001:4860::200:5efe:7f00:1"));
    assert_true(addr_ok(p, "2001:4860::1:5efe:7f00:1"));
    assert_true(addr_ok(p, "2001:4860:0:0:0:15fe:7f00:1"));
    assert_true(addr_ok(p, "2001:4860:0:0:0:5eff:7f00:1"));
    assert_true(addr_ok(p, "2001:4860:0:0:0100:5efe:7f00:1"));
    rbk_netpolicy_unref(p);
}

static void judges_ports(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open("bad-ports.json");
    rbk_netpolicy *p = policy_of(defaults, NULL, 0);
    static bool bad[65536];
    yyjson_val *v;
    size_t i, max;
    yyjson_arr_foreach(vectors_list(doc, "bad_ports"), i, max, v)
        bad[yyjson_get_int(v)] = true;
    assert_int_equal(max, 82);
    for (unsigned port = 1; port <= 65535; port++) {
        char url[64];
        snprintf(url, sizeof url, "https://example.com:%u/", port);
        expect(p, url, port == 443 || (port >= 1024 && !bad[port]) ? RBK_DSN_OK : RBK_DSN_PORT);
    }
    rbk_netpolicy_unref(p);
    yyjson_doc_free(doc);
}

static void refuses_metadata_services(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open("metadata-endpoints.json");
    rbk_netpolicy *p = policy_of(defaults, NULL, 0);
    yyjson_val *row;
    size_t i, max;
    yyjson_arr_foreach(vectors_list(doc, "endpoints"), i, max, row) {
        char url[512];
        uint8_t a[16];
        rbk_str host = vectors_str(row, "host"), path = vectors_str(row, "path");
        bool v6 = rbk_parse_ipv6(host, a) == 0;
        snprintf(url, sizeof url, v6 ? "https://[%.*s]%.*s" : "https://%.*s%.*s", RBK_FMT(host),
                 RBK_FMT(path));
        rbk_dsn_fault f = judge(p, url);
        if (f != RBK_DSN_HOST && f != RBK_DSN_ADDRESS)
            fail_msg("%s: fault %d", url, f);
    }
    rbk_netpolicy_unref(p);
    yyjson_doc_free(doc);
}

/* ---- properties ---- */

/* `n` spellings of an IPv4 address that some reader somewhere takes for it. */
enum { SPELLINGS = 14 };

static void spell(const uint8_t a[4], int how, char out[80])
{
    unsigned v = (unsigned)a[0] << 24 | (unsigned)a[1] << 16 | (unsigned)a[2] << 8 | a[3];
    static const char *const fmt[SPELLINGS] = {
        [0] = "%u.%u.%u.%u",  [1] = "0%o.0%o.0%o.0%o",  [2] = "0x%x.0x%x.0x%x.0x%x",
        [3] = "0X%02X.%u.%u.%u", [4] = "%03u.%03u.%03u.%03u", [5] = "%u.%u.%u.%u.",
        [6] = "[::ffff:%u.%u.%u.%u]", [7] = "[::%u.%u.%u.%u]", [8] = "[64:ff9b::%u.%u.%u.%u]",
        [9] = "[2002:%02x%02x:%02x%02x::1]", [10] = "[0:0:0:0:0:FFFF:%02X%02X:%02X%02X]",
        [11] = NULL, [12] = NULL, [13] = NULL};
    switch (how) {
    case 11:
        snprintf(out, 80, "%u", v);
        break;
    case 12:
        snprintf(out, 80, "0x%x", v);
        break;
    case 13:
        snprintf(out, 80, "%u.%u", a[0], v & 0xffffff);
        break;
    default:
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(out, 80, fmt[how], a[0], a[1], a[2], a[3]);
#pragma GCC diagnostic pop
    }
}

/* However an address is written: it is refused, or judged as the canonical text is. */
static void spellings_change_nothing(void **state)
{
    (void)state;
    static const uint8_t first[] = {0, 10, 100, 127, 169, 172, 192, 198, 203, 224, 255};
    rbk_netpolicy *p = policy_of(defaults, NULL, 0);
    uint64_t seed = 2026;
    size_t taken = 0;
    for (int i = 0; i < 20000; i++) {
        char text[80], url[128];
        uint64_t r = next_random(&seed);
        uint8_t a[4] = {(uint8_t)(r & 0xff), (uint8_t)(r >> 8 & 0xff), (uint8_t)(r >> 16 & 0xff),
                        (uint8_t)(r >> 24 & 0xff)};
        if (r >> 32 & 1)
            a[0] = first[(r >> 40) % sizeof first];
        bool ok = rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, a, 443);
        for (int how = 0; how < SPELLINGS; how++) {
            rbk_dsn d;
            spell(a, how, text);
            snprintf(url, sizeof url, "https://%s/", text);
            rbk_dsn_fault f = rbk_netpolicy_check(p, rbk_str_z(url), &d);
            if (f != RBK_DSN_OK)
                continue;
            taken++;
            if (!ok || d.kind != RBK_HOST_IPV4 || memcmp(d.addr, a, 4) != 0)
                fail_msg("%s was taken", url);
        }
        spell(a, 0, text);
        snprintf(url, sizeof url, "https://%s/", text);
        assert_int_equal(judge(p, url), ok ? RBK_DSN_OK : RBK_DSN_ADDRESS);
    }
    assert_true(taken > 5000);
    rbk_netpolicy_unref(p);
}

/* IPv6: full, compressed anywhere, any case, zeros in front: always the same verdict. */
static void ipv6_spellings_agree(void **state)
{
    (void)state;
    rbk_netpolicy *p = policy_of(defaults, NULL, 0);
    uint64_t seed = 6;
    for (int i = 0; i < 20000; i++) {
        uint16_t g[8];
        char full[64] = "", url[128], canon[46];
        uint8_t a[16];
        uint64_t r = next_random(&seed);
        for (int k = 0; k < 8; k++) {
            g[k] = (uint16_t)(r >> (k + 8) & 1 ? next_random(&seed) & 0xffff : 0);
            if (k == 0 && r >> 32 & 1)
                g[k] = (uint16_t)(0x2000 | (g[k] & 0x1fff));
            a[2 * k] = (uint8_t)(g[k] >> 8);
            a[2 * k + 1] = (uint8_t)(g[k] & 0xff);
            snprintf(full + strlen(full), sizeof full - strlen(full), "%s%s", k ? ":" : "", "");
            snprintf(full + strlen(full), sizeof full - strlen(full),
                     r >> k & 1 ? "%04X" : "%x", g[k]);
        }
        rbk_dsn_fault want =
            rbk_netpolicy_addr_ok(p, RBK_HOST_IPV6, a, 443) ? RBK_DSN_OK : RBK_DSN_ADDRESS;
        rbk_format_addr(RBK_HOST_IPV6, a, canon);
        snprintf(url, sizeof url, "https://[%s]/", full);
        expect(p, url, want);
        snprintf(url, sizeof url, "https://[%s]/", canon);
        expect(p, url, want);
    }
    rbk_netpolicy_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_callback_urls),
        cmocka_unit_test(judges_addresses),
        cmocka_unit_test(refuses_every_registered_block),
        cmocka_unit_test(judges_ports),
        cmocka_unit_test(refuses_metadata_services),
        cmocka_unit_test(spellings_change_nothing),
        cmocka_unit_test(ipv6_spellings_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
