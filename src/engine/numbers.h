/* SPDX-License-Identifier: Apache-2.0 */
/* engine/numbers.h - what one courier loop counts. The loop alone writes; anybody reads. So
 * a count costs a load and a store, and loops do not share cache lines. */
#ifndef RBK_ENGINE_NUMBERS_H
#define RBK_ENGINE_NUMBERS_H

#include <stdatomic.h>

#include "engine/metrics.h"
#include "ringback/types.h"

typedef struct rbk_numbers {
    atomic_uint_fast64_t attempts[RBK_ATTEMPT_OUTCOMES];
    atomic_uint_fast64_t latency[RBK_LATENCY_BUCKETS];
    atomic_uint_fast64_t latency_ms;
    /* Looked at now and then. */
    atomic_int_fast64_t receivers, paused;
    atomic_int_fast64_t oldest_due; /* of jobs in memory that are not under way; INT64_MAX: none */
} rbk_numbers;

/* How an attempt ended; `err` and `status` as in its result. */
rbk_attempt_outcome rbk_attempt_outcome_of(int err, int status, bool delivered);

/* Loop thread. */
void rbk_numbers_attempt(rbk_numbers *n, rbk_attempt_outcome outcome);
void rbk_numbers_latency(rbk_numbers *n, int64_t ms);

/* Adds them to `ret`, and lowers *due to their oldest. Any thread. */
void rbk_numbers_sum(const rbk_numbers *n, rbk_metrics *ret, rbk_wall_ms *due);

#endif
