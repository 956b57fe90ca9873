/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_upgrade.c - a connection of the HTTP server that leaves HTTP (RFC 9110 7.8).
 *
 * The request that asked for it becomes the tunnel's name: it leaves the line of requests
 * and lives until the connection is closed, so that its header lines stay readable. The
 * server keeps what is its own: the stream, the write deadline, one absolute deadline for
 * the whole. Loop thread. */
#include "net/http_server_impl.h"

#include <stdlib.h>

enum { HEAD_MAX = 4096 };

struct rbk_http_tunneled {
    rbk_http_rq *rq;
    rbk_http_tunnel fn;
    void *user;
};

static int write_switch(rbk_http_conn *c, const rbk_http_reply *reply)
{
    rbk_buf head = RBK_BUF(HEAD_MAX);
    rbk_buf_lit(&head, "HTTP/1.1 101 Switching Protocols\r\n");
    for (size_t i = 0; i < reply->n_headers; i++) {
        rbk_buf_str(&head, reply->headers[i].name);
        rbk_buf_lit(&head, ": ");
        rbk_buf_str(&head, reply->headers[i].value);
        rbk_buf_lit(&head, "\r\n");
    }
    rbk_buf_lit(&head, "\r\n");
    int r = rbk_buf_err(&head);
    if (r == 0) {
        rbk_count(&c->s->conf.numbers->answers[RBK_HTTP_STATUS_101], 1);
        rbk_http_conn_write(c, rbk_buf_view(&head));
    }
    rbk_buf_free(&head);
    return r;
}

int rbk_http_upgrade(rbk_http_request *rq, const rbk_http_reply *reply, const rbk_http_tunnel *t,
                     void *user, int64_t max_ms)
{
    rbk_http_rq *r = (rbk_http_rq *)rq;
    rbk_http_conn *c = r->conn;
    if (c == NULL || c->stage == RBK_HTTP_CLOSING)
        return RBK_E_CLOSED;
    if (r->head.http10) /* which has no 101, whatever its Connection says */
        return RBK_E_STATE;
    if (c->first != r || r->next || c->cur || c->stage != RBK_HTTP_HEAD)
        return RBK_E_STATE;
    rbk_http_tunneled *x = calloc(1, sizeof *x);
    int e = x ? write_switch(c, reply) : RBK_E_NOMEM;
    if (e < 0) {
        free(x);
        return RBK_E_NOMEM;
    }
    *x = (rbk_http_tunneled){.rq = r, .fn = *t, .user = user};
    c->first = c->last = NULL;
    c->n_open = 0;
    c->tunnel = x;
    r->handed = false;
    if (c->stage == RBK_HTTP_HEAD) { /* the write may have ended it */
        c->stage = RBK_HTTP_TUNNEL;
        c->read_by = max_ms > 0 ? rbk_loop_now(c->s->loop) + max_ms : 0;
    }
    rbk_http_conn_settle(c);
    return 0;
}

size_t rbk_http_tunnel_feed(rbk_http_conn *c, rbk_str bytes)
{
    const rbk_http_tunneled *x = c->tunnel;
    size_t used = x->fn.data(&x->rq->pub, bytes, x->user);
    c->tunnel_held = c->tunnel_held || used < bytes.n;
    return c->stage == RBK_HTTP_TUNNEL ? used : bytes.n;
}

void rbk_http_tunnel_drain(rbk_http_conn *c)
{
    const rbk_http_tunneled *x = c->tunnel;
    if (x->fn.drain)
        x->fn.drain(&x->rq->pub, x->user);
}

void rbk_http_tunnel_write(rbk_http_request *rq, rbk_str bytes)
{
    rbk_http_tunnel_write_watched(rq, bytes, NULL, NULL);
}

void rbk_http_tunnel_write_watched(rbk_http_request *rq, rbk_str bytes,
                                   void (*written)(bool all, void *user), void *user)
{
    rbk_http_conn *c = ((rbk_http_rq *)rq)->conn;
    if (c->stage != RBK_HTTP_TUNNEL) {
        if (written)
            written(false, user);
        return;
    }
    rbk_http_conn_write(c, bytes);
    rbk_http_watch_add(c, (rbk_http_watch){written, user});
    rbk_http_conn_settle(c);
}

void rbk_http_tunnel_resume(rbk_http_request *rq)
{
    rbk_http_conn *c = ((rbk_http_rq *)rq)->conn;
    c->tunnel_held = false;
    if (c->stage == RBK_HTTP_TUNNEL)
        rbk_http_conn_settle(c);
}

bool rbk_http_tunnel_charge(rbk_http_request *rq, size_t n)
{
    rbk_http_conn *c = ((rbk_http_rq *)rq)->conn;
    return c->st == NULL || rbk_http_charge_body(c, n);
}

bool rbk_http_tunnel_is_stuck(rbk_http_request *rq)
{
    const rbk_http_conn *c = ((rbk_http_rq *)rq)->conn;
    return c->stage == RBK_HTTP_TUNNEL && rbk_http_conn_is_full(c);
}

void rbk_http_tunnel_close(rbk_http_request *rq, bool now)
{
    rbk_http_conn *c = ((rbk_http_rq *)rq)->conn;
    if (now)
        rbk_http_conn_abort(c);
    else if (c->stage == RBK_HTTP_TUNNEL)
        rbk_http_conn_end(c);
}

void rbk_http_tunnel_end(rbk_http_conn *c)
{
    rbk_http_tunneled *x = c->tunnel;
    if (x == NULL)
        return;
    c->tunnel = NULL;
    x->fn.gone(&x->rq->pub, x->user);
    rbk_http_rq_free(x->rq);
    free(x);
}
