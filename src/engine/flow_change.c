/* SPDX-License-Identifier: Apache-2.0 */
/* engine/flow_change.c - operators' changes after their commit: made, or to be asked for where the job
 * is. See change.h. Store thread. */
#include "engine/flow_impl.h"

#include "engine/change.h"
#include "engine/courier.h"
#include "engine/execute.h"
#include "engine/watches.h"

/* Takes the ticket. */
static void tell(rbk_ticket *t, int err)
{
    rbk_changing *c = rbk_changing_of(t);
    t->waiter = NULL;
    rbk_ticket_free(t);
    rbk_changing_tell(c, err);
}

/* It is made, of a job in the store alone. */
static void settle_change(rbk_flow *f, rbk_ticket *t)
{
    rbk_engine *e = f->e;
    switch (t->op) {
    case RBK_OP_REDRIVE:
    case RBK_OP_PARK:
        atomic_fetch_add(&e->stored, t->op == RBK_OP_REDRIVE);
        rbk_flow_wait_in_store(f, t->job);
        rbk_couriers_hurry(e->couriers, t->job->lane);
        break;
    case RBK_OP_RESULT:
        rbk_watches_tell(f->watches, t->job);
        rbk_flow_wait_in_store(f, t->job);
        break;
    case RBK_OP_DONE:
        atomic_fetch_sub(&e->stored, 1);
        atomic_fetch_add(&e->cancelled, 1);
        break;
    default:
        break;
    }
    tell(t, 0);
}

void rbk_flow_settle_change(rbk_flow *f, rbk_ticket *t, rbk_op_outcome outcome)
{
    if (outcome == RBK_OUTCOME_OK)
        settle_change(f, t);
    else if (outcome == RBK_OUTCOME_IN_MEMORY)
        rbk_list_push(&f->in_memory, &t->node);
    else if (outcome == RBK_OUTCOME_STALE)
        rbk_change_again(t);
    else if (outcome == RBK_OUTCOME_BLOCKED)
        tell(t, t->op == RBK_OP_RESULT ? 0 : RBK_E_STATE); /* its response waits for its turn */
    else
        rbk_ticket_free(t);
}

void rbk_flow_settled(rbk_flow *f)
{
    rbk_list calls = {0};
    for (rbk_node *n; (n = rbk_list_pop(&f->in_memory));) {
        rbk_ticket *t = (rbk_ticket *)(void *)n;
        if (t->from == RBK_JOB_DUE)
            rbk_couriers_change(f->e->couriers, t);
        else
            rbk_list_push(&calls, n);
    }
    rbk_execute_cancel(f->e->execute, &calls);
}
