/* SPDX-License-Identifier: Apache-2.0 */
/* server/tokens.c - see tokens.h. */
#include "server/tokens.h"

#include "base/error.h"
#include "base/secret.h"

int rbk_tokens_read(const char *path, rbk_callers **ret, rbk_error *err)
{
    rbk_buf text;
    int r = rbk_secret_read_max(path, RBK_CALLERS_FILE_MAX, &text, err);
    if (r == 0)
        r = rbk_callers_read(path, rbk_buf_view(&text), ret, err);
    rbk_secret_free(&text);
    return r;
}

static size_t count_tokens(const rbk_callers *c)
{
    size_t n = 0;
    for (size_t i = 0; i < rbk_callers_count(c); i++)
        n += rbk_callers_at(c, i)->n_hashes;
    return n;
}

int rbk_tokens_use(rbk_engine *e, const rbk_options *o, rbk_callers *read, const rbk_log *log,
                   rbk_error *err)
{
    rbk_callers *callers = read, *old = rbk_engine_callers(e);
    rbk_error what = {0};
    bool in_use = old != NULL;
    rbk_callers_unref(old);
    if (o->tokens_file[0] == 0)
        return in_use ? rbk_fail(err, RBK_E_CONFIG,
                                 "auth.tokens_file: goes away only with a new start")
                      : 0;
    int r = callers ? 0 : rbk_tokens_read(o->tokens_file, &callers, &what);
    if (r < 0)
        return rbk_fail(err, r, "auth.tokens_file: %s", what.detail);
    rbk_event(log, RBK_INFO, "auth.tokens", RBK_F("callers", rbk_callers_count(callers)),
              RBK_F("tokens", count_tokens(callers)));
    rbk_engine_use_callers(e, callers);
    return 0;
}
