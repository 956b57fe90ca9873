/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_turn.c - the table of turns: the order among jobs of one key, kept in the transactions
 * that move them.
 *
 * A job with an order key has a row from its PUT to its end: its key, whether it has its result
 * (`ran`), and, while it is blocked, the lane that it goes to when it is released. So whoever is next
 * is one seek away however many wait, and a job without a key costs nothing. Store thread. */
#include "store/sqlite_impl.h"

#include "base/str.h"
#include "core/job_state.h"

static int end_read(sqlite3_stmt *s, int rc)
{
    int reset = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset ? reset : rc;
}

/* *ret is false when there is no text, or more than a lane may have. */
static bool copy_lane(sqlite3_stmt *s, int i, rbk_sqlite_lane *ret)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    size_t n = text ? (size_t)sqlite3_column_bytes(s, i) : 0;
    if (text == NULL || n > RBK_LANE_MAX)
        return false;
    memcpy(ret->text, text, n);
    ret->n = n;
    return true;
}

static rbk_str view(const rbk_sqlite_lane *l)
{
    return (rbk_str){l->text, l->n};
}

/* The first of the key that has not run yet, or has; `seq` 0: there is none. */
typedef struct first {
    int64_t seq;
    bool blocked;
    rbk_sqlite_lane lane;
} first;

static int find_first(rbk_store *st, enum rbk_sql q, rbk_str key, first *ret)
{
    sqlite3_stmt *s = st->sql[q];
    *ret = (first){0};
    rbk_sqlite_bind_str(s, 1, key);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        ret->seq = sqlite3_column_int64(s, 0);
        ret->blocked = copy_lane(s, 1, &ret->lane);
    }
    rc = end_read(s, rc);
    sqlite3_clear_bindings(s);
    return rc;
}

/* *ret_found is false when the job has no place in any order. */
static int find_turn(rbk_store *st, int64_t seq, rbk_sqlite_lane *ret_key, bool *ret_blocked,
                     bool *ret_found)
{
    sqlite3_stmt *s = st->sql[RBK_Q_TURN];
    rbk_sqlite_lane lane;
    sqlite3_bind_int64(s, 1, seq);
    int rc = sqlite3_step(s);
    *ret_found = rc == SQLITE_ROW && copy_lane(s, 0, ret_key);
    *ret_blocked = *ret_found && copy_lane(s, 1, &lane);
    return end_read(s, rc);
}

static int put_turn(rbk_store *st, const rbk_store_op *op, rbk_str key, bool blocked)
{
    sqlite3_stmt *s = st->sql[RBK_Q_TURN_PUT];
    sqlite3_bind_int64(s, 1, op->job->seq);
    rbk_sqlite_bind_str(s, 2, key);
    sqlite3_bind_int(s, 3, op->kind == RBK_OP_RESULT);
    rbk_sqlite_bind_str(s, 4, blocked ? op->job->lane : RBK_STR_NONE);
    int rc = rbk_sqlite_run(s);
    sqlite3_clear_bindings(s);
    return rc;
}

/* --- Before ------------------------------------------------------------------------------- */

static int take_put(rbk_store *st, const rbk_store_op *op, rbk_sqlite_turn *ret)
{
    first run;
    if (op->key.p == NULL)
        return SQLITE_OK;
    int rc = find_first(st, RBK_Q_TURN_TO_RUN, op->key, &run);
    if (rc != SQLITE_OK)
        return rc;
    ret->has = true;
    ret->blocked = run.seq != 0;
    memcpy(ret->key.text, op->key.p, op->key.n);
    ret->key.n = op->key.n;
    return put_turn(st, op, op->key, ret->blocked);
}

static int take_result(rbk_store *st, const rbk_store_op *op, rbk_sqlite_turn *ret)
{
    first run, sent = {0};
    bool was_blocked;
    int64_t seq = op->job->seq;
    int rc = find_turn(st, seq, &ret->key, &was_blocked, &ret->has);
    if (rc != SQLITE_OK || !ret->has)
        return rc;
    rc = find_first(st, RBK_Q_TURN_TO_RUN, view(&ret->key), &run);
    if (rc == SQLITE_OK)
        rc = find_first(st, RBK_Q_TURN_TO_SEND, view(&ret->key), &sent);
    ret->blocked = (run.seq && run.seq < seq) || (sent.seq && sent.seq < seq);
    ret->blocked = ret->blocked && op->job->lane.p;
    return rc == SQLITE_OK ? put_turn(st, op, view(&ret->key), ret->blocked) : rc;
}

int rbk_sqlite_take_turn(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                         rbk_sqlite_turn *ret)
{
    ret->has = ret->blocked = false;
    if (op->kind == RBK_OP_PUT)
        return take_put(st, op, ret);
    if (!(f->big & RBK_SQLITE_HAS_TURN))
        return SQLITE_OK;
    if (op->kind == RBK_OP_RESULT)
        return take_result(st, op, ret);
    return op->kind == RBK_OP_PARK
               ? find_turn(st, op->job->seq, &ret->key, &ret->blocked, &ret->has)
               : SQLITE_OK;
}

/* --- Behind ------------------------------------------------------------------------------- */

/* A row of the wait shelf goes to its lane; `value` is what is new besides. One that was taken from
 * there, for its deadline, has its result soon, which finds its own way. */
static int release(rbk_store *st, enum rbk_sql q, const first *next, int64_t value, bool *ret_done)
{
    sqlite3_stmt *s = st->sql[q];
    sqlite3_bind_int64(s, 1, next->seq);
    rbk_sqlite_bind_str(s, 2, view(&next->lane));
    sqlite3_bind_int64(s, 3, value);
    int rc = rbk_sqlite_run(s);
    sqlite3_clear_bindings(s);
    *ret_done = rc == SQLITE_OK && sqlite3_changes(st->db) == 1;
    if (!*ret_done)
        return rc;
    sqlite3_bind_int64(st->sql[RBK_Q_TURN_GO], 1, next->seq);
    rc = rbk_sqlite_run(st->sql[RBK_Q_TURN_GO]);
    if (rc == SQLITE_OK && st->released)
        st->released(st->user, view(&next->lane));
    return rc;
}

static int release_next(rbk_store *st, rbk_str key, rbk_wall_ms now, rbk_store_stats *t)
{
    first run, sent = {0};
    bool done = false;
    rbk_job_state queued = RBK_JOB_QUEUED;
    int rc = find_first(st, RBK_Q_TURN_TO_RUN, key, &run);
    if (rc == SQLITE_OK)
        rc = find_first(st, RBK_Q_TURN_TO_SEND, key, &sent);
    if (rc == SQLITE_OK && run.blocked && rbk_job_next(RBK_JOB_HELD, RBK_EV_RELEASE, &queued) == 0) {
        rc = release(st, RBK_Q_RELEASE_RUN, &run, queued, &done);
        *rbk_store_counter(t, RBK_JOB_HELD) -= done;
        *rbk_store_counter(t, (uint8_t)queued) += done;
    }
    bool first_of_all = sent.seq && (run.seq == 0 || sent.seq < run.seq);
    if (rc == SQLITE_OK && first_of_all && sent.blocked)
        rc = release(st, RBK_Q_RELEASE_SEND, &sent, now, &done);
    return rc;
}

int rbk_sqlite_pass_turn(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                         rbk_store_stats *t)
{
    rbk_sqlite_lane key;
    bool blocked, found = false;
    bool ends = op->kind == RBK_OP_DONE || op->kind == RBK_OP_DEAD, parks = op->kind == RBK_OP_PARK;
    if (!(f->big & RBK_SQLITE_HAS_TURN) || (op->kind != RBK_OP_RESULT && !parks && !ends))
        return SQLITE_OK;
    int rc = find_turn(st, op->job->seq, &key, &blocked, &found);
    if (rc != SQLITE_OK || !found || (parks && !blocked))
        return rc;
    if (ends) {
        sqlite3_bind_int64(st->sql[RBK_Q_TURN_DELETE], 1, op->job->seq);
        rc = rbk_sqlite_run(st->sql[RBK_Q_TURN_DELETE]);
    }
    return rc == SQLITE_OK ? release_next(st, view(&key), op->now, t) : rc;
}
