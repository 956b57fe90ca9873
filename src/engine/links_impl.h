/* SPDX-License-Identifier: Apache-2.0 */
/* engine/links_impl.h - the links' own, shared by
 *
 * links.c      admission: who waits where, what goes to the store as one group
 * links_run.c  what waits in memory begins, and ends */
#ifndef RBK_ENGINE_LINKS_IMPL_H
#define RBK_ENGINE_LINKS_IMPL_H

#include "engine/links.h"

#include "core/plan.h"
#include "engine/call.h"

enum { RBK_LINKS_FAULT_MAX = 65536, RBK_RESULTS_OF_LINKS = 16 };

typedef enum rbk_node_kind {
    RBK_NODE_STORED,  /* a job that goes to the store at once, or a member that is refused */
    RBK_NODE_WAITING, /* it waits here: has a call or a ticket */
} rbk_node_kind;

typedef struct rbk_links_node {
    rbk_node_kind kind;
    bool sync;    /* no callback */
    bool watched; /* a job whose response is wanted here */
    bool member;  /* its response goes to the callback of the whole */
    bool job;     /* it was to become a job of the group */
    bool done, lost, queued;
    size_t missing;
    rbk_str response; /* absent when it is done without one */
    rbk_buf kept;     /* of the response, where nobody else keeps it */
    rbk_buf params;   /* with all references replaced; or the fault */
    rbk_call *call;
    rbk_ticket *ticket;
} rbk_links_node;

struct rbk_links {
    rbk_engine *e;
    rbk_exchange *ex; /* whose this is */
    rbk_rpc_doc *doc;
    rbk_plan *plan;
    rbk_str callback;
    rbk_links_node *nodes;
    pthread_mutex_t lock; /* guards what follows, and the nodes once they may begin */
    uint32_t *queue;
    size_t first, last; /* in the queue, through which a member goes once */
    size_t kept;
    bool busy; /* somebody takes from the queue, or will */
};

static inline const rbk_plan_member *rbk_links_plan(const rbk_links *l, size_t i)
{
    return &l->plan->members[i];
}

/* With the lock held: its turn will come, once. */
void rbk_links_enqueue(rbk_links *l, uint32_t item);

#endif
