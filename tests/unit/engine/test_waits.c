/* SPDX-License-Identifier: Apache-2.0 */
/* Callers that wait for the result of their job: what they get, and what then counts as
 * delivered. The caller is an embedder: its answer is written when its function returns. */
#include "engine_rig.h"

#define WAIT_LONG ",\"$rpc.wait\":20"

static bool is_ack(const answer *a)
{
    return strstr(a->body, "\"status\":true") != NULL;
}

static void test_in_time(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    post_job(s, "quick", WAIT_LONG, &a);
    WAIT_FOR(a.count);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body, "{\"id\":1,\"result\":1}");
    assert_int_equal(strlen(a.job), 36);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(far_end.attempts, 0);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

/* It is stored before it is told, and ended after. */
static atomic_int due_when_told;

static void look(void *user, const rbk_reply *reply)
{
    (void)reply;
    due_when_told = (int)disk_stats().due;
    ++*(atomic_int *)user;
}

static void test_stored_first(void **state)
{
    static const char body[] = "{\"id\":1,\"method\":\"quick\",\"params\":{" CALLBACK WAIT_LONG "}}";
    rbk_server *s = run_server();
    atomic_int count = 0;
    (void)state;
    assert_int_equal(rbk_server_handle(s, &(rbk_request){.body = rbk_str_z(body)}, look, &count), 0);
    WAIT_FOR(count);
    assert_int_equal(due_when_told, 1);
    WAIT_FOR(stats_of(s).pending == 0);
    rbk_server_free(s);
}

static void test_too_late(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    rbk_mono_ms then = rbk_mono_now();
    post_job(s, "keep", ",\"$rpc.wait\":0.2", &a);
    WAIT_FOR(a.count);
    assert_in_range(rbk_mono_now() - then, 195, 10000);
    assert_true(is_ack(&a));
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(far_end.attempts, 1);
    assert_int_equal(a.count, 1);
    rbk_server_free(s);
}

/* More jobs than memory takes: those that were in the store meanwhile are waited for as well. */
static void test_over_the_store(void **state)
{
    enum { MANY = 600 };
    static answer a[MANY];
    rbk_server *s = run_server();
    (void)state;
    for (int i = 0; i < MANY; i++)
        post_job(s, "keep", WAIT_LONG, &a[i]);
    WAIT_FOR(n_kept() >= 256);
    WAIT_FOR(disk_stats().pending == MANY);
    for (int i = 0; i < MANY; i++) {
        WAIT_FOR(n_kept() > (size_t)i);
        answer_kept(1);
    }
    for (int i = 0; i < MANY; i++) {
        WAIT_FOR(a[i].count);
        assert_string_equal(a[i].body, "{\"id\":1,\"result\":2}");
    }
    WAIT_FOR(stats_of(s).delivered == MANY);
    assert_int_equal(far_end.attempts, 0);
    WAIT_FOR(stats_of(s).in_memory == 0);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

/* The disk takes the result only when nobody waits any more. */
static void test_a_late_commit(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    post_job(s, "keep", ",\"$rpc.wait\":0.3", &a);
    WAIT_FOR(n_kept() == 1);
    disk_fail(&disk.apply, RBK_E_DISK_FULL, UNTIL_TOLD, OP_BIT(RBK_OP_RESULT));
    answer_kept(1);
    WAIT_FOR(a.count);
    assert_true(is_ack(&a));
    assert_int_equal(far_end.attempts, 0);
    disk_heal(&disk.apply);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(far_end.attempts, 1);
    rbk_server_free(s);
}

/* Of one order key: the second is told when the first is through, and not before; by its callback
 * where nobody waits that long. */
static void test_in_its_turn(void **state)
{
    rbk_server *s = run_server();
    answer first, second, third;
    (void)state;
    far_end.status = 0;
    post_job(s, "quick", ",\"$rpc.key\":\"k\"", &first);
    WAIT_FOR(far_end.in_flight == 1);
    post_job(s, "quick", ",\"$rpc.key\":\"k\"" WAIT_LONG, &second);
    post_job(s, "quick", ",\"$rpc.key\":\"k\",\"$rpc.wait\":0.2", &third);
    WAIT_FOR(quick_runs == 3);
    WAIT_FOR(third.count);
    assert_true(is_ack(&third));
    assert_int_equal(second.count, 0);
    receiver_says(200);
    WAIT_FOR(second.count);
    assert_string_equal(second.body, "{\"id\":1,\"result\":1}");
    WAIT_FOR(stats_of(s).delivered == 3);
    assert_int_equal(far_end.attempts, 2);
    WAIT_FOR(stats_of(s).in_memory == 0);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

static void test_each_in_turn(void **state)
{
    enum { MANY = 50 };
    static answer a[MANY];
    rbk_server *s = run_server();
    (void)state;
    for (int i = 0; i < MANY; i++)
        post_job(s, "quick", ",\"$rpc.key\":\"k\"" WAIT_LONG, &a[i]);
    for (int i = 0; i < MANY; i++) {
        WAIT_FOR(a[i].count);
        assert_string_equal(a[i].body, "{\"id\":1,\"result\":1}");
    }
    WAIT_FOR(stats_of(s).delivered == MANY);
    assert_int_equal(far_end.attempts, 0);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

static void test_stop(void **state)
{
    rbk_server *s = make_server();
    answer a;
    (void)state;
    set(s, "server.drain", "100ms");
    start(s);
    post_job(s, "keep", WAIT_LONG, &a);
    WAIT_FOR(n_kept() == 1);
    rbk_server_stop(s);
    assert_int_equal(a.count, 1);
    assert_true(is_ack(&a));
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_in_time),        RIG_TEST(test_stored_first), RIG_TEST(test_too_late),
        RIG_TEST(test_over_the_store), RIG_TEST(test_a_late_commit), RIG_TEST(test_in_its_turn),
        RIG_TEST(test_each_in_turn),   RIG_TEST(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
