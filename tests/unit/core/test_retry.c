/* SPDX-License-Identifier: Apache-2.0 */
/* The schedule of deliveries: its text, its times, its end. */
#include "core/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

enum { S = 1000, M = 60 * S, H = 60 * M };
static const rbk_wall_ms t0 = 1700000000000;

static rbk_retry_conf conf_of(const char *schedule, double jitter, int64_t max_age_ms)
{
    rbk_retry_conf c = {.jitter = jitter, .max_age_ms = max_age_ms};
    assert_int_equal(rbk_retry_parse(rbk_str_z(schedule), &c), 0);
    return c;
}

static void test_parse(void **state)
{
    (void)state;
    rbk_retry_conf c = conf_of("5s,30s,2m,15m,1h,6h,12h,24h,24h", 0.2, 7);
    static const int64_t want[] = {5 * S, 30 * S, 2 * M,  15 * M, 1 * H,
                                   6 * H, 12 * H, 24 * H, 24 * H};
    assert_int_equal(c.steps, 9);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(c.step_ms[i], want[i]);
    assert_true(c.jitter == 0.2 && c.max_age_ms == 7); /* left as they were */
    c = conf_of("1ms, 30d ,720h", 0, 0);
    assert_int_equal(c.steps, 3);
    assert_int_equal(c.step_ms[0], 1);
    assert_int_equal(c.step_ms[1], INT64_C(2592000000));
    assert_int_equal(c.step_ms[2], INT64_C(2592000000));
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ",",
        "5s,",
        ",5s",
        "5s,,6s",
        "5",
        "s",
        "0s",
        "0ms",
        "-1s",
        "+1s",
        "1.5s",
        "5 s",
        "5S",
        "31d",
        "721h",
        "2592001s",
        "1w",
        "5ss",
        "5s;6s",
        "0x5s",
        "99999999999999999999s",
        "9223372036854775807d",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rbk_retry_conf c = {.steps = 77};
        assert_int_equal(rbk_retry_parse(rbk_str_z(bad[i]), &c), RBK_E_INVAL);
        assert_int_equal(c.steps, 77); /* not written */
    }
    rbk_retry_conf c;
    assert_int_equal(rbk_retry_parse(RBK_STR_NONE, &c), RBK_E_INVAL);
}

static void test_most_steps(void **state)
{
    (void)state;
    char text[4 * 33];
    for (int i = 0; i < 33; i++)
        memcpy(text + 3 * i, "1s,", 3);
    rbk_retry_conf c = {0};
    assert_int_equal(rbk_retry_parse((rbk_str){text, 3 * 32 - 1}, &c), 0);
    assert_int_equal(c.steps, 32);
    assert_int_equal(rbk_retry_parse((rbk_str){text, 3 * 33 - 1}, &c), RBK_E_INVAL);
}

static void test_outcome(void **state)
{
    (void)state;
    for (int status = 0; status < 5000; status++) {
        bool ok = (status >= 200 && status < 300) || status == 1000;
        assert_int_equal(rbk_outcome_of(status, true), ok              ? RBK_OUT_DELIVERED
                                                       : status == 410 ? RBK_OUT_GONE
                                                                       : RBK_OUT_FAILED);
    }
    /* An answer before the whole request was written is no success. */
    assert_int_equal(rbk_outcome_of(200, false), RBK_OUT_FAILED);
    assert_int_equal(rbk_outcome_of(1000, false), RBK_OUT_FAILED);
    assert_int_equal(rbk_outcome_of(410, false), RBK_OUT_GONE);
    assert_int_equal(rbk_outcome_of(-1, true), RBK_OUT_FAILED);
}

/* Without jitter the attempts stand at the sums of the schedule. */
static void test_schedule(void **state)
{
    (void)state;
    rbk_retry_conf c = conf_of("5s,30s,2m,15m,1h,6h,12h,24h,24h", 0, 0);
    rbk_wall_ms now = t0, due = 0;
    for (uint32_t attempts = 1; attempts <= 9; attempts++) {
        assert_true(rbk_retry_next(&c, attempts, t0, now, 12345, &due));
        assert_int_equal(due - now, c.step_ms[attempts - 1]);
        now = due;
    }
    assert_false(rbk_retry_next(&c, 10, t0, now, 0, &due));
    assert_int_equal(now - t0, 67 * H + 17 * M + 35 * S);
}

static void test_jitter(void **state)
{
    (void)state;
    rbk_retry_conf c = conf_of("100s,100h", 0.2, 0);
    rbk_wall_ms due;
    uint64_t x = 88172645463325252u;
    double sum = 0;
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        assert_true(rbk_retry_next(&c, 1, t0, t0, x, &due));
        int64_t wait = due - t0;
        assert_true(wait >= 80 * S && wait <= 120 * S);
        least = wait < least ? wait : least;
        most = wait > most ? wait : most;
        sum += (double)wait;
    }
    assert_true(least < 81 * S && most > 119 * S);
    assert_true(sum / 20000 > 99 * S && sum / 20000 < 101 * S);
    assert_true(rbk_retry_next(&c, 1, t0, t0, 0, &due));
    assert_int_equal(due - t0, 80 * S);
    assert_true(rbk_retry_next(&c, 1, t0, t0, UINT64_MAX, &due));
    assert_int_equal(due - t0, 120 * S);
}

static void test_max_age(void **state)
{
    (void)state;
    rbk_wall_ms due;
    /* Shorter than the schedule: cut, the last try at the very end. */
    rbk_retry_conf c = conf_of("5s,1h", 0, 60 * S);
    assert_true(rbk_retry_next(&c, 2, t0, t0 + 6 * S, 0, &due));
    assert_int_equal(due, t0 + 60 * S);
    assert_false(rbk_retry_next(&c, 3, t0, due, 0, &due));
    /* Longer: the last step goes on. */
    c = conf_of("5s,10s", 0, 60 * S);
    assert_true(rbk_retry_next(&c, 5, t0, t0 + 30 * S, 0, &due));
    assert_int_equal(due, t0 + 40 * S);
    /* Over, tried or not. */
    assert_false(rbk_retry_next(&c, 1, t0, t0 + 60 * S, 0, &due));
    assert_false(rbk_retry_next(&c, 1, t0, t0 + 60 * S + 1, 0, &due));
    /* Slow attempts do not cost the last try. */
    c = conf_of("5s,10s", 0, 0);
    assert_true(rbk_retry_next(&c, 2, t0, t0 + 14 * S, 0, &due));
    assert_int_equal(due, t0 + 15 * S);
}

/* Every path ends, and never behind the end, whatever the random numbers. */
static void test_always_ends(void **state)
{
    (void)state;
    uint64_t x = 42;
    for (int round = 0; round < 2000; round++) {
        rbk_retry_conf c = conf_of("1s,2s,3s", 0.2, round % 2 ? 20 * S : 0);
        rbk_wall_ms now = t0, due = 0, end = t0 + (round % 2 ? 20 : 6) * S;
        uint32_t attempts = 1;
        for (; rbk_retry_next(&c, attempts, t0, now, x, &due); attempts++) {
            assert_true(due > now && due <= end);
            now = due;
            x = x * 6364136223846793005u + 1442695040888963407u;
        }
        assert_true(attempts >= 3 && attempts < 14);
    }
}

static void test_no_attempt_no_schedule(void **state)
{
    (void)state;
    rbk_retry_conf c = conf_of("5s", 0.2, 0), none = {0};
    rbk_wall_ms due = 5;
    assert_false(rbk_retry_next(&c, 0, t0, t0, 0, &due));
    assert_false(rbk_retry_next(&none, 1, t0, t0, 0, &due));
    assert_int_equal(due, 5);
    /* Attempts that the receiver asked for itself end nothing: the age alone does. */
    assert_true(rbk_retry_next(&c, UINT32_MAX, t0, t0 + 1, 0, &due));
    assert_false(rbk_retry_next(&c, UINT32_MAX, t0, t0 + 5 * S, 0, &due));
}

static void test_blames_host(void **state)
{
    (void)state;
    for (int status = 0; status < 5000; status++)
        assert_int_equal(rbk_retry_blames_host(0, status),
                         status == 429 || status == 502 || status == 503 || status == 504 ||
                             status == 1001 || (status >= 1012 && status <= 1014));
    static const int host[] = {RBK_E_CONNECT, RBK_E_TLS, RBK_E_TIMEOUT, RBK_E_RESOLVE};
    static const int other[] = {RBK_E_CLOSED, RBK_E_PROTOCOL, RBK_E_ADDRESS, RBK_E_BUSY,
                                RBK_E_NOMEM};
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++)
        assert_true(rbk_retry_blames_host(host[i], 0));
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        assert_false(rbk_retry_blames_host(other[i], 0));
}

static int64_t after(const char *value, rbk_wall_ms now)
{
    return rbk_retry_after(503, rbk_str_z(value), now);
}

static void test_retry_after_seconds(void **state)
{
    (void)state;
    static const char *const none[] = {"",   "-1",  "+1", "1.5", "1,5", "1 2", "0x10", "1s", " 1",
                                       "1,", "1;1", "NaN", "soon", "1e3", "\xb9"};
    assert_int_equal(after("120", t0), 120 * S);
    assert_int_equal(after("0", t0), 1 * S); /* 1 s to 24 h */
    assert_int_equal(after("1", t0), 1 * S);
    assert_int_equal(after("0007", t0), 7 * S);
    assert_int_equal(after("86400", t0), 24 * H);
    assert_int_equal(after("86401", t0), 24 * H);
    assert_int_equal(after("99999999999999999999999", t0), 24 * H);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(after(none[i], t0), 0);
    assert_int_equal(rbk_retry_after(503, RBK_STR_NONE, t0), 0);
    for (int status = 0; status < 600; status++)
        assert_int_equal(rbk_retry_after(status, RBK_STR("9"), t0),
                         status == 429 || status == 503 || status == 504 ? 9 * S : 0);
}

static void test_retry_after_date(void **state)
{
    (void)state;
    const rbk_wall_ms now = INT64_C(784111777) * 1000 - 10 * S; /* 10 s before */
    assert_int_equal(after("Sun, 06 Nov 1994 08:49:37 GMT", now), 10 * S);
    assert_int_equal(after("Sunday, 06-Nov-94 08:49:37 GMT", now), 10 * S);
    assert_int_equal(after("Sun Nov  6 08:49:37 1994", now), 10 * S);
    assert_int_equal(after("Sun, 06 Nov 1994 08:49:37 GMT", now + 1), 10 * S); /* rounded up */
    assert_int_equal(after("Sun, 06 Nov 1994 08:49:37 GMT", now + 9999), 1 * S);
    assert_int_equal(after("Sun, 06 Nov 1994 08:49:37 GMT", now + 10 * S), 0); /* over */
    assert_int_equal(after("Sun, 06 Nov 1994 08:49:37 GMT", now - 365 * 24 * (int64_t)H), 24 * H);
    assert_int_equal(after("Thu, 29 Feb 2024 00:00:00 GMT", INT64_C(1709164799) * 1000), 1 * S);
    assert_int_equal(after("Friday, 31-Dec-99 23:59:59 GMT", INT64_C(4102444790) * 1000), 9 * S);
    assert_int_equal(after("Saturday, 01-Jan-00 00:00:05 GMT", INT64_C(946684800) * 1000), 5 * S);
    static const char *const none[] = {
        "Sun, 06 Nov 1994 08:49:37",      "Sun, 06 Nov 1994 08:49:37 UTC",
        "sun, 06 Nov 1994 08:49:37 GMT",  "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",   "Sun,06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",  "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",  "Wed, 29 Feb 1995 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",    "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ", "Sun, 06 Nov 1994 08:49:37 GMT, 5",
        "Sun, 00 Nov 1994 08:49:37 GMT",  "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun",                            "Sun,",
        ",",                              "Xyz, 06 Nov 1994 08:49:37 GMT",
    };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(after(none[i], 0), 0);
}

static void test_next_after(void **state)
{
    (void)state;
    rbk_retry_conf c = conf_of("5s,30s", 0.2, 60 * S);
    rbk_wall_ms due;
    assert_true(rbk_retry_next_after(&c, t0, t0 + 1 * S, 20 * S, &due));
    assert_int_equal(due, t0 + 21 * S); /* exactly */
    assert_true(rbk_retry_next_after(&c, t0, t0 + 1 * S, 24 * H, &due));
    assert_int_equal(due, t0 + 60 * S); /* never past max_age */
    assert_false(rbk_retry_next_after(&c, t0, t0 + 60 * S, 1 * S, &due));
    assert_int_equal(rbk_retry_end(&c, t0), t0 + 60 * S);
}

/* The wall clock is set by hours in both directions; the schedule goes on as it was. */
static void test_clock_jumps(void **state)
{
    (void)state;
    rbk_retry_conf c = conf_of("10s", 0, 60 * S);
    rbk_mono_ms mono = 5000;
    rbk_wall_ms due;
    rbk_sched_clock clock = rbk_sched_begin(t0, mono, 0);
    assert_int_equal(rbk_sched_at(clock, mono), t0);
    /* Nothing but monotonic time comes in: whatever the wall clock says meanwhile, 30 s later
     * a job is 30 s old. */
    assert_int_equal(rbk_sched_at(clock, mono + 30 * S), t0 + 30 * S);
    assert_true(rbk_retry_next(&c, 2, t0, rbk_sched_at(clock, mono + 30 * S), 0, &due));
    assert_int_equal(due, t0 + 40 * S);
    assert_false(rbk_retry_next(&c, 7, t0, rbk_sched_at(clock, mono + 60 * S), 0, &due));
    /* A restart after the clock was set back by a day: time goes on where the store is. */
    clock = rbk_sched_begin(t0 - 24 * (int64_t)H, 77, t0 + 30 * S);
    assert_int_equal(rbk_sched_at(clock, 77), t0 + 30 * S);
    assert_int_equal(rbk_sched_at(clock, 77 + 5), t0 + 30 * S + 5);
    /* A later start is a later time. */
    clock = rbk_sched_begin(t0 + H, 3, t0);
    assert_int_equal(rbk_sched_at(clock, 3), t0 + H);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_most_steps),
        cmocka_unit_test(test_outcome),
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_max_age),
        cmocka_unit_test(test_always_ends),
        cmocka_unit_test(test_no_attempt_no_schedule),
        cmocka_unit_test(test_blames_host),
        cmocka_unit_test(test_retry_after_seconds),
        cmocka_unit_test(test_retry_after_date),
        cmocka_unit_test(test_next_after),
        cmocka_unit_test(test_clock_jumps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
