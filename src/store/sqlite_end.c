/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_end.c - the end of a job, and what comes after it: the dead and done shelves,
 * the way back from them, and the sweep.
 *
 * Bodies in the table blob and notes in the table attempt stay where they are while a row
 * moves from shelf to shelf; they go when it goes for good, and `big` says whether there are
 * any. Both shelves have an index on `ended`, so what ended first is one seek away however
 * many there are; the sweep takes it row by row. Store thread. */
#include "store/sqlite_impl.h"

#include "base/error.h"
#include "base/str.h"
#include "core/job_state.h"

/* --- Notes of failed attempts ---------------------------------------------------------- */

static void bind_note(sqlite3_stmt *s, int64_t seq, const rbk_attempt_note *note)
{
    sqlite3_bind_int64(s, 1, seq);
    sqlite3_bind_int64(s, 2, note->number);
    sqlite3_bind_int(s, 3, note->status);
    sqlite3_bind_int64(s, 4, note->at);
    sqlite3_bind_int64(s, 5, note->ms);
    rbk_sqlite_bind_str(s, 6, (rbk_str){note->reason, strnlen(note->reason, sizeof note->reason)});
    rbk_sqlite_bind_str(s, 7, (rbk_str){note->host, strnlen(note->host, sizeof note->host)});
}

int rbk_sqlite_write_note(rbk_store *st, int64_t seq, const rbk_attempt_note *note)
{
    sqlite3_stmt *put = st->sql[RBK_Q_NOTE], *trim = st->sql[RBK_Q_NOTES_TRIM];
    if (note->number == 0)
        return SQLITE_OK;
    bind_note(put, seq, note);
    int rc = rbk_sqlite_run(put);
    sqlite3_clear_bindings(put);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_bind_int64(trim, 1, seq);
    sqlite3_bind_int(trim, 2, RBK_ATTEMPTS_KEPT);
    return rbk_sqlite_run(trim);
}

/* --- Ends -------------------------------------------------------------------------------- */

static int run_for(rbk_store *st, enum rbk_sql q, int64_t key)
{
    sqlite3_bind_int64(st->sql[q], 1, key);
    return rbk_sqlite_run(st->sql[q]);
}

/* What belongs to a row that goes for good. */
static int delete_rest(rbk_store *st, int64_t seq, int big)
{
    int rc = SQLITE_OK;
    if (big & RBK_SQLITE_BIG_PARAMS)
        rc = run_for(st, RBK_Q_BLOB_DELETE, 2 * seq);
    if (rc == SQLITE_OK && (big & RBK_SQLITE_BIG_RESPONSE))
        rc = run_for(st, RBK_Q_BLOB_DELETE, 2 * seq + 1);
    if (rc == SQLITE_OK && (big & RBK_SQLITE_HAS_NOTES))
        rc = run_for(st, RBK_Q_NOTES_DELETE, seq);
    return rc;
}

static int write_dead(rbk_store *st, const rbk_store_op *op, int shelf)
{
    const rbk_job *job = op->job;
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_BURY, shelf);
    sqlite3_bind_int64(s, 1, job->seq);
    sqlite3_bind_int(s, 2, RBK_JOB_DEAD);
    sqlite3_bind_int64(s, 3, job->attempts);
    sqlite3_bind_int(s, 4, job->last_status);
    rbk_sqlite_bind_str(s, 5, job->reason);
    sqlite3_bind_int64(s, 6, op->now);
    sqlite3_bind_int(s, 7, op->note.number ? RBK_SQLITE_HAS_NOTES : 0);
    int rc = rbk_sqlite_run(s);
    return rc == SQLITE_OK ? rbk_sqlite_write_note(st, job->seq, &op->note) : rc;
}

static int write_kept(rbk_store *st, const rbk_store_op *op, int shelf)
{
    const rbk_job *job = op->job;
    sqlite3_stmt *s = rbk_sqlite_pick(st, RBK_Q_KEEP, shelf);
    sqlite3_bind_int64(s, 1, job->seq);
    sqlite3_bind_int(s, 2, job->state);
    sqlite3_bind_int64(s, 3, job->attempts);
    sqlite3_bind_int(s, 4, job->last_status);
    sqlite3_bind_int64(s, 5, op->now);
    return rbk_sqlite_run(s);
}

/* One row less on its shelf, or with `sign` 1 more. */
static void count(rbk_store_stats *t, int shelf, uint8_t state, int64_t bytes, int sign)
{
    if (shelf == RBK_SHELF_DEAD) {
        t->dead += sign;
    } else if (shelf == RBK_SHELF_DONE) {
        t->done += sign;
        t->done_bytes += sign * bytes;
    } else {
        t->pending += sign;
        t->pending_bytes += sign * bytes;
        *rbk_store_counter(t, state) += sign;
    }
}

int rbk_sqlite_write_end(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                         rbk_store_stats *t)
{
    int from = f->row.shelf, to = rbk_store_target(op, from), rc = SQLITE_OK;
    if (to == RBK_SHELF_DEAD)
        rc = write_dead(st, op, from);
    else if (to == RBK_SHELF_DONE)
        rc = write_kept(st, op, from);
    else if (f->big)
        rc = delete_rest(st, op->job->seq, f->big);
    count(t, from, f->row.state, f->size + f->rsize, -1);
    if (to != RBK_STORE_NOWHERE)
        count(t, to, op->job->state, f->size + f->rsize, 1);
    return rc == SQLITE_OK ? rbk_sqlite_delete_row(st, op->job->seq, from) : rc;
}

/* --- The way back -------------------------------------------------------------------------- */

/* Another callback is of another size: the new row tells. */
int rbk_sqlite_write_redrive(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                             rbk_store_stats *t)
{
    const rbk_job *job = op->job;
    int from = f->row.shelf;
    rbk_sqlite_row now = {0};
    sqlite3_stmt *s = st->sql[from == RBK_SHELF_DEAD ? RBK_Q_REDRIVE_DEAD : RBK_Q_REDRIVE_DONE];
    sqlite3_bind_int64(s, 1, job->seq);
    sqlite3_bind_int(s, 2, RBK_JOB_DUE);
    rbk_sqlite_bind_str(s, 3, job->lane);
    sqlite3_bind_int64(s, 4, job->due);
    sqlite3_bind_int64(s, 5, op->now);
    rbk_sqlite_bind_str(s, 6, job->callback);
    int rc = rbk_sqlite_run(s);
    if (rc == SQLITE_OK)
        rc = rbk_sqlite_delete_row(st, job->seq, from);
    if (rc == SQLITE_OK)
        rc = rbk_sqlite_find(st, job->seq, &now);
    count(t, from, f->row.state, f->size + f->rsize, -1);
    count(t, RBK_SHELF_WAIT, RBK_JOB_DUE, now.size + now.rsize, 1);
    return rc;
}

/* --- The sweep ------------------------------------------------------------------------------ */

enum { LOOK_AHEAD = 64 };

typedef struct old_row {
    int64_t seq, bytes;
    rbk_wall_ms ended;
    int big;
} old_row;

/* What ended first on a shelf, a few at a time. */
typedef struct oldest {
    old_row row[LOOK_AHEAD];
    int at, n;
    bool all; /* there are no others */
} oldest;

/* Look, unless there is a row in hand or none at all. */
static int look_at(rbk_store *st, enum rbk_sql q, oldest *o, int max)
{
    sqlite3_stmt *s = st->sql[q];
    int rc = SQLITE_ROW;
    if (o->at < o->n || o->all)
        return SQLITE_OK;
    o->at = o->n = 0;
    sqlite3_bind_int(s, 1, max);
    while (o->n < max && (rc = sqlite3_step(s)) == SQLITE_ROW)
        o->row[o->n++] = (old_row){.seq = sqlite3_column_int64(s, 0),
                                   .ended = sqlite3_column_int64(s, 1),
                                   .bytes = sqlite3_column_int64(s, 2),
                                   .big = sqlite3_column_int(s, 3)};
    o->all = rc == SQLITE_DONE && o->n == 0;
    int reset = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset ? reset : rc;
}

typedef struct sweep {
    const rbk_store_keep *keep;
    rbk_wall_ms now;
    oldest dead, done;
    int64_t done_bytes; /* at the beginning */
    rbk_store_stats tally;
} sweep;

static int look(rbk_store *st, sweep *w, int max)
{
    int rc = look_at(st, RBK_Q_OLDEST_DEAD, &w->dead, max);
    return rc == SQLITE_OK ? look_at(st, RBK_Q_OLDEST_DONE, &w->done, max) : rc;
}

/* The row that ended first there, if it may go. */
static const old_row *find_stale(const sweep *w, const oldest *o, rbk_shelf shelf)
{
    const old_row *r = o->at < o->n ? &o->row[o->at] : NULL;
    bool stale = r && rbk_store_is_stale(w->keep, shelf, r->ended, w->now,
                                         w->done_bytes + w->tally.done_bytes);
    return stale ? r : NULL;
}

/* *ret_more is false when nothing is left that may go. */
static int sweep_one(rbk_store *st, sweep *w, bool *ret_more)
{
    int rc = look(st, w, LOOK_AHEAD);
    if (rc != SQLITE_OK)
        return rc;
    const old_row *dead = find_stale(w, &w->dead, RBK_SHELF_DEAD);
    const old_row *done = find_stale(w, &w->done, RBK_SHELF_DONE);
    bool first = dead && (done == NULL || dead->ended <= done->ended);
    const old_row *r = first ? dead : done;
    rbk_shelf shelf = first ? RBK_SHELF_DEAD : RBK_SHELF_DONE;
    *ret_more = r != NULL;
    if (r == NULL)
        return SQLITE_OK;
    (first ? &w->dead : &w->done)->at++;
    count(&w->tally, shelf, 0, r->bytes, -1);
    rc = rbk_sqlite_delete_row(st, r->seq, shelf);
    return rc == SQLITE_OK ? delete_rest(st, r->seq, r->big) : rc;
}

static int sweep_some(rbk_store *st, sweep *w, size_t max, int *ret_n)
{
    bool more = true;
    int rc = rbk_sqlite_begin(st);
    while (rc == SQLITE_OK && more && (size_t)*ret_n < max) {
        rc = sweep_one(st, w, &more);
        *ret_n += more;
    }
    if (rc == SQLITE_OK)
        rc = rbk_sqlite_sweep_keys(st, w->keep, w->now, (int)max, ret_n);
    if (rc == SQLITE_OK)
        rc = rbk_sqlite_write_tally(st, &w->tally);
    return rc == SQLITE_OK ? rbk_sqlite_run(st->sql[RBK_Q_COMMIT]) : rc;
}

/* Most calls find nothing: they cost three looks, and write nothing. */
static int has_work(rbk_store *st, sweep *w, rbk_error *err)
{
    rbk_store_stats stats = {0};
    bool keys = false;
    int r = rbk_sqlite_stats(st, &stats, err);
    if (r < 0)
        return r;
    w->done_bytes = stats.done_bytes;
    int rc = look(st, w, 1);
    if (rc == SQLITE_OK)
        rc = rbk_sqlite_keys_due(st, w->now, &keys);
    if (rc != SQLITE_OK)
        return rbk_sqlite_fail(st, st->db, rc, "sweep", err);
    return keys || find_stale(w, &w->dead, RBK_SHELF_DEAD) || find_stale(w, &w->done, RBK_SHELF_DONE);
}

/* When a power cut undoes it, what was removed is there to be removed again: no sync. */
int rbk_sqlite_sweep(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now, size_t max,
                     rbk_error *err)
{
    sweep w = {.keep = keep, .now = now, .tally = {.max_seq = st->max_seq}};
    int n = 0, r = has_work(st, &w, err);
    if (r <= 0)
        return r;
    r = 0;
    int rc = rbk_sqlite_sync(st, false);
    if (rc == SQLITE_OK)
        rc = sweep_some(st, &w, max < INT32_MAX ? max : INT32_MAX, &n);
    if (rc != SQLITE_OK) {
        r = rbk_sqlite_fail(st, st->db, rc, "sweep", err);
        rbk_sqlite_rollback(st);
    }
    if (rbk_sqlite_sync(st, true) != SQLITE_OK) {
        atomic_store(&st->broken, true);
        r = rbk_fail(err, RBK_E_IO, "%s: synchronous mode not restored", st->path);
    }
    return r < 0 ? r : n;
}
