/* SPDX-License-Identifier: Apache-2.0 */
/* engine/flow.c - see flow.h.
 *
 * A job is either in memory (a ticket, its place counted in a lane, its row on the job
 * shelf) or in the store alone (its row on the wait shelf). This file decides which;
 * flow_page.c brings waiting jobs back.
 *
 * A claim takes what is due by the engine's schedule clock (core/retry.h), oldest due first.
 * A job that waits for room alone is due since it was accepted: the time in its seq.
 * The clock never begins before the greatest seq in the store, so such a job can be claimed
 * at once, whoever sets the wall clock back, before or after a restart. They stand in
 * the order in which they were accepted, and a delay or a retry stands among them by its time:
 * new jobs are accepted later than that, so a lane that spills all the time cannot keep it
 * waiting. A wall clock set forward while the server runs changes nothing; one set back
 * before a start makes retries wait longer, by as much as no job was accepted meanwhile. */
#include "engine/flow_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "core/chain.h"
#include "core/ws_session.h"
#include "engine/call.h"
#include "engine/change.h"
#include "engine/courier.h"
#include "engine/dedup.h"
#include "engine/exchange.h"
#include "engine/execute.h"
#include "engine/follows.h"
#include "engine/keys.h"
#include "engine/runs.h"
#include "engine/session_fetch.h"
#include "engine/store_thread.h"
#include "engine/watch.h"

#include <stdio.h>
#include <stdlib.h>

int rbk_flow_new(rbk_engine *e, rbk_flow **ret, rbk_error *err)
{
    rbk_flow *f = calloc(1, sizeof *f);
    if (f == NULL || (f->follows = rbk_follows_new()) == NULL ||
        (f->lanes = rbk_lanes_new()) == NULL || (f->waits = rbk_waits_new()) == NULL ||
        (f->missing = rbk_missing_new()) == NULL ||
        (f->aging = rbk_aging_new(rbk_retry_end(&e->conf.retry, 0))) == NULL) {
        rbk_flow_free(f);
        return rbk_fail(err, RBK_E_NOMEM, "lanes");
    }
    f->e = e;
    *ret = f;
    return 0;
}

void rbk_flow_free(rbk_flow *f)
{
    if (f == NULL)
        return;
    rbk_lanes_free(f->lanes);
    rbk_aging_free(f->aging);
    rbk_follows_free(f->follows);
    rbk_waits_free(f->waits);
    rbk_missing_free(f->missing);
    for (rbk_node *n; (n = rbk_list_pop(&f->in_memory));)
        rbk_ticket_free((rbk_ticket *)(void *)n);
    rbk_list_join(&f->fetches, &f->fetched);
    for (rbk_node *n; (n = rbk_list_pop(&f->fetches));)
        free(n);
    free(f);
}

void rbk_flow_begin(rbk_flow *f, int64_t max_seq)
{
    rbk_id_gen_init(&f->ids, (uint64_t)max_seq);
    f->next_due = f->expiry.next = 0; /* the first look sees all that waits */
}

void rbk_flow_end(rbk_flow *f)
{
    rbk_follows_end(f->follows);
}

void rbk_flow_note_due(rbk_flow *f, rbk_wall_ms due)
{
    if (due < f->next_due)
        f->next_due = due;
}

/* --- Before the commit -------------------------------------------------------------- */

static void prepare_put(rbk_flow *f, rbk_ticket *t, rbk_wall_ms now)
{
    rbk_job *job = t->job;
    rbk_id id = rbk_id_next(&f->ids, now);
    job->seq = (int64_t)id.seq;
    job->rnd = (int64_t)id.rnd;
    if (job->due <= now) {
        job->due = rbk_flow_ready_since(job);
        t->lane_bytes = rbk_job_bytes(job);
        t->lane = rbk_lanes_enter(f->lanes, job->lane, t->lane_bytes);
    }
    t->shelf = t->lane ? RBK_SHELF_JOB : RBK_SHELF_WAIT;
}

/* The place in the run lane is kept until the commit is through, so that a failed one
 * leaves all as it was; the place in the send lane is taken now. */
static void prepare_result(rbk_flow *f, rbk_ticket *t, rbk_wall_ms now)
{
    t->job->due = rbk_flow_ready_since(t->job);
    t->job->first_attempt = now;
    t->waited = rbk_waits_has(f->waits, t->job->seq);
    if (t->waited) { /* its answer is its delivery, most likely */
        t->shelf = RBK_SHELF_JOB;
        return;
    }
    t->next_lane = rbk_lanes_enter(f->lanes, t->job->lane, rbk_job_bytes(t->job));
    t->shelf = t->next_lane ? RBK_SHELF_JOB : RBK_SHELF_WAIT;
}

void rbk_flow_prepare(rbk_flow *f, rbk_ticket *t, rbk_wall_ms now)
{
    if (t->prepared || t->waiting)
        return;
    t->prepared = true;
    if (t->op == RBK_OP_PUT)
        prepare_put(f, t, now);
    else if (t->op == RBK_OP_RESULT)
        prepare_result(f, t, now);
    else
        t->shelf = RBK_SHELF_WAIT;
}

/* --- After the commit ---------------------------------------------------------------- */

static void leave_lane(rbk_flow *f, rbk_ticket *t)
{
    if (t->lane)
        rbk_lanes_leave(f->lanes, t->lane, t->lane_bytes);
    t->lane = NULL;
}

/* What the lane knew when the commit began may be no longer so: its other jobs may have left, or the
 * job may have come due. */
void rbk_flow_wait_in_store(rbk_flow *f, const rbk_job *job)
{
    rbk_expiry_note(&f->expiry, job);
    if (job->due > rbk_engine_now(f->e))
        rbk_flow_note_due(f, job->due);
    else
        rbk_flow_lane_waits(f, job->lane);
}

void rbk_flow_lane_waits(rbk_flow *f, rbk_str lane)
{
    if (!rbk_lanes_spilled(f->lanes, lane))
        rbk_flow_note_due(f, rbk_engine_now(f->e) + RBK_FLOW_OVERFLOW_MS);
}

static void forget(rbk_flow *f, rbk_ticket *t)
{
    leave_lane(f, t);
    rbk_runs_end(f->e->runs, t->run_slot);
    rbk_ticket_free(t);
}

/* The method of a stored job is gone: it waits for the method to come back. */
static void wait_for_method(rbk_flow *f, rbk_ticket *t)
{
    rbk_wall_ms now = rbk_engine_now(f->e);
    bool first;
    rbk_wall_ms since = rbk_missing_since(f->missing, t->job->method, now, &first);
    rbk_event(RBK_LOG(f->e), first ? RBK_WARN : RBK_DEBUG, "job.method_missing",
              RBK_FS("method", t->job->method));
    if (now - since >= f->e->conf.missing_ms && rbk_job_answer_fault(f->e, t, RBK_E_METHOD) == 0)
        return;
    rbk_ticket_park(t, now + rbk_missing_wait(since, now));
    rbk_store_push(f->e->store, t);
}

/* A death cut its run off, and its method must not run again. Without memory for the answer it
 * waits for the next start. */
static void interrupted(rbk_flow *f, rbk_ticket *t)
{
    t->marked = true;
    if (rbk_job_answer_fault(f->e, t, RBK_E_INTERRUPTED) < 0)
        forget(f, t);
}

/* What its params name is not to be had. */
static void cannot_run(rbk_flow *f, rbk_ticket *t, rbk_str fault)
{
    if (rbk_job_answer_data(f->e, t, RBK_E_PARAMS, fault) == 0)
        return;
    rbk_ticket_park(t, rbk_engine_now(f->e) + RBK_FLOW_OVERFLOW_MS);
    rbk_store_push(f->e->store, t);
}

/* Nobody could check its params before they were whole. True: they do not fit, and it is answered. */
static bool is_unfit(rbk_flow *f, rbk_ticket *t)
{
    rbk_schema_fault wrong;
    if (!rbk_chain_is_composed(t->job->chain) ||
        rbk_methods_fit(f->e->conf.methods, t->job->method, t->job->params, &wrong))
        return false;
    rbk_buf why;
    rbk_exchange_write_reason(&why, rbk_str_z(wrong.name), wrong.reason);
    cannot_run(f, t, why.err ? RBK_STR_NONE : rbk_buf_view(&why));
    rbk_buf_free(&why);
    return true;
}

/* The store has it as RUNNING, or no more. */
static void settle_state(rbk_flow *f, rbk_ticket *t)
{
    rbk_waiter *begins = t->begins;
    t->begins = NULL;
    t->prepared = false;
    if (begins)
        rbk_execute_started(f->e->execute, rbk_call_of(begins));
    else
        forget(f, t);
}

/* The result is there, and its turn has come: to whoever waits for it, or to its callback. */
static void tell_result(rbk_flow *f, rbk_ticket *t)
{
    if (rbk_waits_has(f->waits, t->job->seq)) {
        leave_lane(f, t);
        if (rbk_waits_answer(f->waits, t))
            return;
    }
    rbk_couriers_send(f->e->couriers, t);
}

/* A job in memory goes to its next step. */
void rbk_flow_go_on(rbk_flow *f, rbk_ticket *t)
{
    t->prepared = false;
    if (t->job->state == RBK_JOB_DUE) {
        tell_result(f, t);
        return;
    }
    if (t->job->state == RBK_JOB_RUNNING) {
        interrupted(f, t);
        return;
    }
    if (t->job->state == RBK_JOB_HELD) { /* a death found it on its way to be answered */
        rbk_ticket_park(t, rbk_flow_ready_since(t->job));
        rbk_store_push(f->e->store, t);
        return;
    }
    if (t->method == NULL)
        t->method = rbk_methods_find(f->e->conf.methods, t->job->method);
    if (t->method == NULL) {
        wait_for_method(f, t);
        return;
    }
    rbk_missing_found(f->missing, t->job->method);
    rbk_str fault = rbk_chain_fault(t->job->chain);
    if (fault.p) {
        cannot_run(f, t, fault);
        return;
    }
    if (is_unfit(f, t))
        return;
    if (t->lane)
        rbk_lanes_widen(f->lanes, t->lane, atomic_load(&t->method->concurrency));
    rbk_execute_job(f->e->execute, t);
}

/* One that is blocked comes back when the store releases it, or for its deadline. */
static void leave_to_store(rbk_flow *f, rbk_ticket *t)
{
    if (t->blocked)
        rbk_expiry_note(&f->expiry, t->job);
    else
        rbk_flow_wait_in_store(f, t->job);
    rbk_ticket_free(t);
}

/* It is done, and the job is the store's: the places that it took in memory are free. */
static void settle_blocked(rbk_flow *f, rbk_ticket *t)
{
    t->blocked = true;
    t->waited = false; /* its caller is told when its turn comes, if it waits that long */
    if (t->next_lane)
        rbk_lanes_leave(f->lanes, t->next_lane, rbk_job_bytes(t->job));
    t->next_lane = NULL;
    if (t->op == RBK_OP_PUT)
        leave_lane(f, t);
}

static void settle_put(rbk_flow *f, rbk_ticket *t)
{
    rbk_engine *e = f->e;
    atomic_fetch_add(&e->accepted, 1);
    atomic_fetch_add(&e->stored, 1);
    atomic_fetch_sub(&e->arriving, 1);
    rbk_id id = {(uint64_t)t->job->seq, (uint64_t)t->job->rnd};
    if (t->watched)
        rbk_follows_add(f->follows, t->job, t->ex, t->item);
    if ((t->job->flags & RBK_JOB_BATCH) || atomic_load(&e->refusing) || !rbk_waits_add(f->waits, t))
        rbk_exchange_ack(t->ex, t->item, id);
    rbk_exchange_unref(t->ex);
    t->ex = NULL;
    if (t->lane) {
        rbk_flow_go_on(f, t);
        return;
    }
    leave_to_store(f, t);
}

static void settle_result(rbk_flow *f, rbk_ticket *t)
{
    rbk_follows_tell(f->follows, t->job);
    leave_lane(f, t);
    rbk_runs_end(f->e->runs, t->run_slot);
    t->run_slot = RBK_NO_SLOT;
    t->lane = t->next_lane;
    t->next_lane = NULL;
    if (t->waited && !t->blocked) { /* else it is not to be told before its turn */
        t->waited = false;
        rbk_flow_go_on(f, t);
    } else if (t->lane) {
        t->lane_bytes = rbk_job_bytes(t->job);
        rbk_flow_go_on(f, t);
    } else {
        leave_to_store(f, t);
    }
}

static void settle_end(rbk_flow *f, rbk_ticket *t)
{
    rbk_engine *e = f->e;
    atomic_fetch_sub(&e->stored, 1);
    if (t->op == RBK_OP_DEAD)
        atomic_fetch_add(&e->dead, 1);
    else if (t->job->state == RBK_JOB_CANCELLED)
        atomic_fetch_add(&e->cancelled, 1);
    else if (!(t->job->flags & (RBK_JOB_NOTIFICATION | RBK_JOB_MEMBER)))
        atomic_fetch_add(&e->delivered, 1);
    forget(f, t);
}

/* What has become of the job that a waiter wanted cancelled, or has acknowledged. */
static int verdict_of(const rbk_ticket *t)
{
    if (t->waiter && rbk_changing_of(t)->kind == RBK_CHANGE_ACK)
        return t->op == RBK_OP_DONE && t->job->state == RBK_JOB_DELIVERED ? 0 : RBK_E_BUSY;
    if (t->op == RBK_OP_DONE)
        return t->job->state == RBK_JOB_CANCELLED || t->job->state == RBK_JOB_COLLECTED ? 0 : RBK_E_STATE;
    return t->op == RBK_OP_RESULT ? 0 : RBK_E_BUSY;
}

static void settle_ok(rbk_flow *f, rbk_ticket *t)
{
    if (t->op == RBK_OP_RESULT || t->op == RBK_OP_DONE || t->op == RBK_OP_DEAD)
        rbk_watches_wake(f->e->watches, t->job->seq);
    if (t->op == RBK_OP_RESULT || t->op == RBK_OP_DONE || t->op == RBK_OP_RETRY)
        atomic_store_explicit(&f->e->moved_at, rbk_engine_now(f->e), memory_order_relaxed);
    switch (t->op) {
    case RBK_OP_PUT:
        settle_put(f, t);
        break;
    case RBK_OP_RESULT:
        settle_result(f, t);
        break;
    case RBK_OP_DONE:
    case RBK_OP_DEAD:
        settle_end(f, t);
        break;
    case RBK_OP_RETRY:
        rbk_pulls_failed(&f->pulls, t->job->lane);
        rbk_aging_note(f->aging, t->job->lane, t->job->first_attempt);
        rbk_flow_note_due(f, t->job->due);
        forget(f, t);
        break;
    case RBK_OP_PARK:
        rbk_aging_note(f->aging, t->job->lane, t->job->first_attempt);
        rbk_flow_note_due(f, t->job->due);
        rbk_expiry_note(&f->expiry, t->job);
        if (rbk_session_is_lane(t->job->lane))
            rbk_fetch_waits(f->e, t->job->lane);
        forget(f, t);
        break;
    case RBK_OP_STATE:
        settle_state(f, t);
        break;
    case RBK_OP_RUNS:
    case RBK_OP_REDRIVE:
    case RBK_OP_PURGE:
        forget(f, t);
        break;
    }
}

void rbk_flow_settle(rbk_flow *f, rbk_ticket *t, rbk_op_outcome outcome)
{
    if (t->waiting) {
        rbk_flow_settle_change(f, t, outcome);
        return;
    }
    if (outcome == RBK_OUTCOME_DUPLICATE) {
        leave_lane(f, t);
        rbk_dedup_settle(f->e, t);
        return;
    }
    if (outcome == RBK_OUTCOME_BLOCKED) {
        settle_blocked(f, t);
        outcome = RBK_OUTCOME_OK;
    }
    if (outcome != RBK_OUTCOME_OK) {
        rbk_runs_end(f->e->runs, t->run_slot);
        rbk_event(RBK_LOG(f->e), RBK_WARN, "store.outcome", RBK_F("op", t->op),
                  RBK_F("outcome", outcome), RBK_FS("method", t->job->method));
        rbk_flow_fail(f, t);
        return;
    }
    rbk_changing *waiting = rbk_changing_of(t);
    int verdict = verdict_of(t);
    uint8_t state = t->job->state;
    t->waiter = NULL;
    settle_ok(f, t);
    if (waiting && verdict == 0)
        rbk_changing_done(waiting, state);
    else if (waiting)
        rbk_changing_tell(waiting, verdict);
}

void rbk_flow_fail(rbk_flow *f, rbk_ticket *t)
{
    rbk_exchange *ex = t->ex;
    if (t->next_lane)
        rbk_lanes_leave(f->lanes, t->next_lane, rbk_job_bytes(t->job));
    if (t->op == RBK_OP_PUT) {
        atomic_fetch_sub(&f->e->arriving, 1);
        atomic_fetch_add(&f->e->refused, 1);
    }
    if (ex) {
        rbk_exchange_fault(ex, t->item, RBK_E_BUSY, RBK_STR_NONE);
        rbk_exchange_unref(ex);
    }
    /* Its row in the table of running methods stays: the run may not be in the store. */
    leave_lane(f, t);
    rbk_ticket_free(t);
}

/* The job shelf keeps no lanes: they follow from state, method and callback. */
static void derive_lane(const rbk_flow *f, rbk_job *job)
{
    char lane[RBK_LANE_MAX + 1];
    const rbk_method_entry *m = job->state == RBK_JOB_DUE
                                    ? NULL
                                    : rbk_methods_find(f->e->conf.methods, job->method);
    if (m)
        snprintf(lane, sizeof lane, "%.*s", RBK_FMT(m->lane));
    else if (job->state == RBK_JOB_DUE)
        rbk_send_lane(job->callback, lane);
    else
        snprintf(lane, sizeof lane, "run:%.*s", RBK_FMT(job->method));
    free(job->mem[2]);
    job->mem[2] = strdup(lane);
    job->lane = rbk_str_z(job->mem[2]);
}

void rbk_flow_recover(rbk_flow *f, rbk_ticket *t)
{
    derive_lane(f, t->job);
    t->lane_bytes = rbk_job_bytes(t->job);
    t->lane = rbk_lanes_force(f->lanes, t->job->lane, t->lane_bytes);
    rbk_flow_go_on(f, t);
}
