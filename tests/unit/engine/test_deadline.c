/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines: nothing is run after its own, wherever it waits, and the answer is there at once. */
#include "engine_rig.h"

#define EXPIRED "\"code\":-32002"

/* The deadline `ms` from now, as a member behind the callback. */
static const char *in_ms(int ms)
{
    static char more[64];
    snprintf(more, sizeof more, ",\"$rpc.deadline\":%.3f", (double)(rbk_wall_now() + ms) / 1000);
    return more;
}

static int ask_sync(rbk_server *s, const char *method, int ms, answer *a)
{
    char body[160];
    snprintf(body, sizeof body, "{\"id\":1,\"method\":\"%s\",\"params\":{%s}}", method, in_ms(ms) + 1);
    return ask(s, body, a);
}

static void test_synchronous(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    assert_int_equal(ask_sync(s, "quick", -1000, &a), 200);
    assert_non_null(strstr(a.body, EXPIRED));
    assert_int_equal(quick_runs, 0);
    assert_int_equal(ask_sync(s, "quick", 60000, &a), 200);
    assert_non_null(strstr(a.body, "\"result\":1"));
    rbk_mono_ms then = rbk_mono_now();
    assert_int_equal(ask_sync(s, "keep", 300, &a), 200);
    assert_non_null(strstr(a.body, EXPIRED));
    assert_in_range(rbk_mono_now() - then, 290, 5000);
    rbk_server_free(s);
}

static void test_long_ago(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    post_job(s, "quick", in_ms(-100000), &a);
    WAIT_FOR(a.count);
    assert_non_null(strstr(a.body, "\"status\":true"));
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(quick_runs, 0);
    rbk_server_free(s);
}

/* Its delay ends later; nothing looks at it before. */
static void test_on_the_wait_shelf(void **state)
{
    rbk_server *s = run_server();
    char more[96];
    (void)state;
    snprintf(more, sizeof more, ",\"$rpc.delay\":3600%s", in_ms(300));
    rbk_mono_ms then = rbk_mono_now();
    assert_int_equal(ask_job(s, "quick", more), 200);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_in_range(rbk_mono_now() - then, 290, 5000);
    assert_int_equal(quick_runs, 0);
    rbk_server_free(s);
}

static void test_while_it_runs(void **state)
{
    rbk_server *s = run_server();
    (void)state;
    rbk_mono_ms then = rbk_mono_now();
    assert_int_equal(ask_job(s, "keep", in_ms(300)), 200);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(n_kept(), 1);
    assert_in_range(rbk_mono_now() - then, 290, 5000);
    assert_int_equal(answer_kept(1), RBK_E_STATE);
    rbk_server_free(s);
}

/* A result that is there in time is sent, however long that takes. */
static void test_a_result_outlives_it(void **state)
{
    rbk_server *s = run_server();
    (void)state;
    far_end.status = 0;
    assert_int_equal(ask_job(s, "quick", in_ms(500)), 200);
    WAIT_FOR(far_end.in_flight == 1);
    watch_for(700);
    assert_int_equal(disk_stats().due, 1);
    receiver_says(200);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(quick_runs, 1);
    rbk_server_free(s);
}

/* --- Behind a method that holds its threads ------------------------------------------------ */

static atomic_bool blocking;
static atomic_int blocked;

static void block(rbk_call *call, void *user)
{
    (void)user;
    blocked++;
    while (blocking)
        usleep(1000);
    rbk_call_result(call, "3", 1);
}

static rbk_server *run_blocked(int jobs)
{
    rbk_server *s = make_server();
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "block", .fn = block}), 0);
    blocking = true;
    blocked = 0;
    start(s);
    assert_int_equal(ask_jobs(s, "block", jobs, false), 200);
    WAIT_FOR(blocked == 2); /* half of the threads: no method gets more */
    return s;
}

/* In memory, and more than memory takes: all are answered at the time, and their places are free. */
static void test_in_the_queue(void **state)
{
    enum { MANY = 600 };
    rbk_server *s = run_blocked(2);
    char more[64];
    (void)state;
    snprintf(more, sizeof more, "%s", in_ms(1500));
    for (int i = 0; i < MANY; i++)
        assert_int_equal(ask_job(s, "block", more), 200);
    rbk_mono_ms then = rbk_mono_now();
    WAIT_FOR(stats_of(s).delivered == MANY);
    assert_true(rbk_mono_now() - then < 10000);
    WAIT_FOR(stats_of(s).in_memory == 2);
    assert_int_equal(blocked, 2);
    /* a job without a deadline takes the place that is free */
    assert_int_equal(ask_job(s, "block", ""), 200);
    blocking = false;
    WAIT_FOR(stats_of(s).delivered == MANY + 3);
    assert_int_equal(blocked, 3);
    rbk_server_free(s);
}

/* One that waits for another of its order key is answered at its time, and told in its turn. */
static void test_behind_another(void **state)
{
    rbk_server *s = run_server();
    char more[96];
    (void)state;
    assert_int_equal(ask_job(s, "keep", ",\"$rpc.key\":\"k\""), 200);
    WAIT_FOR(n_kept() == 1);
    snprintf(more, sizeof more, ",\"$rpc.key\":\"k\"%s", in_ms(300));
    assert_int_equal(ask_job(s, "quick", more), 200);
    assert_int_equal(ask_job(s, "quick", ",\"$rpc.key\":\"k\""), 200);
    WAIT_FOR(disk_stats().due == 1);
    assert_int_equal(disk_stats().held, 1);
    assert_int_equal(quick_runs, 0);
    assert_int_equal(far_end.attempts, 0);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 3);
    assert_int_equal(quick_runs, 1);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

static void test_a_silent_one(void **state)
{
    rbk_server *s = run_blocked(2);
    char body[200];
    answer a;
    (void)state;
    snprintf(body, sizeof body, "{\"method\":\"block\",\"params\":{" CALLBACK "%s}}", in_ms(300));
    assert_int_equal(ask(s, body, &a), 204);
    WAIT_FOR(stats_of(s).pending == 2);
    blocking = false;
    WAIT_FOR(stats_of(s).pending == 0);
    assert_int_equal(blocked, 2);
    assert_int_equal(far_end.attempts, 2);
    rbk_server_free(s);
}

/* Jobs that wait for a thread do not hold up the stop, and their deadline is kept. */
static void test_over_a_stop(void **state)
{
    rbk_server *s = run_blocked(2);
    (void)state;
    assert_int_equal(ask_job(s, "block", in_ms(1000)), 200);
    rbk_mono_ms then = rbk_mono_now();
    blocking = false;
    rbk_server_stop(s);
    assert_true(rbk_mono_now() - then < 4000);
    rbk_server_free(s);
    int left = (int)disk_stats().pending;
    s = make_server();
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "block", .fn = block}), 0);
    start(s);
    WAIT_FOR(stats_of(s).delivered == (uint64_t)left);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_synchronous),        RIG_TEST(test_long_ago),
        RIG_TEST(test_on_the_wait_shelf),  RIG_TEST(test_while_it_runs),
        RIG_TEST(test_a_result_outlives_it), RIG_TEST(test_in_the_queue),
        RIG_TEST(test_a_silent_one),       RIG_TEST(test_over_a_stop),
        RIG_TEST(test_behind_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
