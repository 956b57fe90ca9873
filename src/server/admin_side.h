/* SPDX-License-Identifier: Apache-2.0 */
/* server/admin_side.h - the operators' listener of a server, from its options. One thread. */
#ifndef RBK_SERVER_ADMIN_SIDE_H
#define RBK_SERVER_ADMIN_SIDE_H

#include "front/admin.h"
#include "server/options.h"

/* Bind what admin.listen names, and read the token. The options and the log outlive it.
 * RBK_E_CONFIG, RBK_E_SYS, RBK_E_NOMEM with the key in `err`. */
int rbk_admin_side_new(const rbk_options *o, const rbk_log *log, bool few_files,
                       rbk_admin_front **ret, rbk_error *err);
/* Read the token's file again. After a fault the old token stays, and `err` tells. */
int rbk_admin_side_reload(rbk_admin_front *f, const rbk_options *o, rbk_error *err);

#endif
