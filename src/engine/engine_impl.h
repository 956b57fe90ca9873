/* SPDX-License-Identifier: Apache-2.0 */
/* engine/engine_impl.h - the parts of one engine, for the parts alone.
 *
 * The pointers are set before any thread starts and do not change until all have
 * ended. The counters are the only things that many threads write. */
#ifndef RBK_ENGINE_ENGINE_IMPL_H
#define RBK_ENGINE_ENGINE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/ring.h"
#include "base/seldom.h"
#include "engine/engine.h"
#include "engine/ticket.h"

typedef struct rbk_execute rbk_execute;
typedef struct rbk_reaper rbk_reaper;
typedef struct rbk_couriers rbk_couriers;
typedef struct rbk_store_thread rbk_store_thread;
typedef struct rbk_reader rbk_reader;
typedef struct rbk_runs rbk_runs;
typedef struct rbk_names rbk_names;
typedef struct rbk_watches rbk_watches;
typedef struct rbk_discover rbk_discover;
typedef struct rbk_progress rbk_progress;
typedef struct rbk_quotas rbk_quotas;

struct rbk_engine {
    rbk_engine_conf conf;
    rbk_sched_clock clock; /* set by the store thread's start, before there are jobs */
    rbk_store_thread *store;
    rbk_execute *execute;
    rbk_reaper *reaper;
    rbk_couriers *couriers;
    rbk_reader *reader;
    rbk_runs *runs;
    rbk_names *names;
    rbk_watches *watches;
    rbk_discover *discover;
    rbk_progress *progress; /* as long as calls, which may outlive the parts */
    rbk_quotas *quotas; /* as long as tickets, which exchanges may hold */
    pthread_mutex_t keys_lock; /* of the three that may be replaced */
    rbk_sign_keys *keys;   /* that attempts are signed with now */
    rbk_netpolicy *policy; /* that callbacks are judged by now */
    rbk_callers *callers;  /* who is let in now; NULL: who calls is not asked */
    atomic_bool has_callers; /* once true, true to the end */
    atomic_uint_fast64_t callers_version;
    pthread_mutex_t changes_lock;
    rbk_link changes; /* requests for changes that are not answered yet */
    size_t n_changes, n_owned_changes, n_acks; /* operators', callers', of websockets' clients */
    atomic_bool refusing; /* draining: nothing is accepted */
    atomic_bool full;     /* the store has no room: nothing is accepted */
    atomic_int health;    /* 0, or RBK_E_IO */
    atomic_uint refs;     /* the owner's, and one of each call and exchange: they may outlive
                             the parts */
    bool stopped;
    bool stuck;           /* methods did not end in time at the stop */
    atomic_size_t answer_bytes; /* of all exchanges that are not yet given to their fronts */
    atomic_size_t answered_jobs; /* whose response is under way as the answer of the request */
    atomic_size_t held_bytes;   /* of jobs that wait for the addresses of their hosts */
    atomic_int_fast64_t arriving; /* jobs on their way to the store */
    atomic_int_fast64_t stored;   /* unfinished jobs of the store; the store thread's */
    atomic_int_fast64_t pending_bytes, in_memory;
    rbk_seldom refused_lines; /* about refused notifications */
    rbk_seldom quota_lines;   /* about callers that have too much pending */
    rbk_seldom denied_lines;  /* about what a caller has no right to */
    atomic_uint_fast64_t accepted, delivered, dead, attempts, late, sync_calls;
    atomic_uint_fast64_t cancelled, refused, duplicates, over_quota;
    atomic_uint_fast64_t progress_sent, progress_lost; /* notifications that arrived, or did not */
    /* The store thread's: what the store said last. */
    atomic_int_fast64_t held, queued, due, kept_done, kept_dead;
    atomic_int_fast64_t store_due; /* of what waits in the store, the earliest; INT64_MAX: none */
    atomic_int_fast64_t moved_at;  /* when a job last made progress, on the schedule clock */
};

void rbk_engine_unref(rbk_engine *e);

/* The time that jobs are stamped with and wait for; see core/retry.h. Any thread. */
static inline rbk_wall_ms rbk_engine_now(const rbk_engine *e)
{
    return rbk_sched_at(e->clock, rbk_mono_now());
}

/* Unfinished jobs. One that has just been stored may be counted twice, never not at all. Any
 * thread. */
static inline int64_t rbk_engine_pending(const rbk_engine *e)
{
    int64_t arriving = atomic_load(&e->arriving);
    return arriving + atomic_load(&e->stored);
}

#define RBK_LOG(e) ((e)->conf.log)

#endif
