/* SPDX-License-Identifier: Apache-2.0 */
/* The Prefer header: what of it is for us. */
#include "core/prefer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void test_lines(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool async;
        int64_t wait_ms;
    } rows[] = {
        {"respond-async, wait=10", true, 10000},
        {"respond-async", true, -1},
        {"wait=0", false, 0},
        {"  WAIT = 5 ; x=\"a,b\" ,\tRespond-Async", true, 5000},
        {"wait=\"7\"", false, 7000},
        {"wait=1, wait=2", false, 1000},
        {"wait=x, wait=2", false, 2000},
        {"respond-async;wait=3", true, -1},
        {"return=minimal, handling=\"a, wait=9 \\\", wait=8\", wait=4", false, 4000},
        {"wait=99999999999999999999999999", false, RBK_PREFER_WAIT_MAX_MS},
        {"", false, -1},
        {",,;,=", false, -1},
        {"wait", false, -1},
        {"wait=", false, -1},
        {"wait=-1", false, -1},
        {"wait=1.5", false, -1},
        {"wait=\"", false, -1},
        {"waits=3, respond-asynchronously", false, -1},
        {"\"respond-async, wait=3", false, -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_prefer p = {.wait_ms = -1};
        rbk_prefer_read(&p, rbk_str_z(rows[i].value));
        if (p.respond_async != rows[i].async || p.wait_ms != rows[i].wait_ms)
            fail_msg("%s: %d %lld", rows[i].value, p.respond_async, (long long)p.wait_ms);
    }
}

static void test_several_lines(void **state)
{
    (void)state;
    rbk_prefer p = {.wait_ms = -1};
    rbk_prefer_read(&p, RBK_STR("wait=3"));
    rbk_prefer_read(&p, RBK_STR("wait=4, respond-async"));
    assert_true(p.respond_async);
    assert_int_equal(p.wait_ms, 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_several_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
