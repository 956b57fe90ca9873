/* SPDX-License-Identifier: Apache-2.0 */
/* engine/flow.h - where a job goes before and after a commit. Store thread only (and the
 * starting thread before it). */
#ifndef RBK_ENGINE_FLOW_H
#define RBK_ENGINE_FLOW_H

#include "engine/aging.h"
#include "engine/engine_impl.h"

typedef struct rbk_flow rbk_flow;

int rbk_flow_new(rbk_engine *e, rbk_flow **ret, rbk_error *err);
void rbk_flow_free(rbk_flow *f);

/* Before the commit: give a new job its id, and choose memory or store alone for it. */
void rbk_flow_prepare(rbk_flow *f, rbk_ticket *t, rbk_wall_ms now);
/* After it: acknowledge, run, send, or let go. Takes the ticket. */
void rbk_flow_settle(rbk_flow *f, rbk_ticket *t, rbk_op_outcome outcome);
/* All of a commit are settled: operators' changes of jobs that are in memory go there. */
void rbk_flow_settled(rbk_flow *f);
/* The commit failed for good: a new job is refused, another leaves memory. Takes it. */
void rbk_flow_fail(rbk_flow *f, rbk_ticket *t);

/* There will be no more commits: whoever waits for a job's response is told. Any thread. */
void rbk_flow_end(rbk_flow *f);

/* The first ids are greater than `max_seq`. */
void rbk_flow_begin(rbk_flow *f, int64_t max_seq);
/* A job found on the job shelf at start goes on. It was in memory before, so it fits.
 * Takes the ticket. */
void rbk_flow_recover(rbk_flow *f, rbk_ticket *t);

/* Acknowledge jobs whose caller has waited for the result long enough; with `all` every one. */
void rbk_flow_answer(rbk_flow *f, bool all);
/* Page in some of what has room and is due. 0, or an error of the store's slots. */
int rbk_flow_turn(rbk_flow *f, const rbk_store_ops *ops, rbk_store *st, rbk_error *err);
/* A claimed job that memory has no room for; takes it. */
void rbk_flow_put_back(const rbk_store_ops *ops, rbk_store *st, rbk_job *job);
/* The receiver of this lane takes nothing now. */
void rbk_flow_behind(rbk_flow *f, rbk_str lane, rbk_mono_ms now);
/* The receiver of this lane has come back: what waits for it is pulled forward. */
void rbk_flow_pull(rbk_flow *f, rbk_str lane);
/* These were asked for by rbk_store_fetch(): taken, for the next turn; and answered, once what it found is
 * on its way. */
void rbk_flow_fetch(rbk_flow *f, rbk_list *fetches);
void rbk_flow_fetched(rbk_flow *f);
/* Where jobs grow too old in the store alone. */
rbk_aging *rbk_flow_aging(rbk_flow *f);
/* How long until rbk_flow_turn() has something to do: 0 is now, INT64_MAX never. */
int64_t rbk_flow_wait_ms(const rbk_flow *f);

#endif
