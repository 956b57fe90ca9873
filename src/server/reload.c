/* SPDX-License-Identifier: Apache-2.0 */
/* server/reload.c - settings, certificates, keys and tokens anew while the server runs.
 *
 * What may fail is made first, and only then takes the place of the old: after a fault the
 * old goes on, and one line says why. The four kinds do not wait for one another: a fault in
 * the settings keeps no new token away. The thread that owns the server runs this. */
#include "server/server_impl.h"

#include "base/error.h"
#include "engine/engine.h"
#include "server/admin_side.h"
#include "server/tls_side.h"
#include "server/tokens.h"

static void use_tls(rbk_server *s, rbk_tls *tls)
{
    if (tls)
        rbk_tls_server_take(s->tls, tls);
    rbk_tls_side_log(s->tls, s->options, &s->log);
}

/* The same files again: what is in them may be new. */
static int reload_tls(rbk_server *s, rbk_error *err)
{
    rbk_tls *tls = NULL;
    int r = rbk_tls_side_reload(s->options, s->tls, &tls, err);
    if (r == 0)
        use_tls(s, tls);
    return r;
}

/* What will hold is a mixture: the new settings that can change, beside the old ones that cannot.
 * An address that only a new start gives up must not lose its last guard before. */
static int check_mixture(rbk_server *s, rbk_options *fresh, rbk_error *err)
{
    rbk_error what = {0};
    rbk_options_take(s->options, fresh);
    int r = rbk_options_check(s->options, &what);
    rbk_options_take(s->options, fresh); /* both are as they were */
    return r < 0 ? rbk_fail(err, r, "beside what changes only with a new start: %s", what.detail) : 0;
}

/* Everything that may fail is made first. *ret_callers gets the callers, for whom it is not time yet; or
 * NULL. */
static int reload_options(rbk_server *s, rbk_options *fresh, rbk_callers **ret_callers, rbk_error *err)
{
    rbk_netpolicy *policy = NULL;
    rbk_tls *tls = NULL;
    rbk_origins *origins = NULL;
    rbk_callers *callers = NULL;
    rbk_buf fixed = RBK_BUF(4096);
    int r = rbk_options_check(fresh, err);
    if (r == 0)
        r = check_mixture(s, fresh, err);
    if (r == 0)
        r = rbk_options_check_files(fresh, &callers, err);
    if (r == 0)
        r = rbk_tls_side_reload(fresh, s->tls, &tls, err);
    if (r == 0)
        r = rbk_server_make_policy(s, fresh, &policy, err);
    if (r == 0)
        r = rbk_options_origins(fresh, &origins, err);
    if (r == 0)
        rbk_files_bound_calls(&s->files, fresh);
    if (r == 0)
        r = rbk_providers_use(s->providers, fresh, err);
    if (r < 0) {
        rbk_netpolicy_unref(policy);
        rbk_tls_free(tls);
        rbk_origins_unref(origins);
        rbk_callers_unref(callers);
        return r;
    }
    *ret_callers = callers;
    rbk_options_take(s->options, fresh);
    rbk_engine_use_policy(s->engine, policy);
    use_tls(s, tls);
    rbk_http_front_use_origins(s->front, origins);
    rbk_options_fixed(s->options, fresh, &fixed);
    rbk_event(&s->log, RBK_INFO, "config.reloaded", RBK_F("restart", fixed.n > 0));
    if (fixed.n)
        rbk_event(&s->log, RBK_WARN, "config.needs_restart", RBK_FS("keys", rbk_buf_view(&fixed)));
    rbk_providers_log(s->providers, s->options);
    s->log.level = (rbk_level)s->options->log_level; /* after the lines that say so */
    rbk_buf_free(&fixed);
    return 0;
}

/* After a fault the old keys go on signing. */
static int reload_keys(rbk_server *s, rbk_error *err)
{
    rbk_sign_keys *keys = NULL;
    int r = rbk_signing_load(&s->signing, &keys, err);
    if (r == 0)
        rbk_server_use_keys(s, keys);
    return r;
}

int rbk_server_reload(rbk_server *s, rbk_server *fresh)
{
    rbk_error err = {0}, key_err = {0}, token_err = {0}, auth_err = {0};
    rbk_callers *callers = NULL;
    if (!s->running || (fresh && (fresh->tried || fresh == s)))
        return rbk_server_keep(s, RBK_E_STATE, &err);
    int r = fresh ? reload_options(s, fresh->options, &callers, &err) : reload_tls(s, &err);
    if (fresh)
        fresh->tried = true; /* its settings are used up */
    if (r < 0)
        rbk_event(&s->log, RBK_ERROR, "config.refused", RBK_FZ("detail", err.detail));
    int k = reload_keys(s, &key_err);
    if (k < 0)
        rbk_event(&s->log, RBK_ERROR, "signing.refused", RBK_FZ("detail", key_err.detail));
    int t = rbk_admin_side_reload(s->admin, s->options, &token_err);
    if (t < 0)
        rbk_event(&s->log, RBK_ERROR, "admin.token_refused", RBK_FZ("detail", token_err.detail));
    int a = rbk_tokens_use(s->engine, s->options, callers, &s->log, &auth_err);
    if (a < 0 && r == 0) /* else a line says so already */
        rbk_event(&s->log, RBK_ERROR, "auth.tokens_refused", RBK_FZ("detail", auth_err.detail));
    if (r < 0)
        return rbk_server_keep(s, r, &err);
    if (a < 0)
        return rbk_server_keep(s, a, &auth_err);
    return k < 0 ? rbk_server_keep(s, k, &key_err) : rbk_server_keep(s, t, &token_err);
}
