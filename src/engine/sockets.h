/* SPDX-License-Identifier: Apache-2.0 */
/* engine/sockets.h - clients' own websockets, as the place where late responses go ("ws:").
 *
 * A front says that a connection is there, and whose session it carries. The courier loop of the session
 * (engine/sessions.h) gives it texts, each of which comes back when it is written or never will be;
 * what acknowledges a response is a request of the client's, rpc.job.ack. All calls and all
 * functions here run on the front's loop, which outlives the couriers'. */
#ifndef RBK_ENGINE_SOCKETS_H
#define RBK_ENGINE_SOCKETS_H

#include "engine/engine.h"
#include "net/loop.h"

typedef struct rbk_socket rbk_socket;

/* One text message; the front's until it says rbk_socket_sent(). */
typedef struct rbk_socket_text {
    rbk_task task; /* first; and where the front queues it */
    rbk_socket *to;
    rbk_buf text;
    int64_t seq; /* of the job; 0: a report of progress */
} rbk_socket_text;

typedef struct rbk_socket_conf {
    rbk_loop *loop;
    rbk_str session; /* "ws:<hash>"; copied */
    bool resumed;    /* it is older than the connection: jobs may wait for it */
    void (*text)(void *user, rbk_socket_text *text);
    void (*replaced)(void *user); /* another connection has the session now */
    void (*quiet)(void *user);    /* once, after rbk_socket_drain(): nothing is unacknowledged */
    void *user;
} rbk_socket_conf;

/* From now on the session's responses go here. 0, or RBK_E_NOMEM. */
int rbk_socket_open(rbk_engine *e, const rbk_socket_conf *conf, rbk_socket **ret);
rbk_str rbk_socket_session(const rbk_socket *s);
/* The text is written whole, or never will be; takes it. After the close too. */
void rbk_socket_sent(rbk_socket_text *text);
/* Say when the session is quiet. False: nobody will. */
bool rbk_socket_drain(rbk_socket *s);
/* The connection has gone, and no function is called any more. NULL is legal. */
void rbk_socket_close(rbk_socket *s);

#endif
