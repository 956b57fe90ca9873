/* SPDX-License-Identifier: Apache-2.0 */
/* core/retry.h - when a delivery is tried again. Pure: the time and the random
 * number are parameters. */
#ifndef RBK_CORE_RETRY_H
#define RBK_CORE_RETRY_H

#include "base/str.h"

enum { RBK_RETRY_STEPS_MAX = 32 };

typedef struct rbk_retry_conf {
    int64_t step_ms[RBK_RETRY_STEPS_MAX]; /* waits after the 1st, 2nd, … attempt */
    size_t steps;
    double jitter;      /* 0.2: each wait is spread evenly over ±20 % */
    int64_t max_age_ms; /* given up this long after the first attempt; 0: sum of steps */
} rbk_retry_conf;

/* "5s,30s,2m,1h" into `ret`; jitter and max_age are left as they are. Units ms, s,
 * m, h, d; each step 1 ms to 30 days. 0, or RBK_E_INVAL. */
int rbk_retry_parse(rbk_str text, rbk_retry_conf *ret);

/* What came of an attempt. */
typedef enum rbk_outcome_kind {
    RBK_OUT_DELIVERED, /* 2xx after the whole request was written */
    RBK_OUT_GONE,      /* 410: the receiver asks never to be called again */
    RBK_OUT_FAILED     /* all else: tried again along the schedule */
} rbk_outcome_kind;

/* `status` is the HTTP status, 0 when there was none; `complete` says that the
 * whole request had been written. */
rbk_outcome_kind rbk_outcome_of(int status, bool complete);

/* After failed attempt number `attempts` (1 and up), the first of which began at
 * `first`: true and the time of the next one, or false: give up. `random` is any
 * 64 random bits. The time is never later than first + max_age. */
bool rbk_retry_next(const rbk_retry_conf *conf, uint32_t attempts, rbk_wall_ms first,
                    rbk_wall_ms now, uint64_t random, rbk_wall_ms *ret_due);

#endif
