/* SPDX-License-Identifier: Apache-2.0 */
/* What goes back, byte for byte. */
#include "core/envelope.h"
#include "core/rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static rbk_buf b = RBK_BUF(4096);
static const rbk_to plain = {{"\"example_order\"", 15}, false}, versioned = {{"1.0e5", 5}, true};

static void assert_written(const char *want)
{
    assert_int_equal(rbk_buf_err(&b), 0);
    if (!rbk_str_eqz(rbk_buf_view(&b), want))
        fail_msg("got %.*s, want %s", (int)b.n, b.p, want);
    assert_int_equal(rbk_json_check(rbk_buf_view(&b)), 0);
    rbk_buf_free(&b);
}

static void test_result(void **state)
{
    (void)state;
    rbk_write_result(&b, plain, RBK_STR("{\"orderId\":\"12345\",\"totalAmount\":99.99}"));
    assert_written(
        "{\"id\":\"example_order\",\"result\":{\"orderId\":\"12345\",\"totalAmount\":99.99}}");
    rbk_write_result(&b, versioned, RBK_STR("null"));
    assert_written("{\"jsonrpc\":\"2.0\",\"id\":1.0e5,\"result\":null}");
}

static void test_error(void **state)
{
    (void)state;
    rbk_write_error(&b, plain, -5, RBK_STR("no \"stock\"\n"), RBK_STR("[1]"));
    assert_written(
        "{\"id\":\"example_order\",\"error\":{\"code\":-5,\"message\":\"no \\\"stock\\\"\\n\","
        "\"data\":[1]}}");
    rbk_write_error(&b, (rbk_to){RBK_STR_NONE, true}, INT64_MIN, RBK_STR(""), RBK_STR_NONE);
    assert_written("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-9223372036854775808,"
                   "\"message\":\"\"}}");
    rbk_write_error(&b, (rbk_to){RBK_STR("7"), false}, INT64_MAX, RBK_STR("m"), RBK_STR_NONE);
    assert_written("{\"id\":7,\"error\":{\"code\":9223372036854775807,\"message\":\"m\"}}");
}

static void test_fault(void **state)
{
    (void)state;
    rbk_write_fault(&b, versioned, RBK_E_PARAMS, RBK_STR("{\"$rpc.a\":\"b\"}"));
    assert_written("{\"jsonrpc\":\"2.0\",\"id\":1.0e5,\"error\":{\"code\":-32602,\"message\":"
                   "\"Invalid params\","
                   "\"data\":{\"$rpc.a\":\"b\"}}}");
    rbk_to to = {RBK_STR_NONE, false};
    rbk_write_fault(&b, to, RBK_E_PARSE, RBK_STR_NONE);
    assert_written("{\"id\":null,\"error\":{\"code\":-32700,\"message\":\"Parse error\"}}");
    /* What is wrong inside is not the caller's to know. */
    static const int inner[] = {RBK_E_NOMEM, RBK_E_IO,   RBK_E_DISK_FULL, RBK_E_UNKNOWN,
                                RBK_E_SYS,   RBK_E_BUSY, RBK_E_TLS};
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        rbk_write_fault(&b, to, inner[i], RBK_STR_NONE);
        assert_written("{\"id\":null,\"error\":{\"code\":-32009,\"message\":\"Server is busy\"}}");
    }
    rbk_write_fault(&b, to, RBK_E_SCHEMA, RBK_STR_NONE);
    assert_written("{\"id\":null,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}");
    rbk_write_fault(&b, to, -9999, RBK_STR_NONE);
    assert_written("{\"id\":null,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}");
}

/* The acknowledgement of the order example. */
static void test_ack(void **state)
{
    (void)state;
    rbk_write_ack(&b, plain, RBK_STR("https://example.com/order/callback"), RBK_STR_NONE);
    assert_written("{\"id\":\"example_order\",\"result\":{\"callback\":{\"url\":"
                   "\"https://example.com/order/callback\",\"status\":true,\"data\":[]}}}");
    rbk_write_ack(&b, versioned, RBK_STR("https://h/?q=\\"), RBK_STR("0198-x"));
    assert_written("{\"jsonrpc\":\"2.0\",\"id\":1.0e5,\"result\":{\"callback\":{\"url\":"
                   "\"https://h/?q=\\\\\",\"status\":true,\"data\":[{\"job\":\"0198-x\"}]}}}");
}

static void test_too_small(void **state)
{
    (void)state;
    rbk_buf small = RBK_BUF(20);
    rbk_write_ack(&small, plain, RBK_STR("https://h/"), RBK_STR_NONE);
    assert_int_equal(rbk_buf_err(&small), RBK_E_TOO_LARGE);
    rbk_buf_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_result),    cmocka_unit_test(test_error),
        cmocka_unit_test(test_fault),     cmocka_unit_test(test_ack),
        cmocka_unit_test(test_too_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
