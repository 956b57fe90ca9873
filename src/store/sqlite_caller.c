/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_caller.c - the table of callers: what each has pending, in the transactions that
 * change it.
 *
 * A transaction adds up what it changes, and writes one row for each caller that it changed, once;
 * a caller without pending jobs has none. Callers that were met are remembered from one transaction
 * to the next, up to a bound, so that the usual one costs no memory and one comparison. Store thread. */
#include "store/sqlite_impl.h"

#include "base/error.h"
#include "base/map.h"
#include "base/str.h"

#include <stdlib.h>

enum { REMEMBERED = 4096 };

struct rbk_sqlite_caller {
    rbk_sqlite_caller *next; /* of those that are changed */
    rbk_str name;            /* the map's */
    bool changed, written;
    int64_t jobs, bytes;         /* by which it is changed */
    int64_t now_jobs, now_bytes; /* once it is written */
};

int rbk_sqlite_find_caller(rbk_store *st, rbk_str name, rbk_sqlite_caller **ret)
{
    *ret = NULL;
    if (name.n == 0)
        return SQLITE_OK;
    if (st->last_caller && rbk_str_eq(st->last_caller->name, name)) {
        *ret = st->last_caller;
        return SQLITE_OK;
    }
    if (st->callers == NULL && (st->callers = rbk_map_new()) == NULL)
        return SQLITE_NOMEM;
    rbk_sqlite_caller *c = rbk_map_get(st->callers, name);
    if (c == NULL) {
        c = calloc(1, sizeof *c);
        if (c == NULL || rbk_map_put(st->callers, name, c, &c->name) < 0) {
            free(c);
            return SQLITE_NOMEM;
        }
    }
    *ret = st->last_caller = c;
    return SQLITE_OK;
}

void rbk_sqlite_count_caller(rbk_store *st, rbk_sqlite_caller *c, int64_t jobs, int64_t bytes)
{
    if (c == NULL)
        return;
    c->jobs += jobs;
    c->bytes += bytes;
    if (c->changed)
        return;
    c->changed = true;
    c->next = st->changed_callers;
    st->changed_callers = c;
}

static int write_one(rbk_store *st, rbk_sqlite_caller *c)
{
    sqlite3_stmt *add = st->sql[RBK_Q_CALLER_ADD], *delete = st->sql[RBK_Q_CALLER_DELETE];
    rbk_sqlite_bind_str(add, 1, c->name);
    sqlite3_bind_int64(add, 2, c->jobs);
    sqlite3_bind_int64(add, 3, c->bytes);
    int rc = sqlite3_step(add);
    if (rc == SQLITE_ROW) {
        c->now_jobs = sqlite3_column_int64(add, 0);
        c->now_bytes = sqlite3_column_int64(add, 1);
        rc = sqlite3_step(add);
    }
    int reset = sqlite3_reset(add);
    if (rc != SQLITE_DONE)
        return reset ? reset : rc;
    c->written = true;
    if (c->now_jobs)
        return SQLITE_OK;
    rbk_sqlite_bind_str(delete, 1, c->name);
    return rbk_sqlite_run(delete);
}

int rbk_sqlite_write_callers(rbk_store *st)
{
    int rc = SQLITE_OK;
    for (rbk_sqlite_caller *c = st->changed_callers; c && rc == SQLITE_OK; c = c->next)
        if (c->jobs || c->bytes)
            rc = write_one(st, c);
    return rc;
}

void rbk_sqlite_end_callers(rbk_store *st, bool committed)
{
    while (st->changed_callers) {
        rbk_sqlite_caller *c = st->changed_callers;
        st->changed_callers = c->next;
        if (committed && c->written && st->counted)
            st->counted(st->user, c->name, c->now_jobs, c->now_bytes);
        c->changed = c->written = false;
        c->jobs = c->bytes = 0;
    }
    if (st->callers && rbk_map_size(st->callers) > REMEMBERED)
        rbk_sqlite_free_callers(st);
}

static void free_one(rbk_str name, void *value, void *user)
{
    (void)name;
    (void)user;
    free(value);
}

void rbk_sqlite_free_callers(rbk_store *st)
{
    if (st->callers)
        rbk_map_each(st->callers, free_one, NULL);
    rbk_map_free(st->callers);
    st->callers = NULL;
    st->last_caller = st->changed_callers = NULL;
}

int rbk_sqlite_count_callers(rbk_store *st, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err), rc;
    if (r < 0 || st->counted == NULL)
        return r;
    sqlite3_stmt *s = st->sql[RBK_Q_CALLERS];
    rbk_str name;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        if (!rbk_sqlite_read_str(s, 0, &name)) {
            rc = SQLITE_NOMEM;
            break;
        }
        st->counted(st->user, name, sqlite3_column_int64(s, 1), sqlite3_column_int64(s, 2));
    }
    int reset = sqlite3_reset(s);
    if (rc == SQLITE_DONE)
        return 0;
    return rbk_sqlite_fail(st, st->db, reset ? reset : rc, "callers", err);
}
