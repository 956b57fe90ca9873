/* SPDX-License-Identifier: Apache-2.0 */
/* engine/sessions.h - deliveries to clients' own websockets, of one courier loop.
 *
 * A session is there as long as a connection carries it, and all of it is forgotten then: what
 * waits stands in the store, in the session's lane, due when it will be given up
 * (`store.retention` after its response). So sessions of clients that are away cost no memory, are no
 * receivers, and nothing pauses them. When a client comes back the store is asked for what waits,
 * some at a time, as fast as the client takes it (engine/session_fetch.c).
 *
 * At most `per_receiver` responses of a session are with the client and not acknowledged. One that is
 * not within `delivery.timeout`, from when it was written, is sent again along the schedule, whose
 * last step repeats. Slots, shares of addresses and callers do not count here: no
 * connection of ours is used. Loop thread, but for the doors. */
#ifndef RBK_ENGINE_SESSIONS_H
#define RBK_ENGINE_SESSIONS_H

#include "engine/courier_impl.h"
#include "engine/sockets.h"

/* sockets.c: a connection, as both loops have it. */
struct rbk_socket {
    atomic_uint refs; /* the front's, the session's, one of each text and task under way */
    rbk_courier *c;
    rbk_socket_conf conf;
    char lane[RBK_LANE_MAX + 1]; /* "send:ws:<hash>" */
    rbk_task opens, closes, drains; /* to the courier loop */
    rbk_task replaced, quiet;       /* to the front's */
    bool closed;        /* the front's */
    struct rbk_session *session; /* the courier loop's, as the rest; NULL: it has none, or no more */
    size_t held;        /* texts that are with the front */
    bool told;
};

void rbk_socket_ref(rbk_socket *s);
void rbk_socket_unref(rbk_socket *s);
/* To the front: the connection's session is another's now; it is quiet. Courier loop. */
void rbk_socket_tell_replaced(rbk_socket *s);
void rbk_socket_tell_quiet(rbk_socket *s);
/* A text; takes the buffer. False: no memory, nothing is sent. Courier loop. */
bool rbk_socket_send(rbk_socket *s, int64_t seq, rbk_buf *text);

/* sessions.c */
rbk_sessions *rbk_sessions_new(void); /* NULL when memory is out */
void rbk_sessions_free(rbk_sessions *all);

/* A job that is DUE, of a lane "send:ws:…"; takes the ticket. */
void rbk_sessions_add(rbk_courier *c, rbk_ticket *t);
/* A change (engine/change.h) of a job that may be here: takes it. */
void rbk_sessions_change(rbk_courier *c, rbk_ticket *t);
/* A report of progress. False: nobody is there who could take it. */
bool rbk_sessions_report(rbk_courier *c, rbk_str lane, rbk_str text);
rbk_mono_ms rbk_sessions_wake(const rbk_courier *c);
void rbk_sessions_tick(rbk_courier *c);
/* The loop ends: the store has all of them as DUE. */
void rbk_sessions_close(rbk_courier *c);

/* What a connection has to say. */
void rbk_sessions_open(rbk_courier *c, rbk_socket *s);
void rbk_sessions_gone(rbk_courier *c, rbk_socket *s);
void rbk_sessions_drain(rbk_courier *c, rbk_socket *s);
void rbk_sessions_written(rbk_courier *c, const rbk_socket_text *text);
/* The store was asked for the lane: `more` is left, or nothing could be read `now`. */
void rbk_sessions_fetched(rbk_courier *c, rbk_str lane, bool more, bool now);
/* Something of the lane went to the store, to wait. */
void rbk_sessions_waits(rbk_courier *c, rbk_str lane);

/* --- session_fetch.c: between the loop and the store thread --- */

/* Ask the store for what waits in the lane. False: no memory. Loop thread. */
bool rbk_fetch(rbk_courier *c, rbk_str lane);

#endif
