/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_server.c - the listener of one loop and the list of its connections.
 *
 * Over max_connections a connection is still accepted, told 503, and closed; of those
 * at most SHED_MAX at a time, the rest is closed at once. When file descriptors run
 * out libuv gives up its reserve to turn clients away; should that be lost (another
 * thread was quicker), a connection of ours makes room.
 * The server is freed when its last handle is closed. Loop thread. */
#include "net/http_server_impl.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"

enum { SHED_MAX = 64, BACKLOG = 1024, NAP_US = 1000 };

static void set_defaults(rbk_http_server *s)
{
    rbk_http_conf *c = &s->conf;
    c->max_body = c->max_body ? c->max_body : 1 << 20;
    c->max_line = c->max_line ? c->max_line : 8192;
    c->max_head = c->max_head ? c->max_head : 32 << 10;
    c->max_fields = c->max_fields ? c->max_fields : 100;
    c->max_pipeline = c->max_pipeline ? c->max_pipeline : 16;
    c->max_connections = c->max_connections ? c->max_connections : 10000;
    c->head_ms = c->head_ms ? c->head_ms : 10000;
    c->body_ms = c->body_ms ? c->body_ms : 60000;
    c->idle_ms = c->idle_ms ? c->idle_ms : 60000;
    c->write_ms = c->write_ms ? c->write_ms : 20000;
    c->max_buffered = c->max_buffered ? c->max_buffered : 256 << 20;
    if (c->connections == NULL)
        c->connections = &s->own_connections;
}

static void free_when_done(rbk_http_server *s)
{
    if (!s->closed || s->listening || s->rejecting || s->conns)
        return;
    rbk_buf_free(&s->scratch);
    free(s);
}

static void link_conn(rbk_http_server *s, rbk_http_conn *c)
{
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    s->n_conns++;
}

void rbk_http_server_forget(rbk_http_conn *c)
{
    rbk_http_server *s = c->s;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->n_conns--;
    if (c->counted)
        atomic_fetch_sub(s->conf.connections, 1);
    else
        s->n_shed--;
    free_when_done(s);
}

/* libuv calls accept(2) again until that says that nobody waits, and without a free
 * descriptor it never gets to say so: one must become free. The oldest idle connection
 * goes, or else the newest. */
static void free_one_descriptor(rbk_http_server *s)
{
    rbk_http_conn *pick = NULL;
    for (rbk_http_conn *c = s->conns; c; c = c->next)
        if (rbk_http_conn_is_idle(c) || (pick == NULL && c->stage != RBK_HTTP_CLOSING))
            pick = c;
    if (pick)
        rbk_http_conn_abort(pick);
    else
        usleep(NAP_US); /* others hold them all */
}

static void reject_one(rbk_http_server *s);

static void on_rejected(uv_handle_t *h)
{
    rbk_http_server *s = h->data;
    s->rejecting = false;
    if (s->reject_again && s->listening && !uv_is_closing((uv_handle_t *)&s->listener))
        reject_one(s);
    free_when_done(s);
}

/* libuv accepts nothing more until the connection at hand is taken. */
static void reject_one(rbk_http_server *s)
{
    s->reject_again = s->rejecting;
    if (s->rejecting)
        return;
    s->rejecting = true;
    uv_tcp_init(rbk_loop_uv(s->loop), &s->reject);
    s->reject.data = s;
    (void)uv_accept((uv_stream_t *)&s->listener, (uv_stream_t *)&s->reject);
    uv_close((uv_handle_t *)&s->reject, on_rejected);
}

static void on_connection(uv_stream_t *listener, int status)
{
    rbk_http_server *s = listener->data;
    rbk_http_conn *c = NULL;
    if (status < 0) {
        free_one_descriptor(s);
        return;
    }
    if (rbk_http_conn_accept(s, &c) < 0) {
        reject_one(s);
        return;
    }
    link_conn(s, c);
    c->counted = atomic_fetch_add(s->conf.connections, 1) < s->conf.max_connections;
    if (c->counted)
        return;
    atomic_fetch_sub(s->conf.connections, 1);
    /* The others are told 503 when they are open. A handshake only for that is too dear. */
    if (++s->n_shed > SHED_MAX || s->conf.tls)
        rbk_http_conn_abort(c);
}

static void on_listener_closed(uv_handle_t *h)
{
    rbk_http_server *s = h->data;
    s->listening = false;
    free_when_done(s);
}

static void stop_listening(rbk_http_server *s)
{
    if (s->listening && !uv_is_closing((uv_handle_t *)&s->listener))
        uv_close((uv_handle_t *)&s->listener, on_listener_closed);
}

int rbk_http_server_new(rbk_loop *l, int fd, const rbk_http_conf *conf,
                        const rbk_http_handler *handler, rbk_http_server **ret, rbk_error *err)
{
    rbk_http_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "http server");
    s->loop = l;
    s->conf = *conf;
    s->handler = *handler;
    set_defaults(s);
    int r = uv_tcp_init(rbk_loop_uv(l), &s->listener);
    if (r < 0) {
        free(s);
        return rbk_fail(err, RBK_E_SYS, "http server: %s", uv_strerror(r));
    }
    s->listener.data = s;
    s->listening = true;
    r = uv_tcp_open(&s->listener, fd);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
    if (r < 0) {
        s->closed = true;
        stop_listening(s); /* frees */
        return rbk_fail(err, RBK_E_SYS, "listen: %s", uv_strerror(r));
    }
    *ret = s;
    return 0;
}

void rbk_http_server_drain(rbk_http_server *s)
{
    s->draining = true;
    stop_listening(s);
    for (rbk_http_conn *c = s->conns; c; c = c->next)
        rbk_http_conn_drain(c);
}

size_t rbk_http_server_open(const rbk_http_server *s)
{
    return s->n_conns;
}

void rbk_http_server_close(rbk_http_server *s)
{
    if (s == NULL)
        return;
    s->closed = s->draining = true;
    stop_listening(s);
    for (rbk_http_conn *c = s->conns; c; c = c->next) {
        rbk_http_conn_abort(c);
        rbk_http_conn_orphan(c);
    }
    free_when_done(s);
}
