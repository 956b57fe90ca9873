/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets: what they let through, how long they say to wait, and that no number breaks them. */
#include "core/bucket.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static rbk_rate rate_of(const char *text)
{
    rbk_rate r;
    assert_int_equal(rbk_rate_read(rbk_str_z(text), &r), 0);
    return r;
}

static void test_read(void **state)
{
    (void)state;
    rbk_rate r = rate_of("50/s");
    assert_true(r.n == 50 && r.ms == 1000);
    r = rate_of("1000/m");
    assert_true(r.n == 1000 && r.ms == 60000);
    r = rate_of("1000000000/h");
    assert_true(r.n == 1000000000 && r.ms == 3600000);
    r = rate_of("7");
    assert_true(r.n == 7 && r.ms == 1000);
    static const char *const bad[] = {"",     "/s",  "0/s", "-1/s", "1000000001/s", "5/d", "5/",
                                      "5/ s", "5.5", "5/ms", "s",   "5/s/s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(rbk_rate_read(rbk_str_z(bad[i]), &r), RBK_E_INVAL);
        assert_true(r.n == 7 && r.ms == 1000);
    }
}

static void test_burst_then_rate(void **state)
{
    (void)state;
    rbk_rate r = rate_of("10/s");
    rbk_bucket b = {0};
    rbk_mono_ms now = 5000;
    for (int i = 0; i < 10; i++)
        assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, now), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, now), 100);
    assert_int_equal(rbk_bucket_take(&b, &r, 3, 0, now), 300);
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, now + 99), 1);
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, now + 100), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, now + 100), 100);
    /* Over a long time it is the rate, whatever is refused between. */
    int passed = 0;
    for (now += 100; now < 5100 + 60000; now += 7)
        passed += rbk_bucket_take(&b, &r, 1, 0, now) == 0;
    assert_in_range(passed, 598, 600);
}

static void test_idle_is_full_and_no_more(void **state)
{
    (void)state;
    rbk_rate r = rate_of("3/s");
    rbk_bucket b = {0};
    assert_true(rbk_bucket_is_full(&b, 1));
    assert_int_equal(rbk_bucket_take(&b, &r, 3, 0, 1000), 0);
    assert_false(rbk_bucket_is_full(&b, 1999));
    assert_true(rbk_bucket_is_full(&b, 2001));
    int passed = 0;
    for (int i = 0; i < 10; i++)
        passed += rbk_bucket_take(&b, &r, 1, 0, 1000000) == 0;
    assert_int_equal(passed, 3);
}

/* What is larger than the bucket passes when it is full, and is paid for afterwards. */
static void test_debt(void **state)
{
    (void)state;
    rbk_rate r = rate_of("10/s");
    rbk_bucket b = {0};
    assert_int_equal(rbk_bucket_take(&b, &r, 50, 0, 1000), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, 1000), 4100);
    assert_int_equal(rbk_bucket_take(&b, &r, 50, 0, 5999), 1);
    assert_int_equal(rbk_bucket_take(&b, &r, 50, 0, 6000), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, 11000), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 50, 0, 11000), 100);
}

static void test_held(void **state)
{
    (void)state;
    rbk_rate r = rate_of("10/s");
    rbk_bucket b = {0};
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, 1000), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 49, 1, 1000), 0); /* full but for its own */
    b.full_at = 0;
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, 1000), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, 1000), 0); /* somebody else */
    assert_int_equal(rbk_bucket_take(&b, &r, 49, 1, 1000), 200);
    assert_int_equal(rbk_bucket_take(&b, &r, 8, 1, 1000), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 5, 1, 1000), 600); /* six in all, and none is there */
}

static void test_give(void **state)
{
    (void)state;
    rbk_bucket b = {0};
    rbk_rate r = rate_of("10/s");
    assert_int_equal(rbk_bucket_take(&b, &r, 10, 0, 1000), 0);
    rbk_bucket_give(&b, &r, 4);
    assert_int_equal(rbk_bucket_take(&b, &r, 4, 0, 1000), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, 1000), 100);
    rbk_bucket_give(&b, &r, 1000); /* no more than full */
    assert_int_equal(rbk_bucket_take(&b, &r, 10, 0, 1000), 0);
    assert_int_equal(rbk_bucket_take(&b, &r, 1, 0, 1000), 100);
    rbk_bucket_give(&b, &r, UINT64_MAX);
    assert_int_equal(b.full_at, 0);
    rbk_bucket_give(&b, &(rbk_rate){0, 0}, 1);
    assert_int_equal(b.full_at, 0);
}

static void test_extremes(void **state)
{
    (void)state;
    static const char *const rates[] = {"1/h", "1/s", "1000000000/s", "1000000000/h", "999999937/s"};
    static const uint64_t sizes[] = {0, 1, 100000, UINT32_MAX, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        rbk_rate r = rate_of(rates[i]);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            rbk_bucket b = {0};
            rbk_mono_ms now = INT64_C(1000) * 86400 * 365 * 50;
            assert_int_equal(rbk_bucket_take(&b, &r, sizes[k], 0, now), 0);
            for (size_t m = 0; m < sizeof sizes / sizeof *sizes; m++) {
                assert_true(rbk_bucket_take(&b, &r, sizes[k], sizes[m], now) >= 0);
                assert_true(b.full_at >= 0);
            }
        }
    }
    rbk_rate none = {0, 0};
    rbk_bucket b = {0};
    assert_int_equal(rbk_bucket_take(&b, &none, UINT64_MAX, 0, 1), 0);
    assert_int_equal(b.full_at, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_burst_then_rate),
        cmocka_unit_test(test_idle_is_full_and_no_more),
        cmocka_unit_test(test_debt),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_give),
        cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
