/* SPDX-License-Identifier: Apache-2.0 */
/* engine/ticket.h - a job on its way through memory.
 *
 * A ticket belongs to one part at a time: admit, the store thread, a method's call, a
 * courier. It goes from one to the next by a queue, and what the next change in the
 * store is to be goes with it. */
#ifndef RBK_ENGINE_TICKET_H
#define RBK_ENGINE_TICKET_H

#include "base/queue.h"
#include "core/job_state.h"
#include "ringback/store.h"
#include "seam/methods.h"

typedef struct rbk_lane rbk_lane;
struct rbk_exchange;
typedef struct rbk_report rbk_report;
typedef struct rbk_quota rbk_quota;

/* Members of one batch that have to do with each other. */
enum { RBK_GROUP_MAX = 1000 };

#define RBK_NO_SLOT UINT32_MAX

/* Somebody who waits for what comes of a ticket's change (engine/change.h). */
typedef struct rbk_waiter {
    void (*dropped)(struct rbk_waiter *w); /* nothing does: the ticket has gone */
} rbk_waiter;

typedef struct rbk_ticket {
    rbk_node node; /* first */
    rbk_job *job;  /* the ticket's own */
    rbk_op_kind op; /* the change that the store is asked for */
    uint8_t from;   /* stored state that it starts from */
    rbk_shelf shelf;
    bool waited;       /* RESULT: somebody waits for it; it takes no place in a lane */
    bool divert;       /* RESULT: an error, and the job's callback is now the one for errors */
    bool waiting;      /* of an operator: only if the job is in the store alone */
    uint8_t tries;     /* the same: how often it was not where it had been read */
    bool prepared;     /* shelf and lane are chosen for `op` */
    rbk_lane *lane;      /* the lane whose place in memory it takes; store thread only */
    rbk_lane *next_lane; /* the place that it takes once `op` is committed */
    size_t lane_bytes;   /* what it was counted with in `lane` */
    bool marked;        /* the store has it as RUNNING: its method is at-most-once */
    rbk_waiter *begins; /* STATE: the call that begins when it is done; or NULL */
    rbk_waiter *waiter; /* is told what comes of `op`; NULL: nobody is */
    struct rbk_exchange *ex; /* PUT: whom to acknowledge; a reference */
    uint32_t item;     /* PUT: which member of the exchange; their number: the whole batch */
    bool more;         /* PUT: the next ticket goes into the same commit (engine/links.h) */
    bool watched;      /* PUT: members in memory wait for its response (engine/follows.h) */
    uint32_t run_slot; /* its row in the table of running methods */
    char *key;         /* PUT: the lane of its order key, malloc'ed; or NULL */
    bool blocked;      /* `op` is done, and the job waits for others of its key */
    rbk_idem *idem;    /* PUT: the idempotency key that it takes, malloc'ed; or NULL */
    rbk_quota *quota;  /* PUT: where it is counted on its way to the store (engine/quotas.h); or NULL */
    int64_t quota_bytes;
    rbk_attempt_note *note; /* RETRY, DEAD: the attempt that failed, malloc'ed; or NULL */
    const rbk_method_entry *method; /* NULL: not known (any more) */
    rbk_report *report;      /* it is a report's, and no job's (engine/progress.h) */
    char *signature;         /* of the first attempt, made ahead by engine/signer.c; or NULL */
    rbk_wall_ms signed_at;   /* its webhook-timestamp */
} rbk_ticket;

/* Takes `job`; NULL when memory is out: the job is then still the caller's. */
rbk_ticket *rbk_ticket_new(rbk_job *job);
/* The job too; a waiter is told, a call that was to begin is let go of. */
void rbk_ticket_free(rbk_ticket *t);

/* The one mover: `event` happens to the job. Sets job->state by the state table and
 * asks the store for `op`. An impossible move is RBK_E_STATE and changes nothing. */
int rbk_ticket_move(rbk_ticket *t, rbk_job_event event, rbk_op_kind op);

/* The job goes back to the wait shelf as QUEUED or DUE, not before `due`. */
void rbk_ticket_park(rbk_ticket *t, rbk_wall_ms due);

#endif
