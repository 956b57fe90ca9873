/* SPDX-License-Identifier: Apache-2.0 */
/* Receivers: who may be sent to, and when; and the shares of slots. No sockets; the clock
 * is a number. */
#include "engine/pulls.h"
#include "engine/receiver.h"
#include "engine/shares.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { PROBE = 300 };

static rbk_retry_conf retry = {.step_ms = {1000}, .steps = 1, .max_age_ms = 60000};

static rbk_receivers *make(size_t slots, size_t per_receiver, unsigned breaker)
{
    rbk_receivers *s = rbk_receivers_new(&(rbk_receivers_conf){.slots = slots,
                                                               .per_receiver = per_receiver,
                                                               .breaker = breaker,
                                                               .probe_ms = PROBE,
                                                               .retry = &retry});
    assert_non_null(s);
    return s;
}

static void add(rbk_receivers *s, const char *lane, rbk_wall_ms first)
{
    rbk_job job = {.state = RBK_JOB_DUE, .first_attempt = first, .lane = rbk_str_z(lane)};
    rbk_job *copy = rbk_job_copy(&job);
    assert_non_null(copy);
    rbk_ticket *t = rbk_ticket_new(copy);
    assert_non_null(t);
    assert_int_equal(rbk_receivers_add(s, t, 0), 0);
}

static void add_n(rbk_receivers *s, const char *lane, size_t n)
{
    while (n-- > 0)
        add(s, lane, 1000);
}

/* Whose turn it is; NULL when nobody's. */
static rbk_receiver *next(rbk_receivers *s, rbk_mono_ms now)
{
    rbk_receiver *r = NULL;
    rbk_ticket *t = rbk_receivers_next(s, now, &r);
    rbk_ticket_free(t);
    return t ? r : NULL;
}

/* What is no job gets a slot only where a job could go at once, and none waits. */
static void test_lending(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 2, 1);
    rbk_receiver *r = rbk_receivers_lend(s, RBK_STR("a"), 0);
    assert_non_null(r);
    assert_ptr_equal(rbk_receivers_lend(s, RBK_STR("a"), 0), r);
    assert_null(rbk_receivers_lend(s, RBK_STR("a"), 0)); /* two are in flight */
    add(s, "a", 1000);
    assert_null(next(s, 0));
    rbk_receivers_done(s, r, RBK_HOST_ANSWERS, 0);
    assert_null(rbk_receivers_lend(s, RBK_STR("a"), 0)); /* a job waits */
    assert_ptr_equal(next(s, 0), r);
    rbk_receivers_done(s, r, RBK_HOST_ANSWERS, 0);
    assert_int_equal(rbk_receivers_done(s, r, RBK_HOST_FAILS, 0), RBK_PAUSE_BEGINS);
    assert_null(rbk_receivers_lend(s, RBK_STR("a"), 0)); /* paused */
    rbk_receivers_tick(s, PROBE);
    assert_null(rbk_receivers_lend(s, RBK_STR("a"), PROBE)); /* the probe is a job's */
    assert_int_equal(rbk_receivers_block(s, RBK_STR("b"), true, 0), 1);
    assert_null(rbk_receivers_lend(s, RBK_STR("b"), 0));
    assert_int_equal(rbk_receivers_block(s, RBK_STR("b"), false, 0), 1);
    r = rbk_receivers_lend(s, RBK_STR("b"), 0);
    rbk_receivers_skip(s, r, 0);
    assert_int_equal(rbk_receivers_count(s), 1); /* b is forgotten */
    rbk_receivers_free(s);
}

static void test_turns_and_limit(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 3, 0);
    rbk_receiver *got[8];
    add_n(s, "a", 10);
    add_n(s, "b", 2);
    for (int i = 0; i < 5; i++)
        assert_non_null(got[i] = next(s, 0));
    assert_ptr_not_equal(got[0], got[1]); /* in turn */
    assert_ptr_equal(got[0], got[2]);
    assert_ptr_equal(got[1], got[3]);
    assert_ptr_equal(got[0], got[4]);
    assert_null(next(s, 0)); /* three are in flight to a, b has no more */
    assert_int_equal(rbk_receivers_done(s, got[0], RBK_HOST_ANSWERS, 0), RBK_PAUSE_SAME);
    assert_ptr_equal(next(s, 0), got[0]);
    assert_null(next(s, 0));
    /* A receiver without work is forgotten. */
    assert_int_equal(rbk_receivers_count(s), 2);
    rbk_receivers_done(s, got[1], RBK_HOST_ANSWERS, 0);
    rbk_receivers_done(s, got[1], RBK_HOST_ANSWERS, 0);
    assert_int_equal(rbk_receivers_count(s), 1);
    assert_true(rbk_receivers_wake(s, 0) == INT64_MAX);
    rbk_receivers_free(s);
}

/* However many receivers hang, a slot is left for the next one, until there are fewer
 * than four: and then one each. */
static void test_quarter(void **state)
{
    (void)state;
    rbk_receivers *s = make(64, 64, 0);
    static const size_t want[] = {16, 12, 9, 6, 5, 4, 3, 2};
    char lane[16];
    size_t sum = 0;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        size_t n = 0;
        snprintf(lane, sizeof lane, "r%zu", i);
        add_n(s, lane, 64);
        while (next(s, 0))
            n++;
        assert_int_equal(n, want[i]);
        sum += n;
    }
    assert_true(sum < 64);
    rbk_receivers_free(s);
}

static void test_slots_are_the_limit(void **state)
{
    (void)state;
    rbk_receivers *s = make(2, 2, 0);
    add_n(s, "a", 5);
    rbk_receiver *a = next(s, 0);
    assert_non_null(a);
    assert_null(next(s, 0)); /* its share is one */
    add(s, "b", 1);
    rbk_receiver *b = next(s, 0);
    assert_ptr_not_equal(a, b);
    add(s, "c", 1);
    assert_null(next(s, 0));
    rbk_receivers_done(s, b, RBK_HOST_ANSWERS, 0);
    assert_non_null(next(s, 0));
    rbk_receivers_free(s);
}

/* Pause "a" by three failures. */
static rbk_receiver *paused(rbk_receivers *s, rbk_mono_ms now)
{
    rbk_receiver *r = NULL;
    for (int i = 0; i < 3; i++) {
        assert_non_null(r = next(s, now));
        assert_int_equal(rbk_receivers_done(s, r, RBK_HOST_FAILS, now),
                         i == 2 ? RBK_PAUSE_BEGINS : RBK_PAUSE_SAME);
    }
    return r;
}

static void test_pause_and_probe(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 8, 3);
    add_n(s, "a", 100);
    rbk_receiver *r = paused(s, 1000);
    assert_int_equal(rbk_receivers_paused(s), 1);
    for (rbk_mono_ms now = 1000; now < 1000 + PROBE; now += 50) {
        rbk_receivers_tick(s, now);
        assert_null(next(s, now));
    }
    assert_true(rbk_receivers_wake(s, 1000) == 1000 + PROBE);
    for (int i = 1; i < 5; i++) {
        rbk_mono_ms now = 1000 + i * PROBE;
        rbk_receivers_tick(s, now - 1);
        assert_null(next(s, now - 1));
        rbk_receivers_tick(s, now);
        assert_ptr_equal(next(s, now), r); /* one, no more */
        assert_null(next(s, now));
        assert_int_equal(rbk_receivers_done(s, r, i % 2 ? RBK_HOST_FAILS : RBK_HOST_SILENT, now),
                         RBK_PAUSE_SAME);
        assert_null(next(s, now));
    }
    /* An answer, and the window opens slowly: 1, 2, 4, 8, 8. */
    rbk_receivers_tick(s, 9000);
    assert_ptr_equal(next(s, 9000), r);
    assert_int_equal(rbk_receivers_done(s, r, RBK_HOST_ANSWERS, 9000), RBK_PAUSE_ENDS);
    assert_int_equal(rbk_receivers_paused(s), 0);
    for (size_t window = 1, flying = 0; window <= 8; window *= 2) {
        while (next(s, 9000))
            flying++;
        assert_int_equal(flying, window);
        rbk_receivers_done(s, r, RBK_HOST_ANSWERS, 9000);
        flying--;
    }
    rbk_receivers_free(s);
}

static void test_an_answer_ends_the_row(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 8, 3);
    add_n(s, "a", 20);
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 2; k++)
            assert_int_equal(rbk_receivers_done(s, next(s, 0), RBK_HOST_FAILS, 0), RBK_PAUSE_SAME);
        rbk_receivers_done(s, next(s, 0), RBK_HOST_ANSWERS, 0);
    }
    assert_int_equal(rbk_receivers_paused(s), 0);
    rbk_receivers_free(s);
    s = make(100, 8, 0); /* no breaker */
    add_n(s, "a", 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(rbk_receivers_done(s, next(s, 0), RBK_HOST_FAILS, 0), RBK_PAUSE_SAME);
    rbk_receivers_free(s);
}

/* A probe of which nothing came is made up for at once. */
static void test_skipped_probe(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 8, 3);
    add_n(s, "a", 5);
    rbk_receiver *r = paused(s, 0);
    rbk_receivers_tick(s, PROBE);
    assert_ptr_equal(next(s, PROBE), r);
    rbk_receivers_skip(s, r, PROBE);
    assert_ptr_equal(next(s, PROBE), r);
    rbk_receivers_done(s, r, RBK_HOST_FAILS, PROBE);
    assert_null(next(s, PROBE));
    rbk_receivers_free(s);
}

static void test_hold(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 8, 3);
    rbk_receiver *r;
    add_n(s, "a", 2);
    rbk_ticket *t = rbk_receivers_next(s, 0, &r);
    rbk_receivers_hold(s, r, t, 0);
    assert_null(next(s, 0));
    assert_true(rbk_receivers_wake(s, 0) == RBK_RECEIVER_HOLD_MS);
    rbk_receivers_tick(s, RBK_RECEIVER_HOLD_MS);
    rbk_receiver *again;
    assert_ptr_equal(rbk_receivers_next(s, 0, &again), t); /* it is still the first */
    /* The second is held; the end of the first makes room. */
    rbk_ticket *u = rbk_receivers_next(s, 0, &r);
    rbk_receivers_hold(s, r, u, 0);
    assert_null(next(s, 0));
    rbk_receivers_done(s, r, RBK_HOST_ANSWERS, 0);
    rbk_ticket_free(t);
    assert_ptr_equal(rbk_receivers_next(s, 0, &again), u);
    rbk_ticket_free(u);
    rbk_receivers_free(s);
}

static void test_expiry(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 8, 3);
    rbk_list old = {0};
    add_n(s, "b", 1); /* not paused: nobody dies of waiting */
    assert_non_null(next(s, 0));
    add_n(s, "b", 1);
    add_n(s, "a", 3);
    for (int i = 0; i < 10; i++)
        add(s, "a", 1000 + i * 1000);
    for (int i = 0; i < 4; i++) {
        rbk_receiver *r = next(s, 0);
        if (rbk_str_eqz(r->name, "a"))
            rbk_receivers_done(s, r, RBK_HOST_FAILS, 0);
    }
    assert_int_equal(rbk_receivers_paused(s), 1);
    rbk_receivers_expire(s, 60999, &old);
    assert_int_equal(old.n, 0);
    rbk_receivers_expire(s, 64000, &old);
    assert_int_equal(old.n, 4);
    rbk_receivers_expire(s, 64999, &old);
    assert_int_equal(old.n, 4);
    rbk_receivers_expire(s, 90000, &old);
    assert_int_equal(old.n, 10);
    for (rbk_node *n; (n = rbk_list_pop(&old));)
        rbk_ticket_free((rbk_ticket *)(void *)n);
    /* What is left of it is forgotten in time. */
    rbk_receivers_tick(s, PROBE);
    rbk_receivers_tick(s, PROBE + RBK_RECEIVER_IDLE_MS);
    assert_int_equal(rbk_receivers_count(s), 1);
    rbk_receivers_free(s);
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 8, 1);
    char lane[32];
    for (int i = 0; i < 3 * RBK_RECEIVERS_IDLE; i++) {
        snprintf(lane, sizeof lane, "send:%d", i);
        add(s, lane, 1000);
        rbk_receivers_done(s, next(s, 0), i % 3 ? RBK_HOST_FAILS : RBK_HOST_ANSWERS, 0);
    }
    assert_int_equal(rbk_receivers_count(s), RBK_RECEIVERS_IDLE);
    assert_int_equal(rbk_receivers_paused(s), RBK_RECEIVERS_IDLE);
    /* A paused one is remembered as such. */
    add(s, lane, 1000);
    assert_null(next(s, PROBE - 1));
    rbk_receivers_tick(s, PROBE);
    rbk_receiver *r = next(s, PROBE);
    assert_non_null(r);
    assert_int_equal(rbk_receivers_done(s, r, RBK_HOST_ANSWERS, PROBE), RBK_PAUSE_ENDS);
    rbk_receivers_tick(s, PROBE + RBK_RECEIVER_IDLE_MS);
    assert_int_equal(rbk_receivers_count(s), 0);
    assert_int_equal(rbk_receivers_paused(s), 0);
    rbk_receivers_free(s);
}

static void test_shares(void **state)
{
    (void)state;
    rbk_shares *s = rbk_shares_new(100, 10);
    size_t all = 0, a = 0, b = 0;
    while (rbk_shares_enter(s, RBK_STR("a"), all))
        a++, all++;
    assert_int_equal(a, 10);
    all += 78; /* others have so many: 22 are left to b, of which a quarter is 5 */
    while (all < 100 && rbk_shares_enter(s, RBK_STR("b"), all))
        b++, all++;
    assert_true(b >= 2 && b <= 3);
    rbk_shares_leave(s, RBK_STR("a"));
    assert_true(rbk_shares_enter(s, RBK_STR("a"), 40));
    assert_false(rbk_shares_enter(s, RBK_STR("a"), 40));
    assert_true(rbk_shares_enter(s, RBK_STR("c"), 100)); /* one is always let in */
    rbk_shares_leave(s, RBK_STR("unknown"));
    rbk_shares_free(s);
}

/* By an operator: it gets nothing, probes too, is not forgotten, and its jobs grow old. */
static void test_block(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 3, 1);
    rbk_list old = {0};
    assert_int_equal(rbk_receivers_block(s, RBK_STR("a"), true, 0), 1);
    assert_int_equal(rbk_receivers_block(s, RBK_STR("a"), true, 0), 0);
    add(s, "a", 1000);
    add(s, "b", 1000);
    rbk_receiver *b = next(s, 1);
    assert_true(b && rbk_str_eqz(b->name, "b"));
    assert_null(next(s, 1));
    rbk_receivers_expire(s, 61000, &old);
    assert_int_equal(old.n, 1);
    rbk_ticket_free((rbk_ticket *)(void *)rbk_list_pop(&old));
    assert_int_equal(rbk_receivers_done(s, b, RBK_HOST_FAILS, 1), RBK_PAUSE_BEGINS);
    assert_int_equal(rbk_receivers_block(s, RBK_STR("b"), true, 1), 1);
    add(s, "b", 1000);
    rbk_receivers_tick(s, 1 + PROBE);
    assert_null(next(s, 1 + PROBE));
    assert_int_equal(rbk_receivers_block(s, RBK_STR("b"), false, 2), 1); /* the pause ends too */
    assert_int_equal(rbk_receivers_paused(s), 0);
    assert_true(next(s, 2) == b);
    rbk_receivers_done(s, b, RBK_HOST_ANSWERS, 3);
    assert_int_equal(rbk_receivers_count(s), 1); /* a alone: it is still blocked */
    assert_int_equal(rbk_receivers_block(s, RBK_STR("a"), false, 3), 1);
    assert_int_equal(rbk_receivers_count(s), 0);
    rbk_receivers_free(s);
}

/* One job leaves the queue, one is preferred, and a probe is allowed before its time. */
static void test_take_and_prefer(void **state)
{
    (void)state;
    rbk_receivers *s = make(100, 1, 1);
    for (int64_t seq = 1; seq <= 4; seq++) {
        rbk_job job = {.seq = seq, .state = RBK_JOB_DUE, .due = 10 * seq, .lane = RBK_STR("a")};
        rbk_ticket *t = rbk_ticket_new(rbk_job_copy(&job));
        assert_int_equal(rbk_receivers_add(s, t, 0), 0);
    }
    rbk_receiver *a = next(s, 0);
    rbk_receivers_done(s, a, RBK_HOST_FAILS, 0);
    assert_true(rbk_receivers_oldest(s) == 20);
    rbk_ticket *t = rbk_receivers_take(s, a, 2, 0);
    assert_int_equal(t->job->seq, 2);
    rbk_ticket_free(t);
    assert_null(rbk_receivers_take(s, a, 2, 0));
    assert_true(rbk_receivers_prefer(a, 4));
    assert_false(rbk_receivers_prefer(a, 2));
    assert_null(next(s, 0));
    rbk_receivers_hurry(s, a, 0);
    rbk_receiver *r = NULL;
    t = rbk_receivers_next(s, 0, &r);
    assert_int_equal(t->job->seq, 4);
    rbk_ticket_free(t);
    rbk_receivers_done(s, r, RBK_HOST_ANSWERS, 0);
    assert_int_equal(a->queue.n, 1);
    rbk_receivers_free(s);
}

static void test_pulls(void **state)
{
    (void)state;
    static rbk_pulls p;
    char lane[16];
    assert_true(rbk_pulls_wake(&p) == INT64_MAX);
    for (int i = 0; i < 2 * RBK_PULLS; i++) {
        snprintf(lane, sizeof lane, "send:%d", i);
        rbk_pulls_add(&p, rbk_str_z(lane), 7);
    }
    assert_int_equal(p.n, RBK_PULLS);
    for (int i = 0; i < RBK_PULLS; i++)
        assert_non_null(rbk_pulls_next(&p, 7));
    assert_null(rbk_pulls_next(&p, 7)); /* each once in its time */
    assert_true(rbk_pulls_wake(&p) == 7 + RBK_PULL_EVERY_MS);
    for (int i = 0; i < RBK_PULL_FAILS; i++) {
        assert_int_equal(p.n, RBK_PULLS);
        rbk_pulls_failed(&p, RBK_STR("send:3"));
        rbk_pulls_failed(&p, RBK_STR("send:unknown"));
    }
    assert_int_equal(p.n, RBK_PULLS - 1);
    while (p.n)
        rbk_pulls_end(&p, rbk_pulls_next(&p, 1000000 + (rbk_mono_ms)p.n * 1000));
    assert_true(rbk_pulls_wake(&p) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns_and_limit),
        cmocka_unit_test(test_lending),   cmocka_unit_test(test_quarter),
        cmocka_unit_test(test_slots_are_the_limit), cmocka_unit_test(test_pause_and_probe),
        cmocka_unit_test(test_an_answer_ends_the_row), cmocka_unit_test(test_skipped_probe),
        cmocka_unit_test(test_hold),              cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_memory_is_bounded), cmocka_unit_test(test_shares),
        cmocka_unit_test(test_pulls),             cmocka_unit_test(test_block),
        cmocka_unit_test(test_take_and_prefer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
