/* SPDX-License-Identifier: Apache-2.0 */
/* seam/about.c - see about.h. The strings lie in the block of the description itself. */
#include "seam/about.h"

#include "base/error.h"
#include "core/rpc.h"

#include <stdlib.h>

static int check_result(rbk_str text, rbk_error *err)
{
    char c = text.n ? text.p[strspn(text.p, " \t\r\n")] : 0;
    if (text.p == NULL)
        return 0;
    if (text.n > RBK_SCHEMA_TEXT_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "result: it is larger than 64K");
    int r = rbk_json_check(text);
    if (r == RBK_E_NOMEM)
        return rbk_fail(err, r, "result");
    if (r < 0 || (c != '{' && c != 't' && c != 'f'))
        return rbk_fail(err, RBK_E_CONFIG, "result: it is no JSON Schema");
    return 0;
}

static int make_params(rbk_str text, rbk_schema **ret, rbk_error *err)
{
    rbk_error why = {0};
    if (text.p == NULL)
        return 0;
    int r = rbk_schema_new(text, ret, &why);
    return r < 0 ? rbk_fail(err, r, "params: %s", why.detail) : 0;
}

static rbk_str keep(char **at, rbk_str s)
{
    if (s.p == NULL)
        return RBK_STR_NONE;
    rbk_str mine = {*at, s.n};
    if (s.n)
        memcpy(*at, s.p, s.n);
    (*at)[s.n] = 0;
    *at += s.n + 1;
    return mine;
}

int rbk_about_new(const rbk_about_spec *spec, rbk_about **ret, rbk_error *err)
{
    rbk_schema *params = NULL;
    if (spec->description.n > RBK_ABOUT_TEXT_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "description: it is longer than 4096 bytes");
    int r = check_result(spec->result, err);
    if (r == 0)
        r = make_params(spec->params, &params, err);
    if (r < 0)
        return r;
    rbk_about *a = malloc(sizeof *a + spec->name.n + spec->description.n + spec->result.n + 3);
    if (a == NULL) {
        rbk_schema_free(params);
        return rbk_fail(err, RBK_E_NOMEM, "description");
    }
    char *at = (char *)(a + 1);
    a->name = keep(&at, spec->name);
    a->description = keep(&at, spec->description);
    a->result = keep(&at, spec->result);
    a->params = params;
    atomic_init(&a->refs, 1);
    *ret = a;
    return 0;
}

rbk_about *rbk_about_ref(rbk_about *a)
{
    atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
    return a;
}

void rbk_about_unref(rbk_about *a)
{
    if (a == NULL || atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
        return;
    rbk_schema_free(a->params);
    free(a);
}
