/* SPDX-License-Identifier: Apache-2.0 */
/* net/websocket_client.h - one text message to a websocket server, and its verdict.
 *
 * Takes the same order as the HTTP client (net/http_client.h), with a connection of its
 * own for each: handshake, the body as one text message, close 1000. The peer's close says
 * what became of it. Redirects are not followed. Bounds: the answer's head as in
 * net/http_response.h, 64 KiB of frames, 16 pings. Loop thread. */
#ifndef RBK_NET_WEBSOCKET_CLIENT_H
#define RBK_NET_WEBSOCKET_CLIENT_H

#include "net/http_client.h"

typedef struct rbk_ws_client rbk_ws_client;

/* `tls` is the caller's, and outlives the client. `proxy`: every connection goes through its
 * CONNECT; copied, NULL: straight. */
int rbk_ws_client_new(rbk_loop *l, rbk_tls *tls, const struct sockaddr_storage *proxy,
                      rbk_ws_client **ret, rbk_error *err);
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
