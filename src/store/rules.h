/* SPDX-License-Identifier: Apache-2.0 */
/* store/rules.h - what an operation means, the same for every backend of this folder.
 *
 * A backend looks up the row of op->job->seq and asks rbk_store_judge(); it then has
 * only to write what the kind names as new. Pure; any thread. */
#ifndef RBK_STORE_RULES_H
#define RBK_STORE_RULES_H

#include "core/chain.h"
#include "ringback/store.h"

enum {
    RBK_STORE_NOWHERE = -1,         /* the shelf of what goes for good */
    RBK_STORE_JOB_MAX = 256 << 20,  /* bytes of one job's strings */
    RBK_STORE_LIST_MAX = 1000,      /* jobs of one list() */
    RBK_STORE_LIST_BYTES = 64 << 20 /* of these, but for the last of them */
};

/* The row that a backend found under a seq. */
typedef struct rbk_store_row {
    bool found;
    bool has_lane;
    bool ordered; /* it has, or had, a place in the order of its key */
    uint8_t state;
    int shelf;
    int64_t rnd;
    rbk_wall_ms first_attempt;
} rbk_store_row;

typedef enum rbk_store_verdict {
    RBK_VERDICT_WRITE,   /* do it; the outcome is OK */
    RBK_VERDICT_DONE,    /* it has been done before: OK, nothing to write */
    RBK_VERDICT_STALE,
    RBK_VERDICT_TOO_BIG,
    RBK_VERDICT_IN_MEMORY,
    RBK_VERDICT_COMPARE  /* DONE when rbk_store_shows() says so of the stored job, else STALE */
} rbk_store_verdict;

rbk_store_verdict rbk_store_judge(const rbk_store_op *op, const rbk_store_row *row);

/* The shelf that a row now on shelf `now` stands on after `op`, or RBK_STORE_NOWHERE. */
int rbk_store_target(const rbk_store_op *op, int now);

/* Order keys: the operation that is written in the place of a PUT or RESULT that is blocked. */
void rbk_store_block(const rbk_store_op *op, rbk_str key, rbk_store_op *ret, rbk_job *ret_job);
/* It was done before; but does the job stand where the operation wants it, so that it is OK and
 * not BLOCKED? */
rbk_op_outcome rbk_store_done_before(const rbk_store_op *op, const rbk_store_row *row);

/* Does the stored job show what the operation wants, so that it was done before? */
bool rbk_store_shows(const rbk_store_op *op, const rbk_job *stored);

/* The number of `stats` that a pending job in this state belongs to. Every state has one, so
 * that they add up to `pending`. */
int64_t *rbk_store_counter(rbk_store_stats *stats, uint8_t state);

/* Is the stored job one of those that the filter means? Only what the filter asks for, and
 * the lane, need be there. */
bool rbk_store_means(const rbk_job_filter *filter, const rbk_job *job);

/* Need a job of this shelf not be kept any longer? `done_bytes` as stats has them. */
bool rbk_store_is_stale(const rbk_store_keep *keep, rbk_shelf shelf, rbk_wall_ms ended,
                        rbk_wall_ms now, int64_t done_bytes);

/* Is the job of the wait shelf one that aged() gives? */
bool rbk_store_is_old(const rbk_job *job, rbk_wall_ms before);

/* Idempotency keys: `found` is what the store has under the key of the PUT `op`. Is its time
 * over, so that it counts only while its job is pending? */
bool rbk_store_key_ends(const rbk_idem *found, const rbk_store_op *op);
bool rbk_store_is_duplicate(const rbk_idem *found, const rbk_store_op *op, bool pending);
void rbk_store_tell_duplicate(const rbk_idem *found, rbk_store_op *op);
/* When the key of a pending job is looked at again. */
rbk_wall_ms rbk_store_look_at(const rbk_store_keep *keep, rbk_wall_ms now);

/* May it stand in the table of held receivers? Not empty, bounded, no NUL byte. */
bool rbk_store_is_receiver(rbk_str name);

/* Will the job never run (again)? */
static inline bool rbk_store_ends_run(const rbk_store_op *op)
{
    return op->kind == RBK_OP_RESULT || op->kind == RBK_OP_DONE || op->kind == RBK_OP_DEAD;
}
/* Does the operation, now that it is written, feed other jobs of its batch (core/chain.h)? */
bool rbk_store_feeds(const rbk_store_op *op);
/* A HELD job is let go, with what it waited for in its place. `fed` is a copy of `held` whose
 * strings lie in both; its lane stays. */
void rbk_store_release(const rbk_job *held, const rbk_composed *c, rbk_wall_ms now, rbk_job *fed);

/* What stats.pending_bytes counts of a job, but its response. */
int64_t rbk_store_request_bytes(const rbk_job *job);

#endif
