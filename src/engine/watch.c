/* SPDX-License-Identifier: Apache-2.0 */
/* engine/watch.c - see watch.h.
 *
 * A watch is READY (on the ready ring), LOOKED AT (taken along by the question) or PARKED; in all
 * three it stands in the table by job, so that a result that is committed while its job is being
 * read is not missed: the watch is then looked at again. One question at a time goes to the
 * reader, and takes some watches along; so however many wait, they take one place in its queue.
 * A thread of its own sees to time-outs and to clients who have gone, and sleeps where there is
 * nothing to see to. No lock is held while the store is read or an answer is given. */
#include "engine/watch.h"

#include "base/error.h"
#include "core/envelope.h"
#include "engine/exchange.h"
#include "engine/reader.h"

#include <stdlib.h>

enum {
    BUCKETS = 1024,
    AT_ONCE = 8,     /* watches of one question: their jobs may be large */
    TICK_MS = 100,   /* how late a time-out may be seen */
    STOP_MS = 2000,  /* how long a stop waits for the answers */
    ENVELOPE = 12 << 10, /* what an answer may be larger than a job's response and strings */
};

typedef enum watch_state { READY, LOOKED_AT, PARKED } watch_state;

typedef struct watch {
    rbk_link by_job; /* in its bucket */
    rbk_link link;   /* on the ready or the parked ring */
    watch_state state;
    bool again; /* something became of the job while it was being read */
    bool over;  /* it may wait no longer */
    rbk_watch_spec spec;
    rbk_mono_ms until;
    char caller[];
} watch;

typedef struct look {
    watch *watch;
    rbk_job *job;
    int err;
} look;

struct rbk_watches {
    rbk_question q; /* first */
    rbk_engine *e;
    pthread_mutex_t lock;
    pthread_cond_t wake, none;
    pthread_t thread;
    bool started, asking, ending;
    bool idle; /* the thread sleeps until it is woken */
    atomic_size_t n;
    rbk_link ready, parked;
    rbk_link buckets[BUCKETS];
    look looks[AT_ONCE]; /* the question's */
    size_t n_looks;
};

bool rbk_job_is_of(const rbk_job *job, rbk_str caller)
{
    return job->caller.n == caller.n &&
           (caller.n == 0 || memcmp(job->caller.p, caller.p, caller.n) == 0);
}

/* --- The end of a watch --------------------------------------------------------------------- */

/* With the lock held; whoever did it answers. */
static void take_out(rbk_watches *w, watch *x)
{
    rbk_link_remove(&x->by_job);
    rbk_link_remove(&x->link);
    if (atomic_fetch_sub(&w->n, 1) == 1)
        pthread_cond_broadcast(&w->none);
}

static void drop(watch *x)
{
    rbk_exchange_unref(x->spec.ex);
    free(x);
}

static void answer_fault(watch *x, int err)
{
    rbk_exchange_fault(x->spec.ex, x->spec.item, err, RBK_STR_NONE);
    drop(x);
}

static void answer_job(watch *x, const rbk_job *job)
{
    const rbk_rpc_item *it = rbk_exchange_item(x->spec.ex, x->spec.item);
    size_t max = 8 * rbk_job_bytes(job) + it->id.n + ENVELOPE; /* strings may have to be escaped */
    rbk_buf b = RBK_BUF(max), out = RBK_BUF(max);
    if (it->notification) {
        rbk_exchange_silent(x->spec.ex, x->spec.item);
        drop(x);
        return;
    }
    x->spec.write(&b, rbk_exchange_engine(x->spec.ex), job);
    if (b.err)
        out.err = b.err;
    else
        rbk_write_result(&out, (rbk_to){it->id, it->versioned}, rbk_buf_view(&b));
    rbk_buf_free(&b);
    rbk_exchange_answer(x->spec.ex, x->spec.item, &out);
    rbk_buf_free(&out);
    drop(x);
}

/* --- Looking -------------------------------------------------------------------------------- */

static void look_at_some(rbk_question *q, const rbk_store_ops *ops, rbk_store *st)
{
    rbk_watches *w = (rbk_watches *)(void *)q;
    pthread_mutex_lock(&w->lock);
    for (w->n_looks = 0; w->n_looks < AT_ONCE && !rbk_link_empty(&w->ready); w->n_looks++) {
        watch *x = RBK_OF_LINK(w->ready.next, watch, link);
        rbk_link_remove(&x->link);
        x->state = LOOKED_AT;
        x->again = false;
        w->looks[w->n_looks] = (look){.watch = x};
    }
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < w->n_looks; i++) {
        look *l = &w->looks[i];
        rbk_error err = {0};
        l->err = st ? ops->get(st, (int64_t)l->watch->spec.id.seq, (int64_t)l->watch->spec.id.rnd,
                               &l->job, &err)
                    : RBK_E_BUSY;
        if (l->err < 0)
            l->job = NULL;
    }
}

/* With the lock held: the ready ones need the reader. False: it has no room, or has ended. */
static bool ask(rbk_watches *w)
{
    if (w->asking || rbk_link_empty(&w->ready))
        return true;
    w->asking = rbk_reader_ask(w->e->reader, &w->q) == 0;
    return w->asking;
}

static bool is_final(const rbk_job *job)
{
    return job->response.n > 0 || rbk_job_is_terminal((rbk_job_state)job->state);
}

/* With the lock held: there is something to see to. */
static void wake_thread(rbk_watches *w)
{
    if (w->idle)
        pthread_cond_signal(&w->wake);
    w->idle = false;
}

/* With the lock held: it goes on waiting. */
static void park(rbk_watches *w, watch *x)
{
    x->state = x->again ? READY : PARKED;
    rbk_link_append(x->again ? &w->ready : &w->parked, &x->link);
    wake_thread(w);
}

static void judge(rbk_watches *w, const look *l)
{
    watch *x = l->watch;
    bool mine = l->job && rbk_job_is_of(l->job, x->spec.caller);
    pthread_mutex_lock(&w->lock);
    if (mine && !is_final(l->job) && !x->over && !w->ending) {
        park(w, x);
        x = NULL;
    } else {
        take_out(w, x);
    }
    pthread_mutex_unlock(&w->lock);
    if (x == NULL)
        return;
    if (mine)
        answer_job(x, l->job);
    else
        answer_fault(x, l->job || l->err == RBK_E_NOTFOUND ? RBK_E_NOTFOUND : RBK_E_BUSY);
}

static void tell_some(rbk_question *q)
{
    rbk_watches *w = (rbk_watches *)(void *)q;
    for (size_t i = 0; i < w->n_looks; i++) {
        judge(w, &w->looks[i]);
        rbk_job_free(w->looks[i].job);
    }
    pthread_mutex_lock(&w->lock);
    w->asking = false;
    if (!ask(w))
        wake_thread(w);
    pthread_mutex_unlock(&w->lock);
}

/* --- Time ----------------------------------------------------------------------------------- */

/* With the lock held: whose time is up is looked at a last time; whose client has gone leaves,
 * onto `gone`. */
static void see_to(rbk_watches *w, rbk_link *gone)
{
    rbk_mono_ms now = rbk_mono_now();
    bool all = w->ending || atomic_load(&w->e->refusing);
    for (rbk_link *l = w->parked.next, *next; l != &w->parked; l = next) {
        watch *x = RBK_OF_LINK(l, watch, link);
        next = l->next;
        if (rbk_exchange_is_gone(x->spec.ex)) {
            take_out(w, x);
            rbk_link_append(gone, &x->link);
        } else if (all || x->until <= now) {
            x->over = true;
            x->state = READY;
            rbk_link_append(&w->ready, &x->link);
        }
    }
    ask(w);
}

static void answer_gone(rbk_link *gone)
{
    while (!rbk_link_empty(gone)) {
        watch *x = RBK_OF_LINK(gone->next, watch, link);
        rbk_link_remove(&x->link);
        answer_fault(x, RBK_E_BUSY);
    }
}

static void sleep_a_tick(rbk_watches *w)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += TICK_MS * 1000000L;
    if (t.tv_nsec >= 1000000000)
        t.tv_sec++, t.tv_nsec -= 1000000000;
    pthread_cond_timedwait(&w->wake, &w->lock, &t);
}

static void *run_watches(void *arg)
{
    rbk_watches *w = arg;
    rbk_link gone;
    rbk_link_init(&gone);
    pthread_setname_np(pthread_self(), "rbk-watches");
    pthread_mutex_lock(&w->lock);
    while (!w->ending) {
        if (rbk_link_empty(&w->parked) && (w->asking || rbk_link_empty(&w->ready))) {
            w->idle = true;
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        sleep_a_tick(w);
        see_to(w, &gone);
        pthread_mutex_unlock(&w->lock);
        answer_gone(&gone);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* --- In, and woken ---------------------------------------------------------------------------- */

static rbk_link *bucket_of(rbk_watches *w, uint64_t seq)
{
    return &w->buckets[(seq ^ seq >> 12 ^ seq >> 22) % BUCKETS];
}

int rbk_watch(rbk_watches *w, const rbk_watch_spec *spec)
{
    watch *x = malloc(sizeof *x + spec->caller.n + 1);
    if (x == NULL)
        return RBK_E_NOMEM;
    *x = (watch){.spec = *spec, .state = READY, .over = spec->wait_ms <= 0,
                 .until = rbk_mono_now() + spec->wait_ms};
    if (spec->caller.n)
        memcpy(x->caller, spec->caller.p, spec->caller.n);
    x->spec.caller = (rbk_str){x->caller, spec->caller.n};
    rbk_exchange_ref(spec->ex);
    rbk_link_init(&x->by_job);
    rbk_link_init(&x->link);
    pthread_mutex_lock(&w->lock);
    bool ok = !w->ending && atomic_load(&w->n) < RBK_WATCHES_MAX;
    if (ok) {
        atomic_fetch_add(&w->n, 1);
        rbk_link_append(bucket_of(w, spec->id.seq), &x->by_job);
        rbk_link_append(&w->ready, &x->link);
        if (!ask(w))
            wake_thread(w); /* which asks again in a while */
    }
    pthread_mutex_unlock(&w->lock);
    if (!ok)
        drop(x);
    return ok ? 0 : RBK_E_BUSY;
}

void rbk_watches_wake(rbk_watches *w, int64_t seq)
{
    if (atomic_load(&w->n) == 0)
        return;
    pthread_mutex_lock(&w->lock);
    rbk_link *bucket = bucket_of(w, (uint64_t)seq);
    for (rbk_link *l = bucket->next; l != bucket; l = l->next) {
        watch *x = RBK_OF_LINK(l, watch, by_job);
        if (x->spec.id.seq != (uint64_t)seq)
            continue;
        x->again = true;
        if (x->state == PARKED) {
            x->state = READY;
            rbk_link_append(&w->ready, &x->link);
        }
    }
    if (!ask(w))
        wake_thread(w);
    pthread_mutex_unlock(&w->lock);
}

/* --- Start and stop --------------------------------------------------------------------------- */

int rbk_watches_new(rbk_engine *e, rbk_watches **ret, rbk_error *err)
{
    rbk_watches *w = calloc(1, sizeof *w);
    if (w == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "watches");
    w->q.look = look_at_some;
    w->q.tell = tell_some;
    w->e = e;
    rbk_link_init(&w->ready);
    rbk_link_init(&w->parked);
    for (size_t i = 0; i < BUCKETS; i++)
        rbk_link_init(&w->buckets[i]);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, &attr);
    pthread_cond_init(&w->none, &attr);
    pthread_condattr_destroy(&attr);
    *ret = w;
    return 0;
}

int rbk_watches_start(rbk_watches *w, rbk_error *err)
{
    if (pthread_create(&w->thread, NULL, run_watches, w) != 0)
        return rbk_fail(err, RBK_E_SYS, "cannot start the watches' thread");
    w->started = true;
    return 0;
}

void rbk_watches_stop(rbk_watches *w)
{
    rbk_link gone;
    rbk_link_init(&gone);
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (w->started)
        pthread_join(w->thread, NULL);
    w->started = false;
    pthread_mutex_lock(&w->lock);
    see_to(w, &gone);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STOP_MS / 1000;
    for (int r = 0; w->asking && atomic_load(&w->n) && r == 0;)
        r = pthread_cond_timedwait(&w->none, &w->lock, &until);
    pthread_mutex_unlock(&w->lock);
    answer_gone(&gone);
}

void rbk_watches_end(rbk_watches *w)
{
    rbk_link left;
    rbk_link_init(&left);
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    for (rbk_link *ring = &w->ready;; ring = &w->parked) {
        while (!rbk_link_empty(ring)) {
            watch *x = RBK_OF_LINK(ring->next, watch, link);
            take_out(w, x);
            rbk_link_append(&left, &x->link);
        }
        if (ring == &w->parked)
            break;
    }
    pthread_mutex_unlock(&w->lock);
    answer_gone(&left);
}

void rbk_watches_free(rbk_watches *w)
{
    if (w == NULL)
        return;
    rbk_watches_stop(w);
    rbk_watches_end(w);
    pthread_cond_destroy(&w->wake);
    pthread_cond_destroy(&w->none);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
