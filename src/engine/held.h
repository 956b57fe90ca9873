/* SPDX-License-Identifier: Apache-2.0 */
/* engine/held.h - jobs of one body that wait for the addresses of their hosts.
 *
 * All look-ups of a body go out together, and the body waits once: at most the time that
 * the policy says. Its other jobs wait with them, so that order is kept and one commit
 * serves all. A look-up that brings no answer in time holds nobody up: the same check is
 * made again at every attempt. */
#ifndef RBK_ENGINE_HELD_H
#define RBK_ENGINE_HELD_H

#include "engine/exchange.h"

typedef struct rbk_held rbk_held;

/* Whether a callback may go on, its host being a name. */
typedef enum rbk_name_verdict { RBK_NAME_FINE, RBK_NAME_REFUSED, RBK_NAME_ASK } rbk_name_verdict;

/* What is known now; ASK: nothing is. Any thread. */
rbk_name_verdict rbk_held_look(rbk_engine *e, const rbk_netpolicy *policy, const rbk_dsn *dsn);

/* The host of a job's callback, or of the one for errors. */
typedef struct rbk_held_name {
    const rbk_dsn *dsn;
    bool failure;
} rbk_held_name;

/* `t` waits for the host; `*h` is made for the first. In the order of the tickets. Without memory
 * or room it does not wait. */
void rbk_held_add(rbk_held **h, const rbk_held_name *name, const rbk_ticket *t);

/* Ask, judge, and hand the jobs over by rbk_admit_hand_over(); all of it later and on another
 * thread, or at once where nobody can be asked. Takes `h` and the tickets, which hold
 * those that were added; `policy` is referenced. */
typedef struct rbk_held_call {
    rbk_engine *e;
    rbk_exchange *ex;
    rbk_netpolicy *policy;
    rbk_list *jobs;
    rbk_str caller;
    bool late; /* one job, which is no part of its body's group */
} rbk_held_call;
void rbk_held_ask(rbk_held *h, const rbk_held_call *call);

/* engine/admit.c: jobs of one body go to the store's inbox as one, or are refused. */
void rbk_admit_hand_over(rbk_engine *e, rbk_exchange *ex, rbk_list *jobs);
/* engine/admit.c: the same for one job of a body that was admitted before, whose callback is checked again
 * by what is known now, and looked up. Takes the ticket. Any thread. */
void rbk_admit_late(rbk_engine *e, rbk_ticket *t);
/* What is wrong with a job's callback, or with the one for errors. */
typedef struct rbk_admit_fault {
    rbk_dsn_fault fault;
    bool failure;
} rbk_admit_fault;
/* engine/admit.c: the reason for `f` is the member's answer. */
void rbk_admit_refuse(rbk_exchange *ex, uint32_t item, const rbk_netpolicy *policy,
                      const rbk_admit_fault *f);

#endif
