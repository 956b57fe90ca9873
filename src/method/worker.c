/* SPDX-License-Identifier: Apache-2.0 */
/* method/worker.c - see worker.h: calls in, dealt out to the processes, and taken back.
 *
 * A call waits in `waiting`, then belongs to one worker until it is answered. One that broke off
 * and may be begun anew rests for a while, and then has a process for itself: where it is what
 * kills the process, it kills no other call. A tick looks after all that has no event: calls that
 * nobody waits for any more, rests, restarts, and a stop. Loop thread, but for the functions of
 * worker.h. */
#include "method/worker_impl.h"

#include "base/error.h"

#include <stdlib.h>

/* --- Calls --- */

void rbk_run_end(rbk_run *run)
{
    rbk_workers *w = run->w;
    rbk_link_remove(&run->link);
    rbk_call_unref(run->call);
    free(run);
    atomic_fetch_sub(&w->in_hand, 1);
}

static void refuse(rbk_call *call, int err)
{
    rbk_call_error(call, rbk_err_rpc_code(err), rbk_strerror(err), NULL);
}

static void fail(rbk_run *run, const char *why)
{
    const char *job = rbk_call_job(run->call);
    if (rbk_call_error(run->call, rbk_err_rpc_code(RBK_E_INTERNAL), rbk_strerror(RBK_E_INTERNAL),
                       NULL) == 0)
        rbk_event(run->w->log, RBK_WARN, "worker.call_failed", RBK_FZ("worker", run->w->name),
                  RBK_FS("method", rbk_call_method(run->call)), RBK_FZ("job", job ? job : ""),
                  RBK_F("runs", run->broken), RBK_FZ("why", why));
    rbk_run_end(run);
}

static void on_run(rbk_task *task)
{
    rbk_run *run = (rbk_run *)(void *)task;
    rbk_workers *w = run->w;
    rbk_link_append(&w->waiting, &run->link);
    rbk_workers_deal(w);
    rbk_workers_wake(w);
}

void rbk_workers_call(rbk_call *call, void *user)
{
    rbk_workers *w = user;
    rbk_run *run = NULL;
    if (atomic_fetch_add(&w->in_hand, 1) < RBK_WORKERS_QUEUE_MAX)
        run = calloc(1, sizeof *run);
    if (run) {
        *run = (rbk_run){.task.fn = on_run, .w = w, .call = call};
        rbk_link_init(&run->link);
        pthread_mutex_lock(&w->lock); /* what is posted here, a stop comes after */
        bool closed = w->closed;
        if (!closed) {
            rbk_call_ref(call);
            rbk_loop_post(w->loop, &run->task);
        }
        pthread_mutex_unlock(&w->lock);
        if (!closed)
            return;
        free(run);
    }
    atomic_fetch_sub(&w->in_hand, 1);
    refuse(call, RBK_E_BUSY);
}

/* --- Dealing out --- */

static bool has_room(const rbk_worker *k, const rbk_run *run)
{
    if (k->state != RBK_WORKER_UP || k->alone)
        return false;
    return k->n == 0 || (!run->retries && k->n < k->all->pipelining);
}

/* The one with the fewest calls; among equals they take turns. */
static rbk_worker *pick(rbk_workers *w, const rbk_run *run)
{
    rbk_worker *best = NULL;
    for (size_t i = 0; i < w->n; i++) {
        rbk_worker *k = &w->worker[(w->next + i) % w->n];
        if (has_room(k, run) && (best == NULL || k->n < best->n))
            best = k;
    }
    if (best)
        w->next = (size_t)(best - w->worker) + 1;
    return best;
}

void rbk_workers_deal(rbk_workers *w)
{
    while (!rbk_link_empty(&w->waiting)) {
        rbk_run *run = RBK_OF_LINK(w->waiting.next, rbk_run, link);
        rbk_worker *k = pick(w, run);
        if (k == NULL)
            return;
        rbk_worker_give(k, run);
    }
}

void rbk_run_take_back(rbk_worker *k, rbk_run *run)
{
    rbk_link_remove(&run->link);
    if (k->writing == run)
        k->writing = NULL;
    k->n--;
    k->alone = false;
}

static void put_in_front(rbk_workers *w, rbk_run *run)
{
    rbk_link_append(w->waiting.next, &run->link);
}

void rbk_run_rest(rbk_run *run, int64_t ms)
{
    run->rest_until = rbk_loop_now(run->w->loop) + ms;
    rbk_link_append(&run->w->resting, &run->link);
}

static void lose(rbk_worker *k, rbk_run *run, const char *why, bool fault)
{
    rbk_workers *w = k->all;
    bool sent = run->sent;
    rbk_run_take_back(k, run);
    run->sent = false;
    run->broken += sent;
    if (rbk_call_cancelled(run->call)) {
        rbk_run_end(run);
    } else if (!sent) {
        put_in_front(w, run);
    } else if (!rbk_call_repeatable(run->call) || (fault && run->retries >= w->retries)) {
        fail(run, why);
    } else if (!fault) {
        put_in_front(w, run);
    } else {
        rbk_run_rest(run, (int64_t)RBK_WORKER_BACK_OFF_MS << (run->retries < 8 ? run->retries : 8));
        run->retries++;
    }
}

/* From the last to the first, so that they are in order at the front. */
void rbk_workers_lose(rbk_worker *k, const char *why, bool fault)
{
    if (k->busy && k->writing && uv_stream_get_write_queue_size((uv_stream_t *)&k->in) < k->request.n)
        k->writing->sent = true;
    while (!rbk_link_empty(&k->unsent))
        lose(k, RBK_OF_LINK(k->unsent.prev, rbk_run, link), why, fault);
    while (!rbk_link_empty(&k->asked))
        lose(k, RBK_OF_LINK(k->asked.prev, rbk_run, link), why, fault);
    rbk_workers_deal(k->all);
}

/* --- The tick --- */

/* How many were let go of. */
static size_t drop_cancelled(rbk_link *ring, rbk_worker *k, bool all)
{
    size_t n = 0;
    for (rbk_link *l = ring->next, *next; l != ring; l = next) {
        rbk_run *run = RBK_OF_LINK(l, rbk_run, link);
        next = l->next;
        if (!all && !rbk_call_cancelled(run->call))
            continue;
        if (k)
            rbk_run_take_back(k, run);
        rbk_run_end(run);
        n++;
    }
    return n;
}

static void wake_resting(rbk_workers *w, rbk_mono_ms now)
{
    for (rbk_link *l = w->resting.prev, *next; l != &w->resting; l = next) {
        rbk_run *run = RBK_OF_LINK(l, rbk_run, link);
        next = l->prev;
        if (run->rest_until <= now)
            put_in_front(w, run);
    }
}

static void drop_all_cancelled(rbk_workers *w, bool all)
{
    drop_cancelled(&w->waiting, NULL, all);
    drop_cancelled(&w->resting, NULL, all);
    for (size_t i = 0; i < w->n; i++) {
        rbk_worker *k = &w->worker[i];
        drop_cancelled(&k->unsent, k, all);
        if (drop_cancelled(&k->asked, k, all) == 0)
            continue;
        if (all)
            rbk_worker_finish(k, true);
        else
            rbk_worker_kill(k, NULL); /* it may be in the middle of it */
    }
}

static void on_tick(uv_timer_t *h)
{
    rbk_workers *w = h->data;
    rbk_mono_ms now = rbk_loop_now(w->loop);
    drop_all_cancelled(w, false);
    wake_resting(w, now);
    for (size_t i = 0; i < w->n; i++)
        rbk_worker_tick(&w->worker[i], now);
    rbk_workers_deal(w);
    rbk_workers_look_at_stop(w);
    rbk_workers_wake(w);
}

/* All at rest: an idle server does not wake up for it. */
static bool is_calm(const rbk_workers *w)
{
    if (w->stopping || atomic_load(&w->in_hand) > 0)
        return false;
    for (size_t i = 0; i < w->n; i++)
        if (w->worker[i].state != RBK_WORKER_UP || w->worker[i].pidfd < 0)
            return false;
    return true;
}

void rbk_workers_wake(rbk_workers *w)
{
    if (uv_is_closing((uv_handle_t *)&w->tick))
        return;
    bool runs = uv_is_active((uv_handle_t *)&w->tick);
    if (is_calm(w)) {
        uv_timer_stop(&w->tick);
    } else if (!runs) {
        uv_update_time(rbk_loop_uv(w->loop));
        uv_timer_start(&w->tick, on_tick, RBK_WORKER_TICK_MS, RBK_WORKER_TICK_MS);
    }
}

/* --- The stop --- */

static bool is_down(const rbk_workers *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->worker[i].state != RBK_WORKER_DOWN)
            return false;
    return true;
}

static void say_down(rbk_workers *w)
{
    pthread_mutex_lock(&w->lock);
    w->down = true;
    pthread_cond_broadcast(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

void rbk_workers_look_at_stop(rbk_workers *w)
{
    if (!w->stopping || uv_is_closing((uv_handle_t *)&w->tick))
        return;
    if (atomic_load(&w->in_hand) > 0 && rbk_loop_now(w->loop) < w->grace_end)
        return;
    drop_all_cancelled(w, true);
    for (size_t i = 0; i < w->n; i++)
        if (w->worker[i].state == RBK_WORKER_UP)
            rbk_worker_finish(&w->worker[i], false);
    if (!is_down(w))
        return;
    uv_close((uv_handle_t *)&w->tick, NULL);
    say_down(w);
}

typedef struct stop_arg {
    rbk_workers *w;
    int64_t grace_ms;
} stop_arg;

static void begin_stop(void *arg)
{
    const stop_arg *s = arg;
    s->w->stopping = true;
    s->w->grace_end = rbk_loop_now(s->w->loop) + s->grace_ms;
    rbk_workers_look_at_stop(s->w);
    rbk_workers_wake(s->w);
}

void rbk_workers_close(rbk_workers *w, int64_t grace_ms)
{
    stop_arg s = {w, grace_ms};
    pthread_mutex_lock(&w->lock);
    bool first = !w->closed;
    w->closed = true;
    pthread_mutex_unlock(&w->lock);
    if (first)
        rbk_loop_call(w->loop, begin_stop, &s);
}

void rbk_workers_stop(rbk_workers *w, int64_t grace_ms)
{
    rbk_workers_close(w, grace_ms);
    pthread_mutex_lock(&w->lock);
    while (!w->down)
        pthread_cond_wait(&w->cond, &w->lock);
    pthread_mutex_unlock(&w->lock);
    rbk_loop_stop(w->loop);
}

/* --- Making and freeing --- */

typedef struct start_arg {
    rbk_workers *w;
    int r;
} start_arg;

static void start_all(void *arg)
{
    start_arg *s = arg;
    for (size_t i = 0; i < s->w->n && s->r == 0; i++)
        s->r = rbk_worker_start(&s->w->worker[i]);
    rbk_workers_wake(s->w);
}

static void free_parts(rbk_workers *w)
{
    free(w->name);
    free(w->path);
    free(w->argv);
    free(w->env);
    free(w->read_buf);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->cond);
    free(w);
}

void rbk_workers_free(rbk_workers *w)
{
    if (w == NULL)
        return;
    rbk_workers_stop(w, 0);
    rbk_loop_free(w->loop);
    free_parts(w);
}

static rbk_workers *new_workers(const rbk_workers_conf *c, const rbk_log *log)
{
    size_t n = c->workers ? c->workers : 1;
    rbk_workers *w = calloc(1, sizeof *w + n * sizeof w->worker[0]);
    if (w == NULL)
        return NULL;
    w->n = n;
    w->pipelining = c->pipelining ? c->pipelining : 1;
    w->max_line = (c->max_result ? c->max_result : (size_t)1 << 20) + RBK_WORKER_ENVELOPE;
    w->retries = c->retries;
    w->memory = c->memory;
    w->cpu_s = c->cpu_s;
    w->files = c->files;
    w->eof_ms = c->eof_ms ? c->eof_ms : 2000;
    w->term_ms = c->term_ms ? c->term_ms : 2000;
    w->log = log;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->cond, NULL);
    rbk_link_init(&w->waiting);
    rbk_link_init(&w->resting);
    for (size_t i = 0; i < n; i++) {
        rbk_worker *k = &w->worker[i];
        k->all = w;
        k->pidfd = -1;
        k->line = RBK_BUF(w->max_line + 1);
        k->request = RBK_BUF(SIZE_MAX / 2);
        rbk_link_init(&k->unsent);
        rbk_link_init(&k->asked);
    }
    return w;
}

/* What needs no thread. */
static int prepare(rbk_workers *w, const rbk_workers_conf *c, rbk_error *err)
{
    int r = rbk_worker_split(c->command, &w->argv, err);
    if (r == 0)
        r = rbk_spawn_find(w->argv[0], &w->path, err);
    if (r < 0)
        return r;
    w->env = rbk_spawn_env();
    w->name = strdup(c->name ? c->name : w->argv[0]);
    w->read_buf = malloc(RBK_WORKER_READ);
    if (w->env == NULL || w->name == NULL || w->read_buf == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "worker %s", w->argv[0]);
    r = rbk_loop_new("worker", &w->loop, err);
    if (r < 0)
        return r;
    uv_timer_init(rbk_loop_uv(w->loop), &w->tick);
    w->tick.data = w;
    return 0;
}

int rbk_workers_new(const rbk_workers_conf *conf, const rbk_log *log, rbk_workers **ret,
                    rbk_error *err)
{
    if (conf->workers > RBK_WORKERS_MAX || conf->pipelining > RBK_WORKER_PIPELINE_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "worker %s: too many processes", conf->command);
    rbk_workers *w = new_workers(conf, log);
    if (w == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "worker %s", conf->command);
    int r = prepare(w, conf, err);
    if (r < 0) {
        free_parts(w);
        return r;
    }
    r = rbk_loop_start(w->loop, err);
    if (r < 0) {
        uv_close((uv_handle_t *)&w->tick, NULL);
        rbk_loop_free(w->loop);
        free_parts(w);
        return r;
    }
    start_arg s = {.w = w};
    rbk_loop_call(w->loop, start_all, &s);
    if (s.r < 0) {
        r = rbk_fail(err, s.r == -ENOMEM || s.r == -EAGAIN ? RBK_E_SYS : RBK_E_CONFIG,
                     "worker %s: it cannot be started: %s%s", w->argv[0], strerror(-s.r),
                     s.r == -ENOEXEC ? "; a script begins with #! and its interpreter" : "");
        rbk_workers_free(w);
        return r;
    }
    *ret = w;
    return 0;
}
