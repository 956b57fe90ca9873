/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store_end.c - the end of a job and what comes after, over every backend: the
 * done and dead shelves, redrive, purge, notes of failed attempts, the numbers by state, the
 * sweep. Each operation is applied twice where it succeeds: the second time it must say the
 * same and change nothing. */
#include "store_kit.h"

static rbk_op_outcome do_twice(kit *k, rbk_store_op op)
{
    rbk_op_outcome first = do_one(k, &op), second = do_one(k, &op);
    assert_int_equal(first, second);
    return first;
}

static void expect_counts(kit *k, int64_t pending, int64_t dead, int64_t done)
{
    rbk_store_stats s = get_stats(k);
    assert_int_equal(s.pending, pending);
    assert_int_equal(s.held + s.queued + s.due, pending);
    assert_int_equal(s.dead, dead);
    assert_int_equal(s.done, done);
    if (pending == 0)
        assert_int_equal(s.pending_bytes, 0);
    if (done == 0)
        assert_int_equal(s.done_bytes, 0);
}

/* --- The done shelf ------------------------------------------------------------------------ */

static void test_done_is_kept(void **state)
{
    kit *k = *state;
    static const uint8_t ends[] = {RBK_JOB_DELIVERED, RBK_JOB_CANCELLED, RBK_JOB_COLLECTED};
    int64_t bytes = 0;
    for (int i = 0; i < 3; i++)
        for (int from = RBK_SHELF_JOB; from <= RBK_SHELF_DEAD; from++) {
            rbk_job want = put_on(k, 10 + i * 3 + from, from);
            rbk_job job = {.seq = want.seq, .rnd = want.rnd, .state = ends[i], .attempts = 4,
                           .last_status = 204};
            rbk_store_op op = {.kind = RBK_OP_DONE, .from = want.state, .keep = true, .now = 900,
                               .job = &job};
            assert_int_equal(do_twice(k, op), RBK_OUTCOME_OK);
            want.state = ends[i];
            want.attempts = 4;
            want.last_status = 204;
            expect_stored(k, &want);
            bytes += bytes_of(&want);
        }
    expect_counts(k, 0, 0, 9);
    assert_int_equal(get_stats(k).done_bytes, bytes);
}

/* What the operation does not know stays as it was. */
static void test_done_keeps_what_it_lacks(void **state)
{
    kit *k = *state;
    rbk_job want = put_on(k, 1, RBK_SHELF_JOB);
    want.attempts = 7;
    want.last_status = 503;
    want.reason = RBK_STR("STATUS 503");
    do_op(k, RBK_OP_RETRY, QUEUED, RBK_SHELF_WAIT, &want);
    rbk_job job = {.seq = 1, .rnd = want.rnd, .state = RBK_JOB_CANCELLED};
    rbk_store_op op = {.kind = RBK_OP_DONE, .from = QUEUED, .keep = true, .job = &job};
    assert_int_equal(do_twice(k, op), RBK_OUTCOME_OK);
    want.state = RBK_JOB_CANCELLED;
    expect_stored(k, &want);
}

static void test_done_shelf_is_an_end(void **state)
{
    kit *k = *state;
    static const rbk_op_kind kinds[] = {RBK_OP_RESULT, RBK_OP_RETRY, RBK_OP_PARK, RBK_OP_RUNS,
                                        RBK_OP_DEAD};
    rbk_job a = put_on(k, 1, RBK_SHELF_DONE), *jobs = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        assert_int_equal(do_op(k, kinds[i], QUEUED, 0, &a), RBK_OUTCOME_STALE);
        assert_int_equal(do_op(k, kinds[i], RBK_JOB_DELIVERED, 0, &a), RBK_OUTCOME_STALE);
    }
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, 0, &a), RBK_OUTCOME_OK); /* it was accepted */
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &a), RBK_OUTCOME_OK);
    a.state = RBK_JOB_CANCELLED; /* another end than it had */
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &a), RBK_OUTCOME_STALE);
    a.state = RBK_JOB_DELIVERED;
    expect_stored(k, &a);
    assert_int_equal(k->ops->recover(k->st, 0, 10, &jobs, &k->err), 0);
    /* no end at all */
    rbk_job b = put_on(k, 2, RBK_SHELF_JOB);
    rbk_store_op op = {.kind = RBK_OP_DONE, .from = QUEUED, .keep = true, .job = &b};
    assert_int_equal(do_twice(k, op), RBK_OUTCOME_STALE);
    expect_stored(k, &b);
    expect_counts(k, 1, 0, 1);
}

/* --- Redrive and purge ----------------------------------------------------------------------- */

static rbk_job ended_job(kit *k, int64_t seq, int shelf)
{
    rbk_job a = make_job(seq);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a);
    a.state = DUE;
    a.response = RBK_STR("{\"result\":1}");
    a.lane = RBK_STR("send:https://example.com:443");
    a.first_attempt = 50;
    do_op(k, RBK_OP_RESULT, QUEUED, RBK_SHELF_JOB, &a);
    a.attempts = 3;
    a.last_status = 500;
    a.reason = RBK_STR("STATUS 500");
    do_op(k, RBK_OP_RETRY, DUE, RBK_SHELF_WAIT, &a);
    a.state = shelf == RBK_SHELF_DEAD ? RBK_JOB_DEAD : RBK_JOB_DELIVERED;
    rbk_store_op op = {.kind = shelf == RBK_SHELF_DEAD ? RBK_OP_DEAD : RBK_OP_DONE, .from = DUE,
                       .keep = true, .now = 500, .job = &a};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    expect_stored(k, &a);
    return a;
}

static void test_redrive(void **state)
{
    kit *k = *state;
    int64_t seq = 10;
    for (int shelf = RBK_SHELF_DEAD; shelf <= RBK_SHELF_DONE; shelf++)
        for (int to = 0; to < 2; to++) {
            rbk_job want = ended_job(k, ++seq, shelf);
            rbk_job job = {.seq = want.seq, .rnd = want.rnd, .due = 800, .attempts = 9,
                           .lane = RBK_STR("send:https://other.example:8443"),
                           .callback = to ? RBK_STR("https://other.example:8443/hook")
                                          : RBK_STR_NONE};
            rbk_store_op op = {.kind = RBK_OP_REDRIVE, .from = want.state, .now = 790,
                               .job = &job};
            int64_t bytes = get_stats(k).pending_bytes;
            assert_int_equal(do_twice(k, op), RBK_OUTCOME_OK);
            want.state = DUE;
            want.lane = job.lane;
            want.due = 800;
            want.first_attempt = 790;
            want.attempts = 0;
            want.last_status = 0;
            want.reason = RBK_STR_NONE;
            want.callback = to ? job.callback : want.callback;
            expect_stored(k, &want);
            assert_int_equal(shelf_of(k, &want), RBK_SHELF_WAIT);
            expect_counts(k, seq - 10, 0, 0);
            assert_int_equal(get_stats(k).due, seq - 10);
            assert_int_equal(get_stats(k).pending_bytes, bytes + bytes_of(&want));
        }
    rbk_job *jobs = NULL;
    rbk_wall_ms next = 0;
    assert_int_equal(k->ops->claim(k->st, RBK_STR("send:https://other.example:8443"), 800, 9,
                                   &jobs, &next, &k->err), 4);
    free_jobs(jobs);
    for (seq = 11; seq <= 14; seq++) { /* and they end once more, nothing is left behind */
        rbk_job a = make_job(seq);
        assert_int_equal(do_op(k, RBK_OP_DONE, DUE, 0, &a), RBK_OUTCOME_OK);
    }
    expect_counts(k, 0, 0, 0);
}

/* After a claim too; but not a job that has other values, or was tried since. */
static void test_redrive_done_before(void **state)
{
    kit *k = *state;
    rbk_job a = ended_job(k, 1, RBK_SHELF_DEAD), *jobs = NULL;
    rbk_job job = {.seq = 1, .rnd = a.rnd, .due = 800, .lane = RBK_STR("send:x"),
                   .callback = RBK_STR("https://x/")};
    rbk_wall_ms next;
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &job), RBK_OUTCOME_OK);
    assert_int_equal(k->ops->claim(k->st, job.lane, 800, 9, &jobs, &next, &k->err), 1);
    free_jobs(jobs);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &job), RBK_OUTCOME_OK);
    rbk_job other = job;
    other.lane = RBK_STR("send:y");
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &other), RBK_OUTCOME_STALE);
    other = job;
    other.due++;
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &other), RBK_OUTCOME_STALE);
    other = job;
    other.callback = RBK_STR("https://y/");
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &other), RBK_OUTCOME_STALE);
    other = job;
    other.attempts = 1;
    assert_int_equal(do_op(k, RBK_OP_RETRY, DUE, RBK_SHELF_WAIT, &other), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &job), RBK_OUTCOME_STALE);
}

static void test_redrive_refused(void **state)
{
    kit *k = *state;
    rbk_job queued = put_on(k, 1, RBK_SHELF_WAIT), dead = ended_job(k, 2, RBK_SHELF_DEAD);
    rbk_job done = ended_job(k, 3, RBK_SHELF_DONE), gone = make_job(4), no_lane = dead, twin = dead;
    no_lane.lane = RBK_STR_NONE;
    twin.rnd++;
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, QUEUED, 0, &queued), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DELIVERED, 0, &dead), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_CANCELLED, 0, &done), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &gone), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &twin), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &no_lane), RBK_OUTCOME_TOO_BIG);
    expect_stored(k, &queued);
    expect_stored(k, &dead);
    expect_stored(k, &done);
    expect_counts(k, 1, 1, 1);
}

static void test_purge(void **state)
{
    kit *k = *state;
    rbk_job dead = ended_job(k, 1, RBK_SHELF_DEAD), done = ended_job(k, 2, RBK_SHELF_DONE);
    rbk_job live = put_on(k, 3, RBK_SHELF_WAIT), twin = done;
    twin.rnd++;
    assert_int_equal(do_op(k, RBK_OP_PURGE, RBK_JOB_CANCELLED, 0, &done), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_PURGE, QUEUED, 0, &live), RBK_OUTCOME_STALE);
    assert_int_equal(do_op(k, RBK_OP_PURGE, RBK_JOB_DELIVERED, 0, &twin), RBK_OUTCOME_OK);
    expect_counts(k, 1, 1, 1);
    rbk_store_op op = {.kind = RBK_OP_PURGE, .from = RBK_JOB_DEAD, .job = &dead};
    assert_int_equal(do_twice(k, op), RBK_OUTCOME_OK);
    op = (rbk_store_op){.kind = RBK_OP_PURGE, .from = RBK_JOB_DELIVERED, .job = &done};
    assert_int_equal(do_twice(k, op), RBK_OUTCOME_OK);
    assert_int_equal(shelf_of(k, &dead), -1);
    assert_int_equal(shelf_of(k, &done), -1);
    expect_stored(k, &live);
    expect_counts(k, 1, 0, 0);
}

/* What an operator changes must not be under way in memory. */
static void test_waiting(void **state)
{
    kit *k = *state;
    static const rbk_op_kind kinds[] = {RBK_OP_RESULT, RBK_OP_RETRY, RBK_OP_PARK, RBK_OP_DONE,
                                        RBK_OP_DEAD,   RBK_OP_PURGE, RBK_OP_REDRIVE};
    rbk_job job = put_on(k, 1, RBK_SHELF_JOB), gone = make_job(9);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        rbk_store_op op = {.kind = kinds[i], .from = QUEUED, .shelf = RBK_SHELF_WAIT,
                           .waiting = true, .job = &job};
        assert_int_equal(do_twice(k, op), RBK_OUTCOME_IN_MEMORY);
    }
    expect_stored(k, &job);
    rbk_job wait = put_on(k, 2, RBK_SHELF_WAIT), dead = put_on(k, 3, RBK_SHELF_DEAD);
    wait.due = 1;
    rbk_store_op park = {.kind = RBK_OP_PARK, .from = QUEUED, .waiting = true, .job = &wait};
    assert_int_equal(do_twice(k, park), RBK_OUTCOME_OK);
    expect_stored(k, &wait);
    rbk_store_op purge = {.kind = RBK_OP_PURGE, .from = RBK_JOB_DEAD, .waiting = true,
                          .job = &dead};
    assert_int_equal(do_twice(k, purge), RBK_OUTCOME_OK);
    park.job = &gone;
    assert_int_equal(do_twice(k, park), RBK_OUTCOME_STALE);
}

/* Of two changes that waited for the same job the second is told so; the first alone may be
 * made again, after a doubt. */
static void test_waiting_for_the_same(void **state)
{
    kit *k = *state;
    rbk_job want = put_on(k, 1, RBK_SHELF_WAIT), dead = ended_job(k, 2, RBK_SHELF_DEAD);
    rbk_job job = {.seq = 1, .rnd = want.rnd, .state = RBK_JOB_CANCELLED};
    rbk_job again = {.seq = 2, .rnd = dead.rnd, .due = 800, .first_attempt = dead.first_attempt,
                     .lane = RBK_STR("send:a")};
    rbk_store_op cancel = {.kind = RBK_OP_DONE, .from = QUEUED, .keep = true, .waiting = true,
                           .job = &job};
    rbk_store_op retry = {.kind = RBK_OP_REDRIVE, .from = RBK_JOB_DEAD, .waiting = true,
                          .job = &again};
    rbk_store_op *ops[] = {&cancel, &retry};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(do_one(k, ops[i]), RBK_OUTCOME_OK);
        assert_int_equal(do_one(k, ops[i]), RBK_OUTCOME_STALE);
        ops[i]->again = true;
        assert_int_equal(do_one(k, ops[i]), RBK_OUTCOME_OK);
    }
    expect_counts(k, 1, 0, 1);
}

/* Both were read before the first of them was made, and ended again: the second is told so. */
static void test_waiting_for_what_was_redriven(void **state)
{
    kit *k = *state;
    for (int shelf = RBK_SHELF_DEAD; shelf <= RBK_SHELF_DONE; shelf++) {
        rbk_job a = ended_job(k, shelf, shelf);
        rbk_job job = {.seq = a.seq, .rnd = a.rnd, .due = 800, .first_attempt = a.first_attempt,
                       .lane = RBK_STR("send:a")};
        rbk_store_op retry = {.kind = RBK_OP_REDRIVE, .from = a.state, .waiting = true,
                              .now = 800, .job = &job};
        assert_int_equal(do_one(k, &retry), RBK_OUTCOME_OK);
        rbk_store_op end = {.kind = shelf == RBK_SHELF_DEAD ? RBK_OP_DEAD : RBK_OP_DONE,
                            .from = DUE, .keep = true, .now = 900, .job = &a};
        assert_int_equal(do_one(k, &end), RBK_OUTCOME_OK);
        assert_int_equal(do_one(k, &retry), RBK_OUTCOME_STALE);
        job.first_attempt = 800; /* as it stands now */
        assert_int_equal(do_one(k, &retry), RBK_OUTCOME_OK);
    }
    expect_counts(k, 2, 0, 0);
}

/* --- Notes ------------------------------------------------------------------------------------- */

static rbk_attempt_note make_note(uint32_t number, rbk_wall_ms at)
{
    rbk_attempt_note note = {.number = number, .status = 500 + (int32_t)number, .at = at,
                             .ms = 7 * number};
    snprintf(note.reason, sizeof note.reason, "STATUS");
    snprintf(note.host, sizeof note.host, "192.0.2.%u", (unsigned)number % 200);
    return note;
}

/* A failure of a DUE job that stays on the wait shelf. */
static void fail_once(kit *k, rbk_job *job, const rbk_attempt_note *note, rbk_op_kind kind)
{
    job->attempts = note->number;
    rbk_store_op op = {.kind = kind, .from = DUE, .shelf = RBK_SHELF_WAIT, .note = *note,
                       .now = note->at, .job = job};
    assert_int_equal(do_twice(k, op), RBK_OUTCOME_OK);
}

static void expect_notes(kit *k, int64_t seq, const rbk_attempt_note *want, int n)
{
    rbk_attempt_note got[RBK_ATTEMPTS_KEPT + 8];
    assert_int_equal(k->ops->attempts(k->st, seq, RBK_ATTEMPTS_KEPT + 8, got, &k->err), n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(got[i].number, want[i].number);
        assert_int_equal(got[i].status, want[i].status);
        assert_int_equal(got[i].at, want[i].at);
        assert_int_equal(got[i].ms, want[i].ms);
        assert_string_equal(got[i].reason, want[i].reason);
        assert_string_equal(got[i].host, want[i].host);
    }
}

static rbk_job due_job(kit *k, int64_t seq)
{
    rbk_job a = make_job(seq);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &a);
    a.state = DUE;
    a.lane = RBK_STR("send:x");
    assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, RBK_SHELF_WAIT, &a), RBK_OUTCOME_OK);
    return a;
}

/* Two lives with a redrive between them: numbers begin anew, the clock goes back. */
static void test_notes(void **state)
{
    kit *k = *state;
    rbk_job a = due_job(k, 1), b = due_job(k, 2);
    rbk_attempt_note notes[] = {make_note(1, 100), make_note(2, 200), make_note(3, 300),
                                make_note(1, 50), make_note(2, 60)};
    rbk_attempt_note none = {0};
    expect_notes(k, 1, NULL, 0);
    fail_once(k, &a, &none, RBK_OP_RETRY);
    expect_notes(k, 1, NULL, 0);
    fail_once(k, &a, &notes[0], RBK_OP_RETRY);
    fail_once(k, &b, &notes[4], RBK_OP_RETRY);
    fail_once(k, &a, &notes[1], RBK_OP_RETRY);
    expect_notes(k, 1, notes, 2);
    fail_once(k, &a, &notes[2], RBK_OP_DEAD);
    expect_notes(k, 1, notes, 3);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &a), RBK_OUTCOME_OK);
    expect_notes(k, 1, notes, 3);
    fail_once(k, &a, &notes[3], RBK_OP_RETRY);
    expect_notes(k, 1, notes, 4);
    /* a stale one leaves nothing */
    rbk_store_op late = {.kind = RBK_OP_RETRY, .from = QUEUED, .note = notes[4], .job = &a};
    assert_int_equal(do_one(k, &late), RBK_OUTCOME_STALE);
    expect_notes(k, 1, notes, 4);
    /* they are there on the done shelf too, and go with the job */
    a.state = RBK_JOB_DELIVERED;
    rbk_store_op done = {.kind = RBK_OP_DONE, .from = DUE, .keep = true, .job = &a};
    assert_int_equal(do_twice(k, done), RBK_OUTCOME_OK);
    expect_notes(k, 1, notes, 4);
    assert_int_equal(do_op(k, RBK_OP_PURGE, RBK_JOB_DELIVERED, 0, &a), RBK_OUTCOME_OK);
    expect_notes(k, 1, NULL, 0);
    expect_notes(k, 2, &notes[4], 1);
    assert_int_equal(do_op(k, RBK_OP_DONE, DUE, 0, &b), RBK_OUTCOME_OK);
    expect_notes(k, 2, NULL, 0);
}

static void test_notes_are_bounded(void **state)
{
    kit *k = *state;
    rbk_job a = due_job(k, 1);
    rbk_attempt_note all[RBK_ATTEMPTS_KEPT + 9], few[3];
    for (int i = 0; i < RBK_ATTEMPTS_KEPT + 9; i++) {
        /* short lives: the numbers never get far */
        all[i] = make_note((uint32_t)i % 5 + 1, 1000 + i);
        if (all[i].number == 1 && i) {
            do_op(k, RBK_OP_DEAD, DUE, 0, &a);
            assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &a), RBK_OUTCOME_OK);
        }
        fail_once(k, &a, &all[i], RBK_OP_RETRY);
    }
    expect_notes(k, 1, all + 9, RBK_ATTEMPTS_KEPT);
    assert_int_equal(k->ops->attempts(k->st, 1, 3, few, &k->err), 3);
    assert_int_equal(few[2].at, all[11].at);
    assert_int_equal(k->ops->attempts(k->st, 1, 0, few, &k->err), 0);
    /* texts that fill their fields */
    rbk_attempt_note full = make_note(1, 9999);
    memset(full.reason, 'R', sizeof full.reason - 1);
    memset(full.host, 'h', sizeof full.host - 1);
    rbk_job b = due_job(k, 2);
    fail_once(k, &b, &full, RBK_OP_RETRY);
    expect_notes(k, 2, &full, 1);
}

/* --- Numbers ------------------------------------------------------------------------------------ */

static void expect_states(kit *k, int64_t held, int64_t queued, int64_t due)
{
    rbk_store_stats s = get_stats(k);
    assert_int_equal(s.held, held);
    assert_int_equal(s.queued, queued);
    assert_int_equal(s.due, due);
    assert_int_equal(s.pending, held + queued + due);
}

static void test_states_are_counted(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(1), b = make_job(2), c = make_job(3), *jobs = NULL;
    rbk_wall_ms next;
    a.state = RBK_JOB_HELD;
    b.state = RBK_JOB_RUNNING;
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &a);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &b);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &c);
    expect_states(k, 1, 2, 0);
    a.state = QUEUED;
    assert_int_equal(do_op(k, RBK_OP_RESULT, RBK_JOB_HELD, RBK_SHELF_WAIT, &a), RBK_OUTCOME_OK);
    expect_states(k, 0, 3, 0);
    b.state = DUE;
    assert_int_equal(do_op(k, RBK_OP_RESULT, RBK_JOB_RUNNING, RBK_SHELF_WAIT, &b), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_RETRY, DUE, RBK_SHELF_JOB, &b), RBK_OUTCOME_OK);
    b.state = RBK_JOB_SENDING;
    assert_int_equal(do_op(k, RBK_OP_RESULT, DUE, RBK_SHELF_WAIT, &b), RBK_OUTCOME_OK);
    expect_states(k, 0, 2, 1);
    assert_int_equal(k->ops->claim(k->st, c.lane, 1000, 9, &jobs, &next, &k->err), 3);
    free_jobs(jobs);
    expect_states(k, 0, 2, 1);
    assert_int_equal(do_op(k, RBK_OP_DEAD, RBK_JOB_SENDING, 0, &b), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &a), RBK_OUTCOME_OK);
    expect_states(k, 0, 1, 0);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &b), RBK_OUTCOME_OK);
    expect_states(k, 0, 1, 1);
}

/* --- The sweep ------------------------------------------------------------------------------------- */

static const rbk_store_keep for_ever = {INT64_MAX, INT64_MAX, INT64_MAX};

static void end_at(kit *k, int64_t seq, int shelf, rbk_wall_ms now)
{
    rbk_job a = put_on(k, seq, RBK_SHELF_JOB);
    a.state = RBK_JOB_DELIVERED;
    rbk_store_op op = {.kind = shelf == RBK_SHELF_DEAD ? RBK_OP_DEAD : RBK_OP_DONE,
                       .from = QUEUED, .keep = true, .now = now, .job = &a};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
}

static void expect_left(kit *k, const int64_t *seqs, int n)
{
    rbk_job *jobs = NULL;
    int got = list_jobs(k, 0, 0, 100, &jobs);
    expect_seqs(jobs, got, seqs, n);
}

static void test_sweep_by_age(void **state)
{
    kit *k = *state;
    rbk_store_keep keep = {.done_ms = 100, .dead_ms = 1000, .done_bytes = INT64_MAX};
    end_at(k, 1, RBK_SHELF_DONE, 2000);
    end_at(k, 2, RBK_SHELF_DONE, 1000); /* not in the order of seqs */
    end_at(k, 3, RBK_SHELF_DEAD, 900);
    end_at(k, 4, RBK_SHELF_DEAD, 1500);
    end_at(k, 5, RBK_SHELF_DONE, 1600);
    put_on(k, 6, RBK_SHELF_WAIT);
    assert_int_equal(k->ops->sweep(k->st, &for_ever, 1 << 30, 100, &k->err), 0);
    assert_int_equal(k->ops->sweep(k->st, &keep, 1099, 100, &k->err), 0);
    assert_int_equal(k->ops->sweep(k->st, &keep, 1100, 0, &k->err), 0);
    assert_int_equal(k->ops->sweep(k->st, &keep, 1100, 100, &k->err), 1);
    expect_left(k, (int64_t[]){1, 3, 4, 5, 6}, 5);
    /* first what ended first, over both shelves */
    assert_int_equal(k->ops->sweep(k->st, &keep, 9000, 1, &k->err), 1);
    expect_left(k, (int64_t[]){1, 4, 5, 6}, 4);
    assert_int_equal(k->ops->sweep(k->st, &keep, 9000, 2, &k->err), 2);
    expect_left(k, (int64_t[]){1, 6}, 2);
    assert_int_equal(k->ops->sweep(k->st, &keep, 9000, 2, &k->err), 1);
    expect_left(k, (int64_t[]){6}, 1);
    expect_counts(k, 1, 0, 0);
}

static void test_sweep_by_bytes(void **state)
{
    kit *k = *state;
    rbk_job one = make_job(1);
    int64_t bytes = bytes_of(&one);
    rbk_store_keep keep = {.done_ms = INT64_MAX, .dead_ms = INT64_MAX, .done_bytes = 2 * bytes};
    for (int64_t seq = 1; seq <= 5; seq++)
        end_at(k, seq, RBK_SHELF_DONE, 100 - seq);
    end_at(k, 6, RBK_SHELF_DEAD, 1);
    assert_int_equal(k->ops->sweep(k->st, &keep, 100, 100, &k->err), 3);
    expect_left(k, (int64_t[]){1, 2, 6}, 3);
    assert_int_equal(get_stats(k).done_bytes, 2 * bytes);
    keep.done_bytes = 0;
    assert_int_equal(k->ops->sweep(k->st, &keep, 100, 100, &k->err), 2);
    expect_counts(k, 0, 1, 0);
}

/* Bodies and notes go with the row: another one under the same seq finds nothing of them. */
static void test_sweep_takes_all(void **state)
{
    kit *k = *state;
    static char body[9000];
    rbk_attempt_note note = make_note(1, 5);
    memset(body, 'p', sizeof body);
    rbk_job a = make_job(1);
    a.params = (rbk_str){body, sizeof body};
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &a);
    a.state = DUE;
    a.response = (rbk_str){body, 5000};
    do_op(k, RBK_OP_RESULT, QUEUED, RBK_SHELF_WAIT, &a);
    fail_once(k, &a, &note, RBK_OP_RETRY);
    a.state = RBK_JOB_DELIVERED;
    rbk_store_op op = {.kind = RBK_OP_DONE, .from = DUE, .keep = true, .now = 10, .job = &a};
    assert_int_equal(do_twice(k, op), RBK_OUTCOME_OK);
    expect_stored(k, &a);
    rbk_store_keep keep = {0};
    assert_int_equal(k->ops->sweep(k->st, &keep, 10, 5, &k->err), 1);
    expect_notes(k, 1, NULL, 0);
    rbk_job b = put_on(k, 1, RBK_SHELF_JOB);
    expect_stored(k, &b);
}

#define CASES(X)                                                                                   \
    X(test_done_is_kept) X(test_done_keeps_what_it_lacks) X(test_done_shelf_is_an_end)             \
    X(test_redrive) X(test_redrive_done_before) X(test_redrive_refused) X(test_purge)              \
    X(test_waiting) X(test_waiting_for_the_same) X(test_waiting_for_what_was_redriven)             \
    X(test_notes) X(test_notes_are_bounded) X(test_states_are_counted)                             \
    X(test_sweep_by_age) X(test_sweep_by_bytes) X(test_sweep_takes_all)

#define X(t) {#t, t, kit_set_up, kit_tear_down, NULL},
KIT_MAIN("store end", CASES(X))
