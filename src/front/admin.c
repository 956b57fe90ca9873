/* SPDX-License-Identifier: Apache-2.0 */
/* front/admin.c - see admin.h: listeners, who may come in, and the pages.
 *
 * Without a token the side is open to this machine alone, and a browser on it must not be
 * talked into asking: a name that was rebound to 127.0.0.1 shows in Host, a page of another
 * origin in Origin, and a form cannot send JSON. With a token all but the two health pages
 * want it; hashes are compared, in constant time. All on the loop's thread but what the header
 * says otherwise. */
#include "front/admin_impl.h"

#include "base/error.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <stdio.h>
#include <stdlib.h>

/* --- Who may come in --------------------------------------------------------------------- */

static int check_local(const rbk_admin_port *p, rbk_http_request *rq)
{
    rbk_str value;
    return p->own ? rbk_origins_check(p->own, RBK_DOOR_OTHER, rq, &value) : 0;
}

static int check_token(rbk_admin_front *f, const rbk_http_request *rq)
{
    static const char scheme[] = "bearer ";
    rbk_str value = rbk_http_find(rq->headers, rq->n_headers, "authorization");
    uint8_t given[32];
    size_t n = sizeof scheme - 1;
    if (value.n <= n || !rbk_str_ieqz((rbk_str){value.p, n}, scheme))
        return 401;
    rbk_str token = rbk_str_trim((rbk_str){value.p + n, value.n - n});
    SHA256((const unsigned char *)token.p, token.n, given);
    pthread_mutex_lock(&f->lock);
    int r = CRYPTO_memcmp(given, f->token, sizeof given) == 0 ? 0 : 401;
    pthread_mutex_unlock(&f->lock);
    return r;
}

static bool is_health(rbk_str path)
{
    return rbk_str_eqz(path, "/healthz") || rbk_str_eqz(path, "/readyz");
}

static bool is_page(rbk_str path)
{
    return is_health(path) || rbk_str_eqz(path, "/metrics");
}

static int on_head(rbk_http_request *rq, void *user)
{
    rbk_admin_port *p = user;
    int r = 0;
    if (!p->f->has_token)
        r = check_local(p, rq);
    else if (!is_health(rq->path))
        r = check_token(p->f, rq);
    if (r)
        return r;
    if (is_page(rq->path)) {
        rq->allow = "GET, HEAD";
        return rbk_str_eqz(rq->method, "GET") || rbk_str_eqz(rq->method, "HEAD") ? 0 : 405;
    }
    if (!rbk_str_eqz(rq->path, "/rpc"))
        return 404;
    if (!rbk_str_eqz(rq->method, "POST"))
        return 405;
    return rbk_http_is_json(rbk_http_find(rq->headers, rq->n_headers, "content-type")) ? 0 : 415;
}

/* Whoever asks for the port can make it happen. */
static void on_refused(const rbk_http_request *rq, int status, const char *why, void *user)
{
    rbk_admin_front *f = ((rbk_admin_port *)user)->f;
    uint64_t more = 0;
    if ((status == 401 || status == 403) && rbk_seldom_now(&f->refusals, &more))
        rbk_event(f->conf.log, RBK_WARN, "admin.refused", RBK_FZ("peer", rq->peer), RBK_F("status", status),
                  RBK_FZ("reason", why ? why : "no token that is known"), RBK_F("more", more));
}

/* --- Pages ------------------------------------------------------------------------------- */

static void reply_text(rbk_http_request *rq, int status, const char *type, rbk_str body)
{
    static const rbk_http_header h = {{"Cache-Control", 13}, {"no-store", 8}};
    rbk_http_reply_send(rq, &(rbk_http_reply){.status = status, .headers = &h, .n_headers = 1,
                                              .content_type = type, .body = body});
}

static void reply_health(const rbk_admin_front *f, rbk_http_request *rq)
{
    bool ready = rbk_str_eqz(rq->path, "/readyz");
    int r = ready ? rbk_engine_ready(f->e) : rbk_engine_health(f->e);
    const char *text = r == 0 ? "ok\n" : r == RBK_E_BUSY ? "busy: draining or full\n"
                                                         : "the store cannot be written\n";
    reply_text(rq, r == 0 ? 200 : 503, "text/plain; charset=utf-8", rbk_str_z(text));
}

static void reply_metrics(const rbk_admin_front *f, rbk_http_request *rq)
{
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_metrics m;
    rbk_front_metrics front;
    rbk_engine_metrics(f->e, &m);
    if (f->front)
        rbk_http_front_metrics(f->front, &front);
    rbk_admin_write_metrics(&b, &m, f->front ? &front : NULL);
    if (rbk_buf_err(&b) < 0)
        reply_text(rq, 503, "text/plain; charset=utf-8", RBK_STR("out of memory\n"));
    else
        reply_text(rq, 200, "text/plain; version=0.0.4; charset=utf-8", rbk_buf_view(&b));
    rbk_buf_free(&b);
}

static void on_request(rbk_http_request *rq, void *user)
{
    const rbk_admin_port *p = user;
    if (is_health(rq->path))
        reply_health(p->f, rq);
    else if (is_page(rq->path))
        reply_metrics(p->f, rq);
    else
        rbk_admin_serve(p->f, rq);
}

/* --- Start ------------------------------------------------------------------------------- */

/* What a request to the i-th listener may name, when no token says who it is from. */
static int note_own(rbk_admin_front *f, size_t i, rbk_error *err)
{
    rbk_admin_port *p = &f->ports[i];
    const rbk_own_listener *own = &f->listeners.own[i];
    char addr[RBK_LISTENER_TEXT], hosts[160], origins[160];
    bool v6 = own->kind == RBK_HOST_IPV6;
    p->f = f;
    if (f->listeners.v[i].local)
        return 0;
    rbk_listener_text(&f->listeners, i, addr);
    const char *open = v6 ? "[" : "", *close = v6 ? "]" : "";
    snprintf(hosts, sizeof hosts, "%s%.46s%s:%u,localhost:%u", open, addr, close, own->port, own->port);
    snprintf(origins, sizeof origins, "http://%s%.46s%s:%u,http://localhost:%u", open, addr, close,
             own->port, own->port);
    return rbk_origins_new(&(rbk_origins_conf){.hosts = rbk_str_z(hosts), .origins = rbk_str_z(origins)},
                           &p->own, err);
}

int rbk_admin_front_new(const rbk_admin_front_conf *conf, rbk_admin_front **ret, rbk_error *err)
{
    rbk_admin_front *f = calloc(1, sizeof *f);
    if (f == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "admin");
    f->conf = *conf;
    pthread_mutex_init(&f->lock, NULL);
    rbk_listen_conf lc = {.loops = 1, .mode = conf->socket_mode};
    int r = rbk_listeners_open(&f->listeners, "admin.listen", conf->listen, &lc, err);
    for (size_t i = 0; r == 0 && i < f->listeners.n; i++)
        r = note_own(f, i, err);
    if (r < 0) {
        rbk_admin_front_free(f);
        return r;
    }
    *ret = f;
    return 0;
}

size_t rbk_admin_front_listeners(const rbk_admin_front *f, rbk_own_listener *ret, size_t max)
{
    return rbk_listeners_own(&f->listeners, ret, max);
}

void rbk_admin_front_log(const rbk_admin_front *f)
{
    for (size_t i = 0; i < f->listeners.n; i++) {
        char addr[RBK_LISTENER_TEXT];
        rbk_listener_text(&f->listeners, i, addr);
        rbk_event(f->conf.log, RBK_INFO, "admin.listening", RBK_FZ("addr", addr),
                  RBK_F("port", f->listeners.v[i].port), RBK_FZ("token", f->has_token ? "yes" : "no"));
    }
}

void rbk_admin_front_use_token(rbk_admin_front *f, rbk_str token)
{
    pthread_mutex_lock(&f->lock);
    SHA256((const unsigned char *)token.p, token.n, f->token);
    f->has_token = true;
    pthread_mutex_unlock(&f->lock);
}

bool rbk_admin_front_has_token(const rbk_admin_front *f)
{
    return f->has_token;
}

void rbk_admin_front_show(rbk_admin_front *f, const rbk_http_front *front)
{
    f->front = front;
}

int rbk_admin_front_start(rbk_admin_front *f, rbk_engine *e, rbk_error *err)
{
    enum { CONNECTIONS = 64, FEW = 4, SHED = 4 };
    f->e = e;
    if (f->listeners.n == 0)
        return 0;
    int r = rbk_loop_new("rbk-admin", &f->loop, err);
    rbk_http_conf conf = {.max_body = RBK_ADMIN_BODY_MAX, .connections = &f->connections,
                          .max_connections = f->conf.few_files ? FEW : CONNECTIONS,
                          .max_shed = SHED, .shed = &f->shed, .buffered = &f->buffered,
                          .max_buffered = 2 * (size_t)RBK_ADMIN_ANSWERS_MAX};
    for (size_t i = 0; r == 0 && i < f->listeners.n; i++) {
        rbk_http_handler h = {.on_head = on_head, .on_request = on_request,
                              .on_refused = on_refused, .user = &f->ports[i]};
        r = rbk_http_server_new(f->loop, rbk_listen_give(&f->listeners.v[i], 0), &conf, &h,
                                &f->ports[i].server, err);
    }
    if (r == 0)
        r = rbk_loop_start(f->loop, err);
    f->started = r == 0;
    return r;
}

/* --- Stop -------------------------------------------------------------------------------- */

static void note_ending(void *arg)
{
    ((rbk_admin_front *)arg)->ending = true;
}

void rbk_admin_front_ending(rbk_admin_front *f)
{
    if (f->started)
        rbk_loop_call(f->loop, note_ending, f);
}

static void close_all(void *arg)
{
    rbk_admin_front *f = arg;
    for (size_t i = 0; i < f->listeners.n; i++) {
        if (f->ports[i].server)
            rbk_http_server_close(f->ports[i].server);
        f->ports[i].server = NULL;
    }
}

void rbk_admin_front_stop(rbk_admin_front *f)
{
    if (f->loop == NULL)
        return;
    if (f->started)
        rbk_loop_call(f->loop, close_all, f);
    else
        close_all(f);
    rbk_loop_stop(f->loop);
    rbk_loop_free(f->loop);
    f->loop = NULL;
    f->started = false;
}

void rbk_admin_front_free(rbk_admin_front *f)
{
    if (f == NULL)
        return;
    rbk_admin_front_stop(f);
    for (size_t i = 0; i < f->listeners.n; i++)
        rbk_origins_unref(f->ports[i].own);
    rbk_listeners_close(&f->listeners);
    pthread_mutex_destroy(&f->lock);
    OPENSSL_cleanse(f->token, sizeof f->token);
    free(f);
}
