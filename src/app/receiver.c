/* SPDX-License-Identifier: Apache-2.0 */
/* app/receiver.c - see receiver.h.
 *
 * Answers that wait are in the list `waiting`, each with a timer; at the stop they are
 * answered at once, because every request must be. All of it on the loop's thread but
 * start, port and stop. */
#include "app/receiver.h"

#include "base/clock.h"
#include "base/error.h"
#include "core/webhook.h"
#include "net/http_server.h"

#include <stdlib.h>

typedef struct answer {
    struct answer *prev, *next;
    uv_timer_t timer;
    rbk_receiver *r;
    rbk_http_request *rq;
} answer;

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

static void finish(answer *a)
{
    if (a->prev)
        a->prev->next = a->next;
    else
        a->r->waiting = a->next;
    if (a->next)
        a->next->prev = a->prev;
    send_answer(a->r, a->rq);
    uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

static void on_timer(uv_timer_t *t)
{
    finish(t->data);
}

static void on_request(rbk_http_request *rq, void *user)
{
    rbk_receiver *r = user;
    r->conf.fn(r->conf.user, &(rbk_callback){.method = rq->method, .path = rq->path,
                                             .query = rq->query, .body = rq->body,
                                             .headers = rq->headers, .n_headers = rq->n_headers});
    answer *a = r->conf.delay_ms > 0 ? calloc(1, sizeof *a) : NULL;
    if (a == NULL) {
        send_answer(r, rq);
        return;
    }
    *a = (answer){.r = r, .rq = rq, .next = r->waiting};
    if (r->waiting)
        r->waiting->prev = a;
    r->waiting = a;
    uv_timer_init(rbk_loop_uv(r->loop), &a->timer);
    a->timer.data = a;
    uv_timer_start(&a->timer, on_timer, (uint64_t)r->conf.delay_ms, 0);
}

static int on_head(rbk_http_request *rq, void *user)
{
    (void)user;
    return rbk_str_eqz(rq->method, "POST") ? 0 : 405;
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
    rbk_http_conf conf = {.tls = r->tls, .max_body = 64 << 20, .max_connections = 1000,
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
    int e = rbk_tls_server_new(conf->cert->chain, conf->cert->key, &r->tls, err);
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
