/* SPDX-License-Identifier: Apache-2.0 */
/* app/settings.c - settings of a command: a file, the environment, --set. One thread. */
#include "app/app.h"

#include "base/error.h"

#include <stdlib.h>
#include <unistd.h>

int rbk_settings_add(rbk_settings *s, int flag, const char *value)
{
    if (flag == RBK_FLAG_CONFIG) {
        if (s->file) {
            rbk_usage("--config is given twice");
            return RBK_E_CONFIG;
        }
        s->file = value;
        return 0;
    }
    const char **sets = realloc(s->sets, (s->n_sets + 1) * sizeof *sets);
    if (sets == NULL) {
        rbk_failed(RBK_E_NOMEM, "out of memory");
        return RBK_E_NOMEM;
    }
    s->sets = sets;
    sets[s->n_sets++] = value;
    return 0;
}

/* The key of a rule may hold "=" between its quotes. */
static const char *find_equals(const char *text)
{
    bool quoted = false;
    for (; *text; text++) {
        if (*text == '"')
            quoted = !quoted;
        if (*text == '=' && !quoted)
            return text;
    }
    return NULL;
}

static int apply(rbk_options *o, const char *text, rbk_error *err)
{
    const char *eq = find_equals(text);
    rbk_error what = {0};
    if (eq == NULL)
        return rbk_fail(err, RBK_E_CONFIG, "--set: '%.200s' is not section.key=value", text);
    int r = rbk_options_set(o, (rbk_str){text, (size_t)(eq - text)}, rbk_str_z(eq + 1), &what);
    if (r < 0)
        rbk_fail(err, r, "--set: %s", what.detail);
    return r;
}

rbk_options *rbk_settings_load(const rbk_settings *s, rbk_error *err)
{
    rbk_options *o = rbk_options_new();
    int r = o ? 0 : rbk_fail(err, RBK_E_NOMEM, "out of memory");
    if (r == 0 && s->file)
        r = rbk_options_load(o, s->file, err);
    if (r == 0)
        r = rbk_options_env(o, environ, err);
    for (size_t i = 0; r == 0 && i < s->n_sets; i++)
        r = apply(o, s->sets[i], err);
    if (r == 0)
        r = rbk_options_check(o, err);
    if (r == 0)
        return o;
    rbk_options_free(o);
    return NULL;
}

void rbk_settings_free(rbk_settings *s)
{
    free(s->sets);
    *s = (rbk_settings){0};
}
