/* SPDX-License-Identifier: Apache-2.0 */
/* The lines between ringback and a worker, and the words of its command. */
#include "method/worker.h"
#include "method/worker_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void expect_request(const rbk_worker_request *rq, const char *line)
{
    rbk_buf b = RBK_BUF(65536);
    rbk_worker_write(&b, rq);
    rbk_buf_c(&b, 0);
    assert_int_equal(b.err, 0);
    assert_string_equal(b.p, line);
    rbk_buf_free(&b);
}

static void test_requests(void **state)
{
    (void)state;
    expect_request(&(rbk_worker_request){.id = 7, .method = RBK_STR("a"), .run = 1},
                   "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"a\",\"ringback\":{\"run\":1}}\n");
    expect_request(&(rbk_worker_request){.id = 1, .method = RBK_STR("q\"\n"), .params = RBK_STR("[]"),
                                         .job = "0198", .run = 2, .deadline = 1764061800007},
                   "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"q\\\"\\n\",\"params\":[],"
                   "\"ringback\":{\"job\":\"0198\",\"run\":2,\"deadline\":1764061800.007}}\n");
}

static void test_params_become_one_line(void **state)
{
    static const char *const pairs[][2] = {
        {"{ }", "{}"},
        {"[1,\r\n\t 2 ]", "[1,2]"},
        {"{\"a b\" : \" x\\\" \\\\\" , \"c\" :\n1.50E+2}", "{\"a b\":\" x\\\" \\\\\",\"c\":1.50E+2}"},
        {"[\"\\\\\" ,true , null ]", "[\"\\\\\",true,null]"},
        {"[123456789012345678901234567890.10]", "[123456789012345678901234567890.10]"},
        {"[\"\xe2\x80\xa8 \\n\"]", "[\"\xe2\x80\xa8 \\n\"]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char line[512];
        snprintf(line, sizeof line,
                 "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":%s,\"ringback\":{\"run\":1}}\n",
                 pairs[i][1]);
        expect_request(&(rbk_worker_request){.id = 1, .method = RBK_STR("m"), .run = 1,
                                             .params = rbk_str_z(pairs[i][0])}, line);
    }
}

static void test_responses(void **state)
{
    rbk_worker_line l;
    (void)state;
    assert_null(rbk_worker_read(RBK_STR(" { \"id\" : 12 ,\"result\":  {\"a\": 1.50} }\r"), &l));
    assert_int_equal(l.id, 12);
    assert_true(rbk_str_eqz(l.result, "{\"a\": 1.50}"));
    assert_null(rbk_worker_read(RBK_STR("{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":null,\"more\":[1]}"), &l));
    assert_true(rbk_str_eqz(l.result, "null"));
    assert_null(rbk_worker_read(RBK_STR("{\"id\":18446744073709551615,\"error\":{\"code\":-32000,"
                                        "\"message\":\"a\\\"b\",\"data\":{}}}"), &l));
    assert_true(l.id == UINT64_MAX && l.code == -32000 && l.result.p == NULL);
    assert_true(rbk_str_eqz(l.message, "a\\\"b"));
    assert_true(rbk_str_eqz(l.data, "{}"));
    assert_null(rbk_worker_read(RBK_STR("{\"id\":1,\"error\":{\"code\":5,\"message\":\"\"}}"), &l));
    assert_true(l.code == 5 && l.message.n == 0 && l.data.p == NULL);
}

static void test_progress(void **state)
{
    static const struct {
        const char *params, *fault; /* NULL: none */
    } rows[] = {
        {"{\"id\":7,\"value\":-2.5e1,\"total\":50,\"message\":\"a\\u0062\",\"more\":[{}]}", NULL},
        {"{\"id\":7,\"value\":-25}", NULL},
        {"[7,1]", "its params are not an object with each member once"},
        {"{\"id\":7,\"value\":1,\"value\":1}", "its params are not an object with each member once"},
        {"{\"value\":1}", "it has not the id of a request"},
        {"{\"id\":\"7\",\"value\":1}", "it has not the id of a request"},
        {"{\"id\":7}", "its value is not a number"},
        {"{\"id\":7,\"value\":\"1\"}", "its value is not a number"},
        {"{\"id\":7,\"value\":1e999}", "its value is not a number"},
        {"{\"id\":7,\"value\":1,\"total\":null}", "its total is not a number"},
        {"{\"id\":7,\"value\":1,\"message\":1}", "its message is not a string"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[256];
        rbk_worker_line l;
        snprintf(line, sizeof line, "{\"method\":\"rpc.progress\",\"params\":%s}", rows[i].params);
        assert_null(rbk_worker_read(rbk_str_z(line), &l));
        assert_true(l.progress);
        if (rows[i].fault) {
            assert_string_equal(l.fault, rows[i].fault);
            continue;
        }
        assert_null(l.fault);
        assert_true(l.id == 7 && l.value == -25 && l.total == (i == 0 ? 50 : 0));
        assert_true(i == 0 ? rbk_str_eqz(l.message, "a\\u0062") : l.message.p == NULL);
    }
    rbk_worker_line l;
    assert_null(rbk_worker_read(RBK_STR("{\"method\":\"rpc.progress\"}"), &l));
    assert_true(l.progress && l.fault);
}

static void test_what_is_no_response(void **state)
{
    static const char *const lines[] = {
        "", " ", "hello", "1", "null", "[]", "[{\"id\":1,\"result\":1}]", "{", "{\"id\":1,\"result\":1",
        "{\"id\":1,\"result\":1}x", "{}", "{\"result\":1}", "{\"id\":1}", "{\"id\":null,\"result\":1}",
        "{\"id\":\"1\",\"result\":1}", "{\"id\":-1,\"result\":1}", "{\"id\":1.0,\"result\":1}",
        "{\"id\":1e3,\"result\":1}", "{\"id\":18446744073709551616,\"result\":1}",
        "{\"id\":1,\"id\":1,\"result\":1}", "{\"id\":1,\"result\":1,\"result\":1}",
        "{\"id\":1,\"result\":1,\"error\":null}", "{\"id\":1,\"result\":null,\"error\":{\"code\":1,\"message\":\"\"}}",
        "{\"id\":1,\"error\":null}", "{\"id\":1,\"error\":\"x\"}", "{\"id\":1,\"error\":{}}",
        "{\"id\":1,\"error\":{\"code\":1}}", "{\"id\":1,\"error\":{\"message\":\"\"}}",
        "{\"id\":1,\"error\":{\"code\":1.5,\"message\":\"\"}}", "{\"id\":1,\"error\":{\"code\":\"1\",\"message\":\"\"}}",
        "{\"id\":1,\"error\":{\"code\":9223372036854775808,\"message\":\"\"}}",
        "{\"id\":1,\"error\":{\"code\":1,\"message\":1}}", "{\"id\":1,\"error\":{\"code\":1,\"code\":1,\"message\":\"\"}}",
        "{\"jsonrpc\":\"1.0\",\"id\":1,\"result\":1}", "{\"jsonrpc\":2.0,\"id\":1,\"result\":1}",
        "{\"method\":\"log\",\"params\":[]}", "{\"id\":1,\"method\":\"rpc.progress\"}",
        "{\"id\":1,\"method\":\"m\",\"result\":1}", "{\"id\":1,\"result\":\"\xff\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        rbk_worker_line l;
        if (rbk_worker_read(rbk_str_z(lines[i]), &l) == NULL)
            fail_msg("taken for a response: %s", lines[i]);
    }
}

static void test_commands(void **state)
{
    char **words;
    rbk_error err = {0};
    (void)state;
    assert_int_equal(rbk_worker_split(" ./a.py\t--flag  \"b c\"d \"\" \"\\\"\\\\\\n\" e\\ f ", &words, &err), 0);
    static const char *const expect[] = {"./a.py", "--flag", "b cd", "", "\"\\\\n", "e\\", "f"};
    for (size_t i = 0; i < sizeof expect / sizeof expect[0]; i++)
        assert_string_equal(words[i], expect[i]);
    assert_null(words[7]);
    free(words);
    assert_int_equal(rbk_worker_split("", &words, &err), RBK_E_CONFIG);
    assert_int_equal(rbk_worker_split(" \t", &words, &err), RBK_E_CONFIG);
    assert_int_equal(rbk_worker_split("\"\" x", &words, &err), RBK_E_CONFIG);
    assert_int_equal(rbk_worker_split("a \"b", &words, &err), RBK_E_CONFIG);
    char many[300];
    memset(many, ' ', sizeof many);
    many[2 * RBK_WORKER_ARGS_MAX + 2] = 0;
    for (size_t i = 0; i <= RBK_WORKER_ARGS_MAX; i++)
        many[2 * i] = 'x';
    assert_int_equal(rbk_worker_split(many, &words, &err), RBK_E_CONFIG);
    many[2 * RBK_WORKER_ARGS_MAX] = 0;
    assert_int_equal(rbk_worker_split(many, &words, &err), 0);
    assert_null(words[RBK_WORKER_ARGS_MAX]);
    free(words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_params_become_one_line),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_what_is_no_response),
        cmocka_unit_test(test_commands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
