/* SPDX-License-Identifier: Apache-2.0 */
/* engine/sessions_impl.h - shared by sessions.c (connections, queues) and session_flight.c (what is
 * sent and not acknowledged). Not for anybody else. One loop's thread. */
#ifndef RBK_ENGINE_SESSIONS_IMPL_H
#define RBK_ENGINE_SESSIONS_IMPL_H

#include "engine/sessions.h"

typedef struct rbk_session {
    rbk_str name; /* its lane */
    rbk_socket *socket; /* a reference */
    rbk_list queue;
    rbk_link flight; /* in the order of sending */
    size_t in_flight;
    rbk_link turn;     /* among those that ask the store again, once `ask_at` has come */
    rbk_mono_ms ask_at;
    bool more;    /* the store may have jobs that wait for the client */
    bool asking;
    bool crowded; /* memory had no room for more of them: not before something of it leaves */
    bool first;   /* what waited longest has not come from there yet: nobody goes before it */
    bool failing; /* the last that was heard: a response was not acknowledged in time */
    bool draining;
} rbk_session;

typedef struct rbk_late {
    rbk_link turn;  /* in its session's flight */
    rbk_link timed; /* among all that were written */
    rbk_session *s;
    rbk_ticket *t;
    rbk_mono_ms began, until;
} rbk_late;

/* A ticket leaves: the store is told what it says, or it goes elsewhere. */
void rbk_late_let_go(rbk_courier *c);
/* Nobody is there: it waits in the store, until somebody is, or for its end. */
void rbk_late_put_away(rbk_courier *c, rbk_ticket *t);
/* Out of the flight; its ticket is the caller's. */
rbk_ticket *rbk_late_end(rbk_courier *c, rbk_late *l);
rbk_late *rbk_late_find(const rbk_session *s, int64_t seq); /* NULL: not in flight */
/* It is acknowledged: a ticket that was in flight, or is in the queue and was sent before. */
void rbk_late_deliver(rbk_courier *c, rbk_ticket *t, int64_t ms);
/* It was not acknowledged in time. */
void rbk_late_fail(rbk_courier *c, rbk_late *l);
/* From the queue to the client. */
void rbk_late_send(rbk_courier *c, rbk_session *s, rbk_ticket *t);

#endif
