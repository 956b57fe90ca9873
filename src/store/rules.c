/* SPDX-License-Identifier: Apache-2.0 */
/* store/rules.c - see rules.h.
 *
 * Each operation must be safe to repeat: after RBK_E_UNKNOWN the engine applies the
 * same again, whether it was committed or not. So a row that already shows what the
 * operation wants is OK, and only a row that shows something else is STALE. */
#include "store/rules.h"

#include "base/str.h"
#include "core/dsn.h"
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
    if (rbk_store_target(op, row->shelf) != RBK_SHELF_WAIT || op->kind == RBK_OP_RUNS ||
        op->kind == RBK_OP_STATE)
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
    case RBK_OP_REDRIVE:
        return RBK_SHELF_WAIT;
    case RBK_OP_DEAD:
        return RBK_SHELF_DEAD;
    case RBK_OP_DONE:
        return op->keep ? RBK_SHELF_DONE : RBK_STORE_NOWHERE;
    case RBK_OP_PURGE:
        return RBK_STORE_NOWHERE;
    case RBK_OP_RUNS:
    case RBK_OP_STATE:
        break;
    }
    return now;
}

/* Of a ticket in memory there is one: what its operation wants and the row shows is its own
 * doing. Several changes may wait for one job of the store alone; the second of them is stale. */
static bool may_repeat(const rbk_store_op *op)
{
    return !op->waiting || op->again;
}

/* The row that the operation speaks of is not there. */
static rbk_store_verdict judge_absent(const rbk_store_op *op, const rbk_store_row *row)
{
    if (op->kind == RBK_OP_PUT && !row->found)
        return lacks_lane(op, row) ? RBK_VERDICT_TOO_BIG : RBK_VERDICT_WRITE;
    bool gone = (op->kind == RBK_OP_DONE && may_repeat(op)) || op->kind == RBK_OP_PURGE;
    return gone ? RBK_VERDICT_DONE : RBK_VERDICT_STALE;
}

static bool is_end(uint8_t state)
{
    return state == RBK_JOB_DELIVERED || state == RBK_JOB_CANCELLED || state == RBK_JOB_COLLECTED;
}

/* Of a row on the dead or done shelf. */
static rbk_store_verdict judge_ended(const rbk_store_op *op, const rbk_store_row *row)
{
    if (op->kind == RBK_OP_DEAD && row->shelf == RBK_SHELF_DEAD)
        return RBK_VERDICT_DONE;
    if (op->kind == RBK_OP_DONE && row->shelf == RBK_SHELF_DONE)
        return row->state == op->job->state && may_repeat(op) ? RBK_VERDICT_DONE : RBK_VERDICT_STALE;
    bool knows = op->kind == RBK_OP_DONE || op->kind == RBK_OP_REDRIVE || op->kind == RBK_OP_PURGE;
    if (op->kind == RBK_OP_REDRIVE && op->waiting && row->first_attempt != op->job->first_attempt)
        return RBK_VERDICT_STALE; /* it was sent once more since it was read, and has ended again */
    return knows && row->state == op->from ? RBK_VERDICT_WRITE : RBK_VERDICT_STALE;
}

/* Of a row on the job or wait shelf. What a redrive leaves is DUE: whether it was this one is
 * told by the values. */
static rbk_store_verdict judge_pending(const rbk_store_op *op, const rbk_store_row *row)
{
    if (op->waiting && row->shelf == RBK_SHELF_JOB)
        return RBK_VERDICT_IN_MEMORY;
    if (op->kind == RBK_OP_PURGE)
        return RBK_VERDICT_STALE;
    if (op->kind == RBK_OP_REDRIVE)
        return row->state == RBK_JOB_DUE && may_repeat(op) ? RBK_VERDICT_COMPARE : RBK_VERDICT_STALE;
    if (row->state == op->from)
        return RBK_VERDICT_WRITE;
    if (op->kind == RBK_OP_STATE)
        return row->state == op->job->state ? RBK_VERDICT_DONE : RBK_VERDICT_STALE;
    bool repeated = op->kind == RBK_OP_RESULT && row->state == op->job->state;
    return repeated ? RBK_VERDICT_COMPARE : RBK_VERDICT_STALE;
}

rbk_store_verdict rbk_store_judge(const rbk_store_op *op, const rbk_store_row *row)
{
    if (op->kind < RBK_OP_PUT || op->kind > RBK_OP_STATE)
        return RBK_VERDICT_STALE;
    if (is_too_big(op->job) || op->key.n > RBK_LANE_MAX)
        return RBK_VERDICT_TOO_BIG;
    if (op->kind == RBK_OP_DONE && op->keep && !is_end(op->job->state))
        return RBK_VERDICT_STALE;
    if (!row->found || row->rnd != op->job->rnd)
        return judge_absent(op, row);
    if (op->kind == RBK_OP_PUT)
        return RBK_VERDICT_DONE;
    bool ended = row->shelf == RBK_SHELF_DEAD || row->shelf == RBK_SHELF_DONE;
    rbk_store_verdict v = ended ? judge_ended(op, row) : judge_pending(op, row);
    return v == RBK_VERDICT_WRITE && lacks_lane(op, row) ? RBK_VERDICT_TOO_BIG : v;
}

static bool same_or_both_absent(rbk_str a, rbk_str b)
{
    return (a.p == NULL) == (b.p == NULL) && rbk_str_eq(a, b);
}

bool rbk_store_shows(const rbk_store_op *op, const rbk_job *stored)
{
    const rbk_job *job = op->job;
    if (op->kind == RBK_OP_RESULT)
        return same_or_both_absent(stored->response, job->response);
    return op->kind == RBK_OP_REDRIVE && stored->attempts == 0 && stored->due == job->due &&
           rbk_str_eq(stored->lane, job->lane) &&
           (job->callback.p == NULL || rbk_str_eq(stored->callback, job->callback));
}

int64_t *rbk_store_counter(rbk_store_stats *stats, uint8_t state)
{
    switch (state) {
    case RBK_JOB_HELD:
        return &stats->held;
    case RBK_JOB_DUE:
    case RBK_JOB_SENDING:
        return &stats->due;
    default:
        return &stats->queued;
    }
}

/* --- Order keys ---------------------------------------------------------------------- */

void rbk_store_block(const rbk_store_op *op, rbk_str key, rbk_store_op *ret, rbk_job *ret_job)
{
    *ret_job = *op->job;
    ret_job->lane = key;
    if (op->kind == RBK_OP_PUT)
        ret_job->state = RBK_JOB_HELD;
    else
        ret_job->first_attempt = 0;
    *ret = *op;
    ret->shelf = RBK_SHELF_WAIT;
    ret->job = ret_job;
}

/* The first time it was blocked, and then perhaps released by an operation behind it: its job is the
 * store's either way. */
rbk_op_outcome rbk_store_done_before(const rbk_store_op *op, const rbk_store_row *row)
{
    bool put = op->kind == RBK_OP_PUT || op->kind == RBK_OP_RESULT;
    bool elsewhere = row->found && row->ordered && row->shelf == RBK_SHELF_WAIT &&
                     rbk_store_target(op, row->shelf) == RBK_SHELF_JOB;
    return put && elsewhere ? RBK_OUTCOME_BLOCKED : RBK_OUTCOME_OK;
}

/* --- Filters ------------------------------------------------------------------------- */

static bool fits(rbk_str want, rbk_str have)
{
    return want.p == NULL || (have.p && rbk_str_eq(want, have));
}

static bool fits_pattern(rbk_str want, rbk_str have)
{
    if (want.n == 0 || want.p[want.n - 1] != '*')
        return fits(want, have);
    return rbk_str_starts(have, (rbk_str){want.p, want.n - 1});
}

/* The receiver's name as the parser writes it; any scheme will do here, since the callback
 * was checked when it was accepted. */
static bool goes_to(rbk_str callback, rbk_str receiver)
{
    char scheme[16];
    rbk_dsn dsn;
    size_t n = 0;
    while (n < callback.n && n < sizeof scheme && callback.p[n] != ':') {
        scheme[n] = rbk_lower(callback.p[n]);
        n++;
    }
    return rbk_dsn_parse(callback, (rbk_str){scheme, n}, &dsn) == RBK_DSN_OK &&
           rbk_str_eqz(receiver, dsn.receiver);
}

/* What is sent, or was, has its receiver in the lane. */
static bool fits_receiver(rbk_str receiver, const rbk_job *job)
{
    const rbk_str send = RBK_STR("send:");
    if (receiver.p == NULL)
        return true;
    if (rbk_str_starts(job->lane, send))
        return rbk_str_eq((rbk_str){job->lane.p + send.n, job->lane.n - send.n}, receiver);
    return goes_to(job->callback, receiver);
}

bool rbk_store_means(const rbk_job_filter *f, const rbk_job *job)
{
    return (f->states == 0 || (job->state < 32 && (f->states >> job->state & 1))) &&
           job->created >= f->from && (f->to == 0 || job->created < f->to) &&
           fits_pattern(f->method, job->method) && fits(f->rpc_id, job->rpc_id) &&
           fits(f->caller, job->caller) && fits_receiver(f->receiver, job);
}

bool rbk_store_is_stale(const rbk_store_keep *keep, rbk_shelf shelf, rbk_wall_ms ended,
                        rbk_wall_ms now, int64_t done_bytes)
{
    if (shelf == RBK_SHELF_DEAD)
        return ended <= now - keep->dead_ms;
    return ended <= now - keep->done_ms || done_bytes > keep->done_bytes;
}

bool rbk_store_is_old(const rbk_job *job, rbk_wall_ms before)
{
    return job->state == RBK_JOB_DUE && job->first_attempt && job->first_attempt <= before;
}

/* --- Idempotency keys ---------------------------------------------------------------- */

/* Under a PUT that is repeated the store has the job itself. */
static bool is_own(const rbk_idem *found, const rbk_job *job)
{
    return found->seq == job->seq && found->rnd == job->rnd;
}

bool rbk_store_key_ends(const rbk_idem *found, const rbk_store_op *op)
{
    return !is_own(found, op->job) && found->until <= op->now;
}

bool rbk_store_is_duplicate(const rbk_idem *found, const rbk_store_op *op, bool pending)
{
    return !is_own(found, op->job) && (found->until > op->now || pending);
}

void rbk_store_tell_duplicate(const rbk_idem *found, rbk_store_op *op)
{
    op->outcome = RBK_OUTCOME_DUPLICATE;
    op->idem->seq = found->seq;
    op->idem->rnd = found->rnd;
    op->idem->same = found->same;
}

rbk_wall_ms rbk_store_look_at(const rbk_store_keep *keep, rbk_wall_ms now)
{
    enum { AT_LEAST_MS = 60000 };
    int64_t wait = keep->idem_ms > AT_LEAST_MS ? keep->idem_ms : AT_LEAST_MS;
    return wait < INT64_MAX - now ? now + wait : INT64_MAX;
}

/* --- Jobs of a batch ------------------------------------------------------------------- */

bool rbk_store_feeds(const rbk_store_op *op)
{
    bool ends = op->kind == RBK_OP_RESULT ||
                (op->kind == RBK_OP_DONE && op->job->state == RBK_JOB_COLLECTED);
    return ends && op->job->chain.n > 0;
}

void rbk_store_release(const rbk_job *held, const rbk_composed *c, rbk_wall_ms now, rbk_job *fed)
{
    *fed = *held;
    fed->state = c->state;
    fed->due = now;
    fed->chain = c->chain.n ? rbk_buf_view(&c->chain) : RBK_STR_NONE;
    if (c->state == RBK_JOB_DUE) {
        fed->response = rbk_buf_view(&c->text);
        fed->first_attempt = now;
    } else if (c->text.n) {
        fed->params = rbk_buf_view(&c->text);
    }
}

bool rbk_store_is_receiver(rbk_str name)
{
    return name.n > 0 && name.n <= RBK_LANE_MAX && memchr(name.p, 0, name.n) == NULL;
}

int64_t rbk_store_request_bytes(const rbk_job *job)
{
    return (int64_t)(job->method.n + job->rpc_id.n + job->params.n + job->callback.n +
                     job->caller.n + job->ray_id.n + job->headers.n + job->failure_callback.n +
                     job->idem_key.n + job->order_key.n + job->method_headers.n +
                     job->chain.n);
}
