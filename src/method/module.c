/* SPDX-License-Identifier: Apache-2.0 */
/* method/module.c - loads a shared object and takes the methods it offers.
 *
 * A module offers what it has; the configuration decides which of it is wanted, so two
 * sections may name one module. */
#include "method/module.h"

#include "base/error.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct loaded {
    struct loaded *next;
    char *path;
    void *handle;
} loaded;

struct rbk_modules {
    rbk_methods *into;
    rbk_module_want_fn want;
    void *user;
    loaded *list;
};

/* What the init function sees: the methods and the first fault among them. */
struct rbk_module {
    rbk_modules *all;
    const char *path;
    rbk_error *err;
    int fault;
    size_t added;
    char offered[200]; /* names that nobody wants, as far as they fit */
};

rbk_modules *rbk_modules_new(rbk_methods *into, rbk_module_want_fn want, void *user)
{
    rbk_modules *m = calloc(1, sizeof *m);
    if (m)
        *m = (rbk_modules){.into = into, .want = want, .user = user};
    return m;
}

unsigned rbk_module_abi(const rbk_module *m)
{
    (void)m;
    return RBK_MODULE_ABI;
}

static void note_offer(rbk_module *m, const char *name)
{
    size_t n = strlen(m->offered), need = n + strlen(name) + sizeof ", ...";
    if (need < sizeof m->offered)
        snprintf(m->offered + n, sizeof m->offered - n, "%s%s", n ? ", " : "", name);
    else if (n + sizeof ", ..." <= sizeof m->offered && (n < 3 || strcmp(m->offered + n - 3, "...") != 0))
        snprintf(m->offered + n, sizeof m->offered - n, "%s...", n ? ", " : "");
}

static int refuse_abi(rbk_module *m, unsigned abi)
{
    return m->fault = rbk_fail(m->err, RBK_E_CONFIG,
                               "module %s: it was built for module ABI %u, this is ringback with %d: "
                               "build it again", m->path, abi, RBK_MODULE_ABI);
}

#undef rbk_module_method
int rbk_module_method(rbk_module *m, const rbk_method *method)
{
    (void)method;
    return refuse_abi(m, 1);
}

int rbk_module_add(rbk_module *m, const rbk_method *method, unsigned abi)
{
    if (abi != RBK_MODULE_ABI)
        return refuse_abi(m, abi);
    if (method == NULL || method->name == NULL)
        return m->fault = rbk_fail(m->err, RBK_E_CONFIG, "module %s: a method without a name", m->path);
    if (!m->all->want(m->all->user, m->path, rbk_str_z(method->name))) {
        note_offer(m, method->name);
        return 0;
    }
    rbk_error why = {0};
    int r = rbk_methods_add(m->all->into, method, m->path, &why);
    if (r < 0)
        return m->fault = rbk_fail(m->err, r == RBK_E_NOMEM ? r : RBK_E_CONFIG, "module %s: method %s: %s",
                                   m->path, method->name, why.detail);
    m->added++;
    return 0;
}

static bool is_loaded(const rbk_modules *m, const char *path)
{
    for (const loaded *l = m->list; l; l = l->next)
        if (strcmp(l->path, path) == 0)
            return true;
    return false;
}

static int run_init(rbk_modules *m, const char *path, void *handle, rbk_error *err)
{
    /* POSIX's way to turn the object pointer of dlsym into a function pointer. */
    rbk_module_init_fn init = NULL;
    void *sym = dlsym(handle, "ringback_module_init");
    if (sym == NULL)
        return rbk_fail(err, RBK_E_CONFIG, "module %s: it has no ringback_module_init", path);
    memcpy(&init, &sym, sizeof init);
    rbk_module view = {.all = m, .path = path, .err = err};
    int r = init(&view);
    if (view.fault < 0)
        return view.fault;
    if (r < 0)
        return rbk_fail(err, RBK_E_CONFIG, "module %s: ringback_module_init gave %d", path, r);
    if (view.added == 0 && view.offered[0] == 0)
        return rbk_fail(err, RBK_E_CONFIG, "module %s: it offers no methods", path);
    if (view.added == 0)
        return rbk_fail(err, RBK_E_CONFIG, "module %s: none of its methods (%s) matches the section",
                        path, view.offered);
    return 0;
}

/* A FIFO or a device could hold dlopen() for ever. A name without a slash is looked for
 * elsewhere, and what is not there dlopen() says best. */
static bool may_be_module(const char *path)
{
    struct stat st;
    return strchr(path, '/') == NULL || stat(path, &st) < 0 || S_ISREG(st.st_mode);
}

/* dlerror() mostly begins with the path, which we have said already. */
static int fail_open(const char *path, rbk_error *err)
{
    const char *why = dlerror();
    size_t n = strlen(path);
    if (why && strncmp(why, path, n) == 0 && strncmp(why + n, ": ", 2) == 0)
        why += n + 2;
    if (strchr(path, '/') == NULL)
        return rbk_fail(err, RBK_E_CONFIG, "module %s: %s; a file of this folder is written ./%s", path,
                        why ? why : "cannot be loaded", path);
    return rbk_fail(err, RBK_E_CONFIG, "module %s: %s", path, why ? why : "cannot be loaded");
}

int rbk_modules_load(rbk_modules *m, const char *path, rbk_error *err)
{
    if (is_loaded(m, path))
        return 0;
    if (!may_be_module(path))
        return rbk_fail(err, RBK_E_CONFIG, "module %s: it is not a regular file", path);
    loaded *l = calloc(1, sizeof *l);
    if (l == NULL || (l->path = strdup(path)) == NULL) {
        free(l);
        return rbk_fail(err, RBK_E_NOMEM, "module %s", path);
    }
    l->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (l->handle == NULL) {
        free(l->path);
        free(l);
        return fail_open(path, err);
    }
    l->next = m->list;
    m->list = l;
    return run_init(m, l->path, l->handle, err);
}

void rbk_modules_free(rbk_modules *m)
{
    if (m == NULL)
        return;
    while (m->list) {
        loaded *l = m->list;
        m->list = l->next;
        dlclose(l->handle);
        free(l->path);
        free(l);
    }
    free(m);
}
