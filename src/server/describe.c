/* SPDX-License-Identifier: Apache-2.0 */
/* server/describe.c - see describe.h. */
#include "server/describe.h"

#include "base/error.h"
#include "core/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct file {
    const char *path;
    const rbk_method_rule *rule;
    rbk_buf text; /* NUL behind it */
    rbk_arena arena;
    rbk_described *into;
    rbk_error *err;
} file;

static int fail(const file *f, int code, const char *what)
{
    return rbk_fail(f->err, code, "method.\"%s\".describe: %s: %s", f->rule->pattern, f->path, what);
}

static int fail_method(const file *f, rbk_str name, const char *what)
{
    return rbk_fail(f->err, RBK_E_CONFIG, "method.\"%s\".describe: %s: %.*s: %s", f->rule->pattern,
                    f->path, (int)(name.n < 100 ? name.n : 100), name.p, what);
}

static int read_file(file *f)
{
    char block[16384];
    struct stat st;
    size_t n;
    FILE *in = stat(f->path, &st) < 0 || S_ISREG(st.st_mode) ? fopen(f->path, "re") : NULL;
    if (in == NULL)
        return fail(f, RBK_E_CONFIG, errno ? strerror(errno) : "it is not a regular file");
    while ((n = fread(block, 1, sizeof block, in)) > 0)
        rbk_buf_add(&f->text, block, n);
    bool broken = ferror(in) != 0;
    fclose(in);
    rbk_buf_c(&f->text, 0);
    if (f->text.err)
        return f->text.err == RBK_E_NOMEM ? fail(f, RBK_E_NOMEM, "no memory")
                                          : fail(f, RBK_E_CONFIG, "it is larger than 1M");
    f->text.n--;
    return broken ? fail(f, RBK_E_CONFIG, "it cannot be read") : 0;
}

static int read_member(file *f, rbk_about_spec *spec, rbk_str key, rbk_str value)
{
    if (rbk_str_eqz(key, "params")) {
        spec->params = value;
    } else if (rbk_str_eqz(key, "result")) {
        spec->result = value;
    } else if (rbk_str_eqz(key, "description") && value.p[0] == '"') {
        spec->description = rbk_json_unescape(&f->arena, rbk_json_unquote(value));
        if (spec->description.p == NULL)
            return fail(f, RBK_E_NOMEM, "no memory");
    } else {
        return fail_method(f, spec->name, "it may have `description` (a string), `params` and `result`");
    }
    return 0;
}

static int keep(const file *f, rbk_about *a)
{
    rbk_described *d = f->into;
    rbk_about **list = d->n % 64 ? d->list : realloc(d->list, (d->n + 64) * sizeof(rbk_about *));
    if (list == NULL) {
        rbk_about_unref(a);
        return fail(f, RBK_E_NOMEM, "no memory");
    }
    d->list = list;
    d->list[d->n++] = a;
    return 0;
}

static bool is_there(const rbk_described *d, rbk_str name)
{
    for (size_t i = 0; i < d->n; i++)
        if (rbk_str_eq(d->list[i]->name, name))
            return true;
    return false;
}

/* `value` describes the method `name`. */
static int read_method(file *f, rbk_str name, rbk_str value)
{
    rbk_about_spec spec = {.name = name};
    rbk_about *a = NULL;
    rbk_error why = {0};
    rbk_str key;
    if (name.n == 0 || name.n > RBK_METHOD_NAME_MAX || !rbk_method_fits(f->rule->pattern, name))
        return fail_method(f, name, "it is no name of this section");
    if (value.p[0] != '{')
        return fail_method(f, name, "it must be an object");
    if (f->into->n == RBK_DESCRIBED_MAX)
        return fail(f, RBK_E_CONFIG, "more than 10000 methods are described");
    if (is_there(f->into, name))
        return fail_method(f, name, "it is described twice");
    for (const char *p = value.p; rbk_json_member(&p, &key);) {
        rbk_str v = rbk_json_value(&p);
        int r = read_member(f, &spec, key, v);
        if (r < 0)
            return r;
    }
    int r = rbk_about_new(&spec, &a, &why);
    if (r < 0)
        return r == RBK_E_CONFIG ? fail_method(f, name, why.detail) : fail(f, r, "no memory");
    return keep(f, a);
}

static int read_methods(file *f)
{
    rbk_json_top top = {0};
    rbk_str raw;
    int r = rbk_json_validate(rbk_buf_view(&f->text), NULL, &top);
    if (r == RBK_E_NOMEM)
        return fail(f, r, "no memory");
    if (r < 0 || !top.object)
        return fail(f, RBK_E_CONFIG, "it is not a JSON object");
    for (const char *p = rbk_json_blanks(f->text.p); r == 0 && rbk_json_member(&p, &raw);) {
        rbk_str value = rbk_json_value(&p);
        rbk_str name = rbk_json_unescape(&f->arena, raw);
        r = name.p ? read_method(f, name, value) : fail(f, RBK_E_NOMEM, "no memory");
    }
    return r;
}

int rbk_describe(const rbk_options *o, rbk_described *ret, rbk_error *err)
{
    int r = 0;
    *ret = (rbk_described){0};
    for (size_t i = 0; r == 0 && i < o->n_rules; i++) {
        const rbk_method_rule *rule = &o->rules[i];
        file f = {.path = rule->describe, .rule = rule, .text = RBK_BUF(RBK_DESCRIBE_FILE_MAX + 1),
                  .arena = RBK_ARENA(2 * RBK_DESCRIBE_FILE_MAX + 65536), .into = ret, .err = err};
        if (rule->describe == NULL || rule->describe[0] == 0)
            continue;
        errno = 0;
        r = read_file(&f);
        if (r == 0)
            r = read_methods(&f);
        rbk_buf_free(&f.text);
        rbk_arena_free(&f.arena);
    }
    if (r < 0)
        rbk_described_free(ret);
    return r;
}

void rbk_described_free(rbk_described *d)
{
    for (size_t i = 0; i < d->n; i++)
        rbk_about_unref(d->list[i]);
    free(d->list);
    *d = (rbk_described){0};
}
