/* SPDX-License-Identifier: Apache-2.0 */
/* A store that fails, under a server at work: what was accepted goes on when the trouble is
 * over, what was not accepted is refused, and nothing spins meanwhile. */
#include "engine_rig.h"

enum { BIG = 1500000 };

/* A result of which two have no room in one lane. */
static void big(rbk_call *call, void *user)
{
    char *text = malloc(BIG);
    (void)user;
    memset(text, '7', BIG);
    rbk_call_result(call, text, BIG);
    free(text);
}

/* --- Full ---------------------------------------------------------------------------- */

static void test_result_that_met_a_full_disk_and_a_full_lane(void **state)
{
    rbk_server *s = make_server();
    (void)state;
    set(s, "method.max_result", "8M");
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "big", .fn = big}), 0);
    start(s);
    far_end.status = 0;
    assert_int_equal(ask_job(s, "big", ""), 200);
    WAIT_FOR(far_end.in_flight == 1); /* its response fills the lane */
    disk_fail(&disk.apply, RBK_E_DISK_FULL, UNTIL_TOLD, OP_BIT(RBK_OP_RESULT));
    int claims = disk.claims, applies = disk.applies;
    assert_int_equal(ask_job(s, "big", ""), 200);
    WAIT_FOR(disk.applies > applies + 1 && disk.claims > claims);
    WAIT_FOR(disk.applies > applies + 2); /* the lane was asked, and has nothing */
    disk_heal(&disk.apply);
    WAIT_FOR(far_end.in_flight == 2);
    receiver_says(200);
    WAIT_FOR(stats_of(s).delivered == 2);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

static void test_a_full_disk_refuses_the_new_and_keeps_the_old(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    assert_int_equal(ask_job(s, "keep", ""), 200);
    WAIT_FOR(n_kept() == 1);
    disk_fail(&disk.apply, RBK_E_DISK_FULL, UNTIL_TOLD, ANY_OP);
    answer_kept(1);
    post_job(s, "quick", "", &a);
    WAIT_FOR(a.count);
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.body, "-32009"));
    assert_int_equal(far_end.attempts, 0); /* nothing goes out that is not stored */
    disk_heal(&disk.apply);
    WAIT_FOR(stats_of(s).delivered == 1);
    WAIT_FOR(ask_job(s, "quick", "") == 200);
    WAIT_FOR(stats_of(s).delivered == 2);
    rbk_server_free(s);
    assert_int_equal(quick_runs, 1);
}

/* The end of one job and the result of another are in one commit, for which there is no
 * room: the end, which makes room, goes through. */
static void test_what_ends_goes_through_a_full_disk(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    far_end.status = 0;
    assert_int_equal(ask_jobs(s, "keep", 2, false), 200);
    WAIT_FOR(n_kept() == 2);
    answer_kept(1);
    WAIT_FOR(far_end.in_flight == 1);
    disk_gate(OP_BIT(RBK_OP_PUT));
    post_job(s, "keep", "", &a);
    WAIT_FOR(disk_at_gate());
    receiver_says(200); /* one DONE in the inbox, behind it one RESULT */
    answer_kept(1);
    disk_fail(&disk.apply, RBK_E_DISK_FULL, UNTIL_TOLD, OP_BIT(RBK_OP_RESULT));
    disk_gate(0);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(disk_stats().pending, 2);
    disk_heal(&disk.apply);
    WAIT_FOR(stats_of(s).delivered == 2);
    WAIT_FOR(n_kept() == 3);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 3);
    rbk_server_free(s);
}

/* More jobs than the lane has in memory; then claims fail for a while. */
static void test_failing_claims_neither_spin_nor_flood(void **state)
{
    enum { JOBS = 300, FIRST = 256, WATCH_MS = 1000, TURN_MS = 250 };
    rbk_server *s = run_server();
    (void)state;
    assert_int_equal(ask_jobs(s, "keep", JOBS, true), 204);
    WAIT_FOR(n_kept() == FIRST);
    disk_fail(&disk.claim, RBK_E_DISK_FULL, UNTIL_TOLD, ANY_OP);
    answer_kept(FIRST);
    WAIT_FOR(stats_of(s).pending == JOBS - FIRST);
    int claims = disk.claims, applies = disk.applies;
    log_lines = 0;
    rbk_mono_ms begin = rbk_mono_now();
    watch_for(WATCH_MS);
    int claimed = disk.claims - claims, lines = log_lines;
    int turns = (int)((rbk_mono_now() - begin) / TURN_MS) + 2; /* of the time that it took in fact */
    assert_in_range(claimed, 1, turns);
    assert_in_range(lines, 1, turns);
    assert_int_equal(disk.applies, applies);
    disk_heal(&disk.claim);
    WAIT_FOR(n_kept() == JOBS);
    answer_kept(JOBS);
    WAIT_FOR(disk_stats().pending == 0);
    rbk_server_free(s);
}

/* --- Ill ------------------------------------------------------------------------------- */

static int64_t cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A server that has an accepted job, which runs, and more in the store alone. */
static rbk_server *run_server_with_backlog(void)
{
    rbk_server *s = run_server();
    assert_int_equal(ask_jobs(s, "keep", 300, true), 204);
    WAIT_FOR(n_kept() == 256);
    return s;
}

static void assert_idle_and_closed(rbk_server *s)
{
    enum { WATCH_MS = 500 };
    WAIT_FOR(rbk_server_health(s) == RBK_E_IO);
    assert_int_equal(ask_job(s, "quick", ""), 503);
    answer_kept(200);
    int calls = disk.applies + disk.claims + disk.scans + disk.opens;
    int64_t cpu = cpu_ms();
    watch_for(WATCH_MS);
    assert_int_equal(disk.applies + disk.claims + disk.scans + disk.opens, calls);
    assert_true(cpu_ms() - cpu < WATCH_MS / 4);
    assert_int_equal(ask_job(s, "quick", ""), 503);
    assert_int_equal(rbk_server_health(s), RBK_E_IO);
    assert_int_equal(quick_runs, 0);
}

static void test_a_commit_makes_the_store_ill(void **state)
{
    rbk_server *s = run_server_with_backlog();
    (void)state;
    disk_fail(&disk.apply, RBK_E_IO, UNTIL_TOLD, ANY_OP);
    disk_fail(&disk.open, RBK_E_IO, UNTIL_TOLD, ANY_OP);
    assert_int_equal(ask_job(s, "quick", ""), 503);
    assert_idle_and_closed(s);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 300);
}

static void test_a_claim_makes_the_store_ill(void **state)
{
    rbk_server *s = run_server_with_backlog();
    (void)state;
    disk_fail(&disk.claim, RBK_E_IO, UNTIL_TOLD, ANY_OP);
    disk_fail(&disk.open, RBK_E_IO, UNTIL_TOLD, ANY_OP);
    answer_kept(200);
    assert_idle_and_closed(s);
    rbk_server_free(s);
}

static void test_a_reopened_store_goes_on(void **state)
{
    rbk_server *s = run_server_with_backlog();
    answer a;
    (void)state;
    disk_fail(&disk.apply, RBK_E_IO, 1, ANY_OP);
    post_job(s, "quick", "", &a);
    WAIT_FOR(a.count);
    assert_int_equal(a.status, 200);
    disk_fail(&disk.claim, RBK_E_IO, 1, ANY_OP);
    answer_kept(256);
    WAIT_FOR(n_kept() == 300);
    answer_kept(300);
    WAIT_FOR(disk_stats().pending == 0);
    assert_int_equal(rbk_server_health(s), 0);
    assert_int_equal(disk.opens, 3);
    assert_int_equal(disk.handles, 1);
    assert_int_equal(stats_of(s).delivered, 1);
    assert_int_equal(stats_of(s).accepted, 301);
    rbk_server_free(s);
}

/* What an ill store kept is done by the next server. */
static void test_the_next_server_does_what_the_ill_one_left(void **state)
{
    rbk_server *s = run_server();
    (void)state;
    assert_int_equal(ask_job(s, "keep", ""), 200);
    WAIT_FOR(n_kept() == 1);
    disk_fail(&disk.apply, RBK_E_IO, UNTIL_TOLD, ANY_OP);
    disk_fail(&disk.open, RBK_E_IO, UNTIL_TOLD, ANY_OP);
    answer_kept(1);
    WAIT_FOR(rbk_server_health(s) == RBK_E_IO);
    rbk_server_free(s);
    assert_int_equal(far_end.attempts, 0);
    disk_heal(&disk.apply);
    disk_heal(&disk.open);
    s = run_server();
    WAIT_FOR(n_kept() == 2);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

/* --- In doubt ----------------------------------------------------------------------------- */

static void doubt(bool committed)
{
    rbk_server *s = run_server();
    answer a;
    int applies = disk.applies;
    disk_set(&disk.apply, (fault){RBK_E_UNKNOWN, 2, OP_BIT(RBK_OP_PUT), committed});
    post_job(s, "quick", "", &a);
    WAIT_FOR(a.count);
    assert_int_equal(a.status, 200);
    assert_true(disk.applies >= applies + 3);
    disk_set(&disk.apply, (fault){RBK_E_UNKNOWN, 2, OP_BIT(RBK_OP_DONE), committed});
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(rbk_server_health(s), 0);
    assert_int_equal(stats_of(s).accepted, 1);
    rbk_server_free(s);
    assert_int_equal(a.count, 1);
    assert_int_equal(quick_runs, 1);
    assert_int_equal(far_end.attempts, 1);
    assert_int_equal(disk_stats().pending, 0);
}

static void test_a_commit_in_doubt_that_was_made(void **state)
{
    (void)state;
    doubt(true);
}

static void test_a_commit_in_doubt_that_was_not_made(void **state)
{
    (void)state;
    doubt(false);
}

/* --- Numbers ----------------------------------------------------------------------------- */

/* Whatever becomes of a job, the number of unfinished ones is that of the store. */
static void test_pending_is_what_the_store_has(void **state)
{
    rbk_server *s = run_server();
    rbk_error err = {0};
    (void)state;
    far_end.status = 410;
    disk.lone_stale = OP_BIT(RBK_OP_DEAD);
    int lines = log_lines;
    assert_int_equal(ask_job(s, "quick", ""), 200);
    WAIT_FOR(log_lines >= lines + 2); /* the outcome was odd, it says */
    WAIT_FOR(stats_of(s).in_memory == 0);
    assert_int_equal(disk_stats().pending, 1);
    assert_int_equal(stats_of(s).pending, 1);
    /* somebody else changes the store */
    rbk_job *job = disk_first_job();
    assert_non_null(job);
    job->seq++;
    job->lane = RBK_STR("send:elsewhere");
    job->due = INT64_MAX / 2;
    rbk_store_op op = {.kind = RBK_OP_PUT, .shelf = RBK_SHELF_WAIT, .job = job};
    assert_int_equal(rbk_store_memory.apply(disk.inner, &op, 1, &err), 0);
    rbk_job_free(job);
    assert_int_equal(disk_stats().pending, 2);
    WAIT_FOR(stats_of(s).pending == 2);
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_result_that_met_a_full_disk_and_a_full_lane),
        RIG_TEST(test_a_full_disk_refuses_the_new_and_keeps_the_old),
        RIG_TEST(test_what_ends_goes_through_a_full_disk),
        RIG_TEST(test_failing_claims_neither_spin_nor_flood),
        RIG_TEST(test_a_commit_makes_the_store_ill),
        RIG_TEST(test_a_claim_makes_the_store_ill),
        RIG_TEST(test_a_reopened_store_goes_on),
        RIG_TEST(test_the_next_server_does_what_the_ill_one_left),
        RIG_TEST(test_a_commit_in_doubt_that_was_made),
        RIG_TEST(test_a_commit_in_doubt_that_was_not_made),
        RIG_TEST(test_pending_is_what_the_store_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
