/* SPDX-License-Identifier: Apache-2.0 */
/* method/upstream.c - see upstream.h: life of an upstream, and the door for calls.
 *
 * Calls come from method threads as tasks of the loop; all else is the loop's
 * (upstream_flight.c). The lock guards the door alone: whether it is open, and how many are
 * inside, so that a stop can wait until nobody is. */
#include "method/upstream_impl.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 5000, CONNECTIONS = 4096, IDLE_MS = 4000, MAX_RESULT = 1 << 20 };

static void on_tick(uv_timer_t *timer)
{
    rbk_upstream *u = timer->data;
    rbk_flights_tick(u);
    if (rbk_link_empty(&u->all))
        uv_timer_stop(timer);
}

/* --- the door --- */

static void on_arrive(rbk_task *task)
{
    rbk_upstream *u = ((rbk_flight *)(void *)task)->u;
    if (!uv_is_active((uv_handle_t *)&u->timer) && !u->stopping)
        uv_timer_start(&u->timer, on_tick, RBK_UPSTREAM_TICK_MS, RBK_UPSTREAM_TICK_MS);
    rbk_flight_arrive(task);
}

static void refuse(rbk_call *call, int err)
{
    rbk_call_error(call, rbk_err_rpc_code(err), rbk_strerror(err), NULL);
}

void rbk_upstream_call(rbk_call *call, void *user)
{
    rbk_upstream *u = user;
    rbk_flight *f = calloc(1, sizeof *f);
    if (f == NULL) {
        refuse(call, RBK_E_NOMEM);
        return;
    }
    f->task.fn = on_arrive;
    f->u = u;
    f->job = rbk_call_job(call) != NULL;
    f->text = RBK_BUF(SIZE_MAX / 2);
    f->state = RBK_FLIGHT_RESTING;
    rbk_link_init(&f->all);
    rbk_link_init(&f->line);
    pthread_mutex_lock(&u->lock);
    bool open = !u->closed;
    if (open) {
        u->n_calls++;
        f->call = rbk_call_ref(call);
        rbk_loop_post(u->loop, &f->task);
    }
    pthread_mutex_unlock(&u->lock);
    if (!open) {
        free(f);
        refuse(call, RBK_E_BUSY);
    }
}

void rbk_upstream_ended(rbk_upstream *u)
{
    pthread_mutex_lock(&u->lock);
    if (--u->n_calls == 0)
        pthread_cond_signal(&u->empty);
    pthread_mutex_unlock(&u->lock);
}

/* --- making --- */

static int set_up(rbk_upstream *u, const rbk_upstream_conf *conf, rbk_error *err)
{
    const char *wrong = rbk_upstream_url_parse(rbk_str_z(conf->url), &u->url);
    if (wrong)
        return rbk_fail(err, RBK_E_CONFIG, "the URL of the upstream %s", wrong);
    const rbk_dsn *dsn = &u->url.dsn;
    bool v6 = dsn->kind == RBK_HOST_IPV6;
    const char *l = v6 ? "[" : "", *r = v6 ? "]" : "", *scheme = u->url.tls ? "https" : "http";
    if (u->url.path[0])
        snprintf(u->receiver, sizeof u->receiver, "http+unix:%s", u->url.path);
    else
        snprintf(u->receiver, sizeof u->receiver, "%s://%s%s%s:%u", scheme, l, dsn->host_lower, r,
                 (unsigned)u->url.port);
    snprintf(u->authority, sizeof u->authority, "%s%s%s", l, dsn->host_lower, r);
    if (u->url.port != (u->url.tls ? 443 : 80))
        snprintf(u->authority, sizeof u->authority, "%s%s%s:%u", l, dsn->host_lower, r,
                 (unsigned)u->url.port);
    u->connect_ms = conf->connect_ms > 0 ? conf->connect_ms : CONNECT_MS;
    u->connections = conf->connections ? conf->connections : CONNECTIONS;
    u->max_result = conf->max_result ? conf->max_result : MAX_RESULT;
    u->head = rbk_upstream_head(conf->token_file, err);
    if (u->head == NULL)
        return err && err->code ? err->code : RBK_E_CONFIG;
    rbk_tls_client_conf tls = {.ca_file = conf->ca_file};
    return u->url.tls ? rbk_tls_client_new(&tls, &u->tls, err) : 0;
}

static int set_up_net(rbk_upstream *u, const rbk_upstream_conf *conf, rbk_error *err)
{
    unsigned max = u->connections < UINT32_MAX ? (unsigned)u->connections : UINT32_MAX;
    rbk_http_client_conf client = {
        .tls = u->tls,
        .plain = !u->url.tls,
        .idle_per_receiver = max,
        .idle_max = max,
        .conns_max = max,
        .idle_ms = conf->idle_ms > 0 ? conf->idle_ms : IDLE_MS,
    };
    int r = rbk_loop_new("rbk-upstream", &u->loop, err);
    if (r < 0)
        return r;
    r = rbk_resolver_new(u->loop, &u->resolver, err);
    if (r == 0 && conf->name_servers && rbk_resolver_set_servers(u->resolver, conf->name_servers) < 0)
        r = rbk_fail(err, RBK_E_CONFIG, "name servers: %s", conf->name_servers);
    if (r == 0)
        r = rbk_http_client_new(u->loop, &client, &u->client, err);
    uv_timer_init(rbk_loop_uv(u->loop), &u->timer);
    u->timer.data = u;
    return r == 0 ? rbk_loop_start(u->loop, err) : r;
}

static void close_net(void *arg)
{
    rbk_upstream *u = arg;
    rbk_flights_drop(u);
    rbk_resolver_free(u->resolver);
    rbk_http_client_free(u->client);
    uv_close((uv_handle_t *)&u->timer, NULL);
}

static void free_all(rbk_upstream *u)
{
    rbk_loop_free(u->loop);
    rbk_tls_free(u->tls);
    if (u->head)
        explicit_bzero(u->head, strlen(u->head));
    free(u->head);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->empty);
    free(u);
}

int rbk_upstream_new(const rbk_upstream_conf *conf, const rbk_log *log, rbk_upstream **ret,
                     rbk_error *err)
{
    rbk_upstream *u = calloc(1, sizeof *u);
    pthread_condattr_t attr;
    if (u == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "upstream");
    u->log = log;
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&u->empty, &attr);
    pthread_condattr_destroy(&attr);
    rbk_link_init(&u->all);
    rbk_link_init(&u->waiting[0]);
    rbk_link_init(&u->waiting[1]);
    rbk_link_init(&u->resting);
    int r = set_up(u, conf, err);
    if (r == 0) {
        r = set_up_net(u, conf, err);
        if (r < 0 && u->loop)
            close_net(u);
    }
    if (r < 0) {
        free_all(u);
        return r;
    }
    *ret = u;
    return 0;
}

/* --- the stop --- */

static void wait_until_empty(rbk_upstream *u, int64_t grace_ms)
{
    struct timespec by;
    clock_gettime(CLOCK_MONOTONIC, &by);
    by.tv_sec += grace_ms / 1000;
    by.tv_nsec += grace_ms % 1000 * 1000000;
    if (by.tv_nsec >= 1000000000) {
        by.tv_sec++;
        by.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&u->lock);
    u->closed = true;
    while (u->n_calls > 0 && pthread_cond_timedwait(&u->empty, &u->lock, &by) == 0)
        ;
    pthread_mutex_unlock(&u->lock);
}

void rbk_upstream_stop(rbk_upstream *u, int64_t grace_ms)
{
    if (u->stopped)
        return;
    u->stopped = true;
    wait_until_empty(u, grace_ms > 0 ? grace_ms : 0);
    rbk_loop_call(u->loop, close_net, u);
    rbk_loop_stop(u->loop);
}

void rbk_upstream_free(rbk_upstream *u)
{
    if (u == NULL)
        return;
    rbk_upstream_stop(u, 0);
    free_all(u);
}
