/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_hold.c - the receivers that an operator holds: a table of names, which are
 * few. A change is a durable transaction of its own. Store thread. */
#include "store/sqlite_impl.h"

#include "base/error.h"
#include "base/str.h"

int rbk_sqlite_hold(rbk_store *st, rbk_str receiver, bool hold, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err);
    if (r < 0)
        return r;
    if (!rbk_store_is_receiver(receiver))
        return rbk_fail(err, RBK_E_INVAL, "no receiver's name");
    sqlite3_stmt *s = st->sql[hold ? RBK_Q_HOLD : RBK_Q_UNHOLD];
    int rc = rbk_sqlite_begin(st);
    if (rc == SQLITE_OK) {
        rbk_sqlite_bind_str(s, 1, receiver);
        rc = rbk_sqlite_run(s);
        sqlite3_clear_bindings(s);
    }
    if (rc == SQLITE_OK)
        rc = rbk_sqlite_run(st->sql[RBK_Q_COMMIT]);
    if (rc != SQLITE_OK) {
        r = rbk_sqlite_fail(st, st->db, rc, "hold", err);
        rbk_sqlite_rollback(st);
    }
    return r;
}

int rbk_sqlite_holds(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret, rbk_error *err)
{
    int r = rbk_sqlite_broken(st, err), rc = SQLITE_DONE;
    size_t n = 0;
    if (r < 0)
        return r;
    sqlite3_stmt *s = st->sql[RBK_Q_HOLDS];
    rbk_sqlite_bind_str(s, 1, after.p ? after : RBK_STR(""));
    sqlite3_bind_int64(s, 2, (int64_t)(max < INT32_MAX ? max : INT32_MAX));
    while (n < max && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(s, 0);
        size_t len = (size_t)sqlite3_column_bytes(s, 0);
        if (name == NULL) {
            rc = SQLITE_NOMEM;
            break;
        }
        len = len > RBK_LANE_MAX ? RBK_LANE_MAX : len;
        memcpy(ret[n].lane, name, len);
        ret[n].lane[len] = 0;
        ret[n++].due = 0;
    }
    int reset = sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return rbk_sqlite_fail(st, st->db, reset ? reset : rc, "holds", err);
    return (int)n;
}
