/* SPDX-License-Identifier: Apache-2.0 */
/* engine/flow_impl.h - the flow's own, shared by
 *
 * flow.c         before and after a commit
 * flow_page.c    what waits in the store comes back
 * flow_change.c  after the commit of an operator's change
 * keys.c         jobs that wait for another of their order key
 *
 * Store thread. */
#ifndef RBK_ENGINE_FLOW_IMPL_H
#define RBK_ENGINE_FLOW_IMPL_H

#include "base/id.h"
#include "engine/expiry.h"
#include "engine/flow.h"
#include "engine/lanes.h"
#include "engine/missing.h"
#include "engine/pulls.h"
#include "engine/waits.h"

enum {
    RBK_FLOW_SCAN = 256,       /* lanes looked at in one turn */
    RBK_FLOW_OVERFLOW_MS = 200 /* between scans while more lanes have work than are remembered */
};

struct rbk_flow {
    rbk_engine *e;
    rbk_lanes *lanes;
    rbk_id_gen ids;
    rbk_wall_ms next_due;  /* of jobs that wait in the store, as far as known */
    rbk_mono_ms next_scan; /* not before this */
    bool scanning;
    rbk_expiry expiry;
    rbk_waits *waits;
    rbk_missing *missing;
    rbk_pulls pulls;
    rbk_aging *aging;
    struct rbk_follows *follows;
    rbk_list fetches, fetched; /* engine/session_fetch.h */
    rbk_list in_memory; /* changes of jobs that are not in the store alone */
    rbk_lane_due found[RBK_FLOW_SCAN];
    char after[RBK_LANE_MAX + 1]; /* the last lane that the scan saw */
};

/* A job in the store alone is due then. */
void rbk_flow_note_due(rbk_flow *f, rbk_wall_ms due);
/* A job in memory goes to its next step; takes the ticket. */
void rbk_flow_go_on(rbk_flow *f, rbk_ticket *t);
/* `due` of a job that waits for room alone. */
static inline rbk_wall_ms rbk_flow_ready_since(const rbk_job *job)
{
    return rbk_id_ms((uint64_t)job->seq);
}

/* The store alone has the job now: its lane is filled again when it has room, or the scan
 * finds it. */
void rbk_flow_wait_in_store(rbk_flow *f, const rbk_job *job);
/* The same of whatever job of the lane is due. */
void rbk_flow_lane_waits(rbk_flow *f, rbk_str lane);

/* flow_change.c: a ticket that is `waiting` was committed. Takes it. */
void rbk_flow_settle_change(rbk_flow *f, rbk_ticket *t, rbk_op_outcome outcome);

#endif
