/* SPDX-License-Identifier: Apache-2.0 */
/* store/rules.c - see rules.h.
 *
 * Each operation must be safe to repeat: after RBK_E_UNKNOWN the engine applies the
 * same again, whether it was committed or not. So a row that already shows what the
 * operation wants is OK, and only a row that shows something else is STALE. */
#include "store/rules.h"

#include "base/str.h"
#include "core/job_state.h"

/* lanes() gives NUL-terminated names of bounded length. */
static bool is_too_big(const rbk_job *job)
{
    return rbk_job_bytes(job) - sizeof *job > RBK_STORE_JOB_MAX || job->lane.n > RBK_LANE_MAX ||
           (job->lane.n && memchr(job->lane.p, 0, job->lane.n));
}

/* A waiting job is found by its lane alone. */
static bool lacks_lane(const rbk_store_op *op, const rbk_store_row *row)
{
    int target = rbk_store_target(op, row->shelf);
    if (target != RBK_SHELF_WAIT || op->kind == RBK_OP_RUNS || op->kind == RBK_OP_DONE)
        return false;
    bool keeps = op->kind == RBK_OP_RETRY || (op->kind == RBK_OP_RESULT && op->job->lane.p == NULL);
    return keeps ? !row->has_lane : op->job->lane.n == 0;
}

int rbk_store_target(const rbk_store_op *op, int now)
{
    switch (op->kind) {
    case RBK_OP_PUT:
    case RBK_OP_RESULT:
    case RBK_OP_RETRY:
        return op->shelf == RBK_SHELF_WAIT ? RBK_SHELF_WAIT : RBK_SHELF_JOB;
    case RBK_OP_PARK:
        return RBK_SHELF_WAIT;
    case RBK_OP_DEAD:
        return RBK_SHELF_DEAD;
    case RBK_OP_RUNS:
    case RBK_OP_DONE:
        break;
    }
    return now;
}

/* The row that the operation speaks of is not there. */
static rbk_store_verdict judge_absent(const rbk_store_op *op, const rbk_store_row *row)
{
    if (op->kind == RBK_OP_PUT && !row->found)
        return lacks_lane(op, row) ? RBK_VERDICT_TOO_BIG : RBK_VERDICT_WRITE;
    return op->kind == RBK_OP_DONE ? RBK_VERDICT_DONE : RBK_VERDICT_STALE;
}

static rbk_store_verdict judge_dead(const rbk_store_op *op)
{
    if (op->kind == RBK_OP_DEAD)
        return RBK_VERDICT_DONE;
    if (op->kind == RBK_OP_DONE && op->from == RBK_JOB_DEAD)
        return RBK_VERDICT_WRITE;
    return RBK_VERDICT_STALE;
}

rbk_store_verdict rbk_store_judge(const rbk_store_op *op, const rbk_store_row *row)
{
    if (op->kind < RBK_OP_PUT || op->kind > RBK_OP_DEAD)
        return RBK_VERDICT_STALE;
    if (is_too_big(op->job))
        return RBK_VERDICT_TOO_BIG;
    if (!row->found || row->rnd != op->job->rnd)
        return judge_absent(op, row);
    if (op->kind == RBK_OP_PUT)
        return RBK_VERDICT_DONE;
    if (row->shelf == RBK_SHELF_DEAD)
        return judge_dead(op);
    if (row->state != op->from)
        return op->kind == RBK_OP_RESULT && row->state == op->job->state ? RBK_VERDICT_COMPARE
                                                                         : RBK_VERDICT_STALE;
    return lacks_lane(op, row) ? RBK_VERDICT_TOO_BIG : RBK_VERDICT_WRITE;
}

int64_t rbk_store_request_bytes(const rbk_job *job)
{
    return (int64_t)(job->method.n + job->rpc_id.n + job->params.n + job->callback.n +
                     job->caller.n + job->ray_id.n + job->headers.n);
}
