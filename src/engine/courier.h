/* SPDX-License-Identifier: Apache-2.0 */
/* engine/courier.h - step 5 of 5: rpc -> admit -> store -> execute -> DELIVER
 *
 * Courier loops send what is DUE. A receiver is hashed to one loop, which owns its
 * connections; at most `per_receiver` attempts are in flight to it. Receivers that fail are
 * paused (engine/receiver.h). */
#ifndef RBK_ENGINE_COURIER_H
#define RBK_ENGINE_COURIER_H

#include "engine/engine_impl.h"
#include "engine/metrics.h"
#include "engine/receiver.h"
#include "net/loop.h"

int rbk_couriers_new(rbk_engine *e, rbk_couriers **ret, rbk_error *err);
int rbk_couriers_start(rbk_couriers *c, rbk_error *err);

/* Whose loop has the receiver of a lane. Any thread. */
struct rbk_courier *rbk_couriers_of(rbk_couriers *c, rbk_str lane);

/* Deliver a job that is DUE in the store; takes the ticket. It is under way after the
 * next flush. Store thread. */
void rbk_couriers_send(rbk_couriers *c, rbk_ticket *t);
void rbk_couriers_flush(rbk_couriers *c);

/* A change (engine/change.h) of a job that is DUE in memory: retry, or cancel; takes it. Any
 * thread. */
void rbk_couriers_change(rbk_couriers *c, rbk_ticket *change);
/* An operator wants something sent on this lane: a paused receiver may be probed now. Any
 * thread. */
void rbk_couriers_hurry(rbk_couriers *c, rbk_str lane);

/* Calls `fn` on each loop, one after the other, and then `last` on the last; `task` is theirs.
 * Any thread. */
typedef struct rbk_tour {
    rbk_task task; /* first */
    rbk_couriers *all;
    size_t at;
    void (*fn)(struct rbk_tour *t, rbk_receivers *receivers);
    void (*last)(struct rbk_tour *t);
} rbk_tour;
void rbk_couriers_tour(rbk_couriers *c, rbk_tour *tour);

/* An operator holds the receiver of a lane, or resumes it; `task` runs on its loop. */
typedef struct rbk_block {
    rbk_task task; /* first */
    rbk_couriers *all;
    bool block;
    char lane[RBK_LANE_MAX + 1];
    void (*done)(struct rbk_block *b, int err); /* it is so now; frees it */
} rbk_block;
void rbk_couriers_block(rbk_couriers *c, rbk_block *b);

/* Begin no more attempts; what waits stays as the store has it. */
void rbk_couriers_drain(rbk_couriers *c);
size_t rbk_couriers_in_flight(const rbk_couriers *c); /* any thread */
/* Responses for clients' own websockets that are not acknowledged, sent or not. Any thread. */
size_t rbk_couriers_late(const rbk_couriers *c);
/* Adds what the loops have counted to `ret`, and lowers *due to the oldest job that they have
 * and that is not under way. Any thread. */
void rbk_couriers_numbers(const rbk_couriers *c, rbk_metrics *ret, rbk_wall_ms *due);
/* End attempts under way; the store has their jobs as DUE. The loops go on. */
void rbk_couriers_end(rbk_couriers *c);
/* End the loops. Nothing may be sent to them any more: the store thread has ended. */
void rbk_couriers_stop(rbk_couriers *c);
void rbk_couriers_free(rbk_couriers *c);

#endif
