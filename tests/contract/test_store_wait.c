/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store_wait.c - what waits in a store, over every backend: claims, jobs whose
 * deadline has come, jobs that have grown old, lanes, recovery. */
#include "store_kit.h"

static void put_waiting(kit *k, int64_t seq, const char *lane, rbk_wall_ms due)
{
    rbk_job a = make_job(seq);
    a.lane = rbk_str_z(lane);
    a.due = due;
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &a), RBK_OUTCOME_OK);
}

static void expect_claim(kit *k, const char *lane, rbk_wall_ms now, size_t max,
                         const int64_t *seqs, int n, rbk_wall_ms next)
{
    rbk_job *jobs = NULL;
    rbk_wall_ms got = -1;
    assert_int_equal(k->ops->claim(k->st, rbk_str_z(lane), now, max, &jobs, &got, &k->err), n);
    rbk_job *job = jobs;
    for (int i = 0; i < n; i++, job = job->next) {
        assert_int_equal(job->seq, seqs[i]);
        assert_int_equal(shelf_of(k, job), RBK_SHELF_JOB);
        expect_stored(k, job);
    }
    assert_null(job);
    assert_int_equal(got, next);
    free_jobs(jobs);
}

static void test_claim(void **state)
{
    kit *k = *state;
    put_waiting(k, 5, "a", 30);
    put_waiting(k, 6, "a", 10);
    put_waiting(k, 7, "a", 20);
    put_waiting(k, 4, "a", 20);
    put_waiting(k, 8, "ab", 1);
    put_waiting(k, 9, "a", 99);
    expect_claim(k, "a", 9, 10, NULL, 0, 10);
    expect_claim(k, "none", 1000, 10, NULL, 0, INT64_MAX);
    expect_claim(k, "a", 30, 2, (int64_t[]){6, 4}, 2, 20);
    expect_claim(k, "a", 30, 10, (int64_t[]){7, 5}, 2, 99);
    expect_claim(k, "a", 99, 10, (int64_t[]){9}, 1, INT64_MAX);
    expect_claim(k, "a", 99, 10, NULL, 0, INT64_MAX);
    expect_claim(k, "ab", 99, 0, NULL, 0, 1);
    assert_int_equal(get_stats(k).pending, 6);
}

static void expect_expired(kit *k, rbk_wall_ms now, size_t max, const int64_t *seqs, int n,
                           rbk_wall_ms next)
{
    rbk_job *jobs = NULL;
    rbk_wall_ms got = -1;
    assert_int_equal(k->ops->expired(k->st, now, max, &jobs, &got, &k->err), n);
    assert_int_equal(got, next);
    for (const rbk_job *job = n ? jobs : NULL; job; job = job->next)
        assert_int_equal(shelf_of(k, job), RBK_SHELF_JOB);
    expect_seqs(n ? jobs : NULL, n, seqs, n);
}

/* Jobs of any lane that wait, have not run, and have a deadline; whenever they are due. */
static void test_expired(void **state)
{
    kit *k = *state;
    static const struct {
        int64_t seq;
        uint8_t state;
        rbk_shelf shelf;
        const char *lane;
        rbk_wall_ms due, deadline;
    } rows[] = {
        {1, QUEUED, RBK_SHELF_WAIT, "a", 900, 50},
        {2, QUEUED, RBK_SHELF_WAIT, "b", 0, 40},
        {3, QUEUED, RBK_SHELF_WAIT, "a", 0, 0},
        {4, QUEUED, RBK_SHELF_JOB, "a", 0, 1},
        {5, RBK_JOB_HELD, RBK_SHELF_WAIT, "k", 0, 50},
        {6, DUE, RBK_SHELF_WAIT, "s", 0, 1},
        {7, QUEUED, RBK_SHELF_WAIT, "c", 5, 70},
    };
    expect_expired(k, INT64_MAX, 10, NULL, 0, INT64_MAX);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_job a = make_job(rows[i].seq);
        a.state = rows[i].state;
        a.lane = rbk_str_z(rows[i].lane);
        a.due = rows[i].due;
        a.deadline = rows[i].deadline;
        do_op(k, RBK_OP_PUT, 0, rows[i].shelf, &a);
    }
    rbk_store_stats before = get_stats(k);
    expect_expired(k, 39, 10, NULL, 0, 40);
    expect_expired(k, 60, 2, (int64_t[]){2, 1}, 2, 50);
    /* the lanes lose them too */
    expect_claim(k, "b", 1000, 10, NULL, 0, INT64_MAX);
    expect_expired(k, 60, 10, (int64_t[]){5}, 1, 70);
    /* with its result, or by a claim, a job has nothing more to do with it */
    rbk_job seven = make_job(7);
    seven.state = DUE;
    seven.lane = RBK_STR("s");
    seven.response = RBK_STR("{}");
    assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, RBK_SHELF_WAIT, &seven), RBK_OUTCOME_OK);
    expect_expired(k, 1000, 10, NULL, 0, INT64_MAX);
    rbk_job *jobs = NULL;
    int64_t seqs[] = {1, 2, 4, 5};
    int n = k->ops->recover(k->st, 0, 10, &jobs, &k->err);
    expect_seqs(jobs, n, seqs, 4);
    assert_int_equal(get_stats(k).pending, before.pending);
    /* and comes back to it from the job shelf */
    rbk_job four = make_job(4);
    four.lane = RBK_STR("a");
    assert_int_equal(do_op(k, RBK_OP_PARK, QUEUED, RBK_SHELF_WAIT, &four), RBK_OUTCOME_OK);
    expect_expired(k, 0, 10, NULL, 0, 1);
    expect_expired(k, 1, 10, (int64_t[]){4}, 1, INT64_MAX);
}

/* A job of the lane "a" whose first attempt was then; `state` is its stored one. */
static rbk_job put_aging(kit *k, int64_t seq, rbk_wall_ms due, rbk_wall_ms first, uint8_t state)
{
    rbk_job a = make_job(seq);
    a.lane = RBK_STR("a");
    a.state = state;
    a.due = due;
    a.first_attempt = first;
    a.attempts = (uint32_t)seq % 3;
    a.last_status = a.attempts ? 500 : 0;
    a.reason = a.attempts ? RBK_STR("STATUS") : RBK_STR_NONE;
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &a), RBK_OUTCOME_OK);
    return a;
}

/* `a` says where to look; these are old, and so many were looked at. */
static void expect_aged(kit *k, rbk_aged *a, const rbk_job *old, int n, int looked)
{
    a->jobs = NULL;
    assert_int_equal(k->ops->aged(k->st, a, &k->err), looked);
    rbk_job *job = a->jobs;
    for (int i = 0; i < n; i++, job = job->next) {
        assert_non_null(job);
        assert_int_equal(job->seq, old[i].seq);
        assert_int_equal(job->rnd, old[i].rnd);
        assert_int_equal(job->state, DUE);
        assert_int_equal(job->attempts, old[i].attempts);
        assert_int_equal(job->last_status, old[i].last_status);
        assert_int_equal(job->first_attempt, old[i].first_attempt);
        assert_true(same_str(job->reason, old[i].reason));
        expect_stored(k, &old[i]);
        assert_int_equal(shelf_of(k, &old[i]), RBK_SHELF_WAIT);
    }
    assert_null(job);
    free_jobs(a->jobs);
}

static void test_aged(void **state)
{
    kit *k = *state;
    rbk_aged a = {.lane = RBK_STR("a"), .before = 100, .look = 10, .at_due = INT64_MIN,
                  .at_seq = INT64_MIN};
    rbk_aged from = a;
    expect_aged(k, &a, NULL, 0, 0);
    assert_int_equal(a.oldest, INT64_MAX);
    rbk_job old[] = {put_aging(k, 9, 10, 100, DUE), put_aging(k, 4, 20, 99, DUE),
                     put_aging(k, 5, 900, 1, DUE)};
    put_aging(k, 3, 20, 101, DUE);    /* too young */
    put_aging(k, 6, 20, 0, DUE);      /* has no age */
    put_aging(k, 7, 20, 50, QUEUED);  /* is not to be sent */
    put_waiting(k, 8, "ab", 1);
    rbk_job gone = make_job(1);       /* in memory */
    gone.lane = RBK_STR("a");
    gone.state = DUE;
    gone.first_attempt = 5;
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &gone);
    a = from;
    expect_aged(k, &a, old, 3, 6);
    assert_int_equal(a.oldest, 50);
    assert_int_equal(a.at_due, 900);
    assert_int_equal(a.at_seq, 5);
    expect_aged(k, &a, NULL, 0, 0);
    /* in bites, which end within jobs that are due together */
    a = from;
    a.look = 3;
    expect_aged(k, &a, old, 2, 3);
    assert_int_equal(a.at_due, 20);
    assert_int_equal(a.at_seq, 4);
    assert_int_equal(a.oldest, 101);
    expect_aged(k, &a, old + 2, 1, 3);
    expect_aged(k, &a, NULL, 0, 0);
    /* none */
    a = from;
    a.before = 0;
    expect_aged(k, &a, NULL, 0, 6);
    assert_int_equal(a.oldest, 1);
    a = from;
    a.look = 0;
    expect_aged(k, &a, NULL, 0, 0);
    a = from;
    a.lane = RBK_STR("");
    expect_aged(k, &a, NULL, 0, 0);
    assert_int_equal(get_stats(k).pending, 8);
}

static void test_lanes(void **state)
{
    kit *k = *state;
    rbk_lane_due got[8];
    assert_int_equal(k->ops->lanes(k->st, RBK_STR(""), 8, got, &k->err), 0);
    put_waiting(k, 1, "b", 30);
    put_waiting(k, 2, "b", 20);
    put_waiting(k, 3, "a", 70);
    put_waiting(k, 4, "\xc3\xa4", 5);
    put_waiting(k, 5, "ab", 6);
    put_on(k, 6, RBK_SHELF_JOB);
    static const char *const lanes[] = {"a", "ab", "b", "\xc3\xa4"};
    static const int64_t due[] = {70, 6, 20, 5};
    assert_int_equal(k->ops->lanes(k->st, RBK_STR_NONE, 8, got, &k->err), 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(got[i].lane, lanes[i]);
        assert_int_equal(got[i].due, due[i]);
    }
    assert_int_equal(k->ops->lanes(k->st, RBK_STR("a"), 2, got, &k->err), 2);
    assert_string_equal(got[0].lane, "ab");
    assert_string_equal(got[1].lane, "b");
    assert_int_equal(k->ops->lanes(k->st, RBK_STR("\xc3\xa4"), 2, got, &k->err), 0);
}

static void test_recover_and_list(void **state)
{
    kit *k = *state;
    rbk_job *jobs = NULL;
    int n = k->ops->recover(k->st, 0, 10, &jobs, &k->err);
    expect_seqs(jobs, n, NULL, 0);
    put_on(k, 4, RBK_SHELF_JOB);
    put_on(k, 1, RBK_SHELF_JOB);
    put_on(k, 2, RBK_SHELF_WAIT);
    put_on(k, 3, RBK_SHELF_DEAD);
    put_on(k, 6, RBK_SHELF_JOB);
    n = k->ops->recover(k->st, 0, 10, &jobs, &k->err);
    expect_seqs(jobs, n, (int64_t[]){1, 4, 6}, 3);
    n = k->ops->recover(k->st, 1, 1, &jobs, &k->err);
    expect_seqs(jobs, n, (int64_t[]){4}, 1);
    n = list_jobs(k, 0, 0, 10, &jobs);
    expect_seqs(jobs, n, (int64_t[]){1, 2, 3, 4, 6}, 5);
    n = list_jobs(k, 0, 2, 2, &jobs);
    expect_seqs(jobs, n, (int64_t[]){3, 4}, 2);
    n = list_jobs(k, RBK_JOB_DEAD, 0, 10, &jobs);
    expect_seqs(jobs, n, (int64_t[]){3}, 1);
    n = list_jobs(k, QUEUED, 1, 10, &jobs);
    expect_seqs(jobs, n, (int64_t[]){2, 4, 6}, 3);
}

#define CASES(X)                                                                                   \
    X(test_claim) X(test_expired) X(test_aged) X(test_lanes) X(test_recover_and_list)

#define X(t) {#t, t, kit_set_up, kit_tear_down, NULL},
KIT_MAIN("store wait", CASES(X))
