/* SPDX-License-Identifier: Apache-2.0 */
/* net/websocket_client.h - one text message to a websocket server, and its verdict.
 *
 * Takes the same order as the HTTP client (net/http_client.h), with a connection of its
 * own for each: handshake, the body as one text message, then the peer's close, which says
 * what became of it. A peer that does not close within RBK_WS_PATIENCE_MS is sent a close 1000,
 * which it may echo. Redirects are not followed. Bounds: the answer's head as in
 * net/http_response.h, 64 KiB of frames, 16 pings. Loop thread. */
#ifndef RBK_NET_WEBSOCKET_CLIENT_H
#define RBK_NET_WEBSOCKET_CLIENT_H

#include "net/http_client.h"

typedef struct rbk_ws_client rbk_ws_client;

enum { RBK_WS_PATIENCE_MS = 250 };

typedef struct rbk_ws_client_conf {
    rbk_tls *tls;                  /* the caller's, outlives the client */
    struct sockaddr_storage proxy; /* as of the HTTP client: AF_UNSPEC goes straight */
    unsigned dial_sockets;         /* as `sockets` in net/connect.h */
    unsigned ending_max;           /* connections that wait for the peer's end at one time, the
                                      rest is closed at once (256, which is the most) */
} rbk_ws_client_conf;

int rbk_ws_client_new(rbk_loop *l, const rbk_ws_client_conf *conf, rbk_ws_client **ret,
                      rbk_error *err);
/* 0, and `done` comes exactly once, never from within the call; or RBK_E_NOMEM and no
 * callback. `receiver`, `tls` and `want_body` of the order do not count.
 *
 * The result: `status` is the code of the peer's close (1000 to 4999; 1005 without a code),
 * `complete` when the kernel had taken the whole message before; or the HTTP status of a
 * server that did not switch, never `complete`. RBK_E_PROTOCOL for a handshake or frames
 * that are wrong, RBK_E_CLOSED for an end without a close. */
int rbk_ws_client_send(rbk_ws_client *c, rbk_http_post *post);
/* Orders under way end with RBK_E_CLOSED first. NULL is legal. */
void rbk_ws_client_free(rbk_ws_client *c);

#endif
