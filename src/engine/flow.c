/* SPDX-License-Identifier: Apache-2.0 */
/* engine/flow.c - see flow.h.
 *
 * A job is either in memory (a ticket, its place counted in a lane, its row on the job
 * shelf) or in the store alone (its row on the wait shelf). This file decides which, and
 * brings waiting jobs back: lanes that have room again are refilled, and a scan over the
 * store's lanes finds those whose delay or retry has come due.
 *
 * A claim takes what is due by the engine's schedule clock (core/retry.h), oldest due first.
 * A job that waits for room alone is due since it was accepted: the time in its seq.
 * The clock never begins before the greatest seq in the store, so such a job can be claimed
 * at once, whoever sets the wall clock back, before or after a restart. They stand in
 * the order in which they were accepted, and a delay or a retry stands among them by its time:
 * new jobs are accepted later than that, so a lane that spills all the time cannot keep it
 * waiting. A wall clock set forward while the server runs changes nothing; one set back
 * before a start makes retries wait longer, by as much as no job was accepted meanwhile. */
#include "engine/flow.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "engine/call.h"
#include "engine/change.h"
#include "engine/courier.h"
#include "engine/execute.h"
#include "engine/lanes.h"
#include "engine/pulls.h"
#include "engine/runs.h"
#include "engine/store_thread.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    CLAIM_JOBS = 64,           /* in one claim */
    CLAIMS_A_TURN = 16,        /* so that acknowledgements never wait long */
    SCAN_LANES = 256,          /* lanes looked at in one turn */
    SCAN_EVERY_MS = 20,
    OVERFLOW_MS = 200,         /* the same while more lanes have work than are remembered */
    MISSING_AGAIN_MS = 30000,  /* how often a job asks again for a method that is gone */
    MISSING_MS = 24 * 3600000, /* and for how long */
};

struct rbk_flow {
    rbk_engine *e;
    rbk_lanes *lanes;
    rbk_id_gen ids;
    rbk_wall_ms next_due;  /* of jobs that wait in the store, as far as known */
    rbk_mono_ms next_scan; /* not before this */
    bool scanning;
    rbk_pulls pulls;
    rbk_aging *aging;
    rbk_list in_memory; /* changes of jobs that are not in the store alone */
    rbk_lane_due found[SCAN_LANES];
    char after[RBK_LANE_MAX + 1]; /* the last lane that the scan saw */
};

int rbk_flow_new(rbk_engine *e, rbk_flow **ret, rbk_error *err)
{
    rbk_flow *f = calloc(1, sizeof *f);
    if (f == NULL || (f->lanes = rbk_lanes_new()) == NULL ||
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
    for (rbk_node *n; (n = rbk_list_pop(&f->in_memory));)
        rbk_ticket_free((rbk_ticket *)(void *)n);
    free(f);
}

void rbk_flow_begin(rbk_flow *f, int64_t max_seq)
{
    rbk_id_gen_init(&f->ids, (uint64_t)max_seq);
    f->next_due = 0; /* the first scan sees all that waits */
}

static void note_due(rbk_flow *f, rbk_wall_ms due)
{
    if (due < f->next_due)
        f->next_due = due;
}

/* --- Before the commit -------------------------------------------------------------- */

/* `due` of a job that waits for room alone. */
static rbk_wall_ms ready_since(const rbk_job *job)
{
    return rbk_id_ms((uint64_t)job->seq);
}

static void prepare_put(rbk_flow *f, rbk_ticket *t, rbk_wall_ms now)
{
    rbk_job *job = t->job;
    rbk_id id = rbk_id_next(&f->ids, now);
    job->seq = (int64_t)id.seq;
    job->rnd = (int64_t)id.rnd;
    if (job->due <= now) {
        job->due = ready_since(job);
        t->lane_bytes = rbk_job_bytes(job);
        t->lane = rbk_lanes_enter(f->lanes, job->lane, t->lane_bytes);
    }
    t->shelf = t->lane ? RBK_SHELF_JOB : RBK_SHELF_WAIT;
}

/* The place in the run lane is kept until the commit is through, so that a failed one
 * leaves all as it was; the place in the send lane is taken now. */
static void prepare_result(rbk_flow *f, rbk_ticket *t, rbk_wall_ms now)
{
    t->job->due = ready_since(t->job);
    t->job->first_attempt = now;
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

/* The store alone has the job now: its lane is filled again when it has room, or the scan
 * finds it. What the lane knew when the commit began may be no longer so: its other jobs
 * may have left, or the job may have come due. */
static void wait_in_store(rbk_flow *f, const rbk_job *job)
{
    rbk_wall_ms now = rbk_engine_now(f->e);
    if (job->due > now)
        note_due(f, job->due);
    else if (!rbk_lanes_spilled(f->lanes, job->lane))
        note_due(f, now + OVERFLOW_MS);
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
    rbk_event(RBK_LOG(f->e), RBK_WARN, "job.method_missing", RBK_FS("method", t->job->method));
    if (now - t->job->created > MISSING_MS && rbk_job_answer_fault(f->e, t, RBK_E_METHOD) == 0)
        return;
    rbk_ticket_park(t, now + MISSING_AGAIN_MS);
    rbk_store_push(f->e->store, t);
}

/* A job in memory goes to its next step. */
static void go_on(rbk_flow *f, rbk_ticket *t)
{
    t->prepared = false;
    if (t->job->state == RBK_JOB_DUE) {
        rbk_couriers_send(f->e->couriers, t);
        return;
    }
    if (t->method == NULL)
        t->method = rbk_methods_find(f->e->conf.methods, t->job->method);
    if (t->method == NULL)
        wait_for_method(f, t);
    else
        rbk_execute_job(f->e->execute, t);
}

static void settle_put(rbk_flow *f, rbk_ticket *t)
{
    rbk_engine *e = f->e;
    atomic_fetch_add(&e->accepted, 1);
    atomic_fetch_add(&e->stored, 1);
    atomic_fetch_sub(&e->arriving, 1);
    rbk_exchange *ex = t->ex;
    t->ex = NULL;
    rbk_exchange_ack(ex, t->item, t->job);
    rbk_exchange_unref(ex);
    if (t->lane) {
        go_on(f, t);
        return;
    }
    wait_in_store(f, t->job);
    rbk_ticket_free(t);
}

static void settle_result(rbk_flow *f, rbk_ticket *t)
{
    leave_lane(f, t);
    rbk_runs_end(f->e->runs, t->run_slot);
    t->run_slot = RBK_NO_SLOT;
    t->lane = t->next_lane;
    t->next_lane = NULL;
    if (t->lane) {
        t->lane_bytes = rbk_job_bytes(t->job);
        go_on(f, t);
    } else {
        wait_in_store(f, t->job);
        rbk_ticket_free(t);
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
    else if (!(t->job->flags & RBK_JOB_NOTIFICATION))
        atomic_fetch_add(&e->delivered, 1);
    forget(f, t);
}

/* --- Operators' changes ----------------------------------------------------------------- */

/* It is made, of a job in the store alone. */
static void settle_change(rbk_flow *f, rbk_ticket *t)
{
    rbk_engine *e = f->e;
    switch (t->op) {
    case RBK_OP_REDRIVE:
    case RBK_OP_PARK:
        atomic_fetch_add(&e->stored, t->op == RBK_OP_REDRIVE);
        wait_in_store(f, t->job);
        rbk_couriers_hurry(e->couriers, t->job->lane);
        break;
    case RBK_OP_RESULT:
        wait_in_store(f, t->job);
        break;
    case RBK_OP_DONE:
        atomic_fetch_sub(&e->stored, 1);
        atomic_fetch_add(&e->cancelled, 1);
        break;
    default:
        break;
    }
    rbk_changing *c = rbk_changing_of(t);
    t->waiter = NULL;
    rbk_ticket_free(t);
    rbk_changing_tell(c, 0);
}

static void settle_waiting(rbk_flow *f, rbk_ticket *t, rbk_op_outcome outcome)
{
    if (outcome == RBK_OUTCOME_OK)
        settle_change(f, t);
    else if (outcome == RBK_OUTCOME_IN_MEMORY)
        rbk_list_push(&f->in_memory, &t->node);
    else if (outcome == RBK_OUTCOME_STALE)
        rbk_change_again(t);
    else
        rbk_ticket_free(t);
}

void rbk_flow_settled(rbk_flow *f)
{
    rbk_list calls = {0};
    for (rbk_node *n; (n = rbk_list_pop(&f->in_memory));) {
        rbk_ticket *t = (rbk_ticket *)(void *)n;
        if (t->from == RBK_JOB_DUE)
            rbk_couriers_change(f->e->couriers, t);
        else
            rbk_list_push(&calls, n);
    }
    rbk_execute_cancel(f->e->execute, &calls);
}

/* What has become of the job that a waiter wanted cancelled. */
static int verdict_of(const rbk_ticket *t)
{
    if (t->op == RBK_OP_DONE)
        return t->job->state == RBK_JOB_CANCELLED ? 0 : RBK_E_STATE;
    return t->op == RBK_OP_RESULT ? 0 : RBK_E_BUSY;
}

/* --- Each ------------------------------------------------------------------------------- */

static void settle_ok(rbk_flow *f, rbk_ticket *t)
{
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
        note_due(f, t->job->due);
        forget(f, t);
        break;
    case RBK_OP_PARK:
        rbk_aging_note(f->aging, t->job->lane, t->job->first_attempt);
        note_due(f, t->job->due);
        forget(f, t);
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
        settle_waiting(f, t, outcome);
        return;
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
    t->waiter = NULL;
    settle_ok(f, t);
    if (waiting)
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
static void derive_lane(rbk_job *job)
{
    char lane[RBK_LANE_MAX + 1];
    if (job->state == RBK_JOB_DUE)
        rbk_send_lane(job->callback, lane);
    else
        snprintf(lane, sizeof lane, "run:%.*s", RBK_FMT(job->method));
    free(job->mem[2]);
    job->mem[2] = strdup(lane);
    job->lane = rbk_str_z(job->mem[2]);
}

void rbk_flow_recover(rbk_flow *f, rbk_ticket *t)
{
    derive_lane(t->job);
    t->lane_bytes = rbk_job_bytes(t->job);
    t->lane = rbk_lanes_force(f->lanes, t->job->lane, t->lane_bytes);
    go_on(f, t);
}

/* --- Paging in ------------------------------------------------------------------------- */

/* Without memory for its ticket a claimed job goes back to the wait shelf. Should that fail
 * too, the next start finds it on the job shelf. */
static void put_back(const rbk_store_ops *ops, rbk_store *st, rbk_job *job)
{
    rbk_store_op op = {.kind = RBK_OP_PARK, .from = job->state, .shelf = RBK_SHELF_WAIT, .job = job};
    rbk_error err = {0};
    job->due = ready_since(job);
    ops->apply(st, &op, 1, &err);
    rbk_job_free(job);
}

/* A claim: up to `max` jobs of `lane` that are due by `until`. */
typedef struct claim {
    rbk_lane *lane;
    size_t max;
    rbk_wall_ms until;
} claim;

/* Make it; *ret_next: when the first job left there is due. 0, or the store's error. */
static int refill(rbk_flow *f, const claim *c, const rbk_store_ops *ops, rbk_store *st,
                  rbk_wall_ms *ret_next, rbk_error *err)
{
    rbk_job *jobs = NULL;
    rbk_lane *lane = c->lane;
    rbk_wall_ms next = INT64_MAX, now = rbk_engine_now(f->e);
    int n = ops->claim(st, lane->name, c->until, c->max, &jobs, &next, err);
    if (n < 0) {
        rbk_lanes_refilled(f->lanes, lane, true);
        return n;
    }
    rbk_list ready = {0};
    while (jobs) {
        rbk_job *job = jobs;
        jobs = job->next;
        job->next = NULL;
        size_t bytes = rbk_job_bytes(job);
        rbk_ticket *t = rbk_ticket_new(job);
        if (t == NULL) {
            put_back(ops, st, job);
            note_due(f, now + OVERFLOW_MS); /* the scan finds it */
            continue;
        }
        t->lane = lane;
        t->lane_bytes = bytes;
        rbk_lanes_take(f->lanes, lane, bytes);
        rbk_list_push(&ready, &t->node);
    }
    if (next > now)
        note_due(f, next);
    rbk_lanes_refilled(f->lanes, lane, next <= now);
    for (rbk_node *node; (node = rbk_list_pop(&ready));)
        go_on(f, (rbk_ticket *)(void *)node);
    *ret_next = next;
    return 0;
}

void rbk_flow_behind(rbk_flow *f, rbk_str lane, rbk_mono_ms now)
{
    rbk_lanes_tick(f->lanes, now);
    rbk_lanes_behind(f->lanes, lane, true);
    rbk_aging_hear(f->aging, lane, now);
}

void rbk_flow_pull(rbk_flow *f, rbk_str lane)
{
    rbk_lanes_behind(f->lanes, lane, false);
    rbk_aging_forget(f->aging, lane);
    rbk_pulls_add(&f->pulls, lane, rbk_mono_now());
}

rbk_aging *rbk_flow_aging(rbk_flow *f)
{
    return f->aging;
}

/* Some jobs of a lane, before their time. */
static int pull_some(rbk_flow *f, rbk_pull *pull, const rbk_store_ops *ops, rbk_store *st,
                     rbk_error *err)
{
    size_t room = 0;
    rbk_wall_ms next = INT64_MAX;
    rbk_lane *lane = rbk_lanes_room(f->lanes, rbk_str_z(pull->lane), &room);
    if (lane && room == 0)
        rbk_lanes_refilled(f->lanes, lane, lane->spilled);
    if (lane == NULL || room == 0)
        return 0;
    claim c = {lane, room < RBK_PULL_JOBS ? room : RBK_PULL_JOBS, INT64_MAX - 1};
    int r = refill(f, &c, ops, st, &next, err);
    if (r == 0 && next == INT64_MAX)
        rbk_pulls_end(&f->pulls, pull);
    return r;
}

static int page_in_some(rbk_flow *f, const rbk_store_ops *ops, rbk_store *st, rbk_wall_ms now,
                        rbk_error *err)
{
    int r = 0;
    rbk_wall_ms next;
    rbk_pull *pull;
    while (r == 0 && (pull = rbk_pulls_next(&f->pulls, rbk_mono_now())))
        r = pull_some(f, pull, ops, st, err);
    for (int i = 0; r == 0 && i < CLAIMS_A_TURN; i++) {
        size_t room = 0;
        rbk_lane *lane = rbk_lanes_next_refill(f->lanes, &room);
        if (lane == NULL)
            break;
        r = refill(f, &(claim){lane, room < CLAIM_JOBS ? room : CLAIM_JOBS, now}, ops, st, &next,
                   err);
    }
    return r;
}

/* Look at some lanes of the store: those with due jobs are remembered, of the others the
 * earliest time is. */
static int scan_some(rbk_flow *f, const rbk_store_ops *ops, rbk_store *st, rbk_wall_ms now,
                     rbk_error *err)
{
    if (!f->scanning) {
        f->scanning = true;
        f->after[0] = 0;
        f->next_due = INT64_MAX;
        rbk_lanes_scanned(f->lanes);
    }
    int n = ops->lanes(st, rbk_str_z(f->after), SCAN_LANES, f->found, err);
    if (n < 0) {
        f->scanning = false;
        note_due(f, now);
        return n;
    }
    for (int i = 0; i < n; i++) {
        if (f->found[i].due > now)
            note_due(f, f->found[i].due);
        else if (!rbk_lanes_spilled(f->lanes, rbk_str_z(f->found[i].lane)))
            note_due(f, now + OVERFLOW_MS);
    }
    if (n == SCAN_LANES) {
        memcpy(f->after, f->found[n - 1].lane, sizeof f->after);
        return 0;
    }
    f->scanning = false;
    f->next_scan = rbk_mono_now() + SCAN_EVERY_MS;
    return 0;
}

int rbk_flow_turn(rbk_flow *f, const rbk_store_ops *ops, rbk_store *st, rbk_error *err)
{
    rbk_wall_ms now = rbk_engine_now(f->e);
    int r = 0;
    rbk_lanes_tick(f->lanes, rbk_mono_now());
    if (f->scanning || (f->next_due <= now && f->next_scan <= rbk_mono_now()))
        r = scan_some(f, ops, st, now, err);
    if (r == 0)
        r = page_in_some(f, ops, st, now, err);
    atomic_store(&f->e->in_memory, (int64_t)rbk_lanes_jobs(f->lanes));
    return r;
}

int64_t rbk_flow_wait_ms(const rbk_flow *f)
{
    if (f->scanning || rbk_lanes_waiting(f->lanes))
        return 0;
    rbk_mono_ms now = rbk_mono_now(), wake = rbk_pulls_wake(&f->pulls);
    int64_t pull = wake == INT64_MAX ? INT64_MAX : wake > now ? wake - now : 0;
    if (f->next_due == INT64_MAX)
        return pull;
    rbk_wall_ms due = f->next_due - rbk_engine_now(f->e);
    rbk_mono_ms scan = f->next_scan - now;
    int64_t wait = due > scan ? due : scan;
    wait = wait < pull ? wait : pull;
    return wait > 0 ? wait : 0;
}
