/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_client_impl.h - shared by http_client.c (posts, pool, deadlines) and
 * http_client_conn.c (one connection). Not for anybody else. Loop thread.
 *
 * A call is a post under way. It is either on one connection, or on the client's list
 * `soon`, to end in the next turn because it may not end within rbk_http_post_send().
 * A connection is on exactly one of the client's lists: active (or due), idle, closing. */
#ifndef RBK_NET_HTTP_CLIENT_IMPL_H
#define RBK_NET_HTTP_CLIENT_IMPL_H

#include "base/map.h"
#include "base/ring.h"
#include "net/connect.h"
#include "net/http_client.h"
#include "net/http_response.h"
#include "net/stream.h"

typedef struct rbk_http_conn rbk_http_conn;

enum { RBK_HTTP_OUT_MAX = 128 * 1024, RBK_HTTP_ONE_WRITE = 16 * 1024, RBK_HTTP_REST_MS = 5000 };

typedef struct rbk_http_call {
    rbk_link link; /* in `soon`, else alone */
    rbk_http_client *c;
    rbk_http_post *post;
    rbk_http_conn *conn;
    rbk_mono_ms deadline;
    bool any_sent;
    int err;            /* in `soon`: what it ends with */
    const char *detail; /* static text */
} rbk_http_call;

/* The connections of one receiver; lives as long as it has any. */
typedef struct rbk_http_receiver {
    rbk_str name;  /* the map's copy */
    rbk_link idle; /* kept connections, the last used at the end */
    unsigned n_idle, n_reading, n_closing, n_conns;
} rbk_http_receiver;

typedef enum rbk_conn_state {
    RBK_CONN_OPENING, /* has a call: connecting, TLS handshake */
    RBK_CONN_WAITING, /* has a call: the request was written, the head has not come */
    RBK_CONN_READING, /* no call: the rest of an answer whose status stands */
    RBK_CONN_IDLE,    /* no call: kept */
    RBK_CONN_CLOSING  /* no call: `closed` will come */
} rbk_conn_state;

struct rbk_http_conn {
    rbk_link link; /* in one list of the client */
    rbk_link kept; /* in the receiver's `idle`, else alone */
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
    rbk_response rsp;
    rbk_response_extra *extra; /* made for the first post that wants a body */
};

struct rbk_http_client {
    rbk_loop *loop;
    rbk_http_client_conf conf;
    rbk_map *receivers;
    rbk_link active, idle, closing, soon;
    rbk_link due;           /* active ones whose deadline has passed, while they are dealt with */
    rbk_http_post *starved; /* no memory for a call: a chain by `priv`, ends like `soon` */
    unsigned n_idle, n_reading, n_conns;
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
/* Take the call from its connection, which is closed. */
void rbk_http_conn_abandon(rbk_http_call *call);

/* http_client.c */

/* A kept connection had been closed by the peer: once more on a new one. Or `err`. */
void rbk_http_call_again(rbk_http_call *call, int err, const char *detail);
void rbk_http_call_finish(rbk_http_call *call, const rbk_http_result *result);
void rbk_http_call_fail(rbk_http_call *call, int err, const char *detail);
/* A deadline was set: see that the timer fires by then. */
void rbk_http_client_arm(rbk_http_client *c, rbk_mono_ms deadline);
/* The last step of rbk_http_client_free(), once nothing is open. */
void rbk_http_client_reap(rbk_http_client *c);

#endif
