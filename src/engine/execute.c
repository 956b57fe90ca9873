/* SPDX-License-Identifier: Apache-2.0 */
/* engine/execute.c - see execute.h.
 *
 * One mutex guards the pools. A thread that takes a call wakes one more thread when
 * there is more to do, so a burst of short calls wakes few threads and a burst of slow
 * ones wakes as many as it needs. A call that will answer later holds no thread. */
#include "engine/execute.h"

#include "base/clock.h"
#include "base/error.h"
#include "engine/call.h"
#include "engine/change.h"
#include "engine/reaper.h"
#include "engine/runs.h"
#include "engine/store_thread.h"

#include <stdio.h>
#include <stdlib.h>

enum { SYNC_WAITING_MAX = 65536 };

typedef struct pool {
    rbk_list sync, jobs;
    rbk_list started; /* jobs that the store has as RUNNING: they have their place already */
    size_t running;   /* threads in it */
    size_t under_way; /* calls that have begun and that somebody holds */
} pool;

struct rbk_execute {
    rbk_engine *e;
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    pthread_t *threads;
    pool *pools;
    size_t n_pools, n_threads, n_created, n_alive;
    size_t busy, asleep;   /* threads in a method; threads that wait for work */
    size_t sync_waiting, jobs_waiting;
    size_t running_jobs;
    size_t turn[2];        /* the pool that is asked first: for synchronous calls, for jobs */
    bool waking;           /* a thread was signalled and has not looked yet */
    bool draining, stopping;
};

int rbk_execute_new(rbk_engine *e, rbk_execute **ret, rbk_error *err)
{
    rbk_execute *x = calloc(1, sizeof *x);
    if (x == NULL)
        goto nomem;
    x->e = e;
    x->n_threads = e->conf.method_threads;
    x->threads = calloc(x->n_threads, sizeof *x->threads);
    if (x->threads == NULL)
        goto nomem;
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->work, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&x->ended, &attr);
    pthread_condattr_destroy(&attr);
    *ret = x;
    return 0;
nomem:
    free(x);
    return rbk_fail(err, RBK_E_NOMEM, "method threads");
}

/* --- Which call is next; with the lock held -------------------------------------- */

/* No pool may hold more threads than it leaves free: one slow method cannot stop the
 * others. Jobs leave an eighth of all threads to synchronous calls, and these leave one
 * to jobs when none runs. */
static bool may_start(const rbk_execute *x, const pool *p, bool job)
{
    size_t free_threads = x->n_threads - x->busy;
    size_t reserve = job ? x->n_threads / 8 : 0;
    if (!job && x->n_threads > 1 && x->jobs_waiting && x->running_jobs == 0 && !x->draining)
        reserve = 1;
    return free_threads > reserve && p->running < free_threads - reserve;
}

/* Nor more calls under way than its method allows; jobs leave an eighth to synchronous calls. */
static bool has_place(const pool *p, const rbk_call *c)
{
    size_t limit = atomic_load_explicit(&c->method->concurrency, memory_order_relaxed);
    return limit == 0 || p->under_way < limit - (c->request ? limit / 8 : 0);
}

/* The pool's list that is next, or NULL. */
static rbk_list *list_of(const rbk_execute *x, pool *p, bool job)
{
    rbk_list *l = job ? &p->jobs : &p->sync;
    if (!may_start(x, p, job))
        return NULL;
    if (job && p->started.head)
        return &p->started;
    return l->head && has_place(p, (const rbk_call *)(const void *)l->head) ? l : NULL;
}

static rbk_call *pick_of(rbk_execute *x, bool job)
{
    for (size_t i = 0; i < x->n_pools; i++) {
        size_t at = (x->turn[job] + i) % x->n_pools;
        pool *p = &x->pools[at];
        rbk_list *l = list_of(x, p, job);
        if (l == NULL)
            continue;
        rbk_call *c = (rbk_call *)(void *)rbk_list_pop(l);
        x->turn[job] = at + 1;
        p->under_way += !c->counted;
        c->counted = true;
        p->running++;
        x->busy++;
        if (job) {
            x->jobs_waiting--;
            x->running_jobs++;
        } else {
            x->sync_waiting--;
        }
        return c;
    }
    return NULL;
}

static rbk_call *pick(rbk_execute *x)
{
    rbk_call *c = x->sync_waiting ? pick_of(x, false) : NULL;
    if (c == NULL && x->jobs_waiting && !x->draining)
        c = pick_of(x, true);
    return c;
}

static void wake_one(rbk_execute *x)
{
    if (x->waking || x->asleep == 0)
        return;
    x->waking = true;
    pthread_cond_signal(&x->work);
}

static void let_go(rbk_call *c)
{
    rbk_call_drop(c);
    rbk_call_unref(c);
}

/* --- A call's run ----------------------------------------------------------------- */

/* It has not begun after all: the next start runs it. */
static void unmark(rbk_execute *x, rbk_call *c)
{
    rbk_ticket *t = c->ticket;
    c->ticket = NULL;
    rbk_ticket_move(t, RBK_EV_LEASE_LOST, RBK_OP_STATE);
    rbk_store_push(x->e->store, t);
    let_go(c);
}

void rbk_execute_started(rbk_execute *x, rbk_call *c)
{
    rbk_ticket *t = c->ticket;
    t->marked = true;
    t->op = RBK_OP_RESULT;
    t->from = RBK_JOB_RUNNING;
    c->started = true;
    pthread_mutex_lock(&x->lock);
    bool late = x->stopping;
    if (!late) {
        rbk_list_push(&x->pools[c->pool].started, &c->node);
        x->jobs_waiting++;
        if (!x->draining)
            wake_one(x);
    }
    pthread_mutex_unlock(&x->lock);
    if (late)
        unmark(x, c);
}

void rbk_execute_left(rbk_execute *x, size_t at)
{
    pthread_mutex_lock(&x->lock);
    pool *p = &x->pools[at];
    p->under_way--;
    if (p->sync.head || p->jobs.head)
        wake_one(x);
    pthread_mutex_unlock(&x->lock);
}

/* A job gets its row in the table of running methods, and its time-out. */
static void run_call(rbk_execute *x, rbk_call *c)
{
    bool late = c->awaited && !rbk_reaper_disarm(x->e->reaper, c);
    c->awaited = false;
    if (late || (c->request && !rbk_call_in_time(c))) {
        rbk_call_expire(c);
        rbk_call_unref(c);
        return;
    }
    if (c->request && c->once && !c->started) {
        rbk_call_mark(c);
        return;
    }
    c->handler = rbk_methods_handler(x->e->conf.methods, c->name);
    if (c->handler == NULL) { /* its rule went a moment ago */
        if (c->request)
            rbk_call_postpone(c);
        else
            rbk_call_fail(c, RBK_E_METHOD);
    } else if (c->request) {
        c->ticket->run_slot = rbk_runs_start(x->e->runs, c->request, c->run);
        if (rbk_reaper_arm(x->e->reaper, c) < 0)
            rbk_call_postpone(c);
    }
    if (!rbk_call_cancelled(c))
        c->handler->fn(c, c->handler->user);
    rbk_call_unref(c);
}

static void *run_thread(void *arg)
{
    rbk_execute *x = arg;
    pthread_mutex_lock(&x->lock);
    for (;;) {
        rbk_call *c = pick(x);
        if (c == NULL) {
            if (x->stopping)
                break;
            x->asleep++;
            pthread_cond_wait(&x->work, &x->lock);
            x->asleep--;
            x->waking = false;
            continue;
        }
        if (x->sync_waiting || (x->jobs_waiting && !x->draining))
            wake_one(x);
        size_t at = c->pool;
        bool job = c->request != NULL;
        pthread_mutex_unlock(&x->lock);
        run_call(x, c);
        pthread_mutex_lock(&x->lock);
        x->pools[at].running--;
        x->busy--;
        x->running_jobs -= job;
    }
    x->n_alive--;
    pthread_cond_signal(&x->ended);
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

int rbk_execute_start(rbk_execute *x, rbk_error *err)
{
    for (size_t i = 0; i < x->n_threads; i++) {
        pthread_mutex_lock(&x->lock);
        x->n_alive++;
        pthread_mutex_unlock(&x->lock);
        if (pthread_create(&x->threads[i], NULL, run_thread, x) != 0) {
            pthread_mutex_lock(&x->lock);
            x->n_alive--;
            pthread_mutex_unlock(&x->lock);
            return rbk_fail(err, RBK_E_SYS, "cannot start method thread %zu", i + 1);
        }
        char name[16];
        x->n_created++;
        snprintf(name, sizeof name, "rbk-method-%zu", i % 1000);
        pthread_setname_np(x->threads[i], name);
    }
    return 0;
}

/* --- In ---------------------------------------------------------------------------- */

/* With the lock held: the pools up to this one are there. False: memory is out. */
static bool make_pools(rbk_execute *x, size_t at)
{
    if (at < x->n_pools)
        return true;
    pool *pools = realloc(x->pools, (at + 1) * sizeof *pools);
    if (pools == NULL)
        return false;
    memset(pools + x->n_pools, 0, (at + 1 - x->n_pools) * sizeof *pools);
    x->pools = pools;
    x->n_pools = at + 1;
    return true;
}

/* Whoever comes later would wait long: it hears at once that it is too much. */
static bool has_too_many(const rbk_execute *x, const pool *p)
{
    return x->e->conf.max_waiting && p->sync.n >= x->e->conf.max_waiting;
}

void rbk_execute_sync(rbk_execute *x, rbk_call *c)
{
    atomic_fetch_add_explicit(&x->e->sync_calls, 1, memory_order_relaxed);
    if ((c->method->flags & RBK_METHOD_INLINE) && !c->linked) {
        c->method->own->fn(c, c->method->own->user);
        /* It will answer later. Whether it just did is asked again once it is armed. */
        if (!rbk_call_cancelled(c) && rbk_reaper_arm(x->e->reaper, c) < 0)
            rbk_call_cut(c);
        if (rbk_call_cancelled(c))
            rbk_reaper_disarm(x->e->reaper, c);
        rbk_call_unref(c);
        return;
    }
    /* The time-out of a synchronous call counts from here: its client waits. */
    if (rbk_reaper_arm(x->e->reaper, c) < 0) {
        let_go(c);
        return;
    }
    pthread_mutex_lock(&x->lock);
    bool full = x->sync_waiting >= SYNC_WAITING_MAX || x->stopping || !make_pools(x, c->pool) ||
                has_too_many(x, &x->pools[c->pool]);
    if (!full) {
        rbk_list_push(&x->pools[c->pool].sync, &c->node);
        x->sync_waiting++;
        wake_one(x);
    }
    pthread_mutex_unlock(&x->lock);
    if (full)
        let_go(c);
}

bool rbk_execute_leave(rbk_execute *x, const rbk_call *c)
{
    bool found = false;
    rbk_list left = {0};
    pthread_mutex_lock(&x->lock);
    rbk_list *jobs = &x->pools[c->method->index].jobs;
    for (rbk_node *n; (n = rbk_list_pop(jobs));) {
        if (n == &c->node)
            found = true;
        else
            rbk_list_push(&left, n);
    }
    *jobs = left;
    x->jobs_waiting -= found;
    pthread_mutex_unlock(&x->lock);
    return found;
}

/* Back to the store: the job cannot run now. */
static void park(rbk_execute *x, rbk_ticket *t, int64_t wait_ms)
{
    rbk_ticket_park(t, rbk_engine_now(x->e) + wait_ms);
    rbk_store_push(x->e->store, t);
}

void rbk_execute_job(rbk_execute *x, rbk_ticket *t)
{
    enum { AGAIN_MS = 1000 };
    rbk_wall_ms until = t->job->deadline;
    int64_t left = until ? until - rbk_wall_now() : INT64_MAX;
    if (left <= 0) {
        if (rbk_job_answer_fault(x->e, t, RBK_E_TIMEOUT) < 0)
            park(x, t, AGAIN_MS);
        return;
    }
    if (t->job->runs >= x->e->conf.max_runs) {
        rbk_event(RBK_LOG(x->e), RBK_WARN, "job.poisonous", RBK_FS("method", t->job->method),
                  RBK_F("runs", t->job->runs));
        if (rbk_job_answer_fault(x->e, t, RBK_E_INTERRUPTED) < 0)
            park(x, t, AGAIN_MS);
        return;
    }
    rbk_ticket_move(t, RBK_EV_CLAIM, RBK_OP_RESULT);
    rbk_call *c = rbk_call_new_job(x->e, t);
    if (c == NULL) {
        park(x, t, AGAIN_MS);
        return;
    }
    if (until)
        rbk_reaper_await(x->e->reaper, c, left); /* if not, it is late when a thread has it */
    pthread_mutex_lock(&x->lock);
    bool late = x->stopping, room = make_pools(x, c->pool);
    if (!late && room) {
        rbk_list_push(&x->pools[c->pool].jobs, &c->node);
        x->jobs_waiting++;
        if (!x->draining)
            wake_one(x);
    }
    pthread_mutex_unlock(&x->lock);
    if (late) {
        let_go(c); /* the store has it as QUEUED */
    } else if (!room) {
        rbk_call_postpone(c);
        rbk_call_unref(c);
    }
}

/* --- Cancel ------------------------------------------------------------------------- */

enum { HUNTED = 512 };

/* Changes in the order of their jobs, and the calls that were found for them. */
typedef struct hunt {
    rbk_ticket *want[HUNTED];
    rbk_call *found[HUNTED];
    bool queued[HUNTED]; /* and taken from its queue */
    size_t n;
} hunt;

static int by_seq(const void *a, const void *b)
{
    int64_t x = (*(rbk_ticket *const *)a)->job->seq, y = (*(rbk_ticket *const *)b)->job->seq;
    return (x > y) - (x < y);
}

/* The place of the call's job among those wanted, or h->n. A job is wanted by one. */
static size_t place_of(const hunt *h, const rbk_call *c)
{
    size_t lo = 0, hi = h->n;
    while (c->request && lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int64_t seq = h->want[mid]->job->seq;
        if (seq == c->request->seq)
            return h->found[mid] ? h->n : mid;
        if (seq < c->request->seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return h->n;
}

/* Under the reaper's lock. */
static void find_running(rbk_call *c, void *user)
{
    hunt *h = user;
    size_t at = place_of(h, c);
    if (at == h->n)
        return;
    rbk_call_keep(c);
    h->found[at] = c;
}

static void find_queued(rbk_execute *x, hunt *h)
{
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; x->jobs_waiting && i < x->n_pools; i++) {
        rbk_list left = {0};
        for (rbk_node *n; (n = rbk_list_pop(&x->pools[i].jobs));) {
            rbk_call *c = (rbk_call *)(void *)n;
            size_t at = place_of(h, c);
            if (at == h->n) {
                rbk_list_push(&left, n);
                continue;
            }
            rbk_call_keep(c);
            h->found[at] = c;
            h->queued[at] = true;
            x->jobs_waiting--;
        }
        x->pools[i].jobs = left;
    }
    pthread_mutex_unlock(&x->lock);
}

static void end_hunt(hunt *h)
{
    for (size_t i = 0; i < h->n; i++) {
        rbk_ticket *t = h->want[i];
        rbk_call *c = h->found[i];
        if (c && rbk_call_cancel(c, t->waiter)) {
            t->waiter = NULL;
            rbk_ticket_free(t);
        } else {
            rbk_change_again(t); /* it is on its way to a thread, or from one */
        }
        if (c && h->queued[i])
            rbk_call_unref(c);
        if (c)
            rbk_call_release(c);
    }
}

void rbk_execute_cancel(rbk_execute *x, rbk_list *changes)
{
    while (changes->head) {
        hunt h = {.n = 0};
        while (changes->head && h.n < HUNTED)
            h.want[h.n++] = (rbk_ticket *)(void *)rbk_list_pop(changes);
        qsort(h.want, h.n, sizeof *h.want, by_seq); /* of pointers */
        find_queued(x, &h);
        rbk_reaper_each(x->e->reaper, find_running, &h);
        end_hunt(&h);
    }
}

/* --- Stop --------------------------------------------------------------------------- */

void rbk_execute_drain(rbk_execute *x)
{
    pthread_mutex_lock(&x->lock);
    x->draining = true;
    pthread_mutex_unlock(&x->lock);
}

size_t rbk_execute_busy(rbk_execute *x)
{
    pthread_mutex_lock(&x->lock);
    size_t n = x->busy + x->sync_waiting;
    pthread_mutex_unlock(&x->lock);
    return n;
}

rbk_wall_ms rbk_execute_oldest(rbk_execute *x)
{
    rbk_wall_ms oldest = INT64_MAX;
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; x->jobs_waiting && i < x->n_pools; i++) {
        const rbk_call *c = (const rbk_call *)(void *)x->pools[i].jobs.head;
        if (c && c->request->due < oldest)
            oldest = c->request->due;
    }
    pthread_mutex_unlock(&x->lock);
    return oldest;
}

static void drop_waiting(rbk_execute *x)
{
    rbk_list all = {0};
    pthread_mutex_lock(&x->lock);
    for (size_t i = 0; i < x->n_pools; i++) {
        rbk_list_join(&all, &x->pools[i].sync);
        rbk_list_join(&all, &x->pools[i].jobs);
        rbk_list_join(&all, &x->pools[i].started);
    }
    x->sync_waiting = x->jobs_waiting = 0;
    pthread_mutex_unlock(&x->lock);
    for (rbk_node *n; (n = rbk_list_pop(&all));) {
        rbk_call *c = (rbk_call *)(void *)n;
        if (c->started)
            unmark(x, c);
        else
            let_go(c);
    }
}

size_t rbk_execute_stop(rbk_execute *x)
{
    rbk_execute_drain(x);
    pthread_mutex_lock(&x->lock);
    x->stopping = true;
    pthread_mutex_unlock(&x->lock);
    drop_waiting(x);
    pthread_mutex_lock(&x->lock);
    pthread_cond_broadcast(&x->work);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += 1;
    while (x->n_alive > 0 && pthread_cond_timedwait(&x->ended, &x->lock, &t) == 0)
        ;
    size_t stuck = x->n_alive;
    pthread_mutex_unlock(&x->lock);
    for (size_t i = 0; i < x->n_created; i++) {
        if (stuck)
            pthread_detach(x->threads[i]);
        else
            pthread_join(x->threads[i], NULL);
    }
    x->n_created = 0;
    return stuck;
}

void rbk_execute_free(rbk_execute *x)
{
    if (x == NULL)
        return;
    pthread_cond_destroy(&x->work);
    pthread_cond_destroy(&x->ended);
    pthread_mutex_destroy(&x->lock);
    free(x->threads);
    free(x->pools);
    free(x);
}
