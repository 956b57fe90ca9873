/* SPDX-License-Identifier: Apache-2.0 */
/* engine/pulls.h - lanes whose waiting jobs are pulled forward, before their time: those of
 * receivers that have just come back. Store thread only.
 *
 * The rate is bounded: RBK_PULL_JOBS a lane each RBK_PULL_EVERY_MS. A pull is over when the
 * store has no more, or when a few attempts have failed again: then what is left waits for its
 * time after all, and a job that fails by itself does not go round and round. */
#ifndef RBK_ENGINE_PULLS_H
#define RBK_ENGINE_PULLS_H

#include "base/str.h"
#include "ringback/store.h"

enum {
    RBK_PULLS = 64, /* lanes at one time; of others the jobs wait for their time */
    RBK_PULL_JOBS = 10,
    RBK_PULL_EVERY_MS = 100,
    RBK_PULL_FAILS = 8,
};

typedef struct rbk_pull {
    char lane[RBK_LANE_MAX + 1];
    rbk_mono_ms next;
    unsigned fails;
} rbk_pull;

typedef struct rbk_pulls {
    rbk_pull list[RBK_PULLS];
    size_t n;
} rbk_pulls;

void rbk_pulls_add(rbk_pulls *p, rbk_str lane, rbk_mono_ms now);
/* A lane whose turn it is, or NULL. Its next turn is then RBK_PULL_EVERY_MS later. */
rbk_pull *rbk_pulls_next(rbk_pulls *p, rbk_mono_ms now);
void rbk_pulls_end(rbk_pulls *p, rbk_pull *pull);
/* An attempt of the lane has failed. */
void rbk_pulls_failed(rbk_pulls *p, rbk_str lane);
rbk_mono_ms rbk_pulls_wake(const rbk_pulls *p); /* INT64_MAX: nothing is pulled */

#endif
