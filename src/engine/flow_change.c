/* SPDX-License-Identifier: Apache-2.0 */
/* engine/flow_change.c - operators' changes after their commit: made, or to be asked for where the job
 * is. See change.h. Store thread. */
#include "engine/flow_impl.h"

#include "engine/change.h"
#include "engine/courier.h"
#include "engine/execute.h"
#include "engine/follows.h"
#include "engine/watch.h"

/* Takes the ticket. */
static void tell(rbk_ticket *t, int err)
{
    rbk_changing *c = rbk_changing_of(t);
    t->waiter = NULL;
    rbk_ticket_free(t);
    rbk_changing_tell(c, err);
}

static void done(rbk_engine *e, rbk_ticket *t)
{
    rbk_changing *c = rbk_changing_of(t);
    uint8_t state = t->job->state;
    rbk_watches_wake(e->watches, t->job->seq);
    t->waiter = NULL;
    rbk_ticket_free(t);
    rbk_changing_done(c, state);
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
        rbk_follows_tell(f->follows, t->job);
        rbk_flow_wait_in_store(f, t->job);
        break;
    case RBK_OP_DONE:
        atomic_fetch_sub(&e->stored, 1);
        atomic_fetch_add(t->job->state == RBK_JOB_DELIVERED ? &e->delivered : &e->cancelled, 1);
        break;
    default:
        break;
    }
    done(e, t);
}

void rbk_flow_settle_change(rbk_flow *f, rbk_ticket *t, rbk_op_outcome outcome)
{
    if (outcome == RBK_OUTCOME_OK)
        settle_change(f, t);
    else if (outcome == RBK_OUTCOME_IN_MEMORY)
        rbk_list_push(&f->in_memory, &t->node);
    else if (outcome == RBK_OUTCOME_STALE)
        rbk_change_again(t);
    else if (outcome == RBK_OUTCOME_BLOCKED) {
        if (t->op == RBK_OP_RESULT) {
            rbk_follows_tell(f->follows, t->job); /* its response waits for its turn to be sent alone */
            done(f->e, t);
        } else {
            tell(t, RBK_E_STATE);
        }
    } else {
        rbk_ticket_free(t);
    }
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
