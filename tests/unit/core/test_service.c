/* SPDX-License-Identifier: Apache-2.0 */
/* Service parameters: spellings, types, ranges, and what is said of a bad one. */
#include "core/rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static const rbk_rpc_limits limits = {.max_batch = 10, .max_timeout_ms = 90500};
static rbk_rpc_doc *doc;

static rbk_rpc_item *parse(const char *body)
{
    rbk_rpc_free(doc);
    doc = NULL;
    int err = rbk_rpc_parse(rbk_str_z(body), &limits, &doc);
    if (err)
        fail_msg("%s: %s", rbk_err_name(err), body);
    return &doc->items[0];
}

/* Three ways to say the same members: in params, nested, beside params. */
static rbk_rpc_item *parse_params(const char *members)
{
    char body[4096];
    snprintf(body, sizeof body, "{\"id\":1,\"method\":\"m\",\"params\":{%s}}", members);
    return parse(body);
}

static void assert_str(rbk_str got, const char *want)
{
    if (got.p == NULL || !rbk_str_eqz(got, want))
        fail_msg("got '%.*s', want '%s'", RBK_FMT(got), want);
}

static void assert_refused(const rbk_rpc_item *it, const char *data)
{
    assert_int_equal(it->err, RBK_E_PARAMS);
    assert_str(it->err_data, data);
    assert_int_equal(rbk_json_check(it->err_data), 0);
    assert_int_equal(it->svc.set, 0);
}

static void test_spellings(void **state)
{
    (void)state;
    static const struct {
        const char *body, *params;
    } rows[] = {
        {"{\"id\":1,\"method\":\"m\",\"params\":{\"a\":1,\"$rpc.callback\":\"https://h/\"}}",
         "{\"a\":1}"},
        {"{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc.callback\":\"https://h/\",\"a\":1}}",
         "{\"a\":1}"},
        {"{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc\":{\"callback\":\"https://h/\"},\"a\":1}}",
         "{\"a\":1}"},
        {"{\"id\":1,\"method\":\"m\",\"params\":[1],\"$rpc.callback\":\"https://h/\"}", "[1]"},
        {"{\"$rpc\":{\"callback\":\"https://h/\"},\"id\":1,\"method\":\"m\",\"params\":[1]}",
         "[1]"},
        {"{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc\\u002ecallback\":\"https:\\/\\/h/\"}}",
         "{}"},
        {"{\"id\":1,\"method\":\"m\",\"params\":{\"\\u0024rpc\":{\"\\u0063allback\":\"https://h/"
         "\"}}}",
         "{}"},
        {"{\"id\":1,\"method\":\"m\",\"\\u0024rpc.c\\u0061llback\":\"https://h/\",\"params\":{}}",
         "{}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_rpc_item *it = parse(rows[i].body);
        assert_int_equal(it->err, 0);
        assert_int_equal(it->svc.set, RBK_SVC_BIT(callback));
        assert_str(it->svc.callback, "https://h/");
        assert_str(it->params, rows[i].params);
    }
}

/* What stays of params is the caller's own spelling. */
static void test_params_that_stay(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\"a\":1.0,\"$rpc.rayId\":1,\"b\" : [ 1 ]", "{\"a\":1.0,\"b\" : [ 1 ]}"},
        {" \"$rpc.rayId\" : 1 , \"b\":2 ", "{\"b\":2}"},
        {" \"b\":2 , \"$rpc.rayId\" : 1 ", "{ \"b\":2}"},
        {"\"$rpc.rayId\":1,\"$rpc.timeout\":1,\"a\":1,\"$rpc.ignoreCache\":true,\"b\":2",
         "{\"a\":1,\"b\":2}"},
        {"\"a\":1,\"$rpc\":{},\"a\":2", "{\"a\":1,\"a\":2}"}, /* the method's own matter */
        {"\"$rpc\":{}", "{}"},
        {"\"$\":1,\"$rpcx\":2,\"$RPC.callback\":3,\"rpc.callback\":4,\"x\":{\"$rpc.callback\":5}",
         "{\"$\":1,\"$rpcx\":2,\"$RPC.callback\":3,\"rpc.callback\":4,\"x\":{\"$rpc.callback\":5}"
         "}"},
        {"\"\\u0000\":1,\"$rpc.rayId\":7,\"\\\\$rpc\":1e400", "{\"\\u0000\":1,\"\\\\$rpc\":1e400}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_rpc_item *it = parse_params(rows[i][0]);
        assert_int_equal(it->err, 0);
        assert_str(it->params, rows[i][1]);
    }
}

/* In an array nothing is ours. */
static void test_by_position(void **state)
{
    (void)state;
    rbk_rpc_item *it = parse("{\"id\":1,\"method\":\"m\",\"params\":[{\"$rpc.calback\":1}]}");
    assert_int_equal(it->err, 0);
    assert_str(it->params, "[{\"$rpc.calback\":1}]");
}

static void test_all_values(void **state)
{
    (void)state;
    rbk_rpc_item *it = parse("{\"id\":1,\"method\":\"m\",\"$rpc\":{\"delay\":2592000},\"params\":{"
                             "\"$rpc.callback\":\"\\u0068ttps://h\",\"$rpc.timeout\":0.1,"
                             "\"$rpc\":{\"receipt\":true,\"rayId\":\"r-1\"}},"
                             "\"$rpc.ignoreCache\":false}");
    assert_int_equal(it->err, 0);
    assert_int_equal(it->svc.set, 63);
    assert_str(it->svc.callback, "https://h");
    assert_str(it->svc.ray_id, "r-1");
    assert_int_equal(it->svc.timeout_ms, 100);
    assert_int_equal(it->svc.delay_ms, INT64_C(2592000000));
    assert_true(it->svc.receipt);
    it = parse("{\"id\":1,\"method\":\"m\"}");
    assert_int_equal(it->svc.set, 0);
    assert_null(it->svc.callback.p);
    assert_int_equal(it->svc.timeout_ms, 0);
}

static void test_seconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } rows[] = {
        {"0.1", 100},
        {"1e-1", 100},
        {"0.10000000000000000000000", 100},
        {"1", 1000},
        {"1.5", 1500},
        {"90.5", 90500},
        {"9.05e1", 90500},
        {"0.1234", 123},
        {"0.0999", -1},
        {"90.501", -1},
        {"0", -1},
        {"-1", -1},
        {"1e400", -1},
        {"1e999", -1},
        {"-0", -1},
        {"\"1\"", -1},
        {"null", -1},
        {"true", -1},
        {"[1]", -1},
        {"{}", -1},
        {"99999999999999999999999", -1},
        {"18446744073709551617", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char members[200];
        snprintf(members, sizeof members, "\"$rpc.timeout\":%s", rows[i].text);
        rbk_rpc_item *it = parse_params(members);
        if (rows[i].ms >= 0) {
            assert_int_equal(it->err, 0);
            assert_int_equal(it->svc.timeout_ms, rows[i].ms);
        } else {
            assert_refused(it,
                           "{\"$rpc.timeout\":\"must be a number of seconds from 0.1 to 90.5\"}");
        }
    }
}

static void test_delay(void **state)
{
    (void)state;
    rbk_rpc_item *it = parse_params("\"$rpc.callback\":\"https://h\",\"$rpc.delay\":0");
    assert_int_equal(it->err, 0);
    assert_int_equal(it->svc.delay_ms, 0);
    it = parse_params("\"$rpc.callback\":\"https://h\",\"$rpc.delay\":0.0004");
    assert_int_equal(it->svc.delay_ms, 0);
    static const char *const bad[] = {"-0.001", "2592000.001", "\"5\"", "null"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char members[200];
        snprintf(members, sizeof members, "\"$rpc.callback\":\"x\",\"$rpc.delay\":%s", bad[i]);
        assert_refused(parse_params(members),
                       "{\"$rpc.delay\":\"must be a number of seconds from 0 to 2592000\"}");
    }
}

/* With a callback, in the spelling at hand. */
static rbk_rpc_item *parse_one(const char *name, const char *value)
{
    char members[2048];
    snprintf(members, sizeof members, "\"$rpc.callback\":\"https://h\",\"$rpc.%s\":%s", name,
             value);
    return parse_params(members);
}

/* What the value is read as, whether or not this version offers the name. */
static rbk_service value_of(const char *name, const char *value)
{
    static rbk_arena arena = RBK_ARENA(4096);
    char member[64];
    rbk_service svc = {0};
    rbk_svc_reader r = {.arena = &arena, .max_timeout_ms = 1000, .svc = &svc};
    rbk_arena_free(&arena); /* of the value before */
    snprintf(member, sizeof member, "$rpc.%s", name);
    rbk_svc_take(&r, rbk_str_z(member), rbk_str_z(value));
    return svc;
}

static void test_wait(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {{"0", 0}, {"0.25", 250}, {"5", 5000}, {"30", 30000}, {"3e1", 30000}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(value_of("wait", rows[i].text).wait_ms, rows[i].ms);
    static const char *const bad[] = {"-0.001", "30.001", "\"5\"", "null", "true", "1e999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(parse_one("wait", bad[i]),
                       "{\"$rpc.wait\":\"must be a number of seconds from 0 to 30\"}");
}

static void test_deadline(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        rbk_wall_ms want;
    } rows[] = {
        {"1795460645", 1795460645000},
        {"1795460645.25", 1795460645250},
        {"1.5e9", 1500000000000},
        {"0", 1}, /* long ago, and given */
        {"253402300799.999", 253402300799999},
        {"\"2026-11-23T19:04:05Z\"", 1795460645000},
        {"\"2026-11-23T21:04:05.25+02:00\"", 1795460645250},
        {"\"2026-11-23\\u005419:04:05z\"", 1795460645000},
        {"\"1970-01-01T00:00:00+01:00\"", 1},
        {"\"9999-12-31T23:59:59.999Z\"", 253402300799999},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_wall_ms t = value_of("deadline", rows[i].text).deadline;
        if (t != rows[i].want)
            fail_msg("%s: %lld", rows[i].text, (long long)t);
    }
    static const char *const bad[] = {
        "-1", "1795460645000", "253402300800", "1e999", "null", "true", "[]", "\"\"", "\"soon\"",
        "\"2026-11-23\"", "\"2026-11-23T19:04:05\"", "\"2026-11-31T19:04:05Z\"",
        "\"1795460645\"", "\"2026-11-23T19:04:05Z\\u0000\"",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(parse_one("deadline", bad[i]),
                       "{\"$rpc.deadline\":\"must be an RFC 3339 time, or unix seconds\"}");
}

static void test_failure_callback(void **state)
{
    (void)state;
    assert_str(value_of("failureCallback", "\"https:\\/\\/f\"").failure_callback, "https://f");
    assert_str(value_of("failureCallback", "\"\"").failure_callback, "");
    static const char *const bad[] = {"null", "1", "true", "{}", "[\"https://f\"]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_refused(parse_one("failureCallback", bad[i]),
                       "{\"$rpc.failureCallback\":\"must be a non-empty string\"}");
}

/* `n` bytes as a JSON string. */
static const char *string_of(size_t n)
{
    static char text[300];
    memset(text, 'k', n + 2);
    text[0] = text[n + 1] = '"';
    text[n + 2] = 0;
    return text;
}

static void test_keys(void **state)
{
    (void)state;
    assert_str(value_of("idempotencyKey", "\"order-1\"").idem_key, "order-1");
    assert_str(value_of("key", "\"\\u00e9 \"").order_key, "\xc3\xa9 ");
    assert_int_equal(value_of("idempotencyKey", string_of(255)).idem_key.n, 255);
    assert_int_equal(value_of("key", string_of(255)).order_key.n, 255);
    static const char *const names[] = {"idempotencyKey", "key"};
    static const char *const bad[] = {"\"\"", "1", "null", "true", "[]", "\"a\\u0000\"", NULL};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (size_t k = 0; k < 2; k++) {
            char want[200];
            snprintf(want, sizeof want,
                     "{\"$rpc.%s\":\"must be a string of 1 to 255 bytes, without NUL\"}", names[k]);
            assert_refused(parse_one(names[k], bad[i] ? bad[i] : string_of(256)), want);
        }
}

static void test_types(void **state)
{
    (void)state;
#define RAY      "{\"$rpc.rayId\":\"must be 1 to 128 visible ASCII characters, or an integer\"}"
#define CALLBACK "{\"$rpc.callback\":\"must be a non-empty string\"}"
    static const char *const rows[][2] = {
        {"\"$rpc.callback\":1", CALLBACK},
        {"\"$rpc.callback\":true", CALLBACK},
        {"\"$rpc.callback\":null", CALLBACK},
        {"\"$rpc.callback\":{\"url\":\"https://h/\"}", CALLBACK},
        {"\"$rpc.callback\":[\"https://h/\"]", CALLBACK},
        {"\"$rpc.callback\":\"x\",\"$rpc.receipt\":1",
         "{\"$rpc.receipt\":\"must be true or false\"}"},
        {"\"$rpc.ignoreCache\":\"true\"", "{\"$rpc.ignoreCache\":\"must be true or false\"}"},
        {"\"$rpc.ignoreCache\":null", "{\"$rpc.ignoreCache\":\"must be true or false\"}"},
        {"\"$rpc.rayId\":\"\"", RAY},
        {"\"$rpc.rayId\":\"a b\"", RAY},
        {"\"$rpc.rayId\":\"a\\u0000b\"", RAY},
        {"\"$rpc.rayId\":\"a\\r\\nX: y\"", RAY},
        {"\"$rpc.rayId\":\"\xc3\xa9\"", RAY},
        {"\"$rpc.rayId\":\"\x7f\"", RAY},
        {"\"$rpc.rayId\":1.0", RAY},
        {"\"$rpc.rayId\":1e3", RAY},
        {"\"$rpc.rayId\":false", RAY},
        {"\"$rpc\":null", "{\"$rpc\":\"must be an object\"}"},
        {"\"$rpc\":[]", "{\"$rpc\":\"must be an object\"}"},
        {"\"$rpc\":\"https://h/\"", "{\"$rpc\":\"must be an object\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_refused(parse_params(rows[i][0]), rows[i][1]);
    assert_str(parse_params("\"$rpc.rayId\":-12345678901234567890123")->svc.ray_id,
               "-12345678901234567890123");
    assert_str(parse_params("\"$rpc.rayId\":\"!~\"")->svc.ray_id, "!~");
    /* An empty callback is a string; the checks of the address name the fault. */
    assert_int_equal(parse_params("\"$rpc.callback\":\"\"")->err, 0);
    assert_str(doc->items[0].svc.callback, "");
}

static void test_ray_id_length(void **state)
{
    (void)state;
    char members[400] = "\"$rpc.rayId\":\"";
    size_t n = strlen(members);
    memset(members + n, 'r', 128);
    strcpy(members + n + 128, "\"");
    assert_int_equal(parse_params(members)->svc.ray_id.n, 128);
    strcpy(members + n + 128, "r\"");
    assert_refused(parse_params(members), RAY);
}

static void test_twice(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc.callback\":\"a\",\"$rpc.callback\":\"a\"}}",
        "{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc.callback\":\"a\",\"$rpc\\u002ecallback\":"
        "\"b\"}}",
        "{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc.callback\":\"a\",\"$rpc\":{\"callback\":"
        "\"b\"}}}",
        "{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc\":{\"callback\":\"a\",\"callback\":\"b\"}}}",
        "{\"id\":1,\"method\":\"m\",\"$rpc.callback\":\"a\",\"params\":{\"$rpc.callback\":\"b\"}}",
        "{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc.callback\":\"b\"},\"$rpc\":{\"callback\":"
        "\"a\"}}",
        "{\"id\":1,\"method\":\"m\",\"$rpc.callback\":\"a\",\"$rpc.callback\":\"b\"}",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_refused(parse(rows[i]), "{\"$rpc.callback\":\"given twice\"}");
    assert_refused(parse_params("\"$rpc\":{\"rayId\":1},\"$rpc\":{\"timeout\":1}"),
                   "{\"$rpc\":\"given twice\"}");
    /* Beside params it is a member of the request object. */
    assert_int_equal(parse("{\"id\":1,\"method\":\"m\",\"$rpc\":{},\"$rpc\":{}}")->err,
                     RBK_E_REQUEST);
    /* One here and one there is no repetition. */
    assert_int_equal(parse("{\"id\":1,\"method\":\"m\",\"$rpc\":{\"rayId\":1},\"params\":{\"$rpc\":"
                           "{\"timeout\":1}}}")
                         ->err,
                     0);
}

static void test_unknown(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"\"$rpc.calback\":\"https://h/\"", "{\"$rpc.calback\":\"unknown service parameter\"}"},
        {"\"$rpc\":{\"Callback\":\"https://h/\"}",
         "{\"$rpc.Callback\":\"unknown service parameter\"}"},
        {"\"$rpc.\":1", "{\"$rpc.\":\"unknown service parameter\"}"},
        {"\"$rpc\":{\"$rpc.callback\":1}",
         "{\"$rpc.$rpc.callback\":\"unknown service parameter\"}"},
        {"\"$rpc.callback\\u0000\":1", "{\"$rpc.callback\\u0000\":\"unknown service parameter\"}"},
        {"\"$rpc.\\\"\\u0001\":1", "{\"$rpc.\\\"\\u0001\":\"unknown service parameter\"}"},
        {"\"$rpc.idempotencyKey\":\"k\"", "{\"$rpc.idempotencyKey\":\"needs $rpc.callback\"}"},
        {"\"$rpc.key\":\"k\"", "{\"$rpc.key\":\"needs $rpc.callback\"}"},
        {"\"$rpc.events\":[]", "{\"$rpc.events\":\"needs $rpc.callback\"}"},
        {"\"$rpc.events\":[\"progress\",null]", "{\"$rpc.events\":\"must be a list of \\\"progress\\\"\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_refused(parse_params(rows[i][0]), rows[i][1]);
}

/* A name that a peer made long is shown cut, between characters. */
static void test_long_unknown_name(void **state)
{
    (void)state;
    static char members[4000] = "\"$rpc.x";
    size_t n = strlen(members);
    for (size_t i = 0; i < 1000; i++)
        memcpy(members + n + 3 * i, "\xe2\x82\xac", 3);
    strcpy(members + n + 3000, "\":1");
    rbk_rpc_item *it = parse_params(members);
    assert_int_equal(it->err, RBK_E_PARAMS);
    assert_true(it->err_data.n < 300);
    assert_int_equal(rbk_json_check(it->err_data), 0);
    /* All control characters: the longest to write. */
    char small[1200] = "\"$rpc.";
    for (size_t i = 0; i < 150; i++)
        strcat(small, "\\u0001");
    strcat(small, "\":1");
    it = parse_params(small);
    assert_int_equal(it->err, RBK_E_PARAMS);
    assert_int_equal(rbk_json_check(it->err_data), 0);
}

static void test_needs_callback(void **state)
{
    (void)state;
    assert_refused(parse_params("\"$rpc.delay\":1"), "{\"$rpc.delay\":\"needs $rpc.callback\"}");
    assert_refused(parse_params("\"$rpc\":{\"failureCallback\":\"x\"}"),
                   "{\"$rpc.failureCallback\":\"needs $rpc.callback\"}");
    assert_refused(parse_params("\"$rpc.wait\":1"), "{\"$rpc.wait\":\"needs $rpc.callback\"}");
    assert_int_equal(parse_params("\"$rpc.deadline\":1")->err, 0);
    assert_refused(parse_params("\"$rpc.receipt\":false"),
                   "{\"$rpc.receipt\":\"needs $rpc.callback\"}");
    assert_int_equal(
        parse_params("\"$rpc.timeout\":1,\"$rpc.rayId\":1,\"$rpc.ignoreCache\":true")->err, 0);
    assert_int_equal(parse("{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc.receipt\":true},"
                           "\"$rpc.callback\":\"x\"}")
                         ->err,
                     0);
}

/* The first fault of $rpc is named; one of the request comes before all. */
static void test_precedence(void **state)
{
    (void)state;
    assert_refused(parse_params("\"$rpc.timeout\":0.2,\"$rpc.a\":1,\"$rpc.callback\":2"),
                   "{\"$rpc.a\":\"unknown service parameter\"}");
    assert_refused(parse_params("\"$rpc.delay\":1,\"$rpc.a\":1"),
                   "{\"$rpc.a\":\"unknown service parameter\"}");
    rbk_rpc_item *it = parse("{\"id\":1,\"$rpc.a\":1,\"params\":{}}");
    assert_int_equal(it->err, RBK_E_REQUEST);
    assert_null(it->err_data.p);
    it = parse("{\"method\":\"m\",\"params\":{\"$rpc.a\":1}}");
    assert_int_equal(it->err, RBK_E_PARAMS);
    assert_true(it->notification); /* logged, never answered */
}

static int free_doc(void **state)
{
    (void)state;
    rbk_rpc_free(doc);
    doc = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_params_that_stay),
        cmocka_unit_test(test_by_position),
        cmocka_unit_test(test_all_values),
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_failure_callback),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_ray_id_length),
        cmocka_unit_test(test_twice),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_long_unknown_name),
        cmocka_unit_test(test_needs_callback),
        cmocka_unit_test(test_precedence),
    };
    return cmocka_run_group_tests(tests, NULL, free_doc);
}
