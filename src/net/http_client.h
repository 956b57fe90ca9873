/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_client.h - an HTTP client with kept connections, on one loop: HTTP/1.1, and HTTP/2
 * where both sides want it.
 *
 * Sends one POST per call. Connections are pooled by receiver name and address, and
 * reused only after a cleanly framed answer; one that speaks HTTP/2 carries many posts at one
 * time, all of them to that receiver. Redirects are not followed, nothing of
 * the environment is read. A client speaks TLS over TCP and nothing else, unless it was made
 * for plain connections too. Bounds: 16 interim answers, 32 KiB of response head, 64 KiB of body
 * where it is not wanted (then the connection is closed; the status stands). Loop thread. */
#ifndef RBK_NET_HTTP_CLIENT_H
#define RBK_NET_HTTP_CLIENT_H

#include "net/http.h"
#include "net/loop.h"
#include "net/resolver.h"
#include "net/tls.h"

typedef struct rbk_http_client rbk_http_client;

typedef struct rbk_http_client_conf {
    rbk_tls *tls;               /* for https calls; the caller's, outlives the client */
    bool plain;                 /* posts without TLS, and to Unix sockets, are sent; else they end
                                   with RBK_E_TLS */
    struct sockaddr_storage proxy; /* every connection goes through its CONNECT; AF_UNSPEC
                                      (all zero): straight */
    unsigned idle_per_receiver; /* kept connections of one receiver (16) */
    unsigned idle_max;          /* kept connections in all (1,024) */
    unsigned conns_max;         /* connections in all, from where on a new one takes the place of
                                   one that has no post (0: no bound) */
    unsigned dial_sockets;      /* as `sockets` in net/connect.h */
    int64_t idle_ms;            /* closed after that long unused (30 s), or sooner where the
                                   peer's Keep-Alive asks for it */
    bool http2;                 /* is offered by ALPN; posts that want a body, or are sent `once`,
                                   go over HTTP/1.1 all the same */
} rbk_http_client_conf;

typedef struct rbk_http_result {
    int err;              /* 0 when a status line and head came; RBK_E_TIMEOUT, _CONNECT,
                             _TLS, _SYS (the proxy failed), _CLOSED, _PROTOCOL, _ADDRESS, _NOMEM */
    int status;           /* 100-599 final status, 0 without one */
    bool complete;        /* the whole request had been written before the status came */
    bool any_sent;        /* at least one byte of the request left */
    rbk_str retry_after;  /* the header's value, absent unless exactly one came; valid in
                             the callback */
    rbk_str location;     /* the same for Location, of posts that want a body */
    const char *detail;   /* for the operator, e.g. OpenSSL's word; never NULL */
} rbk_http_result;

/* One POST. All pointers stay valid until `done`. */
typedef struct rbk_http_post {
    const char *receiver; /* "https://host:port": the pool's key, and the stored name */
    bool tls;
    const char *name;     /* host for SNI and the certificate; canonical text of a literal */
    rbk_str authority;    /* Host header: "host", "host:port", "[v6]:port" */
    rbk_str target;       /* request target, begins with "/" */
    rbk_str head;         /* further header lines, each ended by CRLF */
    rbk_str body;         /* sent with Content-Length */
    rbk_buf *want_body;   /* NULL: the answer's body is read and dropped; else it is collected
                             up to the buffer's max (then `err` is set there), and `done` is
                             called after the body's end */
    bool once;            /* never sent again once a byte of it left; and a kept connection is
                             looked at before it is used: it may have ended meanwhile */
    const char *path;     /* of a Unix socket, in place of port and addresses; NULL: none */
    uint16_t port;
    rbk_addr addrs[RBK_ADDRS_MAX]; /* the first that connects: net/connect.h */
    size_t n_addrs;
    int64_t connect_ms;   /* until it is open, all addresses and TLS included */
    int64_t total_ms;     /* for all of it */
    bool (*allow)(const struct sockaddr *addr, void *user); /* asked before connect(2), and
                             again before a kept connection is reused */
    void *allow_user;
    void (*done)(struct rbk_http_post *post, const rbk_http_result *result); /* exactly once,
                             never from within rbk_http_post_send() */
    void *user;
    void *priv;           /* the client's; NULL at the start */
} rbk_http_post;

int rbk_http_client_new(rbk_loop *l, const rbk_http_client_conf *conf, rbk_http_client **ret,
                        rbk_error *err);
/* A post that meets a kept connection which the peer had just closed (no byte of an
 * answer came) is sent again once on a new connection; with `once` only if none of it left. So is
 * one of which an HTTP/2 peer says that it has not looked at it, a few times. Where nobody knows
 * yet what a receiver speaks, its first connection tells, and the other posts to it wait for that. */
void rbk_http_post_send(rbk_http_client *c, rbk_http_post *post);
/* Give up: `done` is called with RBK_E_CANCELLED before this returns. */
void rbk_http_post_cancel(rbk_http_client *c, rbk_http_post *post);
/* Closes every connection; posts under way end with RBK_E_CLOSED first. */
void rbk_http_client_free(rbk_http_client *c);

#endif
