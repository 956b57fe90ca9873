/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store.c - what every store backend must do, over every backend: the life of
 * a job. What waits is in test_store_wait.c, the end and what comes after it in test_store_end.c,
 * lists and held receivers in test_store_list.c, and what those with a file must do besides in
 * test_store_file.c. */
#include "store_kit.h"

#include <pthread.h>
#include <stdatomic.h>

static void test_put_and_get(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(10), b = make_job(11), other = make_job(10), gone = make_job(12);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &b), RBK_OUTCOME_OK);
    expect_stored(k, &a);
    expect_stored(k, &b);
    assert_int_equal(shelf_of(k, &a), RBK_SHELF_JOB);
    assert_int_equal(shelf_of(k, &b), RBK_SHELF_WAIT);
    /* again: nothing changes */
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &b), RBK_OUTCOME_OK);
    assert_int_equal(shelf_of(k, &b), RBK_SHELF_WAIT);
    assert_int_equal(get_stats(k).pending, 2);
    /* another job under the same seq; an id half right */
    other.rnd = 1;
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &other), RBK_OUTCOME_STALE);
    assert_null(get_job(k, &other));
    assert_int_equal(k->err.code, RBK_E_NOTFOUND);
    assert_null(get_job(k, &gone));
    /* a smaller seq than the greatest is new all the same */
    rbk_job early = make_job(3);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &early), RBK_OUTCOME_OK);
    expect_stored(k, &early);
}

static void test_strings(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(1), b = {.seq = 2, .rnd = 3, .state = QUEUED, .lane = RBK_STR("x")};
    a.params = (rbk_str){"a\0b\0", 4};
    a.rpc_id = RBK_STR("");
    a.caller = RBK_STR_NONE;
    a.method = (rbk_str){"\xff\xfe\0\x80", 4};
    a.ray_id = (rbk_str){"\0", 1};
    a.idem_key = RBK_STR("");
    a.order_key = (rbk_str){"\0k", 2};
    a.failure_callback = RBK_STR_NONE;
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &b);
    expect_stored(k, &a);
    expect_stored(k, &b);
    a.state = DUE;
    a.response = RBK_STR("");
    assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, RBK_SHELF_WAIT, &a), RBK_OUTCOME_OK);
    expect_stored(k, &a);
}

/* A body of a megabyte and of the sizes around the border between row and blob. */
static void test_big_bodies(void **state)
{
    kit *k = *state;
    static const size_t sizes[] = {0, 2047, 2048, 2049, 5000, 1 << 20};
    char *body = malloc(1 << 20);
    assert_non_null(body);
    for (size_t i = 0; i < 1 << 20; i++)
        body[i] = (char)(i * 31 % 251);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            rbk_job a = make_job((int64_t)(i * 10 + j + 1));
            a.params = (rbk_str){body, sizes[i]};
            assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a), RBK_OUTCOME_OK);
            a.state = DUE;
            a.response = (rbk_str){body + (1 << 20) - sizes[j], sizes[j]};
            rbk_shelf shelf = (i + j) % 2 ? RBK_SHELF_JOB : RBK_SHELF_WAIT;
            assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, shelf, &a), RBK_OUTCOME_OK);
            assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, shelf, &a), RBK_OUTCOME_OK);
            expect_stored(k, &a);
            /* a second result, of another size, takes the place of the first */
            a.response = RBK_STR("{}");
            assert_int_equal(do_op(k, RBK_OP_RESULT, DUE, shelf, &a), RBK_OUTCOME_OK);
            expect_stored(k, &a);
            if (j % 2) {
                assert_int_equal(do_op(k, RBK_OP_DONE, DUE, 0, &a), RBK_OUTCOME_OK);
            } else {
                assert_int_equal(do_op(k, RBK_OP_DEAD, DUE, 0, &a), RBK_OUTCOME_OK);
                a.state = RBK_JOB_DEAD;
                expect_stored(k, &a);
            }
        }
    free(body);
    assert_int_equal(get_stats(k).pending, 0);
    assert_int_equal(get_stats(k).pending_bytes, 0);
}

static void test_too_big(void **state)
{
    kit *k = *state;
    char lane[RBK_LANE_MAX + 1];
    memset(lane, 'l', sizeof lane);
    rbk_job a = make_job(1), b = make_job(2), c = make_job(3), d = make_job(4);
    a.lane = (rbk_str){lane, RBK_LANE_MAX + 1};
    b.lane = (rbk_str){"a\0b", 3};
    c.lane = RBK_STR_NONE;
    d.lane = (rbk_str){lane, RBK_LANE_MAX};
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &a), RBK_OUTCOME_TOO_BIG);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &b), RBK_OUTCOME_TOO_BIG);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &c), RBK_OUTCOME_TOO_BIG);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &d), RBK_OUTCOME_OK);
    assert_int_equal(get_stats(k).pending, 1);
}

/* --- Every kind, from every shelf ------------------------------------------------------ */

static void test_result(void **state)
{
    kit *k = *state;
    for (int from = 0; from < 2; from++)
        for (int to = 0; to < 2; to++) {
            rbk_job want = put_on(k, 10 + from * 2 + to, from);
            rbk_job op = {.seq = want.seq, .rnd = want.rnd, .state = DUE, .due = 900,
                          .first_attempt = 950, .response = RBK_STR("{\"result\":1}"),
                          .attempts = 77, .runs = 77};
            if (to)
                op.lane = RBK_STR("send:x");
            assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, (rbk_shelf)to, &op), RBK_OUTCOME_OK);
            want.state = DUE;
            want.due = 900;
            want.first_attempt = 950;
            want.response = op.response;
            want.lane = to ? op.lane : want.lane;
            expect_stored(k, &want);
            assert_int_equal(shelf_of(k, &want), to);
            /* the same again is done; another response, or state, is not */
            assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, (rbk_shelf)to, &op), RBK_OUTCOME_OK);
            op.response = RBK_STR("{\"result\":2}");
            assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, (rbk_shelf)to, &op),
                             RBK_OUTCOME_STALE);
            op.response = RBK_STR_NONE;
            assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, (rbk_shelf)to, &op),
                             RBK_OUTCOME_STALE);
            expect_stored(k, &want);
        }
}

static void test_retry(void **state)
{
    kit *k = *state;
    for (int from = 0; from < 2; from++)
        for (int to = 0; to < 2; to++) {
            rbk_job want = put_on(k, 10 + from * 2 + to, from);
            rbk_job op = {.seq = want.seq, .rnd = want.rnd, .state = 9, .attempts = 3,
                          .last_status = 503, .reason = RBK_STR("status 503"),
                          .first_attempt = 55, .due = 777, .runs = 9, .lane = RBK_STR("other")};
            for (int again = 0; again < 2; again++)
                assert_int_equal(do_op(k, RBK_OP_RETRY, QUEUED, (rbk_shelf)to, &op),
                                 RBK_OUTCOME_OK);
            want.attempts = 3;
            want.last_status = 503;
            want.reason = op.reason;
            want.first_attempt = 55;
            want.due = 777;
            expect_stored(k, &want);
            assert_int_equal(shelf_of(k, &want), to);
        }
}

static void test_park_and_runs(void **state)
{
    kit *k = *state;
    for (int from = 0; from < 2; from++) {
        rbk_job want = put_on(k, 10 + from, from);
        rbk_job op = {.seq = want.seq, .rnd = want.rnd, .lane = RBK_STR("send:y"), .due = 4444,
                      .runs = 2, .attempts = 9};
        for (int again = 0; again < 2; again++)
            assert_int_equal(do_op(k, RBK_OP_RUNS, QUEUED, 0, &op), RBK_OUTCOME_OK);
        want.runs = 2;
        expect_stored(k, &want);
        assert_int_equal(shelf_of(k, &want), from);
        for (int again = 0; again < 2; again++)
            assert_int_equal(do_op(k, RBK_OP_PARK, QUEUED, 0, &op), RBK_OUTCOME_OK);
        want.lane = op.lane;
        want.due = 4444;
        expect_stored(k, &want);
        assert_int_equal(shelf_of(k, &want), RBK_SHELF_WAIT);
    }
}

static void test_done_and_dead(void **state)
{
    kit *k = *state;
    for (int from = 0; from < 2; from++) {
        rbk_job a = put_on(k, 10 + from, from), want = put_on(k, 20 + from, from);
        assert_int_equal(do_op(k, RBK_OP_DONE, DUE, 0, &a), RBK_OUTCOME_STALE);
        for (int again = 0; again < 2; again++)
            assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &a), RBK_OUTCOME_OK);
        assert_int_equal(shelf_of(k, &a), -1);
        rbk_job op = {.seq = want.seq, .rnd = want.rnd, .state = RBK_JOB_DEAD, .attempts = 4,
                      .last_status = 410, .reason = RBK_STR("gone")};
        assert_int_equal(do_op(k, RBK_OP_DEAD, DUE, 0, &op), RBK_OUTCOME_STALE);
        for (int again = 0; again < 2; again++)
            assert_int_equal(do_op(k, RBK_OP_DEAD, QUEUED, 0, &op), RBK_OUTCOME_OK);
        want.state = RBK_JOB_DEAD;
        want.attempts = 4;
        want.last_status = 410;
        want.reason = op.reason;
        expect_stored(k, &want);
        assert_int_equal(shelf_of(k, &want), RBK_SHELF_DEAD);
        assert_int_equal(get_stats(k).dead, from + 1);
    }
    assert_int_equal(get_stats(k).pending, 0);
}

static void test_dead_and_gone_are_stale(void **state)
{
    kit *k = *state;
    static const rbk_op_kind kinds[] = {RBK_OP_RESULT, RBK_OP_RETRY, RBK_OP_PARK, RBK_OP_RUNS};
    rbk_job dead = put_on(k, 10, RBK_SHELF_DEAD), gone = make_job(11), live = put_on(k, 12, 0);
    rbk_job twin = live;
    twin.rnd++;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        assert_int_equal(do_op(k, kinds[i], QUEUED, 0, &dead), RBK_OUTCOME_STALE);
        assert_int_equal(do_op(k, kinds[i], RBK_JOB_DEAD, 0, &dead), RBK_OUTCOME_STALE);
        assert_int_equal(do_op(k, kinds[i], QUEUED, 0, &gone), RBK_OUTCOME_STALE);
        assert_int_equal(do_op(k, kinds[i], QUEUED, 0, &twin), RBK_OUTCOME_STALE);
        if (kinds[i] != RBK_OP_RESULT) /* that one finds its own values: done before */
            assert_int_equal(do_op(k, kinds[i], RBK_JOB_HELD, 0, &live), RBK_OUTCOME_STALE);
    }
    assert_int_equal(do_op(k, RBK_OP_DEAD, QUEUED, 0, &gone), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_DEAD, QUEUED, 0, &twin), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &twin), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, (rbk_op_kind)99, QUEUED, 0, &live), RBK_OUTCOME_STALE);
    expect_stored(k, &live);
    expect_stored(k, &dead);
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &dead), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_DONE, RBK_JOB_DEAD, 0, &dead), RBK_OUTCOME_OK);
    assert_int_equal(shelf_of(k, &dead), -1);
    assert_int_equal(get_stats(k).dead, 0);
}

/* The state alone, on the shelf where the job stands, and back. */
static void test_state(void **state)
{
    kit *k = *state;
    for (int shelf = RBK_SHELF_JOB; shelf <= RBK_SHELF_WAIT; shelf++) {
        rbk_job job = put_on(k, 10 + shelf, shelf), want = job, op = job;
        op.state = want.state = RBK_JOB_RUNNING;
        op.lane = op.params = op.callback = RBK_STR_NONE;
        for (int again = 0; again < 2; again++) {
            assert_int_equal(do_op(k, RBK_OP_STATE, QUEUED, 0, &op), RBK_OUTCOME_OK);
            expect_stored(k, &want);
            assert_int_equal(shelf_of(k, &want), shelf);
        }
        op.state = RBK_JOB_HELD;
        assert_int_equal(do_op(k, RBK_OP_STATE, QUEUED, 0, &op), RBK_OUTCOME_STALE);
        op.state = QUEUED;
        assert_int_equal(do_op(k, RBK_OP_STATE, RBK_JOB_RUNNING, 0, &op), RBK_OUTCOME_OK);
        expect_stored(k, &job);
        assert_int_equal(get_stats(k).queued, 1 + shelf);
        assert_int_equal(get_stats(k).pending, 1 + shelf);
    }
}

/* One transaction: in order, an outcome each, a bad one hurts nobody. */
static void test_one_transaction(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(1), b = make_job(2), gone = make_job(3), res = make_job(1);
    res.state = DUE;
    res.response = RBK_STR("1");
    rbk_store_op ops[] = {
        {.kind = RBK_OP_PUT, .job = &a},
        {.kind = RBK_OP_RETRY, .from = QUEUED, .job = &gone},
        {.kind = RBK_OP_RESULT, .from = QUEUED, .shelf = RBK_SHELF_WAIT, .job = &res},
        {.kind = RBK_OP_PUT, .shelf = RBK_SHELF_WAIT, .job = &b},
        {.kind = RBK_OP_DONE, .from = DUE, .job = &a},
        {.kind = RBK_OP_DEAD, .from = QUEUED, .job = &a},
    };
    static const rbk_op_outcome want[] = {RBK_OUTCOME_OK, RBK_OUTCOME_STALE, RBK_OUTCOME_OK,
                                          RBK_OUTCOME_OK, RBK_OUTCOME_OK, RBK_OUTCOME_STALE};
    assert_int_equal(k->ops->apply(k->st, ops, 6, &k->err), 0);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(ops[i].outcome, want[i]);
    assert_int_equal(shelf_of(k, &a), -1);
    assert_int_equal(shelf_of(k, &b), RBK_SHELF_WAIT);
    assert_int_equal(k->ops->apply(k->st, NULL, 0, &k->err), 0);
}

/* An error goes to another callback; the sums know its length. */
static void test_divert(void **state)
{
    kit *k = *state;
    for (int from = 0; from < 2; from++)
        for (int to = 0; to < 2; to++) {
            rbk_job want = put_on(k, 40 + from * 2 + to, from);
            rbk_job op = {.seq = want.seq, .rnd = want.rnd, .state = DUE, .lane = RBK_STR("send:f"),
                          .callback = RBK_STR("https://failures.example.com/\xc3\xa9"),
                          .response = RBK_STR("{\"error\":1}")};
            rbk_store_op o = {.kind = RBK_OP_RESULT, .from = QUEUED, .shelf = (rbk_shelf)to, .job = &op};
            o.divert = true;
            want.state = DUE;
            want.due = want.first_attempt = 0;
            want.lane = op.lane;
            want.response = op.response;
            want.callback = op.callback;
            for (int again = 0; again < 2; again++) {
                assert_int_equal(do_one(k, &o), RBK_OUTCOME_OK);
                expect_stored(k, &want);
                assert_int_equal(shelf_of(k, &want), to);
                assert_int_equal(get_stats(k).pending_bytes, bytes_of(&want));
            }
            assert_int_equal(do_op(k, RBK_OP_DONE, DUE, 0, &want), RBK_OUTCOME_OK);
            assert_int_equal(get_stats(k).pending_bytes, 0);
        }
}

static void test_stats(void **state)
{
    kit *k = *state;
    rbk_job a = put_on(k, 10, RBK_SHELF_JOB), b = put_on(k, 11, RBK_SHELF_WAIT);
    int64_t one = bytes_of(&a), room = -1;
    assert_int_equal(get_stats(k).pending, 2);
    assert_int_equal(get_stats(k).pending_bytes, 2 * one);
    a.state = DUE;
    a.response = RBK_STR("12345");
    do_op(k, RBK_OP_RESULT, QUEUED, RBK_SHELF_WAIT, &a);
    assert_int_equal(get_stats(k).pending_bytes, 2 * one + 5);
    do_op(k, RBK_OP_DEAD, QUEUED, 0, &b);
    do_op(k, RBK_OP_DONE, DUE, 0, &a);
    rbk_store_stats s = get_stats(k);
    assert_int_equal(s.pending, 0);
    assert_int_equal(s.pending_bytes, 0);
    assert_int_equal(s.dead, 1);
    assert_int_equal(s.max_seq, 11);
    assert_int_equal(k->ops->free_bytes(k->st, &room, &k->err), 0);
    assert_true(room > 0);
    if (k->ops->idle)
        k->ops->idle(k->st);
}

/* --- Beside each other, and many ---------------------------------------------------------- */

typedef struct reader_arg {
    kit *k;
    atomic_bool stop;
    atomic_int reads;
    int faults; /* the thread's until joined */
} reader_arg;

static void *read_all_the_time(void *arg)
{
    reader_arg *a = arg;
    kit *k = a->k;
    while (!atomic_load(&a->stop)) {
        rbk_job *jobs = NULL, *one = NULL;
        rbk_error err;
        int64_t next;
        int n = k->ops->list(k->st, &(rbk_job_filter){0}, 0, 20, &jobs, &next, &err);
        int64_t last = 0;
        for (rbk_job *j = n > 0 ? jobs : NULL; j; j = j->next) {
            a->faults += j->seq <= last || j->rnd != j->seq + 1000000;
            last = j->seq;
        }
        a->faults += n < 0;
        free_jobs(n > 0 ? jobs : NULL);
        int r = k->ops->get(k->st, 1, 1000001, &one, &err);
        a->faults += r != 0;
        rbk_job_free(r == 0 ? one : NULL);
        atomic_fetch_add(&a->reads, 1);
    }
    return NULL;
}

static void test_reader_thread(void **state)
{
    kit *k = *state;
    reader_arg arg = {.k = k};
    pthread_t thread;
    put_on(k, 1, RBK_SHELF_JOB); /* stays */
    assert_int_equal(pthread_create(&thread, NULL, read_all_the_time, &arg), 0);
    for (int64_t seq = 2; seq < 200 || (atomic_load(&arg.reads) < 20 && seq < 20000); seq++) {
        rbk_job a = make_job(seq);
        do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &a);
        do_op(k, RBK_OP_DONE, QUEUED, 0, &a);
        if (k->ops->idle)
            k->ops->idle(k->st);
    }
    atomic_store(&arg.stop, true);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&arg.reads) >= 20);
    assert_int_equal(arg.faults, 0);
}

enum { MANY = 100000, BATCH = 1000, MANY_LANES = 50 };

static void apply_many(kit *k, rbk_op_kind kind, int64_t first)
{
    static rbk_job jobs[BATCH];
    static rbk_store_op ops[BATCH];
    static char lanes[BATCH][16];
    for (int i = 0; i < BATCH; i++) {
        jobs[i] = make_job(first + i);
        snprintf(lanes[i], sizeof lanes[i], "lane%02d", (int)((first + i) % MANY_LANES));
        jobs[i].lane = rbk_str_z(lanes[i]);
        jobs[i].due = 1000 - (first + i) % 1000;
        ops[i] = (rbk_store_op){.kind = kind, .from = kind == RBK_OP_PUT ? 0 : QUEUED,
                                .shelf = RBK_SHELF_WAIT, .job = &jobs[i]};
    }
    assert_int_equal(k->ops->apply(k->st, ops, BATCH, &k->err), 0);
    for (int i = 0; i < BATCH; i++)
        assert_int_equal(ops[i].outcome, RBK_OUTCOME_OK);
    if (k->ops->idle)
        k->ops->idle(k->st);
}

static void test_many(void **state)
{
    kit *k = *state;
    rbk_lane_due lanes[MANY_LANES + 1];
    rbk_job *jobs = NULL;
    rbk_wall_ms next = 0;
    for (int64_t seq = 1; seq < MANY; seq += BATCH)
        apply_many(k, RBK_OP_PUT, seq);
    assert_int_equal(get_stats(k).pending, MANY);
    assert_int_equal(k->ops->lanes(k->st, RBK_STR(""), MANY_LANES + 1, lanes, &k->err), MANY_LANES);
    int claimed = 0;
    for (int n; (n = k->ops->claim(k->st, RBK_STR("lane07"), 1000, 256, &jobs, &next, &k->err)) > 0;
         claimed += n) {
        rbk_wall_ms last = 0;
        for (rbk_job *j = jobs; j; last = j->due, j = j->next)
            assert_true(j->due >= last);
        free_jobs(jobs);
    }
    assert_int_equal(claimed, MANY / MANY_LANES);
    int64_t after = 0;
    int seen = 0;
    for (int n; (n = list_jobs(k, 0, after, 1000, &jobs)) > 0; seen += n) {
        for (rbk_job *j = jobs; j; j = j->next)
            after = j->seq;
        free_jobs(jobs);
        if (after > MANY / 10)
            break;
    }
    assert_true(seen >= MANY / 10 - 1000);
    for (int64_t seq = 1; seq < MANY; seq += BATCH)
        apply_many(k, RBK_OP_DONE, seq);
    assert_int_equal(get_stats(k).pending, 0);
    assert_int_equal(get_stats(k).pending_bytes, 0);
    assert_int_equal(get_stats(k).max_seq, MANY);
}

#define CASES(X)                                                                                   \
    X(test_put_and_get) X(test_strings) X(test_big_bodies) X(test_too_big) X(test_result)          \
    X(test_retry) X(test_park_and_runs) X(test_done_and_dead) X(test_dead_and_gone_are_stale)      \
    X(test_state) X(test_one_transaction) X(test_divert) X(test_stats) X(test_reader_thread)       \
    X(test_many)

#define X(t) {#t, t, kit_set_up, kit_tear_down, NULL},
KIT_MAIN("store", CASES(X))
