/* SPDX-License-Identifier: Apache-2.0 */
/* test_dsn_oracle.c - libcurl's URL parser as the judge of ours: of every DSN that we
 * accept, curl sees the same scheme, host, port, path and query, and no more parts.
 * The DSNs are the vectors' URLs, and random changes of them. */
#include "core/dsn.h"

#include <curl/curl.h>

#include "vectors.h"

static void assert_part(CURLU *u, CURLUPart part, unsigned flags, rbk_str want, const char *text)
{
    char *got = NULL;
    CURLUcode r = curl_url_get(u, part, &got, flags);
    if (r != CURLUE_OK && want.p)
        fail_msg("%s: curl has no part %d", text, part);
    if (r == CURLUE_OK && !(got && rbk_str_eqz(want, got)))
        fail_msg("%s: part %d is \"%s\" to curl, not \"%.*s\"", text, part, got, RBK_FMT(want));
    curl_free(got);
}

/* curl gives the host as it stood in the text, for IPv6 with its brackets. */
static void assert_host(CURLU *u, const rbk_dsn *d, const char *text)
{
    char *got = NULL;
    uint8_t addr[16];
    assert_int_equal(curl_url_get(u, CURLUPART_HOST, &got, 0), CURLUE_OK);
    rbk_str host = rbk_str_z(got);
    if (d->kind == RBK_HOST_IPV6) {
        assert_true(host.n > 2 && host.p[0] == '[');
        assert_int_equal(rbk_parse_ipv6((rbk_str){host.p + 1, host.n - 2}, addr), 0);
        assert_memory_equal(addr, d->addr, 16);
    } else {
        if (host.n && host.p[host.n - 1] == '.')
            host.n--;
        if (!rbk_str_ieqz(host, d->host_lower))
            fail_msg("%s: the host is %s to curl, not %s", text, got, d->host_lower);
    }
    curl_free(got);
}

/* Returns whether we accept; then curl must agree. */
static bool check(rbk_str s)
{
    rbk_dsn d;
    char text[RBK_DSN_MAX + 1], port[8];
    if (rbk_dsn_parse(s, RBK_STR("https,wss"), &d) != RBK_DSN_OK)
        return false;
    snprintf(text, sizeof text, "%.*s", RBK_FMT(s));
    CURLU *u = curl_url();
    CURLUcode r = curl_url_set(u, CURLUPART_URL, text, CURLU_PATH_AS_IS | CURLU_NON_SUPPORT_SCHEME);
    if (r != CURLUE_OK)
        fail_msg("curl refuses %s: %d", text, r);
    assert_host(u, &d, text);
    assert_part(u, CURLUPART_SCHEME, 0, rbk_str_z(d.scheme_lower), text);
    snprintf(port, sizeof port, "%u", d.port);
    /* curl of Debian 12 knows no default port of wss. */
    if (strcmp(d.scheme_lower, "https") == 0 || d.port != 443)
        assert_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, rbk_str_z(port), text);
    const char *q = memchr(d.target.p, '?', d.target.n);
    rbk_str path = {d.target.p, q ? (size_t)(q - d.target.p) : d.target.n};
    assert_part(u, CURLUPART_PATH, 0, d.target_slash ? RBK_STR("/") : path, text);
    /* A "?" with nothing behind it is no query to some versions. */
    if (q && d.target.n > path.n + 1)
        assert_part(u, CURLUPART_QUERY, 0, (rbk_str){q + 1, d.target.n - path.n - 1}, text);
    assert_part(u, CURLUPART_USER, 0, RBK_STR_NONE, text);
    assert_part(u, CURLUPART_PASSWORD, 0, RBK_STR_NONE, text);
    assert_part(u, CURLUPART_FRAGMENT, 0, RBK_STR_NONE, text);
    curl_url_cleanup(u);
    return true;
}

/* Replaces, drops or doubles up to three bytes; prefers bytes that mean something. */
static size_t mutate(rbk_str s, char *out, size_t max, uint64_t *seed)
{
    static const char some[] = ":/?#[]@%.-_09afAFxX&=+ \\\xc3~";
    size_t n = s.n < max ? s.n : max;
    memcpy(out, s.p, n);
    for (uint64_t k = next_random(seed) % 3 + 1; k && n > 9; k--) {
        size_t at = 8 + next_random(seed) % (n - 8);
        switch (next_random(seed) % 3) {
        case 0:
            out[at] = some[next_random(seed) % (sizeof some - 1)];
            break;
        case 1:
            memmove(out + at, out + at + 1, --n - at);
            break;
        default:
            if (n < max)
                memmove(out + at + 1, out + at, n++ - at);
        }
    }
    return n;
}

static void check_file(const char *name, const char *list, const char *key)
{
    yyjson_doc *doc = vectors_open(name);
    yyjson_val *row;
    size_t i, max, accepted = 0, changed = 0;
    uint64_t seed = 7;
    yyjson_arr_foreach(vectors_list(doc, list), i, max, row) {
        char text[512];
        rbk_str s = vectors_str(row, key);
        accepted += check(s);
        for (int k = 0; k < 200; k++)
            changed += check((rbk_str){text, mutate(s, text, sizeof text, &seed)});
    }
    print_message("%s: curl agrees on %zu of %zu, and on %zu changed ones\n", name, accepted, max,
                  changed);
    assert_true(accepted > 0 && changed > max);
    yyjson_doc_free(doc);
}

static void curl_agrees(void **state)
{
    (void)state;
    check_file("callback-urls.json", "cases", "url");
    check_file("rfc3986.json", "syntax", "uri");
}

/* The web platform's URLs are http: made https here. */
static void curl_agrees_on_wpt(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open("wpt-absolute-web-subset.json");
    yyjson_val *row;
    size_t i, max, accepted = 0;
    yyjson_arr_foreach(vectors_list(doc, "cases"), i, max, row) {
        char text[512];
        rbk_str s = vectors_str(row, "input");
        if (rbk_str_starts(s, RBK_STR("http:"))) {
            int n = snprintf(text, sizeof text, "https%.*s", (int)s.n - 4, s.p + 4);
            s = (rbk_str){text, (size_t)n};
        }
        accepted += check(s);
    }
    assert_true(accepted >= 20);
    yyjson_doc_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curl_agrees),
        cmocka_unit_test(curl_agrees_on_wpt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
