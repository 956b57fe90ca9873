/* SPDX-License-Identifier: Apache-2.0 */
/* net/stream.c - see stream.h: the socket, the queue and the life of a stream.
 *
 * CONNECTING -> (HANDSHAKE ->) OPEN -> ENDING -> LINGER -> CLOSING, and from each of
 * them CLOSING. What is written in a turn is sent at its end, by uv_try_write() first.
 *
 * ENDING and LINGER read on and throw away: closing a socket with unread bytes makes
 * the kernel send a reset, and that would destroy what the peer has not read yet.
 *
 * A callback may close the stream, so the state is asked again after each. The memory
 * goes in the close callback of libuv alone, which is never inside another. */
#include "net/stream_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/tls_impl.h"

enum {
    END_MS = 30 * 1000, /* for what was queued before an orderly close */
    LINGER_MS = 1000,   /* for the peer's FIN after ours */
};

static void on_written(uv_write_t *req, int status);
static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf);
static void begin(rbk_stream *s, bool server);

/* --- the end --- */

static void free_stream(rbk_stream *s)
{
    if (s->tls)
        rbk_stream_tls_free(s);
    rbk_buf_free(&s->out);
    rbk_buf_free(&s->sending);
    rbk_buf_free(&s->plain);
    rbk_buf_free(&s->held);
    free(s->detail);
    free(s);
}

static void on_closed(uv_handle_t *h)
{
    rbk_stream *s = h->data;
    s->cb.closed(s, s->err, s->detail ? s->detail : "", s->user);
    free_stream(s);
}

static void on_abandoned(uv_handle_t *h)
{
    free_stream(h->data);
}

static void on_limit_closed(uv_handle_t *h)
{
    free(h);
}

/* The one way to CLOSING. */
static void shut(rbk_stream *s)
{
    if (s->state == RBK_STREAM_CLOSING)
        return;
    s->state = RBK_STREAM_CLOSING;
    rbk_link_remove(&s->turn.link);
    if (s->limit)
        uv_close((uv_handle_t *)s->limit, on_limit_closed);
    s->limit = NULL;
    uv_close(&s->h.handle, on_closed);
}

/* After rbk_stream_close() whatever goes wrong is of no interest. */
void rbk_stream_fail(rbk_stream *s, int err, const char *detail)
{
    if (s->state < RBK_STREAM_ENDING) {
        s->err = err;
        s->detail = strdup(detail);
    }
    shut(s);
}

static void on_limit(uv_timer_t *h)
{
    shut(h->data);
}

static void limit_to(rbk_stream *s, uint64_t ms)
{
    if (s->limit == NULL) {
        s->limit = malloc(sizeof *s->limit);
        if (s->limit == NULL) {
            shut(s);
            return;
        }
        uv_timer_init(&s->loop->uv, s->limit);
        s->limit->data = s;
    }
    uv_timer_start(s->limit, on_limit, ms, 0);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    rbk_stream *s = req->data;
    if (s->state == RBK_STREAM_CLOSING)
        return;
    s->state = RBK_STREAM_LINGER;
    if (status < 0 || s->fin)
        shut(s);
    else
        limit_to(s, LINGER_MS);
}

/* --- reading --- */

static void on_alloc(uv_handle_t *h, size_t n, uv_buf_t *buf)
{
    rbk_stream *s = h->data;
    (void)n;
    *buf = uv_buf_init(s->loop->read_buf, RBK_LOOP_BUF);
}

/* Read, or do not, as the state wants it. */
static void set_reading(rbk_stream *s)
{
    bool want = s->state == RBK_STREAM_OPEN ? !s->paused && s->held.n == 0
                                            : s->state > RBK_STREAM_CONNECTING;
    if (s->state == RBK_STREAM_CLOSING || s->fin || want == s->reading)
        return;
    s->reading = want;
    if (want)
        uv_read_start(&s->h.stream, on_alloc, on_read);
    else
        uv_read_stop(&s->h.stream);
}

void rbk_stream_peer_ended(rbk_stream *s)
{
    if (s->cb.ended)
        s->cb.ended(s, s->user);
    else
        rbk_stream_close(s, false);
}

/* FIN. Under TLS it is an end only after close_notify, else something was cut off. */
static void on_fin(rbk_stream *s)
{
    s->fin = true;
    s->reading = false;
    if (s->state == RBK_STREAM_LINGER)
        shut(s);
    else if (s->state == RBK_STREAM_ENDING)
        return;
    else if (s->broken)
        rbk_stream_fail(s, RBK_E_CLOSED, "the connection is broken");
    else if (s->state == RBK_STREAM_HANDSHAKE)
        rbk_stream_fail(s, s->greeted || s->name ? RBK_E_TLS : RBK_E_CLOSED,
                        "the peer closed during the TLS handshake");
    else if (s->tls == NULL)
        rbk_stream_peer_ended(s);
    else if (!s->tls_ended)
        rbk_stream_fail(s, RBK_E_CLOSED, "the peer closed without the end of TLS");
}

static void on_read(uv_stream_t *h, ssize_t n, const uv_buf_t *buf)
{
    rbk_stream *s = h->data;
    if (n == 0)
        return;
    if (n == UV_EOF)
        on_fin(s);
    else if (n < 0)
        rbk_stream_fail(s, RBK_E_CLOSED, uv_strerror((int)n));
    else if (s->state >= RBK_STREAM_ENDING)
        return;
    else if (s->tls)
        rbk_stream_tls_feed(s, buf->base, (size_t)n);
    else
        s->cb.data(s, buf->base, (size_t)n, s->user);
    set_reading(s);
}

void rbk_stream_pause(rbk_stream *s)
{
    s->paused = true;
    set_reading(s);
}

void rbk_stream_resume(rbk_stream *s)
{
    s->paused = false;
    if (s->held.n > 0)
        rbk_stream_flush_soon(s);
    else
        set_reading(s);
}

/* --- writing --- */

size_t rbk_stream_unsent(const rbk_stream *s)
{
    size_t sending =
        s->broken ? s->sending.n : uv_stream_get_write_queue_size(&s->h.stream);
    return s->plain.n - s->plain_at + s->out.n + sending;
}

uint64_t rbk_stream_sent(const rbk_stream *s)
{
    size_t left = s->writing ? uv_stream_get_write_queue_size(&s->h.stream) : 0;
    return s->sent + s->writing - left;
}

size_t rbk_stream_held(const rbk_stream *s)
{
    return s->plain.n + s->out.n + s->sending.n;
}

/* Nothing more can be sent. If the peer said something before, it is still to be read,
 * and the reading ends by itself. */
static void break_off(rbk_stream *s, int status)
{
    s->broken = true;
    if (!s->reading || s->state >= RBK_STREAM_ENDING)
        rbk_stream_fail(s, RBK_E_CLOSED, uv_strerror(status));
}

/* All of `out`: to the kernel, and what it does not take to `sending`. */
static void send_out(rbk_stream *s)
{
    uv_buf_t b = {.base = s->out.p, .len = s->out.n};
    int r = uv_try_write(&s->h.stream, &b, 1);
    if (r == UV_EAGAIN)
        r = 0;
    if (r < 0) {
        break_off(s, r);
        return;
    }
    s->sent += (uint64_t)r;
    if ((size_t)r == s->out.n) {
        rbk_buf_free(&s->out);
        return;
    }
    s->sending = s->out;
    s->out = RBK_BUF(s->out.max);
    b = (uv_buf_t){.base = s->sending.p + r, .len = s->sending.n - (size_t)r};
    s->write.data = s;
    s->writing = b.len;
    r = uv_write(&s->write, &s->h.stream, &b, 1, on_written);
    if (r < 0) {
        s->writing = 0;
        break_off(s, r);
    }
}

/* Everything has gone, and the stream is ENDING: now our own end. */
static void send_end(rbk_stream *s)
{
    if (s->tls)
        rbk_stream_tls_end(s);
    if (s->state != RBK_STREAM_ENDING)
        return;
    if (s->out.n > 0)
        send_out(s);
    if (s->state != RBK_STREAM_ENDING)
        return;
    s->req.shutdown.data = s;
    if (uv_shutdown(&s->req.shutdown, &s->h.stream, on_shutdown) < 0)
        shut(s);
    else
        s->state = RBK_STREAM_LINGER; /* uv_shutdown() waits for `sending` */
}

static void flush(rbk_stream *s)
{
    while (s->state < RBK_STREAM_LINGER && !s->broken && s->sending.n == 0) {
        if (s->tls && s->state >= RBK_STREAM_OPEN && s->plain.n > 0)
            rbk_stream_tls_encrypt(s);
        if (s->state >= RBK_STREAM_LINGER || s->out.n == 0)
            break;
        send_out(s);
    }
    if (s->state != RBK_STREAM_OPEN && s->state != RBK_STREAM_ENDING)
        return;
    if (s->broken || rbk_stream_unsent(s) > 0)
        return;
    if (s->state == RBK_STREAM_ENDING) {
        send_end(s);
    } else if (s->drain) {
        s->drain = false;
        if (s->cb.drained)
            s->cb.drained(s, s->user);
    }
}

static void on_written(uv_write_t *req, int status)
{
    rbk_stream *s = req->data;
    s->sent += s->writing; /* of one that failed nobody knows: it counts */
    s->writing = 0;
    if (s->state == RBK_STREAM_CLOSING)
        return;
    if (status < 0) {
        break_off(s, status);
        return;
    }
    rbk_buf_free(&s->sending);
    flush(s);
}

static void on_turn(rbk_turn *turn)
{
    rbk_stream *s = RBK_OF_LINK(turn, rbk_stream, turn);
    if (s->state == RBK_STREAM_CONNECTING) { /* accepted in this turn */
        begin(s, true);
    } else if (s->held.n > 0 && s->state == RBK_STREAM_OPEN && !s->paused) {
        rbk_stream_tls_feed(s, NULL, 0);
        set_reading(s);
    }
    flush(s);
}

void rbk_stream_flush_soon(rbk_stream *s)
{
    rbk_loop_at_turn_end(s->loop, &s->turn);
}

int rbk_stream_write(rbk_stream *s, const void *p, size_t n)
{
    rbk_buf *b = s->tls ? &s->plain : &s->out;
    if (s->state >= RBK_STREAM_ENDING || s->broken)
        return RBK_E_CLOSED;
    rbk_buf_add(b, p, n);
    if (rbk_buf_err(b) < 0) {
        rbk_stream_fail(s, RBK_E_NOMEM, "out of memory");
        return RBK_E_NOMEM;
    }
    s->drain = true;
    if (s->state != RBK_STREAM_CONNECTING && s->sending.n == 0)
        rbk_stream_flush_soon(s);
    return 0;
}

void rbk_stream_close(rbk_stream *s, bool now)
{
    if (now || s->broken || s->state < RBK_STREAM_OPEN) {
        shut(s);
    } else if (s->state == RBK_STREAM_OPEN) {
        s->state = RBK_STREAM_ENDING;
        limit_to(s, END_MS);
        if (s->state == RBK_STREAM_ENDING && s->sending.n == 0)
            rbk_stream_flush_soon(s);
        set_reading(s);
    }
}

/* --- opening --- */

void rbk_stream_opened(rbk_stream *s)
{
    s->state = RBK_STREAM_OPEN;
    set_reading(s);
    if (s->plain.n + s->out.n > 0)
        rbk_stream_flush_soon(s);
    if (s->cb.opened)
        s->cb.opened(s, s->user);
}

static void begin(rbk_stream *s, bool server)
{
    if (!s->local)
        uv_tcp_nodelay(&s->h.tcp, 1);
    if (s->tls == NULL) {
        rbk_stream_opened(s);
        return;
    }
    s->state = RBK_STREAM_HANDSHAKE;
    rbk_stream_tls_start(s, server);
    set_reading(s);
}

static void on_connected(uv_connect_t *req, int status)
{
    rbk_stream *s = req->data;
    if (s->state == RBK_STREAM_CLOSING)
        return;
    if (status < 0)
        rbk_stream_fail(s, RBK_E_CONNECT, uv_strerror(status));
    else
        begin(s, false);
}

void rbk_stream_take(rbk_stream *s, const rbk_stream_cb *cb, void *user)
{
    s->cb = *cb;
    s->user = user;
}

int rbk_stream_start_tls(rbk_stream *s, rbk_tls *tls, const char *name, uint16_t port)
{
    if (rbk_stream_tls_name(s, name, port) < 0) {
        free(s->name);
        free(s->key);
        s->name = s->key = NULL;
        return RBK_E_NOMEM;
    }
    s->tls = rbk_tls_ref(tls);
    begin(s, false);
    return 0;
}

static uint16_t port_of(const struct sockaddr *addr)
{
    const struct sockaddr_in *v4 = (const void *)addr; /* at the same place in IPv6's */
    return ntohs(v4->sin_port);
}

static void name_peer(rbk_stream *s, const struct sockaddr *addr)
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)addr;
        uv_ip6_name(v6, ip, sizeof ip);
        snprintf(s->peer, sizeof s->peer, "[%s]:%u", ip, ntohs(v6->sin6_port));
    } else if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)addr;
        uv_ip4_name(v4, ip, sizeof ip);
        snprintf(s->peer, sizeof s->peer, "%s:%u", ip, ntohs(v4->sin_port));
    } else if (addr->sa_family == AF_UNIX) {
        snprintf(s->peer, sizeof s->peer, "a Unix socket");
    }
}

/* Who connected to our Unix socket. */
static void name_user(rbk_stream *s)
{
    struct ucred who;
    socklen_t n = sizeof who;
    if (getsockopt(rbk_stream_fd(s), SOL_SOCKET, SO_PEERCRED, &who, &n) == 0)
        snprintf(s->peer, sizeof s->peer, "unix:uid=%u", (unsigned)who.uid);
    else
        snprintf(s->peer, sizeof s->peer, "unix");
}

static rbk_stream *new_stream(rbk_loop *l, rbk_tls *tls, bool local, const rbk_stream_cb *cb,
                              void *user)
{
    rbk_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->loop = l;
    s->cb = *cb;
    s->user = user;
    s->tls = tls ? rbk_tls_ref(tls) : NULL;
    s->turn.fn = on_turn;
    rbk_link_init(&s->turn.link);
    s->out = s->sending = s->plain = s->held = RBK_BUF(SIZE_MAX);
    s->local = local;
    if (local) /* neither makes a socket yet, and so they cannot fail */
        uv_pipe_init(&l->uv, &s->h.pipe, 0);
    else
        uv_tcp_init(&l->uv, &s->h.tcp);
    s->h.handle.data = s;
    return s;
}

static const char *path_of(const struct sockaddr *addr)
{
    return ((const struct sockaddr_un *)(const void *)addr)->sun_path;
}

/* The one place of the house that connects. */
static void connect_to(rbk_stream *s, const rbk_connect *c)
{
    if (c->allow && !c->allow(c->addr, c->allow_user)) {
        rbk_stream_fail(s, RBK_E_ADDRESS, "the address is not allowed");
        return;
    }
    s->req.connect.data = s;
    int r = 0;
    if (s->local) /* what is wrong with it comes to on_connected() */
        uv_pipe_connect(&s->req.connect, &s->h.pipe, path_of(c->addr), on_connected);
    else
        r = uv_tcp_connect(&s->req.connect, &s->h.tcp, c->addr, on_connected);
    if (r < 0)
        rbk_stream_fail(s, RBK_E_CONNECT, uv_strerror(r));
}

int rbk_stream_connect(rbk_loop *l, const rbk_connect *c, const rbk_stream_cb *cb, void *user,
                       rbk_stream **ret)
{
    rbk_stream *s = new_stream(l, c->tls, c->addr->sa_family == AF_UNIX, cb, user);
    if (s == NULL)
        return RBK_E_NOMEM;
    name_peer(s, c->addr);
    if (c->tls && rbk_stream_tls_name(s, c->name, port_of(c->addr)) < 0) {
        uv_close(&s->h.handle, on_abandoned);
        return RBK_E_NOMEM;
    }
    connect_to(s, c);
    *ret = s;
    return 0;
}

int rbk_stream_accept(rbk_loop *l, uv_stream_t *listener, rbk_tls *tls, const rbk_stream_cb *cb,
                      void *user, rbk_stream **ret)
{
    struct sockaddr_storage addr = {0};
    int n = sizeof addr;
    rbk_stream *s = new_stream(l, tls, listener->type == UV_NAMED_PIPE, cb, user);
    if (s == NULL)
        return RBK_E_NOMEM;
    if (uv_accept(listener, &s->h.stream) < 0) {
        uv_close(&s->h.handle, on_abandoned);
        return RBK_E_SYS;
    }
    if (s->local)
        name_user(s);
    else if (uv_tcp_getpeername(&s->h.tcp, (struct sockaddr *)&addr, &n) == 0)
        name_peer(s, (const struct sockaddr *)&addr);
    rbk_stream_flush_soon(s); /* `opened` comes at the end of this turn */
    *ret = s;
    return 0;
}

/* --- looking --- */

const char *rbk_stream_peer(const rbk_stream *s)
{
    return s->peer;
}

bool rbk_stream_is_quiet(const rbk_stream *s)
{
    char c;
    return recv(rbk_stream_fd(s), &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

void rbk_stream_offer_http2(rbk_stream *s)
{
    s->offers_http2 = true;
}

bool rbk_stream_is_http2(const rbk_stream *s)
{
    return s->is_http2;
}

int rbk_stream_fd(const rbk_stream *s)
{
    uv_os_fd_t fd;
    return uv_fileno(&s->h.handle, &fd) < 0 ? -1 : fd;
}
