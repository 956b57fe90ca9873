/* SPDX-License-Identifier: Apache-2.0 */
/* front/front_numbers.h - what one loop of the front counts. The loop alone writes; anybody reads. */
#ifndef RBK_FRONT_FRONT_NUMBERS_H
#define RBK_FRONT_FRONT_NUMBERS_H

#include "engine/engine.h"
#include "net/http_numbers.h"

/* Why a request or a connection was refused as a whole: symbol, label. */
#define RBK_REFUSAL_MAP(X)                                                                         \
    X(CONNECTIONS, "connections") X(PER_ADDRESS, "per_address") X(RATE, "rate")                    \
    X(TOKEN_RATE, "token_rate") X(UNAUTHORIZED, "unauthorized") X(FORBIDDEN, "forbidden")          \
    X(PATH, "path") X(METHOD, "method") X(CONTENT_TYPE, "content_type")                            \
    X(MALFORMED, "malformed") X(SLOW, "slow") X(TOO_LARGE, "too_large") X(BUSY, "busy")            \
    X(TOKEN_PENDING, "token_pending") X(OTHER, "other")

typedef enum rbk_refusal {
#define RBK_REFUSAL_ENUM(sym, label) RBK_REFUSAL_##sym,
    RBK_REFUSAL_MAP(RBK_REFUSAL_ENUM)
#undef RBK_REFUSAL_ENUM
    RBK_REFUSALS
} rbk_refusal;

enum { RBK_DURATION_BUCKETS = 16 };
extern const double rbk_duration_bounds[RBK_DURATION_BUCKETS]; /* seconds; the last is +Inf */

typedef struct rbk_front_numbers {
    rbk_http_numbers http;
    atomic_uint_fast64_t refused[RBK_REFUSALS];
    /* Bodies, from the last of their bytes to the answer. */
    atomic_uint_fast64_t durations[RBK_EXCHANGE_KINDS][RBK_DURATION_BUCKETS];
    atomic_uint_fast64_t duration_us[RBK_EXCHANGE_KINDS];
} rbk_front_numbers;

/* The sum over all loops. */
typedef struct rbk_front_metrics {
    uint64_t answers[RBK_HTTP_STATUSES];
    uint64_t accepted, bytes_in, bytes_out;
    uint64_t refused[RBK_REFUSALS];
    uint64_t durations[RBK_EXCHANGE_KINDS][RBK_DURATION_BUCKETS]; /* each bucket alone */
    double duration_sum[RBK_EXCHANGE_KINDS];
    uint64_t open; /* connections */
    uint64_t websockets; /* of these */
} rbk_front_metrics;

/* Loop thread. */
void rbk_front_numbers_answered(rbk_front_numbers *n, rbk_exchange_kind kind, uint64_t us);
/* Adds them to `ret`. Any thread. */
void rbk_front_numbers_sum(const rbk_front_numbers *n, rbk_front_metrics *ret);

/* Behind the engine's, as Prometheus text and as members of `rpc.stats`. */
void rbk_front_write_metrics(rbk_buf *b, const rbk_front_metrics *m);
void rbk_front_write_stats(rbk_buf *b, const rbk_front_metrics *m);

#endif
