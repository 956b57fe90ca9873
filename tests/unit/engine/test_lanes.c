/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: who may have how much memory, and who is filled again when. */
#include "engine/lanes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static void fill(rbk_lanes *l, rbk_str name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_non_null(rbk_lanes_enter(l, name, 100));
}

static void test_one_lane_is_bounded(void **state)
{
    (void)state;
    rbk_lanes *l = rbk_lanes_new();
    size_t n = 0;
    while (rbk_lanes_enter(l, RBK_STR("send:a"), 100))
        n++;
    assert_int_equal(n, RBK_LANE_JOBS);
    assert_int_equal(rbk_lanes_jobs(l), RBK_LANE_JOBS);
    /* Another lane is not concerned. */
    assert_non_null(rbk_lanes_enter(l, RBK_STR("send:b"), 100));
    rbk_lanes_free(l);
}

static void test_nobody_overtakes(void **state)
{
    (void)state;
    rbk_lanes *l = rbk_lanes_new();
    rbk_lane *lane = NULL, *last;
    while ((last = rbk_lanes_enter(l, RBK_STR("send:a"), 100)))
        lane = last;
    rbk_lanes_leave(l, lane, 100);
    /* There is room now, but older jobs wait in the store. */
    assert_null(rbk_lanes_enter(l, RBK_STR("send:a"), 100));
    rbk_lanes_free(l);
}

static void test_refill_at_half(void **state)
{
    (void)state;
    rbk_lanes *l = rbk_lanes_new();
    rbk_lane *lane = NULL, *last;
    size_t room = 0;
    while ((last = rbk_lanes_enter(l, RBK_STR("send:a"), 100)))
        lane = last;
    for (int i = 0; i < RBK_LANE_JOBS / 2 - 1; i++)
        rbk_lanes_leave(l, lane, 100);
    assert_false(rbk_lanes_waiting(l));
    rbk_lanes_leave(l, lane, 100);
    assert_true(rbk_lanes_waiting(l));
    assert_ptr_equal(rbk_lanes_next_refill(l, &room), lane);
    assert_int_equal(room, RBK_LANE_JOBS / 2);
    rbk_lanes_take(l, lane, 100);
    rbk_lanes_refilled(l, lane, false);
    /* All that waited is in memory: new jobs may come in again. */
    assert_non_null(rbk_lanes_enter(l, RBK_STR("send:a"), 100));
    rbk_lanes_free(l);
}

static void test_stuck_lanes_leave_room(void **state)
{
    (void)state;
    rbk_lanes *l = rbk_lanes_new();
    char name[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "send:stuck%d", i);
        while (rbk_lanes_enter(l, rbk_str_z(name), 100))
            ;
    }
    assert_true(rbk_lanes_jobs(l) <= RBK_MEMORY_JOBS + 1000 * RBK_LANE_FLOOR);
    fill(l, RBK_STR("send:healthy"), RBK_LANE_FLOOR);
    rbk_lanes_free(l);
}

static void test_bytes_are_bounded(void **state)
{
    (void)state;
    rbk_lanes *l = rbk_lanes_new();
    size_t sum = 0, big = 1 << 20;
    while (rbk_lanes_enter(l, RBK_STR("send:a"), big))
        sum += big;
    assert_true(sum <= RBK_LANE_BYTES);
    /* A job larger than a lane's share still gets through alone. */
    assert_non_null(rbk_lanes_enter(l, RBK_STR("send:b"), RBK_LANE_BYTES * 2));
    assert_null(rbk_lanes_enter(l, RBK_STR("send:b"), 1));
    rbk_lanes_free(l);
}

static void test_big_jobs_of_many_lanes_are_bounded(void **state)
{
    (void)state;
    rbk_lanes *l = rbk_lanes_new();
    char name[32];
    size_t sum = 0, big = 2 << 20;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "send:%d", i);
        if (rbk_lanes_enter(l, rbk_str_z(name), big))
            sum += big;
        else
            assert_false(rbk_lanes_spilled(l, rbk_str_z(name)));
    }
    assert_true(sum >= RBK_MEMORY_BYTES && sum <= RBK_MEMORY_BYTES_MAX + big);
    rbk_lanes_free(l);
}

/* A job went to the store alone, and when it is there its lane has become empty. */
static void test_spilled_lane_without_jobs_is_filled(void **state)
{
    (void)state;
    rbk_lanes *l = rbk_lanes_new();
    size_t room = 0;
    assert_true(rbk_lanes_spilled(l, RBK_STR("run:a")));
    rbk_lane *lane = rbk_lanes_next_refill(l, &room);
    assert_non_null(lane);
    assert_true(room > 0);
    rbk_lanes_refilled(l, lane, false);
    assert_false(rbk_lanes_waiting(l));
    rbk_lanes_free(l);
}

static void test_too_many_lanes_overflow(void **state)
{
    (void)state;
    rbk_lanes *l = rbk_lanes_new();
    char name[32];
    rbk_lane *first = NULL;
    for (int i = 0; i < RBK_LANES; i++) {
        snprintf(name, sizeof name, "send:%d", i);
        rbk_lane *lane = rbk_lanes_enter(l, rbk_str_z(name), 100);
        assert_non_null(lane);
        first = first ? first : lane;
    }
    assert_null(rbk_lanes_enter(l, RBK_STR("send:late"), 100));
    assert_false(rbk_lanes_spilled(l, RBK_STR("send:late")));
    /* A lane is forgotten when it is idle, and makes room; what was spilled of lanes that
     * could not be remembered is not overtaken until the store was asked. */
    rbk_lanes_leave(l, first, 100);
    assert_null(rbk_lanes_enter(l, RBK_STR("send:late"), 100));
    rbk_lanes_free(l);
}

/* A lane from which nothing is taken leaves memory to others, until it is told otherwise or
 * not believed any more. */
static void test_behind(void **state)
{
    (void)state;
    rbk_lanes *l = rbk_lanes_new();
    rbk_str name = RBK_STR("send:a");
    rbk_lane *lane = rbk_lanes_enter(l, name, 100);
    rbk_lanes_tick(l, 1000);
    rbk_lanes_behind(l, RBK_STR("send:none"), true); /* is nowhere */
    rbk_lanes_behind(l, name, true);
    for (int i = 1; i < RBK_LANE_BEHIND; i++)
        assert_non_null(rbk_lanes_enter(l, name, 100));
    assert_null(rbk_lanes_enter(l, name, 100));
    assert_false(rbk_lanes_waiting(l));
    rbk_lanes_leave(l, lane, 100);
    assert_true(rbk_lanes_waiting(l)); /* the next one, for a probe */
    size_t room = 0;
    assert_ptr_equal(rbk_lanes_next_refill(l, &room), lane);
    assert_int_equal(room, 1);
    rbk_lanes_take(l, lane, 100);
    rbk_lanes_refilled(l, lane, true);
    assert_false(rbk_lanes_waiting(l));
    rbk_lanes_behind(l, name, false);
    assert_true(rbk_lanes_waiting(l));
    rbk_lanes_next_refill(l, &room);
    assert_int_equal(room, RBK_LANE_JOBS - RBK_LANE_BEHIND);
    rbk_lanes_behind(l, name, true);
    rbk_lanes_tick(l, 1000 + RBK_LANE_BEHIND_MS);
    rbk_lanes_refilled(l, lane, false);
    fill(l, name, RBK_LANE_JOBS - RBK_LANE_BEHIND);
    rbk_lanes_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_lane_is_bounded),  cmocka_unit_test(test_nobody_overtakes),
        cmocka_unit_test(test_refill_at_half),       cmocka_unit_test(test_stuck_lanes_leave_room),
        cmocka_unit_test(test_bytes_are_bounded),    cmocka_unit_test(test_too_many_lanes_overflow),
        cmocka_unit_test(test_big_jobs_of_many_lanes_are_bounded),
        cmocka_unit_test(test_spilled_lane_without_jobs_is_filled),
        cmocka_unit_test(test_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
