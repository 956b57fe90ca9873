/* SPDX-License-Identifier: Apache-2.0 */
/* core/job_state.h - the life of a job as data: one table {state, event} -> state.
 * Pure; any thread. Stored values are frozen. docs/jobs.md shows the same table. */
#ifndef RBK_CORE_JOB_STATE_H
#define RBK_CORE_JOB_STATE_H

#include "ringback/types.h"

#define RBK_JOB_STATE_MAP(X) /* name, stored value, terminal */                                    \
    X(QUEUED, 1, 0)                                                                                \
    X(RUNNING, 2, 0)                                                                               \
    X(DUE, 3, 0)                                                                                   \
    X(SENDING, 4, 0)                                                                               \
    X(DELIVERED, 5, 1)                                                                             \
    X(DEAD, 6, 1)                                                                                  \
    X(CANCELLED, 7, 1)                                                                             \
    X(HELD, 8, 0)                                                                                  \
    X(COLLECTED, 9, 1)

#define RBK_JOB_EVENT_MAP(X)                                                                       \
    X(CLAIM) X(RESULT) X(SEND) X(ACK) X(GIVE_UP) X(REFUSE) X(RETRY) X(REDRIVE) X(RELEASE)          \
    X(LEASE_LOST) X(LEASE_LOST_ONCE) X(CANCEL) X(EXPIRE) X(DONE) X(ANSWERED) X(COLLECT)            \
    X(ACK_CANCELLED)

typedef enum rbk_job_state {
#define X(name, value, terminal) RBK_JOB_##name = value,
    RBK_JOB_STATE_MAP(X)
#undef X
    RBK_JOB_STATE_N = 10
} rbk_job_state;

/* LEASE_LOST_ONCE is LEASE_LOST of a job whose method runs at most once.
 * ACK_CANCELLED is the outcome of a send that CANCEL met: anything but success. */
typedef enum rbk_job_event {
#define X(name) RBK_EV_##name,
    RBK_JOB_EVENT_MAP(X)
#undef X
    RBK_EV_N
} rbk_job_event;

/* 0 and the state that `event` leads to, or RBK_E_STATE where that move does not
 * exist; then `ret_to` is not written. */
int rbk_job_next(rbk_job_state from, rbk_job_event event, rbk_job_state *ret_to);

bool rbk_job_is_terminal(rbk_job_state s);
const char *rbk_job_state_name(rbk_job_state s); /* "QUEUED"; "?" for no state */
const char *rbk_job_event_name(rbk_job_event e);

#endif
