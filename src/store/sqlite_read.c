/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_read.c - get() and list(), beside the store thread.
 *
 * They have a read-only connection of their own. A read transaction that lasts keeps
 * checkpoints from finishing, so none lasts longer than RBK_SQLITE_READ_MS and a row:
 * list() looks for seqs in short scans that each go on where the last one ended, and
 * then loads job by job. Reader thread. */
#include "store/sqlite_impl.h"

#include "base/clock.h"
#include "base/error.h"

#include <stdlib.h>

enum { LIST_MAX = 1000 };

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

/* One short scan behind *seq, which becomes the last one looked at. SQLITE_ROW: there is
 * more; SQLITE_DONE: it was the end, or the page is full. */
static int scan_some(rbk_store *st, uint8_t state, int64_t *seq, size_t max, job_key *keys,
                     size_t *n)
{
    sqlite3_stmt *s = st->read[RBK_Q_SCAN];
    rbk_mono_ms end = rbk_mono_now() + RBK_SQLITE_READ_MS;
    int rc = SQLITE_ROW;
    sqlite3_bind_int64(s, 1, *seq);
    for (unsigned i = 0; *n < max && (rc = sqlite3_step(s)) == SQLITE_ROW; i++) {
        *seq = sqlite3_column_int64(s, 0);
        if (state == 0 || sqlite3_column_int(s, 2) == state)
            keys[(*n)++] = (job_key){*seq, sqlite3_column_int64(s, 1)};
        if (i % 64 == 63 && rbk_mono_now() >= end)
            break;
    }
    int reset = sqlite3_reset(s);
    if (*n == max)
        return SQLITE_DONE;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? rc : reset ? reset : rc;
}

static int find_keys(rbk_store *st, uint8_t state, int64_t after, size_t max, job_key *keys,
                     size_t *n, rbk_error *err)
{
    rbk_mono_ms end = rbk_mono_now() + RBK_SQLITE_LIST_MS;
    int rc;
    while ((rc = scan_some(st, state, &after, max, keys, n)) == SQLITE_ROW)
        if (rbk_mono_now() >= end)
            return rbk_fail(err, RBK_E_TIMEOUT, "list: too many jobs are in other states");
    return rc == SQLITE_DONE ? 0 : rbk_sqlite_fail(st, st->reader, rc, "list", err);
}

/* A job that ended between the scan and now is left out. */
int rbk_sqlite_list(rbk_store *st, uint8_t state, int64_t after, size_t max, rbk_job **ret_jobs,
                    rbk_error *err)
{
    rbk_job *jobs = NULL, **tail = &jobs;
    size_t n = 0;
    int count = 0;
    int r = rbk_sqlite_broken(st, err);
    if (r < 0)
        return r;
    if (max > LIST_MAX)
        max = LIST_MAX;
    job_key *keys = malloc((max ? max : 1) * sizeof *keys);
    if (keys == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "list");
    r = find_keys(st, state, after, max, keys, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = load_job(st, keys[i], tail, err);
        if (r == 0 && *tail) {
            tail = &(*tail)->next;
            count++;
        }
    }
    free(keys);
    if (r < 0) {
        rbk_sqlite_free_chain(jobs);
        return r;
    }
    *ret_jobs = jobs;
    return count;
}
