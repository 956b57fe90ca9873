/* SPDX-License-Identifier: Apache-2.0 */
/* server/tls_side.h - TLS of server.listen, as the options have it. One thread at a time. */
#ifndef RBK_SERVER_TLS_SIDE_H
#define RBK_SERVER_TLS_SIDE_H

#include "net/tls.h"
#include "server/options.h"

/* 0, and NULL in *ret where server.tls_cert is empty; RBK_E_CONFIG with the file in `err`. */
int rbk_tls_side_new(const rbk_options *o, rbk_tls **ret, rbk_error *err);
/* The same while `running` (NULL: without TLS) is used: TLS neither comes nor goes, since callers
 * rely on it. */
int rbk_tls_side_reload(const rbk_options *o, const rbk_tls *running, rbk_tls **ret, rbk_error *err);
/* Until when our certificate is good; with a warning where it is not. `t` may be NULL. */
void rbk_tls_side_log(rbk_tls *t, const rbk_options *o, const rbk_log *log);

#endif
