/* SPDX-License-Identifier: Apache-2.0 */
/* front/ws_late.h - responses that come later, on the socket that the requests came on ("ws:").
 *
 * Each socket carries a session, which its handshake names: `Ringback-Resume` with the token of an
 * earlier 101 goes on with that one, else a new token is made. The engine gives
 * texts (engine/sockets.h); they are written while less than RBK_WS_LATE_UNSENT of them is on its way to the
 * peer, and wait here otherwise, as many as the engine lets out at a time. Loop thread. */
#ifndef RBK_FRONT_WS_LATE_H
#define RBK_FRONT_WS_LATE_H

#include "base/ring.h"
#include "core/ws_session.h"
#include "engine/sockets.h"
#include "net/http_server.h"

enum { RBK_WS_LATE_UNSENT = 256 << 10 };

typedef struct rbk_ws_late {
    rbk_socket *socket; /* NULL: none */
    rbk_list waiting;   /* texts */
    rbk_link going;     /* those that were written */
    size_t unsent;      /* their bytes */
    bool writing, draining, quiet;
    char token[RBK_SESSION_TOKEN + 1];
    char *caller; /* whose session it is */
    /* The socket's: */
    /* Write a text, and say when it has gone. False: it cannot be, and nobody is told. */
    bool (*put)(void *user, rbk_str text, void (*written)(bool all, void *user), void *text_user);
    void (*replaced)(void *user); /* another connection has the session */
    void (*drained)(void *user);  /* nothing is to be waited for any more */
    void *user;
} rbk_ws_late;

/* Read or make the token; before the 101, which names it. 0; RBK_E_INVAL: the handshake's is malformed;
 * RBK_E_NOMEM. */
int rbk_ws_late_begin(rbk_ws_late *late, const rbk_http_request *rq, rbk_str caller, bool *ret_resumed);
/* The connection is there. 0, or RBK_E_NOMEM. */
int rbk_ws_late_open(rbk_ws_late *late, rbk_engine *e, rbk_loop *loop, bool resumed);
/* Is it this caller's? */
bool rbk_ws_late_is_of(const rbk_ws_late *late, rbk_str caller);
/* "ws:<hash>" */
rbk_str rbk_ws_late_session(const rbk_ws_late *late);
/* No more connections: is there nothing to be waited for? If so now, `drained` is not called. */
bool rbk_ws_late_drain(rbk_ws_late *late);
/* The connection has gone, or never came. */
void rbk_ws_late_close(rbk_ws_late *late);

#endif
