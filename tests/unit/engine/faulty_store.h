/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/engine/faulty_store.h - a store in the place of `memory:` whose disk has
 * moods. The disk outlives the handles on it, so a store that is closed and opened again
 * finds its jobs, as a restarted server does.
 *
 * On command commits wait at a gate, take their time, or fail; claims, openings and
 * recoveries fail. Every call is counted. The test's thread commands, the store thread
 * obeys: the faults and the gate stand behind `lock`. */
#ifndef RBK_TESTS_FAULTY_STORE_H
#define RBK_TESTS_FAULTY_STORE_H

#include "base/error.h"
#include "seam/stores.h"
#include "store/stores.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define OP_BIT(kind) (1u << (kind))
enum { ANY_OP = 0xfff, UNTIL_TOLD = -1, GET_BEFORE = 1, GET_AFTER };

typedef struct fault {
    int err;
    int left;       /* how many calls it meets still, or UNTIL_TOLD */
    unsigned kinds; /* commits: only those that hold one of these */
    bool after;     /* commits: it is all done, and the error is given nevertheless */
} fault;

static struct disk {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    rbk_store *inner;
    fault apply, claim, open, recover, hold, sweep, aged;
    unsigned lone_stale; /* commits of one change of these kinds find the job elsewhere */
    unsigned gate; /* commits that hold one of these kinds wait */
    int at_gate;
    int get_gate;  /* get() waits: GET_BEFORE it looks, or GET_AFTER it */
    int at_get_gate;
    atomic_bool elsewhere; /* what operators want finds another job than they have read */
    atomic_int n_elsewhere;
    atomic_int commit_ms; /* how long each commit takes */
    atomic_int handles;   /* open ones */
    atomic_int applies, claims, scans, opens, recoveries;
    atomic_int most_ended; /* jobs purged in one commit */
    atomic_int put_at;     /* the apply that had the last new job */
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

/* --- The store's side --------------------------------------------------------------- */

static inline int meet(fault *f, unsigned kinds, bool *ret_after)
{
    int err = 0;
    pthread_mutex_lock(&disk.lock);
    if (f->left != 0 && (f->kinds & kinds)) {
        f->left -= f->left > 0;
        err = f->err;
        *ret_after = f->after;
    }
    pthread_mutex_unlock(&disk.lock);
    return err;
}

static inline void pass_gate(unsigned kinds)
{
    pthread_mutex_lock(&disk.lock);
    disk.at_gate += (disk.gate & kinds) != 0;
    while (disk.gate & kinds)
        pthread_cond_wait(&disk.moved, &disk.lock);
    disk.at_gate = 0;
    pthread_mutex_unlock(&disk.lock);
}

/* The disk tells whoever has the handle of the day. */
static rbk_store_conf disk_conf;

static inline void tell_warning(void *user, const char *line)
{
    (void)user;
    if (disk_conf.warn)
        disk_conf.warn(disk_conf.user, line);
}

static inline void tell_released(void *user, rbk_str lane)
{
    (void)user;
    if (disk_conf.released)
        disk_conf.released(disk_conf.user, lane);
}

static inline void tell_counted(void *user, rbk_str caller, int64_t jobs, int64_t bytes)
{
    (void)user;
    if (disk_conf.counted)
        disk_conf.counted(disk_conf.user, caller, jobs, bytes);
}

static inline int faulty_open(const rbk_store_conf *conf, rbk_store **ret, rbk_error *err)
{
    bool after = false;
    int r = meet(&disk.open, ANY_OP, &after);
    rbk_store_conf inner = {.dsn = "memory:", .warn = tell_warning, .released = tell_released,
                            .counted = tell_counted};
    disk.opens++;
    if (r < 0)
        return rbk_fail(err, r, "the disk is gone");
    disk_conf = *conf;
    if (disk.inner == NULL && (r = rbk_store_memory.open(&inner, &disk.inner, err)) < 0)
        return r;
    disk.handles++;
    *ret = disk.inner;
    return 0;
}

static inline void faulty_close(rbk_store *st)
{
    if (st)
        disk.handles--;
}

/* The store's own answer, but for what is stale. */
static inline int apply_inner(rbk_store *st, rbk_store_op *ops, size_t n, rbk_error *err)
{
    if (!disk.elsewhere)
        return rbk_store_memory.apply(st, ops, n, err);
    for (size_t i = 0; i < n; i++) {
        int r = ops[i].waiting ? 0 : rbk_store_memory.apply(st, &ops[i], 1, err);
        if (r < 0)
            return r;
        if (ops[i].waiting)
            ops[i].outcome = RBK_OUTCOME_STALE;
        disk.n_elsewhere += ops[i].waiting;
    }
    return 0;
}

static inline int faulty_apply(rbk_store *st, rbk_store_op *ops, size_t n, rbk_error *err)
{
    unsigned kinds = 0;
    bool after = false;
    int ended = 0;
    for (size_t i = 0; i < n; i++) {
        kinds |= OP_BIT(ops[i].kind);
        ended += ops[i].kind == RBK_OP_PURGE;
    }
    disk.most_ended = ended > disk.most_ended ? ended : disk.most_ended;
    disk.applies++;
    if (kinds & OP_BIT(RBK_OP_PUT))
        disk.put_at = disk.applies;
    pass_gate(kinds);
    int ms = disk.commit_ms;
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
    pthread_mutex_lock(&disk.lock);
    bool stale = n == 1 && (kinds & disk.lone_stale);
    pthread_mutex_unlock(&disk.lock);
    if (stale) {
        ops[0].outcome = RBK_OUTCOME_STALE;
        return 0;
    }
    int r = meet(&disk.apply, kinds, &after);
    if (r == 0)
        return apply_inner(st, ops, n, err);
    if (after)
        rbk_store_memory.apply(st, ops, n, err);
    for (size_t i = 0; i < n; i++)
        ops[i].outcome = RBK_OUTCOME_NONE;
    return rbk_fail(err, r, "the disk has a bad day");
}

static inline int faulty_claim(rbk_store *st, rbk_str lane, rbk_wall_ms now, size_t max,
                               rbk_job **ret_jobs, rbk_wall_ms *ret_next, rbk_error *err)
{
    bool after = false;
    int r = meet(&disk.claim, ANY_OP, &after);
    disk.claims++;
    if (r < 0)
        return rbk_fail(err, r, "the disk has a bad day");
    return rbk_store_memory.claim(st, lane, now, max, ret_jobs, ret_next, err);
}

static inline int faulty_expired(rbk_store *st, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                                 rbk_wall_ms *ret_next, rbk_error *err)
{
    bool after = false;
    int r = meet(&disk.claim, ANY_OP, &after);
    if (r < 0)
        return rbk_fail(err, r, "the disk has a bad day");
    return rbk_store_memory.expired(st, now, max, ret_jobs, ret_next, err);
}

static inline int faulty_lanes(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret,
                               rbk_error *err)
{
    int n = rbk_store_memory.lanes(st, after, max, ret, err);
    disk.scans++;
    return n;
}

static inline int faulty_recover(rbk_store *st, int64_t after, size_t max, rbk_job **ret_jobs,
                                 rbk_error *err)
{
    bool ignored = false;
    disk.recoveries++;
    int r = after ? meet(&disk.recover, ANY_OP, &ignored) : 0; /* the first part goes well */
    if (r < 0)
        return rbk_fail(err, r, "the disk has a bad day");
    return rbk_store_memory.recover(st, after, max, ret_jobs, err);
}

static inline int faulty_count_callers(rbk_store *st, rbk_error *err)
{
    return rbk_store_memory.count_callers(st, err);
}

static inline int faulty_stats(rbk_store *st, rbk_store_stats *ret, rbk_error *err)
{
    return rbk_store_memory.stats(st, ret, err);
}

static inline int faulty_aged(rbk_store *st, rbk_aged *a, rbk_error *err)
{
    bool ignored = false;
    int r = meet(&disk.aged, ANY_OP, &ignored);
    return r < 0 ? rbk_fail(err, r, "the disk has a bad day") : rbk_store_memory.aged(st, a, err);
}

static inline int faulty_free_bytes(rbk_store *st, int64_t *ret, rbk_error *err)
{
    return rbk_store_memory.free_bytes(st, ret, err);
}

static inline void pass_get_gate(int place)
{
    pthread_mutex_lock(&disk.lock);
    disk.at_get_gate += disk.get_gate == place;
    while (disk.get_gate == place)
        pthread_cond_wait(&disk.moved, &disk.lock);
    disk.at_get_gate = 0;
    pthread_mutex_unlock(&disk.lock);
}

static inline int faulty_get(rbk_store *st, int64_t seq, int64_t rnd, rbk_job **ret,
                             rbk_error *err)
{
    pass_get_gate(GET_BEFORE);
    int r = rbk_store_memory.get(st, seq, rnd, ret, err);
    pass_get_gate(GET_AFTER);
    return r;
}

static inline int faulty_list(rbk_store *st, const rbk_job_filter *filter, int64_t after,
                              size_t max, rbk_job **ret, int64_t *ret_next, rbk_error *err)
{
    return rbk_store_memory.list(st, filter, after, max, ret, ret_next, err);
}

static inline int faulty_attempts(rbk_store *st, int64_t seq, size_t max, rbk_attempt_note *ret,
                                  rbk_error *err)
{
    return rbk_store_memory.attempts(st, seq, max, ret, err);
}

static inline int faulty_sweep(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now,
                               size_t max, rbk_error *err)
{
    bool ignored = false;
    int r = meet(&disk.sweep, ANY_OP, &ignored);
    return r < 0 ? rbk_fail(err, r, "the disk has a bad day")
                 : rbk_store_memory.sweep(st, keep, now, max, err);
}

static inline int faulty_hold(rbk_store *st, rbk_str receiver, bool hold, rbk_error *err)
{
    bool ignored = false;
    int r = meet(&disk.hold, ANY_OP, &ignored);
    return r < 0 ? rbk_fail(err, r, "the disk has a bad day")
                 : rbk_store_memory.hold(st, receiver, hold, err);
}

static inline int faulty_holds(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret,
                               rbk_error *err)
{
    return rbk_store_memory.holds(st, after, max, ret, err);
}

static const rbk_store_ops faulty_store = {
    .abi = RBK_STORE_ABI,
    .scheme = "memory", /* in the place of the real one: options know no other */
    .help = "a disk with moods",
    .open = faulty_open,
    .close = faulty_close,
    .apply = faulty_apply,
    .claim = faulty_claim,
    .aged = faulty_aged,
    .expired = faulty_expired,
    .lanes = faulty_lanes,
    .recover = faulty_recover,
    .stats = faulty_stats,
    .count_callers = faulty_count_callers,
    .free_bytes = faulty_free_bytes,
    .get = faulty_get,
    .list = faulty_list,
    .attempts = faulty_attempts,
    .sweep = faulty_sweep,
    .hold = faulty_hold,
    .holds = faulty_holds,
};

/* --- The test's side ------------------------------------------------------------------ */

static inline void disk_set(fault *f, fault value)
{
    pthread_mutex_lock(&disk.lock);
    *f = value;
    pthread_mutex_unlock(&disk.lock);
}

/* The next `n` calls give `err`; commits: those that hold one of `kinds`. */
static inline void disk_fail(fault *f, int err, int n, unsigned kinds)
{
    disk_set(f, (fault){.err = err, .left = n, .kinds = kinds});
}

static inline void disk_heal(fault *f)
{
    disk_set(f, (fault){0});
}

static inline void disk_gate(unsigned kinds) /* 0: it opens */
{
    pthread_mutex_lock(&disk.lock);
    disk.gate = kinds;
    pthread_cond_broadcast(&disk.moved);
    pthread_mutex_unlock(&disk.lock);
}

static inline bool disk_at_gate(void)
{
    pthread_mutex_lock(&disk.lock);
    bool yes = disk.at_gate > 0;
    pthread_mutex_unlock(&disk.lock);
    return yes;
}

static inline void disk_get_gate(int place) /* 0: it opens */
{
    pthread_mutex_lock(&disk.lock);
    disk.get_gate = place;
    pthread_cond_broadcast(&disk.moved);
    pthread_mutex_unlock(&disk.lock);
}

static inline bool disk_at_get_gate(void)
{
    pthread_mutex_lock(&disk.lock);
    bool yes = disk.at_get_gate > 0;
    pthread_mutex_unlock(&disk.lock);
    return yes;
}

static inline rbk_store_stats disk_stats(void)
{
    rbk_store_stats stats = {0};
    rbk_error err = {0};
    rbk_store_memory.stats(disk.inner, &stats, &err);
    return stats;
}

/* The oldest job on the disk, or NULL; the caller's to free. */
static inline rbk_job *disk_first_job(void)
{
    rbk_job *job = NULL;
    rbk_error err = {0};
    int64_t next;
    rbk_store_memory.list(disk.inner, &(rbk_job_filter){0}, 0, 1, &job, &next, &err);
    return job;
}

/* A new disk in a good mood. A server that a failed test left behind keeps the old one. */
static inline void disk_wipe(void)
{
    if (disk.handles == 0)
        rbk_store_memory.close(disk.inner);
    disk.inner = NULL;
    disk.apply = disk.claim = disk.open = disk.recover = disk.hold = disk.sweep = (fault){0};
    disk.aged = (fault){0};
    disk.gate = disk.lone_stale = 0;
    disk.at_gate = 0;
    disk.get_gate = disk.at_get_gate = 0;
    disk.elsewhere = false;
    disk.n_elsewhere = 0;
    disk.commit_ms = 0;
    disk.handles = disk.applies = disk.claims = disk.scans = disk.opens = disk.recoveries = 0;
}

#endif
