/* SPDX-License-Identifier: Apache-2.0 */
/* server/own.h - the addresses and ports that this process listens on, so that no callback
 * reaches them (core/netpolicy.h). One thread at a time. */
#ifndef RBK_SERVER_OWN_H
#define RBK_SERVER_OWN_H

#include "core/netpolicy.h"

enum { RBK_OWN_MAX = 4096 };

typedef struct rbk_own {
    rbk_own_listener *list;
    size_t n;
} rbk_own;

/* One more listener. One on any address counts for every address that the interfaces of the
 * machine have now. RBK_E_NOMEM, RBK_E_SYS, RBK_E_CONFIG (more than RBK_OWN_MAX). */
int rbk_own_add(rbk_own *own, const rbk_own_listener *l, rbk_error *err);
/* The same from "127.0.0.1:7600", "[::1]:7600", ":7600"; another text adds nothing. */
int rbk_own_add_text(rbk_own *own, rbk_str text, rbk_error *err);
void rbk_own_free(rbk_own *own);

#endif
