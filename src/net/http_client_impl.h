/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_client_impl.h - shared by http_client.c (posts, pool, deadlines), http_client_conn.c
 * (one connection) and http2_client.c (one that many calls share). Not for anybody else. Loop
 * thread.
 *
 * A call is a post under way. It is on one connection (its own, or a stream of a shared one, or it
 * waits for one that opens), or on the client's list `soon`, to end in the next turn because it
 * may not end within rbk_http_post_send(), or on `ready`, to end or to begin anew as soon as
 * nothing else is being done.
 * A connection is on exactly one of the client's lists: active (or due), idle, closing. */
#ifndef RBK_NET_HTTP_CLIENT_IMPL_H
#define RBK_NET_HTTP_CLIENT_IMPL_H

#include "base/map.h"
#include "base/ring.h"
#include "net/connect.h"
#include "net/http2_session.h"
#include "net/http_client.h"
#include "net/http_response.h"
#include "net/stream.h"

typedef struct rbk_http_conn rbk_http_conn;
typedef struct rbk_http2_conn rbk_http2_conn;

enum { RBK_HTTP_OUT_MAX = 256 * 1024, RBK_HTTP_ONE_WRITE = 16 * 1024, RBK_HTTP_REST_MS = 5000 };
enum { RBK_HTTP_KNOWN_MAX = 512 }; /* receivers without a connection that are remembered */

typedef struct rbk_http_call {
    rbk_link link; /* in `soon` or `ready`, or its connection's `waiting` or `calls`; else alone */
    rbk_http_client *c;
    rbk_http_post *post;
    rbk_http_conn *conn;
    rbk_http2_stream *stream; /* on a shared connection */
    rbk_mono_ms deadline;
    bool any_sent;
    int err;            /* in `soon` and `ready`: what it ends with */
    const char *detail; /* static text, or `own` */
    char *own;
    bool redo;      /* in `ready`: it begins anew, and if it cannot ends with that */
    bool fresh;     /* then not on a kept connection */
    unsigned tries; /* how often it began anew */
    uint64_t heard_at, sent_at; /* what the shared connection had read and written before it */
    int status;     /* in `ready`: the answer, where `err` is 0 */
    bool complete;
    size_t retry_after_n; /* 0: none */
    char retry_after[RBK_HTTP2_FIELD_MAX];
} rbk_http_call;

typedef enum rbk_http_speaks { RBK_HTTP_UNKNOWN, RBK_HTTP_ONE, RBK_HTTP_TWO } rbk_http_speaks;

/* The connections of one receiver; lives as long as it has any, and then for a while where it is
 * known what it speaks. */
typedef struct rbk_http_receiver {
    rbk_str name;    /* the map's copy */
    rbk_link idle;   /* kept connections, the last used at the end */
    rbk_link shared; /* HTTP/2 connections that have streams, or have not greeted yet */
    rbk_link known;  /* in the client's `known`, while it has no connection; else alone */
    rbk_http_conn *telling; /* its newest, while it opens: others may wait for it; or NULL */
    rbk_http_speaks speaks; /* its last connection */
    bool only_http1;        /* it said so on an HTTP/2 connection */
    unsigned most;          /* streams at one time, as it said last; 0: it did not */
    unsigned n_idle, n_reading, n_closing, n_conns;
} rbk_http_receiver;

typedef enum rbk_conn_state {
    RBK_CONN_OPENING, /* has a call: connecting, TLS handshake */
    RBK_CONN_WAITING, /* has a call: the request was written, the head has not come */
    RBK_CONN_READING, /* no call: the rest of an answer whose status stands */
    RBK_CONN_SHARED,  /* HTTP/2: its calls are streams; at least one is there, or may be soon */
    RBK_CONN_IDLE,    /* no call: kept */
    RBK_CONN_CLOSING  /* no call: `closed` will come */
} rbk_conn_state;

struct rbk_http_conn {
    rbk_link link; /* in one list of the client */
    rbk_link kept; /* in the receiver's `idle` or `shared`, else alone */
    rbk_http_client *c;
    rbk_http_receiver *receiver;
    rbk_http_call *call;
    rbk_dial *dial; /* while OPENING */
    rbk_stream *s;  /* then */
    rbk_tls *tls;
    rbk_addr addr;
    struct sockaddr_storage sa;
    rbk_conn_state state;
    bool reused, asked;
    bool local; /* to a Unix socket */
    bool cut; /* closed without an orderly end: its descriptor is free */
    uint64_t before; /* bytes that had gone when the request was written, once `asked` */
    rbk_mono_ms deadline;
    rbk_mono_ms connect_by;
    rbk_link waiting;   /* calls that wait for what it tells */
    unsigned n_waiting;
    rbk_http2_conn *h2; /* of HTTP/2 */
    rbk_response rsp;
    rbk_response_extra *extra; /* made for the first post that wants a body */
};

struct rbk_http_client {
    rbk_loop *loop;
    rbk_http_client_conf conf;
    rbk_map *receivers;
    rbk_link active, idle, closing, soon, ready, known;
    rbk_link due;           /* active ones whose deadline has passed, while they are dealt with */
    rbk_http_post *starved; /* no memory for a call: a chain by `priv`, ends like `soon` */
    unsigned n_idle, n_reading, n_conns, n_known;
    uv_timer_t timer;  /* one for all deadlines, armed for the earliest known */
    rbk_mono_ms armed; /* INT64_MAX: not armed */
    bool freed, timer_closed;
    rbk_buf out; /* the request being put together */
};

/* http_client_conn.c */

/* Connect for `call`. 0, or RBK_E_NOMEM. */
int rbk_http_conn_open(rbk_http_call *call);
/* The kept connection that fits, with `call` written to it, or false. */
bool rbk_http_conn_reuse(rbk_http_call *call);
/* Its deadline has passed. */
void rbk_http_conn_expire(rbk_http_conn *conn);
/* Close; `now`: without the orderly end. The call, if any, must be taken away before. */
void rbk_http_conn_close(rbk_http_conn *conn, bool now);
/* The one that is missed least and has no call is closed at once. */
void rbk_http_conn_make_room(rbk_http_client *c);
/* Take the call from its connection, which is closed, unless others share it. */
void rbk_http_conn_abandon(rbk_http_call *call);
/* Close it; its call, and those that wait, end or begin anew. May end in a `done`. */
void rbk_http_conn_give_up(rbk_http_conn *conn, int err, const char *detail);
/* The one place where the state changes. */
void rbk_http_conn_set_state(rbk_http_conn *conn, rbk_conn_state state);
void rbk_http_conn_set_deadline(rbk_http_conn *conn, rbk_mono_ms deadline);
/* Take its call from it, or NULL. */
rbk_http_call *rbk_http_conn_detach(rbk_http_conn *conn);
/* It goes where the call wants to go, by TLS or not; and may the call use its address? */
bool rbk_http_conn_fits(const rbk_http_conn *conn, const rbk_http_call *call);
bool rbk_http_conn_allowed(const rbk_http_conn *conn, const rbk_http_post *post);
/* It is of no use now, and kept for that long. */
void rbk_http_conn_keep(rbk_http_conn *conn, int64_t ms);
/* Out of all lists and counters, and gone. */
void rbk_http_conn_drop(rbk_http_conn *conn);

/* http2_client.c */

/* May share a connection. */
bool rbk_http2_suits(const rbk_http_call *call);
/* Wait for the receiver's connection that is being opened. False: there is none to wait for. */
bool rbk_http2_wait(rbk_http_call *call);
/* A stream of a connection that is shared already, or of this one that is idle. False: no room. */
bool rbk_http2_join(rbk_http_call *call, rbk_http_receiver *rc);
bool rbk_http2_take(rbk_http_conn *conn, rbk_http_call *call);
/* What was opened speaks HTTP/2. May end in a `done`. */
void rbk_http2_start(rbk_http_conn *conn);
/* Those that wait for it are `ready`: with `err`, or with 0 to begin anew. */
void rbk_http2_scatter(rbk_http_conn *conn, int err, const char *detail);
/* Those that wait and whose time is up are ready. When is that for the next? */
rbk_mono_ms rbk_http2_expire_waiting(rbk_http_conn *conn, rbk_mono_ms now);
/* All its calls are ready with `err`. */
void rbk_http2_evict(rbk_http_conn *conn, int err, const char *detail);
/* The call is taken from a shared connection, or leaves those that wait. */
void rbk_http2_leave(rbk_http_call *call);
void rbk_http2_expire(rbk_http_conn *conn);
/* It is going to be closed in order: say so. */
void rbk_http2_say_end(rbk_http_conn *conn);
void rbk_http2_free(rbk_http_conn *conn);

/* http_client.c */

/* A kept connection had been closed by the peer: once more on a new one. Or `err`. */
void rbk_http_call_again(rbk_http_call *call, int err, const char *detail);
void rbk_http_call_finish(rbk_http_call *call, const rbk_http_result *result);
void rbk_http_call_fail(rbk_http_call *call, int err, const char *detail);
/* It is `ready` with that; `detail` is copied. rbk_http_client_report() has to follow. */
void rbk_http_call_ready(rbk_http_call *call, int err, const char *detail);
/* End or begin anew what is ready: the last thing to do, for it calls `done`. */
void rbk_http_client_report(rbk_http_client *c);
/* A deadline was set: see that the timer fires by then. */
void rbk_http_client_arm(rbk_http_client *c, rbk_mono_ms deadline);
/* The last step of rbk_http_client_free(), once nothing is open. */
void rbk_http_client_reap(rbk_http_client *c);

#endif
