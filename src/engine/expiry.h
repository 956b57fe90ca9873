/* SPDX-License-Identifier: Apache-2.0 */
/* engine/expiry.h - the deadlines of jobs that wait in the store alone. Part of the flow; store
 * thread only.
 *
 * A deadline is a moment of the wall clock, as its caller wrote it. Jobs that reach theirs are
 * brought back beside all lanes, for nothing but their answer. Those in memory are the
 * reaper's (engine/reaper.h). */
#ifndef RBK_ENGINE_EXPIRY_H
#define RBK_ENGINE_EXPIRY_H

#include "engine/engine_impl.h"

typedef struct rbk_expiry {
    rbk_wall_ms next;       /* the earliest deadline, as far as known; wall clock */
    rbk_mono_ms not_before; /* when the store is asked again */
} rbk_expiry;

/* The job stands on the wait shelf now. */
void rbk_expiry_note(rbk_expiry *x, const rbk_job *job);
/* Answer some of those whose time is up. 0, or an error of the store's slots. */
int rbk_expiry_turn(rbk_expiry *x, rbk_engine *e, const rbk_store_ops *ops, rbk_store *st,
                    rbk_error *err);
/* How long until there is something to do; INT64_MAX: never. */
int64_t rbk_expiry_wait_ms(const rbk_expiry *x);

#endif
