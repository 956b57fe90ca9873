/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_feed.c - jobs that wait for others of their batch (core/chain.h), in the transaction
 * that stores the response they wait for.
 *
 * What a waiting job has so far stands in the table part, written once each, so that a batch of a
 * thousand is not written a thousand times. With the last part the job is made whole and let go, or
 * with the first that failed. Store thread. */
#include "store/sqlite_impl.h"

#include "base/str.h"
#include "core/job_state.h"

/* What is fed to whom. */
typedef struct feeding {
    rbk_store *st;
    rbk_feed to;
    rbk_str response;
    rbk_wall_ms now;
    uint32_t needs;
    bool fails;
    sqlite3_stmt *at; /* the part that is being read */
    int rc;           /* what came of reading it */
} feeding;

/* --- Parts ------------------------------------------------------------------------------------ */

static int put_part(feeding *g, rbk_store_stats *t)
{
    sqlite3_stmt *s = g->st->sql[RBK_Q_PART_PUT];
    sqlite3_bind_int64(s, 1, g->to.to);
    sqlite3_bind_int64(s, 2, g->to.part);
    rbk_sqlite_bind_str(s, 3, g->response);
    int rc = rbk_sqlite_run(s);
    sqlite3_clear_bindings(s);
    if (rc == SQLITE_OK && sqlite3_changes(g->st->db) == 1)
        t->pending_bytes += (int64_t)g->response.n;
    return rc;
}

static int count_parts(rbk_store *st, int64_t seq, int64_t *ret)
{
    sqlite3_stmt *s = st->sql[RBK_Q_PART_COUNT];
    sqlite3_bind_int64(s, 1, seq);
    int rc = sqlite3_step(s);
    *ret = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    int reset = sqlite3_reset(s);
    return rc == SQLITE_ROW ? SQLITE_OK : reset ? reset : rc;
}

static int delete_parts(rbk_store *st, int64_t seq, rbk_store_stats *t)
{
    sqlite3_stmt *s = st->sql[RBK_Q_PARTS_DELETE];
    int rc;
    sqlite3_bind_int64(s, 1, seq);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        t->pending_bytes -= sqlite3_column_int64(s, 0);
    int reset = sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : reset ? reset : rc;
}

/* A rbk_part_fn; a single part was never written. */
static int read_part(void *user, uint32_t n, rbk_str *ret)
{
    feeding *g = user;
    sqlite3_stmt *s = g->st->sql[RBK_Q_PART];
    if (n == g->to.part) {
        *ret = g->response;
        return 0;
    }
    if (g->at)
        sqlite3_reset(s);
    g->at = s;
    sqlite3_bind_int64(s, 1, g->to.to);
    sqlite3_bind_int64(s, 2, n);
    g->rc = sqlite3_step(s);
    if (g->rc != SQLITE_ROW)
        return RBK_E_IO;
    ret->p = (const char *)sqlite3_column_text(s, 0);
    ret->n = (size_t)sqlite3_column_bytes(s, 0);
    g->rc = ret->p ? SQLITE_OK : SQLITE_NOMEM;
    return ret->p ? 0 : RBK_E_NOMEM;
}

/* --- One that waits ----------------------------------------------------------------------------- */

/* How many parts it waits for, and whether this one fails it; 0: it does not wait. */
static int look(feeding *g)
{
    sqlite3_stmt *s = g->st->sql[RBK_Q_CHAIN];
    size_t max;
    sqlite3_bind_int64(s, 1, g->to.to);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        rbk_str chain = {(const char *)sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0)};
        g->needs = rbk_chain_needs(chain, &max);
        g->fails = !(sqlite3_column_int(s, 1) & RBK_JOB_BATCH) &&
                   rbk_response_result(g->response).p == NULL;
    }
    int reset = sqlite3_reset(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset ? reset : rc;
}

/* A body that is new, where it lies from now on. */
static int write_body(rbk_store *st, int64_t id, rbk_str body, int flag, int *big)
{
    bool was = *big & flag, is = body.n > RBK_SQLITE_BODY_INLINE;
    *big = is ? *big | flag : *big & ~flag;
    if (is)
        return rbk_sqlite_put_blob(st, id, body);
    return was ? rbk_sqlite_delete_blob(st, id) : SQLITE_OK;
}

static int write_fed(feeding *g, const rbk_job *job, const rbk_sqlite_row *f, rbk_store_stats *t)
{
    rbk_store *st = g->st;
    int big = f->big;
    int rc = write_body(st, 2 * job->seq, job->params, RBK_SQLITE_BIG_PARAMS, &big);
    if (rc == SQLITE_OK)
        rc = write_body(st, 2 * job->seq + 1, job->response, RBK_SQLITE_BIG_RESPONSE, &big);
    if (rc != SQLITE_OK)
        return rc;
    int64_t size = rbk_store_request_bytes(job), rsize = (int64_t)job->response.n;
    sqlite3_stmt *s = st->sql[RBK_Q_RELEASE_FED];
    sqlite3_bind_int64(s, 1, job->seq);
    sqlite3_bind_int(s, 2, job->state);
    sqlite3_bind_int64(s, 3, job->due);
    sqlite3_bind_int64(s, 4, job->first_attempt);
    rbk_sqlite_bind_str(s, 5, big & RBK_SQLITE_BIG_PARAMS ? RBK_STR_NONE : job->params);
    rbk_sqlite_bind_str(s, 6, big & RBK_SQLITE_BIG_RESPONSE ? RBK_STR_NONE : job->response);
    rbk_sqlite_bind_str(s, 7, job->chain);
    sqlite3_bind_int64(s, 8, size);
    sqlite3_bind_int64(s, 9, rsize);
    sqlite3_bind_int(s, 10, big);
    rc = rbk_sqlite_run(s);
    sqlite3_clear_bindings(s);
    t->pending_bytes += size + rsize - f->size - f->rsize;
    --*rbk_store_counter(t, f->row.state);
    ++*rbk_store_counter(t, job->state);
    return rc;
}

static int load(rbk_store *st, int64_t seq, rbk_job **ret)
{
    sqlite3_stmt *s = st->sql[RBK_Q_LOAD_WAIT];
    sqlite3_bind_int64(s, 1, seq);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *ret = rbk_sqlite_load(s);
    int reset = sqlite3_reset(s);
    if (rc == SQLITE_ROW)
        return *ret ? SQLITE_OK : SQLITE_NOMEM;
    return reset ? reset : rc;
}

static int let_go(feeding *g, const rbk_sqlite_row *f, rbk_store_stats *t)
{
    rbk_job *held = NULL, fed;
    rbk_composed c;
    int rc = load(g->st, g->to.to, &held);
    if (rc != SQLITE_OK)
        return rc;
    int r = g->fails ? rbk_chain_fail(held, g->to.part, &c)
                     : rbk_chain_compose(held, read_part, g, &c);
    if (g->at) {
        sqlite3_reset(g->at);
        g->at = NULL;
    }
    if (r == 0) {
        rbk_store_release(held, &c, g->now, &fed);
        rc = write_fed(g, &fed, f, t);
        rbk_composed_free(&c);
        if (rc == SQLITE_OK && g->needs > 1)
            rc = delete_parts(g->st, g->to.to, t);
        if (rc == SQLITE_OK && g->st->released)
            g->st->released(g->st->user, held->lane);
    } else {
        rc = g->rc != SQLITE_OK && g->rc != SQLITE_DONE ? g->rc : SQLITE_NOMEM;
    }
    rbk_job_free(held);
    return rc;
}

static int feed(feeding *g, rbk_store_stats *t)
{
    rbk_sqlite_row f = {0};
    int64_t have = 0;
    int rc = g->to.to ? rbk_sqlite_find(g->st, g->to.to, &f) : SQLITE_OK;
    bool waits = f.row.found && f.row.shelf == RBK_SHELF_WAIT && f.row.state == RBK_JOB_HELD;
    if (rc != SQLITE_OK || !waits)
        return rc;
    rc = look(g);
    if (rc != SQLITE_OK || g->needs == 0)
        return rc;
    if (g->fails || g->needs == 1)
        return let_go(g, &f, t);
    rc = put_part(g, t);
    if (rc == SQLITE_OK)
        rc = count_parts(g->st, g->to.to, &have);
    return rc == SQLITE_OK && have >= g->needs ? let_go(g, &f, t) : rc;
}

int rbk_sqlite_feed(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                    rbk_store_stats *t)
{
    int rc = SQLITE_OK;
    if (f->row.found && f->row.state == RBK_JOB_HELD && rbk_store_ends_run(op))
        rc = delete_parts(st, op->job->seq, t);
    if (!rbk_store_feeds(op))
        return rc;
    rbk_str chain = op->job->chain;
    feeding g = {.st = st, .response = op->job->response, .now = op->now};
    while (rc == SQLITE_OK && rbk_chain_next_feed(&chain, &g.to))
        rc = feed(&g, t);
    return rc;
}
