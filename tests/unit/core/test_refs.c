/* SPDX-License-Identifier: Apache-2.0 */
/* References to other members' results: found, and replaced. */
#include "core/refs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static rbk_arena arena = RBK_ARENA(1 << 20);
static rbk_refs refs;

static int find(const char *params)
{
    rbk_arena_free(&arena);
    return rbk_refs_find(&arena, rbk_str_z(params), &refs);
}

static void assert_ref(size_t i, const char *member, const char *id, const char *path)
{
    assert_true(i < refs.n);
    assert_true(rbk_str_eqz(refs.ref[i].member, member));
    assert_true(rbk_str_eqz(refs.ref[i].id, id));
    assert_true(rbk_str_eqz(refs.ref[i].path, path));
}

static void test_find(void **state)
{
    (void)state;
    assert_int_equal(find("{\"a\":\"@FROM:x(b.c)\",\"d\":[1,{\"e\":\"@FROM:7()\"},\"@FROM:x\"]}"), 0);
    assert_int_equal(refs.n, 3);
    assert_int_equal(refs.parts, 2);
    assert_ref(0, "a", "x", "b.c");
    assert_ref(1, "d", "7", "");
    assert_ref(2, "d", "x", "");
    assert_int_equal(refs.ref[0].part, 0);
    assert_int_equal(refs.ref[1].part, 1);
    assert_int_equal(refs.ref[2].part, 0);
    assert_int_equal(find("[0, \"@FROM:x(a(b)\" , [[\"@FROM:f(1)(z)\"]]]"), 0);
    assert_ref(0, "1", "x(a", "b");
    assert_ref(1, "2", "f(1)", "z");
    /* However it is spelt. */
    assert_int_equal(find("{\"\\u0061\":\"\\u0040FRO\\u004d:\\\"q\\\"(\\u0070)\"}"), 0);
    assert_ref(0, "a", "\"q\"", "p");
    assert_int_equal(find("[\"@FROM:\"]"), 0);
    assert_ref(0, "0", "", "");
}

static void test_nothing(void **state)
{
    (void)state;
    static const char *const none[] = {
        "", "{}", "[]", "{\"@FROM:x\":1}", "{\"a\":{\"@FROM:x()\" :2}}", "[\" @FROM:x\"]",
        "[\"@from:x\"]", "[\"@FROM\"]", "[\"a @FROM:x()\"]", "[\"\\\"@FROM:x()\"]"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_int_equal(find(none[i]), 0);
        assert_int_equal(refs.n, 0);
    }
    assert_int_equal(rbk_refs_find(&arena, RBK_STR_NONE, &refs), 0);
    assert_int_equal(refs.n, 0);
}

static void test_too_many(void **state)
{
    (void)state;
    char text[65 * 20] = "[";
    for (int i = 0; i < 65; i++)
        sprintf(text + strlen(text), "%s\"@FROM:%d\"", i ? "," : "", i % 3);
    strcat(text, "]");
    assert_int_equal(find(text), RBK_E_TOO_LARGE);
    assert_int_equal(refs.n, 64);
    assert_ref(63, "63", "0", "");
    *strrchr(text, ',') = ']';
    *(strrchr(text, ']')) = 0;
    assert_int_equal(find(text), 0);
    assert_int_equal(refs.n, 64);
    assert_int_equal(refs.parts, 3);
}

static void test_ids(void **state)
{
    (void)state;
    rbk_arena_free(&arena);
    assert_true(rbk_str_eqz(rbk_refs_id(&arena, RBK_STR("\"a\\u0062\"")), "ab"));
    assert_true(rbk_str_eqz(rbk_refs_id(&arena, RBK_STR("1.0e5")), "1.0e5"));
    assert_null(rbk_refs_id(&arena, RBK_STR("null")).p);
    assert_null(rbk_refs_id(&arena, RBK_STR_NONE).p);
}

static void assert_value(const char *value, const char *path, const char *want)
{
    rbk_str got = rbk_value_at(&arena, rbk_str_z(value), rbk_str_z(path));
    if (want == NULL)
        assert_null(got.p);
    else if (!rbk_str_eqz(got, want))
        fail_msg("%s of %s is %.*s", path, value, RBK_FMT(got));
}

static void test_value(void **state)
{
    (void)state;
    const char *v = "{\"a\":{\"b\":[10, {\"c\" : 1.50} ,\"x\"]},\"a.b\":1,\"e\\u0066\":null,\"\":{\"\":5}}";
    assert_value(v, "", v);
    assert_value(v, "a.b.0", "10");
    assert_value(v, "a.b.1.c", "1.50");
    assert_value(v, "a.b.2", "\"x\"");
    assert_value(v, "ef", "null");
    assert_value(v, "a.b.3", NULL);
    assert_value(v, "a.b.01", NULL);
    assert_value(v, "a.b.-1", NULL);
    assert_value(v, "a.b.x", NULL);
    assert_value(v, "a.b.", NULL);
    assert_value(v, ".", NULL);
    assert_value(v, "a.b.2.y", NULL);
    assert_value("{\"k\":1,\"k\":2}", "k", "2");
    assert_value("7", "a", NULL);
}

static void test_response(void **state)
{
    (void)state;
    assert_true(rbk_str_eqz(rbk_response_result(RBK_STR("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[2]}")), "[2]"));
    assert_null(rbk_response_result(RBK_STR("{\"id\":1,\"error\":{\"result\":1}}")).p);
    assert_null(rbk_response_result(RBK_STR_NONE).p);
}

/* Parts by number; an empty one is an error of the fetching. */
static int give(void *user, uint32_t part, rbk_str *ret)
{
    const char *const *parts = user;
    *ret = rbk_str_z(parts[part]);
    return ret->n ? 0 : RBK_E_IO;
}

static int replace(const char *params, const char *const *parts, size_t max, const char *want,
                   const char *fault)
{
    rbk_buf to = RBK_BUF(max), data = RBK_BUF(4096);
    int r = rbk_refs_replace(rbk_str_z(params), give, (void *)(uintptr_t)parts, &to, &data);
    if (want && !rbk_str_eqz(rbk_buf_view(&to), want))
        fail_msg("got %.*s, want %s", (int)to.n, to.p, want);
    if (fault && !rbk_str_eqz(rbk_buf_view(&data), fault))
        fail_msg("got %.*s, want %s", (int)data.n, data.p, fault);
    rbk_buf_free(&to);
    rbk_buf_free(&data);
    return r;
}

static void test_replace(void **state)
{
    (void)state;
    const char *parts[] = {"{\"id\":1,\"result\":{\"n\":1.10,\"s\":\"@FROM:b(n)\"}}",
                           "{\"id\":2,\"result\":[]}"};
    assert_int_equal(replace("{\"x\" : \"@FROM:a(n)\",\"y\":[\"@FROM:a(s)\", \"@FROM:b\"]} ", parts,
                             1000, "{\"x\" : 1.10,\"y\":[\"@FROM:b(n)\", []]} ", NULL), 0);
    assert_int_equal(replace("[\"@FROM:a(no.\\u0022)\"]", parts, 1000, NULL,
                             "{\"0\":\"the result of the member a has no such part\"}"), RBK_E_PARAMS);
    assert_int_equal(replace("{\"k\":\"@FROM:a\"}", parts, 20, NULL,
                             "{\"k\":\"too large with the result of the member a\"}"), RBK_E_PARAMS);
    assert_int_equal(replace("{\"k\":\"@FROM:b\",\"long\":\"0123456789\"}", parts, 20, NULL,
                             "{\"k\":\"too large with the result of the member b\"}"), RBK_E_PARAMS);
    const char *failed[] = {"{\"id\":1,\"error\":{\"code\":1,\"message\":\"\"}}"};
    assert_int_equal(replace("{\"k\":\"@FROM:a\"}", failed, 1000, NULL,
                             "{\"k\":\"the member a has no result\"}"), RBK_E_PARAMS);
    const char *broken[] = {""};
    assert_int_equal(replace("{\"k\":\"@FROM:a\"}", broken, 1000, NULL, ""), RBK_E_IO);
}

static void test_depth(void **state)
{
    (void)state;
    char deep[200] = "{\"id\":1,\"result\":";
    memset(deep + strlen(deep), '[', 62);
    memset(deep + strlen(deep), ']', 62);
    strcat(deep, "}");
    const char *parts[] = {deep};
    assert_int_equal(replace("[\"@FROM:a\"]", parts, 1000, NULL, ""), 0);
    assert_int_equal(replace("[[[\"@FROM:a\"]]]", parts, 1000, NULL,
                             "{\"0\":\"nested too deep with the result of the member a\"}"), RBK_E_PARAMS);
}

static void test_long_names(void **state)
{
    (void)state;
    char params[600] = "{\"k\":\"@FROM:";
    for (int i = 0; i < 200; i++)
        strcat(params, "\xc3\xa4");
    strcat(params, "\"}");
    const char *failed[] = {"{\"id\":1,\"error\":{}}"};
    char want[400] = "{\"k\":\"the member ";
    for (int i = 0; i < 50; i++)
        strcat(want, "\xc3\xa4");
    strcat(want, " has no result\"}");
    assert_int_equal(replace(params, failed, 1000, NULL, want), RBK_E_PARAMS);
}

static int teardown(void **state)
{
    (void)state;
    rbk_arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),    cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_too_many), cmocka_unit_test(test_ids),
        cmocka_unit_test(test_value),   cmocka_unit_test(test_response),
        cmocka_unit_test(test_replace), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
