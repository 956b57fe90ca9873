/* SPDX-License-Identifier: Apache-2.0 */
/* net/stream.h - a connection: TCP, plain or under TLS, either end; or to a Unix socket.
 *
 * Loop thread only. TLS runs over memory BIOs, so the socket is libuv's alone.
 * rbk_stream_connect() is the one place of the house that calls connect(2). There is no
 * deadline in here but that of an orderly close: the owner has the others. */
#ifndef RBK_NET_STREAM_H
#define RBK_NET_STREAM_H

#include "net/loop.h"
#include "net/tls.h"

typedef struct rbk_stream rbk_stream;

/* `closed` is the last callback of a stream, called exactly once for every stream
 * that was made, never from within the call that made it or closed it. `err` is 0
 * after rbk_stream_close() or an orderly end of the peer, else RBK_E_CONNECT,
 * RBK_E_TLS, RBK_E_CLOSED (reset, or cut off: a FIN under TLS without close_notify,
 * which is no `ended`), RBK_E_NOMEM, RBK_E_ADDRESS; `detail` is for the operator. The
 * stream is gone when it returns. After rbk_stream_close() no other callback comes. */
typedef struct rbk_stream_cb {
    void (*opened)(rbk_stream *s, void *user); /* connected; under TLS: peer verified */
    void (*data)(rbk_stream *s, const char *p, size_t n, void *user);
    void (*ended)(rbk_stream *s, void *user); /* peer's orderly end (FIN or close_notify);
                                                 writing may go on. NULL: close then */
    void (*drained)(rbk_stream *s, void *user); /* the kernel took all that was written;
                                                   may be NULL */
    void (*closed)(rbk_stream *s, int err, const char *detail, void *user);
} rbk_stream_cb;

typedef struct rbk_connect {
    const struct sockaddr *addr; /* of AF_INET, AF_INET6 or AF_UNIX */
    rbk_tls *tls;     /* NULL: plain */
    const char *name; /* SNI and the name in the certificate; for an address literal its
                         canonical text: verified as an address, and no SNI is sent */
    /* The last word before connect(2), on the very address; NULL: none asked. False
     * closes the stream with RBK_E_ADDRESS, and no packet is sent. */
    bool (*allow)(const struct sockaddr *addr, void *user);
    void *allow_user;
} rbk_connect;

/* 0 and a stream that is connecting, or RBK_E_NOMEM and no callback. */
int rbk_stream_connect(rbk_loop *l, const rbk_connect *c, const rbk_stream_cb *cb, void *user,
                       rbk_stream **ret);
/* The callbacks and `user` of an open stream are these from now on. */
void rbk_stream_take(rbk_stream *s, const rbk_stream_cb *cb, void *user);
/* Under an open plain stream of rbk_stream_connect(): TLS from here on; `opened` comes again.
 * `name` as in rbk_connect, `port` is of the name. 0, or RBK_E_NOMEM and nothing was done. */
int rbk_stream_start_tls(rbk_stream *s, rbk_tls *tls, const char *name, uint16_t port);
/* Before that: ALPN offers h2 too, ahead of http/1.1. And what the peer chose, once it is open. */
void rbk_stream_offer_http2(rbk_stream *s);
bool rbk_stream_is_http2(const rbk_stream *s);
/* Take one connection from `listener` (in its connection callback). `opened` comes for it
 * too. 0; RBK_E_NOMEM or RBK_E_SYS (it was not there any more), and no callback. */
int rbk_stream_accept(rbk_loop *l, uv_stream_t *listener, rbk_tls *tls, const rbk_stream_cb *cb,
                      void *user, rbk_stream **ret);

/* Queue bytes, copied; before `opened` too. All writes of one loop turn leave in one
 * system call where they can. 0; RBK_E_CLOSED after close or failure; RBK_E_NOMEM, and
 * the stream closes. */
int rbk_stream_write(rbk_stream *s, const void *p, size_t n);
size_t rbk_stream_unsent(const rbk_stream *s); /* queued, not yet taken by the kernel */
/* Bytes that the kernel took since it is open, as they go on the wire (TLS counts whole). No less
 * than that: of a write that failed half-way all of it counts. */
uint64_t rbk_stream_sent(const rbk_stream *s);
/* In memory because of them: a piece is given back when all of it has gone. */
size_t rbk_stream_held(const rbk_stream *s);

void rbk_stream_pause(rbk_stream *s); /* stop and go on reading; new streams read */
void rbk_stream_resume(rbk_stream *s);

/* Send what is queued (at most 30 s), then an orderly end, wait for the peer's (at most
 * 1 s), then close. With `now`, or before `opened`: close at once. A second call with
 * `now` cuts the first short. */
void rbk_stream_close(rbk_stream *s, bool now);

/* The peer's "1.2.3.4:567", or "unix:uid=1000" of one that we accepted; NUL-terminated, valid as long as the stream. */
const char *rbk_stream_peer(const rbk_stream *s);
/* Nothing came that was not read yet, and no end: asked of the kernel now. */
bool rbk_stream_is_quiet(const rbk_stream *s);
/* The raw socket, -1 when there is none; to look at, not to use. */
int rbk_stream_fd(const rbk_stream *s);

#endif
