/* SPDX-License-Identifier: Apache-2.0 */
/* engine/keys.c - see keys.h.
 *
 * Jobs of one order key, in the order of their commits: one may run when all before it have their
 * results, and is first sent when all before it have ended. Two rules follow, one for each half of
 * a job's life, and the store keeps both (ringback/store.h, "Order keys"):
 *
 *     PUT     a job before it has no result?    -> HELD, in the lane "key:…" of the wait shelf
 *     RESULT  a job before it has not ended?    -> DUE, in the same lane
 *     RESULT  -> the next that may run is QUEUED in its run lane
 *     an end  -> the next that may be sent is DUE in its send lane; and if what ended had no
 *                result (a notification), the next that may run too
 *
 * Who is next is decided, and moved, in the very transaction that makes it so. So there is no
 * moment at which a crash could find one job through and the next one not released, and nothing to
 * put right at a start: what is in a key's lane waits for a job that is pending still. The engine
 * has only to look where the store says that somebody was released. It does so like for any job
 * that memory had no room for, by a claim.
 *
 * What follows from it:
 *   - Memory holds of a key at most what runs and what is sent. A million jobs of one key are rows of
 *     the wait shelf, and no scan walks over them: it begins behind the lanes "key:…".
 *   - A job that is blocked is never in memory, but for an answer that needs no run (its deadline is
 *     over): that answer is a RESULT like any other, and waits to be sent.
 *   - Retries of a delivery are its own job's: the next may run meanwhile, and is not sent. So a
 *     receiver that is paused holds up of each key one response, and those behind it in the store.
 *   - Cancel of a job in the middle: its response is -32005, and is sent in its turn. Where it waits
 *     to be sent it ends. In both cases nobody is released who is not next.
 *   - An operator's retry of one that waits for its turn is refused (RBK_OUTCOME_BLOCKED).
 *   - A job that has ended has left the order, a redrive does not bring it back.
 *   - The age of a response counts from its turn on: it waits for others until then.
 * Store thread, but for rbk_keys_prepare(). */
#include "engine/keys.h"

#include "core/keys.h"
#include "engine/flow_impl.h"

#include <stdlib.h>

bool rbk_keys_prepare(rbk_ticket *t)
{
    if (t->job->order_key.p == NULL)
        return true;
    t->key = malloc(RBK_KEY_LANE_MAX + 1);
    return t->key && rbk_key_lane(t->job->caller, t->job->order_key, t->key);
}

void rbk_keys_released(rbk_flow *f, rbk_str lane)
{
    if (rbk_str_starts(lane, RBK_STR("send:")))
        rbk_aging_note(f->aging, lane, rbk_engine_now(f->e));
    rbk_flow_lane_waits(f, lane);
}
