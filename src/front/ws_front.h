/* SPDX-License-Identifier: Apache-2.0 */
/* front/ws_front.h - JSON-RPC over websockets, on the connections of one HTTP server loop.
 *
 * A text message is a request body, and what HTTP would answer it with is the one message that
 * comes back; a notification has none. Responses that come later, to the callback "ws:", are ws_late.h's. Requests of one connection run beside each other, at most
 * RBK_WS_OPEN_MAX of them, and their answers come in whatever order they are ready. Loop thread,
 * but new and free. */
#ifndef RBK_FRONT_WS_FRONT_H
#define RBK_FRONT_WS_FRONT_H

#include "front/auth.h"
#include "front/limits.h"
#include "net/http_server.h"

typedef struct rbk_ws_front rbk_ws_front;

enum { RBK_WS_OPEN_MAX = 16 }; /* one alone after an answer of more than 64 KiB */

typedef struct rbk_ws_front_conf {
    rbk_engine *e;
    rbk_auth *auth; /* asks for each message whose it is, by the head of the handshake: 1008 */
    rbk_loop *loop;
    size_t max_body;      /* of one message: 1009 */
    int64_t ping_ms;      /* of silence, after which a ping is sent; after twice that it is over */
    unsigned max_sockets; /* 503; 0: there are none */
    atomic_uint *sockets; /* counted over all loops against max_sockets */
    rbk_limits *limits;
    rbk_front_numbers *numbers; /* of the loop */
    const rbk_log *log;
} rbk_ws_front_conf;

/* NULL when memory is out. The loop does not run yet. */
rbk_ws_front *rbk_ws_front_new(const rbk_ws_front_conf *conf);
/* Does the head ask for a websocket, well or badly? Then the request belongs to: */
bool rbk_ws_front_wants(const rbk_ws_front *f, const rbk_http_request *rq);
/* Open it for this caller, or answer why not. */
void rbk_ws_front_open(rbk_ws_front *f, rbk_http_request *rq, rbk_str caller);
/* No more sockets; before the HTTP servers are closed. */
void rbk_ws_front_close(rbk_ws_front *f);
/* After the loop has ended. NULL is legal. */
void rbk_ws_front_free(rbk_ws_front *f);

#endif
