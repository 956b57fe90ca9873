/* SPDX-License-Identifier: Apache-2.0 */
/* server/provided.c - see provided.h.
 *
 * What a provider was made from is kept as text: its kind's rows of the table of options. Old
 * ones are ended by a thread, for that may take as long as their longest call. */
#include "server/provided.h"

#include "base/error.h"
#include "method/upstream.h"
#include "method/worker.h"
#include "server/options_impl.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { LOOK_EVERY_MS = 50 };

typedef struct kind {
    const char *name; /* of the option that names it; others of it begin with that */
    int (*make)(const rbk_options *o, const rbk_method_rule *rule, const rbk_log *log, void **ret,
                rbk_error *err);
    rbk_method_fn call;
    void (*close)(void *self); /* begins a stop without grace; NULL: a stop takes no time */
    void (*stop)(void *self, int64_t grace_ms);
    void (*free)(void *self);
    int64_t (*room)(const rbk_method_rule *rule);
} kind;

typedef struct provider {
    struct provider *next;
    const kind *kind;
    char *text;
    void *self;
    rbk_handler *handler;
    bool taken; /* since the last keep */
    bool fresh; /* made since then */
} provider;

struct rbk_provided {
    const rbk_log *log;
    provider *list;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    provider *old;
    bool ending;
    pthread_t thread;
    bool started;
};

/* --- The kinds ---------------------------------------------------------------------------- */

static int make_upstream(const rbk_options *o, const rbk_method_rule *rule, const rbk_log *log,
                         void **ret, rbk_error *err)
{
    rbk_upstream *u = NULL;
    rbk_upstream_conf conf = {.url = rule->upstream,
                              .token_file = rule->upstream_token_file,
                              .ca_file = rule->upstream_ca_file,
                              .name_servers = o->name_servers[0] ? o->name_servers : NULL,
                              .connect_ms = rule->upstream_connect_ms,
                              .connections = (size_t)rule->upstream_connections,
                              .idle_ms = rule->upstream_idle_ms,
                              .max_result = (size_t)o->max_result};
    int r = rbk_upstream_new(&conf, log, &u, err);
    *ret = u;
    return r;
}

static void stop_upstream(void *self, int64_t grace_ms)
{
    rbk_upstream_stop(self, grace_ms);
}

static void free_upstream(void *self)
{
    rbk_upstream_free(self);
}

static int64_t room_of_upstream(const rbk_method_rule *rule)
{
    return rule->upstream_connections;
}

static int make_workers(const rbk_options *o, const rbk_method_rule *rule, const rbk_log *log,
                        void **ret, rbk_error *err)
{
    rbk_workers *w = NULL;
    rbk_workers_conf conf = {.command = rule->worker,
                             .name = rule->pattern,
                             .workers = (size_t)rule->workers,
                             .pipelining = (size_t)rule->pipelining,
                             .retries = (unsigned)rule->retries,
                             .max_result = (size_t)o->max_result,
                             .memory = rule->worker_memory,
                             .cpu_s = (rule->worker_cpu_ms + 999) / 1000,
                             .files = rule->worker_files};
    int r = rbk_workers_new(&conf, log, &w, err);
    *ret = w;
    return r;
}

static void close_workers(void *self)
{
    rbk_workers_close(self, 0);
}

static void stop_workers(void *self, int64_t grace_ms)
{
    rbk_workers_stop(self, grace_ms);
}

static void free_workers(void *self)
{
    rbk_workers_free(self);
}

static int64_t room_of_workers(const rbk_method_rule *rule)
{
    return rule->workers * rule->pipelining;
}

static const kind upstreams = {"upstream", make_upstream, rbk_upstream_call, NULL,
                               stop_upstream, free_upstream, room_of_upstream};
static const kind workers = {"worker", make_workers, rbk_workers_call, close_workers,
                             stop_workers, free_workers, room_of_workers};

static const kind *kind_of(const rbk_method_rule *rule)
{
    return rule->upstream ? &upstreams : rule->worker ? &workers : NULL;
}

const char *rbk_provided_kind(const rbk_method_rule *rule)
{
    const kind *k = kind_of(rule);
    return k ? k->name : NULL;
}

/* A file that was replaced or written to makes another provider: SIGHUP takes a new token. */
static void add_file(rbk_buf *b, const char *path)
{
    struct stat st;
    if (path && stat(path, &st) == 0)
        rbk_buf_addf(b, "%s %llu %lld %lld.%09ld\n", path, (unsigned long long)st.st_ino,
                     (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* Everything that makes the provider what it is; NULL when memory is out. */
static char *text_of(const rbk_options *o, const rbk_method_rule *rule)
{
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_buf_addf(&b, "%s\n%lld\n%s\n", rule->pattern, (long long)o->max_result, o->name_servers);
    for (const rbk_option *opt = rbk_option_rule_table; opt->name; opt++)
        if (opt->provider) {
            rbk_buf_addf(&b, "%s=", opt->name);
            rbk_option_print(opt, rule, &b);
            rbk_buf_c(&b, '\n');
        }
    add_file(&b, rule->upstream_token_file);
    add_file(&b, rule->upstream_ca_file);
    rbk_buf_c(&b, 0);
    if (b.err)
        rbk_buf_free(&b);
    return b.p;
}

/* --- One provider ------------------------------------------------------------------------- */

static void free_provider(provider *v)
{
    if (v == NULL)
        return;
    if (v->self)
        v->kind->free(v->self);
    rbk_handler_unref(v->handler);
    free(v->text);
    free(v);
}

static int make_provider(const rbk_provided *p, const rbk_options *o, const rbk_method_rule *rule,
                         provider **ret, rbk_error *err)
{
    provider *v = calloc(1, sizeof *v);
    if (v == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "a provider");
    v->kind = kind_of(rule);
    v->text = text_of(o, rule);
    int r = v->text ? v->kind->make(o, rule, p->log, &v->self, err)
                    : rbk_fail(err, RBK_E_NOMEM, "a provider");
    if (r == 0 && (v->handler = rbk_handler_new(v->kind->call, v->self)) == NULL)
        r = rbk_fail(err, RBK_E_NOMEM, "a provider");
    if (r < 0) {
        free_provider(v);
        return r;
    }
    v->fresh = true;
    *ret = v;
    return 0;
}

/* Nobody but us holds it: neither the registry nor a call. */
static bool is_idle(const provider *v)
{
    return atomic_load(&v->handler->refs) == 1;
}

/* --- Those that were replaced --------------------------------------------------------------- */

static provider *take_idle(rbk_provided *p)
{
    for (provider **at = &p->old; *at; at = &(*at)->next) {
        provider *v = *at;
        if (p->ending || is_idle(v)) {
            *at = v->next;
            return v;
        }
    }
    return NULL;
}

static void *end_old_ones(void *arg)
{
    rbk_provided *p = arg;
    pthread_setname_np(pthread_self(), "rbk-provided");
    pthread_mutex_lock(&p->lock);
    for (;;) {
        provider *v = take_idle(p);
        if (v) {
            pthread_mutex_unlock(&p->lock);
            free_provider(v); /* which stops it */
            pthread_mutex_lock(&p->lock);
        } else if (p->ending) {
            break;
        } else if (p->old == NULL) {
            pthread_cond_wait(&p->wake, &p->lock);
        } else {
            struct timespec t;
            clock_gettime(CLOCK_MONOTONIC, &t);
            t.tv_nsec += LOOK_EVERY_MS * 1000000L;
            if (t.tv_nsec >= 1000000000L)
                t.tv_sec++, t.tv_nsec -= 1000000000L;
            pthread_cond_timedwait(&p->wake, &p->lock, &t);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Without a thread it ends at once: its calls are let go of. */
static void retire(rbk_provided *p, provider *v)
{
    pthread_mutex_lock(&p->lock);
    if (!p->started)
        p->started = pthread_create(&p->thread, NULL, end_old_ones, p) == 0;
    bool later = p->started;
    if (later) {
        v->next = p->old;
        p->old = v;
        pthread_cond_signal(&p->wake);
    }
    pthread_mutex_unlock(&p->lock);
    if (!later)
        free_provider(v);
}

/* --- All of them ---------------------------------------------------------------------------- */

rbk_provided *rbk_provided_new(const rbk_log *log)
{
    rbk_provided *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->log = log;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, &attr);
    pthread_condattr_destroy(&attr);
    return p;
}

static int find_or_make(rbk_provided *p, const rbk_options *o, const rbk_method_rule *rule,
                        provider **ret, rbk_error *err)
{
    char *text = text_of(o, rule);
    if (text == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "a provider");
    provider *v = p->list;
    while (v && (v->kind != kind_of(rule) || strcmp(v->text, text) != 0))
        v = v->next;
    free(text);
    int r = v ? 0 : make_provider(p, o, rule, &v, err);
    if (r < 0)
        return r;
    if (v->fresh && !v->taken) {
        v->next = p->list;
        p->list = v;
    }
    v->taken = true;
    *ret = v;
    return 0;
}

int rbk_provided_take(rbk_provided *p, const rbk_options *o, const rbk_method_rule *rule,
                      rbk_method_setup *setup, rbk_error *err)
{
    provider *v = NULL;
    if (kind_of(rule) == NULL) {
        const rbk_method_rule *runs = rbk_options_provider(o, rbk_str_z(rule->pattern));
        if (runs && kind_of(runs) && setup->set.concurrency == 0)
            setup->set.concurrency = (unsigned)kind_of(runs)->room(runs);
        return 0;
    }
    int r = find_or_make(p, o, rule, &v, err);
    if (r < 0)
        return r;
    setup->provider = v->handler;
    if (setup->set.concurrency == 0)
        setup->set.concurrency = (unsigned)v->kind->room(rule);
    return 0;
}

void rbk_provided_keep(rbk_provided *p, bool undo)
{
    for (provider **at = &p->list; *at;) {
        provider *v = *at;
        bool go = undo ? v->fresh : !v->taken;
        v->taken = v->fresh = false;
        if (go) {
            *at = v->next;
            retire(p, v);
        } else {
            at = &v->next;
        }
    }
}

void rbk_provided_stop(rbk_provided *p)
{
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    bool started = p->started;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    if (started)
        pthread_join(p->thread, NULL);
    p->started = false;
    for (provider *v = p->list; v; v = v->next) /* stubborn ones all at once */
        if (v->self && v->kind->close)
            v->kind->close(v->self);
    for (provider *v = p->list; v; v = v->next) {
        if (v->self == NULL)
            continue;
        v->kind->stop(v->self, 0);
        v->kind->free(v->self);
        v->self = NULL;
    }
}

void rbk_provided_free(rbk_provided *p)
{
    if (p == NULL)
        return;
    rbk_provided_stop(p);
    while (p->list) {
        provider *v = p->list;
        p->list = v->next;
        free_provider(v);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
