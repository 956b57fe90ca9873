/* SPDX-License-Identifier: Apache-2.0 */
/* method/upstream_impl.h - shared by the upstream*.c files; not for anybody else.
 *
 * upstream.c          life of an upstream, the door for calls, the stop
 * upstream_flight.c   one call: waiting for its turn, sent, perhaps sent again, answered
 * upstream_request.c  the text that is sent
 * upstream_health.c   what the operator is told
 * upstream_answer.c   the text that came
 *
 * Loop thread, but where a field says otherwise. */
#ifndef RBK_METHOD_UPSTREAM_IMPL_H
#define RBK_METHOD_UPSTREAM_IMPL_H

#include "base/ring.h"
#include "method/upstream.h"
#include "net/http_client.h"

#include <pthread.h>

enum {
    RBK_UPSTREAM_TICK_MS = 100,    /* calls that nobody waits for are found by then */
    RBK_UPSTREAM_WAIT_MIN_MS = 100, /* before a call is sent again, doubled each time */
    RBK_UPSTREAM_WAIT_MAX_MS = 5000,
    RBK_UPSTREAM_SYNC_WAITING = 65536
};

typedef enum rbk_flight_state {
    RBK_FLIGHT_WAITING, /* in a line for a connection */
    RBK_FLIGHT_LOOKUP,  /* its host is being looked up */
    RBK_FLIGHT_SENT,    /* with the client */
    RBK_FLIGHT_RESTING, /* will be sent again */
    RBK_FLIGHT_OVER     /* answered or let go of: freed when look-up or client give it back */
} rbk_flight_state;

typedef struct rbk_flight {
    rbk_task task; /* first: on its way to the loop */
    rbk_upstream *u;
    rbk_call *call; /* a reference */
    rbk_flight_state state;
    bool job;
    rbk_link all;  /* in u->all */
    rbk_link line; /* in u->waiting or u->resting */
    unsigned tries;
    rbk_mono_ms due; /* while RESTING */
    rbk_buf text;    /* header lines, then the body */
    rbk_buf answer;
    rbk_http_post post;
} rbk_flight;

struct rbk_upstream {
    rbk_upstream_url url;
    const rbk_log *log;
    int64_t connect_ms;
    size_t connections, max_result;
    char *head; /* the lines of every request */
    char receiver[RBK_PATH_MAX + RBK_HOST_MAX + 32]; /* of the pool, and for the log */
    char authority[RBK_HOST_MAX + 16];
    rbk_loop *loop;
    rbk_tls *tls;
    rbk_resolver *resolver;
    rbk_http_client *client;
    uv_timer_t timer;

    rbk_link all;
    rbk_link waiting[2]; /* synchronous calls, jobs */
    rbk_link resting;
    size_t n_waiting_sync, busy, busy_jobs; /* busy: have a connection, or ask for one */
    uint64_t rests;
    bool starting, stopping;

    bool down, redirected;
    rbk_mono_ms up_at, told_at; /* 0: never */
    uint64_t untold;

    bool stopped;         /* the owner's */
    pthread_mutex_t lock; /* of what follows; any thread */
    pthread_cond_t empty;
    bool closed;
    size_t n_calls;
};

/* upstream_flight.c */
void rbk_flight_arrive(rbk_task *task);
/* Each RBK_UPSTREAM_TICK_MS while there are flights. */
void rbk_flights_tick(rbk_upstream *u);
/* Let go of all calls. */
void rbk_flights_drop(rbk_upstream *u);

/* upstream.c: a flight is over. */
void rbk_upstream_ended(rbk_upstream *u);

/* upstream_request.c */

/* The lines of every request, NUL-terminated, or NULL and `err` is set. */
char *rbk_upstream_head(const char *token_file, rbk_error *err);
/* Put together text and post. 0 or RBK_E_NOMEM. */
int rbk_upstream_request(rbk_flight *f);

/* upstream_health.c */

/* The upstream was not reached, or says so. `status` 0: there was no answer. */
void rbk_upstream_lost(rbk_upstream *u, int err, int status, const char *detail);
void rbk_upstream_found(rbk_upstream *u);
/* An answer that its caller does not get to see. */
void rbk_upstream_fault(rbk_upstream *u, const rbk_call *call, int status, const char *why);
void rbk_upstream_redirect(rbk_upstream *u, const rbk_call *call, int status, rbk_str host);

#endif
