/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_server_impl.h - what the files of the HTTP server share.
 *
 *   http_server.c       the listener, the list of connections, drain and close
 *   http_server_conn.c  a connection: bytes in, requests out, deadlines
 *   http_reply.c        answers: composed, put in order, written
 *   http_written.c      who wants to know that an answer has gone
 *   http_upgrade.c      a connection that was handed to another protocol
 *   http_budget.c       bytes held for peers, counted against the budget of all
 *
 * A connection owns its requests in the order in which they came, first to last, from
 * the complete request to its written answer; `cur` is the one being read. A request
 * outlives its connection when the handler still owes the reply. Loop thread. */
#ifndef RBK_NET_HTTP_SERVER_IMPL_H
#define RBK_NET_HTTP_SERVER_IMPL_H

#include "net/http_parse.h"
#include "net/stream.h"

typedef struct rbk_http_conn rbk_http_conn;
typedef struct rbk_http_tunneled rbk_http_tunneled;

/* Somebody who wants to know what became of an answer; no `fn`: nobody does. */
typedef struct rbk_http_watch {
    void (*fn)(bool all, void *user);
    void *user;
} rbk_http_watch;

typedef struct rbk_http_rq {
    rbk_http_request pub; /* first */
    struct rbk_http_rq *next;
    rbk_http_conn *conn; /* NULL: the peer has gone */
    rbk_http_head head;
    rbk_buf body;
    rbk_buf out;     /* an answer that waits for its turn: head lines, then body */
    size_t out_head; /* bytes of `out` that are head lines */
    bool handed;     /* the handler owes the reply */
    bool answered;
    rbk_http_watch watch; /* of an answer that waits for its turn */
    char peer[80];
} rbk_http_rq;

enum { RBK_HTTP_FREE = 64 << 10 }; /* of a body, and of the answers: never counted */

/* How the bytes that come are read. From DISCARD on no request is read any more. */
typedef enum rbk_http_stage {
    RBK_HTTP_OPENING, /* accepted; under TLS: handshake */
    RBK_HTTP_HEAD,
    RBK_HTTP_BODY,    /* of a known length */
    RBK_HTTP_CHUNKS,  /* chunked */
    RBK_HTTP_TUNNEL,  /* another protocol's */
    RBK_HTTP_DISCARD, /* the answers that are owed go out, the last with `close` */
    RBK_HTTP_CLOSING
} rbk_http_stage;

struct rbk_http_conn {
    rbk_http_server *s;
    rbk_http_conn *prev, *next;
    rbk_stream *st; /* NULL: closed, and we wait for our timer */
    rbk_http_stage stage;
    unsigned busy; /* below us on the stack: bytes are being read, answers written */
    bool counted;  /* in conf.connections */
    rbk_http_shed shed; /* in conf.shed: over a limit, it is turned away */
    rbk_peer peer;
    bool wants_continue;
    bool large; /* an answer over RBK_HTTP_FREE was given: one request at a time */

    rbk_http_tunneled *tunnel; /* from an upgrade until the connection is closed */
    bool tunnel_held;          /* it takes nothing now */
    rbk_http_rq *cur, *first, *last, *spare;
    unsigned n_open; /* first to last */
    size_t waiting;  /* bytes of answers that wait for their turn */
    size_t body_charged, out_charged; /* our share of conf.buffered */
    rbk_http_chunks chunks;
    rbk_buf rest; /* bytes that came while no request could be taken */
    size_t rest_at;
    size_t discarded;

    rbk_http_watch *watches; /* of answers that were written and are not all taken yet */
    size_t n_watches, room_watches;

    /* One timer. A deadline that moves away does not touch it: it fires too early once,
     * looks, and is set again. 0: no deadline. */
    uv_timer_t timer;
    rbk_mono_ms timer_due, read_by, write_by;
    int64_t written, taken_mark; /* bytes written; that had reached the peer at the last look */
};

typedef union rbk_http_socket {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
} rbk_http_socket;

struct rbk_http_server {
    rbk_loop *loop;
    rbk_http_socket listener;
    bool local; /* it is a Unix socket */
    bool listening, draining, closed;
    rbk_http_conf conf;
    rbk_http_handler handler;
    rbk_http_conn *conns; /* newest first */
    size_t n_conns;
    rbk_mono_ms none_idle_until;           /* nobody has to be looked for before */
    atomic_uint own_connections, own_shed; /* when the conf gives none */
    rbk_http_numbers own_numbers;          /* the same */
    rbk_http_socket reject;      /* takes and drops a connection that there is no memory for */
    bool rejecting, reject_again;
    rbk_buf scratch; /* head lines of the answer being written */
    rbk_mono_ms date_until;
    char date[30];
};

/* http_server_conn.c */
int rbk_http_conn_accept(rbk_http_server *s, rbk_http_conn **ret);
void rbk_http_conn_drain(rbk_http_conn *c);
/* Nothing can be taken from the peer now. */
bool rbk_http_conn_is_full(const rbk_http_conn *c);
/* Send what is queued, then an orderly end. */
void rbk_http_conn_end(rbk_http_conn *c);
/* Close at once. The requests stay until the stream is closed. */
void rbk_http_conn_abort(rbk_http_conn *c);
/* Tell the handler that the peer has gone; its requests live on without us. */
void rbk_http_conn_orphan(rbk_http_conn *c);
/* Bytes that the kernel has taken, and the peer has not: megabytes, if he reads nothing. */
int64_t rbk_http_in_kernel(const rbk_http_conn *c);
bool rbk_http_conn_is_idle(const rbk_http_conn *c);
/* After answers were written: go on reading, or close. */
void rbk_http_conn_settle(rbk_http_conn *c);
void rbk_http_rq_free(rbk_http_rq *r);

/* http_server.c */
void rbk_http_server_forget(rbk_http_conn *c); /* the connection is no more */

/* http_reply.c */
const char *rbk_http_server_date(rbk_http_server *s);
/* Put an answer of the server's own into the place of `r`. */
void rbk_http_refuse(rbk_http_rq *r, int status, const char *why);
/* Bytes to the peer, under the write deadline. */
void rbk_http_conn_write(rbk_http_conn *c, rbk_str bytes);
/* What a server over its limit says. */
void rbk_http_write_busy(rbk_http_conn *c);

/* http_written.c */

/* An answer that was just written is watched; it may be told within. */
void rbk_http_watch_add(rbk_http_conn *c, rbk_http_watch w);
/* The kernel has taken all that was written. */
void rbk_http_watches_drained(rbk_http_conn *c);
/* The connection is closed: what is still watched did not go out. */
void rbk_http_watches_closed(rbk_http_conn *c);
void rbk_http_watch_tell(rbk_http_watch *w, bool all); /* once */

/* http_upgrade.c */
size_t rbk_http_tunnel_feed(rbk_http_conn *c, rbk_str bytes);
void rbk_http_tunnel_drain(rbk_http_conn *c);
void rbk_http_tunnel_end(rbk_http_conn *c); /* the stream is closed; none: nothing happens */

/* http_budget.c */

/* The body being read has `n` bytes now. False: it grew, and the budget is used up. */
bool rbk_http_charge_body(rbk_http_conn *c, size_t n);
/* Count the answers that wait or are unsent. False: they grew, and are too much. */
bool rbk_http_charge_answers(rbk_http_conn *c);
/* Nothing is held any more. */
void rbk_http_uncharge(rbk_http_conn *c);

#endif
