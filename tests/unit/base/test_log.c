/* SPDX-License-Identifier: Apache-2.0 */
/* A log line: one line whatever a peer sends, cut between fields, below its level
 * nothing. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static char last[4096];
static size_t last_n;
static int lines;

static void keep_line(void *user, rbk_level level, const char *line, size_t n)
{
    (void)user;
    (void)level;
    assert_int_equal(strlen(line), n);
    assert_true(n < sizeof last);
    memcpy(last, line, n + 1);
    last_n = n;
    lines++;
}

static rbk_log make_log(bool json)
{
    lines = 0;
    return (rbk_log){.level = RBK_INFO, .json = json, .write = keep_line};
}

/* What follows the time. */
static const char *rest(void)
{
    const char *at = strstr(last, "level");
    assert_non_null(at);
    return at;
}

static void test_logfmt(void **state)
{
    (void)state;
    rbk_log log = make_log(false);
    rbk_event(&log, RBK_WARN, "store.full", RBK_F("free", -12), RBK_FZ("path", "/a/b.db"),
              RBK_FZ("why", "no space"), RBK_FZ("empty", ""));
    assert_string_equal(
        rest(), "level=warn event=store.full free=-12 path=/a/b.db why=\"no space\" empty=\"\"");
}

static void test_json(void **state)
{
    (void)state;
    rbk_log log = make_log(true);
    rbk_event(&log, RBK_ERROR, "x.y", RBK_F("n", 5), RBK_FZ("t", "a\"b\\"));
    assert_string_equal(rest(),
                        "level\":\"error\",\"event\":\"x.y\",\"n\":5,\"t\":\"a\\\"b\\\\\"}");
    assert_int_equal(last[0], '{');
}

static void test_hostile_values(void **state)
{
    (void)state;
    for (int json = 0; json < 2; json++) {
        rbk_log log = make_log(json);
        char every[256];
        for (int i = 0; i < 256; i++)
            every[i] = (char)i;
        rbk_event(&log, RBK_INFO, "e", RBK_FS("v", ((rbk_str){every, 256})),
                  RBK_FS("w", RBK_STR("\xe2\x80\xa8\x1b[2J\r\nevent=forged")));
        assert_int_equal(lines, 1);
        for (size_t i = 0; i < last_n; i++)
            assert_true(last[i] >= ' ' && last[i] <= '~');
    }
}

static void test_too_long_is_left_out_whole(void **state)
{
    (void)state;
    rbk_log log = make_log(true);
    rbk_log_field f[20];
    char v[250];
    memset(v, 'v', sizeof v);
    for (int i = 0; i < 20; i++)
        f[i] = RBK_FS("k", ((rbk_str){v, sizeof v}));
    rbk_log_fields(&log, RBK_INFO, "long", f, 20);
    assert_true(last_n < 2048);
    assert_int_equal(last[last_n - 1], '}');
    assert_int_equal(last[last_n - 2], '"');
}

static void test_level(void **state)
{
    (void)state;
    rbk_log log = make_log(false);
    rbk_event(&log, RBK_DEBUG, "quiet", RBK_F("n", 1));
    rbk_event(NULL, RBK_ERROR, "nobody", RBK_F("n", 1));
    assert_int_equal(lines, 0);
    rbk_event(&log, RBK_INFO, "loud", RBK_F("n", 1));
    assert_int_equal(lines, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logfmt),         cmocka_unit_test(test_json),
        cmocka_unit_test(test_hostile_values), cmocka_unit_test(test_too_long_is_left_out_whole),
        cmocka_unit_test(test_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
