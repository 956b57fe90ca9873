/* SPDX-License-Identifier: Apache-2.0 */
/* core/retry.h - when a delivery is tried again. Pure: the times and the random
 * number are parameters.
 *
 * Schedules are stored as wall time and waited on by the monotonic clock. A schedule clock
 * is both: wall time as it was at the start, carried on by the monotonic clock, so nobody
 * who sets the wall clock moves it. It never begins before the newest time that the store
 * knows: what was ready before a restart is ready after it, whatever the wall clock says. */
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
    RBK_OUT_DELIVERED, /* 2xx, or a websocket's close 1000, after all of it was written */
    RBK_OUT_GONE,      /* 410: the receiver asks never to be called again */
    RBK_OUT_FAILED     /* all else: tried again along the schedule */
} rbk_outcome_kind;

/* `status` is the HTTP status or the code of a websocket's close, 0 without either; `complete` says that the
 * whole request had been written. */
rbk_outcome_kind rbk_outcome_of(int status, bool complete);

/* Does the failure speak of the host, and not of the one job? No answer in time, no
 * connection, no TLS; 429, 502, 503, 504; a close with 1001 (going away), 1012 (restart), 1013
 * (try again later) or 1014 (bad gateway). `err` is the attempt's, 0 when it was answered. */
bool rbk_retry_blames_host(int err, int status);

/* What a Retry-After asks for, in ms from `now` (the real wall clock): 1 s to 24 h. 0: it
 * does not count, because the status is none of 429, 503 and 504, or the value is neither
 * a whole number of seconds nor a date (RFC 9110 5.6.7) that lies ahead. */
int64_t rbk_retry_after(int status, rbk_str value, rbk_wall_ms now);

/* When a delivery whose first attempt began at `first` is given up. */
rbk_wall_ms rbk_retry_end(const rbk_retry_conf *conf, rbk_wall_ms first);

/* After failed attempt number `attempts` (1 and up), the first of which began at
 * `first`: true and the time of the next one, or false: give up. `random` is any
 * 64 random bits. The time is never later than first + max_age. */
bool rbk_retry_next(const rbk_retry_conf *conf, uint32_t attempts, rbk_wall_ms first,
                    rbk_wall_ms now, uint64_t random, rbk_wall_ms *ret_due);
/* The same when the receiver asked to wait for `after_ms`: that long exactly. */
bool rbk_retry_next_after(const rbk_retry_conf *conf, rbk_wall_ms first, rbk_wall_ms now,
                          int64_t after_ms, rbk_wall_ms *ret_due);

typedef struct rbk_sched_clock {
    int64_t ahead; /* of the monotonic clock */
} rbk_sched_clock;

/* The clock of a process that starts now. `newest`: newest time that the store knows. */
static inline rbk_sched_clock rbk_sched_begin(rbk_wall_ms wall, rbk_mono_ms mono,
                                              rbk_wall_ms newest)
{
    return (rbk_sched_clock){(wall > newest ? wall : newest) - mono};
}

static inline rbk_wall_ms rbk_sched_at(rbk_sched_clock c, rbk_mono_ms mono)
{
    return mono + c.ahead;
}

#endif
