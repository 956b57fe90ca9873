/* SPDX-License-Identifier: Apache-2.0 */
/* What browsers can be talked into: which Host and which Origin come in, by which door. */
#include "front/origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static int calloc_fails_in; /* 1: the next one fails */
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return calloc_fails_in > 0 && --calloc_fails_in == 0 ? NULL : __real_calloc(n, size);
}

static rbk_origins *make(const char *hosts, const char *origins, bool asks_clients)
{
    rbk_origins *o = NULL;
    rbk_error err = {0};
    rbk_origins_conf conf = {.hosts = rbk_str_z(hosts), .origins = rbk_str_z(origins),
                             .asks_clients = asks_clients};
    assert_int_equal(rbk_origins_new(&conf, &o, &err), 0);
    return o;
}

/* What is said to a request with this Host, and this Origin; NULL: without. */
static int ask(const rbk_origins *o, rbk_origins_door door, const char *const header[2])
{
    rbk_http_header h[3] = {{RBK_STR("X-Other"), RBK_STR("evil.example")}};
    static const char *const names[] = {"hOST", "Origin"};
    size_t n = 1;
    for (size_t i = 0; i < 2; i++)
        if (header[i])
            h[n++] = (rbk_http_header){rbk_str_z(names[i]), rbk_str_z(header[i])};
    rbk_http_request rq = {.headers = h, .n_headers = n};
    rbk_str value = RBK_STR_NONE;
    int r = rbk_origins_check(o, door, &rq, &value);
    assert_true(r == 0 || (r == 403 && rq.why));
    assert_true(rq.n_extra <= RBK_HTTP_EXTRA_MAX);
    if (r == 0 && header[1]) { /* the page hears that it may, by its own name */
        rbk_str allowed = rbk_http_find(rq.extra, rq.n_extra, "access-control-allow-origin");
        assert_true(rbk_str_eqz(allowed, header[1]));
    } else {
        assert_null(rbk_http_find(rq.extra, rq.n_extra, "access-control-allow-origin").p);
    }
    return r;
}

static bool host_in(const rbk_origins *o, rbk_origins_door door, const char *host)
{
    return ask(o, door, (const char *const[2]){host}) == 0;
}

static bool origin_in(const rbk_origins *o, const char *origin)
{
    return ask(o, RBK_DOOR_OTHER, (const char *const[2]){"x", origin}) == 0;
}

typedef struct look {
    const char *text;
    bool in;
} look;

static void test_own_names(void **state)
{
    (void)state;
    static const look looks[] = {
        {"localhost", true}, {"LocalHost:7600", true}, {"localhost.", true}, {"localhost.:1", true},
        {"localhost:", true}, {"127.0.0.1", true}, {"127.0.0.1:65535", true}, {"127.255.0.9", true},
        {"[::1]", true}, {"[::1]:80", true}, {"[0:0:0:0:0:0:0:1]:80", true},
        {"", false}, {".", false}, {"localhost..", false}, {"xlocalhost", false}, {"a.localhost", false},
        {"localhost.evil.example", false}, {"localhost:x", false}, {"localhost:65536", false},
        {"localhost:80:80", false}, {"127.0.0.1.evil.example", false}, {"127.1", false},
        {"127.0.0.01", false}, {"2130706433", false}, {"0x7f.0.0.1", false}, {"128.0.0.1", false},
        {"::1", false}, {"[::1", false}, {"[::1]x", false}, {"[::1]x:80", false}, {"[]", false},
        {"[", false}, {":", false}, {":80", false}, {"[::ffff:127.0.0.1]", false}, {"[::2]", false},
        {"localhost@evil.example", false}, {"evil.example", false},
    };
    rbk_origins *o = make("", "", false);
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        if (host_in(o, RBK_DOOR_LOOPBACK, looks[i].text) != looks[i].in)
            fail_msg("Host: %s", looks[i].text);
        assert_true(host_in(o, RBK_DOOR_OTHER, looks[i].text));
        assert_true(host_in(o, RBK_DOOR_UNIX, looks[i].text));
    }
    assert_false(host_in(o, RBK_DOOR_LOOPBACK, NULL));
    assert_true(host_in(o, RBK_DOOR_OTHER, NULL));
    rbk_origins_unref(o);
}

/* Who must show a certificate is not found by a name alone. */
static void test_clients_with_certificates(void **state)
{
    (void)state;
    rbk_origins *o = make("", "", true), *listed = make("api.example", "", true);
    assert_true(host_in(o, RBK_DOOR_LOOPBACK, "evil.example"));
    assert_true(host_in(o, RBK_DOOR_LOOPBACK, NULL));
    assert_true(host_in(listed, RBK_DOOR_LOOPBACK, "api.example"));
    assert_false(host_in(listed, RBK_DOOR_LOOPBACK, "evil.example"));
    assert_false(host_in(listed, RBK_DOOR_LOOPBACK, "localhost"));
    assert_false(origin_in(o, "https://evil.example"));
    rbk_origins_unref(o);
    rbk_origins_unref(listed);
}

static void test_listed_hosts(void **state)
{
    (void)state;
    static const look looks[] = {
        {"api.example", true}, {"API.example:99", true}, {"api.example.", true},
        {"a.example.org:8443", true}, {"a.example.org", false}, {"a.example.org:443", false},
        {"a.b.example.org:8443", false}, {"example.org:8443", false}, {"x.y.deep.example", true},
        {"[2001:db8::1]", true}, {"[2001:DB8:0::1]:5", true}, {"[2001:db8::2]", false},
        {"10.0.0.1:80", true}, {"10.0.0.1", false}, {"localhost", false}, {"127.0.0.1", false},
        {"", false}, {"api.example:port", false},
    };
    rbk_origins *o = make(" Api.Example, *.example.org:8443,**.deep.example,[2001:db8::1], 10.0.0.1:80 ", "",
                          false);
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        for (rbk_origins_door door = RBK_DOOR_LOOPBACK; door <= RBK_DOOR_OTHER; door++)
            if (host_in(o, door, looks[i].text) != looks[i].in)
                fail_msg("Host: %s", looks[i].text);
    assert_true(host_in(o, RBK_DOOR_UNIX, "anything"));
    assert_false(host_in(o, RBK_DOOR_OTHER, NULL));
    rbk_origins_unref(o);
    o = make("**", "", false);
    assert_true(host_in(o, RBK_DOOR_LOOPBACK, NULL) && host_in(o, RBK_DOOR_LOOPBACK, "x.example"));
    rbk_origins_unref(o);
}

static void test_origins(void **state)
{
    (void)state;
    static const look looks[] = {
        {"https://app.example", true}, {"http://localhost:3000", true}, {"https://[2001:db8::1]", true},
        {"http://b.example", true}, {"https://c.example:8443", true},
        {"https://App.example", false}, /* no browser writes that */
        {"http://app.example", false}, {"https://app.example:443", false}, {"https://app.example/", false},
        {"https://app.example.", false}, {"https://app.example evil", false}, {"null", false}, {"", false},
        {"*", false}, {"http://localhost", false}, {"https://c.example", false},
        {"https://app.example, https://evil.example", false},
    };
    rbk_origins *o = make("", "https://App.Example:443, http://localhost:3000,https://[2001:DB8:0:0::1],"
                              "http://b.example:80, https://c.example:8443", false);
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        if (origin_in(o, looks[i].text) != looks[i].in)
            fail_msg("Origin: %s", looks[i].text);
    assert_true(origin_in(o, NULL));
    for (rbk_origins_door door = RBK_DOOR_UNIX; door <= RBK_DOOR_OTHER; door++) {
        assert_int_equal(ask(o, door, (const char *const[2]){"localhost", "https://app.example"}), 0);
        assert_int_equal(ask(o, door, (const char *const[2]){"localhost", "null"}), 403);
        for (int i = 0; i < 2; i++) { /* two of them are one too many, whoever stands first */
            rbk_http_header h[] = {{RBK_STR("Host"), RBK_STR("localhost")},
                                   {RBK_STR("Origin"), RBK_STR("https://app.example")},
                                   {RBK_STR("ORIGIN"), i ? RBK_STR("null") : RBK_STR("https://app.example")}};
            rbk_http_request rq = {.headers = h, .n_headers = 3};
            rbk_str value;
            assert_int_equal(rbk_origins_check(o, door, &rq, &value), 403);
            assert_int_equal(rq.n_extra, 0);
        }
    }
    rbk_origins_unref(o);
}

static void test_bad_lists(void **state)
{
    (void)state;
    static const char *const hosts[] = {"a b", "api.example/", "https://api.example", "x:y", "x:65536", "[::1", "::1x",
                                        "user@host", "ex*mple..org", ":80", "[]:80"};
    static const char *const origins[] = {"app.example", "*", "null", "https://", "ftp://x", "https://a/", "https://a:",
                                          "https://a:x", "https://a:65536", "https://*.a", "https://u@a", "https://.a",
                                          "https://[::1", "https://[zz]", "https://a b"};
    rbk_origins *o = NULL;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        rbk_error err = {0};
        if (rbk_origins_new(&(rbk_origins_conf){.hosts = rbk_str_z(hosts[i])}, &o, &err) != RBK_E_CONFIG)
            fail_msg("server.hosts=%s", hosts[i]);
        assert_non_null(strstr(err.detail, "server.hosts: "));
    }
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        rbk_error err = {0};
        if (rbk_origins_new(&(rbk_origins_conf){.origins = rbk_str_z(origins[i])}, &o, &err) != RBK_E_CONFIG)
            fail_msg("server.origins=%s", origins[i]);
        assert_non_null(strstr(err.detail, "server.origins: "));
    }
    assert_null(o);
}

static void test_long_lists(void **state)
{
    (void)state;
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_error err = {0};
    rbk_origins *o = NULL;
    for (int i = 0; i < 257; i++)
        rbk_buf_addf(&b, "%sh%d.example", i ? "," : "", i);
    rbk_origins_conf conf = {.hosts = rbk_buf_view(&b)};
    assert_int_equal(rbk_origins_new(&conf, &o, &err), RBK_E_CONFIG);
    assert_non_null(strstr(err.detail, "256"));
    conf.hosts.n = (size_t)((char *)memrchr(b.p, ',', b.n) - b.p);
    assert_int_equal(rbk_origins_new(&conf, &o, &err), 0);
    assert_true(host_in(o, RBK_DOOR_OTHER, "h255.example") && !host_in(o, RBK_DOOR_OTHER, "h256.example"));
    rbk_origins_unref(o);
    rbk_buf_free(&b);
}

static void test_preflight(void **state)
{
    (void)state;
    rbk_http_header h[] = {{RBK_STR("Origin"), RBK_STR("https://a")},
                           {RBK_STR("Access-Control-Request-Method"), RBK_STR("POST")},
                           {RBK_STR("Content-Length"), RBK_STR("0")}};
    rbk_http_request rq = {.method = RBK_STR("OPTIONS"), .headers = h, .n_headers = 2};
    assert_true(rbk_origins_asked(&rq));
    rq.n_headers = 3; /* a body may come, and nobody's token was asked for */
    assert_false(rbk_origins_asked(&rq));
    h[2].name = RBK_STR("Transfer-Encoding");
    assert_false(rbk_origins_asked(&rq));
    rq.n_headers = 1;
    assert_false(rbk_origins_asked(&rq));
    rq.n_headers = 2;
    rq.method = RBK_STR("POST");
    assert_false(rbk_origins_asked(&rq));
}

static void test_no_memory(void **state)
{
    (void)state;
    rbk_origins_conf conf = {.hosts = RBK_STR("a.example, b.example"), .origins = RBK_STR("https://a")};
    rbk_origins *o = NULL;
    int r = RBK_E_NOMEM, n = 0;
    for (; r < 0 && n < 20; n++) {
        rbk_error err = {0};
        calloc_fails_in = n + 1;
        r = rbk_origins_new(&conf, &o, &err);
        assert_true(r == 0 || r == RBK_E_NOMEM);
    }
    calloc_fails_in = 0;
    assert_int_equal(r, 0);
    assert_true(n > 4);
    rbk_origins_unref(rbk_origins_ref(o));
    assert_true(host_in(o, RBK_DOOR_OTHER, "b.example"));
    rbk_origins_unref(o);
    rbk_origins_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_names),
        cmocka_unit_test(test_clients_with_certificates),
        cmocka_unit_test(test_listed_hosts),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_bad_lists),
        cmocka_unit_test(test_long_lists),
        cmocka_unit_test(test_preflight),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
