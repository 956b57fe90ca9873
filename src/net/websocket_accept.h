/* SPDX-License-Identifier: Apache-2.0 */
/* net/websocket_accept.h - the server's side of the opening handshake (RFC 6455 section 4.2).
 *
 * Loop thread. */
#ifndef RBK_NET_WEBSOCKET_ACCEPT_H
#define RBK_NET_WEBSOCKET_ACCEPT_H

#include "net/http_server.h"
#include "net/websocket.h"

/* What a request's head says of a websocket. */
typedef enum rbk_ws_asked {
    RBK_WS_ASKED_NOT,     /* another method, or no `Upgrade: websocket` */
    RBK_WS_ASKED,         /* a whole handshake */
    RBK_WS_ASKED_VERSION, /* of another version: 426 */
    RBK_WS_ASKED_BADLY    /* no `Connection: Upgrade`, a key that is none, a line twice: 400 */
} rbk_ws_asked;

rbk_ws_asked rbk_ws_look(const rbk_http_request *rq);
/* `word` as it stands in the list of the request's headers `name`, in whatever case; absent: it does
 * not. */
rbk_str rbk_ws_offered(const rbk_http_request *rq, const char *name, const char *word);

typedef struct rbk_ws_opening {
    const rbk_http_tunnel *tunnel;
    void *user;                     /* the tunnel's */
    const rbk_http_header *headers; /* of the 101, besides those of the handshake; at most 4 */
    size_t n_headers;
    int64_t max_ms; /* as in rbk_http_upgrade() */
} rbk_ws_opening;

/* Answer a whole handshake; as rbk_http_upgrade(). */
int rbk_ws_open(rbk_http_request *rq, const rbk_ws_opening *o);

#endif
