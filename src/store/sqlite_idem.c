/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_idem.c - the table of idempotency keys: the claim inside the commit that makes a
 * job, and the sweep of those that are free again.
 *
 * A row names the job that took the key, and lives on when the job's own row has gone. `look`
 * is when the sweep looks at it next: at `until`, and where the job is pending then, a while
 * later, so that the sweep never walks over the keys of a great backlog. Store thread. */
#include "store/sqlite_impl.h"

#include "base/str.h"

enum { LOOK_AHEAD = 64 };

static int end_read(sqlite3_stmt *s, int rc)
{
    int reset = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset ? reset : rc;
}

/* Is the job on the job or wait shelf? */
static int is_pending(rbk_store *st, int64_t seq, int64_t rnd, bool *ret)
{
    rbk_sqlite_row f;
    int rc = rbk_sqlite_find(st, seq, &f);
    *ret = f.row.found && f.row.rnd == rnd && f.row.shelf <= RBK_SHELF_WAIT;
    return rc;
}

/* The row of the caller's key. *ret_taken is false when there is none. */
static int find_key(rbk_store *st, const rbk_job *job, const uint8_t *print, rbk_idem *ret,
                    bool *ret_taken)
{
    sqlite3_stmt *s = st->sql[RBK_Q_IDEM];
    rbk_sqlite_bind_str(s, 1, job->caller.p ? job->caller : RBK_STR(""));
    rbk_sqlite_bind_str(s, 2, job->idem_key);
    int rc = sqlite3_step(s);
    *ret_taken = rc == SQLITE_ROW;
    if (rc == SQLITE_ROW) {
        const void *stored = sqlite3_column_blob(s, 2);
        int n = sqlite3_column_bytes(s, 2);
        *ret = (rbk_idem){.seq = sqlite3_column_int64(s, 0), .rnd = sqlite3_column_int64(s, 1),
                          .until = sqlite3_column_int64(s, 3)};
        ret->same = stored && n == sizeof ret->print && memcmp(stored, print, sizeof ret->print) == 0;
    }
    return end_read(s, rc);
}

static int delete_key(rbk_store *st, int64_t seq)
{
    sqlite3_bind_int64(st->sql[RBK_Q_IDEM_DELETE], 1, seq);
    return rbk_sqlite_run(st->sql[RBK_Q_IDEM_DELETE]);
}

static int put_key(rbk_store *st, const rbk_store_op *op)
{
    const rbk_job *job = op->job;
    sqlite3_stmt *s = st->sql[RBK_Q_IDEM_PUT];
    sqlite3_bind_int64(s, 1, job->seq);
    sqlite3_bind_int64(s, 2, job->rnd);
    rbk_sqlite_bind_str(s, 3, job->caller.p ? job->caller : RBK_STR(""));
    rbk_sqlite_bind_str(s, 4, job->idem_key);
    sqlite3_bind_blob(s, 5, op->idem->print, sizeof op->idem->print, SQLITE_STATIC);
    sqlite3_bind_int64(s, 6, op->idem->until);
    int rc = rbk_sqlite_run(s);
    sqlite3_clear_bindings(s);
    return rc;
}

int rbk_sqlite_take_key(rbk_store *st, rbk_store_op *op)
{
    rbk_idem found;
    bool taken, pending = false;
    int rc = find_key(st, op->job, op->idem->print, &found, &taken);
    if (rc == SQLITE_OK && taken && rbk_store_key_ends(&found, op))
        rc = is_pending(st, found.seq, found.rnd, &pending);
    if (rc != SQLITE_OK)
        return rc;
    if (taken && rbk_store_is_duplicate(&found, op, pending)) {
        rbk_store_tell_duplicate(&found, op);
        return SQLITE_OK;
    }
    if (taken)
        rc = delete_key(st, found.seq);
    return rc == SQLITE_OK ? put_key(st, op) : rc;
}

/* --- The sweep ------------------------------------------------------------------------------ */

typedef struct old_key {
    int64_t seq, rnd;
} old_key;

static int find_old(rbk_store *st, rbk_wall_ms now, int max, old_key *ret, int *ret_n)
{
    sqlite3_stmt *s = st->sql[RBK_Q_IDEM_OLDEST];
    int rc = SQLITE_ROW, n = 0;
    sqlite3_bind_int64(s, 1, now);
    sqlite3_bind_int(s, 2, max);
    while (n < max && (rc = sqlite3_step(s)) == SQLITE_ROW)
        ret[n++] = (old_key){sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1)};
    *ret_n = n;
    return end_read(s, rc);
}

int rbk_sqlite_keys_due(rbk_store *st, rbk_wall_ms now, bool *ret)
{
    old_key key;
    int n = 0, rc = find_old(st, now, 1, &key, &n);
    *ret = n > 0;
    return rc;
}

static int look_later(rbk_store *st, int64_t seq, rbk_wall_ms at)
{
    sqlite3_stmt *s = st->sql[RBK_Q_IDEM_LATER];
    sqlite3_bind_int64(s, 1, seq);
    sqlite3_bind_int64(s, 2, at);
    return rbk_sqlite_run(s);
}

int rbk_sqlite_sweep_keys(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now, int max,
                          int *ret_n)
{
    old_key keys[LOOK_AHEAD];
    int rc = SQLITE_OK, n = 1;
    while (rc == SQLITE_OK && n > 0 && *ret_n < max) {
        rc = find_old(st, now, max - *ret_n < LOOK_AHEAD ? max - *ret_n : LOOK_AHEAD, keys, &n);
        for (int i = 0; rc == SQLITE_OK && i < n; i++, ++*ret_n) {
            bool pending = false;
            rc = is_pending(st, keys[i].seq, keys[i].rnd, &pending);
            if (rc == SQLITE_OK)
                rc = pending ? look_later(st, keys[i].seq, rbk_store_look_at(keep, now))
                             : delete_key(st, keys[i].seq);
        }
    }
    return rc;
}
