/* SPDX-License-Identifier: Apache-2.0 */
/* seam/methods.c - see methods.h.
 *
 * A map for the exact names and patterns, a list of all entries, and the patterns in force in
 * the order in which they are asked. Look-ups share a lock that only a change of the rules
 * takes alone. */
#include "seam/methods.h"

#include "base/error.h"
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>

struct rbk_methods {
    pthread_rwlock_t lock;
    rbk_map *by_name;
    rbk_method_entry **list;
    size_t n;
    rbk_method_entry **globs; /* in force, the first that fits counts */
    size_t n_globs;
    rbk_map *described; /* what files say of methods; or NULL */
    atomic_size_t n_schemas; /* of params; 0: nothing is to be checked */
    atomic_uint_fast64_t version;
    struct text *texts; /* of settings; they stay, as entries do, since calls read them */
};

struct text {
    struct text *next;
    char z[];
};

rbk_handler *rbk_handler_new(rbk_method_fn fn, void *user)
{
    rbk_handler *h = malloc(sizeof *h);
    if (h == NULL)
        return NULL;
    h->fn = fn;
    h->user = user;
    atomic_init(&h->refs, 1);
    return h;
}

rbk_handler *rbk_handler_ref(rbk_handler *h)
{
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    return h;
}

void rbk_handler_unref(rbk_handler *h)
{
    if (h && atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) == 1)
        free(h);
}

rbk_methods *rbk_methods_new(void)
{
    rbk_methods *m = calloc(1, sizeof *m);
    if (m == NULL || (m->by_name = rbk_map_new()) == NULL) {
        free(m);
        return NULL;
    }
    pthread_rwlock_init(&m->lock, NULL);
    return m;
}

static void free_entry(rbk_method_entry *e)
{
    if (e == NULL)
        return;
    rbk_handler_unref(e->own);
    rbk_handler_unref(e->provider);
    rbk_about_unref(e->about);
    free(e);
}

static void let_go(rbk_str key, void *value, void *user)
{
    (void)key;
    (void)user;
    rbk_about_unref(value);
}

static void free_described(rbk_map *described)
{
    if (described)
        rbk_map_each(described, let_go, NULL);
    rbk_map_free(described);
}

void rbk_methods_free(rbk_methods *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n; i++)
        free_entry(m->list[i]);
    while (m->texts) {
        struct text *t = m->texts;
        m->texts = t->next;
        free(t);
    }
    free(m->list);
    free(m->globs);
    free_described(m->described);
    rbk_map_free(m->by_name);
    pthread_rwlock_destroy(&m->lock);
    free(m);
}

/* --- Entries ---------------------------------------------------------------------------- */

/* The entry and its lane's name are one block: "run:<name>" ends with the name. */
static rbk_method_entry *make_entry(rbk_str name)
{
    size_t lane_n = name.n + 4;
    rbk_method_entry *e = calloc(1, sizeof *e + lane_n + 1);
    if (e == NULL)
        return NULL;
    char *lane = (char *)(e + 1);
    memcpy(lane, "run:", 4);
    memcpy(lane + 4, name.p, name.n);
    e->lane = (rbk_str){lane, lane_n};
    e->name = (rbk_str){lane + 4, name.n};
    e->literal = strcspn(lane + 4, "*");
    e->glob = e->literal < name.n;
    return e;
}

/* Takes the entry. */
static int keep_entry(rbk_methods *m, rbk_method_entry *e)
{
    rbk_method_entry **list = e ? realloc(m->list, (m->n + 1) * sizeof *list) : NULL;
    if (list)
        m->list = list;
    if (list == NULL || rbk_map_put(m->by_name, e->name, e, NULL) < 0) {
        free_entry(e);
        return RBK_E_NOMEM;
    }
    e->index = m->n;
    m->list[m->n++] = e;
    return 0;
}

static rbk_str text_of(const char *z)
{
    return z ? rbk_str_z(z) : RBK_STR_NONE;
}

static int describe_function(rbk_methods *m, rbk_method_entry *e, const rbk_method *method,
                             rbk_error *err)
{
    rbk_about_spec spec = {.name = e->name,
                           .description = text_of(method->description),
                           .params = text_of(method->params_schema),
                           .result = text_of(method->result_schema)};
    if (!spec.description.p && !spec.params.p && !spec.result.p)
        return 0;
    int r = rbk_about_new(&spec, &e->about, err);
    if (r == 0 && e->about->params)
        atomic_fetch_add(&m->n_schemas, 1);
    return r;
}

static int add_function(rbk_methods *m, const rbk_method *method, rbk_str name, const char *module,
                        rbk_error *err)
{
    rbk_method_entry *e = make_entry(name);
    if (e == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "no memory");
    e->module = module;
    e->flags = method->flags;
    e->own = rbk_handler_new(method->fn, method->user);
    int r = e->own ? describe_function(m, e, method, err) : rbk_fail(err, RBK_E_NOMEM, "no memory");
    if (r < 0) {
        free_entry(e);
        return r;
    }
    atomic_fetch_add(&m->version, 1);
    return keep_entry(m, e) < 0 ? rbk_fail(err, RBK_E_NOMEM, "no memory") : 0;
}

int rbk_methods_add(rbk_methods *m, const rbk_method *method, const char *module, rbk_error *err)
{
    if (method == NULL || method->name == NULL || method->fn == NULL)
        return rbk_fail(err, RBK_E_INVAL, "it has no name, or no function");
    rbk_str name = rbk_str_z(method->name);
    if (name.n == 0 || name.n > RBK_METHOD_NAME_MAX || rbk_str_starts(name, RBK_STR("rpc.")))
        return rbk_fail(err, RBK_E_INVAL, "its name is empty, reserved or too long");
    pthread_rwlock_wrlock(&m->lock);
    int r = rbk_map_get(m->by_name, name)
                ? rbk_fail(err, RBK_E_STATE, "another one has this name")
                : add_function(m, method, name, module, err);
    pthread_rwlock_unlock(&m->lock);
    return r;
}

void rbk_methods_hide(rbk_methods *m, size_t i, bool hide)
{
    pthread_rwlock_wrlock(&m->lock);
    m->list[i]->hidden = hide;
    atomic_fetch_add(&m->version, 1);
    pthread_rwlock_unlock(&m->lock);
}

/* --- Rules ------------------------------------------------------------------------------ */

bool rbk_method_fits(const char *pattern, rbk_str name)
{
    const char *star = NULL;
    size_t i = 0, back = 0;
    while (i < name.n) {
        if (*pattern == '*') {
            star = ++pattern;
            back = i;
        } else if (*pattern == name.p[i] && *pattern) {
            pattern++, i++;
        } else if (star) {
            pattern = star;
            i = ++back;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == 0;
}

/* The registry's own copy, one of each; NULL when there is none. */
static const char *find_text(const rbk_methods *m, const char *z)
{
    for (const struct text *t = m->texts; z && t; t = t->next)
        if (strcmp(t->z, z) == 0)
            return t->z;
    return NULL;
}

static int keep_text(rbk_methods *m, const char *z)
{
    if (z == NULL || *z == 0 || find_text(m, z))
        return 0;
    size_t n = strlen(z) + 1;
    struct text *t = malloc(sizeof *t + n);
    if (t == NULL)
        return RBK_E_NOMEM;
    memcpy(t->z, z, n);
    t->next = m->texts;
    m->texts = t;
    return 0;
}

/* Everything that may fail: an entry for each pattern, and room for those with a `*`. */
static int make_room(rbk_methods *m, const rbk_method_setup *rules, size_t n, size_t *ret_at)
{
    for (size_t i = 0; i < n; i++) {
        rbk_str name = rbk_str_z(rules[i].pattern);
        const rbk_method_entry *e = rbk_map_get(m->by_name, name);
        *ret_at = i;
        if (e && e->own && rules[i].provider)
            return RBK_E_STATE;
        if ((e == NULL && keep_entry(m, make_entry(name)) < 0) ||
            keep_text(m, rules[i].set.forward) < 0)
            return RBK_E_NOMEM;
    }
    rbk_method_entry **globs = realloc(m->globs, (n + 1) * sizeof *globs);
    if (globs == NULL)
        return RBK_E_NOMEM;
    m->globs = globs;
    return 0;
}

static void set_entry(const rbk_methods *m, rbk_method_entry *e, const rbk_method_settings *set)
{
    atomic_store(&e->timeout_ms, set->timeout_ms);
    atomic_store(&e->concurrency, set->concurrency);
    atomic_store(&e->once, set->once);
    atomic_store(&e->forward, find_text(m, set->forward));
}

/* Longer literal prefixes before shorter ones; equal ones as they come. */
static void insert_glob(rbk_methods *m, rbk_method_entry *e)
{
    size_t at = m->n_globs++;
    for (; at > 0 && m->globs[at - 1]->literal < e->literal; at--)
        m->globs[at] = m->globs[at - 1];
    m->globs[at] = e;
}

static void put_rule(rbk_methods *m, const rbk_method_setup *rule)
{
    rbk_method_entry *e = rbk_map_get(m->by_name, rbk_str_z(rule->pattern));
    if (!e->ruled && e->glob)
        insert_glob(m, e);
    e->ruled = true;
    rbk_handler_unref(e->provider);
    e->provider = rule->provider ? rbk_handler_ref(rule->provider) : NULL;
    set_entry(m, e, &rule->set);
}

static bool fits(const rbk_method_entry *glob, rbk_str name)
{
    return rbk_method_fits(glob->name.p, name) && !rbk_str_starts(name, RBK_STR("rpc."));
}

static rbk_method_entry *first_glob(const rbk_methods *m, rbk_str name)
{
    for (size_t i = 0; i < m->n_globs; i++)
        if (fits(m->globs[i], name))
            return m->globs[i];
    return NULL;
}

/* C functions that no rule names take their settings from the first pattern that fits. */
static void settle_functions(rbk_methods *m)
{
    for (size_t i = 0; i < m->n; i++) {
        rbk_method_entry *e = m->list[i];
        const rbk_method_entry *g = e->own && !e->ruled ? first_glob(m, e->name) : NULL;
        rbk_method_settings set = {0};
        if (g)
            set = (rbk_method_settings){.timeout_ms = atomic_load(&g->timeout_ms),
                                        .concurrency = atomic_load(&g->concurrency),
                                        .once = atomic_load(&g->once),
                                        .forward = atomic_load(&g->forward)};
        if (e->own && !e->ruled)
            set_entry(m, e, &set);
    }
}

int rbk_methods_use(rbk_methods *m, const rbk_method_setup *rules, size_t n, size_t *ret_at)
{
    pthread_rwlock_wrlock(&m->lock);
    int r = make_room(m, rules, n, ret_at);
    if (r == 0) {
        m->n_globs = 0;
        for (size_t i = 0; i < m->n; i++) {
            m->list[i]->ruled = false;
            rbk_handler_unref(m->list[i]->provider);
            m->list[i]->provider = NULL;
        }
        for (size_t i = 0; i < n; i++)
            put_rule(m, &rules[i]);
        settle_functions(m);
        atomic_fetch_add(&m->version, 1);
    }
    pthread_rwlock_unlock(&m->lock);
    return r;
}

/* --- Look-up ---------------------------------------------------------------------------- */

/* With the lock held. The pool, and what runs its calls; NULL: nothing does. */
static rbk_method_entry *look(const rbk_methods *m, rbk_str name, rbk_handler **ret_handler)
{
    rbk_method_entry *e = rbk_map_get(m->by_name, name), *pool = NULL;
    rbk_handler *h = NULL;
    if (e && (!e->glob || e->own)) {
        bool own = e->own && !e->hidden;
        h = own ? e->own : e->ruled ? e->provider : NULL;
        pool = own || e->ruled ? e : NULL;
    }
    for (size_t i = 0; h == NULL && i < m->n_globs; i++) {
        if (!fits(m->globs[i], name))
            continue;
        h = m->globs[i]->provider;
        if (pool == NULL)
            pool = m->globs[i];
    }
    *ret_handler = h;
    return h ? pool : NULL;
}

const rbk_method_entry *rbk_methods_find(rbk_methods *m, rbk_str name)
{
    rbk_handler *h = NULL;
    pthread_rwlock_rdlock(&m->lock);
    const rbk_method_entry *e = look(m, name, &h);
    pthread_rwlock_unlock(&m->lock);
    return e;
}

rbk_handler *rbk_methods_handler(rbk_methods *m, rbk_str name)
{
    rbk_handler *h = NULL;
    pthread_rwlock_rdlock(&m->lock);
    if (look(m, name, &h))
        rbk_handler_ref(h);
    pthread_rwlock_unlock(&m->lock);
    return h;
}

size_t rbk_methods_count(rbk_methods *m)
{
    pthread_rwlock_rdlock(&m->lock);
    size_t n = m->n;
    pthread_rwlock_unlock(&m->lock);
    return n;
}

const rbk_method_entry *rbk_methods_at(rbk_methods *m, size_t i)
{
    pthread_rwlock_rdlock(&m->lock);
    const rbk_method_entry *e = i < m->n ? m->list[i] : NULL;
    pthread_rwlock_unlock(&m->lock);
    return e;
}

/* --- Descriptions ------------------------------------------------------------------------- */

static void count_schema(rbk_str key, void *value, void *user)
{
    (void)key;
    size_t *n = user;
    *n += ((const rbk_about *)value)->params != NULL;
}

int rbk_methods_describe(rbk_methods *m, rbk_about *const *list, size_t n)
{
    rbk_map *fresh = rbk_map_new(), *old = fresh;
    int r = fresh ? 0 : RBK_E_NOMEM;
    for (size_t i = 0; r == 0 && i < n; i++) {
        rbk_about *before = rbk_map_get(fresh, list[i]->name);
        r = rbk_map_put(fresh, list[i]->name, list[i], NULL);
        if (r == 0) {
            rbk_about_ref(list[i]);
            rbk_about_unref(before);
        }
    }
    if (r == 0) {
        pthread_rwlock_wrlock(&m->lock);
        size_t schemas = 0;
        for (size_t i = 0; i < m->n; i++)
            schemas += m->list[i]->about && m->list[i]->about->params;
        rbk_map_each(fresh, count_schema, &schemas);
        old = m->described;
        m->described = fresh;
        atomic_store(&m->n_schemas, schemas);
        atomic_fetch_add(&m->version, 1);
        pthread_rwlock_unlock(&m->lock);
    }
    free_described(old);
    return r;
}

/* With the lock held. A function's own words count where it runs, unless a file has others. */
static const rbk_about *about(const rbk_methods *m, rbk_str name)
{
    const rbk_about *said = m->described ? rbk_map_get(m->described, name) : NULL;
    const rbk_method_entry *e = said ? NULL : rbk_map_get(m->by_name, name);
    return said ? said : e && e->own && !e->hidden ? e->about : NULL;
}

bool rbk_methods_fit(rbk_methods *m, rbk_str name, rbk_str params, rbk_schema_fault *ret)
{
    if (atomic_load_explicit(&m->n_schemas, memory_order_relaxed) == 0)
        return true;
    pthread_rwlock_rdlock(&m->lock);
    const rbk_about *a = about(m, name);
    bool fits = a == NULL || a->params == NULL || rbk_schema_fits(a->params, params, ret);
    pthread_rwlock_unlock(&m->lock);
    return fits;
}

typedef struct showing {
    const rbk_methods *m;
    rbk_shown_fn fn;
    void *user;
} showing;

static void show_described(rbk_str key, void *value, void *user)
{
    const showing *s = user;
    rbk_handler *h;
    if (look(s->m, key, &h))
        s->fn(s->user, key, value, false);
}

void rbk_methods_show(rbk_methods *m, rbk_shown_fn fn, void *user)
{
    rbk_handler *h;
    showing s = {m, fn, user};
    pthread_rwlock_rdlock(&m->lock);
    if (m->described)
        rbk_map_each(m->described, show_described, &s);
    for (size_t i = 0; i < m->n; i++) {
        const rbk_method_entry *e = m->list[i];
        bool named = m->described && rbk_map_get(m->described, e->name);
        if (e->glob && !e->own) {
            if (e->ruled && e->provider)
                fn(user, e->name, NULL, true);
        } else if (!named && look(m, e->name, &h)) {
            fn(user, e->name, e->own && !e->hidden ? e->about : NULL, false);
        }
    }
    pthread_rwlock_unlock(&m->lock);
}

uint64_t rbk_methods_version(const rbk_methods *m)
{
    return atomic_load(&m->version);
}
