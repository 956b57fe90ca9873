/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_server.c - the listener of one loop and the list of its connections.
 *
 * At max_connections the one that is idle the longest gives way to a new one. Where none is
 * idle long enough (a burst must not push out its own) the new one is still accepted, told 503,
 * and closed; of those at most max_shed at a time, the rest is closed at once. When file descriptors run
 * out libuv gives up its reserve to turn clients away; should that be lost (another
 * thread was quicker), a connection of ours makes room.
 * The server is freed when its last handle is closed. Loop thread. */
#include "net/http_server_impl.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

enum { BACKLOG = 1024, NAP_US = 1000 };

static void set_defaults(rbk_http_server *s)
{
    rbk_http_conf *c = &s->conf;
    c->max_body = c->max_body ? c->max_body : 1 << 20;
    c->max_line = c->max_line ? c->max_line : 8192;
    c->max_head = c->max_head ? c->max_head : 32 << 10;
    c->max_fields = c->max_fields ? c->max_fields : 100;
    c->max_pipeline = c->max_pipeline ? c->max_pipeline : 16;
    c->max_connections = c->max_connections ? c->max_connections : 10000;
    c->max_shed = c->max_shed ? c->max_shed : 64;
    c->yield_ms = c->yield_ms ? c->yield_ms : 1000;
    c->head_ms = c->head_ms ? c->head_ms : 10000;
    c->body_ms = c->body_ms ? c->body_ms : 60000;
    c->idle_ms = c->idle_ms ? c->idle_ms : 60000;
    c->write_ms = c->write_ms ? c->write_ms : 20000;
    c->max_buffered = c->max_buffered ? c->max_buffered : 256 << 20;
    if (c->connections == NULL)
        c->connections = &s->own_connections;
    if (c->shed == NULL)
        c->shed = &s->own_shed;
    if (c->numbers == NULL)
        c->numbers = &s->own_numbers;
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
    if (c->shed)
        atomic_fetch_sub(s->conf.shed, 1);
    if (s->conf.peers)
        rbk_peers_leave(s->conf.peers, &c->peer);
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

/* Its next request is here, if only nobody has read it yet. */
static bool has_bytes(const rbk_http_conn *c)
{
    char byte;
    return recv(rbk_stream_fd(c->st), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Idle for yield_ms at least, or NULL. A look that finds nothing says when the next one may
 * find something, so that a flood of connections does not cost a look each. */
static rbk_http_conn *find_longest_idle(rbk_http_server *s)
{
    rbk_mono_ms now = rbk_loop_now(s->loop), since = now;
    rbk_http_conn *pick = NULL;
    if (now < s->none_idle_until)
        return NULL;
    for (rbk_http_conn *c = s->conns; c; c = c->next)
        if (rbk_http_conn_is_idle(c) && c->counted && c->read_by &&
            c->read_by - s->conf.idle_ms <= since) {
            since = c->read_by - s->conf.idle_ms;
            pick = c;
        }
    if (pick && since + s->conf.yield_ms <= now)
        return has_bytes(pick) ? NULL : pick;
    s->none_idle_until = since + s->conf.yield_ms;
    return NULL;
}

static bool take_place(rbk_http_server *s)
{
    if (atomic_fetch_add(s->conf.connections, 1) < s->conf.max_connections)
        return true;
    rbk_http_conn *idle = find_longest_idle(s);
    if (idle) {
        idle->counted = false; /* its place is taken over */
        rbk_http_conn_abort(idle);
    }
    atomic_fetch_sub(s->conf.connections, 1);
    return idle != NULL;
}

/* What its address has goes before what all have: nobody gives way to one that has too many. */
static rbk_http_shed find_place(rbk_http_server *s, rbk_http_conn *c)
{
    if (s->conf.peers) {
        rbk_peer_of_socket(s->conf.peers, rbk_stream_fd(c->st), &c->peer);
        if (!rbk_peers_enter(s->conf.peers, &c->peer))
            return RBK_HTTP_SHED_ADDRESS;
    }
    c->counted = take_place(s);
    return c->counted ? RBK_HTTP_SHED_NOT : RBK_HTTP_SHED_ALL;
}

/* None is made yet, and so it cannot fail. */
static void init_socket(rbk_http_server *s, rbk_http_socket *h)
{
    if (s->local)
        uv_pipe_init(rbk_loop_uv(s->loop), &h->pipe, 0);
    else
        uv_tcp_init(rbk_loop_uv(s->loop), &h->tcp);
}

static void reject_one(rbk_http_server *s);

static void on_rejected(uv_handle_t *h)
{
    rbk_http_server *s = h->data;
    s->rejecting = false;
    if (s->reject_again && s->listening && !uv_is_closing(&s->listener.handle))
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
    init_socket(s, &s->reject);
    s->reject.handle.data = s;
    (void)uv_accept(&s->listener.stream, &s->reject.stream);
    uv_close(&s->reject.handle, on_rejected);
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
    c->shed = find_place(s, c);
    if (c->counted) {
        rbk_count(&s->conf.numbers->accepted, 1);
        return;
    }
    rbk_count(&s->conf.numbers->shed[c->shed], 1);
    if (s->handler.on_shed)
        s->handler.on_shed(rbk_stream_peer(c->st), c->shed, s->handler.user);
    /* The others are told 503 when they are open. A handshake only for that is too dear. */
    if (atomic_fetch_add(s->conf.shed, 1) >= s->conf.max_shed || s->conf.tls)
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
    if (s->listening && !uv_is_closing(&s->listener.handle))
        uv_close(&s->listener.handle, on_listener_closed);
}

static bool is_local(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;
    return getsockname(fd, (struct sockaddr *)&ss, &n) == 0 && ss.ss_family == AF_UNIX;
}

int rbk_http_server_new(rbk_loop *l, int fd, const rbk_http_conf *conf,
                        const rbk_http_handler *handler, rbk_http_server **ret, rbk_error *err)
{
    rbk_http_server *s = calloc(1, sizeof *s);
    if (s == NULL) {
        close(fd);
        return rbk_fail(err, RBK_E_NOMEM, "http server");
    }
    s->loop = l;
    s->conf = *conf;
    s->handler = *handler;
    set_defaults(s);
    s->local = is_local(fd);
    init_socket(s, &s->listener);
    s->listener.handle.data = s;
    s->listening = true;
    int r = s->local ? uv_pipe_open(&s->listener.pipe, fd) : uv_tcp_open(&s->listener.tcp, fd);
    if (r < 0)
        close(fd); /* the handle has not got it */
    else
        r = uv_listen(&s->listener.stream, BACKLOG, on_connection);
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
