/* SPDX-License-Identifier: Apache-2.0 */
/* engine/courier_impl.h - shared by courier.c (loops and whose turn it is) and delivery.c (one
 * attempt and its outcome). Not for anybody else. Loop thread. */
#ifndef RBK_ENGINE_COURIER_IMPL_H
#define RBK_ENGINE_COURIER_IMPL_H

#include "engine/courier.h"
#include "engine/numbers.h"
#include "engine/receiver.h"
#include "engine/shares.h"
#include "net/loop.h"
#include "ringback/transport.h"

enum { RBK_TRANSPORTS_MAX = 4 };

typedef struct rbk_courier rbk_courier;
typedef struct rbk_delivery rbk_delivery;
typedef struct rbk_sessions rbk_sessions;

struct rbk_courier {
    rbk_engine *e;
    rbk_couriers *all;
    rbk_loop *loop;
    rbk_transport *transports[RBK_TRANSPORTS_MAX];
    rbk_receivers *receivers;
    rbk_sessions *sessions; /* lanes "send:ws:…", which are no receivers */
    rbk_link reports; /* of progress, that wait until they may be sent again */
    uv_timer_t timer;  /* of holds, probes and ages */
    rbk_mono_ms armed; /* INT64_MAX: not armed */
    rbk_mono_ms look_at; /* when the gauges are to be looked at again; INT64_MAX: all is as it was */
    rbk_mono_ms tell_at; /* when the store is told again who takes nothing */
    rbk_numbers numbers;
    bool has_timer;
    rbk_delivery *spare;
    size_t n_spare;
    bool draining, closing, pumping, started;
    rbk_list out;      /* store thread: tickets for this loop, not yet posted */
};

struct rbk_couriers {
    rbk_engine *e;
    rbk_tls *tls;
    rbk_courier *list;
    size_t n;
    atomic_size_t in_flight;
    rbk_shares *addresses, *callers;
    atomic_size_t sessions, unacknowledged; /* of clients that are there; responses that were sent to them */
    atomic_size_t late;   /* those, and what waits to be sent there */
    pthread_mutex_t gate; /* of `shut`: the loops end, nobody may post to them from elsewhere */
    bool shut;
};

/* courier.c */
void rbk_courier_pump(rbk_courier *c); /* begin what may begin */
void rbk_courier_arm(rbk_courier *c);  /* the timer's time may be another now */
/* A task for the loop, from a thread that may outlive it. False: it ends; the task is the caller's. */
bool rbk_courier_post(rbk_courier *c, rbk_task *task);

/* delivery.c */

/* An attempt with a ticket that rbk_receivers_next() gave; takes it. */
void rbk_delivery_start(rbk_courier *c, rbk_receiver *r, rbk_ticket *t);
/* The same with the ticket of a report, which stays the report's, at a receiver that was lent: it
 * comes back by rbk_report_back(). False: nothing was begun, and the receiver is given back. */
bool rbk_delivery_report(rbk_courier *c, rbk_receiver *r, rbk_ticket *t);
/* Too old, and its receiver is paused: dead. Takes the ticket. */
void rbk_delivery_expire(rbk_courier *c, rbk_ticket *t);
/* The ticket of an attempt under way at the receiver, by the seq of its job; NULL: none. */
rbk_ticket *rbk_delivery_find(const rbk_receiver *r, int64_t seq);
/* The operator who waits for the ticket wants the job cancelled, and no attempt is under way:
 * done. Takes the ticket. */
void rbk_delivery_cancel(rbk_courier *c, rbk_ticket *t);
/* Without memory for more: it waits in the store and comes back in a while. Takes it. */
void rbk_delivery_park(rbk_courier *c, rbk_ticket *t);
/* It must not go out: dead, with the reason. Takes the ticket. */
void rbk_delivery_refuse(rbk_courier *c, rbk_ticket *t, const char *reason);
void rbk_delivery_free_spare(rbk_courier *c);

#endif
