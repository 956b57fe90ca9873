/* SPDX-License-Identifier: Apache-2.0 */
/* engine/expiry.c - see expiry.h. */
#include "engine/expiry.h"

#include "base/clock.h"
#include "base/id.h"
#include "engine/call.h"
#include "engine/flow.h"
#include "engine/store_thread.h"

enum { TURN_JOBS = 256, EVERY_MS = 20 };

void rbk_expiry_note(rbk_expiry *x, const rbk_job *job)
{
    bool may_run = job->state == RBK_JOB_QUEUED || job->state == RBK_JOB_HELD;
    if (job->deadline && may_run && job->deadline < x->next)
        x->next = job->deadline;
}

/* Without memory for that it goes back, and is asked for again. */
static void answer(rbk_expiry *x, rbk_engine *e, const rbk_store_ops *ops, rbk_store *st,
                   rbk_job *job)
{
    rbk_ticket *t = rbk_ticket_new(job);
    if (t == NULL) {
        rbk_expiry_note(x, job);
        rbk_flow_put_back(ops, st, job);
    } else if (rbk_job_answer_fault(e, t, RBK_E_TIMEOUT) < 0) {
        rbk_ticket_park(t, rbk_id_ms((uint64_t)job->seq));
        rbk_store_push(e->store, t);
    }
}

int rbk_expiry_turn(rbk_expiry *x, rbk_engine *e, const rbk_store_ops *ops, rbk_store *st,
                    rbk_error *err)
{
    rbk_job *jobs = NULL;
    rbk_wall_ms next = INT64_MAX;
    rbk_mono_ms now = rbk_mono_now();
    if (x->next > rbk_wall_now() || x->not_before > now)
        return 0;
    int n = ops->expired(st, rbk_wall_now(), TURN_JOBS, &jobs, &next, err);
    if (n < 0)
        return n;
    x->next = next;
    x->not_before = n == TURN_JOBS ? now : now + EVERY_MS;
    while (jobs) {
        rbk_job *job = jobs;
        jobs = job->next;
        job->next = NULL;
        answer(x, e, ops, st, job);
    }
    return 0;
}

int64_t rbk_expiry_wait_ms(const rbk_expiry *x)
{
    if (x->next == INT64_MAX)
        return INT64_MAX;
    int64_t wait = x->next - rbk_wall_now(), least = x->not_before - rbk_mono_now();
    wait = wait > least ? wait : least;
    return wait > 0 ? wait : 0;
}
