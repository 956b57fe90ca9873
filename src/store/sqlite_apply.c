/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_apply.c - one durable transaction.
 *
 * What an operation means is decided in C (rules.c) before anything is written, so a
 * bad one costs nobody else anything; an SQLite error then fails the whole. A new job's
 * seq is nearly always greater than any stored one, which saves looking for it. What
 * changed in numbers is added up and written to the one row of `stat` at the end.
 * Store thread. */
#include "store/sqlite_impl.h"

#include "base/error.h"
#include "base/str.h"
#include "store/rules.h"

#include <stdlib.h>

int rbk_sqlite_find(rbk_store *st, int64_t seq, rbk_sqlite_row *f)
{
    *f = (rbk_sqlite_row){0};
    for (int shelf = RBK_SHELF_JOB; shelf <= RBK_SHELF_DONE; shelf++) {
        sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_FIND, shelf);
        sqlite3_bind_int64(s, 1, seq);
        int rc = sqlite3_step(s);
        if (rc == SQLITE_ROW)
            *f = (rbk_sqlite_row){
                .row = {.found = true,
                        .has_lane = sqlite3_column_int(s, 5) != 0,
                        .ordered = (sqlite3_column_int(s, 4) & RBK_SQLITE_HAS_TURN) != 0,
                        .state = (uint8_t)sqlite3_column_int(s, 1),
                        .shelf = shelf,
                        .rnd = sqlite3_column_int64(s, 0),
                        .first_attempt = sqlite3_column_int64(s, 6)},
                .size = sqlite3_column_int64(s, 2),
                .rsize = sqlite3_column_int64(s, 3),
                .big = sqlite3_column_int(s, 4)};
        rbk_str caller = RBK_STR_NONE;
        bool read = rc != SQLITE_ROW || rbk_sqlite_read_str(s, 7, &caller);
        int found = read ? rbk_sqlite_find_caller(st, caller, &f->caller) : SQLITE_NOMEM;
        int reset = sqlite3_reset(s);
        if (rc == SQLITE_ROW)
            return found;
        if (rc != SQLITE_DONE)
            return reset ? reset : rc;
    }
    return SQLITE_OK;
}

/* --- Bodies that lie apart ---------------------------------------------------------- */

static bool is_big(rbk_str body)
{
    return body.n > RBK_SQLITE_BODY_INLINE;
}

int rbk_sqlite_put_blob(rbk_store *st, int64_t id, rbk_str body)
{
    sqlite3_stmt *s = st->sql[RBK_Q_BLOB_PUT];
    sqlite3_bind_int64(s, 1, id);
    rbk_sqlite_bind_str(s, 2, body);
    return rbk_sqlite_run(s);
}

int rbk_sqlite_delete_blob(rbk_store *st, int64_t id)
{
    sqlite3_bind_int64(st->sql[RBK_Q_BLOB_DELETE], 1, id);
    return rbk_sqlite_run(st->sql[RBK_Q_BLOB_DELETE]);
}

/* --- Each kind ----------------------------------------------------------------------- */

static int write_put(rbk_store *st, const rbk_store_op *op, rbk_store_stats *t)
{
    const rbk_job *job = op->job;
    int big = (is_big(job->params) ? RBK_SQLITE_BIG_PARAMS : 0) |
              (is_big(job->response) ? RBK_SQLITE_BIG_RESPONSE : 0) |
              (op->key.p ? RBK_SQLITE_HAS_TURN : 0);
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_INSERT, rbk_store_target(op, RBK_SHELF_JOB));
    rbk_sqlite_bind_job(s, job, big);
    int rc = rbk_sqlite_run(s);
    if (rc == SQLITE_OK && (big & RBK_SQLITE_BIG_PARAMS))
        rc = rbk_sqlite_put_blob(st, 2 * job->seq, job->params);
    if (rc == SQLITE_OK && (big & RBK_SQLITE_BIG_RESPONSE))
        rc = rbk_sqlite_put_blob(st, 2 * job->seq + 1, job->response);
    t->pending++;
    ++*rbk_store_counter(t, job->state);
    t->pending_bytes += rbk_store_request_bytes(job) + (int64_t)job->response.n;
    if (job->seq > t->max_seq)
        t->max_seq = job->seq;
    return rc;
}

/* The callback is another one, of another length. */
static int write_divert(rbk_store *st, const rbk_job *job, const rbk_sqlite_row *f, int shelf,
                        rbk_store_stats *t)
{
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_DIVERT, shelf);
    sqlite3_bind_int64(s, 1, job->seq);
    rbk_sqlite_bind_str(s, 2, job->callback);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        t->pending_bytes += sqlite3_column_int64(s, 0) - f->size;
        rc = sqlite3_step(s);
    }
    int reset = sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : reset ? reset : rc;
}

static int write_result(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f, int shelf,
                        rbk_store_stats *t)
{
    const rbk_job *job = op->job;
    int big = f->big & ~RBK_SQLITE_BIG_RESPONSE;
    int rc = SQLITE_OK;
    if (is_big(job->response)) {
        big |= RBK_SQLITE_BIG_RESPONSE;
        rc = rbk_sqlite_put_blob(st, 2 * job->seq + 1, job->response);
    } else if (f->big & RBK_SQLITE_BIG_RESPONSE) {
        rc = rbk_sqlite_delete_blob(st, 2 * job->seq + 1);
    }
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_RESULT, shelf);
    sqlite3_bind_int64(s, 1, job->seq);
    sqlite3_bind_int(s, 2, job->state);
    rbk_sqlite_bind_str(s, 3, big & RBK_SQLITE_BIG_RESPONSE ? RBK_STR_NONE : job->response);
    sqlite3_bind_int64(s, 4, (int64_t)job->response.n);
    sqlite3_bind_int(s, 5, big);
    rbk_sqlite_bind_str(s, 6, job->lane);
    sqlite3_bind_int64(s, 7, job->due);
    sqlite3_bind_int64(s, 8, job->first_attempt);
    t->pending_bytes += (int64_t)job->response.n - f->rsize;
    --*rbk_store_counter(t, f->row.state);
    ++*rbk_store_counter(t, job->state);
    rc = rbk_sqlite_run(s);
    return rc == SQLITE_OK && op->divert ? write_divert(st, job, f, shelf, t) : rc;
}

static int write_retry(rbk_store *st, const rbk_store_op *op, int shelf)
{
    const rbk_job *job = op->job;
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_RETRY, shelf);
    sqlite3_bind_int64(s, 1, job->seq);
    sqlite3_bind_int64(s, 2, job->attempts);
    sqlite3_bind_int(s, 3, job->last_status);
    rbk_sqlite_bind_str(s, 4, job->reason);
    sqlite3_bind_int64(s, 5, job->first_attempt);
    sqlite3_bind_int64(s, 6, job->due);
    sqlite3_bind_int(s, 7, op->note.number ? RBK_SQLITE_HAS_NOTES : 0);
    int rc = rbk_sqlite_run(s);
    return rc == SQLITE_OK ? rbk_sqlite_write_note(st, job->seq, &op->note) : rc;
}

static int write_park(rbk_store *st, const rbk_job *job, int shelf)
{
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_PARK, shelf);
    sqlite3_bind_int64(s, 1, job->seq);
    rbk_sqlite_bind_str(s, 2, job->lane);
    sqlite3_bind_int64(s, 3, job->due);
    return rbk_sqlite_run(s);
}

static int write_runs(rbk_store *st, const rbk_job *job, int shelf)
{
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_RUNS, shelf);
    sqlite3_bind_int64(s, 1, job->seq);
    sqlite3_bind_int64(s, 2, job->runs);
    return rbk_sqlite_run(s);
}

static int write_state(rbk_store *st, const rbk_job *job, uint8_t before, int shelf,
                       rbk_store_stats *t)
{
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_STATE, shelf);
    sqlite3_bind_int64(s, 1, job->seq);
    sqlite3_bind_int(s, 2, job->state);
    --*rbk_store_counter(t, before);
    ++*rbk_store_counter(t, job->state);
    return rbk_sqlite_run(s);
}

int rbk_sqlite_delete_row(rbk_store *st, int64_t seq, int shelf)
{
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_DELETE, shelf);
    sqlite3_bind_int64(s, 1, seq);
    return rbk_sqlite_run(s);
}

static int move_row(rbk_store *st, int64_t seq, int from)
{
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_MOVE, from);
    sqlite3_bind_int64(s, 1, seq);
    int rc = rbk_sqlite_run(s);
    return rc == SQLITE_OK ? rbk_sqlite_delete_row(st, seq, from) : rc;
}

/* RESULT, RETRY, PARK, STATE and RUNS. A row that moves is changed on the job shelf, which has
 * no index to keep. */
static int write_change(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                        rbk_store_stats *t)
{
    int from = f->row.shelf, to = rbk_store_target(op, from), at = from, rc = SQLITE_OK;
    if (from == RBK_SHELF_WAIT && to == RBK_SHELF_JOB) {
        rc = move_row(st, op->job->seq, from);
        at = to;
    }
    if (rc != SQLITE_OK)
        return rc;
    if (op->kind == RBK_OP_RESULT)
        rc = write_result(st, op, f, at, t);
    else if (op->kind == RBK_OP_RETRY)
        rc = write_retry(st, op, at);
    else if (op->kind == RBK_OP_PARK)
        rc = write_park(st, op->job, at);
    else if (op->kind == RBK_OP_STATE)
        rc = write_state(st, op->job, f->row.state, at, t);
    else
        rc = write_runs(st, op->job, at);
    if (rc == SQLITE_OK && from == RBK_SHELF_JOB && to == RBK_SHELF_WAIT)
        rc = move_row(st, op->job->seq, from);
    return rc;
}

static int write_kind(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                      rbk_store_stats *t)
{
    switch (op->kind) {
    case RBK_OP_PUT:
        return write_put(st, op, t);
    case RBK_OP_DONE:
    case RBK_OP_DEAD:
    case RBK_OP_PURGE:
        return rbk_sqlite_write_end(st, op, f, t);
    case RBK_OP_REDRIVE:
        return rbk_sqlite_write_redrive(st, op, f, t);
    default:
        return write_change(st, op, f, t);
    }
}

static int write_op(rbk_store *st, rbk_store_op *op, const rbk_sqlite_row *f, rbk_store_stats *t)
{
    rbk_store_op blocked;
    rbk_job job;
    rbk_sqlite_turn turn;
    int rc = op->kind == RBK_OP_PUT && op->idem ? rbk_sqlite_take_key(st, op) : SQLITE_OK;
    if (rc != SQLITE_OK || op->outcome != RBK_OUTCOME_OK)
        return rc;
    rc = rbk_sqlite_take_turn(st, op, f, &turn);
    if (rc == SQLITE_OK && turn.blocked) {
        op->outcome = RBK_OUTCOME_BLOCKED;
        if (op->kind == RBK_OP_PARK && f->row.shelf == RBK_SHELF_WAIT)
            return SQLITE_OK;
        rbk_store_block(op, (rbk_str){turn.key.text, turn.key.n}, &blocked, &job);
        rc = write_kind(st, &blocked, f, t);
    } else if (rc == SQLITE_OK) {
        rc = write_kind(st, op, f, t);
    }
    if (rc == SQLITE_OK)
        rc = rbk_sqlite_pass_turn(st, op, f, t);
    return rc == SQLITE_OK ? rbk_sqlite_feed(st, op, f, t) : rc;
}

/* The caller of whatever the operation changes in numbers. */
static int count_change(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                        const rbk_store_stats *before, const rbk_store_stats *t)
{
    int64_t jobs = t->pending - before->pending, bytes = t->pending_bytes - before->pending_bytes;
    rbk_sqlite_caller *c = f->caller;
    if (jobs == 0 && bytes == 0)
        return SQLITE_OK;
    int rc = f->row.found ? SQLITE_OK : rbk_sqlite_find_caller(st, op->job->caller, &c);
    if (rc == SQLITE_OK)
        rbk_sqlite_count_caller(st, c, jobs, bytes);
    return rc;
}

/* Does the stored job show that the operation was done before? */
static int compare(rbk_store *st, const rbk_store_op *op, int shelf, bool *ret_same)
{
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_LOAD, shelf);
    sqlite3_bind_int64(s, 1, op->job->seq);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        rbk_job *stored = rbk_sqlite_load(s);
        rc = stored ? SQLITE_OK : SQLITE_NOMEM;
        *ret_same = stored && rbk_store_shows(op, stored);
        rbk_job_free(stored);
    }
    int reset = sqlite3_reset(s);
    return rc == SQLITE_OK ? SQLITE_OK : reset ? reset : rc;
}

static int apply_op(rbk_store *st, rbk_store_op *op, rbk_store_stats *t)
{
    rbk_sqlite_row f = {0};
    const rbk_store_stats before = *t;
    bool same = false;
    int rc = SQLITE_OK;
    if (op->kind != RBK_OP_PUT || op->job->seq <= t->max_seq)
        rc = rbk_sqlite_find(st, op->job->seq, &f);
    if (rc != SQLITE_OK)
        return rc;
    op->outcome = RBK_OUTCOME_OK;
    switch (rbk_store_judge(op, &f.row)) {
    case RBK_VERDICT_WRITE:
        rc = write_op(st, op, &f, t);
        return rc == SQLITE_OK ? count_change(st, op, &f, &before, t) : rc;
    case RBK_VERDICT_DONE:
        op->outcome = rbk_store_done_before(op, &f.row);
        break;
    case RBK_VERDICT_STALE:
        op->outcome = RBK_OUTCOME_STALE;
        break;
    case RBK_VERDICT_TOO_BIG:
        op->outcome = RBK_OUTCOME_TOO_BIG;
        break;
    case RBK_VERDICT_IN_MEMORY:
        op->outcome = RBK_OUTCOME_IN_MEMORY;
        break;
    case RBK_VERDICT_COMPARE:
        rc = compare(st, op, f.row.shelf, &same);
        op->outcome = same ? rbk_store_done_before(op, &f.row) : RBK_OUTCOME_STALE;
        break;
    }
    return rc;
}

int rbk_sqlite_write_tally(rbk_store *st, const rbk_store_stats *t)
{
    const rbk_store_stats nothing = {.max_seq = st->max_seq};
    if (memcmp(t, &nothing, sizeof nothing) == 0)
        return SQLITE_OK;
    const int64_t values[] = {t->pending, t->pending_bytes, t->held, t->queued, t->due,
                              t->dead,    t->done,          t->done_bytes, t->max_seq};
    sqlite3_stmt *s = st->sql[RBK_Q_STAT_ADD];
    for (int i = 0; i < (int)(sizeof values / sizeof values[0]); i++)
        sqlite3_bind_int64(s, i + 1, values[i]);
    return rbk_sqlite_run(s);
}

int rbk_sqlite_apply(rbk_store *st, rbk_store_op *ops, size_t n, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err);
    if (r < 0)
        return r;
    rbk_store_stats t = {.max_seq = st->max_seq};
    const char *what = "begin";
    int rc = rbk_sqlite_begin(st);
    for (size_t i = 0; rc == SQLITE_OK && i < n; i++) {
        what = "write";
        rc = apply_op(st, &ops[i], &t);
    }
    if (rc == SQLITE_OK)
        rc = rbk_sqlite_write_tally(st, &t);
    if (rc == SQLITE_OK)
        rc = rbk_sqlite_write_callers(st);
    if (rc == SQLITE_OK) {
        what = "commit";
        rc = rbk_sqlite_run(st->sql[RBK_Q_COMMIT]);
    }
    rbk_sqlite_end_callers(st, rc == SQLITE_OK);
    if (rc != SQLITE_OK) {
        r = rbk_sqlite_fail(st, st->db, rc, what, err);
        rbk_sqlite_rollback(st);
        return r;
    }
    st->max_seq = t.max_seq;
    return 0;
}
