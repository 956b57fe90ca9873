/* SPDX-License-Identifier: Apache-2.0 */
/* engine/receiver.h - the receivers of one courier loop: who may be sent to, and when.
 *
 * Each receiver has a queue. Those that may be sent to stand in a ring and take turns. A
 * receiver may not when
 *   - `per_receiver` attempts, or its share of the slots, are in flight to it;
 *   - it is held for a moment, because its address, or the caller of its next job, has
 *     its share already;
 *   - an operator has blocked it, until it is released;
 *   - it is paused: `breaker` failures in a row spoke of the host. Then one job goes out
 *     each `probe_ms`; the first answer ends the pause. What waits goes out with a window
 *     that doubles with each answer. What waits behind a pause or a block until its
 *     max_age is given up.
 * A receiver without work is forgotten, but for RBK_RECEIVERS_IDLE of those that failed
 * last, for RBK_RECEIVER_IDLE_MS. No socket, no clock: times are parameters. Loop thread. */
#ifndef RBK_ENGINE_RECEIVER_H
#define RBK_ENGINE_RECEIVER_H

#include "base/ring.h"
#include "core/retry.h"
#include "engine/ticket.h"

enum {
    RBK_PROBE_MS = 30000,
    RBK_RECEIVER_HOLD_MS = 50,
    RBK_RECEIVERS_IDLE = 1024,
    RBK_RECEIVER_IDLE_MS = 600000,
    RBK_EXPIRE_EVERY_MS = 1000, /* how often the ages of jobs behind a pause are looked at */
};

/* A socket address as bytes; n is 0 when there is none. */
typedef struct rbk_addr_key {
    uint8_t n;
    char bytes[19];
} rbk_addr_key;

typedef struct rbk_receiver {
    rbk_link turn;  /* in the ring, among the held, or among the idle; else alone */
    rbk_link pause; /* among the paused, or those that may be probed; else alone */
    rbk_link block; /* among the blocked; else alone */
    rbk_link flight; /* the courier's: attempts under way */
    rbk_str name;   /* its lane: "send:https://host:port" */
    rbk_list queue;
    size_t in_flight, window;
    unsigned fails;   /* in a row, that speak of the host */
    bool paused, may_probe, held, idle, blocked;
    char why[48];     /* the courier's: the last failure that speaks of the host */
    rbk_mono_ms until;    /* held or idle: when that ends */
    rbk_mono_ms probe_at; /* paused */
    rbk_wall_ms first_end; /* no job of the queue is too old before this */
    rbk_addr_key address; /* the courier's: where the last attempt went */
} rbk_receiver;

typedef struct rbk_receivers rbk_receivers;

typedef struct rbk_receivers_conf {
    size_t slots, per_receiver;
    unsigned breaker; /* 0: nobody is paused */
    int64_t probe_ms;
    const rbk_retry_conf *retry; /* the caller's, outlives the receivers */
} rbk_receivers_conf;

/* What an attempt says of the host. */
typedef enum rbk_host_news { RBK_HOST_SILENT, RBK_HOST_ANSWERS, RBK_HOST_FAILS } rbk_host_news;
typedef enum rbk_pause_change { RBK_PAUSE_SAME, RBK_PAUSE_BEGINS, RBK_PAUSE_ENDS } rbk_pause_change;

rbk_receivers *rbk_receivers_new(const rbk_receivers_conf *conf);
void rbk_receivers_free(rbk_receivers *s); /* the tickets too */

/* Queue a ticket by the lane of its job. 0, or RBK_E_NOMEM: it is still the caller's. */
int rbk_receivers_add(rbk_receivers *s, rbk_ticket *t, rbk_mono_ms now);

/* Whose turn it is: a ticket that takes a slot, and its receiver, valid until the slot is
 * given back by one of the three below. NULL: nobody may be sent to. */
rbk_ticket *rbk_receivers_next(rbk_receivers *s, rbk_mono_ms now, rbk_receiver **ret);

/* A slot at the receiver of a lane for what is no job, if it may be sent to and none of its own waits
 * for it; given back as one that rbk_receivers_next() took. NULL: not now. */
rbk_receiver *rbk_receivers_lend(rbk_receivers *s, rbk_str lane, rbk_mono_ms now);

/* The attempt has ended. */
rbk_pause_change rbk_receivers_done(rbk_receivers *s, rbk_receiver *r, rbk_host_news news,
                                    rbk_mono_ms now);
/* No attempt came of it; the ticket has gone elsewhere. */
void rbk_receivers_skip(rbk_receivers *s, rbk_receiver *r, rbk_mono_ms now);
/* No attempt came of it, and the ticket goes back to the head of its queue: its address or
 * caller has its share. */
void rbk_receivers_hold(rbk_receivers *s, rbk_receiver *r, rbk_ticket *t, rbk_mono_ms now);

/* The receiver of a lane, or NULL. */
rbk_receiver *rbk_receivers_find(const rbk_receivers *s, rbk_str lane);
/* Take the job with this seq out of the receiver's queue; NULL: it is not there. The receiver may
 * be gone after that. */
rbk_ticket *rbk_receivers_take(rbk_receivers *s, rbk_receiver *r, int64_t seq, rbk_mono_ms now);
/* The job with this seq goes to the head of the queue. False: it is not there. */
bool rbk_receivers_prefer(rbk_receiver *r, int64_t seq);
/* One that is paused may be probed now. */
void rbk_receivers_hurry(rbk_receivers *s, rbk_receiver *r, rbk_mono_ms now);
/* Block the receiver of a lane, known or not, or release it; that ends a pause too. 1 when
 * that changed something, 0, or RBK_E_NOMEM. */
int rbk_receivers_block(rbk_receivers *s, rbk_str lane, bool block, rbk_mono_ms now);
/* Calls `fn` for each, in no order. */
void rbk_receivers_each(const rbk_receivers *s, void (*fn)(const rbk_receiver *r, void *user),
                        void *user);

/* Time goes on: holds end, probes are due, the idle are forgotten. */
void rbk_receivers_tick(rbk_receivers *s, rbk_mono_ms now);
/* Move to `ret` what is too old at `wall` and waits behind a pause or a block. */
void rbk_receivers_expire(rbk_receivers *s, rbk_wall_ms wall, rbk_list *ret);
/* Move to `ret` all but the first `keep` of each queue that waits behind a pause or a block. */
void rbk_receivers_shed(rbk_receivers *s, size_t keep, rbk_list *ret);
/* Calls `fn` with the lane of each that is paused or blocked; twice where it is both. */
void rbk_receivers_behind(const rbk_receivers *s, void (*fn)(rbk_str lane, void *user), void *user);
/* When one of the two has something to do; INT64_MAX: never. */
rbk_mono_ms rbk_receivers_wake(const rbk_receivers *s, rbk_mono_ms now);

size_t rbk_receivers_count(const rbk_receivers *s); /* that are remembered */
size_t rbk_receivers_paused(const rbk_receivers *s);
/* Since when the first job that waits in a queue is due; INT64_MAX: none waits. */
rbk_wall_ms rbk_receivers_oldest(const rbk_receivers *s);

#endif
