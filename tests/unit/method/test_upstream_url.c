/* SPDX-License-Identifier: Apache-2.0 */
/* Where an upstream is: the spellings that are taken, and what they mean. */
#include "method/upstream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void check(const char *text, const char *path, const char *host, int port, const char *target)
{
    rbk_upstream_url u;
    const char *wrong = rbk_upstream_url_parse(rbk_str_z(text), &u);
    if (wrong)
        fail_msg("%s: %s", text, wrong);
    assert_string_equal(u.path, path);
    assert_string_equal(u.dsn.host_lower, host);
    assert_int_equal(u.port, port);
    if (u.dsn.target_slash)
        assert_string_equal(target, "/");
    else if (!rbk_str_eqz(u.dsn.target, target))
        fail_msg("%s: %.*s", text, RBK_FMT(u.dsn.target));
    assert_int_equal(u.tls, text[4] == 's');
}

static void test_good(void **state)
{
    (void)state;
    check("http://127.0.0.1:8080/api", "", "127.0.0.1", 8080, "/api");
    check("http://localhost", "", "localhost", 80, "/");
    check("https://API.example/rpc?v=2", "", "api.example", 443, "/rpc?v=2");
    check("http://[::1]:81/", "", "::1", 81, "/");
    check("http+unix://%2Frun%2Fapp.sock/api", "/run/app.sock", "localhost", 80, "/api");
    check("http+unix://%2frun%2fapp.sock", "/run/app.sock", "localhost", 80, "/");
    check("http+unix:/run/app.sock:/api?x", "/run/app.sock", "localhost", 80, "/api?x");
    check("http+unix:/run/app.sock", "/run/app.sock", "localhost", 80, "/");
}

static void test_bad(void **state)
{
    static const char *const bad[] = {
        "", "/api", "127.0.0.1:8080", "ftp://h/", "https+unix:/a", "http://u:p@h/", "http://h/#f",
        "http:///x", "http://h:0/", "http://h:99999/", "http://h/a b", "http+unix:", "http+unix://",
        "http+unix:run/app.sock", "http+unix://run/app.sock", "http+unix:/a:api",
        "http+unix://%2Fa%00b/", "http+unix://%2Fa%2/", "http+unix:/a:/b c",
    };
    rbk_upstream_url u;
    char longest[RBK_UPSTREAM_URL_MAX + 8];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (rbk_upstream_url_parse(rbk_str_z(bad[i]), &u) == NULL)
            fail_msg("%s was taken", bad[i]);
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "http+unix:/", 11);
    assert_non_null(rbk_upstream_url_parse((rbk_str){longest, 10 + 108}, &u));
    assert_null(rbk_upstream_url_parse((rbk_str){longest, 10 + 107}, &u));
    assert_non_null(rbk_upstream_url_parse((rbk_str){longest, sizeof longest}, &u));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
