/* SPDX-License-Identifier: Apache-2.0 */
/* engine/metrics.c - see metrics.h and numbers.h. Counters are relaxed: each is right by
 * itself, and two that are read together may be a job apart. Any thread. */
#include "engine/metrics.h"

#include "engine/admin.h"
#include "engine/courier.h"
#include "engine/execute.h"
#include "engine/numbers.h"
#include "net/resolver.h"

#include <math.h>

const double rbk_latency_bounds[RBK_LATENCY_BUCKETS] = {
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 120, 600, 3600, 6 * 3600, INFINITY,
};

static rbk_attempt_outcome outcome_of_status(int status)
{
    if (status == 410)
        return RBK_ATTEMPT_GONE;
    if (status == 429)
        return RBK_ATTEMPT_THROTTLED;
    switch (status / 100) {
    case 3:
        return RBK_ATTEMPT_REDIRECT;
    case 4:
        return RBK_ATTEMPT_CLIENT_ERROR;
    case 5:
        return RBK_ATTEMPT_SERVER_ERROR;
    default:
        return RBK_ATTEMPT_OTHER;
    }
}

rbk_attempt_outcome rbk_attempt_outcome_of(int err, int status, bool delivered)
{
    if (delivered)
        return RBK_ATTEMPT_DELIVERED;
    switch (err) {
    case 0:
        return outcome_of_status(status);
    case RBK_E_RESOLVE:
        return RBK_ATTEMPT_RESOLVE;
    case RBK_E_ADDRESS:
        return RBK_ATTEMPT_ADDRESS;
    case RBK_E_CONNECT:
        return RBK_ATTEMPT_CONNECT;
    case RBK_E_TLS:
        return RBK_ATTEMPT_TLS;
    case RBK_E_TIMEOUT:
        return RBK_ATTEMPT_TIMEOUT;
    case RBK_E_CLOSED:
        return RBK_ATTEMPT_CLOSED;
    case RBK_E_PROTOCOL:
        return RBK_ATTEMPT_PROTOCOL;
    default:
        return RBK_ATTEMPT_OTHER;
    }
}

/* One thread alone writes it. */
static void add(atomic_uint_fast64_t *n, uint64_t more)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

void rbk_numbers_attempt(rbk_numbers *n, rbk_attempt_outcome outcome)
{
    add(&n->attempts[outcome], 1);
}

void rbk_numbers_latency(rbk_numbers *n, int64_t ms)
{
    size_t i = 0;
    ms = ms > 0 ? ms : 0;
    while (i < RBK_LATENCY_BUCKETS - 1 && (double)ms / 1000 > rbk_latency_bounds[i])
        i++;
    add(&n->latency[i], 1);
    add(&n->latency_ms, (uint64_t)ms);
}

#define LOAD(n) atomic_load_explicit(&(n), memory_order_relaxed)

void rbk_numbers_sum(const rbk_numbers *n, rbk_metrics *ret, rbk_wall_ms *due)
{
    for (size_t i = 0; i < RBK_ATTEMPT_OUTCOMES; i++)
        ret->attempts[i] += LOAD(n->attempts[i]);
    for (size_t i = 0; i < RBK_LATENCY_BUCKETS; i++)
        ret->latency[i] += LOAD(n->latency[i]);
    ret->latency_sum += (double)LOAD(n->latency_ms) / 1000;
    ret->receivers += LOAD(n->receivers);
    ret->receivers_paused += LOAD(n->paused);
    if (LOAD(n->oldest_due) < *due)
        *due = LOAD(n->oldest_due);
}

/* What is due, and since when nothing has moved. */
static void add_ages(const rbk_engine *e, rbk_wall_ms due, rbk_metrics *ret)
{
    rbk_wall_ms now = rbk_engine_now(e), moved = LOAD(e->moved_at);
    if (due >= now)
        return;
    ret->oldest_due_ms = now - due;
    ret->stalled_ms = now - (moved > due ? moved : due);
    if (ret->stalled_ms < 0)
        ret->stalled_ms = 0;
}

void rbk_engine_metrics(const rbk_engine *e, rbk_metrics *ret)
{
    rbk_wall_ms due = LOAD(e->store_due), waiting = rbk_execute_oldest(e->execute);
    *ret = (rbk_metrics){
        .accepted = LOAD(e->accepted),
        .delivered = LOAD(e->delivered),
        .dead = LOAD(e->dead),
        .cancelled = LOAD(e->cancelled),
        .refused = LOAD(e->refused),
        .over_quota = LOAD(e->over_quota),
        .duplicates = LOAD(e->duplicates),
        .sync_calls = LOAD(e->sync_calls),
        .late = LOAD(e->late),
        .progress_sent = LOAD(e->progress_sent),
        .progress_lost = LOAD(e->progress_lost),
        .in_flight = (int64_t)rbk_couriers_in_flight(e->couriers),
        .pending = rbk_engine_pending(e),
        .pending_bytes = LOAD(e->pending_bytes),
        .in_memory = LOAD(e->in_memory),
        .held = LOAD(e->held),
        .queued = LOAD(e->queued),
        .due = LOAD(e->due),
        .kept_done = LOAD(e->kept_done),
        .kept_dead = LOAD(e->kept_dead),
        .lookups = rbk_resolver_lookups(),
    };
    rbk_couriers_numbers(e->couriers, ret, &due);
    add_ages(e, waiting < due ? waiting : due, ret);
}

int rbk_engine_ready(const rbk_engine *e)
{
    if (atomic_load(&e->health))
        return RBK_E_IO;
    bool busy = atomic_load(&e->refusing) || atomic_load(&e->full) ||
                rbk_engine_pending(e) >= e->conf.max_pending ||
                atomic_load(&e->pending_bytes) >= e->conf.max_pending_bytes;
    return busy ? RBK_E_BUSY : 0;
}
