/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of websockets: tokens, names, and the message of a response. */
#include "core/ws_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define AS "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static void test_tokens(void **state)
{
    (void)state;
    char text[RBK_SESSION_TOKEN + 1];
    uint8_t bytes[RBK_SESSION_RANDOM];
    for (int i = 0; i < RBK_SESSION_RANDOM; i++)
        bytes[i] = (uint8_t)(224 + i);
    rbk_session_token(bytes, text);
    assert_string_equal(text, "4OHi4-Tl5ufo6err7O3u7_Dx8vP09fb3-Pn6-_z9_v8");
    assert_true(rbk_session_is_token(rbk_str_z(text)));
    assert_true(rbk_session_is_token(RBK_STR(AS)));
}

static void test_texts_that_are_no_token(void **state)
{
    (void)state;
    static const rbk_str rows[] = {
        {"", 0},
        {NULL, 0},
        {AS, 42},
        RBK_STR(AS "A"),
        RBK_STR("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"), /* two bits too many */
        RBK_STR("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        RBK_STR("AAAAAAAAAAAAAAAAAAAA+AAAAAAAAAAAAAAAAAAAAAA"),
        RBK_STR("AAAAAAAAAAAAAAAAAAAA/AAAAAAAAAAAAAAAAAAAAAA"),
        RBK_STR("AAAAAAAAAAAAAAAAAAAA\0AAAAAAAAAAAAAAAAAAAAAA"),
        RBK_STR("AAAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAAA"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_false(rbk_session_is_token(rows[i]));
}

static void check_name(rbk_str caller, rbk_str token, const char *want)
{
    char name[RBK_SESSION_NAME + 1];
    assert_true(rbk_session_name(caller, token, name));
    assert_string_equal(name, want);
    assert_true(rbk_session_is_name(rbk_str_z(name)));
    assert_false(rbk_session_is_asked(rbk_str_z(name)));
}

/* Frozen: stored jobs are found by it. Made by another program. */
static void test_names(void **state)
{
    (void)state;
    check_name(RBK_STR("alice"), RBK_STR(AS), "ws:x2s6cqggLkyRjYYkrXrgEP5itoyBsNIaBZjO_O7oXdo");
    check_name(RBK_STR(""), RBK_STR(AS), "ws:zPTtYxIEhVFPY6wPmbDSqa9KuV8a6ANC0AUxoqAq6Aw");
    check_name(RBK_STR_NONE, RBK_STR(AS), "ws:zPTtYxIEhVFPY6wPmbDSqa9KuV8a6ANC0AUxoqAq6Aw");
}

static void test_callbacks_and_lanes(void **state)
{
    (void)state;
    assert_true(rbk_session_is_asked(RBK_STR("ws:")));
    assert_false(rbk_session_is_asked(RBK_STR("ws://")));
    assert_false(rbk_session_is_asked(RBK_STR("WS:")));
    assert_false(rbk_session_is_asked(RBK_STR_NONE));
    assert_false(rbk_session_is_name(RBK_STR("ws:")));
    assert_false(rbk_session_is_name(RBK_STR("ws://example.com/")));
    assert_false(rbk_session_is_name(RBK_STR("wss://example.com/aaaaaaaaaaaaaaaaaaaaaaaaaaaa")));
    assert_false(rbk_session_is_name(RBK_STR_NONE));
    assert_true(rbk_session_is_lane(RBK_STR("send:ws:" AS)));
    assert_false(rbk_session_is_lane(RBK_STR("send:wss://example.com:443")));
    assert_false(rbk_session_is_lane(RBK_STR("run:ws:")));
}

static void check_message(rbk_str response, const char *want)
{
    rbk_buf b = RBK_BUF(1000);
    rbk_session_write(&b, response, RBK_STR("the-job"), 3);
    assert_int_equal(rbk_buf_err(&b), 0);
    assert_int_equal(b.n, strlen(want));
    assert_memory_equal(b.p, want, b.n);
    rbk_buf_free(&b);
}

static void test_messages(void **state)
{
    (void)state;
    check_message(RBK_STR("{\"id\":1,\"result\":{}}"),
                  "{\"id\":1,\"result\":{},\"ringback\":{\"job\":\"the-job\",\"attempt\":3}}");
    check_message(RBK_STR("[1]"), "[1]");
    rbk_buf b = RBK_BUF(20);
    rbk_session_write(&b, RBK_STR("{\"id\":1,\"result\":{}}"), RBK_STR("the-job"), 3);
    assert_true(rbk_buf_err(&b) < 0);
    rbk_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),          cmocka_unit_test(test_texts_that_are_no_token),
        cmocka_unit_test(test_names),           cmocka_unit_test(test_callbacks_and_lanes),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
