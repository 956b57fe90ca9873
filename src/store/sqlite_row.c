/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_row.c - a job to and from a row, and what SQLite's errors mean.
 *
 * Text is bound with its length, so NUL bytes are kept; it is never copied on the way
 * in, because every statement is run and reset before the job can change. Any thread,
 * each on its own connection. */
#include "store/sqlite_impl.h"

#include "base/error.h"
#include "base/str.h"
#include "store/rules.h"

#include <errno.h>

atomic_bool rbk_sqlite_suspect;

/* A failed sync is never "disk full": after it nobody knows what the disk has. */
int rbk_sqlite_classify(sqlite3 *db, int rc)
{
    int sys = db ? sqlite3_system_errno(db) : 0;
    if (rc == SQLITE_IOERR_NOMEM || (rc & 0xff) == SQLITE_NOMEM)
        return RBK_E_NOMEM;
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return RBK_E_DISK_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return RBK_E_BUSY;
    case SQLITE_IOERR:
        if ((rc == SQLITE_IOERR_WRITE || rc == SQLITE_IOERR_TRUNCATE ||
             rc == SQLITE_IOERR_SHMSIZE) && (sys == ENOSPC || sys == EDQUOT))
            return RBK_E_DISK_FULL;
        return RBK_E_IO;
    default:
        return RBK_E_IO;
    }
}

int rbk_sqlite_fail(rbk_store *st, sqlite3 *db, int rc, const char *what, rbk_error *err)
{
    /* At open, by a file that was never a store; not after the disk failed. */
    if ((rc & 0xff) == SQLITE_NOTADB && st->reader == NULL && !atomic_load(&rbk_sqlite_suspect))
        return rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: %s is not an SQLite database", st->path);
    int code = rbk_sqlite_classify(db, rc);
    if (code == RBK_E_IO) {
        atomic_store(&st->broken, true);
        atomic_store(&rbk_sqlite_suspect, true);
    }
    return rbk_fail(err, code, "%s: %s: %s (%d, errno %d)", st->path ? st->path : "store", what,
                    db ? sqlite3_errmsg(db) : sqlite3_errstr(rc), rc,
                    db ? sqlite3_system_errno(db) : 0);
}

int rbk_sqlite_broken(rbk_store *st, rbk_error *err)
{
    if (!atomic_load(&st->broken))
        return 0;
    return rbk_fail(err, RBK_E_IO, "%s: not trusted since an input/output error", st->path);
}

int rbk_sqlite_run(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);
    int reset = sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : reset ? reset : rc;
}

int rbk_sqlite_begin(rbk_store *st)
{
    return rbk_sqlite_run(st->sql[RBK_Q_BEGIN]);
}

void rbk_sqlite_rollback(rbk_store *st)
{
    if (!sqlite3_get_autocommit(st->db))
        rbk_sqlite_run(st->sql[RBK_Q_ROLLBACK]);
}

/* A pragma, not a statement kept: it works when it is compiled. */
int rbk_sqlite_sync(rbk_store *st, bool full)
{
    if (!st->durable)
        return SQLITE_OK;
    return sqlite3_exec(st->db, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
                        NULL, NULL, NULL);
}

void rbk_sqlite_bind_str(sqlite3_stmt *s, int i, rbk_str v)
{
    if (v.p == NULL)
        sqlite3_bind_null(s, i);
    else
        sqlite3_bind_text64(s, i, v.p, v.n, SQLITE_STATIC, SQLITE_UTF8);
}

void rbk_sqlite_bind_job(sqlite3_stmt *s, const rbk_job *job, int big)
{
    const int64_t scalar[] = {job->seq,         job->rnd,        job->state,   job->flags,
                              job->runs,        job->attempts,   job->last_status,
                              job->timeout_ms,  job->created,    job->due,     job->first_attempt,
                              job->deadline};
    const rbk_str text[] = {job->lane,   job->method,  job->rpc_id,  job->callback,
                            job->caller, job->ray_id,  job->headers, job->reason,
                            job->failure_callback, job->idem_key, job->order_key,
                            job->method_headers, job->chain,
                            big & RBK_SQLITE_BIG_PARAMS ? RBK_STR_NONE : job->params,
                            big & RBK_SQLITE_BIG_RESPONSE ? RBK_STR_NONE : job->response};
    int at = 1;
    for (size_t i = 0; i < sizeof scalar / sizeof scalar[0]; i++)
        sqlite3_bind_int64(s, at++, scalar[i]);
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++)
        rbk_sqlite_bind_str(s, at++, text[i]);
    sqlite3_bind_int64(s, at++, rbk_store_request_bytes(job));
    sqlite3_bind_int64(s, at++, (int64_t)job->response.n);
    sqlite3_bind_int(s, at, big);
}

bool rbk_sqlite_read_str(sqlite3_stmt *s, int i, rbk_str *ret)
{
    *ret = RBK_STR_NONE;
    if (sqlite3_column_type(s, i) == SQLITE_NULL)
        return true;
    ret->p = (const char *)sqlite3_column_text(s, i);
    ret->n = (size_t)sqlite3_column_bytes(s, i);
    return ret->p != NULL;
}

rbk_job *rbk_sqlite_load(sqlite3_stmt *s)
{
    rbk_job job = {
        .seq = sqlite3_column_int64(s, 0),
        .rnd = sqlite3_column_int64(s, 1),
        .state = (uint8_t)sqlite3_column_int(s, 2),
        .flags = (uint8_t)sqlite3_column_int(s, 3),
        .runs = (uint32_t)sqlite3_column_int64(s, 4),
        .attempts = (uint32_t)sqlite3_column_int64(s, 5),
        .last_status = sqlite3_column_int(s, 6),
        .timeout_ms = sqlite3_column_int64(s, 7),
        .created = sqlite3_column_int64(s, 8),
        .due = sqlite3_column_int64(s, 9),
        .first_attempt = sqlite3_column_int64(s, 10),
        .deadline = sqlite3_column_int64(s, 11),
    };
    rbk_str *const text[] = {&job.lane,      &job.method,    &job.rpc_id,   &job.callback,
                             &job.caller,    &job.ray_id,    &job.headers,  &job.reason,
                             &job.failure_callback,          &job.idem_key, &job.order_key,
                             &job.method_headers,            &job.chain,    &job.params,
                             &job.response};
    for (int i = 0; i < (int)(sizeof text / sizeof text[0]); i++)
        if (!rbk_sqlite_read_str(s, 12 + i, text[i]))
            return NULL;
    return rbk_job_copy(&job);
}

void rbk_sqlite_free_chain(rbk_job *job)
{
    while (job) {
        rbk_job *next = job->next;
        rbk_job_free(job);
        job = next;
    }
}
