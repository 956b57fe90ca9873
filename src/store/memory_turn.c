/* SPDX-License-Identifier: Apache-2.0 */
/* store/memory_turn.c - the order among jobs of one key in the store `memory:`. Rows that have a
 * key stand in a list by key, first those that have not run, then those that have, each by seq. Who
 * is released gets a new version of its row, as by an operation of its own. Under the store's
 * lock. */
#include "store/memory_impl.h"

#include "base/str.h"
#include "core/job_state.h"

/* The first of the key that has run, or has not; NULL: there is none. */
static rbk_row *find_first(rbk_store *st, rbk_str key, bool ran)
{
    rbk_job job = {.seq = INT64_MIN};
    rbk_row at = {.job = &job, .turn = {.key = key, .ran = ran}};
    rbk_row *r = rbk_rows_seek(st, RBK_ROWS_BY_KEY, &at);
    return r && r->turn.ran == ran && rbk_str_eq(r->turn.key, key) ? r : NULL;
}

static bool is_before(const rbk_row *r, int64_t seq)
{
    return r && r->job->seq < seq;
}

rbk_turn rbk_memory_take_turn(rbk_store *st, const rbk_store_op *op, const rbk_row *old)
{
    rbk_turn turn = old ? old->turn : (rbk_turn){.key = op->kind == RBK_OP_PUT ? op->key : RBK_STR_NONE};
    int64_t seq = op->job->seq;
    if (turn.key.p == NULL || (op->kind != RBK_OP_PUT && op->kind != RBK_OP_RESULT))
        return turn;
    turn.ran = op->kind == RBK_OP_RESULT;
    bool blocked = turn.ran ? is_before(find_first(st, turn.key, false), seq) ||
                                  is_before(find_first(st, turn.key, true), seq)
                            : find_first(st, turn.key, false) != NULL;
    turn.lane = blocked ? op->job->lane : RBK_STR_NONE;
    return turn;
}

static int release(rbk_store *st, rbk_row *r, const rbk_job *job, rbk_row_change *c)
{
    const rbk_turn turn = {.key = r->turn.key, .ran = r->turn.ran};
    rbk_row *next = rbk_row_new(st, job, r, NULL, &turn);
    if (next == NULL)
        return RBK_E_NOMEM;
    next->shelf = r->shelf;
    next->ended = r->ended;
    *c = (rbk_row_change){r, next};
    rbk_rows_unlink(st, r);
    rbk_rows_link(st, next);
    if (st->released)
        st->released(st->user, next->job->lane);
    return 0;
}

int rbk_memory_pass_turn(rbk_store *st, const rbk_store_op *op, rbk_str key, rbk_row_change c[2])
{
    rbk_job_state queued = RBK_JOB_QUEUED;
    rbk_row *run = find_first(st, key, false), *sent = find_first(st, key, true);
    int r = 0;
    if (sent && sent->turn.lane.p && !is_before(run, sent->job->seq)) {
        rbk_job job = *sent->job;
        job.lane = sent->turn.lane;
        job.first_attempt = op->now;
        r = release(st, sent, &job, &c[0]);
    }
    /* One that was taken from the wait shelf, for its deadline, has its result soon. */
    if (r == 0 && run && run->turn.lane.p && run->shelf == RBK_SHELF_WAIT &&
        rbk_job_next(RBK_JOB_HELD, RBK_EV_RELEASE, &queued) == 0) {
        rbk_job job = *run->job;
        job.lane = run->turn.lane;
        job.state = (uint8_t)queued;
        r = release(st, run, &job, &c[1]);
    }
    return r;
}
