/* SPDX-License-Identifier: Apache-2.0 */
/* engine/store_upkeep.c - what the store thread does between commits, now and then: it looks at
 * what the store holds, for the numbers of the engine, lets go of ended jobs that are old, and gives
 * up those that wait for a receiver who takes nothing until they are too old. Store thread. */
#include "engine/store_thread_impl.h"

#include "base/clock.h"
#include "base/id.h"
#include "core/dsn.h"
#include "engine/keys.h"
#include "engine/quotas.h"

enum {
    STATS_MS = 1000,
    SWEEP_ROWS = 500,
    SWEEP_MS = 1000,
    SWEEP_ON_MS = 25, /* the same while there is more */
    EXPIRE_LOOKS = 8,         /* in one turn; a look that finds old jobs is its last */
    EXPIRE_BESIDE = 100,      /* jobs of one turn when others wait for commits */
    EXPIRE_BESIDE_MS = 20,    /* the same: between turns */
    EXPIRE_AGAIN_MS = 1000,   /* after a failure */
};

/* Every ticket of the last commit is settled: what was counted is put right by what is there. */
static void publish(rbk_engine *e, const rbk_store_stats *stats)
{
    atomic_store(&e->stored, stats->pending);
    atomic_store(&e->pending_bytes, stats->pending_bytes);
    atomic_store(&e->held, stats->held);
    atomic_store(&e->queued, stats->queued);
    atomic_store(&e->due, stats->due);
    atomic_store(&e->kept_done, stats->done);
    atomic_store(&e->kept_dead, stats->dead);
}

void rbk_store_publish(rbk_store_thread *s, const rbk_store_stats *stats)
{
    publish(s->e, stats);
    atomic_store(&s->e->store_due, INT64_MAX);
    s->lane_oldest = INT64_MAX;
    memcpy(s->lane_after, RBK_BEHIND_KEYS, sizeof RBK_BEHIND_KEYS);
}

void rbk_store_counted(void *s, rbk_str caller, int64_t jobs, int64_t bytes)
{
    rbk_quotas_counted(((rbk_store_thread *)s)->e->quotas, caller, jobs, bytes);
}

/* A commit that was in doubt told nobody what it changed: then, and at the start, all callers are
 * counted anew. Where that fails the store is broken, and will be opened, and counted, again. */
void rbk_store_count(rbk_store_thread *s, size_t n)
{
    rbk_error err = {0};
    rbk_quotas *q = s->e->quotas;
    if (n == 0 || s->op[0].again) {
        rbk_quotas_begin(q);
        if (s->ops->count_callers(s->st, &err) < 0)
            rbk_event(RBK_LOG(s->e), RBK_WARN, "store.warning", RBK_FZ("text", err.detail));
    }
    rbk_quotas_settle(q, s->op, s->ticket, n);
}

/* Since when the first job in the store is due: of some lanes each time, so that many of them
 * cost no more than few. */
static void look_at_lanes(rbk_store_thread *s)
{
    rbk_lane_due *found = s->lane_found;
    rbk_error err = {0};
    int n = s->ops->lanes(s->st, rbk_str_z(s->lane_after), RBK_LOOK_LANES, found, &err);
    for (int i = 0; i < n; i++)
        if (found[i].due < s->lane_oldest)
            s->lane_oldest = found[i].due;
    if (n == RBK_LOOK_LANES) {
        memcpy(s->lane_after, found[n - 1].lane, sizeof s->lane_after);
        return;
    }
    atomic_store(&s->e->store_due, s->lane_oldest);
    memcpy(s->lane_after, RBK_BEHIND_KEYS, sizeof RBK_BEHIND_KEYS);
    s->lane_oldest = INT64_MAX;
}

void rbk_store_look(rbk_store_thread *s, rbk_mono_ms now)
{
    rbk_store_stats stats;
    rbk_error err = {0};
    if (now < s->next_stats || s->st == NULL)
        return;
    s->next_stats = now + STATS_MS;
    if (s->ops->stats(s->st, &stats, &err) == 0)
        publish(s->e, &stats);
    look_at_lanes(s);
}

/* Ended jobs that need not be kept any longer go: some at a time, and seldom while others
 * wait for a commit. */
void rbk_store_sweep(rbk_store_thread *s, rbk_mono_ms now)
{
    rbk_error err = {0};
    if (now < s->next_sweep)
        return;
    s->next_sweep = now + SWEEP_MS;
    if (s->st == NULL || atomic_load(&s->e->health))
        return;
    int n = s->ops->sweep(s->st, &s->e->conf.keep, rbk_engine_now(s->e), SWEEP_ROWS, &err);
    s->next_sweep = rbk_mono_now() + (n == SWEEP_ROWS ? SWEEP_ON_MS : SWEEP_MS);
    if (n >= 0)
        return;
    rbk_event(RBK_LOG(s->e), RBK_WARN, "store.sweep_failed", RBK_FZ("detail", err.detail));
    if (n == RBK_E_IO)
        rbk_store_distrust(s, &err);
}

/* --- Too old ------------------------------------------------------------------------------- */

/* As the courier writes it of a job in memory. */
static void give_up(rbk_store_thread *s, rbk_ticket *t, const char *host)
{
    char id[RBK_ID_TEXT + 1];
    rbk_job *job = t->job;
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, id);
    rbk_event(RBK_LOG(s->e), RBK_ERROR, "job.expired", RBK_FZ("job", id), RBK_FZ("host", host),
              RBK_F("attempts", job->attempts));
    rbk_flow_settle(s->flow, t, RBK_OUTCOME_OK);
}

_Static_assert((int)RBK_AGING_BITE <= (int)RBK_COMMIT_OPS, "a bite is one transaction");

/* One transaction. Takes the jobs. */
static int bury(rbk_store_thread *s, rbk_job *jobs, const char *host, rbk_error *err)
{
    size_t n = 0;
    rbk_wall_ms now = rbk_engine_now(s->e);
    while (jobs) {
        rbk_job *job = jobs;
        jobs = job->next;
        job->next = NULL;
        rbk_ticket *t = rbk_ticket_new(job);
        if (t == NULL) {
            rbk_job_free(job); /* the next look finds it again */
            continue;
        }
        if (job->attempts == 0)
            job->reason = RBK_STR("paused");
        rbk_ticket_move(t, RBK_EV_GIVE_UP, RBK_OP_DEAD);
        s->ticket[n] = t;
        s->op[n++] = (rbk_store_op){.kind = t->op, .from = t->from, .now = now, .job = job};
    }
    int r = rbk_store_apply(s, n, err);
    for (size_t i = 0; i < n; i++) {
        if (r < 0)
            rbk_ticket_free(s->ticket[i]);
        else if (s->op[i].outcome == RBK_OUTCOME_OK)
            give_up(s, s->ticket[i], host);
        else
            rbk_flow_settle(s->flow, s->ticket[i], s->op[i].outcome);
    }
    return r;
}

/* The host in "send:https://host:port". */
static void write_host(rbk_str lane, rbk_dsn *dsn)
{
    const rbk_str send = RBK_STR("send:");
    rbk_str name = rbk_str_starts(lane, send) ? (rbk_str){lane.p + send.n, lane.n - send.n} : lane;
    if (rbk_dsn_parse(name, RBK_STR("https,wss"), dsn) != RBK_DSN_OK)
        dsn->host_lower[0] = 0;
}

/* 1 when old jobs were given up, 0, or the store's error. */
static int expire_some(rbk_store_thread *s, rbk_aged *look, rbk_error *err)
{
    rbk_dsn dsn;
    rbk_aging *aging = rbk_flow_aging(s->flow);
    int n = s->ops->aged(s->st, look, err), r = 0;
    if (n < 0)
        return n;
    bool old = look->jobs != NULL;
    if (old) {
        write_host(look->lane, &dsn);
        r = bury(s, look->jobs, dsn.host_lower, err);
    }
    if (r == 0)
        rbk_aging_looked(aging, look, (size_t)n, old, rbk_engine_now(s->e));
    return r < 0 ? r : old;
}

void rbk_store_expire(rbk_store_thread *s, rbk_mono_ms now, bool others)
{
    rbk_error err = {0};
    rbk_aged look;
    int r = 0;
    if (now < s->next_expire || s->st == NULL || atomic_load(&s->e->health) ||
        atomic_load(&s->e->refusing))
        return;
    for (int i = 0; r == 0 && i < EXPIRE_LOOKS; i++) {
        if (!rbk_aging_next(rbk_flow_aging(s->flow), now, rbk_engine_now(s->e),
                            others ? EXPIRE_BESIDE : RBK_COMMIT_OPS, &look))
            break;
        r = expire_some(s, &look, &err);
    }
    s->next_expire = rbk_mono_now() + (r < 0 ? EXPIRE_AGAIN_MS : others ? EXPIRE_BESIDE_MS : 0);
    if (r >= 0)
        return;
    rbk_event(RBK_LOG(s->e), RBK_WARN, "store.expire_failed", RBK_FZ("detail", err.detail));
    if (r == RBK_E_IO)
        rbk_store_distrust(s, &err);
}
