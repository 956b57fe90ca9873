/* SPDX-License-Identifier: Apache-2.0 */
/* server/server_impl.h - what server.c and reload.c share; nobody else includes it. */
#ifndef RBK_SERVER_SERVER_IMPL_H
#define RBK_SERVER_SERVER_IMPL_H

#include "base/log.h"
#include "front/admin.h"
#include "front/http_front.h"
#include "seam/methods.h"
#include "server/files.h"
#include "server/providers.h"
#include "server/server_internal.h"
#include "server/signing.h"

#include <stdatomic.h>

struct rbk_server {
    rbk_options *options;
    rbk_log log;
    rbk_log_fn log_fn;
    void *log_user;
    rbk_methods *methods;
    rbk_providers *providers;
    rbk_http_front *front;
    rbk_admin_front *admin;
    rbk_engine *engine;
    rbk_signing signing;
    rbk_tls *tls; /* of the front; NULL: plain */
    rbk_files files;
    bool tried;
    atomic_bool running;
    char error[512];
};

/* Returns `r`; a fault's text is what rbk_server_error() then says. */
int rbk_server_keep(rbk_server *s, int r, const rbk_error *err);

/* The policy that `o` asks for, with the addresses that this server listens on. */
int rbk_server_make_policy(const rbk_server *s, const rbk_options *o, rbk_netpolicy **ret,
                           rbk_error *err);

/* Sign with `keys` from now on; takes them. */
void rbk_server_use_keys(rbk_server *s, rbk_sign_keys *keys);

#endif
