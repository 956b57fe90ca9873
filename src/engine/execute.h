/* SPDX-License-Identifier: Apache-2.0 */
/* engine/execute.h - step 4 of 5: rpc -> admit -> store -> EXECUTE -> deliver
 *
 * Method threads run methods. Each method is a pool: its calls share the threads with
 * the others round robin, synchronous calls before jobs, and no pool takes a thread when
 * it has as many as are free. A pool with a limit has no more calls under way than that,
 * whether they hold a thread or will answer later. */
#ifndef RBK_ENGINE_EXECUTE_H
#define RBK_ENGINE_EXECUTE_H

#include "engine/engine_impl.h"

int rbk_execute_new(rbk_engine *e, rbk_execute **ret, rbk_error *err);
int rbk_execute_start(rbk_execute *x, rbk_error *err);

/* Run a synchronous call; takes the reference. On a front loop with RBK_METHOD_INLINE it
 * runs before this returns. Too many waiting: it is answered -32009. Any thread. */
void rbk_execute_sync(rbk_execute *x, rbk_call *call);

/* The store has the job of this call as RUNNING: it begins. Store thread. */
void rbk_execute_started(rbk_execute *x, rbk_call *call);
/* Nobody holds a call of the pool any more that was under way. Any thread, also after the stop. */
void rbk_execute_left(rbk_execute *x, size_t pool);

/* Run a job that is QUEUED in the store; takes the ticket. Store thread. */
void rbk_execute_job(rbk_execute *x, rbk_ticket *t);

/* A job whose time is up before a thread had it leaves its queue; false: it is not there. The
 * queue's hold of the call is then the caller's. Any thread. */
bool rbk_execute_leave(rbk_execute *x, const rbk_call *call);

/* Begin no more jobs; synchronous calls go on. What waits stays as the store has it. */
void rbk_execute_drain(rbk_execute *x);
/* Calls that run or, being synchronous, wait to. */
size_t rbk_execute_busy(rbk_execute *x);
/* Cancel jobs whose calls wait or run; takes the changes (engine/change.h) of all of them. Store
 * thread. */
void rbk_execute_cancel(rbk_execute *x, rbk_list *changes);

/* Since when the first job that waits for a thread is due; INT64_MAX: none waits. Any thread. */
rbk_wall_ms rbk_execute_oldest(rbk_execute *x);
/* End the threads. Threads stuck in a method are left behind: returns how many. */
size_t rbk_execute_stop(rbk_execute *x);
/* After rbk_execute_stop() returned 0, when no call is left. */
void rbk_execute_free(rbk_execute *x);

#endif
