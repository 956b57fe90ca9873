/* SPDX-License-Identifier: Apache-2.0 */
/* ringback/transport.h - the seam for transports: how a response gets to a callback.
 *
 * A transport is made once for each courier loop and used on that loop's thread only.
 * It makes attempts; when and how often, the engine decides. */
#ifndef RINGBACK_TRANSPORT_H
#define RINGBACK_TRANSPORT_H

#include "ringback/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RBK_TRANSPORT_ABI 1

struct sockaddr;
struct sockaddr_storage;
typedef struct rbk_transport rbk_transport; /* a backend's own */

typedef struct rbk_attempt_result {
    int err;    /* 0 when the receiver answered; else RBK_E_RESOLVE (no such name, or its
                   look-up timed out), _ADDRESS, _CONNECT, _TLS, _TIMEOUT, _CLOSED, _PROTOCOL,
                   _CANCELLED, _NOMEM; or RBK_E_BUSY: there was no place for the attempt on
                   this side, and nothing of it was done */
    int status; /* the receiver's final status, 0 without one: of HTTP, or from 1000 on the
                   code of a websocket's close. 2xx and 1000 are success, once `complete` */
    bool complete;     /* the whole response was written before the status came */
    rbk_str retry_after; /* valid in the callback */
    const char *detail;  /* for the operator, never NULL */
} rbk_attempt_result;

/* One attempt. Made by the engine; all that it points to stays valid until `done`. */
typedef struct rbk_attempt {
    rbk_str dsn;            /* as stored; the engine has checked it by the policy of the day */
    const void *parsed;     /* the engine's parse of it (core/dsn.h) */
    const char *receiver;   /* "https://host:port", "wss://host:port" */
    rbk_str job;            /* the job id: webhook-id */
    uint32_t number;        /* 1 and up: ringback-attempt */
    rbk_wall_ms now;        /* webhook-timestamp, in ms */
    rbk_str headers;        /* further header lines, each ended by CRLF */
    rbk_str body;           /* the response object: sent as it is */
    /* May a connection go to this socket address? Asked at every attempt, for the very
     * address; a false means that no packet may be sent to it. */
    bool (*allow)(const struct sockaddr *addr, void *user);
    /* May be NULL. The attempt is about to use this address, by a new connection or a kept one;
     * asked after allow(). The engine counts it there until `done`, or until the attempt asks
     * for another. False: too many attempts are there now; nothing may be sent, and the attempt
     * ends with RBK_E_BUSY, which does not count as one. */
    bool (*enter)(const struct sockaddr *addr, void *user);
    void *allow_user; /* of both */
    /* Exactly once, on the loop's thread, never from within send(). */
    void (*done)(struct rbk_attempt *a, const rbk_attempt_result *result);
    void *user;             /* the engine's */
    void *priv;             /* the transport's, NULL at the start */
} rbk_attempt;

typedef struct rbk_transport_env {
    void *loop; /* rbk_loop (net/loop.h) */
    void *tls;  /* rbk_tls of the couriers (net/tls.h) */
    int64_t connect_ms, total_ms; /* deadlines of one attempt */
    int64_t resolve_ms;
    const char *name_servers; /* to ask in place of the system's: "127.0.0.1:5353,…"; or NULL */
    /* Descriptors are counted: a kept connection gives way when there are this many, those of
     * attempts among them. 0: no bound */
    unsigned connections;
    /* And how many sockets one attempt may hold while several addresses of its receiver race, 2 or
     * more. 0: no bound */
    unsigned dial_sockets;
    /* Where connections go, to be led on by CONNECT to the address that was checked; NULL:
     * straight. Lives as long as the transport. */
    const struct sockaddr_storage *proxy;
    bool http2; /* may be spoken where the receiver wants it too */
} rbk_transport_env;

typedef struct rbk_transport_ops {
    uint32_t abi;       /* RBK_TRANSPORT_ABI */
    const char *scheme; /* "https", "wss" */
    /* MUST. */
    int (*open)(const rbk_transport_env *env, rbk_transport **ret, rbk_error *err);
    /* MUST. Ends attempts under way with RBK_E_CLOSED, then frees. */
    void (*close)(rbk_transport *t);
    /* MUST. */
    void (*send)(rbk_transport *t, rbk_attempt *a);
} rbk_transport_ops;

#ifdef __cplusplus
}
#endif
#endif
