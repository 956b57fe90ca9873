/* SPDX-License-Identifier: Apache-2.0 */
/* engine/recover.c - the start: what was in memory when the last process ended comes back.
 *
 * The table of running methods tells which jobs a death cut off: they have one more run
 * behind them, which is noted in the store first. Then each job of the job shelf goes on
 * where the store has it: QUEUED ones run, DUE ones are sent. What waits in the store alone
 * is found by the flow's scan. Runs on the starting thread, before the store thread. */
#include "engine/store_thread_impl.h"

#include "base/error.h"
#include "engine/courier.h"
#include "engine/runs.h"

#include <stdlib.h>

enum { RECOVER_JOBS = 256 };

/* One more run is behind the jobs of `left`. */
static int store_runs(rbk_store_thread *s, const rbk_run_left *left, size_t n, rbk_error *err)
{
    rbk_job jobs[RECOVER_JOBS] = {{0}};
    for (size_t i = 0; i < n; i++) {
        jobs[i] = (rbk_job){.seq = left[i].seq, .rnd = left[i].rnd, .runs = left[i].run,
                            .state = RBK_JOB_QUEUED};
        s->op[i] = (rbk_store_op){.kind = RBK_OP_RUNS, .from = RBK_JOB_QUEUED, .job = &jobs[i]};
    }
    return rbk_store_apply(s, n, err);
}

/* What was running when the last process died. Without room on the disk to note it, the
 * table keeps it for the next start. */
static int recover_runs(rbk_store_thread *s, rbk_error *err)
{
    rbk_run_left *left = NULL;
    int n = rbk_runs_left(s->e->runs, &left), r = 0;
    if (n < 0)
        return rbk_fail(err, n, "the table of running methods");
    for (int at = 0; at < n && r == 0; at += RECOVER_JOBS)
        r = store_runs(s, left + at, (size_t)(n - at < RECOVER_JOBS ? n - at : RECOVER_JOBS), err);
    free(left);
    if (n > 0)
        rbk_event(RBK_LOG(s->e), RBK_WARN, "start.interrupted_runs", RBK_F("jobs", n));
    if (r == RBK_E_DISK_FULL)
        rbk_runs_keep(s->e->runs);
    else if (r == 0)
        rbk_runs_clear(s->e->runs);
    return r == RBK_E_DISK_FULL ? 0 : r;
}

/* The chain goes on; without memory for it the start fails. */
static int recover_chain(rbk_store_thread *s, rbk_job *jobs, int64_t *ret_last)
{
    int r = 0;
    while (jobs) {
        rbk_job *job = jobs;
        jobs = job->next;
        job->next = NULL;
        *ret_last = job->seq;
        rbk_ticket *t = r == 0 ? rbk_ticket_new(job) : NULL;
        if (t) {
            rbk_flow_recover(s->flow, t);
        } else {
            rbk_job_free(job);
            r = RBK_E_NOMEM;
        }
    }
    return r;
}

static int recover_jobs(rbk_store_thread *s, rbk_error *err)
{
    int64_t after = 0, total = 0;
    int n = RECOVER_JOBS;
    while (n == RECOVER_JOBS) {
        rbk_job *jobs = NULL;
        n = s->ops->recover(s->st, after, RECOVER_JOBS, &jobs, err);
        if (n < 0)
            return n;
        if (recover_chain(s, jobs, &after) < 0)
            return rbk_fail(err, RBK_E_NOMEM, "recovery");
        total += n;
    }
    rbk_couriers_flush(s->e->couriers);
    rbk_event(RBK_LOG(s->e), RBK_INFO, "start.recovered", RBK_F("in_memory", total),
              RBK_F("pending", rbk_engine_pending(s->e)));
    return 0;
}

int rbk_store_recover(rbk_store_thread *s, rbk_error *err)
{
    int r = recover_runs(s, err);
    return r < 0 ? r : recover_jobs(s, err);
}
