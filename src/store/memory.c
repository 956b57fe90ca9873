/* SPDX-License-Identifier: Apache-2.0 */
/* store/memory.c - the store `memory:`: for tests and demonstrations, nothing survives.
 *
 * Skip lists hold the rows (memory_rows.c). A row never changes: an operation puts a
 * new version in its place, so that a transaction which runs out of memory halfway can be
 * taken back.
 *
 * The store thread writes; READER slots come from another thread. One mutex guards
 * all; while it is held nothing is called but `released` and `counted`, which call no store. */
#include "store/stores.h"

#include "base/error.h"
#include "base/map.h"
#include "base/str.h"
#include "core/job_state.h"
#include "store/memory_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { HOLDS_MAX = 65536 };

/* What one operation did, to finish or to take back: to its row, to those that it released or
 * fed, and to a key. */
enum { ROWS_OF_CHANGE = 3 };

typedef struct change {
    rbk_row_change rows[ROWS_OF_CHANGE];
    rbk_row_change *fed;
    size_t n_fed;
    rbk_key_change key;
} change;

/* --- Operations -------------------------------------------------------------------- */

/* `job` is the stored one; it takes what the kind names as new. */
static void patch(rbk_job *job, const rbk_store_op *op)
{
    const rbk_job *from = op->job;
    switch (op->kind) {
    case RBK_OP_RESULT:
        job->state = from->state;
        job->response = from->response;
        job->first_attempt = from->first_attempt;
        job->due = from->due;
        if (from->lane.p)
            job->lane = from->lane;
        if (op->divert)
            job->callback = from->callback;
        break;
    case RBK_OP_RETRY:
        job->first_attempt = from->first_attempt;
        job->due = from->due;
        job->attempts = from->attempts;
        job->last_status = from->last_status;
        job->reason = from->reason;
        break;
    case RBK_OP_DEAD:
        job->state = RBK_JOB_DEAD;
        job->attempts = from->attempts;
        job->last_status = from->last_status;
        job->reason = from->reason;
        break;
    case RBK_OP_PARK:
        job->lane = from->lane;
        job->due = from->due;
        break;
    case RBK_OP_STATE:
        job->state = from->state;
        break;
    case RBK_OP_RUNS:
        job->runs = from->runs;
        break;
    case RBK_OP_DONE:
        job->state = from->state;
        if (from->attempts > job->attempts)
            job->attempts = from->attempts;
        if (from->last_status)
            job->last_status = from->last_status;
        break;
    case RBK_OP_REDRIVE:
        job->state = RBK_JOB_DUE;
        job->attempts = 0;
        job->last_status = 0;
        job->reason = RBK_STR_NONE;
        job->first_attempt = op->now;
        job->lane = from->lane;
        job->due = from->due;
        if (from->callback.p)
            job->callback = from->callback;
        break;
    case RBK_OP_PUT:
    case RBK_OP_PURGE:
        break;
    }
}

static bool brings_note(const rbk_store_op *op)
{
    return op->kind == RBK_OP_RETRY || op->kind == RBK_OP_DEAD;
}

static int write_row(rbk_store *st, const rbk_store_op *op, rbk_row *old, const rbk_turn *turn,
                     rbk_row_change *c)
{
    int to = rbk_store_target(op, old ? old->shelf : RBK_SHELF_JOB);
    if (to != RBK_STORE_NOWHERE) {
        const rbk_turn none = {0};
        rbk_job job = old ? *old->job : *op->job;
        if (old)
            patch(&job, op);
        c->new = rbk_row_new(st, &job, old, brings_note(op) ? &op->note : NULL,
                             to <= RBK_SHELF_WAIT ? turn : &none);
        if (c->new == NULL)
            return RBK_E_NOMEM;
        c->new->shelf = to;
        c->new->ended = op->now;
    }
    c->old = old;
    if (c->old)
        rbk_rows_unlink(st, c->old);
    if (c->new)
        rbk_rows_link(st, c->new);
    if (op->job->seq > st->stats.max_seq)
        st->stats.max_seq = op->job->seq;
    return 0;
}

static bool passes_turn(const rbk_store_op *op)
{
    return op->kind == RBK_OP_RESULT || op->kind == RBK_OP_DONE || op->kind == RBK_OP_DEAD;
}

static int write_op(rbk_store *st, rbk_store_op *op, rbk_row *old, change *c)
{
    rbk_store_op blocked;
    rbk_job job;
    int r = op->kind == RBK_OP_PUT && op->idem ? rbk_memory_take_key(st, op, &c->key) : 0;
    if (r < 0 || op->outcome != RBK_OUTCOME_OK)
        return r;
    rbk_turn turn = rbk_memory_take_turn(st, op, old);
    bool is_blocked = turn.lane.p && (op->kind == RBK_OP_PUT || op->kind == RBK_OP_RESULT ||
                                      op->kind == RBK_OP_PARK);
    if (is_blocked) {
        op->outcome = RBK_OUTCOME_BLOCKED;
        if (op->kind == RBK_OP_PARK && old->shelf == RBK_SHELF_WAIT)
            return 0;
        rbk_store_block(op, turn.key, &blocked, &job);
    }
    r = write_row(st, is_blocked ? &blocked : op, old, &turn, &c->rows[0]);
    if (r == 0 && old && old->turn.key.p && (passes_turn(op) || is_blocked))
        r = rbk_memory_pass_turn(st, op, old->turn.key, &c->rows[1]);
    if (r == 0 && rbk_store_feeds(op))
        r = rbk_memory_feed(st, op, &c->fed, &c->n_fed);
    return r;
}

static int apply_op(rbk_store *st, rbk_store_op *op, change *c)
{
    rbk_row *r = rbk_rows_find(st, op->job->seq);
    rbk_store_row found = {0};
    int met;
    if (r)
        found = (rbk_store_row){.found = true,
                                .has_lane = r->job->lane.n > 0,
                                .ordered = r->turn.key.p != NULL,
                                .state = r->job->state,
                                .shelf = r->shelf,
                                .rnd = r->job->rnd,
                                .first_attempt = r->job->first_attempt};
    op->outcome = RBK_OUTCOME_OK;
    switch (rbk_store_judge(op, &found)) {
    case RBK_VERDICT_WRITE:
        met = rbk_memory_meet_caller(st, r ? r->job->caller : op->job->caller);
        return met < 0 ? met : write_op(st, op, r, c);
    case RBK_VERDICT_DONE:
        op->outcome = rbk_store_done_before(op, &found);
        break;
    case RBK_VERDICT_STALE:
        op->outcome = RBK_OUTCOME_STALE;
        break;
    case RBK_VERDICT_TOO_BIG:
        op->outcome = RBK_OUTCOME_TOO_BIG;
        break;
    case RBK_VERDICT_IN_MEMORY:
        op->outcome = RBK_OUTCOME_IN_MEMORY;
        break;
    case RBK_VERDICT_COMPARE:
        op->outcome = r && rbk_store_shows(op, r->job) ? rbk_store_done_before(op, &found)
                                                       : RBK_OUTCOME_STALE;
        break;
    }
    return 0;
}

/* Backwards, so that each change finds what it left. */
static void take_rows_back(rbk_store *st, const rbk_row_change *rows, size_t n)
{
    while (n-- > 0) {
        if (rows[n].new)
            rbk_rows_unlink(st, rows[n].new);
        if (rows[n].old)
            rbk_rows_link(st, rows[n].old);
        rbk_row_free(rows[n].new);
    }
}

static void take_back(rbk_store *st, change *changes, size_t n)
{
    while (n-- > 0) {
        take_rows_back(st, changes[n].fed, changes[n].n_fed);
        take_rows_back(st, changes[n].rows, ROWS_OF_CHANGE);
        free(changes[n].fed);
        rbk_memory_give_key_back(st, &changes[n].key);
    }
}

static int memory_apply(rbk_store *st, rbk_store_op *ops, size_t n, rbk_error *err)
{
    change *changes = calloc(n ? n : 1, sizeof *changes);
    if (changes == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "a transaction of %zu", n);
    int r = 0;
    pthread_mutex_lock(&st->lock);
    int64_t max_seq = st->stats.max_seq;
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = apply_op(st, &ops[i], &changes[i]);
        if (r < 0) {
            take_back(st, changes, i + 1);
            st->stats.max_seq = max_seq;
        }
    }
    rbk_memory_end_callers(st, r == 0);
    pthread_mutex_unlock(&st->lock);
    for (size_t i = 0; r == 0 && i < n; i++) {
        for (int k = 0; k < ROWS_OF_CHANGE; k++)
            rbk_row_free(changes[i].rows[k].old);
        for (size_t k = 0; k < changes[i].n_fed; k++)
            rbk_row_free(changes[i].fed[k].old);
        free(changes[i].fed);
    }
    free(changes);
    return r < 0 ? rbk_fail(err, r, "a row") : 0;
}

/* --- Held receivers ---------------------------------------------------------------- */

static int compare_name(const char *z, rbk_str name)
{
    int c = strncmp(z, name.p, name.n);
    return c ? c : strlen(z) > name.n;
}

/* Where the name stands, or should. */
static size_t find_hold(const rbk_store *st, rbk_str name)
{
    size_t i = 0;
    while (i < st->n_holds && compare_name(st->holds[i], name) < 0)
        i++;
    return i;
}

static int add_hold(rbk_store *st, size_t at, rbk_str name)
{
    char *copy = strndup(name.p, name.n);
    char **holds = realloc(st->holds, (st->n_holds + 1) * sizeof *holds);
    if (holds)
        st->holds = holds;
    if (copy == NULL || holds == NULL) {
        free(copy);
        return RBK_E_NOMEM;
    }
    memmove(holds + at + 1, holds + at, (st->n_holds - at) * sizeof *holds);
    holds[at] = copy;
    st->n_holds++;
    return 0;
}

static int memory_hold(rbk_store *st, rbk_str receiver, bool hold, rbk_error *err)
{
    int r = 0;
    if (!rbk_store_is_receiver(receiver))
        return rbk_fail(err, RBK_E_INVAL, "no receiver's name");
    pthread_mutex_lock(&st->lock);
    size_t at = find_hold(st, receiver);
    bool found = at < st->n_holds && rbk_str_eqz(receiver, st->holds[at]);
    if (hold && !found)
        r = st->n_holds < HOLDS_MAX ? add_hold(st, at, receiver) : RBK_E_NOMEM;
    if (!hold && found) {
        free(st->holds[at]);
        st->n_holds--;
        memmove(st->holds + at, st->holds + at + 1, (st->n_holds - at) * sizeof *st->holds);
    }
    pthread_mutex_unlock(&st->lock);
    return r < 0 ? rbk_fail(err, r, "a held receiver") : 0;
}

static int memory_holds(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret,
                        rbk_error *err)
{
    (void)err;
    size_t n = 0;
    pthread_mutex_lock(&st->lock);
    size_t at = after.n ? find_hold(st, after) : 0;
    if (at < st->n_holds && rbk_str_eqz(after, st->holds[at]))
        at++;
    for (; at < st->n_holds && n < max; at++, n++) {
        snprintf(ret[n].lane, sizeof ret[n].lane, "%s", st->holds[at]);
        ret[n].due = 0;
    }
    pthread_mutex_unlock(&st->lock);
    return (int)n;
}

static int memory_free_bytes(rbk_store *st, int64_t *ret, rbk_error *err)
{
    (void)st;
    (void)err;
    *ret = INT64_MAX;
    return 0;
}

/* --- Open and close ---------------------------------------------------------------- */

static int memory_open(const rbk_store_conf *conf, rbk_store **ret, rbk_error *err)
{
    if (strcmp(conf->dsn, "memory:") != 0)
        return rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: memory: takes no path and no options");
    rbk_store *st = calloc(1, sizeof *st);
    if (st == NULL || (st->keys = rbk_map_new()) == NULL || (st->callers = rbk_map_new()) == NULL) {
        if (st)
            rbk_map_free(st->keys);
        free(st);
        return rbk_fail(err, RBK_E_NOMEM, "a store in memory");
    }
    if (pthread_mutex_init(&st->lock, NULL) != 0) {
        rbk_map_free(st->keys);
        rbk_map_free(st->callers);
        free(st);
        return rbk_fail(err, RBK_E_NOMEM, "a mutex");
    }
    if (conf->warn)
        conf->warn(conf->user, "store.dsn is memory: every job is lost when the server ends");
    st->released = conf->released;
    st->counted = conf->counted;
    st->user = conf->user;
    *ret = st;
    return 0;
}

static void memory_close(rbk_store *st)
{
    if (st == NULL)
        return;
    for (rbk_row *r = st->head.next[RBK_ROWS_BY_SEQ][0]; r;) {
        rbk_row *next = r->next[RBK_ROWS_BY_SEQ][0];
        rbk_row_free(r);
        r = next;
    }
    for (size_t i = 0; i < st->n_holds; i++)
        free(st->holds[i]);
    free(st->holds);
    rbk_memory_free_keys(st);
    rbk_memory_free_callers(st);
    pthread_mutex_destroy(&st->lock);
    free(st);
}

const rbk_store_ops rbk_store_memory = {
    .abi = RBK_STORE_ABI,
    .scheme = "memory",
    .help = "memory:  for tests, nothing survives the process",
    .open = memory_open,
    .close = memory_close,
    .apply = memory_apply,
    .claim = rbk_memory_claim,
    .aged = rbk_memory_aged,
    .expired = rbk_memory_expired,
    .lanes = rbk_memory_lanes,
    .recover = rbk_memory_recover,
    .stats = rbk_memory_stats,
    .count_callers = rbk_memory_count_callers,
    .free_bytes = memory_free_bytes,
    .get = rbk_memory_get,
    .list = rbk_memory_list,
    .attempts = rbk_memory_attempts,
    .sweep = rbk_memory_sweep,
    .hold = memory_hold,
    .holds = memory_holds,
};
