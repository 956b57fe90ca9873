/* SPDX-License-Identifier: Apache-2.0 */
/* front/http_front.h - JSON-RPC over HTTP and websockets: one loop a core, all on the same addresses. */
#ifndef RBK_FRONT_HTTP_FRONT_H
#define RBK_FRONT_HTTP_FRONT_H

#include "engine/engine.h"
#include "front/limits.h"
#include "front/listeners.h"
#include "net/tls.h"

typedef struct rbk_http_front rbk_http_front;

typedef struct rbk_http_front_conf {
    rbk_str listen; /* comma-separated: net/listen.h */
    unsigned socket_mode;
    rbk_str path;   /* "/api" */
    size_t threads;
    size_t max_body;
    unsigned max_connections, max_shed;
    rbk_limits_conf limits;
    rbk_tls *tls; /* all of TCP speak it; NULL: plain. Outlives the front */
    unsigned max_sockets; /* websockets among the connections; 0: there are none */
    int64_t ping_ms;      /* as in rbk_ws_front_conf */
    const rbk_log *log;
} rbk_http_front_conf;

/* Bind the addresses; nobody is answered yet. The conf's strings outlive the front.
 * RBK_E_CONFIG, RBK_E_SYS with the address in `err`; RBK_E_NOMEM. */
int rbk_http_front_new(const rbk_http_front_conf *conf, rbk_http_front **ret, rbk_error *err);
/* The addresses that it got, for the policy of callbacks. Returns how many. */
size_t rbk_http_front_listeners(const rbk_http_front *f, rbk_own_listener *ret, size_t max);
void rbk_http_front_log(const rbk_http_front *f); /* an event for each */
/* Of the i-th place; 0: there is none, or it has no port. */
uint16_t rbk_http_front_port(const rbk_http_front *f, size_t i);

int rbk_http_front_start(rbk_http_front *f, rbk_engine *e, rbk_error *err);
/* Accept no more; answers that are owed go out. */
void rbk_http_front_drain(rbk_http_front *f);
/* Connections that are open. */
size_t rbk_http_front_open(rbk_http_front *f);
/* The numbers of all loops together. Any thread. */
void rbk_http_front_metrics(const rbk_http_front *f, rbk_front_metrics *ret);
/* Close all, end the loops. Every exchange must have been answered. */
void rbk_http_front_stop(rbk_http_front *f);
void rbk_http_front_free(rbk_http_front *f);

#endif
