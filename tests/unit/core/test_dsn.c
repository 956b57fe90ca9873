/* SPDX-License-Identifier: Apache-2.0 */
/* test_dsn.c - the DSN parser: tables that reach every branch of the grammar, the
 * vectors of RFC 3986 and of the web platform tests, and properties of the address
 * readers over random addresses. */
#include "core/dsn.h"

#include <arpa/inet.h>

#include "vectors.h"

#define L10 "abcdefghij"
#define L63 L10 L10 L10 L10 L10 L10 "abc"
#define HOST253 L63 "." L63 "." L63 "." L10 L10 L10 L10 L10 L10 "a"
#define S(lit) {lit, sizeof(lit) - 1}

static const rbk_str both = {"https,wss", 9};

static const struct {
    rbk_str text;
    rbk_dsn_fault fault;
} refused[] = {
    /* size and control characters */
    {{NULL, 0}, RBK_DSN_EMPTY},
    {S(""), RBK_DSN_EMPTY},
    {S("\thttps://example.com/"), RBK_DSN_INVALID},
    {S("ht\ntps://example.com/"), RBK_DSN_INVALID},
    {S("https://example.com/\0"), RBK_DSN_INVALID},
    {S("https://example.com/\x7f"), RBK_DSN_INVALID},
    {S("\x1f"), RBK_DSN_INVALID},
    /* a scheme */
    {S("https"), RBK_DSN_NO_PROTOCOL},
    {S("//example.com/"), RBK_DSN_NO_PROTOCOL},
    {S("/path"), RBK_DSN_NO_PROTOCOL},
    {S("://example.com/"), RBK_DSN_NO_PROTOCOL},
    {S("1https://example.com/"), RBK_DSN_NO_PROTOCOL},
    {S("-https://example.com/"), RBK_DSN_NO_PROTOCOL},
    {S("+x://example.com/"), RBK_DSN_NO_PROTOCOL},
    {S(".x://example.com/"), RBK_DSN_NO_PROTOCOL},
    {S("ht%74ps://example.com/"), RBK_DSN_NO_PROTOCOL},
    {S(" https://example.com/"), RBK_DSN_NO_PROTOCOL},
    {S("h\xc3\xa9:x"), RBK_DSN_NO_PROTOCOL},
    {S("[::1]:443"), RBK_DSN_NO_PROTOCOL},
    /* an enabled scheme */
    {S("http://example.com/"), RBK_DSN_PROTOCOL},
    {S("ws://example.com/"), RBK_DSN_PROTOCOL},
    {S("ws:"), RBK_DSN_PROTOCOL},
    {S("https2://example.com/"), RBK_DSN_PROTOCOL},
    {S("httpss://example.com/"), RBK_DSN_PROTOCOL},
    {S("https+unix://example.com/"), RBK_DSN_PROTOCOL},
    {S("view-source:https://example.com/"), RBK_DSN_PROTOCOL},
    {S("a.b-c+d9:x"), RBK_DSN_PROTOCOL},
    {S("abcdefghijklmnop://example.com/"), RBK_DSN_PROTOCOL},
    {S("abcdefghijklmno://example.com/"), RBK_DSN_PROTOCOL},
    {S("example.com:443"), RBK_DSN_PROTOCOL},
    /* the scheme is looked at before the rest is */
    {S("http://u@exa mple.com:0/#x"), RBK_DSN_PROTOCOL},
    /* the shape */
    {S("https:"), RBK_DSN_INVALID},
    {S("https:/"), RBK_DSN_INVALID},
    {S("https:example.com"), RBK_DSN_INVALID},
    {S("https:/example.com/"), RBK_DSN_INVALID},
    {S("https:\\\\example.com/"), RBK_DSN_INVALID},
    {S("https://"), RBK_DSN_INVALID},
    {S("https:///path"), RBK_DSN_INVALID},
    {S("https://?q"), RBK_DSN_INVALID},
    /* characters */
    {S("https://example.com/a b"), RBK_DSN_INVALID},
    {S("https://example.com\\x"), RBK_DSN_INVALID},
    {S("https://example.com/\""), RBK_DSN_INVALID},
    {S("https://example.com/<"), RBK_DSN_INVALID},
    {S("https://example.com/{}"), RBK_DSN_INVALID},
    {S("https://example.com/^"), RBK_DSN_INVALID},
    {S("https://example.com/`"), RBK_DSN_INVALID},
    {S("https://example.com/|"), RBK_DSN_INVALID},
    {S("https://example.com/\xe2\x82\xac"), RBK_DSN_INVALID},
    {S("https://b\xc3\xbc" "cher.example/"), RBK_DSN_INVALID},
    {S("https://example.com/#frag"), RBK_DSN_INVALID},
    {S("https://example.com#"), RBK_DSN_INVALID},
    {S("https://example.com/%"), RBK_DSN_INVALID},
    {S("https://example.com/%4"), RBK_DSN_INVALID},
    {S("https://example.com/%g0"), RBK_DSN_INVALID},
    {S("https://example.com/%0g"), RBK_DSN_INVALID},
    {S("https://example.com/?a[]=1"), RBK_DSN_INVALID},
    {S("https://example.com/]"), RBK_DSN_INVALID},
    /* user info: only of what is else a URL */
    {S("https://user@example.com/"), RBK_DSN_USERINFO},
    {S("https://user:pw@example.com:443/"), RBK_DSN_USERINFO},
    {S("https://@example.com/"), RBK_DSN_USERINFO},
    {S("https://@"), RBK_DSN_USERINFO},
    {S("https://a@b@example.com/"), RBK_DSN_USERINFO},
    {S("https://example.com%2f@192.0.2.1/"), RBK_DSN_USERINFO},
    {S("https://example.com\\@192.0.2.1/"), RBK_DSN_INVALID},
    {S("https://example.com#@192.0.2.1/"), RBK_DSN_INVALID},
    /* names */
    {S("https://./"), RBK_DSN_INVALID},
    {S("https://../"), RBK_DSN_INVALID},
    {S("https://.example.com/"), RBK_DSN_INVALID},
    {S("https://example..com/"), RBK_DSN_INVALID},
    {S("https://example.com../"), RBK_DSN_INVALID},
    {S("https://-example.com/"), RBK_DSN_INVALID},
    {S("https://example-.com/"), RBK_DSN_INVALID},
    {S("https://example.com-/"), RBK_DSN_INVALID},
    {S("https://exa%6dple.com/"), RBK_DSN_INVALID},
    {S("https://example.com;x/"), RBK_DSN_INVALID},
    {S("https://*.example.com/"), RBK_DSN_INVALID},
    {S("https://exam]ple.com/"), RBK_DSN_INVALID},
    {S("https://" L63 "d.com/"), RBK_DSN_INVALID},
    {S("https://" HOST253 "b/"), RBK_DSN_INVALID},
    {S("https://" HOST253 "b./"), RBK_DSN_INVALID},
    /* numbers that are no canonical dotted quad */
    {S("https://1/"), RBK_DSN_INVALID},
    {S("https://127.1/"), RBK_DSN_INVALID},
    {S("https://127.0.0.1./"), RBK_DSN_INVALID},
    {S("https://127.0.0.01/"), RBK_DSN_INVALID},
    {S("https://127.0.0.256/"), RBK_DSN_INVALID},
    {S("https://127.0.0.1.1/"), RBK_DSN_INVALID},
    {S("https://127.0.0.1234/"), RBK_DSN_INVALID},
    {S("https://0x7f.0.0.0x1/"), RBK_DSN_INVALID},
    {S("https://0X7F000001/"), RBK_DSN_INVALID},
    {S("https://foo.0x/"), RBK_DSN_INVALID},
    {S("https://foo.09./"), RBK_DSN_INVALID},
    /* IPv6 literals */
    {S("https://[]/"), RBK_DSN_INVALID},
    {S("https://[/"), RBK_DSN_INVALID},
    {S("https://[::1/"), RBK_DSN_INVALID},
    {S("https://[::1]x/"), RBK_DSN_INVALID},
    {S("https://[::1].example.com/"), RBK_DSN_INVALID},
    {S("https://[::1%25eth0]/"), RBK_DSN_INVALID},
    {S("https://[v1.x]/"), RBK_DSN_INVALID},
    {S("https://[1.2.3.4]/"), RBK_DSN_INVALID},
    {S("https://[[::1]]/"), RBK_DSN_INVALID},
    /* ports: no number is no URL, a bad number is a port that is not allowed */
    {S("https://example.com:/"), RBK_DSN_INVALID},
    {S("https://example.com:44a/"), RBK_DSN_INVALID},
    {S("https://example.com:-1/"), RBK_DSN_INVALID},
    {S("https://example.com:+443/"), RBK_DSN_INVALID},
    {S("https://example.com:443:443/"), RBK_DSN_INVALID},
    {S("https://[2001:4860::1]:/"), RBK_DSN_INVALID},
    {S("https://example.com:0/"), RBK_DSN_PORT},
    {S("https://example.com:0443/"), RBK_DSN_PORT},
    {S("https://example.com:65536/"), RBK_DSN_PORT},
    {S("https://example.com:4294967739/"), RBK_DSN_PORT},
    {S("https://example.com:18446744073709552059/"), RBK_DSN_PORT},
    {S("https://[2001:4860::1]:65536"), RBK_DSN_PORT},
    /* the host is looked at before the port */
    {S("https://exa%6dple.com:0/"), RBK_DSN_INVALID},
};

static const struct {
    const char *text, *host, *target, *receiver;
    rbk_host_kind kind;
    int port;
    bool slash;
} accepted[] = {
    {"https://example.com/hook", "example.com", "/hook", "https://example.com:443", 0, 443, 0},
    {"https://example.com", "example.com", "/", "https://example.com:443", 0, 443, 0},
    {"https://example.com/", "example.com", "/", "https://example.com:443", 0, 443, 0},
    {"https://example.com?", "example.com", "?", "https://example.com:443", 0, 443, 1},
    {"https://h.example?q=1&r", "h.example", "?q=1&r", "https://h.example:443", 0, 443, 1},
    {"wss://h.example/?q", "h.example", "/?q", "wss://h.example:443", 0, 443, 0},
    {"HtTpS://EXAMPLE.Com./A", "example.com", "/A", "https://example.com:443", 0, 443, 0},
    {"https://h.example:1/", "h.example", "/", "https://h.example:1", 0, 1, 0},
    {"https://h.example:65535", "h.example", "/", "https://h.example:65535", 0, 65535, 0},
    {"https://h.example.:8443?x", "h.example", "?x", "https://h.example:8443", 0, 8443, 1},
    {"https://a/b//c/../d/.", "a", "/b//c/../d/.", "https://a:443", 0, 443, 0},
    {"https://a/-._~!$&'()*+,;=:@%2F%fF?-._~!$&'()*+,;=:@/?%00", "a",
     "/-._~!$&'()*+,;=:@%2F%fF?-._~!$&'()*+,;=:@/?%00", "https://a:443", 0, 443, 0},
    {"https://a?@192.0.2.1/", "a", "?@192.0.2.1/", "https://a:443", 0, 443, 1},
    {"https://_hook.a_b.c_", "_hook.a_b.c_", "/", "https://_hook.a_b.c_:443", 0, 443, 0},
    {"https://xn--bcher-kva.foo--bar", "xn--bcher-kva.foo--bar", "/",
     "https://xn--bcher-kva.foo--bar:443", 0, 443, 0},
    {"https://1e100.0xg", "1e100.0xg", "/", "https://1e100.0xg:443", 0, 443, 0},
    {"https://127.0.0.1.nip.io", "127.0.0.1.nip.io", "/", "https://127.0.0.1.nip.io:443", 0, 443, 0},
    {"https://0x7f.1a", "0x7f.1a", "/", "https://0x7f.1a:443", 0, 443, 0},
    {"https://" HOST253 "/", HOST253, "/", "https://" HOST253 ":443", 0, 443, 0},
    {"wss://" HOST253 ".:65535/", HOST253, "/", "wss://" HOST253 ":65535", 0, 65535, 0},
    {"https://127.0.0.1/", "127.0.0.1", "/", "https://127.0.0.1:443", RBK_HOST_IPV4, 443, 0},
    {"https://255.249.199.0:80", "255.249.199.0", "/", "https://255.249.199.0:80", RBK_HOST_IPV4, 80, 0},
    {"https://[::1]", "::1", "/", "https://[::1]:443", RBK_HOST_IPV6, 443, 0},
    {"https://[2001:DB8:0:0:0::1]:1?q", "2001:db8::1", "?q", "https://[2001:db8::1]:1", RBK_HOST_IPV6, 1, 1},
    {"https://[::FFFF:1.2.3.4]/", "::ffff:1.2.3.4", "/", "https://[::ffff:1.2.3.4]:443", RBK_HOST_IPV6, 443, 0},
};

static void refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        rbk_dsn d;
        rbk_dsn_fault f = rbk_dsn_parse(refused[i].text, both, &d);
        if (f != refused[i].fault)
            fail_msg("%.*s: fault %d, not %d", RBK_FMT(refused[i].text), f, refused[i].fault);
    }
}

static void accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        rbk_dsn d;
        rbk_str text = rbk_str_z(accepted[i].text);
        if (rbk_dsn_parse(text, both, &d) != RBK_DSN_OK)
            fail_msg("refused: %s", accepted[i].text);
        assert_string_equal(d.host_lower, accepted[i].host);
        assert_string_equal(d.receiver, accepted[i].receiver);
        assert_true(rbk_str_eqz(d.target, accepted[i].target));
        assert_int_equal(d.kind, accepted[i].kind);
        assert_int_equal(d.port, accepted[i].port);
        assert_int_equal(d.target_slash, accepted[i].slash);
        assert_true(rbk_str_eq(d.text, text));
        assert_true(rbk_str_ieqz(d.scheme, d.scheme_lower));
        /* The host as given is a piece of the text, behind "//" and a bracket. */
        assert_true(d.host.p == text.p + d.scheme.n + 3 + (d.kind == RBK_HOST_IPV6));
    }
}

static void knows_its_size(void **state)
{
    (void)state;
    rbk_dsn d;
    static char text[RBK_DSN_MAX + 2] = "https://example.com/";
    memset(text + 20, 'x', sizeof text - 20);
    assert_int_equal(rbk_dsn_parse((rbk_str){text, RBK_DSN_MAX}, both, &d), RBK_DSN_OK);
    assert_int_equal(d.target.n, RBK_DSN_MAX - 19);
    assert_int_equal(rbk_dsn_parse((rbk_str){text, RBK_DSN_MAX + 1}, both, &d), RBK_DSN_TOO_LONG);
    text[0] = 0; /* size is judged first */
    assert_int_equal(rbk_dsn_parse((rbk_str){text, RBK_DSN_MAX + 1}, both, &d), RBK_DSN_TOO_LONG);
}

static void serves_the_given_schemes(void **state)
{
    (void)state;
    rbk_dsn d;
    assert_int_equal(rbk_dsn_parse(RBK_STR("wss://a.b/"), RBK_STR("https"), &d), RBK_DSN_PROTOCOL);
    assert_int_equal(rbk_dsn_parse(RBK_STR("https://a.b/"), RBK_STR("wss"), &d), RBK_DSN_PROTOCOL);
    assert_int_equal(rbk_dsn_parse(RBK_STR("https://a.b/"), RBK_STR(""), &d), RBK_DSN_PROTOCOL);
    assert_int_equal(rbk_dsn_parse(RBK_STR("capture-x://a.b/"), RBK_STR("https, capture-x"), &d),
                     RBK_DSN_OK);
    assert_int_equal(d.port, 0);
    assert_string_equal(d.receiver, "capture-x://a.b:0");
}

static void gives_reasons(void **state)
{
    (void)state;
    static const struct {
        rbk_dsn_fault fault;
        const char *text, *schemes, *reason;
    } rows[] = {
        {RBK_DSN_OK, "https://a.b", "https", ""},
        {RBK_DSN_EMPTY, "", "https", "must be a non-empty string"},
        {RBK_DSN_TOO_LONG, "x", "https", "too long"},
        {RBK_DSN_INVALID, "x", "https", "invalid URL"},
        {RBK_DSN_NO_PROTOCOL, "x", "https", "must have a protocol"},
        {RBK_DSN_USERINFO, "x", "https", "user info not allowed"},
        {RBK_DSN_PORT, "x", "https", "port not allowed"},
        {RBK_DSN_HOST, "x", "https", "host not allowed"},
        {RBK_DSN_ADDRESS, "x", "https", "address not allowed"},
        {RBK_DSN_NO_ADDRESS, "x", "https", "host has no allowed address"},
        {RBK_DSN_PROTOCOL, "http://a.b/", "https,wss",
         "invalid protocol: http is not encrypted, use https"},
        {RBK_DSN_PROTOCOL, "HTTP:x", "https",
         "invalid protocol: http is not encrypted, use https"},
        {RBK_DSN_PROTOCOL, "http://a.b/", "wss", "invalid protocol: only wss is supported"},
        {RBK_DSN_PROTOCOL, "ftp://a.b/", "https,wss",
         "invalid protocol: only https, wss are supported"},
        {RBK_DSN_PROTOCOL, "httpx://a.b/", "https", "invalid protocol: only https is supported"},
        {RBK_DSN_PROTOCOL, "x:", "a, b,c", "invalid protocol: only a, b, c are supported"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[160];
        memset(out, 'x', sizeof out);
        rbk_dsn_reason(rows[i].fault, rbk_str_z(rows[i].text), rbk_str_z(rows[i].schemes), out);
        assert_string_equal(out, rows[i].reason);
    }
    /* A long list is cut, and ended. */
    char many[401], out[160];
    memset(many, 'x', sizeof many - 1);
    many[400] = 0;
    rbk_dsn_reason(RBK_DSN_PROTOCOL, RBK_STR("y:"), rbk_str_z(many), out);
    assert_int_equal(strlen(out), 159);
}

static void reads_lists(void **state)
{
    (void)state;
    rbk_str item, list = RBK_STR(" a ,b,, c,");
    static const char *const want[] = {"a", "b", "", "c"};
    for (size_t i = 0; i < 4; i++) {
        assert_true(rbk_list_next(&list, &item));
        assert_true(rbk_str_eqz(item, want[i]));
    }
    assert_false(rbk_list_next(&list, &item));
    list = RBK_STR_NONE;
    assert_false(rbk_list_next(&list, &item));
}

/* ---- addresses ---- */

static void reads_ipv4(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "1", "1.2", "1.2.3", "1.2.3.", "1.2.3.4.", "1.2.3.4.5", ".1.2.3", "1..2.3", "01.2.3.4",
        "1.2.3.04", "1.2.3.00", "256.1.1.1", "1.2.3.999", "1.2.3.1000", "1.2.3.4x", "0x1.2.3.4",
        "1,2.3.4", "a.2.3.4", "1.2.3.4 ", " 1.2.3.4", "-1.2.3.4", "1.2.3.4/8"};
    uint8_t a[4] = {9, 9, 9, 9}, keep[4] = {9, 9, 9, 9};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (rbk_parse_ipv4(rbk_str_z(bad[i]), a) != RBK_E_INVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_memory_equal(a, keep, 4);
    }
    assert_int_equal(rbk_parse_ipv4(RBK_STR("0.10.199.255"), a), 0);
    assert_memory_equal(a, ((uint8_t[]){0, 10, 199, 255}), 4);
}

static void reads_ipv6(void **state)
{
    (void)state;
    /* The system's reader is the judge, of these and of their IPv4 tails. */
    static const char *const text[] = {
        "::", "::1", "1::", "1::2", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8",
        "1:2:3::6:7:8", "::1.2.3.4", "1::1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "::ffff:1.2.3.4",
        "FFFF:abcd:0000:0:00:000::", "1:2:3:4:5::1.2.3.4", "64:ff9b::10.0.0.1",
        /* refused */
        "", ":", ":::", "1", "1:", ":1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::",
        "1:2:3:4:5:6:7:8:", "::1:2:3:4:5:6:7:8", "1:::2", "1::2::3", "12345::", "::12345", "g::",
        "::g", "1.2.3.4", "::1.2.3", "::1.2.3.4.5", "::1.2.3.256", "::01.2.3.4", "::1.2.3.4:5",
        "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:6:7:8:1.2.3.4", "::1%eth0", "::1/128", "[::1]", "1::-",
        ":: 1", "1-2", "::.1.2.3", "1:2:3:4:5:6:7:8.1.1.1"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        uint8_t a[16], want[16];
        bool ok = rbk_parse_ipv6(rbk_str_z(text[i]), a) == 0;
        if (ok != (inet_pton(AF_INET6, text[i], want) == 1))
            fail_msg("%s: %s", ok ? "accepted" : "refused", text[i]);
        if (ok)
            assert_memory_equal(a, want, 16);
    }
}

static void formats_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"0:0:0:0:0:0:0:0", "::"}, {"0:0:0:0:0:0:0:1", "::1"}, {"1:0:0:0:0:0:0:0", "1::"},
        {"1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"}, {"1:0:0:2:0:0:3:4", "1::2:0:0:3:4"},
        {"1:0:0:2:0:0:0:3", "1:0:0:2::3"}, {"0:0:1:2:3:4:5:6", "::1:2:3:4:5:6"},
        {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"}, {"ABCD:0:0012::", "abcd:0:12::"},
        {"::ffff:102:304", "::ffff:1.2.3.4"}, {"::102:304", "::102:304"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}};
    char out[46];
    uint8_t a[16];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(rbk_parse_ipv6(rbk_str_z(rows[i].text), a), 0);
        rbk_format_addr(RBK_HOST_IPV6, a, out);
        assert_string_equal(out, rows[i].want);
    }
    rbk_format_addr(RBK_HOST_IPV4, (const uint8_t[]){1, 20, 255, 0}, out);
    assert_string_equal(out, "1.20.255.0");
}

/* Random groups, many of them zero: what we print reads back, here and by the system,
 * and is what the system prints. */
static void addresses_round_trip(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int i = 0; i < 20000; i++) {
        uint8_t a[16], back[16];
        char out[46], want[46];
        uint64_t mask = next_random(&seed);
        for (int g = 0; g < 16; g += 2) {
            uint64_t v = mask >> g & 1 ? next_random(&seed) >> (mask >> (g + 16) & 15) : 0;
            a[g] = (uint8_t)(v >> 8 & 0xff);
            a[g + 1] = (uint8_t)(v & 0xff);
        }
        rbk_format_addr(RBK_HOST_IPV6, a, out);
        assert_int_equal(rbk_parse_ipv6(rbk_str_z(out), back), 0);
        assert_memory_equal(a, back, 16);
        assert_int_equal(inet_pton(AF_INET6, out, back), 1);
        assert_memory_equal(a, back, 16);
        inet_ntop(AF_INET6, a, want, sizeof want);
        if (strchr(want, '.') == NULL) /* it prints ::/96 as dotted quads too */
            assert_string_equal(out, want);
        rbk_format_addr(RBK_HOST_IPV4, a, out);
        assert_int_equal(rbk_parse_ipv4(rbk_str_z(out), back), 0);
        assert_memory_equal(a, back, 4);
    }
}

/* ---- vectors ---- */

static void agrees_with_rfc3986(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open("rfc3986.json");
    yyjson_val *row;
    size_t i, max, valid = 0;
    rbk_dsn d;
    yyjson_arr_foreach(vectors_list(doc, "syntax"), i, max, row) {
        rbk_str uri = vectors_str(row, "uri");
        bool ok = rbk_dsn_parse(uri, both, &d) == RBK_DSN_OK;
        if (ok && !yyjson_get_bool(yyjson_obj_get(row, "valid")))
            fail_msg("no URI, but accepted: %.*s", RBK_FMT(uri));
        valid += ok;
    }
    assert_int_equal(valid, 1); /* https://exa_mple.com/: the rest is narrowed away */
    /* A relative reference is no DSN, whatever it resolves to. */
    yyjson_arr_foreach(vectors_list(doc, "resolution"), i, max, row)
        assert_int_not_equal(rbk_dsn_parse(vectors_str(row, "reference"), both, &d), RBK_DSN_OK);
    yyjson_doc_free(doc);
}

/* Does the segment mean "." (1) or ".." (2)? "%2e" is a dot to the WHATWG. */
static int dots(rbk_str s)
{
    int n = 0;
    while (s.n) {
        size_t w = s.p[0] == '.' ? 1 : s.n >= 3 && s.p[0] == '%' && s.p[1] == '2' &&
                                               rbk_lower(s.p[2]) == 'e' ? 3 : 0;
        if (w == 0)
            return 0;
        s.p += w, s.n -= w, n++;
    }
    return n > 2 ? 0 : n;
}

/* The path as a browser sends it: dot segments taken out. We send it as it came. */
static void without_dots(rbk_str path, char *out)
{
    size_t n = 0;
    while (path.n) { /* at a "/" */
        const char *end = memchr(path.p + 1, '/', path.n - 1);
        size_t w = end ? (size_t)(end - path.p) : path.n;
        int k = dots((rbk_str){path.p + 1, w - 1});
        if (k == 2)
            while (n && out[--n] != '/')
                ;
        if (k == 0) {
            memcpy(out + n, path.p, w);
            n += w;
        } else if (end == NULL) {
            out[n++] = '/';
        }
        path.p += w, path.n -= w;
    }
    out[n] = 0;
}

static void compare_with_wpt(yyjson_val *row, const rbk_dsn *d)
{
    char host[300], path[2100], port[8];
    const char *q = d->target.n ? memchr(d->target.p, '?', d->target.n) : NULL;
    size_t n = q ? (size_t)(q - d->target.p) : d->target.n;
    rbk_str query = {q, d->target.n - n};
    bool v6 = d->kind == RBK_HOST_IPV6;
    bool dot = d->host.p[d->host.n - 1] == '.';
    snprintf(host, sizeof host, "%s%s%s%s", v6 ? "[" : "", d->host_lower, v6 ? "]" : "",
             dot ? "." : "");
    assert_true(rbk_str_eqz(vectors_str(row, "hostname"), host));
    without_dots(d->target_slash ? RBK_STR("/") : (rbk_str){d->target.p, n}, path);
    assert_true(rbk_str_eqz(vectors_str(row, "pathname"), path));
    if (query.n == 1) /* "?" alone */
        query.n = 0;
    assert_true(rbk_str_eq(vectors_str(row, "search"), query));
    /* The schemes without TLS have no default port here: 0. */
    bool tls = rbk_str_starts(d->scheme, RBK_STR("https")) || d->scheme.n == 3;
    snprintf(port, sizeof port, "%u", d->port);
    if (d->port == (tls ? 443 : 80) || d->port == 0)
        port[0] = 0;
    assert_true(rbk_str_eqz(vectors_str(row, "port"), port));
}

/* Where we accept, a browser sees the same parts; what it refuses, we refuse. */
static void agrees_with_browsers(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open("wpt-absolute-web-subset.json");
    yyjson_val *row;
    size_t i, max, same = 0, failures = 0;
    yyjson_arr_foreach(vectors_list(doc, "cases"), i, max, row) {
        rbk_dsn d;
        rbk_str input = vectors_str(row, "input");
        bool failure = yyjson_get_bool(yyjson_obj_get(row, "failure"));
        bool ok = rbk_dsn_parse(input, RBK_STR("http,https,ws,wss"), &d) == RBK_DSN_OK;
        if (ok && failure)
            fail_msg("browsers refuse %.*s", RBK_FMT(input));
        if (ok)
            compare_with_wpt(row, &d);
        same += ok;
        failures += failure;
    }
    print_message("%zu cases: %zu accepted and the same, %zu failures all refused\n", max, same,
                  failures);
    assert_true(same >= 20 && failures >= 60);
    yyjson_doc_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses),
        cmocka_unit_test(accepts),
        cmocka_unit_test(knows_its_size),
        cmocka_unit_test(serves_the_given_schemes),
        cmocka_unit_test(gives_reasons),
        cmocka_unit_test(reads_lists),
        cmocka_unit_test(reads_ipv4),
        cmocka_unit_test(reads_ipv6),
        cmocka_unit_test(formats_addresses),
        cmocka_unit_test(addresses_round_trip),
        cmocka_unit_test(agrees_with_rfc3986),
        cmocka_unit_test(agrees_with_browsers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
