/* SPDX-License-Identifier: Apache-2.0 */
/* net/http2_session.h - the client's end of one HTTP/2 connection (RFC 9113), without a socket:
 * POSTs go in as streams, bytes come out, the peer's bytes go in, and each stream is answered
 * once. nghttp2 knows frames, HPACK and flow control; here are the bounds of a deliverer.
 *
 * A stream is answered at the end of its final head: what the body does later changes nothing.
 * The rest is dropped as it comes, at most RBK_HTTP2_WINDOW of it, and then the stream is reset.
 * No clock, no I/O; memory is bounded by the streams. One thread. */
#ifndef RBK_NET_HTTP2_SESSION_H
#define RBK_NET_HTTP2_SESSION_H

#include "base/buf.h"

typedef struct rbk_http2_session rbk_http2_session;
typedef struct rbk_http2_stream rbk_http2_stream;

enum {
    RBK_HTTP2_STREAMS_MAX = 128,    /* of a connection at one time, whatever the peer allows */
    RBK_HTTP2_RESTS_MAX = 16,       /* answered ones whose body goes on; the oldest is reset */
    RBK_HTTP2_WINDOW = 16 * 1024,   /* of a stream's body, never renewed */
    RBK_HTTP2_HEAD_MAX = 32 * 1024, /* names and values of one answer, interim heads and trailers
                                       included */
    RBK_HTTP2_INTERIM_MAX = 16,
    RBK_HTTP2_FIELD_MAX = 64, /* of a header value that is kept */
    RBK_HTTP2_BATCH = 64 * 1024 /* bytes that are pulled at once, and one frame more */
};

typedef struct rbk_http2_answer {
    int err;      /* 0: the head came; else RBK_E_CLOSED: reset by the peer; RBK_E_PROTOCOL: its
                     answer is none; RBK_E_NOMEM */
    bool unseen;  /* with `err`: the peer says that it has done nothing with it */
    bool http1;   /* with `unseen`: and that it wants it by HTTP/1.1 */
    bool complete; /* the kernel had all of the request before */
    bool any_sent; /* its head was pulled */
    int status;   /* 200-599 */
    rbk_str retry_after; /* absent unless exactly one came; valid in the callback */
    const char *detail;  /* valid in the callback */
} rbk_http2_answer;

/* The last word about a stream, from within feed() or pull(); it may submit, and must not free. */
typedef void (*rbk_http2_answered)(void *owner, const rbk_http2_answer *answer);

/* All of it stays valid until the stream is answered or abandoned. */
typedef struct rbk_http2_request {
    rbk_str authority, target;
    rbk_str head; /* header lines, each ended by CRLF */
    rbk_str body; /* sent with content-length */
} rbk_http2_request;

/* 0 or RBK_E_NOMEM. */
int rbk_http2_session_new(rbk_http2_answered answered, rbk_http2_session **ret);
/* Streams that are left are not answered. NULL is legal. */
void rbk_http2_session_free(rbk_http2_session *h);

/* 0; RBK_E_NOMEM; or RBK_E_BUSY: the connection takes no more streams. */
int rbk_http2_submit(rbk_http2_session *h, const rbk_http2_request *req, void *owner,
                     rbk_http2_stream **ret);
/* The owner goes: the stream is reset, and is not answered. */
void rbk_http2_abandon(rbk_http2_stream *st);

/* Something of it was pulled: the peer may have seen it. */
bool rbk_http2_begun(const rbk_http2_stream *st);

/* The peer's bytes. 0; or RBK_E_CONNECT or RBK_E_NOMEM: the connection is of no use any more,
 * and rbk_http2_fault() says why. What is pulled then may still be sent. */
int rbk_http2_feed(rbk_http2_session *h, const char *p, size_t n);
/* Bytes for the peer, behind those of `out`. The same errors. */
int rbk_http2_pull(rbk_http2_session *h, rbk_buf *out);
/* The kernel has all that was pulled. */
void rbk_http2_flushed(rbk_http2_session *h);
/* A PING is pulled next: whether it is answered tells whether anybody is there. */
void rbk_http2_ping(rbk_http2_session *h);
/* Ours is the end: GOAWAY is pulled next. */
void rbk_http2_say_goodbye(rbk_http2_session *h);
/* Some time has passed: what is left of answers that came before the last call is reset. True
 * while there are others. */
bool rbk_http2_age(rbk_http2_session *h);

/* The peer's settings have come. */
bool rbk_http2_settled(const rbk_http2_session *h);
/* Streams that are there; those of them that were answered or abandoned; and how many more may
 * be submitted: none before the peer's settings and after its GOAWAY. */
unsigned rbk_http2_streams(const rbk_http2_session *h);
unsigned rbk_http2_rests(const rbk_http2_session *h);
unsigned rbk_http2_room(const rbk_http2_session *h);
/* No stream will ever be submitted again. */
bool rbk_http2_retired(const rbk_http2_session *h);
/* What is wrong with the connection, also what its GOAWAY said; "" when nothing is. */
const char *rbk_http2_fault(const rbk_http2_session *h);

#endif
