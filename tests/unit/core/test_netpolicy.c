/* SPDX-License-Identifier: Apache-2.0 */
/* test_netpolicy.c - what callbacks may reach, as it is set: every setting, what is refused
 * of them, own listeners, and each allocation failed in turn. */
#include "netpolicy_rig.h"

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
    rbk_netpolicy_unref(p);
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
    rbk_netpolicy_unref(p);
}

typedef struct host_row {
    const char *globs, *host;
    bool ok;
} host_row;

static void expect_hosts(const host_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char url[300];
        rbk_netpolicy *p =
            policy_of((rbk_netpolicy_conf){.hosts = rbk_str_z(rows[i].globs)}, NULL, 0);
        snprintf(url, sizeof url, "https://%s/", rows[i].host);
        expect(p, url, rows[i].ok ? RBK_DSN_OK : RBK_DSN_HOST);
        rbk_netpolicy_unref(p);
    }
}

static void matches_hosts(void **state)
{
    (void)state;
    static const host_row rows[] = {
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
    expect_hosts(rows, sizeof rows / sizeof *rows);
}

/* A glob opens a special-use name when it spells out what makes it special. */
static void opens_special_names_by_name(void **state)
{
    (void)state;
    static const host_row rows[] = {
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
    expect_hosts(rows, sizeof rows / sizeof *rows);
    /* It opens the name, not the address. */
    rbk_netpolicy *p = policy_of((rbk_netpolicy_conf){.hosts = RBK_STR("127.0.0.1")}, NULL, 0);
    expect(p, "https://127.0.0.1/", RBK_DSN_ADDRESS);
    rbk_netpolicy_unref(p);
    /* A name that only looks like one. */
    p = policy_of(defaults, NULL, 0);
    expect(p, "https://notlocal.example.com/", RBK_DSN_OK);
    expect(p, "https://internal.example/", RBK_DSN_OK);
    expect(p, "https://xn--internal/", RBK_DSN_HOST);
    expect(p, "https://a.notinternal/", RBK_DSN_OK);
    rbk_netpolicy_unref(p);
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
    rbk_netpolicy_unref(p);

    p = policy_of((rbk_netpolicy_conf){.allow = RBK_STR("0.0.0.0/0,::/0"), .deny = RBK_STR("::/0")},
                  NULL, 0);
    assert_true(addr_ok(p, "127.0.0.1"));
    assert_false(addr_ok(p, "2a00::1"));
    assert_false(addr_ok(p, "::ffff:127.0.0.1"));
    rbk_netpolicy_unref(p);
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
    rbk_netpolicy_unref(p);
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
    rbk_netpolicy_unref(policy_of((rbk_netpolicy_conf){.hosts = rbk_str_z(many)}, NULL, 0));
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
    rbk_netpolicy_unref(p);
}

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
        rbk_netpolicy_unref(p);
    }
    assert_int_equal(n, 6); /* the policy, hosts, allow, deny, own, and then it worked */
    rbk_netpolicy_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_in_order),
        cmocka_unit_test(keeps_schemes),
        cmocka_unit_test(matches_hosts),
        cmocka_unit_test(opens_special_names_by_name),
        cmocka_unit_test(allows_and_denies),
        cmocka_unit_test(takes_ports_as_given),
        cmocka_unit_test(refuses_bad_settings),
        cmocka_unit_test(refuses_itself),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
