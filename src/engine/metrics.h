/* SPDX-License-Identifier: Apache-2.0 */
/* engine/metrics.h - the numbers that the engine keeps of itself. Counters only rise. */
#ifndef RBK_ENGINE_METRICS_H
#define RBK_ENGINE_METRICS_H

#include <stdint.h>

/* How an attempt ended: symbol, label. */
#define RBK_ATTEMPT_OUTCOME_MAP(X)                                                                 \
    X(DELIVERED, "delivered") X(GONE, "gone") X(REDIRECT, "redirect") X(THROTTLED, "throttled")    \
    X(CLIENT_ERROR, "client_error") X(SERVER_ERROR, "server_error") X(RESOLVE, "resolve")          \
    X(ADDRESS, "address") X(CONNECT, "connect") X(TLS, "tls") X(TIMEOUT, "timeout")                \
    X(CLOSED, "closed") X(PROTOCOL, "protocol") X(OTHER, "other")

typedef enum rbk_attempt_outcome {
#define RBK_ATTEMPT_OUTCOME_ENUM(sym, label) RBK_ATTEMPT_##sym,
    RBK_ATTEMPT_OUTCOME_MAP(RBK_ATTEMPT_OUTCOME_ENUM)
#undef RBK_ATTEMPT_OUTCOME_ENUM
    RBK_ATTEMPT_OUTCOMES
} rbk_attempt_outcome;

enum { RBK_LATENCY_BUCKETS = 16 };
extern const double rbk_latency_bounds[RBK_LATENCY_BUCKETS]; /* seconds; the last is +Inf */

typedef struct rbk_metrics {
    uint64_t accepted, delivered, dead, cancelled, sync_calls, late;
    uint64_t refused; /* calls with a callback that became no job: busy, or not allowed */
    uint64_t over_quota; /* of these, because their caller has too much pending */
    uint64_t duplicates; /* requests whose idempotency key named a job that was there */
    uint64_t progress_sent, progress_lost; /* notifications of progress that arrived, or did not */
    uint64_t attempts[RBK_ATTEMPT_OUTCOMES];
    /* Seconds from acceptance to the receiver's 2xx, of delivered jobs. */
    uint64_t latency[RBK_LATENCY_BUCKETS]; /* each bucket alone, not cumulative */
    double latency_sum;
    int64_t in_flight;                     /* attempts under way */
    int64_t pending, pending_bytes, in_memory;
    int64_t held, queued, due;             /* pending by stored state */
    int64_t kept_done, kept_dead;          /* finished jobs that the store still has */
    int64_t oldest_due_ms;    /* how long the job that is due longest is overdue; 0: none is */
    int64_t stalled_ms;       /* since a job last made progress while some are due; 0: none is */
    int64_t receivers, receivers_paused;
    int64_t sessions;         /* of clients' websockets that are connected */
    int64_t unacknowledged;   /* responses that were sent on them */
    uint64_t lookups;
} rbk_metrics;

#endif
