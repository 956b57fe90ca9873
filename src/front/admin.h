/* SPDX-License-Identifier: Apache-2.0 */
/* front/admin.h - the operators' side: health, metrics, and JSON-RPC over jobs and receivers.
 *
 * A listener of its own, on one loop of its own: what an operator asks never waits behind
 * callers, and no caller reaches it. */
#ifndef RBK_FRONT_ADMIN_H
#define RBK_FRONT_ADMIN_H

#include "engine/engine.h"
#include "front/http_front.h"
#include "front/listeners.h"

typedef struct rbk_admin_front rbk_admin_front;

typedef struct rbk_admin_front_conf {
    rbk_str listen; /* comma-separated: net/listen.h; empty: none */
    unsigned socket_mode;
    bool few_files; /* a handful of connections must do */
    const rbk_log *log;
} rbk_admin_front_conf;

enum { RBK_ADMIN_TOKEN_MIN = 16, RBK_ADMIN_TOKEN_MAX = 1024 };

/* Bind the addresses. RBK_E_CONFIG, RBK_E_SYS with the key and the address in `err`;
 * RBK_E_NOMEM. */
int rbk_admin_front_new(const rbk_admin_front_conf *conf, rbk_admin_front **ret, rbk_error *err);
size_t rbk_admin_front_listeners(const rbk_admin_front *f, rbk_own_listener *ret, size_t max);
void rbk_admin_front_log(const rbk_admin_front *f); /* an event for each */
/* From now on requests must carry this token; only its hash is kept. Any thread. */
void rbk_admin_front_use_token(rbk_admin_front *f, rbk_str token);
bool rbk_admin_front_has_token(const rbk_admin_front *f); /* any thread */
/* Show the numbers of this front too, which outlives ours. Before the start. */
void rbk_admin_front_show(rbk_admin_front *f, const rbk_http_front *front);
int rbk_admin_front_start(rbk_admin_front *f, rbk_engine *e, rbk_error *err);
/* The engine is about to end: it is not asked for what it cannot answer any more. Health and
 * metrics are served on. */
void rbk_admin_front_ending(rbk_admin_front *f);
/* Behind rbk_engine_stop(), when every question has been answered. */
void rbk_admin_front_stop(rbk_admin_front *f);
void rbk_admin_front_free(rbk_admin_front *f); /* NULL is legal */

#endif
