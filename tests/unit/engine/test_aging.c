/* SPDX-License-Identifier: Apache-2.0 */
/* Where to look for jobs that are too old: at once where there are some, seldom where there are
 * none, and everywhere in the end. The lanes are played. */
#include "engine/aging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

enum { AGE = 60000, START = 1000000, MAX = 500 };

static rbk_wall_ms now;

/* Both clocks go together. */
static bool next(rbk_aging *a, rbk_aged *ret)
{
    return rbk_aging_next(a, now - START, now, MAX, ret);
}

static void hear(rbk_aging *a, const char *lane)
{
    rbk_aging_hear(a, rbk_str_z(lane), now - START);
}

static rbk_aging *make(void)
{
    rbk_aging *a = rbk_aging_new(AGE);
    assert_non_null(a);
    now = START;
    return a;
}

/* The lane has no more than the few that were looked at, of whom the oldest is of `first`. */
static void all_young(rbk_aging *a, rbk_aged *look, rbk_wall_ms first)
{
    look->oldest = first;
    look->at_due = look->at_seq = 7;
    rbk_aging_looked(a, look, 1, false, now);
}

/* Looks at the edge and in the depth, which find nobody. */
static void settle(rbk_aging *a, rbk_wall_ms first)
{
    rbk_aged look;
    int edge = 0, deep = 0;
    for (int i = 0; i < 20 && edge + deep < 2; i++, now += RBK_AGING_DEEP_MS)
        if (next(a, &look)) {
            edge += look.look == RBK_AGING_EDGE;
            deep += look.look == RBK_AGING_BITE;
            all_young(a, &look, first);
        }
    assert_int_equal(edge, 1);
    assert_int_equal(deep, 1);
}

static void test_nothing_is_heard(void **state)
{
    (void)state;
    rbk_aging *a = make();
    rbk_aged look;
    assert_false(next(a, &look));
    assert_false(rbk_aging_busy(a));
    rbk_aging_note(a, RBK_STR("send:a"), 5);
    rbk_aging_forget(a, RBK_STR("send:a"));
    assert_false(next(a, &look));
    rbk_aging_free(a);
    rbk_aging_free(NULL);
}

static void test_young_lanes_rest(void **state)
{
    (void)state;
    rbk_aging *a = make();
    rbk_aged look;
    rbk_wall_ms first = START - 10000;
    hear(a, "send:a");
    settle(a, first);
    for (; now < first + AGE; now += 500) {
        hear(a, "send:a");
        assert_false(next(a, &look));
    }
    assert_true(next(a, &look));
    assert_true(rbk_str_eqz(look.lane, "send:a"));
    assert_int_equal(look.before, now - AGE);
    assert_true(look.before >= first);
    assert_int_equal(look.look, RBK_AGING_EDGE);
    assert_int_equal(look.at_due, INT64_MIN);
    all_young(a, &look, first); /* it was in memory meanwhile, and gave way to others */
    assert_true(next(a, &look));
    assert_int_equal(look.look, RBK_AGING_BITE);
    all_young(a, &look, first);
    assert_false(next(a, &look));
    rbk_aging_free(a);
}

/* Where some are too old, all that is there is taken at once, but lanes take turns. */
static void test_old_ones_go_at_once(void **state)
{
    (void)state;
    rbk_aging *a = make();
    rbk_aged look;
    size_t left = 5 * MAX, other = 0;
    hear(a, "send:a");
    assert_true(next(a, &look));
    rbk_aging_looked(a, &look, RBK_AGING_EDGE, true, now);
    assert_true(rbk_aging_busy(a));
    hear(a, "send:b");
    while (rbk_aging_busy(a)) {
        assert_true(next(a, &look));
        if (rbk_str_eqz(look.lane, "send:b")) {
            other++;
            all_young(a, &look, START);
            continue;
        }
        assert_int_equal(look.at_due, INT64_MIN);
        assert_int_equal(look.look, MAX);
        size_t n = left < look.look ? left : look.look;
        left -= n;
        look.oldest = INT64_MAX;
        rbk_aging_looked(a, &look, n, n > 0, now);
    }
    assert_int_equal(left, 0);
    assert_in_range(other, 1, 2); /* its edge, its depth */
    rbk_aging_free(a);
}

/* The depth is gone through from one end to the other, a bite now and then; where it has old
 * ones, faster. */
static void test_depth(void **state)
{
    (void)state;
    rbk_aging *a = make();
    rbk_aged look;
    rbk_mono_ms last = 0;
    int64_t at = INT64_MIN;
    hear(a, "send:a");
    for (int bites = 0; bites < 5;) {
        hear(a, "send:a");
        if (next(a, &look) && look.look == RBK_AGING_BITE) {
            assert_int_equal(look.at_due, at);
            assert_int_equal(look.at_seq, at);
            assert_true(bites == 0 || now - last >= RBK_AGING_DEEP_MS);
            last = now;
            look.at_due = look.at_seq = at = ++bites;
            look.oldest = START - 1000 * bites;
            rbk_aging_looked(a, &look, RBK_AGING_BITE, false, now);
        } else if (look.look == RBK_AGING_EDGE) {
            all_young(a, &look, START);
        }
        now += 10;
        look = (rbk_aged){0};
    }
    /* an old one: the next bite is at once */
    now += RBK_AGING_DEEP_MS;
    assert_true(next(a, &look));
    look.at_due = look.at_seq = 6;
    look.oldest = INT64_MAX;
    rbk_aging_looked(a, &look, RBK_AGING_BITE, true, now);
    assert_true(rbk_aging_busy(a));
    assert_true(next(a, &look));
    assert_int_equal(look.at_due, 6);
    look.oldest = INT64_MAX;
    rbk_aging_looked(a, &look, 0, false, now);
    assert_false(rbk_aging_busy(a));
    /* the oldest that was seen says when to begin anew */
    rbk_wall_ms due = START - 5000 + AGE;
    for (; now < due; now += 500) {
        hear(a, "send:a");
        assert_false(next(a, &look));
    }
    for (bool deep = false; !deep; now += 10) {
        hear(a, "send:a");
        assert_true(now < due + 1000);
        if (!next(a, &look))
            continue;
        deep = look.look == RBK_AGING_BITE;
        if (deep)
            assert_int_equal(look.at_due, INT64_MIN);
        all_young(a, &look, START);
    }
    rbk_aging_free(a);
}

static void test_one_comes_back_to_the_store(void **state)
{
    (void)state;
    rbk_aging *a = make();
    rbk_aged look;
    hear(a, "send:a");
    settle(a, START);
    hear(a, "send:a");
    rbk_aging_note(a, RBK_STR("send:a"), 0); /* it has no age yet */
    assert_false(next(a, &look));
    rbk_aging_note(a, RBK_STR("send:a"), now - AGE + 700);
    rbk_aging_note(a, RBK_STR("send:other"), 1);
    assert_false(next(a, &look));
    now += 700;
    assert_true(next(a, &look));
    rbk_aging_free(a);
}

static void test_lanes_that_came_back_are_left_alone(void **state)
{
    (void)state;
    rbk_aging *a = make();
    rbk_aged look;
    hear(a, "send:a");
    hear(a, "send:b");
    rbk_aging_forget(a, RBK_STR("send:a"));
    assert_true(next(a, &look));
    assert_true(rbk_str_eqz(look.lane, "send:b"));
    rbk_aging_looked(a, &look, RBK_AGING_EDGE, true, now);
    now += RBK_AGING_MS + 1; /* nothing more is heard of it */
    assert_false(next(a, &look));
    assert_false(rbk_aging_busy(a));
    /* it is forgotten while it is looked at */
    hear(a, "send:c");
    assert_true(next(a, &look));
    rbk_aging_forget(a, RBK_STR("send:c"));
    rbk_aging_looked(a, &look, 1, true, now);
    assert_false(next(a, &look));
    rbk_aging_free(a);
}

static void test_many_lanes(void **state)
{
    (void)state;
    rbk_aging *a = make();
    rbk_aged look;
    char name[32];
    int seen = 0;
    for (int i = 0; i < RBK_AGING_LANES + 100; i++) {
        snprintf(name, sizeof name, "send:%d", i);
        hear(a, name);
    }
    for (; next(a, &look); seen += look.look == RBK_AGING_EDGE)
        all_young(a, &look, START);
    assert_int_equal(seen, RBK_AGING_LANES);
    rbk_aging_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_heard),
        cmocka_unit_test(test_young_lanes_rest),
        cmocka_unit_test(test_old_ones_go_at_once),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_one_comes_back_to_the_store),
        cmocka_unit_test(test_lanes_that_came_back_are_left_alone),
        cmocka_unit_test(test_many_lanes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
