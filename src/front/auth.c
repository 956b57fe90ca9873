/* SPDX-License-Identifier: Apache-2.0 */
/* front/auth.c - see auth.h. A token is never logged, nor a piece of it. */
#include "front/auth.h"

enum { TOKEN_MAX = 512 };

/* The one header of that name. NULL, or why there is none. */
static const char *find_header(const rbk_http_header *h, size_t n, rbk_str *ret)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        if (rbk_str_ieqz(h[i].name, "authorization")) {
            *ret = h[i].value;
            found++;
        }
    return found == 0 ? "no token" : found > 1 ? "malformed" : NULL;
}

static bool is_token_text(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return s.n > 0 && s.n <= TOKEN_MAX;
}

/* NULL, or why there is none. */
static const char *find_token(const rbk_http_header *h, size_t n, rbk_str *ret)
{
    static const char scheme[] = "bearer ";
    rbk_str value = RBK_STR_NONE;
    const char *why = find_header(h, n, &value);
    size_t k = sizeof scheme - 1;
    if (why)
        return why;
    if (value.n <= k || !rbk_str_ieqz((rbk_str){value.p, k}, scheme))
        return "malformed";
    *ret = rbk_str_trim((rbk_str){value.p + k, value.n - k});
    return is_token_text(*ret) ? NULL : "malformed";
}

static int refuse(rbk_auth *a, const char *peer, const char *why)
{
    uint64_t more;
    if (rbk_seldom_now(&a->lines, &more))
        rbk_event(a->log, RBK_WARN, "auth.refused", RBK_FZ("peer", peer), RBK_FZ("reason", why),
                  RBK_F("more", more));
    return 401;
}

int rbk_auth_check(rbk_auth *a, const rbk_http_header *headers, size_t n, const char *peer,
                   rbk_auth_pass *ret)
{
    rbk_str token = RBK_STR_NONE;
    rbk_callers *callers = rbk_engine_callers(a->e);
    const char *why = callers ? find_token(headers, n, &token) : NULL;
    const rbk_caller *caller = callers && !why ? rbk_callers_by_token(callers, token) : NULL;
    if (callers && caller == NULL) {
        rbk_callers_unref(callers);
        return refuse(a, peer, why ? why : "unknown");
    }
    *ret = (rbk_auth_pass){callers, caller};
    return 0;
}

void rbk_auth_done(rbk_auth_pass *pass)
{
    rbk_callers_unref(pass->callers);
    *pass = (rbk_auth_pass){NULL, NULL};
}

rbk_str rbk_auth_name(const rbk_auth_pass *pass)
{
    return pass->caller ? rbk_str_z(pass->caller->name) : RBK_STR_NONE;
}
