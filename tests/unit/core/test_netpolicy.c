/* SPDX-License-Identifier: Apache-2.0 */
/* test_netpolicy.c - what callbacks may reach: the vectors of URLs, addresses, ports and
 * metadata services under the default policy, every setting, own listeners, spellings of
 * random addresses, and each allocation failed in turn. */
#include "core/netpolicy.h"

#include "vectors.h"

/* ---- each allocation fails in turn (linked with --wrap=calloc) ---- */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

static int calls_left = -1; /* the call that fails; -1: none */

void *__wrap_calloc(size_t n, size_t size)
{
    if (calls_left == 0)
        return NULL;
    if (calls_left > 0)
        calls_left--;
    return __real_calloc(n, size);
}

/* ---- makers ---- */

static const rbk_netpolicy_conf defaults = {.schemes = {"https,wss", 9}};

static rbk_netpolicy *policy_of(rbk_netpolicy_conf conf, const rbk_own_listener *own, size_t n)
{
    rbk_netpolicy *p = NULL;
    rbk_error err = {0};
    if (conf.schemes.n == 0)
        conf.schemes = defaults.schemes;
    if (rbk_netpolicy_new(&conf, own, n, &p, &err) < 0)
        fail_msg("%s", err.detail);
    return p;
}

static rbk_dsn_fault judge(const rbk_netpolicy *p, const char *text)
{
    rbk_dsn d;
    return rbk_netpolicy_check(p, rbk_str_z(text), &d);
}

static void expect(const rbk_netpolicy *p, const char *text, rbk_dsn_fault want)
{
    rbk_dsn_fault f = judge(p, text);
    if (f != want)
        fail_msg("%s: fault %d, not %d", text, f, want);
}

/* The address as text, on port 443. */
static bool addr_ok_at(const rbk_netpolicy *p, const char *text, uint16_t port)
{
    uint8_t a[16];
    if (rbk_parse_ipv4(rbk_str_z(text), a) == 0)
        return rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, a, port);
    assert_int_equal(rbk_parse_ipv6(rbk_str_z(text), a), 0);
    return rbk_netpolicy_addr_ok(p, RBK_HOST_IPV6, a, port);
}

static bool addr_ok(const rbk_netpolicy *p, const char *text)
{
    return addr_ok_at(p, text, 443);
}

static rbk_own_listener listener(const char *text, uint16_t port)
{
    rbk_own_listener l = {.port = port};
    l.kind = rbk_parse_ipv4(rbk_str_z(text), l.addr) == 0 ? RBK_HOST_IPV4 : RBK_HOST_IPV6;
    if (l.kind == RBK_HOST_IPV6)
        assert_int_equal(rbk_parse_ipv6(rbk_str_z(text), l.addr), 0);
    return l;
}

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
    rbk_netpolicy_free(p);
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
    rbk_netpolicy_free(p);
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
    rbk_netpolicy_free(p);
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
    rbk_netpolicy_free(p);
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
    rbk_netpolicy_free(p);
    yyjson_doc_free(doc);
}

/* ---- settings ---- */

/* The first fault in the documented order is the one that is told. */
static void checks_in_order(void **state)
{
    (void)state;
    rbk_netpolicy *p = policy_of((rbk_netpolicy_conf){.hosts = RBK_STR("**.example.com,10.*.*.*")},
                                 NULL, 0);
    expect(p, "http://u@localhost:1/#x", RBK_DSN_PROTOCOL);
    expect(p, "https://u@localhost:1/", RBK_DSN_USERINFO);
    expect(p, "https://localhost:1/", RBK_DSN_PORT);
    expect(p, "https://127.0.0.1/", RBK_DSN_HOST);
    expect(p, "https://10.0.0.1/", RBK_DSN_ADDRESS);
    expect(p, "https://8.8.8.8/", RBK_DSN_HOST);
    expect(p, "https://a.b.example.com/", RBK_DSN_OK);
    rbk_netpolicy_free(p);
}

static void keeps_schemes(void **state)
{
    (void)state;
    rbk_netpolicy *p = policy_of((rbk_netpolicy_conf){.schemes = RBK_STR(" WSS , x.y-z+1")}, NULL, 0);
    assert_true(rbk_str_eqz(rbk_netpolicy_schemes(p), "wss,x.y-z+1"));
    expect(p, "wss://example.com/", RBK_DSN_OK);
    expect(p, "https://example.com/", RBK_DSN_PROTOCOL);
    expect(p, "x.y-z+1://example.com:443/", RBK_DSN_OK);
    expect(p, "x.y-z+1://example.com/", RBK_DSN_PORT); /* it has no default port */
    rbk_netpolicy_free(p);
}

static void matches_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *globs, *host;
        bool ok;
    } rows[] = {
        {"example.com", "example.com", true},
        {"example.com", "EXAMPLE.com.", true},
        {"EXAMPLE.com.", "example.com", true},
        {"example.com", "a.example.com", false},
        {"example.com", "xexample.com", false},
        {"example.com", "example.co", false},
        {"a.b, c.d", "c.d", true},
        {"*.example.com", "a.example.com", true},
        {"*.example.com", "a.b.example.com", false},
        {"*.example.com", "example.com", false},
        {"a*c.example.com", "ac.example.com", true},
        {"a*c.example.com", "abbc.example.com", true},
        {"a*c.example.com", "ab.c.example.com", false},
        {"hook-*-*.example.com", "hook-a-b.example.com", true},
        {"hook-*-*.example.com", "hook-a.example.com", false},
        {"*.*.com", "a.b.com", true},
        {"example.*", "example.com", true},
        {"**.example.com", "a.example.com", true},
        {"**.example.com", "a.b.c.example.com", true},
        {"**.example.com", "example.com", false},
        {"**example.com", "example.com", true},
        {"a.**.com", "a.b.c.com", true},
        {"a.**.com", "a.com", false},
        {"**", "a.b.c.d", true},
        {"**", "8.8.8.8", true},
        {"8.8.*.8", "8.8.8.8", true},
        {"8.8.*", "8.8.8.8", false},
        {"*", "[2001:4860::1]", true},
        {"2001:4860:0::1", "[2001:4860::1]", true},
        {"[2001:4860::1]", "[2001:4860::1]", true},
        {"2001:4860::1", "[2001:4860::2]", false},
        {"**a**a**a**a**a**a**b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char url[300];
        rbk_netpolicy *p =
            policy_of((rbk_netpolicy_conf){.hosts = rbk_str_z(rows[i].globs)}, NULL, 0);
        snprintf(url, sizeof url, "https://%s/", rows[i].host);
        expect(p, url, rows[i].ok ? RBK_DSN_OK : RBK_DSN_HOST);
        rbk_netpolicy_free(p);
    }
}

/* A glob opens a special-use name when it spells out what makes it special. */
static void opens_special_names_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *globs, *host;
        bool ok;
    } rows[] = {
        {"localhost", "localhost", true},
        {"LOCALHOST.", "localhost.", true},
        {"local*", "localhost", false},
        {"*", "intranet", false},
        {"**", "localhost", false},
        {"**", "a.internal", false},
        {"a.*", "a.internal", false},
        {"receiver", "receiver", true},
        {"*.localhost", "a.localhost", true},
        {"*.internal", "a.internal", true},
        {"**.internal", "a.b.internal", true},
        {"**.corp.internal", "a.corp.internal", true},
        {"**internal", "a.internal", false},
        {"*.internal", "metadata.google.internal", false},
        {"**.internal", "metadata.google.internal", false},
        {"metadata.google.internal", "metadata.google.internal", true},
        {"*.amazonaws.com", "s3.amazonaws.com", true},
        {"*.amazonaws.com", "metadata.amazonaws.com", false},
        {"**", "a.metadata.goog", false},
        {"x.local,**", "y.local", false},
        {"x.local,**", "x.local", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char url[300];
        rbk_netpolicy *p =
            policy_of((rbk_netpolicy_conf){.hosts = rbk_str_z(rows[i].globs)}, NULL, 0);
        snprintf(url, sizeof url, "https://%s/", rows[i].host);
        expect(p, url, rows[i].ok ? RBK_DSN_OK : RBK_DSN_HOST);
        rbk_netpolicy_free(p);
    }
    /* It opens the name, not the address. */
    rbk_netpolicy *p = policy_of((rbk_netpolicy_conf){.hosts = RBK_STR("127.0.0.1")}, NULL, 0);
    expect(p, "https://127.0.0.1/", RBK_DSN_ADDRESS);
    rbk_netpolicy_free(p);
    /* A name that only looks like one. */
    p = policy_of(defaults, NULL, 0);
    expect(p, "https://notlocal.example.com/", RBK_DSN_OK);
    expect(p, "https://internal.example/", RBK_DSN_OK);
    expect(p, "https://xn--internal/", RBK_DSN_HOST);
    expect(p, "https://a.notinternal/", RBK_DSN_OK);
    rbk_netpolicy_free(p);
}

static void allows_and_denies(void **state)
{
    (void)state;
    rbk_netpolicy *p = policy_of(
        (rbk_netpolicy_conf){
            .allow = RBK_STR("10.0.0.0/8, 192.168.4.0/22,127.0.0.1 ,fd00:1::/32,::1,64:ff9b::/97"),
            .deny = RBK_STR("10.1.0.0/16,8.8.8.8,2a00::/12,fd00:1:2::/48"),
        },
        NULL, 0);
    static const struct {
        const char *addr;
        bool ok;
    } rows[] = {
        {"10.0.0.0", true},        {"10.255.255.255", true},  {"11.0.0.1", true},
        {"10.1.0.1", false},       {"10.2.0.1", true},        {"192.168.3.255", false},
        {"192.168.4.0", true},     {"192.168.7.255", true},   {"192.168.8.0", false},
        {"127.0.0.1", true},       {"127.0.0.2", false},      {"8.8.8.8", false},
        {"8.8.8.9", true},         {"fd00:1::1", true},       {"fd00:2::1", false},
        {"fd00:1:2::1", false},    {"fd00:1:3::", true},      {"::1", true},
        {"::2", false},            {"2a00::1", false},        {"2a0f::1", false},
        {"2a10::1", true},         {"64:ff9b::1.2.3.4", true}, {"64:ff9b::129.2.3.4", false},
        /* mapped: judged as IPv4 by both lists, and else refused */
        {"::ffff:10.0.0.1", true}, {"::ffff:10.1.0.1", false}, {"::ffff:8.8.8.8", false},
        {"::ffff:8.8.8.9", false}, {"::ffff:127.0.0.1", true}, {"::ffff:127.0.0.2", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (addr_ok(p, rows[i].addr) != rows[i].ok)
            fail_msg("%s is not %s", rows[i].addr, rows[i].ok ? "allowed" : "refused");
    expect(p, "https://10.0.0.1/", RBK_DSN_OK);
    expect(p, "https://10.1.0.1/", RBK_DSN_ADDRESS);
    expect(p, "https://[::ffff:10.0.0.1]/", RBK_DSN_OK);
    rbk_netpolicy_free(p);

    p = policy_of((rbk_netpolicy_conf){.allow = RBK_STR("0.0.0.0/0,::/0"), .deny = RBK_STR("::/0")},
                  NULL, 0);
    assert_true(addr_ok(p, "127.0.0.1"));
    assert_false(addr_ok(p, "2a00::1"));
    assert_false(addr_ok(p, "::ffff:127.0.0.1"));
    rbk_netpolicy_free(p);
}

static void takes_ports_as_given(void **state)
{
    (void)state;
    rbk_netpolicy *p = policy_of((rbk_netpolicy_conf){.ports = RBK_STR("22, 80-81,65535")}, NULL, 0);
    expect(p, "https://a.b/", RBK_DSN_PORT);
    expect(p, "https://a.b:21/", RBK_DSN_PORT);
    expect(p, "https://a.b:22/", RBK_DSN_OK);
    expect(p, "https://a.b:23/", RBK_DSN_PORT);
    expect(p, "https://a.b:79/", RBK_DSN_PORT);
    expect(p, "https://a.b:80/", RBK_DSN_OK);
    expect(p, "https://a.b:81/", RBK_DSN_OK);
    expect(p, "https://a.b:82/", RBK_DSN_PORT);
    expect(p, "https://a.b:65535/", RBK_DSN_OK);
    expect(p, "https://a.b:65534/", RBK_DSN_PORT);
    rbk_netpolicy_free(p);
}

/* What is configured wrongly is named, with its key; nothing is built. */
static void refuses_bad_settings(void **state)
{
    (void)state;
    static char many[2 * 1100 + 1], longest[256], schemes[200];
    for (size_t i = 0; i + 1 < sizeof many; i += 2)
        memcpy(many + i, "1,", 2);
    memset(longest, 'a', 254);
    for (size_t i = 0; i < 180; i += 10)
        memcpy(schemes + i, "abcdefghi,", 11);
    const struct {
        rbk_netpolicy_conf conf;
        const char *key, *item;
    } rows[] = {
        {{.schemes = RBK_STR("https,http")}, "callback.schemes", "http"},
        {{.schemes = RBK_STR("HTTP")}, "callback.schemes", "HTTP"},
        {{.schemes = RBK_STR("ws")}, "callback.schemes", "ws"},
        {{.schemes = RBK_STR("1https")}, "callback.schemes", "1https"},
        {{.schemes = RBK_STR("ht tps")}, "callback.schemes", "ht tps"},
        {{.schemes = RBK_STR("a\0b")}, "callback.schemes", "a"},
        {{.schemes = RBK_STR("https:")}, "callback.schemes", "https:"},
        {{.schemes = RBK_STR("http{s")}, "callback.schemes", "http{s"},
        {{.schemes = RBK_STR("https,,wss")}, "callback.schemes", ""},
        {{.schemes = RBK_STR("abcdefghijklmnop")}, "callback.schemes", "abcdefghijklmnop"},
        {{.schemes = rbk_str_z(schemes)}, "callback.schemes", "abcdefghi"},
        {{.schemes = RBK_STR("  ")}, "callback.schemes", ""},
        {{.hosts = RBK_STR("a.b,https://c.d/")}, "callback.hosts", "https://c.d/"},
        {{.hosts = RBK_STR("a.b:443")}, "callback.hosts", "a.b:443"},
        {{.hosts = RBK_STR("a..b")}, "callback.hosts", "a..b"},
        {{.hosts = RBK_STR(".a.b")}, "callback.hosts", ".a.b"},
        {{.hosts = RBK_STR(".")}, "callback.hosts", "."},
        {{.hosts = RBK_STR("a.{b}")}, "callback.hosts", "a.{b}"},
        {{.hosts = RBK_STR("a b")}, "callback.hosts", "a b"},
        {{.hosts = RBK_STR("b\xc3\xbc")}, "callback.hosts", "b"},
        {{.hosts = RBK_STR("a\0b")}, "callback.hosts", "a"},
        {{.hosts = RBK_STR(",")}, "callback.hosts", ""},
        {{.hosts = RBK_STR("[a]")}, "callback.hosts", "[a]"},
        {{.hosts = RBK_STR("[::1")}, "callback.hosts", "[::1"},
        {{.hosts = RBK_STR("[]")}, "callback.hosts", "[]"},
        {{.hosts = rbk_str_z(longest)}, "callback.hosts", ""},
        {{.hosts = rbk_str_z(many)}, "callback.hosts", ""},
        {{.allow = RBK_STR("10.0.0.0/33")}, "callback.allow", "10.0.0.0/33"},
        {{.allow = RBK_STR("10.0.0.0/")}, "callback.allow", "10.0.0.0/"},
        {{.allow = RBK_STR("10.0.0.0/8x")}, "callback.allow", "10.0.0.0/8x"},
        {{.allow = RBK_STR("10.0.0/8")}, "callback.allow", "10.0.0/8"},
        {{.allow = RBK_STR("10.0.0.1/8")}, "callback.allow", "10.0.0.1/8"},
        {{.allow = RBK_STR("192.168.5.0/22")}, "callback.allow", "192.168.5.0/22"},
        {{.allow = RBK_STR("::/129")}, "callback.allow", "::/129"},
        {{.allow = RBK_STR("fd00::1/64")}, "callback.allow", "fd00::1/64"},
        {{.allow = RBK_STR("::ffff:10.0.0.0/104")}, "callback.allow", "::ffff:10.0.0.0/104"},
        {{.allow = RBK_STR("localhost")}, "callback.allow", "localhost"},
        {{.allow = RBK_STR(",")}, "callback.allow", ""},
        {{.deny = RBK_STR("10.0.0.0/8,x")}, "callback.deny", "x"},
        {{.deny = rbk_str_z(many)}, "callback.deny", ""},
        {{.ports = RBK_STR("0")}, "callback.ports", "0"},
        {{.ports = RBK_STR("443,65536")}, "callback.ports", "65536"},
        {{.ports = RBK_STR("20-10")}, "callback.ports", "20-10"},
        {{.ports = RBK_STR("10-")}, "callback.ports", "10-"},
        {{.ports = RBK_STR("-10")}, "callback.ports", "-10"},
        {{.ports = RBK_STR("1-2-3")}, "callback.ports", "1-2-3"},
        {{.ports = RBK_STR("https")}, "callback.ports", "https"},
        {{.ports = RBK_STR(",")}, "callback.ports", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rbk_netpolicy_conf conf = rows[i].conf;
        rbk_netpolicy *p = NULL;
        rbk_error err = {0};
        if (conf.schemes.n == 0)
            conf.schemes = defaults.schemes;
        if (rbk_netpolicy_new(&conf, NULL, 0, &p, &err) != RBK_E_CONFIG)
            fail_msg("row %zu (%s %s) was taken", i, rows[i].key, rows[i].item);
        assert_null(p);
        if (strstr(err.detail, rows[i].key) != err.detail || !strstr(err.detail, rows[i].item))
            fail_msg("row %zu: \"%s\"", i, err.detail);
        assert_int_equal(rbk_netpolicy_new(&conf, NULL, 0, &p, NULL), RBK_E_CONFIG);
    }
    /* As many items as there may be. */
    many[2 * 1024] = 0;
    rbk_netpolicy_free(policy_of((rbk_netpolicy_conf){.hosts = rbk_str_z(many)}, NULL, 0));
}

/* ---- own listeners ---- */

static void refuses_itself(void **state)
{
    (void)state;
    rbk_netpolicy_conf all = {.allow = RBK_STR("0.0.0.0/0,::/0"), .ports = RBK_STR("1-65535")};
    const rbk_own_listener own[] = {
        listener("127.0.0.1", 7601), listener("0.0.0.0", 7600), listener("203.0.113.7", 443),
        listener("2001:4860::7", 443), listener("::", 7602), listener("::ffff:10.0.0.1", 7603),
    };
    static const struct {
        const char *addr;
        uint16_t port;
        bool ok;
    } rows[] = {
        /* one loopback address; the unspecified ones end there as well */
        {"127.0.0.1", 7601, false}, {"::ffff:127.0.0.1", 7601, false}, {"127.0.0.2", 7601, true},
        {"::1", 7601, true}, {"0.0.0.0", 7601, false}, {"::", 7601, false}, {"127.0.0.1", 7604, true},
        {"0.0.0.0", 7604, true},
        /* any address: all of loopback, and the unspecified ones, of both families */
        {"127.0.0.1", 7600, false}, {"127.9.9.9", 7600, false}, {"0.0.0.0", 7600, false},
        {"::1", 7600, false}, {"::", 7600, false}, {"::ffff:0.0.0.0", 7600, false},
        {"::ffff:127.1.1.1", 7600, false}, {"10.0.0.1", 7600, true}, {"::2", 7600, true},
        {"127.0.0.1", 7602, false}, {"::1", 7602, false}, {"0.0.0.0", 7602, false},
        {"10.0.0.1", 7602, true},
        /* one address of this machine */
        {"203.0.113.7", 443, false}, {"203.0.113.7", 444, true}, {"203.0.113.8", 443, true},
        {"::ffff:203.0.113.7", 443, false}, {"2001:4860::7", 443, false},
        {"2001:4860::7", 444, true}, {"2001:4860::8", 443, true}, {"0.0.0.0", 443, true},
        {"10.0.0.1", 7603, false}, {"::ffff:10.0.0.1", 7603, false},
    };
    rbk_netpolicy *p = policy_of(all, own, sizeof own / sizeof *own);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (addr_ok_at(p, rows[i].addr, rows[i].port) != rows[i].ok)
            fail_msg("%s port %u is not %s", rows[i].addr, rows[i].port,
                     rows[i].ok ? "allowed" : "refused");
    expect(p, "https://127.0.0.1:7601/", RBK_DSN_ADDRESS);
    expect(p, "https://[::1]:7600/", RBK_DSN_ADDRESS);
    expect(p, "https://203.0.113.7/", RBK_DSN_ADDRESS);
    expect(p, "https://127.0.0.1:7604/", RBK_DSN_OK);
    rbk_netpolicy_free(p);
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
    rbk_netpolicy_free(p);
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
    rbk_netpolicy_free(p);
}

static void survives_lack_of_memory(void **state)
{
    (void)state;
    rbk_netpolicy_conf conf = {.schemes = RBK_STR("https"), .hosts = RBK_STR("a.b"),
                               .allow = RBK_STR("10.0.0.0/8"), .deny = RBK_STR("::1")};
    rbk_own_listener own = listener("127.0.0.1", 1);
    int r = RBK_E_NOMEM, n = 0;
    for (; r == RBK_E_NOMEM; n++) {
        rbk_netpolicy *p = NULL;
        rbk_error err = {0};
        calls_left = n;
        r = rbk_netpolicy_new(&conf, &own, 1, &p, &err);
        calls_left = -1;
        assert_int_equal(r, p ? 0 : RBK_E_NOMEM);
        assert_int_equal(err.code, r);
        rbk_netpolicy_free(p);
    }
    assert_int_equal(n, 6); /* the policy, hosts, allow, deny, own, and then it worked */
    rbk_netpolicy_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_callback_urls),
        cmocka_unit_test(judges_addresses),
        cmocka_unit_test(refuses_every_registered_block),
        cmocka_unit_test(judges_ports),
        cmocka_unit_test(refuses_metadata_services),
        cmocka_unit_test(checks_in_order),
        cmocka_unit_test(keeps_schemes),
        cmocka_unit_test(matches_hosts),
        cmocka_unit_test(opens_special_names_by_name),
        cmocka_unit_test(allows_and_denies),
        cmocka_unit_test(takes_ports_as_given),
        cmocka_unit_test(refuses_bad_settings),
        cmocka_unit_test(refuses_itself),
        cmocka_unit_test(spellings_change_nothing),
        cmocka_unit_test(ipv6_spellings_agree),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
