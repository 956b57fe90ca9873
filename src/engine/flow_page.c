/* SPDX-License-Identifier: Apache-2.0 */
/* engine/flow_page.c - jobs of the store alone come back into memory: lanes that have room again
 * are refilled, and a scan over the store's lanes finds those whose delay or retry has come due.
 * Store thread. */
#include "engine/flow_impl.h"

#include "base/clock.h"
#include "engine/keys.h"
#include "engine/session_fetch.h"

enum {
    CLAIM_JOBS = 64,  /* in one claim */
    CLAIMS_US = 2000, /* for claims of one turn, so that acknowledgements never wait long */
    FETCHES_A_TURN = 16,
    SCAN_EVERY_MS = 20,
};

/* Without memory for its ticket a claimed job goes back to the wait shelf. Should that fail
 * too, the next start finds it on the job shelf. */
void rbk_flow_put_back(const rbk_store_ops *ops, rbk_store *st, rbk_job *job)
{
    rbk_store_op op = {.kind = RBK_OP_PARK, .from = job->state, .shelf = RBK_SHELF_WAIT, .job = job};
    rbk_error err = {0};
    job->due = rbk_flow_ready_since(job);
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
            rbk_expiry_note(&f->expiry, job);
            rbk_flow_put_back(ops, st, job);
            rbk_flow_note_due(f, now + RBK_FLOW_OVERFLOW_MS); /* the scan finds it */
            continue;
        }
        t->lane = lane;
        t->lane_bytes = bytes;
        rbk_lanes_take(f->lanes, lane, bytes);
        rbk_list_push(&ready, &t->node);
    }
    if (next > now)
        rbk_flow_note_due(f, next);
    rbk_lanes_refilled(f->lanes, lane, next <= now);
    for (rbk_node *node; (node = rbk_list_pop(&ready));)
        rbk_flow_go_on(f, (rbk_ticket *)(void *)node);
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

void rbk_flow_fetch(rbk_flow *f, rbk_list *fetches)
{
    rbk_list_join(&f->fetches, fetches);
}

void rbk_flow_fetched(rbk_flow *f)
{
    rbk_fetched(&f->fetched);
}

/* What waits for one client that is there. */
static int fetch_some(rbk_flow *f, rbk_fetching *want, const rbk_store_ops *ops, rbk_store *st,
                      rbk_error *err)
{
    size_t room = 0;
    rbk_wall_ms next = INT64_MAX;
    rbk_lane *lane = rbk_lanes_room(f->lanes, rbk_str_z(want->lane), &room);
    want->now = false;
    rbk_list_push(&f->fetched, &want->node);
    if (lane && room == 0)
        rbk_lanes_refilled(f->lanes, lane, lane->spilled);
    if (lane == NULL || room == 0)
        return 0;
    claim c = {lane, room < CLAIM_JOBS ? room : CLAIM_JOBS, INT64_MAX - 1};
    int r = refill(f, &c, ops, st, &next, err);
    want->now = r == 0;
    want->more = next != INT64_MAX;
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
    for (int i = 0; r == 0 && i < FETCHES_A_TURN && f->fetches.head; i++)
        r = fetch_some(f, (rbk_fetching *)(void *)rbk_list_pop(&f->fetches), ops, st, err);
    uint64_t until = rbk_mono_us() + CLAIMS_US;
    while (r == 0) {
        size_t room = 0;
        rbk_lane *lane = rbk_lanes_next_refill(f->lanes, &room);
        if (lane == NULL)
            break;
        r = refill(f, &(claim){lane, room < CLAIM_JOBS ? room : CLAIM_JOBS, now}, ops, st, &next,
                   err);
        if (rbk_mono_us() >= until)
            break;
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
        memcpy(f->after, RBK_BEHIND_KEYS, sizeof RBK_BEHIND_KEYS);
        f->next_due = INT64_MAX;
        rbk_lanes_scanned(f->lanes);
    }
    int n = ops->lanes(st, rbk_str_z(f->after), RBK_FLOW_SCAN, f->found, err);
    if (n < 0) {
        f->scanning = false;
        rbk_flow_note_due(f, now);
        return n;
    }
    for (int i = 0; i < n; i++) {
        if (f->found[i].due > now)
            rbk_flow_note_due(f, f->found[i].due);
        else if (!rbk_lanes_spilled(f->lanes, rbk_str_z(f->found[i].lane)))
            rbk_flow_note_due(f, now + RBK_FLOW_OVERFLOW_MS);
    }
    if (n == RBK_FLOW_SCAN) {
        memcpy(f->after, f->found[n - 1].lane, sizeof f->after);
        return 0;
    }
    f->scanning = false;
    f->next_scan = rbk_mono_now() + SCAN_EVERY_MS;
    return 0;
}

void rbk_flow_answer(rbk_flow *f, bool all)
{
    rbk_waits_turn(f->waits, all);
}

int rbk_flow_turn(rbk_flow *f, const rbk_store_ops *ops, rbk_store *st, rbk_error *err)
{
    rbk_wall_ms now = rbk_engine_now(f->e);
    int r = rbk_expiry_turn(&f->expiry, f->e, ops, st, err);
    rbk_lanes_tick(f->lanes, rbk_mono_now());
    if (r == 0 && (f->scanning || (f->next_due <= now && f->next_scan <= rbk_mono_now())))
        r = scan_some(f, ops, st, now, err);
    if (r == 0)
        r = page_in_some(f, ops, st, now, err);
    atomic_store(&f->e->in_memory, (int64_t)rbk_lanes_jobs(f->lanes));
    return r;
}

int64_t rbk_flow_wait_ms(const rbk_flow *f)
{
    bool fetches = f->fetches.head && !atomic_load(&f->e->refusing);
    if (f->scanning || fetches || rbk_lanes_waiting(f->lanes))
        return 0;
    rbk_mono_ms now = rbk_mono_now(), wake = rbk_pulls_wake(&f->pulls);
    int64_t pull = wake == INT64_MAX ? INT64_MAX : wake > now ? wake - now : 0;
    int64_t wait = rbk_expiry_wait_ms(&f->expiry), answer = rbk_waits_wait_ms(f->waits);
    wait = wait < pull ? wait : pull;
    wait = wait < answer ? wait : answer;
    if (f->next_due == INT64_MAX)
        return wait;
    rbk_wall_ms due = f->next_due - rbk_engine_now(f->e);
    rbk_mono_ms scan = f->next_scan - now;
    due = due > scan ? due : scan;
    due = due > 0 ? due : 0;
    return due < wait ? due : wait;
}
