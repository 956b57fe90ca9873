/* SPDX-License-Identifier: Apache-2.0 */
/* engine/ticket.c - the one place where a job's state changes. */
#include "engine/ticket.h"

#include "engine/quotas.h"

#include <stdlib.h>

rbk_ticket *rbk_ticket_new(rbk_job *job)
{
    rbk_ticket *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->job = job;
    t->run_slot = RBK_NO_SLOT;
    return t;
}

void rbk_ticket_free(rbk_ticket *t)
{
    if (t == NULL)
        return;
    if (t->waiter)
        t->waiter->dropped(t->waiter);
    if (t->begins)
        t->begins->dropped(t->begins);
    if (t->quota)
        rbk_quotas_leave(t);
    rbk_job_free(t->job);
    free(t->signature);
    free(t->note);
    free(t->idem);
    free(t->key);
    free(t);
}

/* RUNNING and SENDING live in memory alone, unless the job is marked: the store sees QUEUED and
 * DUE. */
static uint8_t stored_state(const rbk_ticket *t)
{
    uint8_t s = t->job->state;
    if (s == RBK_JOB_RUNNING && !t->marked)
        return RBK_JOB_QUEUED;
    return s == RBK_JOB_SENDING ? RBK_JOB_DUE : s;
}

int rbk_ticket_move(rbk_ticket *t, rbk_job_event event, rbk_op_kind op)
{
    rbk_job_state to;
    int r = rbk_job_next((rbk_job_state)t->job->state, event, &to);
    if (r < 0)
        return r;
    t->from = stored_state(t);
    t->job->state = (uint8_t)to;
    t->op = op;
    return 0;
}

void rbk_ticket_park(rbk_ticket *t, rbk_wall_ms due)
{
    if (rbk_ticket_move(t, RBK_EV_LEASE_LOST, RBK_OP_PARK) < 0) {
        t->op = RBK_OP_PARK; /* it had not begun: nothing moves but the shelf */
        t->from = t->job->state;
    }
    t->job->due = due;
}
