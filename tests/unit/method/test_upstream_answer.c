/* SPDX-License-Identifier: Apache-2.0 */
/* What the body of an upstream's answer says. */
#include "method/upstream_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void check_result(const char *id, const char *body, const char *result)
{
    rbk_upstream_answer a;
    rbk_upstream_read(rbk_str_z(body), rbk_str_z(id), &a);
    if (a.kind != RBK_UPSTREAM_RESULT || !rbk_str_eqz(a.result, result))
        fail_msg("%s: %s", body, a.why ? a.why : "another result");
    rbk_arena_free(&a.mem);
}

static void check_broken(const char *body, const char *why)
{
    rbk_upstream_answer a;
    rbk_upstream_read(rbk_str_z(body), RBK_STR("7"), &a);
    if (a.kind != RBK_UPSTREAM_BROKEN)
        fail_msg("%s was taken", body);
    assert_string_equal(a.why, why);
    rbk_arena_free(&a.mem);
}

static void test_results(void **state)
{
    (void)state;
    check_result("7", "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":null}", "null");
    check_result("7", " {\"result\" : [1.0 , 2] ,\"more\":{\"id\":8},\"id\":7}\r\n", "[1.0 , 2]");
    check_result("1.50", "{\"id\":1.5,\"result\":1}", "1");
    check_result("1e2", "{\"id\":100,\"result\":1}", "1");
    check_result("12345678901234567890", "{\"id\":12345678901234567000,\"result\":1}", "1");
    check_result("\"a\\u00e9\\/\"", "{\"id\":\"a\xc3\xa9/\",\"result\":1}", "1");
    check_result("null", "{\"id\":null,\"result\":1}", "1");
    check_result("7", "{\"\\u0069d\":7,\"result\":1}", "1");
}

static void test_broken(void **state)
{
    (void)state;
    check_broken("", "its answer is not JSON");
    check_broken("{\"id\":7,\"result\":1}x", "its answer is not JSON");
    check_broken("{\"id\":7,\"result\":01}", "its answer is not JSON");
    check_broken("[{\"id\":7,\"result\":1}]", "it answered with a batch");
    check_broken("7", "its answer is no object");
    check_broken("{\"id\":8,\"result\":1}", "its answer has another id");
    check_broken("{\"id\":\"7\",\"result\":1}", "its answer has another id");
    check_broken("{\"id\":null,\"result\":1}", "its answer has another id");
    check_broken("{\"result\":1}", "its answer has another id");
    check_broken("{\"error\":{\"code\":1,\"message\":\"m\"}}", "its answer has another id");
    check_broken("{\"id\":7}", "its answer has neither a result nor an error");
    check_broken("{\"id\":7,\"result\":1,\"error\":null}", "its answer has a result and an error");
    check_broken("{\"id\":7,\"result\":1,\"result\":1}", "a member of its answer stands twice");
    check_broken("{\"id\":7,\"\\u0069d\":7,\"result\":1}", "a member of its answer stands twice");
    check_broken("{\"jsonrpc\":\"1.0\",\"id\":7,\"result\":1}", "its answer is not of JSON-RPC 2.0");
    check_broken("{\"id\":7,\"error\":\"x\"}", "its error is no object");
    check_broken("{\"id\":7,\"error\":{\"message\":\"m\"}}", "its error has no code");
    check_broken("{\"id\":7,\"error\":{\"code\":1.5,\"message\":\"m\"}}", "its error has no code");
    check_broken("{\"id\":7,\"error\":{\"code\":\"1\",\"message\":\"m\"}}", "its error has no code");
    check_broken("{\"id\":7,\"error\":{\"code\":99999999999999999999,\"message\":\"m\"}}",
                 "its error has no code");
    check_broken("{\"id\":7,\"error\":{\"code\":1}}", "its error has no message");
    check_broken("{\"id\":7,\"error\":{\"code\":1,\"code\":1,\"message\":\"m\"}}",
                 "a member of its error stands twice");
}

static void test_error(void **state)
{
    static const char *const bodies[] = {
        "{\"id\":7,\"error\":{\"code\":-32602,\"message\":\"a\\nb\",\"data\":{\"x\":1.0}}}",
        "{\"id\":null,\"error\":{\"data\":{\"x\":1.0},\"code\":-32602,\"message\":\"a\\nb\"}}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        rbk_upstream_answer a;
        rbk_upstream_read(rbk_str_z(bodies[i]), RBK_STR("7"), &a);
        assert_int_equal(a.kind, RBK_UPSTREAM_ERROR);
        assert_int_equal(a.code, -32602);
        assert_string_equal(a.message, "a\nb");
        assert_string_equal(a.data, "{\"x\":1.0}");
        rbk_arena_free(&a.mem);
    }
}

static void check_host(const char *location, const char *host)
{
    rbk_str got = rbk_upstream_location_host(rbk_str_z(location));
    if (!rbk_str_eqz(got, host))
        fail_msg("%s: %.*s", location, RBK_FMT(got));
}

static void test_location(void **state)
{
    (void)state;
    check_host("https://a.example/x", "a.example");
    check_host("//u:p@a.example:81?x", "a.example:81");
    check_host("http://a.example", "a.example");
    check_host("/x", "");
    check_host("", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_location),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
