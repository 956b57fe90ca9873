/* SPDX-License-Identifier: Apache-2.0 */
/* engine/reaper.h - ends calls whose time is up. Its thread sleeps until the next
 * deadline; arming and disarming are for any thread. */
#ifndef RBK_ENGINE_REAPER_H
#define RBK_ENGINE_REAPER_H

#include "engine/engine_impl.h"

int rbk_reaper_new(rbk_reaper **ret, rbk_error *err);
int rbk_reaper_start(rbk_reaper *r, rbk_error *err);
/* End the thread; calls that are still armed are cut off: rbk_call_cut(). Arming is
 * refused from now on. Returns how many there were. */
size_t rbk_reaper_stop(rbk_reaper *r);
/* Calls that are armed: synchronous ones that are not answered, jobs that run. Jobs that wait
 * for a thread are none of them. */
size_t rbk_reaper_armed(rbk_reaper *r);
/* Calls `fn` for each call that is armed, in no order; under the reaper's lock. */
void rbk_reaper_each(rbk_reaper *r, void (*fn)(rbk_call *call, void *user), void *user);
void rbk_reaper_free(rbk_reaper *r); /* stops first; NULL is legal */

/* rbk_call_expire(call) happens c->timeout_ms from now, unless it is disarmed first.
 * Takes a reference. 0, RBK_E_NOMEM, or RBK_E_STATE after the stop. */
int rbk_reaper_arm(rbk_reaper *r, rbk_call *call);
/* The same `ms` from now, of a job that waits for a thread (call->awaited). */
int rbk_reaper_await(rbk_reaper *r, rbk_call *call, int64_t ms);
/* False: it was not armed, or its time is up and rbk_call_expire() comes, or has come. */
bool rbk_reaper_disarm(rbk_reaper *r, rbk_call *call);

#endif
