/* SPDX-License-Identifier: Apache-2.0 */
/* store/memory_read.c - what is read from the store memory:, the claims, the look for old jobs,
 * and the sweep.
 *
 * READER slots come from another thread; everything happens under the one lock, and what is
 * handed out is a copy. */
#include "store/memory_impl.h"

#include "base/error.h"
#include "base/str.h"

#include <stdlib.h>

static void free_chain(rbk_job *job)
{
    while (job) {
        rbk_job *next = job->next;
        rbk_job_free(job);
        job = next;
    }
}

static bool is_due(const rbk_row *r, rbk_row_list list, const rbk_job *key)
{
    if (list == RBK_ROWS_BY_DEADLINE)
        return r->job->deadline <= key->deadline;
    return rbk_str_eq(r->job->lane, key->lane) && r->job->due <= key->due;
}

/* Rows of `list` from `first` on, as far as `key` has them due. They are copied first: only
 * then, when nothing can fail, they move. *ret_rest: the row behind them. */
static int claim_rows(rbk_store *st, rbk_row_list list, rbk_row *first, const rbk_job *key,
                      size_t max, rbk_job **ret_jobs, rbk_row **ret_rest)
{
    rbk_job *jobs = NULL, **tail = &jobs;
    int n = 0;
    for (rbk_row *r = first; r && (size_t)n < max && is_due(r, list, key); r = r->next[list][0]) {
        if ((*tail = rbk_job_copy(r->job)) == NULL) {
            free_chain(jobs);
            return RBK_E_NOMEM;
        }
        tail = &(*tail)->next;
        n++;
    }
    rbk_row *rest = first;
    for (int i = 0; i < n; i++) {
        rbk_row *next = rest->next[list][0];
        rbk_rows_claim(st, rest);
        rest = next;
    }
    *ret_rest = rest;
    *ret_jobs = jobs;
    return n;
}

int rbk_memory_claim(rbk_store *st, rbk_str lane, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                     rbk_wall_ms *ret_next, rbk_error *err)
{
    rbk_job from = {.seq = INT64_MIN, .due = INT64_MIN, .lane = lane}, until = {.due = now, .lane = lane};
    rbk_row *rest = NULL;
    pthread_mutex_lock(&st->lock);
    rbk_row *first = rbk_rows_seek(st, RBK_ROWS_BY_LANE, &(rbk_row){.job = &from});
    int n = claim_rows(st, RBK_ROWS_BY_LANE, first, &until, max, ret_jobs, &rest);
    if (n >= 0)
        *ret_next = rest && rbk_str_eq(rest->job->lane, lane) ? rest->job->due : INT64_MAX;
    pthread_mutex_unlock(&st->lock);
    return n < 0 ? rbk_fail(err, n, "a claimed job") : n;
}

int rbk_memory_expired(rbk_store *st, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                       rbk_wall_ms *ret_next, rbk_error *err)
{
    rbk_job until = {.deadline = now};
    rbk_row *rest = NULL;
    pthread_mutex_lock(&st->lock);
    rbk_row *first = st->head.next[RBK_ROWS_BY_DEADLINE][0];
    int n = claim_rows(st, RBK_ROWS_BY_DEADLINE, first, &until, max, ret_jobs, &rest);
    if (n >= 0)
        *ret_next = rest ? rest->job->deadline : INT64_MAX;
    pthread_mutex_unlock(&st->lock);
    return n < 0 ? rbk_fail(err, n, "an expired job") : n;
}

/* What aged() gives of a job. */
static rbk_job *copy_old(const rbk_job *job)
{
    return rbk_job_copy(&(rbk_job){.seq = job->seq,
                                   .rnd = job->rnd,
                                   .state = job->state,
                                   .attempts = job->attempts,
                                   .last_status = job->last_status,
                                   .first_attempt = job->first_attempt,
                                   .reason = job->reason});
}

int rbk_memory_aged(rbk_store *st, rbk_aged *a, rbk_error *err)
{
    rbk_job key = {.seq = a->at_seq, .due = a->at_due, .lane = a->lane};
    rbk_aged found = *a;
    rbk_job **tail = &found.jobs;
    bool failed = false;
    int n = 0;
    found.jobs = NULL;
    found.oldest = INT64_MAX;
    pthread_mutex_lock(&st->lock);
    rbk_row *r = rbk_rows_seek(st, RBK_ROWS_BY_LANE, &(rbk_row){.job = &key});
    if (r && rbk_str_eq(r->job->lane, a->lane) && r->job->due == a->at_due &&
        r->job->seq == a->at_seq)
        r = r->next[RBK_ROWS_BY_LANE][0];
    for (; r && !failed && (size_t)n < a->look && rbk_str_eq(r->job->lane, a->lane);
         r = r->next[RBK_ROWS_BY_LANE][0], n++) {
        found.at_due = r->job->due;
        found.at_seq = r->job->seq;
        if (rbk_store_is_old(r->job, a->before)) {
            *tail = copy_old(r->job);
            failed = *tail == NULL;
            tail = failed ? tail : &(*tail)->next;
        } else if (r->job->first_attempt && r->job->first_attempt < found.oldest) {
            found.oldest = r->job->first_attempt;
        }
    }
    pthread_mutex_unlock(&st->lock);
    if (failed) {
        free_chain(found.jobs);
        return rbk_fail(err, RBK_E_NOMEM, "old jobs");
    }
    *a = found;
    return n;
}

int rbk_memory_lanes(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret, rbk_error *err)
{
    (void)err;
    rbk_job job = {.seq = INT64_MAX, .due = INT64_MAX, .lane = after};
    rbk_row key = {.job = &job};
    size_t n = 0;
    pthread_mutex_lock(&st->lock);
    for (rbk_row *r; n < max && (r = rbk_rows_seek(st, RBK_ROWS_BY_LANE, &key)) != NULL; n++) {
        memcpy(ret[n].lane, r->job->lane.p, r->job->lane.n);
        ret[n].lane[r->job->lane.n] = 0;
        ret[n].due = r->job->due;
        job.lane = r->job->lane;
    }
    pthread_mutex_unlock(&st->lock);
    return (int)n;
}

/* What to copy, from behind `after`. */
typedef struct page {
    bool job_shelf; /* of that alone */
    const rbk_job_filter *filter;
    int64_t after;
    size_t max, bytes_max;
} page;

static bool is_meant(const page *p, const rbk_row *r)
{
    return r->job->seq != p->after && (!p->job_shelf || r->shelf == RBK_SHELF_JOB) &&
           (p->filter == NULL || rbk_store_means(p->filter, r->job));
}

/* *ret_next: behind which seq there are more that are meant, 0 for none. */
static int copy_rows(rbk_store *st, const page *p, rbk_job **ret_jobs, int64_t *ret_next,
                     rbk_error *err)
{
    rbk_job key = {.seq = p->after};
    rbk_job *jobs = NULL, **tail = &jobs;
    size_t n = 0, bytes = 0;
    bool failed = false, more = false;
    int64_t last = p->after;
    pthread_mutex_lock(&st->lock);
    for (rbk_row *r = rbk_rows_seek(st, RBK_ROWS_BY_SEQ, &(rbk_row){.job = &key});
         r && !failed && !more; r = r->next[RBK_ROWS_BY_SEQ][0]) {
        if (!is_meant(p, r))
            continue;
        more = n == p->max || bytes >= p->bytes_max;
        if (more)
            continue;
        *tail = rbk_job_copy(r->job);
        failed = *tail == NULL;
        if (!failed) {
            last = r->job->seq;
            bytes += rbk_job_bytes(*tail);
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
    *ret_next = more ? last : 0;
    return (int)n;
}

int rbk_memory_recover(rbk_store *st, int64_t after, size_t max, rbk_job **ret_jobs,
                       rbk_error *err)
{
    const page p = {.job_shelf = true, .after = after, .max = max, .bytes_max = SIZE_MAX};
    int64_t next;
    return copy_rows(st, &p, ret_jobs, &next, err);
}

int rbk_memory_list(rbk_store *st, const rbk_job_filter *filter, int64_t after, size_t max,
                    rbk_job **ret_jobs, int64_t *ret_next, rbk_error *err)
{
    const page p = {.filter = filter,
                    .after = after,
                    .max = max < RBK_STORE_LIST_MAX ? max : RBK_STORE_LIST_MAX,
                    .bytes_max = RBK_STORE_LIST_BYTES};
    return copy_rows(st, &p, ret_jobs, ret_next, err);
}

int rbk_memory_get(rbk_store *st, int64_t seq, int64_t rnd, rbk_job **ret_job, rbk_error *err)
{
    pthread_mutex_lock(&st->lock);
    rbk_row *r = rbk_rows_find(st, seq);
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

int rbk_memory_attempts(rbk_store *st, int64_t seq, size_t max, rbk_attempt_note *ret,
                        rbk_error *err)
{
    (void)err;
    pthread_mutex_lock(&st->lock);
    rbk_row *r = rbk_rows_find(st, seq);
    size_t n = r ? r->n_notes : 0;
    n = n < max ? n : max;
    if (n)
        memcpy(ret, r->notes, n * sizeof *ret);
    pthread_mutex_unlock(&st->lock);
    return (int)n;
}

int rbk_memory_stats(rbk_store *st, rbk_store_stats *ret, rbk_error *err)
{
    (void)err;
    pthread_mutex_lock(&st->lock);
    *ret = st->stats;
    pthread_mutex_unlock(&st->lock);
    return 0;
}

/* --- The sweep --------------------------------------------------------------------- */

/* What ended first on the shelf, if it may go. */
static rbk_row *find_stale(rbk_store *st, rbk_shelf shelf, const rbk_store_keep *keep,
                           rbk_wall_ms now)
{
    rbk_job job = {.seq = INT64_MIN};
    rbk_row key = {.job = &job, .shelf = (int)shelf, .ended = INT64_MIN};
    rbk_row *r = rbk_rows_seek(st, RBK_ROWS_BY_END, &key);
    bool stale = r && r->shelf == (int)shelf &&
                 rbk_store_is_stale(keep, shelf, r->ended, now, st->stats.done_bytes);
    return stale ? r : NULL;
}

int rbk_memory_sweep(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now, size_t max,
                     rbk_error *err)
{
    (void)err;
    int n = 0;
    pthread_mutex_lock(&st->lock);
    for (; (size_t)n < max && n < INT32_MAX; n++) {
        rbk_row *dead = find_stale(st, RBK_SHELF_DEAD, keep, now);
        rbk_row *done = find_stale(st, RBK_SHELF_DONE, keep, now);
        rbk_row *r = dead && (done == NULL || dead->ended <= done->ended) ? dead : done;
        if (r == NULL)
            break;
        rbk_rows_unlink(st, r);
        rbk_row_free(r);
    }
    n += rbk_memory_sweep_keys(st, keep, now, (max < INT32_MAX ? (int)max : INT32_MAX) - n);
    pthread_mutex_unlock(&st->lock);
    return n;
}
