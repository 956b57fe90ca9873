/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_read.c - get(), list() and attempts(), beside the store thread.
 *
 * They have a read-only connection of their own. A read transaction that lasts keeps
 * checkpoints from finishing, so none lasts longer than RBK_SQLITE_READ_MS and a row:
 * list() looks for seqs in short scans that each go on where the last one ended, and
 * then loads job by job. Time and bytes of a page are bounded: a page that reaches the bound
 * is short, and says where the next one begins. Reader thread. */
#include "store/sqlite_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "core/job_state.h"

#include <stdlib.h>

typedef struct job_key {
    int64_t seq, rnd;
} job_key;

/* 0 with *ret_job NULL when there is none. */
static int load_job(rbk_store *st, job_key key, rbk_job **ret_job, rbk_error *err)
{
    sqlite3_stmt *s = st->read[RBK_Q_GET];
    rbk_job *job = NULL;
    sqlite3_bind_int64(s, 1, key.seq);
    sqlite3_bind_int64(s, 2, key.rnd);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW && (job = rbk_sqlite_load(s)) == NULL)
        rc = SQLITE_NOMEM;
    int reset = sqlite3_reset(s);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return rbk_sqlite_fail(st, st->reader, reset ? reset : rc, "get", err);
    *ret_job = job;
    return 0;
}

int rbk_sqlite_get(rbk_store *st, int64_t seq, int64_t rnd, rbk_job **ret_job, rbk_error *err)
{
    rbk_job *job = NULL;
    int r = rbk_sqlite_broken(st, err);
    if (r == 0)
        r = load_job(st, (job_key){seq, rnd}, &job, err);
    if (r < 0)
        return r;
    if (job == NULL)
        return rbk_fail(err, RBK_E_NOTFOUND, "seq %lld", (long long)seq);
    *ret_job = job;
    return 0;
}

/* A few dead jobs are found at once beside millions of others. */
static enum rbk_sql_reader pick_scan(uint32_t states)
{
    const uint32_t dead = 1u << RBK_JOB_DEAD;
    const uint32_t done = 1u << RBK_JOB_DELIVERED | 1u << RBK_JOB_CANCELLED |
                          1u << RBK_JOB_COLLECTED;
    if (states == 0)
        return RBK_Q_SCAN;
    if ((states & (dead | done)) == 0)
        return RBK_Q_SCAN_PENDING;
    return (states & ~dead) == 0 ? RBK_Q_SCAN_DEAD
           : (states & ~done) == 0 ? RBK_Q_SCAN_DONE
                                   : RBK_Q_SCAN;
}

/* What RBK_SQL_SCAN gives, but texts that the filter does not ask for. */
static rbk_job read_head(sqlite3_stmt *s, const rbk_job_filter *f)
{
    rbk_job job = {.seq = sqlite3_column_int64(s, 0),
                   .rnd = sqlite3_column_int64(s, 1),
                   .state = (uint8_t)sqlite3_column_int(s, 2),
                   .created = sqlite3_column_int64(s, 3)};
    const struct {
        bool asked;
        rbk_str *text;
    } column[] = {{f->receiver.p != NULL, &job.lane},
                  {f->method.p != NULL, &job.method},
                  {f->rpc_id.p != NULL, &job.rpc_id},
                  {f->receiver.p != NULL, &job.callback},
                  {f->caller.p != NULL, &job.caller}};
    for (int i = 0; i < (int)(sizeof column / sizeof column[0]); i++)
        if (column[i].asked) {
            column[i].text->p = (const char *)sqlite3_column_text(s, 4 + i);
            column[i].text->n = (size_t)sqlite3_column_bytes(s, 4 + i);
        }
    return job;
}

typedef struct search {
    const rbk_job_filter *filter;
    int64_t after; /* the last seq that was looked at */
    size_t max, n;
    job_key *keys;
    bool ended; /* there is nothing more to look at */
} search;

/* One short scan. An SQLite result, SQLITE_OK when there is more to look at, or enough. */
static int scan_some(rbk_store *st, search *q)
{
    sqlite3_stmt *s = st->read[pick_scan(q->filter->states)];
    rbk_mono_ms end = rbk_mono_now() + RBK_SQLITE_READ_MS;
    int rc = SQLITE_ROW;
    sqlite3_bind_int64(s, 1, q->after);
    for (unsigned i = 0; q->n < q->max && (rc = sqlite3_step(s)) == SQLITE_ROW; i++) {
        rbk_job head = read_head(s, q->filter);
        q->after = head.seq;
        if (rbk_store_means(q->filter, &head))
            q->keys[q->n++] = (job_key){head.seq, head.rnd};
        if (i % 64 == 63 && rbk_mono_now() >= end)
            break;
    }
    int reset = sqlite3_reset(s);
    q->ended = rc == SQLITE_DONE;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset ? reset : rc;
}

static int find_keys(rbk_store *st, search *q, rbk_error *err)
{
    rbk_mono_ms end = rbk_mono_now() + RBK_SQLITE_LIST_MS;
    int rc = SQLITE_OK;
    while (rc == SQLITE_OK && !q->ended && q->n < q->max && rbk_mono_now() < end)
        rc = scan_some(st, q);
    return rc == SQLITE_OK ? 0 : rbk_sqlite_fail(st, st->reader, rc, "list", err);
}

/* A job that ended for good between the scan and now is left out. *ret_next: the key behind
 * which the next page begins, when the jobs take too much room; else it is left alone. */
static int load_keys(rbk_store *st, const search *q, size_t n, rbk_job **ret_jobs,
                     int64_t *ret_next, rbk_error *err)
{
    rbk_job **tail = ret_jobs;
    size_t bytes = 0;
    int count = 0;
    for (size_t i = 0; i < n; i++) {
        int r = load_job(st, q->keys[i], tail, err);
        if (r < 0)
            return r;
        if (*tail == NULL)
            continue;
        bytes += rbk_job_bytes(*tail);
        tail = &(*tail)->next;
        count++;
        if (bytes >= RBK_STORE_LIST_BYTES && i + 1 < n) {
            *ret_next = q->keys[i].seq;
            break;
        }
    }
    return count;
}

/* One key more than asked for is looked for: it tells whether there is another page. */
int rbk_sqlite_list(rbk_store *st, const rbk_job_filter *filter, int64_t after, size_t max,
                    rbk_job **ret_jobs, int64_t *ret_next, rbk_error *err)
{
    rbk_job *jobs = NULL;
    int r = rbk_sqlite_broken(st, err);
    if (r < 0)
        return r;
    if (max > RBK_STORE_LIST_MAX)
        max = RBK_STORE_LIST_MAX;
    search q = {.filter = filter, .after = after, .max = max + 1};
    q.keys = malloc(q.max * sizeof *q.keys);
    if (q.keys == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "list");
    r = find_keys(st, &q, err);
    int64_t next = q.ended ? 0 : q.after;
    if (q.n > max) {
        q.n = max;
        next = max ? q.keys[max - 1].seq : after;
    }
    if (r == 0)
        r = load_keys(st, &q, q.n, &jobs, &next, err);
    free(q.keys);
    if (r < 0) {
        rbk_sqlite_free_chain(jobs);
        return r;
    }
    *ret_jobs = jobs;
    *ret_next = next;
    return r;
}

static void read_text(sqlite3_stmt *s, int i, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(s, i);
    size_t n = text ? (size_t)sqlite3_column_bytes(s, i) : 0;
    n = n < size ? n : size - 1;
    if (n)
        memcpy(out, text, n);
    out[n] = 0;
}

int rbk_sqlite_attempts(rbk_store *st, int64_t seq, size_t max, rbk_attempt_note *ret,
                        rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err), rc = SQLITE_DONE;
    size_t n = 0;
    if (r < 0)
        return r;
    sqlite3_stmt *s = st->read[RBK_Q_ATTEMPTS];
    sqlite3_bind_int64(s, 1, seq);
    sqlite3_bind_int64(s, 2, (int64_t)(max < INT32_MAX ? max : INT32_MAX));
    for (; n < max && (rc = sqlite3_step(s)) == SQLITE_ROW; n++) {
        ret[n] = (rbk_attempt_note){.number = (uint32_t)sqlite3_column_int64(s, 0),
                                    .status = sqlite3_column_int(s, 1),
                                    .at = sqlite3_column_int64(s, 2),
                                    .ms = sqlite3_column_int64(s, 3)};
        read_text(s, 4, ret[n].reason, sizeof ret[n].reason);
        read_text(s, 5, ret[n].host, sizeof ret[n].host);
    }
    int reset = sqlite3_reset(s);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return rbk_sqlite_fail(st, st->reader, reset ? reset : rc, "attempts", err);
    return (int)n;
}
