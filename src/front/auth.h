/* SPDX-License-Identifier: Apache-2.0 */
/* front/auth.h - whose request is this? For every front; asks the engine's table of callers. Any
 * thread. */
#ifndef RBK_FRONT_AUTH_H
#define RBK_FRONT_AUTH_H

#include "base/seldom.h"
#include "engine/engine.h"
#include "net/http.h"

typedef struct rbk_auth {
    rbk_engine *e;
    const rbk_log *log;
    rbk_seldom lines; /* about refused requests */
} rbk_auth;

/* What a request is let in with. */
typedef struct rbk_auth_pass {
    rbk_callers *callers;     /* a reference; NULL: tokens are not in use, everybody may come in */
    const rbk_caller *caller; /* of that table; NULL with it */
} rbk_auth_pass;

/* Asks for `Authorization: Bearer <token>` (RFC 6750 section 2.1), once. 0 and `ret` is filled;
 * or 401, which is logged. */
int rbk_auth_check(rbk_auth *a, const rbk_http_header *headers, size_t n, const char *peer,
                   rbk_auth_pass *ret);
void rbk_auth_done(rbk_auth_pass *pass);

/* The name that the engine knows the caller by; absent: anonymous. Valid until rbk_auth_done(). */
rbk_str rbk_auth_name(const rbk_auth_pass *pass);

#endif
