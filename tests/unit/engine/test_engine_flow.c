/* SPDX-License-Identifier: Apache-2.0 */
/* The way of jobs through store and memory: who waits, who is found again, and whom a
 * backlog must not hold up. */
#include "engine_rig.h"

/* Its delay passes while its commit is under way: by then the store alone has it. */
static void test_a_delay_that_passes_during_the_commit(void **state)
{
    enum { DELAY_MS = 20 };
    rbk_server *s = run_server();
    answer a;
    (void)state;
    disk_gate(OP_BIT(RBK_OP_PUT));
    post_job(s, "quick", ",\"$rpc.delay\":0.02", &a);
    WAIT_FOR(disk_at_gate());
    rbk_wall_ms past = rbk_wall_now() + DELAY_MS;
    WAIT_FOR(rbk_wall_now() > past);
    disk_gate(0);
    WAIT_FOR(a.count);
    assert_int_equal(a.status, 200);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
}

static void test_a_delay_is_kept(void **state)
{
    rbk_server *s = run_server();
    (void)state;
    rbk_wall_ms then = rbk_wall_now();
    assert_int_equal(ask_job(s, "quick", ",\"$rpc.delay\":0.3"), 200);
    WAIT_FOR(quick_runs == 1);
    assert_true(rbk_wall_now() - then >= 300);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
}

/* --- A backlog of progress --------------------------------------------------------------- */

enum { LANES = 64, JOBS_A_LANE = 100, BACKLOG = LANES * JOBS_A_LANE };

/* One batch: a notification for each lane. */
static void fill_lanes(rbk_server *s)
{
    answer a;
    char body[LANES * 128], *p = body;
    for (int i = 0; i < LANES; i++)
        p += sprintf(p, "%c{\"method\":\"lane%d\",\"params\":{" CALLBACK "}}", i ? ',' : '[', i);
    strcpy(p, "]");
    assert_int_equal(ask(s, body, &a), 204);
}

static void test_a_backlog_does_not_hold_up_the_new(void **state)
{
    enum { FEW = 4 };
    rbk_server *s = make_server();
    answer a;
    (void)state;
    for (int i = 0; i < LANES; i++) {
        char name[16];
        snprintf(name, sizeof name, "lane%d", i);
        assert_int_equal(rbk_server_method(s, &(rbk_method){.name = name, .fn = keep}), 0);
    }
    start(s);
    for (int i = 0; i < JOBS_A_LANE; i++)
        fill_lanes(s);
    WAIT_FOR(n_kept() == BACKLOG);
    disk_gate(ANY_OP);
    answer_kept(1);
    WAIT_FOR(disk_at_gate());
    answer_kept(BACKLOG); /* now the inbox has enough for six commits */
    post_job(s, "quick", "", &a);
    int before = disk.applies;
    disk_gate(0);
    WAIT_FOR(a.count);
    int commits = disk.put_at - before;
    assert_int_equal(a.status, 200);
    assert_in_range(commits, 1, FEW);
    WAIT_FOR(disk_stats().pending == 0);
    rbk_server_free(s);
}

/* --- Notifications --------------------------------------------------------------------------- */

static void test_notifications_run_and_leave_nothing(void **state)
{
    rbk_server *s = run_server();
    (void)state;
    assert_int_equal(ask_jobs(s, "quick", 1, true), 204);
    assert_int_equal(ask_jobs(s, "quick", 99, true), 204);
    WAIT_FOR(stats_of(s).pending == 0);
    assert_int_equal(quick_runs, 100);
    assert_int_equal(stats_of(s).accepted, 100);
    assert_int_equal(stats_of(s).delivered, 0);
    WAIT_FOR(stats_of(s).in_memory == 0);
    assert_int_equal(far_end.attempts, 0);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
    assert_int_equal(disk_stats().dead, 0);
}

/* --- Large bodies ------------------------------------------------------------------------------- */

/* A batch of delayed jobs, together over what the inbox holds. */
static char *make_large_body(void)
{
    enum { MEMBERS = 9, MEMBER = 4 << 20 };
    char *body = malloc(MEMBERS * (MEMBER + 256)), *p = body;
    for (int i = 0; i < MEMBERS; i++) {
        p += sprintf(p, "%c{\"id\":%d,\"method\":\"quick\",\"params\":{" CALLBACK
                        ",\"$rpc.delay\":3600,\"p\":\"", i ? ',' : '[', i);
        memset(p, 'x', MEMBER);
        p += MEMBER;
        p += sprintf(p, "\"}}");
    }
    strcpy(p, "]");
    return body;
}

static void test_a_body_larger_than_the_inbox(void **state)
{
    rbk_server *s = make_server();
    answer first, second, a;
    char *body = make_large_body();
    (void)state;
    set(s, "server.max_body", "64M");
    start(s);
    assert_int_equal(ask(s, body, &a), 200);
    assert_null(strstr(a.body, "error"));
    assert_int_equal(stats_of(s).accepted, 9);
    /* But not on top of what waits: the inbox is bounded. */
    disk_gate(OP_BIT(RBK_OP_PUT));
    post_job(s, "quick", "", &first);
    WAIT_FOR(disk_at_gate());
    post_job(s, "quick", "", &second);
    assert_int_equal(ask(s, body, &a), 503);
    disk_gate(0);
    WAIT_FOR(first.count && second.count);
    assert_int_equal(second.status, 200);
    WAIT_FOR(stats_of(s).delivered == 2);
    assert_int_equal(stats_of(s).pending, 9);
    rbk_server_free(s);
    free(body);
}

/* --- A restart ------------------------------------------------------------------------------------ */

static void test_what_was_left_goes_on(void **state)
{
    rbk_server *s = make_server();
    (void)state;
    set(s, "server.drain", "0");
    start(s);
    far_end.status = 0;
    assert_int_equal(ask_jobs(s, "keep", 300, false), 200);
    assert_int_equal(ask_job(s, "quick", ",\"$rpc.delay\":0.1"), 200);
    WAIT_FOR(n_kept() == 256);
    answer_kept(10);
    WAIT_FOR(far_end.in_flight == 10);
    assert_int_equal(rbk_server_stop(s), 1);
    rbk_server_free(s);
    answer_kept(300); /* too late */
    assert_int_equal(disk_stats().pending, 301);
    keeper.n = keeper.answered = 0;
    far_end.status = 200;
    s = run_server();
    WAIT_FOR(n_kept() >= 246);
    answer_kept(246);
    WAIT_FOR(n_kept() == 290); /* ten had their result */
    answer_kept(300);
    WAIT_FOR(stats_of(s).delivered == 301);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_a_delay_that_passes_during_the_commit),
        RIG_TEST(test_a_delay_is_kept),
        RIG_TEST(test_a_backlog_does_not_hold_up_the_new),
        RIG_TEST(test_notifications_run_and_leave_nothing),
        RIG_TEST(test_a_body_larger_than_the_inbox),
        RIG_TEST(test_what_was_left_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
