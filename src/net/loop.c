/* SPDX-License-Identifier: Apache-2.0 */
/* net/loop.c - see loop.h.
 *
 * One turn: timers; the ends of turn that they asked for (prepare); sleep; what the
 * kernel and other threads brought; the ends of turn of those (check); close callbacks.
 * So whatever a callback queues is looked after before the loop sleeps again.
 *
 * The handles of the loop itself are closed in rbk_loop_free(), not when the thread
 * ends: a late rbk_loop_post() is then harmless. They do not keep the loop running,
 * but for the one that posts wake, and that until rbk_loop_stop(). */
#include "net/loop_impl.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"

enum { TURN_ROUNDS = 16, GRACE_MS = 5000 };

static _Thread_local rbk_loop *current;

/* --- turns --- */

/* What is done may ask for another end of turn (a stream that was drained writes on):
 * that belongs to this turn too, within reason. */
static void end_turn(rbk_loop *l)
{
    for (int i = 0; i < TURN_ROUNDS && !rbk_link_empty(&l->turns); i++) {
        rbk_link now;
        rbk_link_init(&now);
        while (!rbk_link_empty(&l->turns))
            rbk_link_append(&now, l->turns.next);
        while (!rbk_link_empty(&now)) {
            rbk_turn *t = RBK_OF_LINK(now.next, rbk_turn, link);
            rbk_link_remove(&t->link);
            t->fn(t);
        }
    }
    if (!rbk_link_empty(&l->turns)) /* then the loop must not sleep */
        uv_async_send(&l->async);
}

static void on_prepare(uv_prepare_t *h)
{
    rbk_loop *l = h->data;
    end_turn(l);
    l->now_known = false;
}

static void on_check(uv_check_t *h)
{
    rbk_loop *l = h->data;
    end_turn(l);
    l->now_known = false;
}

/* How many there were. */
static size_t run_tasks(rbk_loop *l)
{
    rbk_list tasks = rbk_queue_take(&l->queue);
    size_t n = tasks.n;
    for (rbk_node *node; (node = rbk_list_pop(&tasks)) != NULL;) {
        rbk_task *task = (rbk_task *)(void *)node;
        task->fn(task);
    }
    return n;
}

static void on_async(uv_async_t *h)
{
    run_tasks(h->data);
}

/* --- the thread --- */

static void on_grace(uv_timer_t *h)
{
    rbk_loop *l = h->data;
    l->left = true;
    uv_stop(&l->uv);
}

static void on_end(rbk_task *task)
{
    rbk_loop *l = (rbk_loop *)(void *)((char *)task - offsetof(rbk_loop, end));
    uv_update_time(&l->uv);
    uv_timer_start(&l->grace, on_grace, GRACE_MS, 0);
    uv_unref((uv_handle_t *)&l->grace);
    uv_unref((uv_handle_t *)&l->async);
}

static void run(rbk_loop *l)
{
    current = l;
    size_t late; /* posted when nothing kept the loop running any more */
    do {
        uv_run(&l->uv, UV_RUN_DEFAULT);
        late = run_tasks(l);
        end_turn(l);
    } while (!l->left && (late > 0 || uv_loop_alive(&l->uv)));
    current = NULL;
}

static void *thread_main(void *arg)
{
    rbk_loop *l = arg;
    pthread_setname_np(pthread_self(), l->name);
    run(l);
    return NULL;
}

/* Signals are the program's matter, on threads of its own; and a write to a socket that
 * the peer has closed must not raise SIGPIPE. */
static void block_signals(sigset_t *ret_old)
{
    static const int fault[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof fault / sizeof *fault; i++)
        sigdelset(&set, fault[i]);
    pthread_sigmask(SIG_BLOCK, &set, ret_old);
}

int rbk_loop_start(rbk_loop *l, rbk_error *err)
{
    sigset_t old;
    block_signals(&old);
    int r = pthread_create(&l->thread, NULL, thread_main, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0)
        return rbk_fail(err, RBK_E_SYS, "thread %s: %s", l->name,
                        uv_strerror(uv_translate_sys_error(r)));
    l->started = true;
    return 0;
}

void rbk_loop_stop(rbk_loop *l)
{
    if (l->ended)
        return;
    l->ended = true;
    l->end.fn = on_end;
    rbk_loop_post(l, &l->end);
    if (l->started)
        pthread_join(l->thread, NULL);
    else
        run(l);
}

/* --- making and freeing --- */

/* Handles that only look: they do not keep the loop running. */
static void open_handles(rbk_loop *l)
{
    uv_prepare_init(&l->uv, &l->prepare);
    uv_check_init(&l->uv, &l->check);
    uv_timer_init(&l->uv, &l->grace);
    l->async.data = l->prepare.data = l->check.data = l->grace.data = l;
    uv_prepare_start(&l->prepare, on_prepare);
    uv_check_start(&l->check, on_check);
    uv_unref((uv_handle_t *)&l->prepare);
    uv_unref((uv_handle_t *)&l->check);
}

int rbk_loop_new(const char *thread_name, rbk_loop **ret, rbk_error *err)
{
    rbk_loop *l = calloc(1, sizeof *l);
    int r;
    if (l == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "loop");
    snprintf(l->name, sizeof l->name, "%s", thread_name);
    l->read_buf = malloc(RBK_LOOP_BUF);
    l->plain_buf = malloc(RBK_LOOP_BUF);
    if (l->read_buf == NULL || l->plain_buf == NULL) {
        r = rbk_fail(err, RBK_E_NOMEM, "loop");
        goto fail;
    }
    r = uv_loop_init(&l->uv);
    if (r < 0) {
        r = rbk_fail(err, RBK_E_SYS, "loop: %s", uv_strerror(r));
        goto fail;
    }
    r = uv_async_init(&l->uv, &l->async, on_async);
    if (r < 0) {
        r = rbk_fail(err, RBK_E_SYS, "loop: %s", uv_strerror(r));
        uv_loop_close(&l->uv);
        goto fail;
    }
    rbk_queue_init(&l->queue);
    rbk_link_init(&l->turns);
    open_handles(l);
    *ret = l;
    return 0;
fail:
    free(l->read_buf);
    free(l->plain_buf);
    free(l);
    return r;
}

void rbk_loop_free(rbk_loop *l)
{
    if (l == NULL)
        return;
    rbk_loop_stop(l);
    uv_close((uv_handle_t *)&l->async, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->grace, NULL);
    uv_run(&l->uv, UV_RUN_NOWAIT);
    if (uv_loop_close(&l->uv) < 0)
        return; /* somebody's handles still point into it */
    rbk_queue_fini(&l->queue);
    free(l->read_buf);
    free(l->plain_buf);
    free(l);
}

/* --- the door --- */

uv_loop_t *rbk_loop_uv(rbk_loop *l)
{
    return &l->uv;
}

bool rbk_loop_is_current(const rbk_loop *l)
{
    return current == l;
}

/* libuv's own clock stands still while the machine sleeps; ours does not. */
rbk_mono_ms rbk_loop_now(const rbk_loop *l)
{
    rbk_loop *m = (rbk_loop *)(uintptr_t)l; /* a cache: const to whoever asks */
    if (!m->now_known) {
        m->now = rbk_mono_now();
        m->now_known = current == l;
    }
    return m->now;
}

void rbk_loop_post(rbk_loop *l, rbk_task *task)
{
    if (rbk_queue_push(&l->queue, &task->node))
        uv_async_send(&l->async);
}

void rbk_loop_post_list(rbk_loop *l, rbk_list *list)
{
    if (rbk_queue_push_list(&l->queue, list))
        uv_async_send(&l->async);
}

typedef struct call {
    rbk_task task;
    void (*fn)(void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
} call;

static void run_call(rbk_task *task)
{
    call *c = (call *)(void *)task;
    c->fn(c->arg);
    pthread_mutex_lock(&c->lock);
    c->done = true;
    pthread_cond_signal(&c->cond);
    pthread_mutex_unlock(&c->lock);
}

void rbk_loop_call(rbk_loop *l, void (*fn)(void *arg), void *arg)
{
    call c = {.task.fn = run_call, .fn = fn, .arg = arg};
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.cond, NULL);
    rbk_loop_post(l, &c.task);
    pthread_mutex_lock(&c.lock);
    while (!c.done)
        pthread_cond_wait(&c.cond, &c.lock);
    pthread_mutex_unlock(&c.lock);
    pthread_cond_destroy(&c.cond);
    pthread_mutex_destroy(&c.lock);
}
