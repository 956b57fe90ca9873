/* SPDX-License-Identifier: Apache-2.0 */
/* server/server.c - the public rbk_server: options in, one engine and its front out.
 *
 * Start: load modules, bind addresses, make the policy (which must know the addresses),
 * open the store and recover, then answer. Stop goes the other way round. What changes while
 * it runs is in reload.c. One thread, but for the functions that ringback.h marks. */
#include "server/server_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "seam/stores.h"
#include "seam/transports.h"
#include "server/admin_side.h"
#include "server/own.h"
#include "server/proxy.h"
#include "server/tls_side.h"
#include "server/tokens.h"
#include "store/stores.h"
#include "transport/transports.h"
#include "transport/version.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static pthread_once_t backends_once = PTHREAD_ONCE_INIT;

static void add_backends(void)
{
    rbk_stores_add(&rbk_store_sqlite);
    rbk_stores_add(&rbk_store_memory);
    rbk_transports_add(&rbk_transport_https);
    rbk_transports_add(&rbk_transport_wss);
}

const char *rbk_version(void)
{
    return RBK_VERSION;
}

int rbk_server_keep(rbk_server *s, int r, const rbk_error *err)
{
    if (r < 0)
        snprintf(s->error, sizeof s->error, "%s",
                 err->detail[0] ? err->detail : rbk_strerror(r));
    return r;
}

rbk_server *rbk_server_new(void)
{
    pthread_once(&backends_once, add_backends);
    rbk_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->options = rbk_options_new();
    s->methods = rbk_methods_new();
    s->providers = s->methods ? rbk_providers_new(s->methods, &s->log) : NULL;
    /* Whoever embeds a server asks for a second port, or has none. */
    if (s->options == NULL || s->providers == NULL ||
        rbk_options_set(s->options, RBK_STR("admin.listen"), RBK_STR(""), NULL) < 0) {
        rbk_server_free(s);
        return NULL;
    }
    return s;
}

int rbk_server_set(rbk_server *s, const char *key, const char *value)
{
    rbk_error err = {0};
    if (s->tried)
        return rbk_server_keep(s, RBK_E_STATE, &err);
    int r = rbk_options_set(s->options, rbk_str_z(key), rbk_str_z(value), &err);
    return rbk_server_keep(s, r, &err);
}

int rbk_server_load(rbk_server *s, const char *path)
{
    rbk_error err = {0};
    if (s->tried)
        return rbk_server_keep(s, RBK_E_STATE, &err);
    return rbk_server_keep(s, rbk_options_load(s->options, path, &err), &err);
}

int rbk_server_use_options(rbk_server *s, rbk_options *o)
{
    rbk_error err = {0};
    if (s->tried)
        return rbk_server_keep(s, RBK_E_STATE, &err);
    rbk_options_free(s->options);
    s->options = o;
    return 0;
}

const char *rbk_server_error(const rbk_server *s)
{
    return s->error;
}

static void write_log(void *user, rbk_level level, const char *line, size_t n)
{
    const rbk_server *s = user;
    (void)n;
    s->log_fn(s->log_user, (rbk_log_level)level, line);
}

void rbk_server_log(rbk_server *s, rbk_log_fn fn, void *user)
{
    if (s->tried)
        return;
    s->log_fn = fn;
    s->log_user = user;
    s->log.write = fn ? write_log : NULL;
    s->log.user = s;
}

int rbk_server_method(rbk_server *s, const rbk_method *m)
{
    rbk_error err = {0};
    rbk_error why = {0};
    int r = s->tried ? rbk_fail(&why, RBK_E_STATE, "the server has started")
                     : rbk_methods_add(s->methods, m, NULL, &why);
    rbk_fail(&err, r, "method %s: %s", m && m->name ? m->name : "?", why.detail);
    return rbk_server_keep(s, r, &err);
}

/* --- Start --------------------------------------------------------------------------------- */

static size_t front_threads(const rbk_options *o)
{
    if (o->threads > 0)
        return (size_t)o->threads;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (size_t)cores : 1;
}

static size_t count_couriers(const rbk_options *o)
{
    size_t threads = front_threads(o);
    return threads > 1 ? threads / 2 : 1;
}

static int make_front(rbk_server *s, rbk_error *err)
{
    const rbk_options *o = s->options;
    rbk_origins *origins = NULL;
    int r = rbk_options_origins(o, &origins, err);
    if (r < 0)
        return r;
    r = rbk_http_front_new(
        &(rbk_http_front_conf){
            .listen = rbk_str_z(o->listen),
            .socket_mode = rbk_options_socket_mode(o),
            .path = rbk_str_z(o->path),
            .threads = front_threads(o),
            .max_body = (size_t)o->max_body,
            .max_connections = s->files.connections,
            .max_shed = s->files.shed,
            .limits = {
                .rate = rbk_options_rate(o),
                .per_address = (unsigned)o->client_connections,
                .exempt = rbk_str_z(o->exempt),
                .max_connections = s->files.connections,
                .log = &s->log,
            },
            .tls = s->tls,
            .origins = origins,
            .max_sockets = (unsigned)o->max_sockets,
            .ping_ms = o->ping_ms,
            .log = &s->log,
        },
        &s->front, err);
    rbk_origins_unref(origins);
    return r;
}

/* All addresses that callbacks must not reach because we listen there: each listener of
 * this process is added here. */
static int find_own(const rbk_server *s, rbk_own *own, rbk_error *err)
{
    rbk_own_listener bound[RBK_LISTENERS_MAX];
    size_t n = rbk_http_front_listeners(s->front, bound, RBK_LISTENERS_MAX);
    int r = 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = rbk_own_add(own, &bound[i], err);
    n = rbk_admin_front_listeners(s->admin, bound, RBK_LISTENERS_MAX);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = rbk_own_add(own, &bound[i], err);
    return r;
}

int rbk_server_make_policy(const rbk_server *s, const rbk_options *o, rbk_netpolicy **ret,
                           rbk_error *err)
{
    rbk_own own = {0};
    int r = find_own(s, &own, err);
    if (r == 0)
        r = rbk_netpolicy_new(
            &(rbk_netpolicy_conf){
                .schemes = rbk_str_z(o->schemes),
                .hosts = rbk_str_z(o->hosts),
                .allow = rbk_str_z(o->allow),
                .deny = rbk_str_z(o->deny),
                .ports = rbk_str_z(o->ports),
                .resolve_ms = o->resolve ? o->resolve_ms : 0,
            },
            own.list, own.n, ret, err);
    rbk_own_free(&own);
    return r;
}

static int make_engine(rbk_server *s, rbk_error *err)
{
    const rbk_options *o = s->options;
    rbk_engine_conf conf = {
        .limits = {.max_batch = (size_t)o->max_batch, .max_timeout_ms = o->max_timeout_ms},
        .max_body = (size_t)o->max_body,
        .max_result = (size_t)o->max_result,
        .store_dsn = o->store_dsn,
        .max_pending = o->max_pending,
        .max_pending_bytes = o->max_pending_bytes,
        .min_free = o->min_free,
        .keep = {.done_ms = o->retention_ms, .done_bytes = o->retention_bytes,
                 .dead_ms = o->retention_dead_ms, .idem_ms = o->dedup_ms},
        .dedup_ms = o->dedup_ms,
        .method_threads = (size_t)o->method_threads,
        .max_waiting = (size_t)o->max_waiting,
        .method_ms = o->method_ms,
        .max_timeout_ms = o->max_timeout_ms,
        .max_runs = (uint32_t)o->max_runs,
        .missing_ms = o->missing_ms,
        .connect_ms = o->connect_ms,
        .delivery_ms = o->delivery_ms,
        .in_flight = s->files.in_flight,
        .held = s->files.held,
        .dial_sockets = s->files.dial_sockets,
        .per_receiver = (size_t)o->per_receiver,
        .per_address = (size_t)o->per_address,
        .breaker = (unsigned)o->breaker,
        .http2 = o->http2,
        .couriers = count_couriers(o),
        .forward_headers = rbk_str_z(o->forward_headers),
        .tls = {.ca_file = o->ca_file && o->ca_file[0] ? o->ca_file : NULL,
                .ca_only = o->ca_only,
                .cert_file = o->client_cert && o->client_cert[0] ? o->client_cert : NULL,
                .key_file = o->client_key && o->client_key[0] ? o->client_key : NULL},
        .name_servers = o->name_servers[0] ? o->name_servers : NULL,
        .methods = s->methods,
        .log = &s->log,
    };
    int r = rbk_retry_parse(rbk_str_z(o->schedule), &conf.retry);
    if (r < 0)
        return rbk_fail(err, RBK_E_CONFIG, "delivery.schedule: %s", o->schedule);
    conf.retry.jitter = o->jitter;
    conf.retry.max_age_ms = o->max_age_ms;
    if ((r = rbk_proxy_find(rbk_str_z(o->proxy), &conf.proxy, err)) < 0)
        return r;
    return rbk_engine_new(&conf, &s->engine, err);
}

void rbk_server_use_keys(rbk_server *s, rbk_sign_keys *keys)
{
    size_t hmac = rbk_sign_keys_count(keys, RBK_SIGN_HMAC);
    size_t ed25519 = rbk_sign_keys_count(keys, RBK_SIGN_ED25519);
    rbk_engine_use_keys(s->engine, keys);
    rbk_event(&s->log, RBK_INFO, "signing.keys", RBK_F("hmac", hmac), RBK_F("ed25519", ed25519));
}

/* Behind the store's lock: two servers do not make one key file. */
static int make_keys(rbk_server *s, rbk_error *err)
{
    rbk_sign_keys *keys = NULL;
    int made = rbk_signing_open(&s->signing, s->options, rbk_engine_store_path(s->engine), err);
    int r = made < 0 ? made : rbk_signing_load(&s->signing, &keys, err);
    if (r < 0)
        return r;
    if (made)
        rbk_event(&s->log, RBK_INFO, "signing.key_made", RBK_FZ("file", s->signing.key_path));
    rbk_server_use_keys(s, keys);
    return 0;
}

static int start_all(rbk_server *s, rbk_error *err)
{
    rbk_netpolicy *policy = NULL;
    int r;
    if ((r = rbk_options_check(s->options, err)) < 0 ||
        (r = rbk_options_check_files(s->options, NULL, err)) < 0 ||
        (r = rbk_files_plan(s->options, front_threads(s->options), count_couriers(s->options),
                            &s->files, err)) < 0)
        return r;
    rbk_files_bound_calls(&s->files, s->options);
    if ((r = rbk_providers_use(s->providers, s->options, err)) < 0 ||
        (r = rbk_tls_side_new(s->options, &s->tls, err)) < 0 || (r = make_front(s, err)) < 0 ||
        (r = rbk_admin_side_new(s->options, &s->log, s->files.few, &s->admin, err)) < 0 ||
        (r = rbk_server_make_policy(s, s->options, &policy, err)) < 0)
        return r;
    r = make_engine(s, err);
    if (r < 0) {
        rbk_netpolicy_unref(policy);
        return r;
    }
    rbk_engine_use_policy(s->engine, policy);
    rbk_admin_front_show(s->admin, s->front);
    if ((r = make_keys(s, err)) < 0 ||
        (r = rbk_tokens_use(s->engine, s->options, NULL, &s->log, err)) < 0 ||
        (r = rbk_engine_start(s->engine, err)) < 0 ||
        (r = rbk_admin_front_start(s->admin, s->engine, err)) < 0)
        return r;
    return rbk_http_front_start(s->front, s->engine, err);
}

static void warn_of_few_files(const rbk_server *s)
{
    const rbk_files *f = &s->files;
    if (f->few)
        rbk_event(&s->log, RBK_WARN, "server.few_files", RBK_F("limit", f->limit),
                  RBK_F("wanted", f->wanted), RBK_F("connections", f->connections),
                  RBK_F("in_flight", f->in_flight), RBK_F("upstreams", f->calls));
}

static void log_started(rbk_server *s)
{
    warn_of_few_files(s);
    rbk_providers_log(s->providers, s->options);
    rbk_http_front_log(s->front);
    rbk_tls_side_log(s->tls, s->options, &s->log);
    rbk_admin_front_log(s->admin);
}

/* A start that failed halfway: what serves already stops. */
static void undo_start(rbk_server *s)
{
    if (s->admin)
        rbk_admin_front_ending(s->admin);
    if (s->engine) {
        rbk_engine_refuse(s->engine);
        rbk_engine_stop(s->engine, 0);
    }
    if (s->admin)
        rbk_admin_front_stop(s->admin);
    if (s->front)
        rbk_http_front_stop(s->front);
}

int rbk_server_start(rbk_server *s)
{
    rbk_error err = {0};
    if (s->tried)
        return rbk_server_keep(s, RBK_E_STATE, &err);
    s->tried = true;
    s->log.level = (rbk_level)s->options->log_level;
    s->log.json = s->options->log_json != 0;
    int r = start_all(s, &err);
    if (r < 0) {
        undo_start(s);
        return rbk_server_keep(s, r, &err);
    }
    s->running = true;
    log_started(s);
    return 0;
}

/* --- Stop ------------------------------------------------------------------------------------ */

/* Answers go out and clients hang up, until `end`. */
static void wait_for_clients(rbk_server *s, rbk_mono_ms end)
{
    while (rbk_http_front_open(s->front) && rbk_mono_now() < end)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

int rbk_server_stop(rbk_server *s)
{
    if (!s->running)
        return 0;
    enum { LINGER_MS = 1000 };
    rbk_event(&s->log, RBK_INFO, "server.stopping", RBK_F("drain_ms", s->options->drain_ms));
    s->running = false;
    rbk_engine_refuse(s->engine);
    rbk_http_front_drain(s->front);
    rbk_admin_front_ending(s->admin);
    int r = rbk_engine_stop(s->engine, s->options->drain_ms);
    rbk_providers_stop(s->providers);
    rbk_admin_front_stop(s->admin);
    wait_for_clients(s, rbk_mono_now() + LINGER_MS);
    rbk_http_front_stop(s->front);
    rbk_stats stats;
    rbk_engine_stats(s->engine, &stats);
    rbk_event(&s->log, RBK_INFO, "server.stopped", RBK_F("cut_off", r),
              RBK_F("pending", stats.pending));
    return r;
}

void rbk_server_free(rbk_server *s)
{
    if (s == NULL)
        return;
    rbk_server_stop(s);
    bool all_ended = rbk_engine_free(s->engine);
    rbk_http_front_free(s->front);
    s->front = NULL;
    rbk_admin_front_free(s->admin);
    s->admin = NULL;
    rbk_tls_free(s->tls);
    s->tls = NULL;
    if (!all_ended)
        return;
    rbk_methods_free(s->methods);
    rbk_providers_free(s->providers);
    rbk_signing_close(&s->signing);
    rbk_options_free(s->options);
    free(s);
}

/* --- While it runs ------------------------------------------------------------------------------ */

uint16_t rbk_server_port(const rbk_server *s, size_t i)
{
    return s->front ? rbk_http_front_port(s->front, i) : 0;
}

rbk_engine *rbk_server_engine(rbk_server *s)
{
    return s->engine;
}

int rbk_server_health(const rbk_server *s)
{
    return s->engine ? rbk_engine_health(s->engine) : 0;
}

void rbk_server_stats(const rbk_server *s, rbk_stats *ret)
{
    *ret = (rbk_stats){0};
    if (s->engine)
        rbk_engine_stats(s->engine, ret);
}

int rbk_server_job(rbk_server *s, const char *id, rbk_job_fn fn, void *user)
{
    return s->running ? rbk_engine_job(s->engine, id, fn, user) : RBK_E_STATE;
}

/* --- The door ------------------------------------------------------------------------------------- */

typedef struct visitor {
    rbk_reply_fn fn;
    void *user;
} visitor;

static void on_done(rbk_exchange *ex, void *user)
{
    visitor *v = user;
    rbk_reply reply;
    rbk_exchange_reply(ex, &reply);
    v->fn(v->user, &reply);
    rbk_exchange_written(ex, true);
    rbk_exchange_unref(ex);
    free(v);
}

int rbk_server_handle(rbk_server *s, const rbk_request *rq, rbk_reply_fn fn, void *user)
{
    if (!s->running)
        return RBK_E_STATE;
    visitor *v = malloc(sizeof *v);
    rbk_exchange *ex = v ? rbk_exchange_new(s->engine, on_done, v) : NULL;
    if (ex == NULL) {
        free(v);
        return RBK_E_NOMEM;
    }
    *v = (visitor){fn, user};
    rbk_exchange_submit(ex, rq);
    return 0;
}
