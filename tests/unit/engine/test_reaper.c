/* SPDX-License-Identifier: Apache-2.0 */
/* The reaper's heap: calls end in the order of their deadlines, none before its time, and
 * none that was disarmed. The calls are dummies: what happens to them is played here. */
#include "base/clock.h"
#include "engine/call.h"
#include "engine/reaper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { CALLS = 2000, PATIENCE_MS = 60000 };

static struct stage {
    rbk_call calls[CALLS];
    rbk_call *expired[CALLS];         /* in order */
    rbk_mono_ms when[CALLS];
    atomic_int n_expired, n_cut;
} stage;

static int place_of(const rbk_call *c)
{
    return (int)(c - stage.calls);
}

/* --- What the reaper calls ---------------------------------------------------------------- */

void rbk_call_expire(rbk_call *c)
{
    stage.expired[stage.n_expired] = c;
    stage.when[stage.n_expired] = rbk_mono_now();
    stage.n_expired++;
}

bool rbk_call_cut(rbk_call *c)
{
    stage.n_cut++;
    return place_of(c) % 2 == 0; /* the others had their answer */
}

void rbk_call_keep(rbk_call *c)
{
    atomic_fetch_add(&c->refs, 1);
}

void rbk_call_release(rbk_call *c)
{
    atomic_fetch_sub(&c->refs, 1);
}

/* --- The tests ------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    rbk_reaper *r = NULL;
    rbk_error err = {0};
    memset(&stage, 0, sizeof stage);
    assert_int_equal(rbk_reaper_new(&r, &err), 0);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    rbk_reaper_free(*state);
    for (int i = 0; i < CALLS; i++)
        assert_int_equal(stage.calls[i].refs, 0); /* each reference was given back once */
    return 0;
}

/* Deadlines in no order, many the same; `base` and up to 100 ms more. */
static void arm_all(rbk_reaper *r, int64_t base)
{
    uint32_t seed = 7;
    for (int i = 0; i < CALLS; i++) {
        seed = seed * 1664525u + 1013904223u;
        stage.calls[i].timeout_ms = base + (seed >> 16) % 100;
        assert_int_equal(rbk_reaper_arm(r, &stage.calls[i]), 0);
        assert_int_equal(stage.calls[i].refs, 1);
    }
    assert_int_equal(rbk_reaper_armed(r), CALLS);
}

static void start(rbk_reaper *r)
{
    rbk_error err = {0};
    assert_int_equal(rbk_reaper_start(r, &err), 0);
}

static void wait_for_expired(int n)
{
    rbk_mono_ms end = rbk_mono_now() + PATIENCE_MS;
    while (stage.n_expired < n && rbk_mono_now() < end)
        usleep(1000);
    assert_int_equal(stage.n_expired, n);
}

static void check_order(int n)
{
    for (int i = 0; i < n; i++) {
        assert_true(stage.when[i] >= stage.expired[i]->deadline);
        if (i > 0)
            assert_true(stage.expired[i]->deadline >= stage.expired[i - 1]->deadline);
    }
}

static void test_deadlines_in_order(void **state)
{
    rbk_reaper *r = *state;
    arm_all(r, 1);
    start(r);
    wait_for_expired(CALLS);
    check_order(CALLS);
    assert_int_equal(rbk_reaper_armed(r), 0);
    assert_int_equal(rbk_reaper_stop(r), 0);
}

static void test_disarmed_calls_never_expire(void **state)
{
    rbk_reaper *r = *state;
    int left = 0;
    arm_all(r, 1);
    for (int i = 0; i < CALLS; i++) {
        if (i % 3 == 0)
            rbk_reaper_disarm(r, &stage.calls[i]);
        left += i % 3 != 0;
    }
    rbk_reaper_disarm(r, &stage.calls[0]); /* twice is legal */
    assert_int_equal(rbk_reaper_armed(r), left);
    start(r);
    wait_for_expired(left);
    check_order(left);
    for (int i = 0; i < left; i++)
        assert_int_not_equal(place_of(stage.expired[i]) % 3, 0);
}

/* The thread sleeps until a late deadline when an earlier one is armed. */
static void test_an_earlier_deadline_wakes(void **state)
{
    rbk_reaper *r = *state;
    start(r);
    stage.calls[0].timeout_ms = 3600000;
    stage.calls[1].timeout_ms = 20;
    assert_int_equal(rbk_reaper_arm(r, &stage.calls[0]), 0);
    usleep(5000);
    assert_int_equal(rbk_reaper_arm(r, &stage.calls[1]), 0);
    wait_for_expired(1);
    assert_ptr_equal(stage.expired[0], &stage.calls[1]);
    assert_int_equal(rbk_reaper_armed(r), 1);
    rbk_reaper_disarm(r, &stage.calls[0]);
}

static void test_the_stop_cuts_what_is_armed(void **state)
{
    rbk_reaper *r = *state;
    arm_all(r, 3600000);
    start(r);
    assert_int_equal(rbk_reaper_stop(r), CALLS / 2);
    assert_int_equal(stage.n_cut, CALLS);
    assert_int_equal(stage.n_expired, 0);
    assert_int_equal(rbk_reaper_arm(r, &stage.calls[0]), RBK_E_STATE);
    assert_int_equal(rbk_reaper_armed(r), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_deadlines_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_disarmed_calls_never_expire, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_earlier_deadline_wakes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_stop_cuts_what_is_armed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
