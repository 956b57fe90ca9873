/* SPDX-License-Identifier: Apache-2.0 */
/* app/receiver.c - see receiver.h.
 *
 * Answers that wait are in the list `waiting`, each with a timer; at the stop they are
 * answered at once, because every request must be. All of it on the loop's thread but
 * start, port and stop. */
#include "app/receiver.h"

#include "base/clock.h"
#include "base/error.h"
#include "core/dsn.h"
#include "core/webhook.h"
#include "net/http_server.h"
#include "net/websocket_accept.h"

#include <stdlib.h>

enum { MESSAGE_MAX = 64 << 20, SOCKET_MS = 60000 };

typedef struct answer {
    struct answer *prev, *next;
    uv_timer_t timer;
    rbk_receiver *r;
    rbk_http_request *rq;
    struct session *session; /* it is a websocket that waits for its close */
} answer;

/* A websocket; its request is the connection's name. */
typedef struct session {
    rbk_receiver *r;
    rbk_http_request *rq;
    rbk_ws *ws;
    answer *waits;
    bool told; /* the message has come */
} session;

struct rbk_receiver {
    rbk_receiver_conf conf;
    rbk_loop *loop;
    rbk_tls *tls;
    rbk_http_server *server;
    answer *waiting;
    atomic_uint connections;
    uint16_t port;
    bool started;
};

_Static_assert(sizeof(rbk_header) == sizeof(rbk_http_header) &&
                   offsetof(rbk_header, value) == offsetof(rbk_http_header, value),
               "a list of one is a list of the other");

int rbk_callback_verify(const rbk_callback *cb, const rbk_sign_keys *keys, rbk_error *err)
{
    return rbk_webhook_check(keys,
                             &(rbk_webhook){
                                 .headers = (const rbk_header *)(const void *)cb->headers,
                                 .n_headers = cb->n_headers,
                                 .body = cb->body,
                                 .now = rbk_wall_now(),
                             },
                             err);
}

static void on_timer_closed(uv_handle_t *h)
{
    free(h->data);
}

static void send_answer(const rbk_receiver *r, rbk_http_request *rq)
{
    rbk_http_reply_send(rq, &(rbk_http_reply){.status = r->conf.status});
}

/* What the websocket has to say, and its end once both sides have closed. */
static void send_frames(session *s)
{
    rbk_buf *out = rbk_ws_out(s->ws);
    if (s->waits)
        return;
    rbk_http_tunnel_write(s->rq, rbk_buf_view(out));
    rbk_buf_free(out);
    if (rbk_ws_closed_by(s->ws) || rbk_ws_fault(s->ws)[0])
        rbk_http_tunnel_close(s->rq, false);
}

static void unlist(answer *a)
{
    if (a->prev)
        a->prev->next = a->next;
    else
        a->r->waiting = a->next;
    if (a->next)
        a->next->prev = a->prev;
}

static void finish(answer *a)
{
    unlist(a);
    if (a->session) {
        a->session->waits = NULL;
        send_frames(a->session);
    } else {
        send_answer(a->r, a->rq);
    }
    uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

static void on_timer(uv_timer_t *t)
{
    finish(t->data);
}

/* Answer after the delay; NULL: at once. */
static answer *wait_with(rbk_receiver *r, rbk_http_request *rq, session *s)
{
    answer *a = r->conf.delay_ms > 0 ? calloc(1, sizeof *a) : NULL;
    if (a == NULL)
        return NULL;
    *a = (answer){.r = r, .rq = rq, .session = s, .next = r->waiting};
    if (r->waiting)
        r->waiting->prev = a;
    r->waiting = a;
    uv_timer_init(rbk_loop_uv(r->loop), &a->timer);
    a->timer.data = a;
    uv_timer_start(&a->timer, on_timer, (uint64_t)r->conf.delay_ms, 0);
    return a;
}

static void tell(const rbk_receiver *r, const rbk_http_request *rq, rbk_callback cb)
{
    cb.path = rq->path;
    cb.query = rq->query;
    cb.headers = rq->headers;
    cb.n_headers = rq->n_headers;
    r->conf.fn(r->conf.user, &cb);
}

/* --- a websocket --- */

static void on_message(rbk_ws *ws, rbk_str text, void *user)
{
    session *s = user;
    if (s->told)
        return;
    s->told = true;
    tell(s->r, s->rq,
         (rbk_callback){.method = RBK_STR("WSS"), .body = text, .answer = RBK_WS_NORMAL});
    s->waits = wait_with(s->r, s->rq, s);
    rbk_ws_send_close(ws, RBK_WS_NORMAL);
}

static size_t on_frames(rbk_http_request *rq, rbk_str bytes, void *user)
{
    session *s = user;
    if (rbk_ws_feed(s->ws, bytes) == RBK_E_NOMEM)
        rbk_http_tunnel_close(rq, false);
    else
        send_frames(s);
    return bytes.n;
}

static void on_socket_gone(rbk_http_request *rq, void *user)
{
    session *s = user;
    (void)rq;
    if (s->waits) {
        unlist(s->waits);
        uv_close((uv_handle_t *)&s->waits->timer, on_timer_closed);
    }
    rbk_ws_free(s->ws);
    free(s);
}

/* 0, or the request must be answered otherwise. */
static int open_socket(rbk_receiver *r, rbk_http_request *rq)
{
    static const rbk_http_tunnel tunnel = {.data = on_frames, .gone = on_socket_gone};
    session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return RBK_E_NOMEM;
    *s = (session){.r = r, .rq = rq};
    rbk_ws_conf conf = {.server = true, .max_in = MESSAGE_MAX, .message = on_message, .user = s};
    int e = rbk_ws_new(&conf, &s->ws);
    if (e == 0)
        e = rbk_ws_open(rq, &(rbk_ws_opening){.tunnel = &tunnel,
                                              .user = s,
                                              .max_ms = SOCKET_MS + r->conf.delay_ms});
    if (e < 0) {
        rbk_ws_free(s->ws);
        free(s);
    }
    return e;
}

/* --- requests --- */

static void on_request(rbk_http_request *rq, void *user)
{
    rbk_receiver *r = user;
    bool socket = !rbk_str_eqz(rq->method, "POST");
    if (socket && r->conf.status < 300 && open_socket(r, rq) == 0)
        return;
    tell(r, rq, (rbk_callback){.method = rq->method, .body = rq->body, .answer = r->conf.status,
                               .refused = socket});
    if (wait_with(r, rq, NULL) == NULL)
        send_answer(r, rq);
}

static int on_head(rbk_http_request *rq, void *user)
{
    (void)user;
    return rbk_str_eqz(rq->method, "POST") || rbk_ws_look(rq) == RBK_WS_ASKED ? 0 : 405;
}

static int listen_on(rbk_receiver *r, rbk_error *err)
{
    char where[32] = "127.0.0.1:";
    int fd = -1;
    rbk_buf b = {.p = where, .n = strlen(where), .cap = sizeof where, .max = sizeof where};
    rbk_buf_add_u64(&b, r->conf.port);
    int n = rbk_http_listen(rbk_buf_view(&b), 1, &fd, &r->port, err);
    if (n < 0)
        return n;
    rbk_http_conf conf = {.tls = r->tls, .max_body = MESSAGE_MAX, .max_connections = 1000,
                          .connections = &r->connections};
    rbk_http_handler handler = {.on_head = on_head, .on_request = on_request, .user = r};
    return rbk_http_server_new(r->loop, fd, &conf, &handler, &r->server, err);
}

int rbk_receiver_start(const rbk_receiver_conf *conf, rbk_receiver **ret, rbk_error *err)
{
    rbk_receiver *r = calloc(1, sizeof *r);
    if (r == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    r->conf = *conf;
    rbk_tls_server_conf tls = {.cert_file = conf->cert->chain, .key_file = conf->cert->key};
    int e = rbk_tls_server_new(&tls, &r->tls, err);
    if (e == 0)
        e = rbk_loop_new("receiver", &r->loop, err);
    if (e == 0)
        e = listen_on(r, err);
    if (e == 0)
        e = rbk_loop_start(r->loop, err);
    r->started = e == 0;
    if (e < 0) {
        rbk_receiver_stop(r);
        return e;
    }
    *ret = r;
    return 0;
}

uint16_t rbk_receiver_port(const rbk_receiver *r)
{
    return r->port;
}

static void close_all(void *arg)
{
    rbk_receiver *r = arg;
    while (r->waiting)
        finish(r->waiting);
    if (r->server)
        rbk_http_server_close(r->server);
}

void rbk_receiver_stop(rbk_receiver *r)
{
    if (r == NULL)
        return;
    if (r->started)
        rbk_loop_call(r->loop, close_all, r);
    else
        close_all(r);
    if (r->loop)
        rbk_loop_stop(r->loop);
    rbk_loop_free(r->loop);
    rbk_tls_free(r->tls);
    free(r);
}
