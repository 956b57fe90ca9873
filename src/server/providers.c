/* SPDX-License-Identifier: Apache-2.0 */
/* server/providers.c - see providers.h.
 *
 * Modules are loaded once and stay: a section that goes hides its functions, one that comes
 * back shows them again. */
#include "server/providers.h"

#include "base/error.h"
#include "core/dsn.h"
#include "method/module.h"
#include "server/describe.h"
#include "server/provided.h"

#include <stdlib.h>

struct rbk_providers {
    rbk_methods *methods;
    rbk_modules *modules;
    rbk_provided *provided;
    const rbk_log *log;
    const rbk_options *options; /* while they are taken */
};

static bool is_wanted(void *user, const char *path, rbk_str name)
{
    const rbk_providers *p = user;
    const rbk_method_rule *rule = rbk_options_provider(p->options, name);
    if (rule == NULL || rule->module == NULL)
        rbk_event(p->log, RBK_INFO, "module.unused", RBK_FS("method", name), RBK_FZ("module", path));
    return rule && rule->module && strcmp(rule->module, path) == 0;
}

rbk_providers *rbk_providers_new(rbk_methods *methods, const rbk_log *log)
{
    rbk_providers *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    *p = (rbk_providers){.methods = methods, .log = log};
    p->modules = rbk_modules_new(methods, is_wanted, p);
    p->provided = rbk_provided_new(log);
    if (p->modules == NULL || p->provided == NULL) {
        rbk_providers_free(p);
        return NULL;
    }
    return p;
}

static int load_modules(rbk_providers *p, const rbk_options *o, rbk_error *err)
{
    int r = 0;
    p->options = o;
    for (size_t i = 0; r == 0 && i < o->n_rules; i++)
        if (o->rules[i].module)
            r = rbk_modules_load(p->modules, o->rules[i].module, err);
    p->options = NULL;
    return r;
}

/* Functions of a module are there as long as their section names it. */
static void show_functions(rbk_providers *p, const rbk_options *o)
{
    for (size_t i = 0; i < rbk_methods_count(p->methods); i++) {
        const rbk_method_entry *e = rbk_methods_at(p->methods, i);
        const rbk_method_rule *rule = e->module ? rbk_options_provider(o, e->name) : NULL;
        if (e->module)
            rbk_methods_hide(p->methods, i,
                             rule == NULL || rule->module == NULL ||
                                 strcmp(rule->module, e->module) != 0);
    }
}

static rbk_method_settings settings_of(const rbk_method_rule *rule)
{
    return (rbk_method_settings){.timeout_ms = rule->timeout_ms,
                                 .concurrency = (unsigned)rule->concurrency,
                                 .once = rule->once != 0,
                                 .forward = rule->forward_headers};
}

/* Each rule with what runs its calls. */
static int set_up(rbk_providers *p, const rbk_options *o, rbk_method_setup *rules, rbk_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < o->n_rules; i++) {
        rules[i] = (rbk_method_setup){.pattern = o->rules[i].pattern,
                                      .set = settings_of(&o->rules[i])};
        r = rbk_provided_take(p->provided, o, &o->rules[i], &rules[i], err);
    }
    return r;
}

int rbk_providers_use(rbk_providers *p, const rbk_options *o, rbk_error *err)
{
    rbk_method_setup *rules = calloc(o->n_rules + 1, sizeof *rules);
    size_t at = 0;
    if (rules == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "methods");
    rbk_described said = {0};
    int r = load_modules(p, o, err);
    if (r == 0)
        r = rbk_describe(o, &said, err);
    if (r == 0)
        r = set_up(p, o, rules, err);
    if (r == 0 && (r = rbk_methods_use(p->methods, rules, o->n_rules, &at)) == RBK_E_STATE)
        r = rbk_fail(err, RBK_E_CONFIG, "method.\"%s\".%s: a C function has this name",
                     o->rules[at].pattern, rbk_provided_kind(&o->rules[at]));
    else if (r < 0 && err->detail[0] == 0)
        rbk_fail(err, r, "methods");
    if (r == 0)
        show_functions(p, o);
    rbk_provided_keep(p->provided, r < 0);
    if (r == 0 && (r = rbk_methods_describe(p->methods, said.list, said.n)) < 0)
        rbk_fail(err, r, "descriptions");
    rbk_described_free(&said);
    free(rules);
    return r;
}

/* A header that lets whoever has it act as the caller. */
static void warn_of_secrets(const rbk_providers *p, const rbk_method_rule *rule)
{
    rbk_str list = rbk_str_z(rule->forward_headers), name;
    while (rbk_list_next(&list, &name))
        if (rbk_str_ieqz(name, "authorization") || rbk_str_ieqz(name, "cookie"))
            rbk_event(p->log, RBK_WARN, "server.forwards_secret", RBK_FZ("method", rule->pattern),
                      RBK_FS("header", name));
}

void rbk_providers_log(const rbk_providers *p, const rbk_options *o)
{
    size_t n = 0;
    for (size_t i = 0; i < o->n_rules; i++)
        warn_of_secrets(p, &o->rules[i]);
    for (size_t i = 0; i < rbk_methods_count(p->methods); i++) {
        const rbk_method_entry *e = rbk_methods_at(p->methods, i);
        if (rbk_methods_find(p->methods, e->name) != e)
            continue;
        const rbk_method_rule *rule = e->own ? NULL : rbk_options_provider(o, e->name);
        const char *kind = rule ? rbk_provided_kind(rule) : NULL;
        const char *from = e->module ? e->module : kind ? kind : "program";
        int64_t ms = atomic_load(&e->timeout_ms);
        rbk_event(p->log, RBK_INFO, "server.method", RBK_FS("name", e->name),
                  RBK_FZ("from", from),
                  RBK_F("timeout_ms", ms ? ms : o->method_ms),
                  RBK_F("concurrency", atomic_load(&e->concurrency)),
                  RBK_FZ("guarantee", atomic_load(&e->once) ? "at-most-once" : "at-least-once"));
        n++;
    }
    if (n == 0)
        rbk_event(p->log, RBK_WARN, "server.no_methods",
                  RBK_FZ("hint", "add a [method \"…\"] section with module=, worker= or upstream="));
}

void rbk_providers_stop(rbk_providers *p)
{
    rbk_provided_stop(p->provided);
}

void rbk_providers_free(rbk_providers *p)
{
    if (p == NULL)
        return;
    rbk_provided_free(p->provided);
    rbk_modules_free(p->modules);
    free(p);
}
