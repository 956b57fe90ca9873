/* SPDX-License-Identifier: Apache-2.0 */
/* net/stream_impl.h - shared by stream.c (socket, queue, life) and stream_tls.c (records).
 *
 * Bytes to send go: `plain` (TLS only, not encrypted yet) -> `out` (as they go on the
 * wire) -> the kernel, or `sending` when the kernel is full. One uv_write at a time.
 * Loop thread. */
#ifndef RBK_NET_STREAM_IMPL_H
#define RBK_NET_STREAM_IMPL_H

#include <openssl/ssl.h>

#include "base/buf.h"
#include "net/loop_impl.h"
#include "net/stream.h"

typedef enum rbk_stream_state {
    RBK_STREAM_CONNECTING,
    RBK_STREAM_HANDSHAKE, /* TLS only */
    RBK_STREAM_OPEN,
    RBK_STREAM_ENDING, /* rbk_stream_close(): sends what is queued, then its end */
    RBK_STREAM_LINGER, /* our end was sent: waits for the peer's */
    RBK_STREAM_CLOSING /* `closed` will come */
} rbk_stream_state;

struct rbk_stream {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } h;
    bool local; /* `h` is a pipe: a Unix socket */
    rbk_loop *loop;
    rbk_stream_cb cb;
    void *user;
    rbk_turn turn;
    rbk_stream_state state;
    int err;
    bool paused;    /* by the user */
    bool reading;   /* uv_read_start() */
    bool fin;       /* the peer's FIN came: there is nothing more to read */
    bool broken;    /* the kernel takes nothing more; what it sent may still be read */
    bool drain;     /* something was written since `drained` */
    bool tls_ended; /* close_notify came */
    bool offers_http2, is_http2; /* by ALPN */
    rbk_buf out, sending, plain;
    size_t plain_at;  /* of `plain`, where what is not encrypted begins */
    uv_write_t write; /* with `sending` */
    uint64_t sent;    /* bytes that the kernel took, but for those of `write` */
    size_t writing;   /* bytes that `write` began with */
    union {
        uv_connect_t connect;
        uv_shutdown_t shutdown;
    } req;
    uv_timer_t *limit; /* of an orderly close */
    char *detail;

    rbk_tls *tls; /* NULL: plain */
    SSL *ssl;
    char *name, *key; /* of the server: for its certificate; for its sessions */
    const char *in;   /* ciphertext to be read by OpenSSL, during a call of it */
    size_t in_n;
    rbk_buf held;   /* ciphertext that came before a pause, and waits for its end */
    size_t greeted; /* bytes of handshake that came */

    char peer[64];
};

/* stream.c */

/* Close because of `err`; `detail` is copied. */
void rbk_stream_fail(rbk_stream *s, int err, const char *detail);
void rbk_stream_opened(rbk_stream *s);
void rbk_stream_peer_ended(rbk_stream *s);
/* Send, or go on with what is held, at the end of this turn. */
void rbk_stream_flush_soon(rbk_stream *s);

/* stream_tls.c: nothing of it is called on a plain stream. Each may end in
 * rbk_stream_fail(), and so leave the stream in state CLOSING. */

/* Whom the certificate must name (copied). 0, or RBK_E_NOMEM. */
int rbk_stream_tls_name(rbk_stream *s, const char *name, uint16_t port);
/* The socket is connected: begin the handshake. */
void rbk_stream_tls_start(rbk_stream *s, bool server);
/* These bytes came, or with n = 0: go on with what is held. */
void rbk_stream_tls_feed(rbk_stream *s, const char *p, size_t n);
/* From `plain` to `out`, as much as is worth one write. */
void rbk_stream_tls_encrypt(rbk_stream *s);
/* Put close_notify into `out`. */
void rbk_stream_tls_end(rbk_stream *s);
void rbk_stream_tls_free(rbk_stream *s);

#endif
