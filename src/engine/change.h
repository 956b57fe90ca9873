/* SPDX-License-Identifier: Apache-2.0 */
/* engine/change.h - changes of stored jobs that an operator wants: retry, cancel, purge; and
 * cancels that callers want of their own.
 *
 * A request (rbk_changing) begins with a look-up on the reader thread. Each job that was found
 * becomes a ticket that owes the request one answer, with a change that is made only if the job
 * is in the store alone (`waiting`). The store thread puts it into an ordinary commit. A job that
 * turns out to be in memory is asked for where it is: method threads (a queued or running
 * call) or its courier loop; its own ticket then carries the change, and the debt. A job that is
 * on its way between two places, or has changed since it was read, is read again, one of a
 * request after the other. */
#ifndef RBK_ENGINE_CHANGE_H
#define RBK_ENGINE_CHANGE_H

#include "engine/admin.h"
#include "engine/engine_impl.h"
#include "engine/reader.h"

enum { RBK_CHANGES_MAX = 16, RBK_OWNED_CHANGES_MAX = 256, RBK_ACKS_MAX = 16384 }; /* requests at one time */

typedef struct rbk_changing {
    rbk_waiter waiter; /* first */
    rbk_link link; /* among those of the engine. This and `left`, `sum`, `told`, `asked`, `to_ask`:
                      e->changes_lock */
    rbk_engine *e;
    rbk_change_kind kind;
    bool one;      /* by id: an error is the answer */
    uint32_t states; /* of many: those that the filter names, 0 for all */
    char *to;      /* RETRY: another callback, or NULL */
    bool quick;    /* ACK: nobody waits until it is durable */
    char session[RBK_LANE_MAX + 1]; /* ACK: "ws:<hash>", whose it is to be */
    bool owned;    /* of a caller, whose name is `owner`; NULL: anonymous */
    char *owner;
    rbk_changed_fn fn;
    void *user;
    size_t left;   /* answers that are owed */
    rbk_changed sum;
    bool told;
    rbk_question again; /* the job of `asked` is read again; `to_ask` wait for their turn */
    rbk_ticket *asked;
    rbk_list to_ask;
    rbk_job *found;     /* what was read of it: the reader's */
    int found_err;
} rbk_changing;

static inline rbk_changing *rbk_changing_of(const rbk_ticket *t)
{
    return (rbk_changing *)(void *)t->waiter;
}

/* A request that owes one answer, to its maker. RBK_E_BUSY: too many; RBK_E_NOMEM. */
int rbk_changing_new(rbk_engine *e, const rbk_change *change, rbk_changed_fn fn, void *user,
                     rbk_changing **ret);
/* The client of a session ("ws:<hash>") has the response of a job: the job is delivered. The answer
 * comes when that is durable; for `quick` when it is known to be one that was sent. RBK_E_NOTFOUND: unknown, of
 * another session, or without a response. Errors of the call as for rbk_engine_change(); any thread. */
int rbk_engine_ack(rbk_engine *e, rbk_str session, rbk_id job, bool quick, rbk_changed_fn fn, void *user);
/* One more answer will be given. */
void rbk_changing_owe(rbk_changing *c);
/* One that was owed: 0, the job is changed; or why not. After the last one the request is
 * answered and gone. Any thread. */
void rbk_changing_tell(rbk_changing *c, int err);
/* The same of a request for one job: it is changed, and in this state now. */
void rbk_changing_done(rbk_changing *c, uint8_t state);
/* The maker's own answer: nothing but that it is done. */
void rbk_changing_leave(rbk_changing *c);
/* Nothing came of it, and nobody was told: the maker tells. */
void rbk_changing_forget(rbk_changing *c);
/* All that are left are answered RBK_E_BUSY: the engine has ended. */
void rbk_changes_end(rbk_engine *e);

/* May the request see this job? */
bool rbk_changing_sees(const rbk_changing *c, const rbk_job *job);

/* A ticket that changes `job`, as it was read, and owes an answer to `c`. RBK_E_STATE: this job
 * cannot be changed so; RBK_E_NOMEM. The job stays the caller's. */
int rbk_change_ticket(rbk_changing *c, const rbk_job *job, rbk_ticket **ret);
/* The job was not where it had been: it is read again, some times, and then is busy. Takes the
 * ticket. Any thread. */
void rbk_change_again(rbk_ticket *t);

#endif
