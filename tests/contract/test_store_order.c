/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store_order.c - order keys, over every backend: who is blocked, who is released and
 * when, that each step can be repeated, and that jobs of other keys are left alone. */
#include "store_kit.h"

#define KEY "key:aaaa"
#define RUN "run:pool"
#define SEND "send:https://example.com:443"

enum { HELD = RBK_JOB_HELD };

static rbk_store_op put_op(rbk_job *job, const char *key)
{
    return (rbk_store_op){.kind = RBK_OP_PUT, .shelf = RBK_SHELF_JOB, .now = 1000,
                          .key = key ? rbk_str_z(key) : RBK_STR_NONE, .job = job};
}

static rbk_op_outcome put_job(kit *k, int64_t seq, const char *key)
{
    rbk_job job = make_job(seq);
    rbk_store_op op = put_op(&job, key);
    return do_one(k, &op);
}

static rbk_job result_job(int64_t seq)
{
    rbk_job job = make_job(seq);
    job.state = DUE;
    job.response = RBK_STR("{\"result\":1}");
    job.first_attempt = 77;
    job.lane = RBK_STR(SEND);
    return job;
}

static rbk_op_outcome give_result(kit *k, int64_t seq, uint8_t from)
{
    rbk_job job = result_job(seq);
    return do_op(k, RBK_OP_RESULT, from, RBK_SHELF_JOB, &job);
}

static rbk_op_outcome end_job(kit *k, int64_t seq, rbk_op_kind kind, bool keep)
{
    rbk_job job = {.seq = seq, .rnd = make_job(seq).rnd,
                   .state = kind == RBK_OP_DEAD ? RBK_JOB_DEAD : RBK_JOB_DELIVERED};
    rbk_store_op op = {.kind = kind, .from = DUE, .keep = keep, .now = 5000 + seq, .job = &job};
    return do_one(k, &op);
}

/* How it stands: its state, its shelf, its lane. */
static void expect_at(kit *k, int64_t seq, uint8_t state, rbk_shelf shelf, const char *lane)
{
    rbk_job key = make_job(seq), *got = get_job(k, &key);
    assert_non_null(got);
    if (got->state != state || shelf_of(k, &key) != (int)shelf || !rbk_str_eqz(got->lane, lane))
        fail_msg("%d stands at %d, %d, %.*s", (int)seq, got->state, shelf_of(k, &key),
                 RBK_FMT(got->lane));
    rbk_job_free(got);
}

static void expect_released(kit *k, const char *lanes)
{
    assert_string_equal(k->released, lanes);
    k->released[0] = 0;
}

/* The released stand on the wait shelf; the engine claims them. */
static void claim_one(kit *k, const char *lane, int64_t seq)
{
    rbk_job *jobs = NULL;
    rbk_wall_ms next;
    int n = k->ops->claim(k->st, rbk_str_z(lane), 1000000, 10, &jobs, &next, &k->err);
    const int64_t want[] = {seq};
    expect_seqs(jobs, n, want, 1);
}

static void expect_counts(kit *k, int held, int queued, int due)
{
    rbk_store_stats s = get_stats(k);
    assert_int_equal(s.held, held);
    assert_int_equal(s.queued, queued);
    assert_int_equal(s.due, due);
    assert_int_equal(s.pending, held + queued + due);
}

static void test_one_behind_the_other(void **state)
{
    kit *k = *state;
    assert_int_equal(put_job(k, 11, KEY), RBK_OUTCOME_OK);
    assert_int_equal(put_job(k, 12, KEY), RBK_OUTCOME_BLOCKED);
    assert_int_equal(put_job(k, 13, KEY), RBK_OUTCOME_BLOCKED);
    expect_at(k, 11, QUEUED, RBK_SHELF_JOB, RUN);
    expect_at(k, 12, HELD, RBK_SHELF_WAIT, KEY);
    expect_at(k, 13, HELD, RBK_SHELF_WAIT, KEY);
    expect_counts(k, 2, 1, 0);
    expect_released(k, "");
    /* the first has its result: it is sent, the second runs */
    assert_int_equal(give_result(k, 11, QUEUED), RBK_OUTCOME_OK);
    expect_released(k, RUN " ");
    expect_at(k, 11, DUE, RBK_SHELF_JOB, SEND);
    expect_at(k, 12, QUEUED, RBK_SHELF_WAIT, RUN);
    expect_at(k, 13, HELD, RBK_SHELF_WAIT, KEY);
    expect_counts(k, 1, 1, 1);
    claim_one(k, RUN, 12);
    /* the second has its result while the first is on its way: only the third runs */
    assert_int_equal(give_result(k, 12, QUEUED), RBK_OUTCOME_BLOCKED);
    expect_released(k, RUN " ");
    expect_at(k, 12, DUE, RBK_SHELF_WAIT, KEY);
    expect_counts(k, 0, 1, 2);
    claim_one(k, RUN, 13);
    assert_int_equal(give_result(k, 13, QUEUED), RBK_OUTCOME_BLOCKED);
    expect_released(k, "");
    /* one behind the other they are sent */
    assert_int_equal(end_job(k, 11, RBK_OP_DONE, true), RBK_OUTCOME_OK);
    expect_released(k, SEND " ");
    expect_at(k, 12, DUE, RBK_SHELF_WAIT, SEND);
    expect_at(k, 13, DUE, RBK_SHELF_WAIT, KEY);
    rbk_job key = make_job(12), *got = get_job(k, &key);
    assert_int_equal(got->first_attempt, 5011); /* its age counts from here */
    rbk_job_free(got);
    claim_one(k, SEND, 12);
    assert_int_equal(end_job(k, 12, RBK_OP_DEAD, true), RBK_OUTCOME_OK);
    expect_released(k, SEND " ");
    claim_one(k, SEND, 13);
    assert_int_equal(end_job(k, 13, RBK_OP_DONE, false), RBK_OUTCOME_OK);
    expect_released(k, "");
    expect_counts(k, 0, 0, 0);
    /* nothing is left of the key */
    assert_int_equal(put_job(k, 14, KEY), RBK_OUTCOME_OK);
}

static void test_first_waits_to_be_sent_again(void **state)
{
    kit *k = *state;
    put_job(k, 11, KEY);
    put_job(k, 12, KEY);
    give_result(k, 11, QUEUED);
    rbk_job a = result_job(11);
    a.attempts = 1;
    assert_int_equal(do_op(k, RBK_OP_RETRY, DUE, RBK_SHELF_WAIT, &a), RBK_OUTCOME_OK);
    claim_one(k, RUN, 12);
    assert_int_equal(give_result(k, 12, QUEUED), RBK_OUTCOME_BLOCKED);
    k->released[0] = 0;
    claim_one(k, SEND, 11);
    assert_int_equal(end_job(k, 11, RBK_OP_DONE, true), RBK_OUTCOME_OK);
    expect_released(k, SEND " ");
}

static void test_other_keys_are_left_alone(void **state)
{
    kit *k = *state;
    put_job(k, 11, KEY);
    assert_int_equal(put_job(k, 12, "key:aaab"), RBK_OUTCOME_OK);
    assert_int_equal(put_job(k, 13, "key:aaa"), RBK_OUTCOME_OK);
    assert_int_equal(put_job(k, 14, NULL), RBK_OUTCOME_OK);
    assert_int_equal(put_job(k, 15, KEY), RBK_OUTCOME_BLOCKED);
    for (int64_t seq = 12; seq <= 14; seq++) {
        assert_int_equal(give_result(k, seq, QUEUED), RBK_OUTCOME_OK);
        assert_int_equal(end_job(k, seq, RBK_OP_DONE, true), RBK_OUTCOME_OK);
    }
    expect_released(k, "");
    expect_at(k, 15, HELD, RBK_SHELF_WAIT, KEY);
}

static void test_key_that_is_no_lane(void **state)
{
    kit *k = *state;
    char key[RBK_LANE_MAX + 2];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = 0;
    assert_int_equal(put_job(k, 11, key), RBK_OUTCOME_TOO_BIG);
    assert_int_equal(put_job(k, 12, key + 1), RBK_OUTCOME_OK);
    assert_int_equal(put_job(k, 13, key + 1), RBK_OUTCOME_BLOCKED);
}

/* As after RBK_E_UNKNOWN: what one operation of the commit did to another's job is found done, and
 * no job is both in memory and in the store alone. */
static void test_a_commit_that_is_repeated(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(11), b = make_job(12), ra = result_job(11), rb = result_job(12), c = make_job(13);
    rbk_job ended = {.seq = 11, .rnd = a.rnd, .state = RBK_JOB_DELIVERED};
    rbk_store_op first[] = {put_op(&a, KEY), put_op(&b, KEY)};
    rbk_store_op second[] = {
        put_op(&c, KEY), {.kind = RBK_OP_RESULT, .from = QUEUED, .shelf = RBK_SHELF_JOB, .job = &ra}};
    rbk_store_op third[] = {{.kind = RBK_OP_RESULT, .from = QUEUED, .shelf = RBK_SHELF_JOB, .job = &rb},
                            {.kind = RBK_OP_DONE, .from = DUE, .keep = true, .now = 9, .job = &ended}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(k->ops->apply(k->st, first, 2, &k->err), 0);
        assert_int_equal(first[0].outcome, RBK_OUTCOME_OK);
        assert_int_equal(first[1].outcome, RBK_OUTCOME_BLOCKED);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(k->ops->apply(k->st, second, 2, &k->err), 0);
        assert_int_equal(second[0].outcome, RBK_OUTCOME_BLOCKED);
        assert_int_equal(second[1].outcome, RBK_OUTCOME_OK);
        expect_counts(k, 1, 1, 1);
    }
    expect_released(k, RUN " ");
    claim_one(k, RUN, 12);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(k->ops->apply(k->st, third, 2, &k->err), 0);
        assert_int_equal(third[0].outcome, RBK_OUTCOME_BLOCKED); /* and then released */
        assert_int_equal(third[1].outcome, RBK_OUTCOME_OK);
        expect_at(k, 12, DUE, RBK_SHELF_WAIT, SEND);
        expect_counts(k, 0, 1, 1);
    }
    expect_released(k, RUN " " SEND " ");
}

/* The next was put, and released, by the commit that is repeated. */
static void test_put_and_released_in_one_commit(void **state)
{
    kit *k = *state;
    rbk_job b = make_job(12), ra = result_job(11);
    put_job(k, 11, KEY);
    rbk_store_op ops[] = {put_op(&b, KEY), {.kind = RBK_OP_RESULT, .from = QUEUED, .job = &ra}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(k->ops->apply(k->st, ops, 2, &k->err), 0);
        assert_int_equal(ops[0].outcome, RBK_OUTCOME_BLOCKED); /* the store's, also when QUEUED */
        expect_at(k, 12, QUEUED, RBK_SHELF_WAIT, RUN);
    }
    expect_released(k, RUN " ");
}

/* --- Cancel, retry, and what else comes from outside ------------------------------------------ */

static rbk_op_outcome cancel(kit *k, int64_t seq, uint8_t from)
{
    rbk_job job = result_job(seq);
    rbk_store_op op = {.kind = RBK_OP_RESULT, .from = from, .shelf = RBK_SHELF_WAIT, .waiting = true,
                       .job = &job};
    return do_one(k, &op);
}

static void test_one_in_the_middle_is_cancelled(void **state)
{
    kit *k = *state;
    for (int64_t seq = 11; seq <= 13; seq++)
        put_job(k, seq, KEY);
    assert_int_equal(cancel(k, 12, HELD), RBK_OUTCOME_BLOCKED);
    expect_at(k, 12, DUE, RBK_SHELF_WAIT, KEY);
    expect_released(k, ""); /* the first runs still */
    assert_int_equal(put_job(k, 14, KEY), RBK_OUTCOME_BLOCKED);
    assert_int_equal(give_result(k, 11, QUEUED), RBK_OUTCOME_OK);
    expect_released(k, RUN " ");
    claim_one(k, RUN, 13);
    assert_int_equal(end_job(k, 11, RBK_OP_DONE, true), RBK_OUTCOME_OK);
    expect_released(k, SEND " ");
    claim_one(k, SEND, 12);
    assert_int_equal(end_job(k, 12, RBK_OP_DONE, true), RBK_OUTCOME_OK);
    expect_released(k, "");
    assert_int_equal(give_result(k, 13, QUEUED), RBK_OUTCOME_OK);
    expect_released(k, RUN " ");
    expect_at(k, 14, QUEUED, RBK_SHELF_WAIT, RUN);
}

/* Of three jobs the second is taken into memory, to be answered: its deadline is over. */
static void take_second(kit *k)
{
    rbk_job *jobs = NULL;
    rbk_wall_ms next;
    for (int64_t seq = 11; seq <= 13; seq++)
        put_job(k, seq, KEY);
    int n = k->ops->expired(k->st, make_job(12).deadline, 10, &jobs, &next, &k->err);
    const int64_t want[] = {12};
    expect_seqs(jobs, n, want, 1);
    expect_at(k, 12, HELD, RBK_SHELF_JOB, KEY);
}

static void test_deadline_of_one_that_is_held(void **state)
{
    kit *k = *state;
    take_second(k);
    assert_int_equal(give_result(k, 12, HELD), RBK_OUTCOME_BLOCKED);
    expect_at(k, 12, DUE, RBK_SHELF_WAIT, KEY);
    expect_released(k, "");
    expect_counts(k, 1, 1, 1);
    give_result(k, 11, QUEUED);
    expect_released(k, RUN " ");
    expect_at(k, 13, QUEUED, RBK_SHELF_WAIT, RUN);
    end_job(k, 11, RBK_OP_DONE, true);
    expect_released(k, SEND " ");
    claim_one(k, SEND, 12);
}

/* It is its turn meanwhile: nobody releases it in memory. */
static void test_turn_of_one_in_memory(void **state)
{
    kit *k = *state;
    take_second(k);
    give_result(k, 11, QUEUED);
    expect_released(k, "");
    expect_at(k, 12, HELD, RBK_SHELF_JOB, KEY);
    expect_counts(k, 2, 0, 1);
    assert_int_equal(give_result(k, 12, HELD), RBK_OUTCOME_BLOCKED);
    expect_released(k, RUN " ");
    expect_at(k, 13, QUEUED, RBK_SHELF_WAIT, RUN);
    expect_counts(k, 0, 1, 2);
}

/* There was no memory for its answer. */
static void test_held_job_goes_back(void **state)
{
    kit *k = *state;
    take_second(k);
    rbk_job job = {.seq = 12, .rnd = make_job(12).rnd, .due = 5, .lane = RBK_STR(RUN)};
    rbk_store_op op = {.kind = RBK_OP_PARK, .from = HELD, .job = &job};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(do_one(k, &op), RBK_OUTCOME_BLOCKED);
        expect_at(k, 12, HELD, RBK_SHELF_WAIT, KEY);
        expect_released(k, "");
    }
    rbk_job *jobs = NULL;
    rbk_wall_ms next;
    int n = k->ops->expired(k->st, make_job(12).deadline, 10, &jobs, &next, &k->err);
    expect_seqs(jobs, n, (const int64_t[]){12}, 1);
    give_result(k, 11, QUEUED);
    expect_released(k, "");
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_BLOCKED); /* by nobody: it is the store's again */
    expect_released(k, RUN " ");
    expect_at(k, 12, QUEUED, RBK_SHELF_WAIT, RUN);
    expect_counts(k, 1, 1, 1);
    claim_one(k, RUN, 12);
}

/* One that waits to be sent is cancelled: nobody is released but in his turn. */
static void test_blocked_response_is_cancelled(void **state)
{
    kit *k = *state;
    for (int64_t seq = 11; seq <= 13; seq++) {
        assert_int_equal(put_job(k, seq, KEY), RBK_OUTCOME_OK); /* those before it have theirs */
        give_result(k, seq, QUEUED);
    }
    k->released[0] = 0;
    rbk_job job = {.seq = 12, .rnd = make_job(12).rnd, .state = RBK_JOB_CANCELLED};
    rbk_store_op op = {.kind = RBK_OP_DONE, .from = DUE, .keep = true, .waiting = true, .job = &job};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    expect_released(k, "");
    assert_int_equal(end_job(k, 11, RBK_OP_DEAD, true), RBK_OUTCOME_OK);
    expect_released(k, SEND " ");
    claim_one(k, SEND, 13);
}

static void test_blocked_job_is_not_hurried(void **state)
{
    kit *k = *state;
    put_job(k, 11, KEY);
    put_job(k, 12, KEY);
    give_result(k, 11, QUEUED);
    claim_one(k, RUN, 12);
    give_result(k, 12, QUEUED);
    rbk_job job = {.seq = 12, .rnd = make_job(12).rnd, .due = 5, .lane = RBK_STR(SEND)};
    rbk_store_op op = {.kind = RBK_OP_PARK, .from = DUE, .waiting = true, .job = &job};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_BLOCKED);
    expect_at(k, 12, DUE, RBK_SHELF_WAIT, KEY);
    end_job(k, 11, RBK_OP_DONE, true);
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    expect_at(k, 12, DUE, RBK_SHELF_WAIT, SEND);
}

static void test_notification_in_the_order(void **state)
{
    kit *k = *state;
    for (int64_t seq = 11; seq <= 13; seq++)
        put_job(k, seq, KEY);
    give_result(k, 11, QUEUED);
    claim_one(k, RUN, 12);
    k->released[0] = 0;
    rbk_job job = {.seq = 12, .rnd = make_job(12).rnd, .state = RBK_JOB_DELIVERED};
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &job), RBK_OUTCOME_OK);
    expect_released(k, RUN " "); /* it has run, and is through */
    claim_one(k, RUN, 13);
    assert_int_equal(give_result(k, 13, QUEUED), RBK_OUTCOME_BLOCKED);
    end_job(k, 11, RBK_OP_DONE, true);
    expect_released(k, SEND " ");
}

static void test_redriven_is_out_of_order(void **state)
{
    kit *k = *state;
    put_job(k, 11, KEY);
    give_result(k, 11, QUEUED);
    end_job(k, 11, RBK_OP_DEAD, true);
    put_job(k, 12, KEY);
    put_job(k, 13, KEY);
    rbk_job back = {.seq = 11, .rnd = make_job(11).rnd, .due = 5, .lane = RBK_STR(SEND)};
    rbk_store_op op = {.kind = RBK_OP_REDRIVE, .from = RBK_JOB_DEAD, .job = &back};
    k->released[0] = 0;
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    expect_at(k, 11, DUE, RBK_SHELF_WAIT, SEND);
    assert_int_equal(give_result(k, 12, QUEUED), RBK_OUTCOME_OK); /* it is behind nobody */
    expect_released(k, RUN " ");
    claim_one(k, SEND, 11);
    assert_int_equal(end_job(k, 11, RBK_OP_DONE, true), RBK_OUTCOME_OK);
    expect_released(k, "");
    assert_int_equal(end_job(k, 12, RBK_OP_DONE, true), RBK_OUTCOME_OK);
}

/* What a new job asks for is decided before it takes its place. */
static void test_duplicate_takes_no_place(void **state)
{
    kit *k = *state;
    rbk_idem idem = {.until = 5000};
    rbk_job a = make_job(11), b = make_job(12);
    rbk_store_op one = put_op(&a, KEY), two = put_op(&b, KEY);
    one.idem = two.idem = &idem;
    assert_int_equal(do_one(k, &one), RBK_OUTCOME_OK);
    assert_int_equal(do_one(k, &two), RBK_OUTCOME_DUPLICATE);
    give_result(k, 11, QUEUED);
    expect_released(k, "");
    assert_int_equal(put_job(k, 13, KEY), RBK_OUTCOME_OK);
}

static void test_survives_a_reopen(void **state)
{
    kit *k = *state;
    if (strcmp(k->ops->scheme, "memory") == 0)
        skip();
    for (int64_t seq = 11; seq <= 13; seq++)
        put_job(k, seq, KEY);
    for (int i = 0; i < 2; i++) {
        k->ops->close(k->st);
        k->st = NULL;
        assert_int_equal(kit_open(k, &k->st), 0);
        assert_int_equal(put_job(k, 14 + i, KEY), RBK_OUTCOME_BLOCKED);
    }
    give_result(k, 11, QUEUED);
    expect_released(k, RUN " ");
    claim_one(k, RUN, 12);
}

/* A lane of waiting jobs is one seek, however many wait in keys. */
static void test_lanes_behind_the_keys(void **state)
{
    kit *k = *state;
    char key[32];
    rbk_lane_due found[4];
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "key:%04d", i);
        put_job(k, 100 + 2 * i, key);
        put_job(k, 101 + 2 * i, key);
    }
    put_on(k, 9, RBK_SHELF_WAIT);
    assert_int_equal(k->ops->lanes(k->st, RBK_STR("key;"), 4, found, &k->err), 1);
    assert_string_equal(found[0].lane, RUN);
}

#define CASES(X)                                                                                   \
    X(test_one_behind_the_other) X(test_first_waits_to_be_sent_again)                              \
    X(test_other_keys_are_left_alone) X(test_key_that_is_no_lane) X(test_a_commit_that_is_repeated) \
    X(test_put_and_released_in_one_commit) X(test_deadline_of_one_that_is_held)                    \
    X(test_turn_of_one_in_memory) X(test_held_job_goes_back) X(test_one_in_the_middle_is_cancelled)                  \
    X(test_blocked_response_is_cancelled) X(test_blocked_job_is_not_hurried)                       \
    X(test_notification_in_the_order) X(test_redriven_is_out_of_order)                             \
    X(test_duplicate_takes_no_place) X(test_survives_a_reopen) X(test_lanes_behind_the_keys)

#define X(t) {#t, t, kit_set_up, kit_tear_down, NULL},
KIT_MAIN("store order keys", CASES(X))
