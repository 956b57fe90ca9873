/* SPDX-License-Identifier: Apache-2.0 */
/* store/rules.h - what an operation means, the same for every backend of this folder.
 *
 * A backend looks up the row of op->job->seq and asks rbk_store_judge(); it then has
 * only to write what the kind names as new. Pure; any thread. */
#ifndef RBK_STORE_RULES_H
#define RBK_STORE_RULES_H

#include "ringback/store.h"

enum {
    RBK_STORE_JOB_MAX = 256 << 20, /* bytes of one job's strings */
    RBK_SHELF_DEAD = 2             /* behind RBK_SHELF_JOB and RBK_SHELF_WAIT */
};

/* The row that a backend found under a seq. */
typedef struct rbk_store_row {
    bool found;
    bool has_lane;
    uint8_t state;
    int shelf;
    int64_t rnd;
} rbk_store_row;

typedef enum rbk_store_verdict {
    RBK_VERDICT_WRITE,   /* do it; the outcome is OK */
    RBK_VERDICT_DONE,    /* it has been done before: OK, nothing to write */
    RBK_VERDICT_STALE,
    RBK_VERDICT_TOO_BIG,
    RBK_VERDICT_COMPARE  /* DONE when the stored response equals the job's, else STALE */
} rbk_store_verdict;

rbk_store_verdict rbk_store_judge(const rbk_store_op *op, const rbk_store_row *row);

/* The shelf that the row stands on after `op`, a row now on shelf `now`. */
int rbk_store_target(const rbk_store_op *op, int now);

/* What stats.pending_bytes counts of a job, but its response. */
int64_t rbk_store_request_bytes(const rbk_job *job);

#endif
