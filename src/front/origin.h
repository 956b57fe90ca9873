/* SPDX-License-Identifier: Apache-2.0 */
/* front/origin.h - what browsers can be talked into, and may not: a page under a name that was
 * rebound to our address shows in Host, a page of another site in Origin (RFC 6454; Fetch
 * standard, "CORS protocol").
 *
 * Never changed once made, counted: any thread. */
#ifndef RBK_FRONT_ORIGIN_H
#define RBK_FRONT_ORIGIN_H

#include "base/error.h"
#include "net/http_server.h"

typedef struct rbk_origins rbk_origins;

typedef struct rbk_origins_conf {
    /* What a Host may be, comma-separated globs: "api.example, *.example.org:8443"; an item
     * without a port takes any. Empty: see rbk_origins_door. */
    rbk_str hosts;
    bool asks_clients; /* for certificates, wherever it is not a Unix socket */
    /* Origins that may call, each as browsers write it: "https://app.example,
     * http://localhost:3000". Empty: none. */
    rbk_str origins;
} rbk_origins_conf;

/* Where a request came in. */
typedef enum rbk_origins_door {
    RBK_DOOR_UNIX,     /* a name leads no browser here: Host is not looked at */
    RBK_DOOR_LOOPBACK, /* without a list of hosts, and where no client must say who it is, only
                          those that name this machine to itself: localhost, 127.0.0.0/8, [::1] */
    RBK_DOOR_OTHER     /* without a list of hosts any */
} rbk_origins_door;

/* 0; RBK_E_CONFIG with "server.hosts" or "server.origins" and the item in `err`; RBK_E_NOMEM. */
int rbk_origins_new(const rbk_origins_conf *conf, rbk_origins **ret, rbk_error *err);
rbk_origins *rbk_origins_ref(rbk_origins *o);
void rbk_origins_unref(rbk_origins *o); /* NULL is legal */

/* May the request come in? 0, and where its origin is one that may call, every answer to it will
 * say so; or 403, with the reason in `rq->why` and the header value that was wrong in `ret_value`. */
int rbk_origins_check(const rbk_origins *o, rbk_origins_door door, rbk_http_request *rq,
                      rbk_str *ret_value);
/* Is it the question of a browser whether a page may call (a preflight)? Only after a check. */
bool rbk_origins_asked(const rbk_http_request *rq);
/* The answer to it: `methods` is what may be called, static text. */
void rbk_origins_reply(rbk_http_request *rq, const char *methods);

#endif
