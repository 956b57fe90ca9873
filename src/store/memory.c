/* SPDX-License-Identifier: Apache-2.0 */
/* store/memory.c - the store `memory:`: for tests and demonstrations, nothing survives.
 *
 * Two skip lists hold the rows: one by seq over all shelves, one by (lane, due, seq)
 * over the wait shelf. A row never changes: an operation puts a new version in its
 * place, so that a transaction which runs out of memory halfway can be taken back.
 *
 * The store thread writes; READER slots come from another thread. One mutex guards
 * all; nothing is called while it is held. */
#include "store/stores.h"

#include "base/error.h"
#include "base/str.h"
#include "core/job_state.h"
#include "store/rules.h"

#include <pthread.h>
#include <stdlib.h>

enum { LEVELS = 14 };
enum list_id { BY_SEQ, BY_LANE, LISTS };

typedef struct row {
    rbk_job *job;
    int shelf;
    int height;
    struct row *next[LISTS][LEVELS];
} row;

/* What one operation did, to finish or to take back. */
typedef struct change {
    row *old, *new;
} change;

struct rbk_store {
    pthread_mutex_t lock;
    row head; /* its job is NULL: before every other */
    rbk_store_stats stats;
    uint32_t coin;
};

/* --- Skip lists -------------------------------------------------------------------- */

static int compare_str(rbk_str a, rbk_str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int compare(enum list_id id, const rbk_job *a, const rbk_job *b)
{
    if (id == BY_LANE) {
        int c = compare_str(a->lane, b->lane);
        if (c == 0)
            c = (a->due > b->due) - (a->due < b->due);
        if (c)
            return c;
    }
    return (a->seq > b->seq) - (a->seq < b->seq);
}

/* The first row that is not less than `key`; `ret_before` (may be NULL) gets the row
 * before it on each level. */
static row *seek(rbk_store *st, enum list_id id, const rbk_job *key, row **ret_before)
{
    row *at = &st->head;
    for (int level = LEVELS - 1; level >= 0; level--) {
        while (at->next[id][level] && compare(id, at->next[id][level]->job, key) < 0)
            at = at->next[id][level];
        if (ret_before)
            ret_before[level] = at;
    }
    return at->next[id][0];
}

static void link_list(rbk_store *st, enum list_id id, row *r)
{
    row *before[LEVELS];
    seek(st, id, r->job, before);
    for (int level = 0; level < r->height; level++) {
        r->next[id][level] = before[level]->next[id][level];
        before[level]->next[id][level] = r;
    }
}

static void unlink_list(rbk_store *st, enum list_id id, row *r)
{
    row *before[LEVELS];
    seek(st, id, r->job, before);
    for (int level = 0; level < r->height; level++)
        before[level]->next[id][level] = r->next[id][level];
}

static int64_t count_bytes(const rbk_job *job)
{
    return rbk_store_request_bytes(job) + (int64_t)job->response.n;
}

static void count_row(rbk_store *st, const row *r, int sign)
{
    if (r->shelf == RBK_SHELF_DEAD) {
        st->stats.dead += sign;
        return;
    }
    st->stats.pending += sign;
    st->stats.pending_bytes += sign * count_bytes(r->job);
}

static void link_row(rbk_store *st, row *r)
{
    link_list(st, BY_SEQ, r);
    if (r->shelf == RBK_SHELF_WAIT)
        link_list(st, BY_LANE, r);
    count_row(st, r, 1);
}

static void unlink_row(rbk_store *st, row *r)
{
    unlink_list(st, BY_SEQ, r);
    if (r->shelf == RBK_SHELF_WAIT)
        unlink_list(st, BY_LANE, r);
    count_row(st, r, -1);
}

static void free_row(row *r)
{
    if (r == NULL)
        return;
    rbk_job_free(r->job);
    free(r);
}

/* A row with a copy of `job`, not linked yet. */
static row *make_row(rbk_store *st, const rbk_job *job, int shelf)
{
    row *r = calloc(1, sizeof *r);
    if (r == NULL || (r->job = rbk_job_copy(job)) == NULL) {
        free(r);
        return NULL;
    }
    r->shelf = shelf;
    st->coin = st->coin * 1664525u + 1013904223u;
    r->height = 1;
    for (uint32_t bits = st->coin >> 8; (bits & 3) == 0 && r->height < LEVELS; bits >>= 2)
        r->height++;
    return r;
}

static row *find_seq(rbk_store *st, int64_t seq)
{
    rbk_job key = {.seq = seq};
    row *r = seek(st, BY_SEQ, &key, NULL);
    return r && r->job->seq == seq ? r : NULL;
}

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
    case RBK_OP_RUNS:
        job->runs = from->runs;
        break;
    case RBK_OP_PUT:
    case RBK_OP_DONE:
        break;
    }
}

static int write_op(rbk_store *st, const rbk_store_op *op, row *old, change *c)
{
    c->old = old;
    if (op->kind != RBK_OP_DONE) {
        rbk_job job = old ? *old->job : *op->job;
        if (old)
            patch(&job, op);
        c->new = make_row(st, &job, rbk_store_target(op, old ? old->shelf : RBK_SHELF_JOB));
        if (c->new == NULL)
            return RBK_E_NOMEM;
    }
    if (c->old)
        unlink_row(st, c->old);
    if (c->new)
        link_row(st, c->new);
    if (op->job->seq > st->stats.max_seq)
        st->stats.max_seq = op->job->seq;
    return 0;
}

static bool same_response(const rbk_job *a, const rbk_job *b)
{
    return (a->response.p == NULL) == (b->response.p == NULL) &&
           rbk_str_eq(a->response, b->response);
}

static int apply_op(rbk_store *st, rbk_store_op *op, change *c)
{
    row *r = find_seq(st, op->job->seq);
    rbk_store_row found = {0};
    if (r)
        found = (rbk_store_row){.found = true,
                                .has_lane = r->job->lane.n > 0,
                                .state = r->job->state,
                                .shelf = r->shelf,
                                .rnd = r->job->rnd};
    op->outcome = RBK_OUTCOME_OK;
    switch (rbk_store_judge(op, &found)) {
    case RBK_VERDICT_WRITE:
        return write_op(st, op, r, c);
    case RBK_VERDICT_DONE:
        break;
    case RBK_VERDICT_STALE:
        op->outcome = RBK_OUTCOME_STALE;
        break;
    case RBK_VERDICT_TOO_BIG:
        op->outcome = RBK_OUTCOME_TOO_BIG;
        break;
    case RBK_VERDICT_COMPARE:
        if (r == NULL || !same_response(r->job, op->job))
            op->outcome = RBK_OUTCOME_STALE;
        break;
    }
    return 0;
}

/* Backwards, so that each change finds what it left. */
static void take_back(rbk_store *st, change *changes, size_t n)
{
    while (n-- > 0) {
        if (changes[n].new)
            unlink_row(st, changes[n].new);
        if (changes[n].old)
            link_row(st, changes[n].old);
        free_row(changes[n].new);
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
            take_back(st, changes, i);
            st->stats.max_seq = max_seq;
        }
    }
    pthread_mutex_unlock(&st->lock);
    for (size_t i = 0; r == 0 && i < n; i++)
        free_row(changes[i].old);
    free(changes);
    return r < 0 ? rbk_fail(err, r, "a row") : 0;
}

/* --- Reading ----------------------------------------------------------------------- */

static void free_chain(rbk_job *job)
{
    while (job) {
        rbk_job *next = job->next;
        rbk_job_free(job);
        job = next;
    }
}

/* The due jobs are copied first: only then, when nothing can fail, they move. */
static int memory_claim(rbk_store *st, rbk_str lane, rbk_wall_ms now, size_t max,
                        rbk_job **ret_jobs, rbk_wall_ms *ret_next, rbk_error *err)
{
    rbk_job key = {.seq = INT64_MIN, .due = INT64_MIN, .lane = lane};
    rbk_job *jobs = NULL, **tail = &jobs;
    int n = 0;
    pthread_mutex_lock(&st->lock);
    row *first = seek(st, BY_LANE, &key, NULL);
    for (row *r = first; r && (size_t)n < max && rbk_str_eq(r->job->lane, lane) && r->job->due <= now;
         r = r->next[BY_LANE][0]) {
        if ((*tail = rbk_job_copy(r->job)) == NULL) {
            pthread_mutex_unlock(&st->lock);
            free_chain(jobs);
            return rbk_fail(err, RBK_E_NOMEM, "a claimed job");
        }
        tail = &(*tail)->next;
        n++;
    }
    row *rest = first;
    for (int i = 0; i < n; i++) {
        row *next = rest->next[BY_LANE][0];
        unlink_list(st, BY_LANE, rest);
        rest->shelf = RBK_SHELF_JOB;
        rest = next;
    }
    *ret_next = rest && rbk_str_eq(rest->job->lane, lane) ? rest->job->due : INT64_MAX;
    pthread_mutex_unlock(&st->lock);
    *ret_jobs = jobs;
    return n;
}

static int memory_lanes(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret, rbk_error *err)
{
    (void)err;
    rbk_job key = {.seq = INT64_MAX, .due = INT64_MAX, .lane = after};
    size_t n = 0;
    pthread_mutex_lock(&st->lock);
    for (row *r; n < max && (r = seek(st, BY_LANE, &key, NULL)) != NULL; n++) {
        memcpy(ret[n].lane, r->job->lane.p, r->job->lane.n);
        ret[n].lane[r->job->lane.n] = 0;
        ret[n].due = r->job->due;
        key.lane = r->job->lane;
    }
    pthread_mutex_unlock(&st->lock);
    return (int)n;
}

/* Jobs behind `after` on `shelf` (-1: any) in `state` (0: any). */
static int copy_rows(rbk_store *st, int shelf, uint8_t state, int64_t after, size_t max,
                     rbk_job **ret_jobs, rbk_error *err)
{
    rbk_job key = {.seq = after};
    rbk_job *jobs = NULL, **tail = &jobs;
    size_t n = 0;
    bool failed = false;
    pthread_mutex_lock(&st->lock);
    for (row *r = seek(st, BY_SEQ, &key, NULL); r && n < max && !failed; r = r->next[BY_SEQ][0]) {
        if (r->job->seq == after || (shelf >= 0 && r->shelf != shelf) ||
            (state && r->job->state != state))
            continue;
        *tail = rbk_job_copy(r->job);
        failed = *tail == NULL;
        if (!failed) {
            tail = &(*tail)->next;
            n++;
        }
    }
    pthread_mutex_unlock(&st->lock);
    if (failed) {
        free_chain(jobs);
        return rbk_fail(err, RBK_E_NOMEM, "a list of jobs");
    }
    *ret_jobs = jobs;
    return (int)n;
}

static int memory_recover(rbk_store *st, int64_t after, size_t max, rbk_job **ret_jobs,
                          rbk_error *err)
{
    return copy_rows(st, RBK_SHELF_JOB, 0, after, max, ret_jobs, err);
}

static int memory_list(rbk_store *st, uint8_t state, int64_t after, size_t max, rbk_job **ret_jobs,
                       rbk_error *err)
{
    return copy_rows(st, -1, state, after, max, ret_jobs, err);
}

static int memory_get(rbk_store *st, int64_t seq, int64_t rnd, rbk_job **ret_job, rbk_error *err)
{
    pthread_mutex_lock(&st->lock);
    row *r = find_seq(st, seq);
    bool found = r && r->job->rnd == rnd;
    rbk_job *job = found ? rbk_job_copy(r->job) : NULL;
    pthread_mutex_unlock(&st->lock);
    if (!found)
        return rbk_fail(err, RBK_E_NOTFOUND, "seq %lld", (long long)seq);
    if (job == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "a job");
    *ret_job = job;
    return 0;
}

static int memory_stats(rbk_store *st, rbk_store_stats *ret, rbk_error *err)
{
    (void)err;
    pthread_mutex_lock(&st->lock);
    *ret = st->stats;
    pthread_mutex_unlock(&st->lock);
    return 0;
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
    if (st == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "a store in memory");
    if (pthread_mutex_init(&st->lock, NULL) != 0) {
        free(st);
        return rbk_fail(err, RBK_E_NOMEM, "a mutex");
    }
    if (conf->warn)
        conf->warn(conf->user, "store.dsn is memory: every job is lost when the server ends");
    *ret = st;
    return 0;
}

static void memory_close(rbk_store *st)
{
    if (st == NULL)
        return;
    for (row *r = st->head.next[BY_SEQ][0]; r;) {
        row *next = r->next[BY_SEQ][0];
        free_row(r);
        r = next;
    }
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
    .claim = memory_claim,
    .lanes = memory_lanes,
    .recover = memory_recover,
    .stats = memory_stats,
    .free_bytes = memory_free_bytes,
    .get = memory_get,
    .list = memory_list,
};
