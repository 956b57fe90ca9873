/* SPDX-License-Identifier: Apache-2.0 */
/* net/websocket.h - one end of a websocket (RFC 6455), without the socket.
 *
 * Bytes go in by rbk_ws_feed(), and what is to be sent waits in `out`. Masks, fragments,
 * UTF-8, pongs and the echo of a close are wslay's; here are the bounds of a peer that is
 * not trusted, and the handshake's arithmetic. No extension is ever spoken. Does no I/O
 * and asks no clock. One thread at a time. */
#ifndef RBK_NET_WEBSOCKET_H
#define RBK_NET_WEBSOCKET_H

#include "base/buf.h"

typedef struct rbk_ws rbk_ws;

enum {
    RBK_WS_PINGS_MAX = 16,     /* that are answered; one more is a fault */
    RBK_WS_CODE_MAX = 4999,    /* of a close */
    RBK_WS_FRAGMENTS_MAX = 16384, /* of one message */
    RBK_WS_NORMAL = 1000,
    RBK_WS_GOING = 1001,
    RBK_WS_NOT_TEXT = 1003,
    RBK_WS_NO_CODE = 1005,     /* a close came without a code */
    RBK_WS_POLICY = 1008,
    RBK_WS_TOO_BIG = 1009,
    RBK_WS_FAILED = 1011,
    RBK_WS_LATER = 1013,
    RBK_WS_KEY_MAX = 24 + 1,   /* Sec-WebSocket-Key, with NUL */
    RBK_WS_ACCEPT_MAX = 28 + 1 /* Sec-WebSocket-Accept, with NUL */
};

typedef struct rbk_ws_conf {
    bool server;   /* expects masked frames; else sends them */
    bool lasting;  /* for many messages: max_in bounds each of them, and pings are not counted */
    bool text_only; /* a binary message is refused with 1003, as soon as it begins */
    size_t max_in; /* bytes that are read in all, frames included */
    /* A whole text or binary message, valid in the call. NULL: messages are dropped. */
    void (*message)(rbk_ws *ws, rbk_str text, void *user);
    void *user;
} rbk_ws_conf;

/* 0, or RBK_E_NOMEM. */
int rbk_ws_new(const rbk_ws_conf *conf, rbk_ws **ret);
void rbk_ws_free(rbk_ws *ws); /* NULL is legal */

/* Put one text message, a close with `code`, into `out`. 0; RBK_E_NOMEM; RBK_E_STATE after
 * a close. */
int rbk_ws_send_text(rbk_ws *ws, rbk_str text);
int rbk_ws_send_close(rbk_ws *ws, int code);
int rbk_ws_send_ping(rbk_ws *ws);
bool rbk_ws_is_closing(const rbk_ws *ws); /* a close was sent, ours or an echo */

/* The next bytes of the peer. What they ask for (pong, close) is in `out` after it. 0, also
 * for what comes behind the peer's close, which is ignored; RBK_E_PROTOCOL, and
 * rbk_ws_fault() says why; RBK_E_NOMEM. After an error only `out` is of use. */
int rbk_ws_feed(rbk_ws *ws, rbk_str bytes);
/* The same, but it stops behind a message in which rbk_ws_hold() was called; *bytes is what is
 * left then. */
int rbk_ws_feed_some(rbk_ws *ws, rbk_str *bytes);
void rbk_ws_hold(rbk_ws *ws);
/* Bytes held of a message that has not come whole, with what each of its pieces costs beside; and
 * whether one, or a frame, has begun. */
size_t rbk_ws_partial(const rbk_ws *ws, bool *ret_begun);
const char *rbk_ws_fault(const rbk_ws *ws); /* never NULL; static text */
/* The code of the peer's close (RBK_WS_NO_CODE without one); 0 while none came. */
int rbk_ws_closed_by(const rbk_ws *ws);
/* To be sent; whoever took it clears it. */
rbk_buf *rbk_ws_out(rbk_ws *ws);

/* A fresh Sec-WebSocket-Key. */
void rbk_ws_key(char out[RBK_WS_KEY_MAX]);
bool rbk_ws_key_ok(rbk_str key); /* base64 of 16 bytes */
/* The Sec-WebSocket-Accept that answers `key`. */
void rbk_ws_accept(rbk_str key, char out[RBK_WS_ACCEPT_MAX]);

#endif
