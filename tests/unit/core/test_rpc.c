/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: the vectors that can be judged by the parser, the members of a request,
 * batches, hostile sizes, and every allocation failing in turn. */
#include "base/buf.h"
#include "core/rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>
#include <yyjson.h>

static const rbk_rpc_limits limits = {.max_batch = 1000, .max_timeout_ms = 3600000};
static rbk_rpc_doc *doc;

static int parse_n(const char *body, size_t n)
{
    rbk_rpc_free(doc);
    doc = NULL;
    return rbk_rpc_parse((rbk_str){body, n}, &limits, &doc);
}

static int parse(const char *body)
{
    return parse_n(body, strlen(body));
}

static rbk_rpc_item *one(const char *body)
{
    int err = parse(body);
    if (err || doc->n != 1)
        fail_msg("%s: %s", rbk_err_name(err), body);
    return &doc->items[0];
}

static void assert_str(rbk_str got, const char *want)
{
    if (got.p == NULL || !rbk_str_eqz(got, want))
        fail_msg("got '%.*s', want '%s'", RBK_FMT(got), want);
}

static yyjson_doc *load(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/jsonrpc/%s", getenv("RBK_TEST_DATA"), name);
    yyjson_doc *d = yyjson_read_file(path, 0, NULL, NULL);
    if (d == NULL)
        fail_msg("cannot read %s", path);
    return d;
}

/* Does `it` (NULL: the document, which failed with `err`) meet an expectation
 * {"error":…,"id_json":…} or {"result_json":…,"id_json":…}? Errors that the registry
 * of methods or a method gives are requests that the parser takes. */
static bool meets(yyjson_val *expect, const rbk_rpc_item *it, int err)
{
    int64_t code = yyjson_get_sint(yyjson_obj_get(expect, "error"));
    const char *id = yyjson_get_str(yyjson_obj_get(expect, "id_json"));
    int want = code == -32700 ? RBK_E_PARSE : code == -32600 ? RBK_E_REQUEST : 0;
    if (it == NULL)
        return err == want && strcmp(id, "null") == 0;
    return it->err == want && !it->notification && rbk_str_eqz(it->id, id);
}

static bool meets_any(yyjson_val *expect, int err)
{
    const rbk_rpc_item *it = err ? NULL : doc->items;
    yyjson_val *list = yyjson_obj_get(expect, "one_of"), *row;
    size_t i, max;
    if (list == NULL)
        return meets(expect, it, err);
    yyjson_arr_foreach(list, i, max, row) if (meets(row, it, err)) return true;
    return false;
}

static bool meets_batch(yyjson_val *list)
{
    size_t i, max;
    yyjson_val *row;
    if (!doc->batch || doc->n != yyjson_arr_size(list))
        return false;
    yyjson_arr_foreach(list, i, max, row) if (!meets(row, &doc->items[i], 0)) return false;
    return true;
}

static void test_edge_cases(void **state)
{
    (void)state;
    yyjson_doc *vectors = load("edge-cases.json");
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(vectors), "cases"), *row;
    size_t i, max, judged = 0;
    yyjson_arr_foreach(cases, i, max, row)
    {
        yyjson_val *request = yyjson_obj_get(row, "request"),
                   *expect = yyjson_obj_get(row, "expect");
        if (!yyjson_is_str(request))
            continue; /* a rule for the HTTP side */
        int err = parse_n(yyjson_get_str(request), yyjson_get_len(request));
        yyjson_val *batch = yyjson_obj_get(expect, "batch");
        if (batch ? err || !meets_batch(batch) : !meets_any(expect, err))
            fail_msg("%s", yyjson_get_str(yyjson_obj_get(row, "name")));
        judged++;
    }
    assert_int_equal(judged, 50);
    yyjson_doc_free(vectors);
}

/* What the specification answers follows from what the parser found. */
static void check_answer(const rbk_rpc_item *it, yyjson_val *answer)
{
    yyjson_val *error = yyjson_obj_get(answer, "error"), *id = yyjson_obj_get(answer, "id");
    char *id_text = yyjson_val_write(id, 0, NULL);
    bool invalid = yyjson_get_sint(yyjson_obj_get(error, "code")) == -32600;
    assert_int_equal(it->err, invalid ? RBK_E_REQUEST : 0);
    assert_true(it->versioned);
    assert_str(it->id, id_text);
    free(id_text);
}

static void check_answers(yyjson_val *answer)
{
    size_t k = 0;
    for (size_t i = 0; i < doc->n; i++) {
        const rbk_rpc_item *it = &doc->items[i];
        if (it->notification)
            continue;
        yyjson_val *row = doc->batch ? yyjson_arr_get(answer, k) : answer;
        assert_non_null(row);
        check_answer(it, row);
        k++;
    }
    assert_int_equal(k, !answer ? 0 : doc->batch ? yyjson_arr_size(answer) : 1);
}

static void test_spec_examples(void **state)
{
    (void)state;
    yyjson_doc *vectors = load("spec-examples.json");
    yyjson_val *cases = yyjson_obj_get(yyjson_doc_get_root(vectors), "cases"), *row;
    size_t i, max;
    assert_int_equal(yyjson_arr_size(cases), 15);
    yyjson_arr_foreach(cases, i, max, row)
    {
        const char *text = yyjson_get_str(yyjson_obj_get(row, "response"));
        yyjson_doc *answer = yyjson_read(text, strlen(text), 0); /* NULL for "nothing" */
        yyjson_val *root = yyjson_doc_get_root(answer);
        int err = parse(yyjson_get_str(yyjson_obj_get(row, "request")));
        yyjson_val *code = yyjson_ptr_get(root, "/error/code");
        if (err)
            assert_int_equal(rbk_err_rpc_code(err), yyjson_get_sint(code));
        else
            check_answers(root);
        yyjson_doc_free(answer);
    }
    yyjson_doc_free(vectors);
}

static void test_members(void **state)
{
    (void)state;
    rbk_rpc_item *it = one(" {\"params\" : {\"a\": 1.50 } ,\t\"id\":1.0e5,\"method\":\"m\"}\r\n");
    assert_int_equal(it->err, 0);
    assert_str(it->id, "1.0e5");
    assert_str(it->method, "m");
    assert_str(it->params, "{\"a\": 1.50 }");
    assert_false(it->versioned);
    assert_false(it->notification);
    assert_false(doc->batch);
    it = one("{\"jsonrpc\":\"2\\u002e0\",\"method\":\"a\\u0000b\",\"params\":null}");
    assert_int_equal(it->err, 0);
    assert_true(it->versioned);
    assert_true(it->notification);
    assert_null(it->id.p);
    assert_null(it->params.p);
    assert_true(rbk_str_eq(it->method, RBK_STR("a\0b")));
    it = one("{\"method\":\"\",\"id\":null,\"params\":[]}");
    assert_int_equal(it->err, 0);
    assert_str(it->method, "");
    assert_str(it->id, "null");
    assert_false(it->notification);
    assert_str(it->params, "[]");
}

/* The document lives on when the body is gone. */
static void test_body_may_go(void **state)
{
    (void)state;
    static const char text[] =
        "{\"id\":\"i\",\"method\":\"m\",\"params\":{\"$rpc.callback\":\"c\",\"k\":1}}";
    char *body = malloc(sizeof text - 1); /* exactly: no NUL behind it */
    memcpy(body, text, sizeof text - 1);
    assert_int_equal(parse_n(body, sizeof text - 1), 0);
    memset(body, 'x', sizeof text - 1);
    free(body);
    assert_str(doc->items[0].id, "\"i\"");
    assert_str(doc->items[0].method, "m");
    assert_str(doc->items[0].params, "{\"k\":1}");
    assert_str(doc->items[0].svc.callback, "c");
}

static void test_invalid_requests(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"{}", "null"},
        {"{\"id\":7}", "7"},
        {"{\"id\":7,\"method\":null}", "7"},
        {"{\"id\":7,\"method\":[\"m\"]}", "7"},
        {"{\"id\":7,\"method\":\"m\",\"jsonrpc\":2.0}", "7"},
        {"{\"id\":7,\"method\":\"m\",\"jsonrpc\":null}", "7"},
        {"{\"id\":7,\"method\":\"m\",\"jsonrpc\":\"2.00\"}", "7"},
        {"{\"method\":\"m\",\"jsonrpc\":\"1.0\"}", "null"},
        {"{\"id\":7,\"method\":\"m\",\"params\":\"x\"}", "7"},
        {"{\"id\":7,\"method\":\"m\",\"params\":false}", "7"},
        {"{\"id\":7,\"method\":\"m\",\"params\":0}", "7"},
        {"{\"id\":true,\"method\":\"m\"}", "null"},
        {"{\"id\":[7],\"method\":\"m\"}", "null"},
        {"{\"id\":{\"a\":7},\"method\":\"m\"}", "null"},
        {"{\"id\":7,\"method\":\"m\",\"method\":\"m\"}", "7"},
        {"{\"method\":\"a\",\"m\\u0065thod\":\"b\",\"id\":\"later\"}", "\"later\""},
        {"{\"id\":7,\"method\":\"m\",\"params\":[],\"params\":[]}", "7"},
        {"{\"id\":7,\"method\":\"m\",\"jsonrpc\":\"2.0\",\"jsonrpc\":\"2.0\"}", "7"},
        {"{\"id\":7,\"id\":7,\"method\":\"m\"}", "null"},
        {"{\"id\":7,\"i\\u0064\":8,\"method\":\"m\"}", "null"},
        {"{\"id\":7,\"x\":1,\"method\":\"m\",\"x\":2}", "7"},
        {"{\"id\":7,\"x\":1,\"method\":\"m\",\"\\u0078\":2}", "7"},
        {"{\"id\":7,\"\":1,\"method\":\"m\",\"\":2}", "7"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_rpc_item *it = one(rows[i][0]);
        if (it->err != RBK_E_REQUEST)
            fail_msg("accepted: %s", rows[i][0]);
        assert_str(it->id, rows[i][1]);
        assert_false(it->notification);
        assert_true(it->versioned);
    }
    /* Names that differ only in case, in NUL or in length are different names. */
    assert_int_equal(
        one("{\"id\":1,\"method\":\"m\",\"Id\":2,\"x\":1,\"X\":1,\"x\\u0000\":1,\"xx\":1}")->err,
        0);
}

static void test_documents(void **state)
{
    (void)state;
    assert_int_equal(parse("1"), RBK_E_REQUEST);
    assert_int_equal(parse("null"), RBK_E_REQUEST);
    assert_int_equal(parse("\"{}\""), RBK_E_REQUEST);
    assert_int_equal(parse(" [ ] "), RBK_E_REQUEST);
    assert_int_equal(parse(""), RBK_E_PARSE);
    assert_int_equal(parse("\xef\xbb\xbf{\"id\":1,\"method\":\"m\"}"), RBK_E_PARSE);
    assert_int_equal(parse("{\"id\":1,\"method\":\"m\"} x"), RBK_E_PARSE);
    assert_int_equal(parse_n("{\"id\":1,\"method\":\"m\"}\0", 23), RBK_E_PARSE);
    assert_int_equal(parse_n(NULL, 0), RBK_E_PARSE);
    assert_null(doc);
}

static void test_batch(void **state)
{
    (void)state;
    assert_int_equal(parse("[ {\"id\":1,\"method\":\"a\"} , 5,[{}],{\"method\":\"n\"},\"x\",{},\n"
                           "{\"id\":2,\"method\":\"b\",\"params\":{\"$rpc.callback\":\"c\"}}]"),
                     0);
    assert_true(doc->batch);
    static const int err[] = {0, RBK_E_REQUEST, RBK_E_REQUEST, 0, RBK_E_REQUEST, RBK_E_REQUEST, 0};
    assert_int_equal(doc->n, 7);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(doc->items[i].err, err[i]);
    assert_true(doc->items[3].notification);
    assert_false(doc->items[5].notification);
    assert_str(doc->items[0].method, "a");
    assert_str(doc->items[6].svc.callback, "c");
    assert_str(doc->items[6].params, "{}");
    assert_null(doc->items[0].svc.callback.p);
}

static void test_batch_limit(void **state)
{
    (void)state;
    rbk_rpc_limits four = {.max_batch = 4, .max_timeout_ms = 1000};
    rbk_rpc_doc *d = NULL;
    assert_int_equal(rbk_rpc_parse(RBK_STR("[1,2,3,4]"), &four, &d), 0);
    assert_int_equal(d->n, 4);
    rbk_rpc_free(d);
    d = NULL;
    assert_int_equal(rbk_rpc_parse(RBK_STR("[1,2,3,4,5]"), &four, &d), RBK_E_BATCH);
    assert_int_equal(rbk_rpc_parse(RBK_STR("[]"), &four, &d), RBK_E_REQUEST);
    assert_null(d);
    rbk_rpc_free(NULL);
}

static double seconds_of(clock_t from)
{
    return (double)(clock() - from) / CLOCKS_PER_SEC;
}

/* A hundred thousand members: alike, sorted, reversed; with and without a repetition. */
static void test_many_members(void **state)
{
    (void)state;
    enum { N = 100000 };
    for (int kind = 0; kind < 4; kind++) {
        rbk_buf b = RBK_BUF(16 << 20);
        rbk_buf_lit(&b, "{\"id\":1,\"method\":\"m\"");
        for (int i = 0; i < N; i++)
            rbk_buf_addf(&b, ",\"%06d\":0", kind == 1 ? N - i : kind == 2 ? i * 7919 % 1000003 : i);
        if (kind == 3)
            rbk_buf_lit(&b, ",\"050000\":0");
        rbk_buf_c(&b, '}');
        clock_t from = clock();
        assert_int_equal(parse_n(b.p, b.n), 0);
        assert_int_equal(doc->items[0].err, kind == 3 ? RBK_E_REQUEST : 0);
        assert_true(seconds_of(from) < 2); /* a quadratic check takes minutes */
        rbk_buf_free(&b);
    }
}

static void test_many_service_members(void **state)
{
    (void)state;
    rbk_buf b = RBK_BUF(16 << 20);
    rbk_buf_lit(&b, "{\"id\":1,\"method\":\"m\",\"params\":{\"$rpc.rayId\":1");
    for (int i = 0; i < 100000; i++)
        rbk_buf_addf(&b, ",\"a\":%d", i);
    rbk_buf_lit(&b, "}}");
    clock_t from = clock();
    assert_int_equal(parse_n(b.p, b.n), 0);
    assert_int_equal(doc->items[0].err, 0);
    assert_int_equal(rbk_json_check(doc->items[0].params), 0);
    assert_true(seconds_of(from) < 2);
    rbk_buf_free(&b);
}

static size_t calls_left;

static void *few_malloc(void *ctx, size_t n)
{
    (void)ctx;
    return calls_left && calls_left-- ? malloc(n) : NULL;
}

static void *few_realloc(void *ctx, void *p, size_t old, size_t n)
{
    (void)ctx;
    (void)old;
    return calls_left && calls_left-- ? realloc(p, n) : NULL;
}

static void few_free(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

/* Escapes everywhere, a fault of $rpc, names to compare: every path that allocates. */
static const char hungry[] =
    "[{\"j\\u0073onrpc\":\"2\\u002e0\",\"id\":1,\"method\":\"\\u006d\",\"params\":{\"a\":1,"
    "\"\\u0024rpc.callback\":\"\\u0068\",\"$rpc\":{\"r\\u0061yId\":\"\\u0068\",\"timeout\":1}}},"
    "{\"id\":2,\"method\":\"m\",\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,"
    "\"i\":1,\"j\":1,\"k\":1,\"l\":1,\"m\":1,\"n\":1,\"o\":1,\"p\":1,\"q\":1,\"r\":1,\"s\":1},"
    "{\"id\":3,\"method\":\"m\",\"params\":{\"$rpc.calback\":1}},"
    "{\"id\":4,\"method\":\"m\",\"$rpc.rayId\":12,\"params\":{\"$rpc.callback\":\"plain\"}}]";

static void test_yyjson_without_memory(void **state)
{
    (void)state;
    yyjson_alc few = {few_malloc, few_realloc, few_free, NULL};
    rbk_rpc_doc *d = NULL;
    int err = RBK_E_NOMEM;
    size_t n = 0;
    for (; err == RBK_E_NOMEM && n < 100; n++) {
        calls_left = n;
        err = rbk_rpc_parse_within(rbk_str_z(hungry), &limits, &few, SIZE_MAX, &d);
    }
    assert_int_equal(err, 0);
    assert_true(n > 2);
    rbk_rpc_free(d);
}

/* An arena takes chunks of 2 KiB. With room for one, blanks in front of the body use it
 * up bit by bit, so each allocation of the document fails in its turn. */
static void test_document_without_memory(void **state)
{
    (void)state;
    size_t refused = 0, blanks = 0;
    for (; blanks < 2048; blanks++) {
        rbk_buf b = RBK_BUF(8192);
        for (size_t i = 0; i < blanks; i++)
            rbk_buf_c(&b, ' ');
        rbk_buf_z(&b, hungry);
        rbk_rpc_doc *d = NULL;
        int err = rbk_rpc_parse_within(rbk_buf_view(&b), &limits, NULL, 2048, &d);
        rbk_buf_free(&b);
        if (err) {
            assert_int_equal(err, RBK_E_NOMEM);
            assert_null(d);
            refused++;
            continue;
        }
        assert_int_equal(refused, 0); /* less memory never makes it better */
        assert_int_equal(d->items[0].err, 0);
        assert_str(d->items[0].svc.callback, "h");
        assert_str(d->items[0].params, "{\"a\":1}");
        assert_int_equal(d->items[1].err, 0);
        assert_int_equal(d->items[2].err, RBK_E_PARAMS);
        assert_str(d->items[3].svc.ray_id, "12");
        rbk_rpc_free(d);
    }
    assert_true(refused > 100 && refused < blanks);
    rbk_rpc_doc *d = NULL;
    assert_int_equal(rbk_rpc_parse_within(rbk_str_z(hungry), &limits, NULL, 2047, &d), RBK_E_NOMEM);
}

/* The same for what one request needs while it is read: names fill that arena. */
static void test_request_without_memory(void **state)
{
    (void)state;
    size_t refused = 0, taken = 0;
    for (int names = 30; names < 70; names += 34)
        for (int escaped = 0; escaped < 25; escaped++) {
            rbk_buf b = RBK_BUF(8192);
            rbk_buf_lit(&b, "{\"method\":\"m\"");
            for (int i = 0; i < names; i++)
                rbk_buf_addf(&b, ",\"%d\":0", i);
            for (int i = 0; i < escaped; i++)
                rbk_buf_addf(&b, ",\"\\n%d\":0", i);
            rbk_buf_lit(&b, ",\"params\":{\"\\n\":1,\"$rpc.r\\u0061yId\":1},"
                            "\"jsonrpc\":\"2\\u002e0\",\"i\\u0064\":1}");
            rbk_rpc_doc *d = NULL;
            int err = rbk_rpc_parse_within(rbk_buf_view(&b), &limits, NULL, 2048, &d);
            rbk_buf_free(&b);
            assert_true(err == 0 || err == RBK_E_NOMEM);
            assert_true((err == 0) == (d != NULL));
            if (d) {
                assert_int_equal(d->items[0].err, 0);
                assert_str(d->items[0].svc.ray_id, "1");
            }
            taken += d != NULL;
            refused += d == NULL;
            rbk_rpc_free(d);
        }
    assert_true(refused > 5 && taken > 5);
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
        cmocka_unit_test(test_edge_cases),
        cmocka_unit_test(test_spec_examples),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_body_may_go),
        cmocka_unit_test(test_invalid_requests),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_batch_limit),
        cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_many_service_members),
        cmocka_unit_test(test_yyjson_without_memory),
        cmocka_unit_test(test_document_without_memory),
        cmocka_unit_test(test_request_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, free_doc);
}
