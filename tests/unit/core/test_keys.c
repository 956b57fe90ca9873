/* SPDX-License-Identifier: Apache-2.0 */
/* The print of a request, and the header that names an idempotency key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "core/keys.h"

/* --- The print ---------------------------------------------------------------------------- */

static void print_of(const rbk_job *job, uint8_t out[32])
{
    assert_true(rbk_request_print(job, out));
}

static bool same_print(const rbk_job *a, const rbk_job *b)
{
    uint8_t x[32], y[32];
    print_of(a, x);
    print_of(b, y);
    return memcmp(x, y, sizeof x) == 0;
}

static rbk_job a_job(void)
{
    return (rbk_job){.seq = 1,
                     .method = RBK_STR("Order.run"),
                     .params = RBK_STR("{\"a\":1}"),
                     .callback = RBK_STR("https://example.com/a"),
                     .rpc_id = RBK_STR("1"),
                     .caller = RBK_STR("shop")};
}

static void test_print_is_of_the_request_alone(void **state)
{
    (void)state;
    rbk_job a = a_job(), b = a_job();
    b.seq = 2;
    b.rpc_id = RBK_STR("\"other\"");
    b.ray_id = RBK_STR("r");
    b.headers = RBK_STR("a: b\r\n");
    b.timeout_ms = 5;
    b.deadline = 7;
    b.order_key = RBK_STR("k");
    b.flags = RBK_JOB_VERSIONED;
    assert_true(same_print(&a, &b));
}

static void test_print_tells_requests_apart(void **state)
{
    (void)state;
    const rbk_job a = a_job();
    rbk_job b[9];
    for (int i = 0; i < 9; i++)
        b[i] = a;
    b[0].method = RBK_STR("Order.ran");
    b[1].params = RBK_STR("{\"a\": 1}");
    b[2].params = RBK_STR_NONE;
    b[3].params = RBK_STR("");
    b[4].callback = RBK_STR("https://example.com/b");
    b[5].failure_callback = RBK_STR("https://example.com/a");
    b[6].flags = RBK_JOB_NOTIFICATION;
    b[7].method = RBK_STR("Order.run{"); /* the same bytes, cut elsewhere */
    b[7].params = RBK_STR("\"a\":1}");
    b[8].params = RBK_STR("{\"a\":1}h");
    b[8].callback = RBK_STR("ttps://example.com/a");
    for (int i = 0; i < 9; i++) {
        assert_false(same_print(&a, &b[i]));
        for (int k = 0; k < i; k++)
            assert_false(same_print(&b[k], &b[i]));
    }
}

static void lane_of(const char *caller, const char *key, char out[RBK_KEY_LANE_MAX + 1])
{
    assert_true(rbk_key_lane(caller ? rbk_str_z(caller) : RBK_STR_NONE, rbk_str_z(key), out));
    assert_int_equal(strlen(out), RBK_KEY_LANE_MAX);
    assert_int_equal(strncmp(out, "key:", 4), 0);
    assert_int_equal(strspn(out + 4, "0123456789abcdef"), 64);
}

static void test_lane(void **state)
{
    (void)state;
    static const char *const of[][2] = {{"shop", "a"}, {"shop", "b"}, {"sho", "pa"}, {NULL, "shopa"},
                                        {"", "a"}, {NULL, "a"}};
    char lane[6][RBK_KEY_LANE_MAX + 1], again[RBK_KEY_LANE_MAX + 1];
    for (int i = 0; i < 6; i++) {
        lane_of(of[i][0], of[i][1], lane[i]);
        lane_of(of[i][0], of[i][1], again);
        assert_string_equal(lane[i], again);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(lane[i], lane[k]);
    }
}

/* --- The header ----------------------------------------------------------------------------- */

#define CALL(more) "{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc.callback\":\"https://h.example/\"" more "}}"

static rbk_rpc_doc *parse(const char *body)
{
    const rbk_rpc_limits limits = {.max_batch = 10, .max_timeout_ms = 1000};
    rbk_rpc_doc *doc = NULL;
    assert_int_equal(rbk_rpc_parse(rbk_str_z(body), &limits, &doc), 0);
    return doc;
}

static void expect_key(const char *body, const char *header, const char *want)
{
    rbk_rpc_doc *doc = parse(body);
    assert_int_equal(rbk_rpc_idempotency_key(doc, rbk_str_z(header)), 0);
    if (doc->items[0].err || !rbk_str_eqz(doc->items[0].svc.idem_key, want))
        fail_msg("%s: %d, %.*s", header, doc->items[0].err, RBK_FMT(doc->items[0].svc.idem_key));
    rbk_rpc_free(doc);
}

static void expect_refused(const char *body, const char *header, const char *want)
{
    rbk_rpc_doc *doc = parse(body);
    char data[200];
    snprintf(data, sizeof data, "{\"$rpc.idempotencyKey\":\"%s\"}", want);
    assert_int_equal(rbk_rpc_idempotency_key(doc, rbk_str_z(header)), 0);
    for (size_t i = 0; i < doc->n; i++) {
        assert_int_equal(doc->items[i].err, RBK_E_PARAMS);
        if (!rbk_str_eqz(doc->items[i].err_data, data))
            fail_msg("%s: %.*s", header, RBK_FMT(doc->items[i].err_data));
        assert_int_equal(doc->items[i].svc.set, 0);
    }
    rbk_rpc_free(doc);
}

static void test_header(void **state)
{
    (void)state;
    expect_key(CALL(""), "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"",
               "8e03978e-40d5-43dd-bc93-6894a57f9324");
    expect_key(CALL(""), "8e03978e-40d5-43dd-bc93-6894a57f9324",
               "8e03978e-40d5-43dd-bc93-6894a57f9324");
    expect_key(CALL(""), "  \"a b\" \t", "a b");
    expect_key(CALL(""), "\"a\\\"b\\\\c\"", "a\"b\\c");
    expect_key(CALL(""), "\"a\";p=1", "a");
    expect_key(CALL(""), "a+/=:.b", "a+/=:.b");
    expect_key(CALL(",\"$rpc.idempotencyKey\":\"k\""), "\"k\"", "k");
    char key[300];
    snprintf(key, sizeof key, "\"%0255d\"", 7);
    rbk_rpc_doc *doc = parse(CALL(""));
    assert_int_equal(rbk_rpc_idempotency_key(doc, rbk_str_z(key)), 0);
    assert_int_equal(doc->items[0].svc.idem_key.n, 255);
    rbk_rpc_free(doc);
}

static void test_header_that_is_no_key(void **state)
{
    (void)state;
    char quoted[300], bare[300];
    snprintf(quoted, sizeof quoted, "\"%0256d\"", 7);
    snprintf(bare, sizeof bare, "%0256d", 7);
    const char *const bad[] = {"",        "\"\"",      "\"",    "\"a",  "\"a\\\"", "\"a\\b\"", "\"a\" b",
                               "\"a\"b",  "a b",       "a,b",   "a\"",  "a;p=1",   "\"a\",\"b\"",
                               "\"\xc3\xa4\"", "\xc3\xa4", "\"a\tb\"", quoted, bare};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_refused(CALL(""), bad[i],
                       "the header Idempotency-Key is not a string of 1 to 255 bytes");
}

static void test_header_and_body(void **state)
{
    (void)state;
    expect_refused(CALL(",\"$rpc.idempotencyKey\":\"k\""), "\"other\"",
                   "differs from the header Idempotency-Key");
    expect_refused("{\"id\":1,\"method\":\"m\"}", "\"k\"", "needs $rpc.callback");
    expect_refused("[" CALL("") ",{\"id\":2,\"method\":\"m\"}]", "\"k\"",
                   "the header Idempotency-Key does not go with a batch");
    /* what has a fault already keeps it */
    rbk_rpc_doc *doc = parse("{\"id\":1}");
    assert_int_equal(rbk_rpc_idempotency_key(doc, RBK_STR("k")), 0);
    assert_int_equal(doc->items[0].err, RBK_E_REQUEST);
    rbk_rpc_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print_is_of_the_request_alone),
        cmocka_unit_test(test_print_tells_requests_apart),
        cmocka_unit_test(test_lane),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_header_that_is_no_key),
        cmocka_unit_test(test_header_and_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
