/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_claim.c - what the store thread reads, and the claim.
 *
 * A claim moves rows from wait to job. When a power cut undoes it the rows are back on
 * the wait shelf, which is harmless; so it commits without a sync. The next apply()
 * syncs the WAL, and with it what the claim wrote before. Store thread. */
#include "store/sqlite_impl.h"

#include "base/error.h"
#include "base/str.h"
#include "store/rules.h"

#include <stdlib.h>

enum { CLAIM_MAX = 1024 };

/* The rows that `s`, bound, answers. */
static int find_seqs(sqlite3_stmt *s, size_t max, int64_t *ret_seqs, size_t *ret_n)
{
    size_t n = 0;
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && n < max)
        ret_seqs[n++] = sqlite3_column_int64(s, 0);
    int reset = sqlite3_reset(s);
    *ret_n = n;
    return rc == SQLITE_DONE ? SQLITE_OK : reset;
}

/* The time that `s`, bound, answers. Without it it is enough to say "now": the caller will
 * ask again. */
static rbk_wall_ms next_time(sqlite3_stmt *s, rbk_wall_ms now)
{
    int rc = sqlite3_step(s);
    rbk_wall_ms next = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : INT64_MAX;
    sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? next : now;
}

/* Load one row of the wait shelf and move it. *ret_job is NULL when it is gone. */
static int take_row(rbk_store *st, int64_t seq, rbk_job **ret_job)
{
    sqlite3_stmt *s = st->sql[RBK_Q_LOAD_WAIT];
    rbk_job *job = NULL;
    sqlite3_bind_int64(s, 1, seq);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW && (job = rbk_sqlite_load(s)) == NULL)
        rc = SQLITE_NOMEM;
    int reset = sqlite3_reset(s);
    *ret_job = job;
    if (job == NULL)
        return rc == SQLITE_DONE ? SQLITE_OK : reset ? reset : rc;
    sqlite3_bind_int64(st->sql[RBK_Q_MOVE_WAIT], 1, seq);
    rc = rbk_sqlite_run(st->sql[RBK_Q_MOVE_WAIT]);
    if (rc != SQLITE_OK)
        return rc;
    sqlite3_bind_int64(st->sql[RBK_Q_DELETE_WAIT], 1, seq);
    return rbk_sqlite_run(st->sql[RBK_Q_DELETE_WAIT]);
}

static int take_rows(rbk_store *st, const int64_t *seqs, size_t n, rbk_job **ret_jobs, int *ret_n)
{
    rbk_job **tail = ret_jobs;
    int rc = rbk_sqlite_begin(st);
    for (size_t i = 0; rc == SQLITE_OK && i < n; i++) {
        rbk_job *job = NULL;
        rc = take_row(st, seqs[i], &job);
        *tail = job;
        if (job) {
            tail = &job->next;
            ++*ret_n;
        }
    }
    return rc == SQLITE_OK ? rbk_sqlite_run(st->sql[RBK_Q_COMMIT]) : rc;
}

/* The order matters: what can fail after the commit must not, or the jobs would stand
 * on the job shelf with nobody to know; so a failure there breaks the handle. */
static int claim_rows(rbk_store *st, const int64_t *seqs, size_t n, rbk_job **ret_jobs, int *ret_n,
                      rbk_error *err)
{
    int rc = rbk_sqlite_sync(st, false), r = 0;
    if (rc == SQLITE_OK)
        rc = take_rows(st, seqs, n, ret_jobs, ret_n);
    if (rc != SQLITE_OK) {
        r = rbk_sqlite_fail(st, st->db, rc, "claim", err);
        rbk_sqlite_rollback(st);
    }
    if (rbk_sqlite_sync(st, true) != SQLITE_OK) {
        atomic_store(&st->broken, true);
        r = rbk_fail(err, RBK_E_IO, "%s: synchronous mode not restored", st->path);
    }
    return r;
}

/* What `find`, bound, answers moves; then `next`, bound, says when more is to be had. */
static int claim_found(rbk_store *st, sqlite3_stmt *find, sqlite3_stmt *next, rbk_wall_ms now,
                       size_t max, rbk_job **ret_jobs, rbk_wall_ms *ret_next, rbk_error *err)
{
    int64_t seqs[CLAIM_MAX];
    size_t n = 0;
    rbk_job *jobs = NULL;
    int r = 0, got = 0, rc = find_seqs(find, max, seqs, &n);
    if (rc != SQLITE_OK)
        return rbk_sqlite_fail(st, st->db, rc, "claim", err);
    if (n)
        r = claim_rows(st, seqs, n, &jobs, &got, err);
    if (r < 0) {
        rbk_sqlite_free_chain(jobs);
        return r;
    }
    *ret_next = next_time(next, now);
    *ret_jobs = jobs;
    return got;
}

int rbk_sqlite_claim(rbk_store *st, rbk_str lane, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                     rbk_wall_ms *ret_next, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err);
    if (r < 0)
        return r;
    sqlite3_stmt *find = st->sql[RBK_Q_CLAIM], *next = st->sql[RBK_Q_NEXT_DUE];
    max = max < CLAIM_MAX ? max : CLAIM_MAX;
    rbk_sqlite_bind_str(find, 1, lane);
    sqlite3_bind_int64(find, 2, now);
    sqlite3_bind_int64(find, 3, (int64_t)max);
    rbk_sqlite_bind_str(next, 1, lane);
    return claim_found(st, find, next, now, max, ret_jobs, ret_next, err);
}

int rbk_sqlite_expired(rbk_store *st, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                       rbk_wall_ms *ret_next, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err);
    if (r < 0)
        return r;
    sqlite3_stmt *find = st->sql[RBK_Q_EXPIRED];
    max = max < CLAIM_MAX ? max : CLAIM_MAX;
    sqlite3_bind_int64(find, 1, now);
    sqlite3_bind_int64(find, 2, (int64_t)max);
    return claim_found(st, find, st->sql[RBK_Q_NEXT_DEADLINE], now, max, ret_jobs, ret_next, err);
}

/* One row of the lane; `tail` is where the next old one goes. An SQLite result. */
static int look_at_age(sqlite3_stmt *s, rbk_aged *a, rbk_job ***tail)
{
    rbk_job job = {.seq = sqlite3_column_int64(s, 1),
                   .rnd = sqlite3_column_int64(s, 2),
                   .state = (uint8_t)sqlite3_column_int(s, 3),
                   .attempts = (uint32_t)sqlite3_column_int64(s, 4),
                   .last_status = sqlite3_column_int(s, 5),
                   .first_attempt = sqlite3_column_int64(s, 6)};
    a->at_due = sqlite3_column_int64(s, 0);
    a->at_seq = job.seq;
    if (!rbk_store_is_old(&job, a->before)) {
        if (job.first_attempt && job.first_attempt < a->oldest)
            a->oldest = job.first_attempt;
        return SQLITE_OK;
    }
    if (!rbk_sqlite_read_str(s, 7, &job.reason) || (**tail = rbk_job_copy(&job)) == NULL)
        return SQLITE_NOMEM;
    *tail = &(**tail)->next;
    return SQLITE_OK;
}

int rbk_sqlite_aged(rbk_store *st, rbk_aged *a, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err), rc = SQLITE_OK, n = 0;
    if (r < 0)
        return r;
    sqlite3_stmt *s = st->sql[RBK_Q_AGED];
    rbk_aged found = *a;
    rbk_job **tail = &found.jobs;
    found.jobs = NULL;
    found.oldest = INT64_MAX;
    rbk_sqlite_bind_str(s, 1, a->lane);
    sqlite3_bind_int64(s, 2, a->at_due);
    sqlite3_bind_int64(s, 3, a->at_seq);
    sqlite3_bind_int64(s, 4, (int64_t)(a->look < INT32_MAX ? a->look : INT32_MAX));
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        rc = look_at_age(s, &found, &tail);
        n++;
    }
    int reset = sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    if (rc != SQLITE_DONE) {
        rbk_sqlite_free_chain(found.jobs);
        return rbk_sqlite_fail(st, st->db, reset ? reset : rc, "aged", err);
    }
    *a = found;
    return n;
}

/* One seek a lane, however many jobs wait in it. */
int rbk_sqlite_lanes(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err);
    if (r < 0)
        return r;
    sqlite3_stmt *s = st->sql[RBK_Q_NEXT_LANE];
    rbk_str from = after.p ? after : RBK_STR("");
    size_t n = 0;
    int rc = SQLITE_ROW;
    while (n < max && rc == SQLITE_ROW) {
        rbk_sqlite_bind_str(s, 1, from);
        rc = sqlite3_step(s);
        const char *lane = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
        if (lane) {
            size_t len = (size_t)sqlite3_column_bytes(s, 0);
            len = len > RBK_LANE_MAX ? RBK_LANE_MAX : len;
            memcpy(ret[n].lane, lane, len);
            ret[n].lane[len] = 0;
            ret[n].due = sqlite3_column_int64(s, 1);
            from = (rbk_str){ret[n].lane, len};
            n++;
        } else if (rc == SQLITE_ROW) {
            rc = SQLITE_NOMEM;
        }
        int reset = sqlite3_reset(s);
        rc = rc == SQLITE_ROW || rc == SQLITE_DONE || reset == SQLITE_OK ? rc : reset;
    }
    sqlite3_clear_bindings(s);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return rbk_sqlite_fail(st, st->db, rc, "lanes", err);
    return (int)n;
}

int rbk_sqlite_recover(rbk_store *st, int64_t after, size_t max, rbk_job **ret_jobs, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err), rc, n = 0;
    if (r < 0)
        return r;
    sqlite3_stmt *s = st->sql[RBK_Q_RECOVER];
    rbk_job *jobs = NULL, **tail = &jobs;
    sqlite3_bind_int64(s, 1, after);
    sqlite3_bind_int64(s, 2, (int64_t)(max < INT32_MAX ? max : INT32_MAX));
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        if ((*tail = rbk_sqlite_load(s)) == NULL) {
            rc = SQLITE_NOMEM;
            break;
        }
        tail = &(*tail)->next;
        n++;
    }
    int reset = sqlite3_reset(s);
    if (rc != SQLITE_DONE) {
        rbk_sqlite_free_chain(jobs);
        return rbk_sqlite_fail(st, st->db, reset ? reset : rc, "recover", err);
    }
    *ret_jobs = jobs;
    return n;
}

int rbk_sqlite_stats(rbk_store *st, rbk_store_stats *ret, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err);
    if (r < 0)
        return r;
    sqlite3_stmt *s = st->sql[RBK_Q_STAT];
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *ret = (rbk_store_stats){.pending = sqlite3_column_int64(s, 0),
                                 .pending_bytes = sqlite3_column_int64(s, 1),
                                 .held = sqlite3_column_int64(s, 2),
                                 .queued = sqlite3_column_int64(s, 3),
                                 .due = sqlite3_column_int64(s, 4),
                                 .dead = sqlite3_column_int64(s, 5),
                                 .done = sqlite3_column_int64(s, 6),
                                 .done_bytes = sqlite3_column_int64(s, 7),
                                 .max_seq = sqlite3_column_int64(s, 8)};
    int reset = sqlite3_reset(s);
    if (rc == SQLITE_ROW)
        return 0;
    return rbk_sqlite_fail(st, st->db, reset ? reset : SQLITE_CORRUPT, "stats", err);
}
