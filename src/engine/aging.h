/* SPDX-License-Identifier: Apache-2.0 */
/* engine/aging.h - where to look for jobs of the store that are given up at max_age, because
 * their receiver takes nothing. Store thread only.
 *
 * Courier loops say again and again which lanes' receivers are paused or held by an operator,
 * and give up what is too old and in memory. What such a lane has in the store alone may be any
 * number of jobs, which no index has by age. So it is looked at
 *   at its edge  the first few in the order of claim(): who was due first is mostly too old first.
 *                Where some are, more are looked at, at once and until none are; where none
 *                is, not again before the first of them can be;
 *   in its depth all of it in turn, a bite now and then, for those that stand elsewhere, because
 *                they were tried before or their method took long.
 * A lane in which nobody grows too old costs one look at all of it, and one more each time when
 * its oldest job could be. */
#ifndef RBK_ENGINE_AGING_H
#define RBK_ENGINE_AGING_H

#include "base/str.h"
#include "ringback/store.h"

enum {
    RBK_AGING_LANES = 4096, /* of more, jobs are given up as they pass through memory */
    RBK_AGING_MS = 3000,    /* a lane that was not heard of for so long takes deliveries again */
    RBK_AGING_EDGE = 32,    /* jobs of one look, while none are too old */
    RBK_AGING_BITE = 500,   /* jobs of one look otherwise */
    RBK_AGING_AGAIN_MS = 1000,
    RBK_AGING_DEEP_MS = 100, /* between looks into the depth, over all lanes */
};

typedef struct rbk_aging rbk_aging;

/* `max_age`: ms from a job's first attempt until it is given up. NULL when memory is out. */
rbk_aging *rbk_aging_new(int64_t max_age);
void rbk_aging_free(rbk_aging *a);

/* The lane's receiver takes nothing now. */
void rbk_aging_hear(rbk_aging *a, rbk_str lane, rbk_mono_ms mono);
/* It has come back. */
void rbk_aging_forget(rbk_aging *a, rbk_str lane);
/* A job whose first attempt was at `first` is in the store alone again. */
void rbk_aging_note(rbk_aging *a, rbk_str lane, rbk_wall_ms first);

/* Where to look next, for up to `max` jobs; false: nowhere now. Its `lane` is valid until
 * rbk_aging_looked() is told what was found: `n` jobs were looked at, and whether there were
 * old ones, which are gone from the lane now. `mono` and `now` are one time on two clocks. */
bool rbk_aging_next(rbk_aging *a, rbk_mono_ms mono, rbk_wall_ms now, size_t max, rbk_aged *ret);
void rbk_aging_looked(rbk_aging *a, const rbk_aged *look, size_t n, bool old, rbk_wall_ms now);
/* Is there a lane that certainly has more? */
bool rbk_aging_busy(const rbk_aging *a);

#endif
