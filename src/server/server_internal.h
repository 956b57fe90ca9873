/* SPDX-License-Identifier: Apache-2.0 */
/* server/server_internal.h - what the program `ringback` may do beyond the public API. */
#ifndef RBK_SERVER_SERVER_INTERNAL_H
#define RBK_SERVER_SERVER_INTERNAL_H

#include "ringback.h"
#include "server/options.h"

struct rbk_engine;

/* Use these options in place of the server's own; takes them. RBK_E_STATE after start. */
int rbk_server_use_options(rbk_server *s, rbk_options *o);

/* Read the files of keys again and sign with what they hold. After a fault the old keys
 * stay, and `err` tells. RBK_E_STATE unless it runs. */
int rbk_server_reload_keys(rbk_server *s, rbk_error *err);

/* The same for admin.token_file. */
int rbk_server_reload_token(rbk_server *s, rbk_error *err);

/* The engine of a server that runs, for what engine/admin.h offers. */
struct rbk_engine *rbk_server_engine(rbk_server *s);

#endif
