/* SPDX-License-Identifier: Apache-2.0 */
/* front/http_front.c - step 1 of 5: FRONT -> admit -> store -> execute -> deliver
 *
 * An HTTP request with a JSON-RPC body becomes an exchange; when the exchange is done, on
 * whatever thread, the reply goes back on the loop that owns the connection: at once when
 * that is where it was done, else by a task, one wake-up for a burst of them. */
#include "front/http_front.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/seldom.h"
#include "front/auth.h"
#include "front/listeners.h"
#include "front/origin.h"
#include "front/ws_front.h"
#include "net/http_server.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct front_loop front_loop;

/* A listener, as one loop has it. */
typedef struct front_door {
    front_loop *l;
    rbk_origins_door kind;
} front_door;

struct front_loop {
    rbk_http_front *f;
    rbk_loop *loop;
    rbk_http_server *servers[RBK_LISTENERS_MAX];
    front_door doors[RBK_LISTENERS_MAX];
    rbk_origins *origins; /* a reference */
    rbk_ws_front *ws;
    size_t open; /* an answer of count_open() */
    rbk_front_numbers numbers;
    bool started;
};

/* A request under way: which HTTP request waits for which exchange; then, where the answer
 * delivers jobs, until it is written. */
typedef struct pending {
    rbk_task task; /* first */
    front_loop *l;
    rbk_http_request *rq;
    rbk_exchange *ex;
    uint64_t began; /* us */
} pending;

struct rbk_http_front {
    rbk_http_front_conf conf;
    rbk_engine *e;
    rbk_auth auth;
    rbk_limits limits;
    front_loop *loops;
    atomic_uint connections, shed, sockets;
    atomic_size_t buffered;
    rbk_seldom unopened, forbidden;
    rbk_origins *origins; /* a reference; the loops have their own */
    rbk_listeners listeners;
};

/* --- Requests ---------------------------------------------------------------------------- */

/* Our public keys, for receivers; to whoever asks. */
static bool is_for_keys(const front_loop *l, const rbk_http_request *rq)
{
    return rbk_str_eqz(rq->path, "/.well-known/jwks.json") &&
           !rbk_str_eq(rq->path, l->f->conf.path);
}

static int on_head_for_keys(rbk_http_request *rq)
{
    rq->allow = "GET, HEAD";
    return rbk_str_eqz(rq->method, "GET") || rbk_str_eqz(rq->method, "HEAD") ||
                   rbk_origins_asked(rq)
               ? 0
               : 405;
}

/* Has a browser been talked into it? Who must show a token is not found by a name alone. */
static int check_browser(const front_door *d, rbk_http_request *rq)
{
    rbk_http_front *f = d->l->f;
    rbk_origins_door kind = d->kind;
    rbk_callers *callers = rbk_engine_callers(f->e);
    rbk_str value;
    uint64_t more;
    if (callers && kind == RBK_DOOR_LOOPBACK)
        kind = RBK_DOOR_OTHER;
    rbk_callers_unref(callers);
    int r = rbk_origins_check(d->l->origins, kind, rq, &value);
    if (r && rbk_seldom_now(&f->forbidden, &more))
        rbk_event(f->conf.log, RBK_WARN, "request.forbidden", RBK_FZ("peer", rq->peer),
                  RBK_FZ("reason", rq->why), RBK_FS("value", value.p ? value : RBK_STR("")),
                  RBK_F("more", more));
    return r;
}

/* Is it somebody's token? Asked before the body is read, and again when it is there. */
static int check_caller(const front_loop *l, const rbk_http_request *rq, rbk_auth_pass *ret)
{
    return rbk_auth_check(&l->f->auth, rq->headers, rq->n_headers, rq->peer, ret);
}

static rbk_limits_who who_asks(front_loop *l, const rbk_http_request *rq, unsigned held)
{
    return (rbk_limits_who){
        .l = &l->f->limits, .numbers = &l->numbers, .from = rq->from, .peer = rq->peer, .held = held};
}

static int on_head(rbk_http_request *rq, void *user)
{
    const front_door *d = user;
    front_loop *l = d->l;
    rbk_auth_pass pass;
    rbk_limits_who who = who_asks(l, rq, 0);
    int r = check_browser(d, rq); /* before it uses up what others of the address may ask */
    if (r)
        return r;
    rq->retry_after = rbk_limits_address(&who);
    if (rq->retry_after)
        return 429;
    if (is_for_keys(l, rq))
        return on_head_for_keys(rq);
    if (!rbk_str_eq(rq->path, l->f->conf.path))
        return 404;
    if (rbk_origins_asked(rq))
        return 0;
    bool socket = rbk_ws_front_wants(l->ws, rq);
    if (!socket && !rbk_str_eqz(rq->method, "POST"))
        return 405;
    r = check_caller(l, rq, &pass);
    if (r)
        return r;
    who.caller = pass.caller;
    rq->retry_after = rbk_limits_caller(&who);
    rbk_auth_done(&pass);
    if (rq->retry_after)
        return 429;
    if (!socket && !rbk_http_is_json(rbk_http_find(rq->headers, rq->n_headers, "content-type")))
        return 415;
    return 0;
}

static void on_written(bool all, void *user)
{
    pending *p = user;
    rbk_exchange_written(p->ex, all);
    rbk_exchange_unref(p->ex);
    free(p);
}

static void reply(pending *p)
{
    rbk_reply out;
    rbk_http_header h[4];
    rbk_front_numbers *numbers = &p->l->numbers;
    rbk_exchange_reply(p->ex, &out);
    rbk_front_numbers_answered(numbers, rbk_exchange_kind_of(p->ex), rbk_mono_us() - p->began);
    if (out.status == 503)
        rbk_limits_busy(&(rbk_limits_who){.l = &p->l->f->limits, .numbers = numbers,
                                          .peer = p->rq->peer},
                        rbk_exchange_is_over_quota(p->ex));
    size_t n = out.n_headers < 4 ? out.n_headers : 4;
    for (size_t i = 0; i < n; i++)
        h[i] = (rbk_http_header){out.headers[i].name, out.headers[i].value};
    bool watched = rbk_exchange_has_jobs(p->ex);
    rbk_http_reply_send(p->rq, &(rbk_http_reply){
                                   .status = out.status,
                                   .headers = h,
                                   .n_headers = n,
                                   .body = out.body,
                                   .written = watched ? on_written : NULL,
                                   .user = p,
                               });
    if (watched)
        return;
    rbk_exchange_unref(p->ex);
    free(p);
}

static void on_reply_task(rbk_task *task)
{
    reply((pending *)(void *)task);
}

static void on_done(rbk_exchange *ex, void *user)
{
    pending *p = user;
    (void)ex;
    if (rbk_loop_is_current(p->l->loop))
        reply(p);
    else
        rbk_loop_post(p->l->loop, &p->task);
}

static void reply_busy(rbk_http_request *rq)
{
    static const rbk_http_header retry = {{"Retry-After", 11}, {"1", 1}};
    static const char body[] =
        "{\"id\":null,\"error\":{\"code\":-32009,\"message\":\"Server is busy\"}}";
    rbk_http_reply_send(rq, &(rbk_http_reply){.status = 503, .headers = &retry, .n_headers = 1,
                                              .body = {body, sizeof body - 1}});
}

static void reply_keys(const front_loop *l, rbk_http_request *rq)
{
    static const rbk_http_header cache = {{"Cache-Control", 13}, {"public, max-age=300", 19}};
    rbk_sign_keys *keys = rbk_engine_keys(l->f->e);
    rbk_buf b = RBK_BUF(16 << 10);
    int r = keys ? rbk_sign_jwks(keys, &b) : RBK_E_STATE;
    if (r < 0)
        reply_busy(rq);
    else
        rbk_http_reply_send(rq, &(rbk_http_reply){.status = 200, .headers = &cache, .n_headers = 1,
                                                  .body = rbk_buf_view(&b)});
    rbk_sign_keys_unref(keys);
    rbk_buf_free(&b);
}

static void serve(front_loop *l, rbk_http_request *rq, const rbk_auth_pass *pass)
{
    pending *p = calloc(1, sizeof *p);
    rbk_exchange *ex = p ? rbk_exchange_new(l->f->e, on_done, p) : NULL;
    if (ex == NULL) {
        free(p);
        reply_busy(rq);
        return;
    }
    *p = (pending){.task = {.fn = on_reply_task}, .l = l, .rq = rq, .ex = ex,
                   .began = rbk_mono_us()};
    rq->user = p;
    rbk_limits_who who = who_asks(l, rq, 1);
    who.caller = pass->caller;
    rbk_exchange_guard(ex, rbk_limits_gate, &who);
    rbk_exchange_submit(ex, &(rbk_request){
                                .body = rq->body,
                                .headers = (const rbk_header *)(const void *)rq->headers,
                                .n_headers = rq->n_headers,
                                .peer = rbk_str_z(rq->peer),
                                .caller = rbk_auth_name(pass),
                            });
}

static void on_request(rbk_http_request *rq, void *user)
{
    front_loop *l = ((front_door *)user)->l;
    if (rbk_origins_asked(rq)) {
        rbk_origins_reply(rq, is_for_keys(l, rq) ? "GET, HEAD" : "POST");
        return;
    }
    if (is_for_keys(l, rq)) {
        reply_keys(l, rq);
        return;
    }
    rbk_auth_pass pass;
    int status = check_caller(l, rq, &pass);
    if (status) {
        rbk_http_reply_refusal(rq, status);
        return;
    }
    if (rbk_str_eqz(rq->method, "GET"))
        rbk_ws_front_open(l->ws, rq, rbk_auth_name(&pass));
    else
        serve(l, rq, &pass);
    rbk_auth_done(&pass);
}

static void on_gone(rbk_http_request *rq, void *user)
{
    (void)user;
    rbk_exchange_gone(((pending *)rq->user)->ex);
}

static void on_refused(const rbk_http_request *rq, int status, const char *why, void *user)
{
    front_loop *l = ((front_door *)user)->l;
    (void)why;
    rbk_limits_who who = who_asks(l, rq, 0);
    rbk_limits_refused(&who, status);
}

static void on_shed(const char *peer, rbk_http_shed why, void *user)
{
    front_loop *l = ((front_door *)user)->l;
    rbk_limits_shed(&(rbk_limits_who){.l = &l->f->limits, .numbers = &l->numbers, .peer = peer}, why);
}

/* Whoever asks for the port can make it happen. */
static void on_unopened(const char *peer, const char *detail, void *user)
{
    rbk_http_front *f = ((front_door *)user)->l->f;
    uint64_t more = 0;
    if (rbk_seldom_now(&f->unopened, &more))
        rbk_event(f->conf.log, RBK_INFO, "tls.refused", RBK_FZ("peer", peer),
                  RBK_FZ("detail", detail), RBK_F("more", more));
}

_Static_assert(sizeof(rbk_header) == sizeof(rbk_http_header) &&
                   offsetof(rbk_header, value) == offsetof(rbk_http_header, value),
               "a list of one is a list of the other");

/* --- Start ------------------------------------------------------------------------------- */

int rbk_http_front_new(const rbk_http_front_conf *conf, rbk_http_front **ret, rbk_error *err)
{
    rbk_http_front *f = calloc(1, sizeof *f);
    if (f == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "front");
    f->conf = *conf;
    f->origins = rbk_origins_ref(conf->origins);
    rbk_listen_conf lc = {.loops = conf->threads, .mode = conf->socket_mode};
    int r = rbk_limits_init(&f->limits, &conf->limits, err);
    if (r == 0)
        r = rbk_listeners_open(&f->listeners, "server.listen", conf->listen, &lc, err);
    if (r == 0 && (f->loops = calloc(conf->threads, sizeof *f->loops)) == NULL)
        r = rbk_fail(err, RBK_E_NOMEM, "front");
    if (r < 0) {
        rbk_http_front_free(f);
        return r;
    }
    *ret = f;
    return 0;
}

size_t rbk_http_front_listeners(const rbk_http_front *f, rbk_own_listener *ret, size_t max)
{
    return rbk_listeners_own(&f->listeners, ret, max);
}

void rbk_http_front_log(const rbk_http_front *f)
{
    for (size_t i = 0; i < f->listeners.n; i++) {
        char addr[RBK_LISTENER_TEXT];
        bool tls = f->conf.tls && !f->listeners.v[i].local;
        rbk_listener_text(&f->listeners, i, addr);
        rbk_event(f->conf.log, RBK_INFO, "server.listening", RBK_FZ("addr", addr),
                  RBK_F("port", f->listeners.v[i].port), RBK_FS("path", f->conf.path),
                  RBK_FZ("tls", tls ? "yes" : "no"));
    }
}

uint16_t rbk_http_front_port(const rbk_http_front *f, size_t i)
{
    return i < f->listeners.n ? f->listeners.v[i].port : 0;
}

static int make_ws(front_loop *l, rbk_error *err)
{
    rbk_http_front *f = l->f;
    l->ws = rbk_ws_front_new(&(rbk_ws_front_conf){
        .e = f->e,
        .auth = &f->auth,
        .loop = l->loop,
        .max_body = f->conf.max_body,
        .ping_ms = f->conf.ping_ms,
        .max_sockets = f->conf.max_sockets,
        .sockets = &f->sockets,
        .limits = &f->limits,
        .numbers = &l->numbers,
        .log = f->conf.log,
    });
    return l->ws ? 0 : rbk_fail(err, RBK_E_NOMEM, "front");
}

/* Which door the k-th listener is. */
static rbk_origins_door door_kind(const rbk_http_front *f, size_t k)
{
    if (f->listeners.v[k].local)
        return RBK_DOOR_UNIX;
    return rbk_listener_is_loopback(&f->listeners, k) ? RBK_DOOR_LOOPBACK : RBK_DOOR_OTHER;
}

static int start_loop(rbk_http_front *f, size_t i, rbk_error *err)
{
    front_loop *l = &f->loops[i];
    char name[16];
    snprintf(name, sizeof name, "rbk-front-%zu", i % 1000);
    l->f = f;
    l->origins = rbk_origins_ref(f->origins);
    int r = rbk_loop_new(name, &l->loop, err);
    if (r == 0)
        r = make_ws(l, err);
    rbk_http_conf conf = {
        .max_body = f->conf.max_body,
        .max_connections = f->conf.max_connections,
        .connections = &f->connections,
        .max_shed = f->conf.max_shed,
        .shed = &f->shed,
        .buffered = &f->buffered,
        .peers = f->limits.addresses,
        .numbers = &l->numbers.http,
    };
    rbk_http_handler handler = {.on_head = on_head, .on_request = on_request, .on_gone = on_gone,
                                .on_unopened = on_unopened, .on_refused = on_refused,
                                .on_shed = on_shed};
    for (size_t k = 0; r == 0 && k < f->listeners.n; k++) {
        rbk_listening *where = &f->listeners.v[k];
        conf.tls = where->local ? NULL : f->conf.tls;
        l->doors[k] = (front_door){l, door_kind(f, k)};
        handler.user = &l->doors[k];
        r = rbk_http_server_new(l->loop, rbk_listen_give(where, i), &conf, &handler,
                                &l->servers[k], err);
    }
    if (r == 0)
        r = rbk_loop_start(l->loop, err);
    l->started = r == 0;
    return r;
}

int rbk_http_front_start(rbk_http_front *f, rbk_engine *e, rbk_error *err)
{
    int r = 0;
    f->e = e;
    f->auth = (rbk_auth){.e = e, .log = f->conf.log};
    for (size_t i = 0; r == 0 && i < f->conf.threads; i++)
        r = start_loop(f, i, err);
    return r;
}

/* --- Stop ----------------------------------------------------------------------------------- */

static void each_server(rbk_http_front *f, void (*fn)(void *arg))
{
    for (size_t i = 0; f->loops && i < f->conf.threads; i++) {
        front_loop *l = &f->loops[i];
        if (l->started)
            rbk_loop_call(l->loop, fn, l);
        else if (l->loop)
            fn(l);
    }
}

static void take_origins(void *arg)
{
    front_loop *l = arg;
    rbk_origins_unref(l->origins);
    l->origins = rbk_origins_ref(l->f->origins);
}

void rbk_http_front_use_origins(rbk_http_front *f, rbk_origins *o)
{
    rbk_origins_unref(f->origins);
    f->origins = o;
    each_server(f, take_origins);
}

static void drain_loop(void *arg)
{
    front_loop *l = arg;
    for (size_t i = 0; i < l->f->listeners.n; i++)
        if (l->servers[i])
            rbk_http_server_drain(l->servers[i]);
}

void rbk_http_front_drain(rbk_http_front *f)
{
    rbk_listeners_unlink(&f->listeners);
    each_server(f, drain_loop);
}

static void count_open(void *arg)
{
    front_loop *l = arg;
    l->open = 0;
    for (size_t i = 0; i < l->f->listeners.n; i++)
        if (l->servers[i])
            l->open += rbk_http_server_open(l->servers[i]);
}

size_t rbk_http_front_open(rbk_http_front *f)
{
    size_t n = 0;
    each_server(f, count_open);
    for (size_t i = 0; f->loops && i < f->conf.threads; i++)
        n += f->loops[i].open;
    return n;
}

void rbk_http_front_metrics(const rbk_http_front *f, rbk_front_metrics *ret)
{
    *ret = (rbk_front_metrics){.open = atomic_load(&f->connections),
                               .websockets = atomic_load(&f->sockets)};
    for (size_t i = 0; f->loops && i < f->conf.threads; i++)
        rbk_front_numbers_sum(&f->loops[i].numbers, ret);
}

static void close_loop(void *arg)
{
    front_loop *l = arg;
    for (size_t i = 0; i < l->f->listeners.n; i++) {
        if (l->servers[i])
            rbk_http_server_close(l->servers[i]);
        l->servers[i] = NULL;
    }
    if (l->ws)
        rbk_ws_front_close(l->ws);
}

void rbk_http_front_stop(rbk_http_front *f)
{
    each_server(f, close_loop);
    for (size_t i = 0; f->loops && i < f->conf.threads; i++) {
        front_loop *l = &f->loops[i];
        if (l->loop == NULL)
            continue;
        rbk_loop_stop(l->loop);
        rbk_loop_free(l->loop);
        rbk_ws_front_free(l->ws);
        rbk_origins_unref(l->origins);
        l->loop = NULL;
        l->ws = NULL;
        l->origins = NULL;
        l->started = false;
    }
}

void rbk_http_front_free(rbk_http_front *f)
{
    if (f == NULL)
        return;
    rbk_http_front_stop(f);
    rbk_listeners_close(&f->listeners);
    rbk_origins_unref(f->origins);
    free(f->loops);
    rbk_limits_free(&f->limits);
    free(f);
}
