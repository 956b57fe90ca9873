/* SPDX-License-Identifier: Apache-2.0 */
/* net/connect.h - from the addresses of a name to one open stream.
 *
 * The first that connects of several addresses (RFC 8305): IPv6 and IPv4 by turns, the next
 * one after 250 ms or at once when one fails, at most RBK_DIAL_MAX of them. Where fewer sockets
 * than addresses are allowed at one time, the last that joined gives way to the next; the first
 * stays, and so does the last. Only the winner
 * goes on, through the proxy's CONNECT where there is one, then the TLS handshake; where that
 * fails no other address is tried. Every address is asked for by `allow` before connect(2).
 * There is no deadline in here: the owner has it, and cancels. Loop thread. */
#ifndef RBK_NET_CONNECT_H
#define RBK_NET_CONNECT_H

#include "net/resolver.h"
#include "net/stream.h"

typedef struct rbk_dial rbk_dial;

enum {
    RBK_DIAL_MAX = 8,
    RBK_DIAL_NEXT_MS = 250,
    RBK_PROXY_HEAD_MAX = 8 * 1024,
    RBK_PATH_MAX = 107 /* what a socket's address has room for */
};

/* What became of it. `err`: 0, and `s` is open and has to be taken (rbk_stream_take()) before
 * the callback returns; else RBK_E_CONNECT, _TLS, _ADDRESS, _NOMEM or _CLOSED, or RBK_E_SYS:
 * the proxy is to blame and not the receiver. `detail` is valid in the callback. */
typedef struct rbk_dialled {
    int err;
    const char *detail; /* never NULL */
    rbk_stream *s;
    rbk_addr addr;      /* of the receiver, also behind a proxy */
} rbk_dialled;

typedef struct rbk_dial_conf {
    const rbk_addr *addrs; /* copied; those behind the first RBK_DIAL_MAX are not tried */
    size_t n_addrs;        /* at least one, unless there is a path */
    size_t sockets;        /* most at one time, at least 2; 0: as many as there are addresses */
    uint16_t port;
    const char *path;      /* not NULL: of a Unix socket, to connect to in place of all addresses,
                              and without a proxy; at most RBK_PATH_MAX bytes; copied */
    rbk_tls *tls;          /* NULL: plain; stays valid until the end */
    const char *name;      /* as in rbk_connect; stays valid until the end */
    bool http2;            /* ALPN offers h2 too: rbk_stream_is_http2() says what was chosen */
    /* Where to connect in place of the addresses, which are then asked for by CONNECT; copied.
     * NULL: straight to them. `allow` is not asked about the proxy itself. */
    const struct sockaddr_storage *proxy;
    /* As in rbk_connect. Asked before each connection, and again for the one that is used
     * where another was asked about since: the last one asked about is the one in use. */
    bool (*allow)(const struct sockaddr *addr, void *user);
    void *allow_user;
    void (*done)(void *user, const rbk_dialled *r); /* once, never from within rbk_dial_start() */
    void *user;
} rbk_dial_conf;

/* 0; or RBK_E_NOMEM, and no callback. The dial is gone once `done` was called. */
int rbk_dial_start(rbk_loop *l, const rbk_dial_conf *conf, rbk_dial **ret);
/* Give up; `done` is not called any more. NULL is legal. */
void rbk_dial_cancel(rbk_dial *d);
/* Why there is nothing yet: RBK_E_SYS while the proxy is waited for, else RBK_E_TIMEOUT. For
 * an owner whose deadline has passed, before it cancels. */
int rbk_dial_late(const rbk_dial *d, const char **ret_detail);

#endif
