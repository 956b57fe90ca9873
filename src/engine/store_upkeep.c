/* SPDX-License-Identifier: Apache-2.0 */
/* engine/store_upkeep.c - what the store thread does between commits, now and then: it looks at
 * what the store holds, for the numbers of the engine, and lets go of ended jobs that are old.
 * Store thread. */
#include "engine/store_thread_impl.h"

#include "base/clock.h"

enum {
    STATS_MS = 1000,
    SWEEP_ROWS = 500,
    SWEEP_MS = 1000,
    SWEEP_ON_MS = 25, /* the same while there is more */
};

static void publish(rbk_engine *e, const rbk_store_stats *stats)
{
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
    s->lane_after[0] = 0;
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
