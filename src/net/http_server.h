/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_server.h - an HTTP/1.1 server on one loop (RFC 9110, RFC 9112).
 *
 * Strict framing, absolute deadlines, bounded everything; answers may be given later
 * and still leave in the order of the requests. Knows nothing of JSON-RPC. All of it
 * on the loop's thread. */
#ifndef RBK_NET_HTTP_SERVER_H
#define RBK_NET_HTTP_SERVER_H

#include <stdatomic.h>

#include "net/http.h"
#include "net/http_numbers.h"
#include "net/loop.h"
#include "net/peers.h"
#include "net/tls.h"

typedef struct rbk_http_server rbk_http_server;

/* Shared by the servers of all loops. Zero means the default in parentheses. */
typedef struct rbk_http_conf {
    size_t max_body;       /* 413 (1 MiB) */
    size_t max_line;       /* request line 414, one header line 431 (8,192) */
    size_t max_head;       /* all header lines 431 (32 KiB) */
    unsigned max_fields;   /* 431 (100) */
    unsigned max_pipeline; /* requests read ahead on one connection (16); one alone after an
                              answer of more than 64 KiB */
    unsigned max_connections;
    int64_t head_ms;       /* from the first byte to the end of the head: 408 (10 s) */
    int64_t body_ms;       /* the body's share: 10 s + 1 ms for each byte at 1 KiB/s, at most
                              this (60 s): 408 */
    int64_t idle_ms;       /* between requests (60 s) */
    int64_t write_ms;      /* an answer that the peer does not take (20 s): so often a byte
                              for each ms must go, 16 when more than 64 KiB are left */
    atomic_uint *connections; /* counted over all loops against max_connections */
    unsigned max_shed;     /* of those over the limit so many are told 503 at a time, the rest
                              is closed at once (64) */
    atomic_uint *shed;     /* counted over all loops against max_shed */
    int64_t yield_ms;      /* at the limit a new connection takes the place of the one that is
                              idle the longest, if it is so for that long (1 s) */
    /* Bytes held for peers, counted over all loops (NULL: not counted): of each body that
     * is being received and of the answers of each connection that wait or are unsent,
     * what is beyond the first 64 KiB. Over max_buffered (256 MiB) a body that grows is
     * refused with 503, and a connection with more than 1 MiB of such answers is closed;
     * over twice that, with any. */
    atomic_size_t *buffered;
    size_t max_buffered;
    rbk_tls *tls;          /* NULL: plain */
    rbk_peers *peers;      /* connections of one address over its limit are turned away as those over
                              max_connections are; outlives the server. NULL: no such limit */
    rbk_http_numbers *numbers; /* of the loop; outlives the server. NULL: nobody wants them */
} rbk_http_conf;

enum { RBK_HTTP_EXTRA_MAX = 3 };

/* A request. The server's until on_request; then the handler's until it replies. */
typedef struct rbk_http_request {
    rbk_str method;        /* "POST" */
    rbk_str path, query;   /* of the origin-form target; query without "?" */
    const rbk_http_header *headers;
    size_t n_headers;
    rbk_str body;          /* only in on_request */
    const char *peer;      /* "1.2.3.4:567", "unix:uid=1000" */
    const rbk_peer *from;  /* for conf.peers; as long as the connection is there */
    void *user;            /* the handler's own */
    const char *allow;     /* on_head may set it: static text, the methods that a 405 names
                              (NULL: POST) */
    unsigned retry_after;  /* the same: the seconds that a 429 or 503 names (0: 1) */
    const char *why;       /* the same: what a refusal says, static text (NULL: the status) */
    /* The same: headers of every answer to the request, the server's own included; their values may be
     * those of its headers. */
    rbk_http_header extra[RBK_HTTP_EXTRA_MAX];
    size_t n_extra;
} rbk_http_request;

typedef struct rbk_http_handler {
    /* The head is complete, the body is not read yet. 0 to go on; or the status of a
     * refusal that the server sends by itself (404, 405, 415 …), with the header that
     * belongs to it (405 `Allow`, 401 `WWW-Authenticate: Bearer`, 429 and 503
     * `Retry-After`), a JSON-RPC error as its body, and `Connection: close`. The
     * request is not the handler's then, nor before on_request. */
    int (*on_head)(rbk_http_request *rq, void *user);
    /* The request is complete. Exactly one rbk_http_reply() must follow, now or later. */
    void (*on_request)(rbk_http_request *rq, void *user);
    /* The peer has gone before the reply (its orderly end counts: who closes can no
     * longer be told from who only stops sending), or rbk_http_server_close() was
     * called. The reply must be given all the same, and is dropped. May be NULL. */
    void (*on_gone)(rbk_http_request *rq, void *user);
    /* The server answers a request by itself, with an error: for the log. `why` is static text, or
     * NULL: the status says it. May be NULL. */
    void (*on_refused)(const rbk_http_request *rq, int status, const char *why, void *user);
    /* A connection is turned away. `peer` as in a request; valid in the call alone. May be NULL. */
    void (*on_shed)(const char *peer, rbk_http_shed why, void *user);
    /* A connection ended before TLS was open (one that said nothing and left does not count): what
     * was wrong with it, for the operator. `peer` as
     * in a request; both are valid in the call alone. May be NULL. */
    void (*on_unopened)(const char *peer, const char *detail, void *user);
    void *user;
} rbk_http_handler;

typedef struct rbk_http_reply {
    int status;
    const rbk_http_header *headers; /* besides Date, Content-Length, Connection */
    size_t n_headers;
    const char *content_type; /* NULL: application/json when there is a body */
    rbk_str body;             /* copied */
    /* Told once, perhaps within rbk_http_reply_send(): `all` when the kernel has taken the whole
     * answer and the peer had not closed its end by then; false when the connection closed
     * before. May be NULL. */
    void (*written)(bool all, void *user);
    void *user;
} rbk_http_reply;

/* `fd` is a listening socket, TCP or Unix, perhaps one that other loops have copies of, which is the server's from now on; it is closed
 * where there is none. RBK_E_SYS, RBK_E_NOMEM. */
int rbk_http_server_new(rbk_loop *l, int fd, const rbk_http_conf *conf,
                        const rbk_http_handler *handler, rbk_http_server **ret, rbk_error *err);
/* Answer `rq`, which is gone after it. */
void rbk_http_reply_send(rbk_http_request *rq, const rbk_http_reply *reply);
/* The same with a refusal of the server's own, as for a status that on_head returned. */
void rbk_http_reply_refusal(rbk_http_request *rq, int status);
/* Another protocol on the connection of a request. */
typedef struct rbk_http_tunnel {
    /* Returns how many of the bytes were used. The rest comes again, but not before
     * rbk_http_tunnel_resume(). Nothing is read, either, while 256 KiB wait to be sent. */
    size_t (*data)(rbk_http_request *rq, rbk_str bytes, void *user);
    void (*gone)(rbk_http_request *rq, void *user); /* the last; the request goes after it */
    void (*drain)(rbk_http_request *rq, void *user); /* the server drains: come to an end. May be
                                                        NULL */
} rbk_http_tunnel;

/* Answer `rq` with 101 and these headers; from then on what the peer sends is the tunnel's,
 * and `rq` lives until `gone`. The connection is closed after `max_ms`; 0: its life is the
 * tunnel's care. 0; or RBK_E_CLOSED (the peer has gone), RBK_E_STATE (it is HTTP/1.0, other
 * requests of the connection wait, or it is to be closed), RBK_E_NOMEM: then nothing happened, and the request must
 * be answered otherwise. */
int rbk_http_upgrade(rbk_http_request *rq, const rbk_http_reply *reply, const rbk_http_tunnel *t,
                     void *user, int64_t max_ms);
void rbk_http_tunnel_write(rbk_http_request *rq, rbk_str bytes);
/* The same; `written` is told once, as in rbk_http_reply. */
void rbk_http_tunnel_write_watched(rbk_http_request *rq, rbk_str bytes,
                                   void (*written)(bool all, void *user), void *user);
void rbk_http_tunnel_resume(rbk_http_request *rq);
/* The bytes that the tunnel holds of what came, for the budget of conf.buffered. False: they grew,
 * and it is used up. */
bool rbk_http_tunnel_charge(rbk_http_request *rq, size_t n);
/* Send what was written, then close; `now`: close at once. `gone` comes later. */
void rbk_http_tunnel_close(rbk_http_request *rq, bool now);
/* Does what the peer sends wait, unread, for the tunnel, or for the peer to read? */
bool rbk_http_tunnel_is_stuck(rbk_http_request *rq);

/* Stop accepting, close idle connections, let answers go out with `Connection: close`. */
void rbk_http_server_drain(rbk_http_server *s);
/* Connections that are open. */
size_t rbk_http_server_open(const rbk_http_server *s);
/* Close what is left at once and free. Replies of requests not yet answered must still
 * be given, before the loop ends. */
void rbk_http_server_close(rbk_http_server *s);

/* Sockets listening on `text` ("127.0.0.1:7600", "[::1]:7600", ":7600" for every
 * address, port 0 for a free one): `n` of them with SO_REUSEPORT, one for each loop.
 * The address is bound without SO_REUSEPORT first, so that a second server on it is
 * refused (one of the same user that starts in the same instant may still slip in). *ret_port gets the port. 0, RBK_E_CONFIG (bad text), RBK_E_SYS. Any thread. */
bool rbk_http_listen_ok(rbk_str text); /* is it such a text? */
int rbk_http_listen(rbk_str text, size_t n, int *ret_fds, uint16_t *ret_port, rbk_error *err);

#endif
