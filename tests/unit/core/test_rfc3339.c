/* SPDX-License-Identifier: Apache-2.0 */
/* Moments as people write them. */
#include "core/rfc3339.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void test_moments(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        rbk_wall_ms want;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1985-04-12T23:20:50.52Z", 482196050520},
        {"1996-12-19T16:39:57-08:00", 851042397000},
        {"1996-12-20T00:39:57Z", 851042397000},
        {"1937-01-01", -1},
        {"2024-02-29t12:00:00.1239z", 1709208000123},
        {"2026-11-23 21:04:05+02:00", 1795460645000},
        {"2000-01-01", 946684800000},
        {"1990-12-31T23:59:60Z", 662688000000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_wall_ms t = -1;
        int r = rbk_rfc3339_parse(rbk_str_z(rows[i].text), &t);
        assert_int_equal(r, rows[i].want < 0 ? RBK_E_INVAL : 0);
        assert_int_equal(t, rows[i].want);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "2026", "2026-11", "2026-13-01", "2026-00-01", "2026-01-00", "2026-02-29",
        "2100-02-29", "2026-1-01", "2026-01-01T", "2026-01-01T00:00", "2026-01-01T00:00:00",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+0200", "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00Zx", " 2026-01-01", "2026-01-01 ", "+026-01-01", "tomorrow",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rbk_wall_ms t = 7;
        assert_int_equal(rbk_rfc3339_parse(rbk_str_z(bad[i]), &t), RBK_E_INVAL);
        assert_int_equal(t, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
