/* SPDX-License-Identifier: Apache-2.0 */
/* The table of errors, and filling an rbk_error. */
#include "base/error.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void test_rows(void **state)
{
    (void)state;
    assert_string_equal(rbk_strerror(RBK_E_PARSE), "Parse error");
    assert_string_equal(rbk_err_name(RBK_E_PARSE), "PARSE");
    assert_int_equal(rbk_err_rpc_code(RBK_E_PARSE), -32700);
    assert_int_equal(rbk_err_classify(RBK_E_BUSY), RBK_CLASS_RETRY);
    assert_int_equal(rbk_err_classify(RBK_E_IO), RBK_CLASS_FATAL);
    assert_string_equal(rbk_err_name(0), "OK");
}

/* The contract: code and message of each JSON-RPC error. */
static void test_contract(void **state)
{
    (void)state;
    static const struct {
        int err, code;
        const char *text;
    } rows[] = {
        {RBK_E_PARSE, -32700, "Parse error"},
        {RBK_E_REQUEST, -32600, "Invalid Request"},
        {RBK_E_METHOD, -32601, "Method not found"},
        {RBK_E_PARAMS, -32602, "Invalid params"},
        {RBK_E_INTERNAL, -32603, "Internal error"},
        {RBK_E_UNAUTHORIZED, -32001, "Unauthorized"},
        {RBK_E_TIMEOUT, -32002, "Timed out"},
        {RBK_E_NOTFOUND, -32003, "Job not found"},
        {RBK_E_INTERRUPTED, -32004, "Interrupted"},
        {RBK_E_CANCELLED, -32005, "Cancelled"},
        {RBK_E_TOO_LARGE, -32007, "Request too large"},
        {RBK_E_RESULT_SIZE, -32008, "Result too large"},
        {RBK_E_BUSY, -32009, "Server is busy"},
        {RBK_E_BATCH, -32010, "Batch too large"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(rbk_err_rpc_code(rows[i].err), rows[i].code);
        assert_string_equal(rbk_strerror(rows[i].err), rows[i].text);
    }
}

static void test_unknown_numbers(void **state)
{
    (void)state;
    static const int odd[] = {1, 7, -31, -1000, INT_MAX, INT_MIN, INT_MIN + 1};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        assert_string_equal(rbk_strerror(odd[i]), "Unknown error");
        assert_string_equal(rbk_err_name(odd[i]), "UNKNOWN_ERROR");
        assert_int_equal(rbk_err_rpc_code(odd[i]), -32603);
        assert_int_equal(rbk_err_classify(odd[i]), RBK_CLASS_FATAL);
    }
}

static void test_fail(void **state)
{
    (void)state;
    rbk_error e;
    assert_int_equal(rbk_fail(NULL, RBK_E_IO, "x"), RBK_E_IO);
    assert_int_equal(rbk_fail(&e, RBK_E_IO, "%s:%d", "/secret/path", 7), RBK_E_IO);
    assert_int_equal(e.code, RBK_E_IO);
    assert_string_equal(e.detail, "/secret/path:7");
    assert_null(strstr(e.text, "secret")); /* what the operator sees is not the peer's */
    assert_int_equal(rbk_fail_text(&e, RBK_E_CONFIG, "line %d", 3), RBK_E_CONFIG);
    assert_string_equal(e.text, "line 3");
    assert_string_equal(e.detail, "line 3");
}

static void test_long_text_is_cut(void **state)
{
    (void)state;
    rbk_error e;
    char big[2000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = 0;
    rbk_fail_text(&e, RBK_E_CONFIG, "%s", big);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_int_equal(strlen(e.detail), sizeof e.detail - 1);
}

/* What is cut still is UTF-8, wherever the cut falls. */
static void test_cut_between_characters(void **state)
{
    (void)state;
    static const char *const chars[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < 3; c++)
        for (size_t before = 0; before < 4; before++) {
            char big[600] = "aaaa";
            size_t n = strlen(chars[c]);
            big[before] = 0;
            for (int i = 0; i < 100; i++)
                strcat(big, chars[c]);
            rbk_error e;
            rbk_fail_text(&e, RBK_E_CONFIG, "%s", big);
            size_t len = strlen(e.text);
            assert_true(len > sizeof e.text - 5);
            assert_int_equal((len - before) % n, 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_contract),
        cmocka_unit_test(test_unknown_numbers),
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
