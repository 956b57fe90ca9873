/* SPDX-License-Identifier: Apache-2.0 */
/* engine/reaper.c - a binary heap of deadlines behind a mutex, and one thread.
 *
 * A call knows its place in the heap, so that disarming costs log n. The lock is never
 * held while a call is answered. */
#include "engine/reaper.h"

#include "base/clock.h"
#include "base/error.h"
#include "engine/call.h"

#include <stdlib.h>

struct rbk_reaper {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool started, ending;
    rbk_call **heap; /* heap[1] is the earliest */
    size_t n, cap;
    size_t n_awaited; /* of the n, jobs that wait for a thread */
    rbk_mono_ms sleeping_until;
};

static void place(rbk_reaper *r, size_t at, rbk_call *c)
{
    r->heap[at] = c;
    c->heap_at = at;
}

static void sift_up(rbk_reaper *r, size_t at, rbk_call *c)
{
    for (; at > 1 && r->heap[at / 2]->deadline > c->deadline; at /= 2)
        place(r, at, r->heap[at / 2]);
    place(r, at, c);
}

static void sift_down(rbk_reaper *r, size_t at, rbk_call *c)
{
    for (size_t child; (child = at * 2) <= r->n; at = child) {
        if (child < r->n && r->heap[child + 1]->deadline < r->heap[child]->deadline)
            child++;
        if (r->heap[child]->deadline >= c->deadline)
            break;
        place(r, at, r->heap[child]);
    }
    place(r, at, c);
}

static void remove_at(rbk_reaper *r, size_t at)
{
    rbk_call *last = r->heap[r->n--];
    r->heap[at]->heap_at = 0;
    r->n_awaited -= r->heap[at]->awaited;
    if (at > r->n)
        return;
    if (at > 1 && r->heap[at / 2]->deadline > last->deadline)
        sift_up(r, at, last);
    else
        sift_down(r, at, last);
}

int rbk_reaper_new(rbk_reaper **ret, rbk_error *err)
{
    rbk_reaper *r = calloc(1, sizeof *r);
    if (r == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "reaper");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, &attr);
    pthread_condattr_destroy(&attr);
    *ret = r;
    return 0;
}

/* With the lock held. */
static void sleep_until_next(rbk_reaper *r)
{
    if (r->n == 0) {
        r->sleeping_until = INT64_MAX;
        pthread_cond_wait(&r->wake, &r->lock);
        return;
    }
    rbk_mono_ms left = r->heap[1]->deadline - rbk_mono_now();
    if (left <= 0)
        return;
    r->sleeping_until = r->heap[1]->deadline;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += left / 1000;
    t.tv_nsec += left % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000)
        t.tv_sec++, t.tv_nsec -= 1000000000;
    pthread_cond_timedwait(&r->wake, &r->lock, &t);
}

static void *run_reaper(void *arg)
{
    rbk_reaper *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->ending) {
        if (r->n && r->heap[1]->deadline <= rbk_mono_now()) {
            rbk_call *c = r->heap[1];
            remove_at(r, 1);
            pthread_mutex_unlock(&r->lock);
            rbk_call_expire(c);
            rbk_call_release(c);
            pthread_mutex_lock(&r->lock);
        } else {
            sleep_until_next(r);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int rbk_reaper_start(rbk_reaper *r, rbk_error *err)
{
    if (pthread_create(&r->thread, NULL, run_reaper, r) != 0)
        return rbk_fail(err, RBK_E_SYS, "cannot start the reaper's thread");
    r->started = true;
    return 0;
}

static int arm(rbk_reaper *r, rbk_call *c, int64_t ms)
{
    int ret = 0;
    c->deadline = rbk_mono_now() + ms;
    pthread_mutex_lock(&r->lock);
    if (r->ending) {
        ret = RBK_E_STATE;
        goto out;
    }
    if (r->n + 2 > r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 256;
        rbk_call **heap = realloc(r->heap, cap * sizeof(rbk_call *));
        if (heap == NULL) {
            ret = RBK_E_NOMEM;
            goto out;
        }
        r->heap = heap;
        r->cap = cap;
    }
    rbk_call_keep(c);
    r->n_awaited += c->awaited;
    sift_up(r, ++r->n, c);
    if (c->deadline < r->sleeping_until)
        pthread_cond_signal(&r->wake);
out:
    pthread_mutex_unlock(&r->lock);
    return ret;
}

int rbk_reaper_arm(rbk_reaper *r, rbk_call *c)
{
    c->awaited = false;
    atomic_store_explicit(&c->ends, rbk_wall_now() + c->timeout_ms, memory_order_relaxed);
    return arm(r, c, c->timeout_ms);
}

int rbk_reaper_await(rbk_reaper *r, rbk_call *c, int64_t ms)
{
    c->awaited = true;
    int ret = arm(r, c, ms);
    if (ret < 0)
        c->awaited = false;
    return ret;
}

bool rbk_reaper_disarm(rbk_reaper *r, rbk_call *c)
{
    pthread_mutex_lock(&r->lock);
    bool armed = c->heap_at != 0;
    if (armed)
        remove_at(r, c->heap_at);
    pthread_mutex_unlock(&r->lock);
    if (armed)
        rbk_call_release(c);
    return armed;
}

size_t rbk_reaper_armed(rbk_reaper *r)
{
    pthread_mutex_lock(&r->lock);
    size_t n = r->n - r->n_awaited;
    pthread_mutex_unlock(&r->lock);
    return n;
}

void rbk_reaper_each(rbk_reaper *r, void (*fn)(rbk_call *call, void *user), void *user)
{
    pthread_mutex_lock(&r->lock);
    for (size_t i = 1; i <= r->n; i++)
        fn(r->heap[i], user);
    pthread_mutex_unlock(&r->lock);
}

size_t rbk_reaper_stop(rbk_reaper *r)
{
    size_t cut = 0;
    pthread_mutex_lock(&r->lock);
    r->ending = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        pthread_join(r->thread, NULL);
    r->started = false;
    pthread_mutex_lock(&r->lock);
    while (r->n) {
        rbk_call *c = r->heap[1];
        remove_at(r, 1);
        pthread_mutex_unlock(&r->lock);
        cut += rbk_call_cut(c) && !c->awaited;
        rbk_call_release(c);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return cut;
}

void rbk_reaper_free(rbk_reaper *r)
{
    if (r == NULL)
        return;
    rbk_reaper_stop(r);
    free(r->heap);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
