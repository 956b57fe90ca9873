/* SPDX-License-Identifier: Apache-2.0 */
/* engine/store_thread_impl.h - the store thread's own: shared by store_thread.c (inbox and
 * commits) and recover.c (start). */
#ifndef RBK_ENGINE_STORE_THREAD_IMPL_H
#define RBK_ENGINE_STORE_THREAD_IMPL_H

#include "engine/flow.h"
#include "engine/store_thread.h"

enum {
    RBK_COMMIT_OPS = 1024,
    RBK_COMMIT_ROOM = RBK_COMMIT_OPS + RBK_GROUP_MAX + 1, /* with a group that began within them */
    RBK_LOOK_LANES = 256,
};

struct rbk_store_thread {
    rbk_engine *e;
    const rbk_store_ops *ops;
    rbk_store *st;
    rbk_flow *flow;
    pthread_rwlock_t handle; /* guards `st` against the reader thread */
    pthread_t thread;
    bool started;

    pthread_mutex_t lock; /* guards the inbox */
    pthread_cond_t wake;
    rbk_list admissions, progress, changes, behind, pulls, orders, fetches;
    size_t admit_bytes;
    bool asleep;
    atomic_bool stopping;
    rbk_mono_ms owed_until; /* once it is stopping */

    /* The thread's own. */
    rbk_list held; /* progress that the disk had no room for */
    rbk_mono_ms hold_until, next_look, next_stats;
    bool keeps; /* delivered and cancelled jobs */
    rbk_mono_ms next_sweep, next_expire;
    rbk_mono_ms full_until;    /* free space is not believed before: there are quotas */
    rbk_mono_ms page_in_after; /* after a failure */
    char lane_after[RBK_LANE_MAX + 1]; /* the last lane whose age was looked at */
    rbk_wall_ms lane_oldest;
    rbk_lane_due lane_found[RBK_LOOK_LANES];
    rbk_store_op op[RBK_COMMIT_ROOM];
    rbk_ticket *ticket[RBK_COMMIT_ROOM];
};

/* Apply the first `n` of s->op until the outcome is known. 0, RBK_E_DISK_FULL, RBK_E_BUSY,
 * RBK_E_NOMEM, or RBK_E_IO. */
int rbk_store_apply(rbk_store_thread *s, size_t n, rbk_error *err);
/* The first n tickets are committed; 0: a start. What callers have pending holds from now on. */
void rbk_store_count(rbk_store_thread *s, size_t n);
/* What the store tells of one of them (rbk_store_conf.counted). */
void rbk_store_counted(void *s, rbk_str caller, int64_t jobs, int64_t bytes);

/* Nothing on the handle may be trusted: reopen it; if that does not help, the engine is ill. */
void rbk_store_distrust(rbk_store_thread *s, rbk_error *err);

/* store_names.c: what the inbox had is taken, and freed. */
void rbk_store_take_names(rbk_store_thread *s, rbk_list *behind, rbk_list *pulls);
void rbk_store_free_names(rbk_list *l);

/* store_upkeep.c */

/* Before the thread starts: what the store holds. */
void rbk_store_publish(rbk_store_thread *s, const rbk_store_stats *stats);
/* The same, when it is time. */
void rbk_store_look(rbk_store_thread *s, rbk_mono_ms now);
/* Ended jobs that need not be kept any longer go, some at a time, when it is time. */
void rbk_store_sweep(rbk_store_thread *s, rbk_mono_ms now);

/* Jobs of the store alone that are too old, and whose receivers take nothing, are given up, some
 * at a time, and fewer when `others` wait for commits. */
void rbk_store_expire(rbk_store_thread *s, rbk_mono_ms now, bool others);

/* Bring back what was in memory when the last process ended. Before the thread starts. */
int rbk_store_recover(rbk_store_thread *s, rbk_error *err);

#endif
