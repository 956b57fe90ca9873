/* SPDX-License-Identifier: Apache-2.0 */
/* method/upstream.h - methods that a JSON-RPC server behind HTTP runs.
 *
 * rbk_upstream_call() is the function of such a method: it hands the call to a loop thread of the
 * upstream and returns. Each call is one POST over a kept connection; thousands may be in flight
 * on the one thread. The upstream is the operator's: no callback policy is asked about it. */
#ifndef RBK_METHOD_UPSTREAM_H
#define RBK_METHOD_UPSTREAM_H

#include "base/log.h"
#include "core/dsn.h"
#include "net/connect.h"
#include "ringback.h"

enum { RBK_UPSTREAM_URL_MAX = 2048, RBK_UPSTREAM_TOKEN_MAX = 4096 };

/* Where an upstream is. Points into itself: not to be copied. */
typedef struct rbk_upstream_url {
    bool tls;
    uint16_t port;
    char path[RBK_PATH_MAX + 1]; /* of a Unix socket; empty: none */
    char text[RBK_UPSTREAM_URL_MAX + 32];
    rbk_dsn dsn;                 /* host and target; of a Unix socket the host is "localhost" */
} rbk_upstream_url;

/* http://host[:port]/path, https://…; http+unix://%2Frun%2Fapp.sock/path or
 * http+unix:/run/app.sock:/path. NULL, or what is wrong with it (static text). Pure. */
const char *rbk_upstream_url_parse(rbk_str text, rbk_upstream_url *ret);

typedef struct rbk_upstream rbk_upstream;

/* Strings are copied. 0 takes the default. */
typedef struct rbk_upstream_conf {
    const char *url;
    const char *token_file;  /* its one line goes as `Authorization: Bearer`; NULL: none */
    const char *ca_file;     /* PEM, trusted besides the system's; NULL: none */
    const char *name_servers; /* "127.0.0.1:5353,…"; NULL: the system's */
    int64_t connect_ms;      /* for look-up, connection and TLS together at most twice that (5 s) */
    size_t connections;      /* most at one time, each with one call; more calls wait (4,096) */
    int64_t idle_ms;         /* a connection is closed after that long unused (4 s) */
    size_t max_result;       /* a longer result is answered -32008 (1 MiB) */
} rbk_upstream_conf;

/* Starts the loop thread; the upstream itself is asked nothing yet. `log` outlives it. 0;
 * RBK_E_CONFIG with what is wrong in `err`, RBK_E_NOMEM, RBK_E_SYS. */
int rbk_upstream_new(const rbk_upstream_conf *conf, const rbk_log *log, rbk_upstream **ret,
                     rbk_error *err);
/* An rbk_method_fn; `user` is the rbk_upstream. Never blocks; any thread. */
void rbk_upstream_call(rbk_call *call, void *user);
/* Take no call any more, wait for those under way for `grace_ms` at most, let go of the rest,
 * end the thread. Any thread but its own; once. */
void rbk_upstream_stop(rbk_upstream *u, int64_t grace_ms);
void rbk_upstream_free(rbk_upstream *u); /* stops first, without grace; NULL is legal */

#endif
