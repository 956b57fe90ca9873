/* SPDX-License-Identifier: Apache-2.0 */
/* net/connect.c - see connect.h: a race of connections, of which one is kept.
 *
 * A runner is one connection of the race: CONNECTING, behind a proxy then ASKING (CONNECT was
 * sent), and whoever is ready first wins: the others are closed, and the winner alone goes on
 * to TLS. The answer of a proxy is bounded, and must be 2xx; bytes behind its head are those of
 * somebody who spoke before being asked, and end the dial.
 *
 * A dial lives until its timer and all its streams are closed; from `over` on it calls nobody.
 * Each callback of the user may cancel or free what it likes: it is the last thing done. */
#include "net/connect.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

typedef struct runner {
    rbk_dial *d;
    rbk_stream *s; /* NULL: not begun, or gone */
    bool dropped;  /* it gave way: what becomes of it does not matter */
    rbk_addr addr;
    struct sockaddr_storage sa; /* of the receiver */
    rbk_buf head;               /* of the proxy's answer */
} runner;

struct rbk_dial {
    rbk_loop *loop;
    rbk_dial_conf conf; /* `addrs` is not used */
    struct sockaddr_storage proxy;
    runner runners[RBK_DIAL_MAX];
    size_t n, next;
    runner *winner, *asked; /* `asked`: whom allow() was last asked about */
    unsigned refs;          /* the timer, and each stream */
    bool over;
    uv_timer_t timer;
    int err; /* of the last that failed */
    char detail[400];
};

/* --- the end --- */

static void unref(rbk_dial *d)
{
    if (--d->refs > 0)
        return;
    for (size_t i = 0; i < d->n; i++)
        rbk_buf_free(&d->runners[i].head);
    free(d);
}

static void on_timer_closed(uv_handle_t *h)
{
    unref(h->data);
}

/* Close all but `keep`. */
static void close_others(rbk_dial *d, const runner *keep)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->runners[i].s && &d->runners[i] != keep)
            rbk_stream_close(d->runners[i].s, true);
}

static void end(rbk_dial *d, const runner *keep)
{
    d->over = true;
    close_others(d, keep);
    uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

static void fail(rbk_dial *d, int err, const char *detail)
{
    char text[sizeof d->detail];
    rbk_dialled r = {.err = err, .detail = text};
    snprintf(text, sizeof text, "%s", detail);
    void (*done)(void *, const rbk_dialled *) = d->conf.done;
    void *user = d->conf.user;
    end(d, NULL);
    done(user, &r);
}

void rbk_dial_cancel(rbk_dial *d)
{
    if (d && !d->over)
        end(d, NULL);
}

/* What a proxy does not answer says nothing about the receiver. */
int rbk_dial_late(const rbk_dial *d, const char **ret_detail)
{
    bool proxy = d && d->conf.proxy && d->winner == NULL;
    *ret_detail = proxy ? "no answer of the proxy in time" : "no connection in time";
    return proxy ? RBK_E_SYS : RBK_E_TIMEOUT;
}

/* The winner is open: it is the owner's from here on. */
static void succeed(runner *w)
{
    rbk_dial *d = w->d;
    rbk_dialled r = {.detail = "", .s = w->s, .addr = w->addr};
    void (*done)(void *, const rbk_dialled *) = d->conf.done;
    void *user = d->conf.user;
    w->s = NULL;
    end(d, w);
    unref(d); /* of the stream; the timer holds another */
    done(user, &r);
}

/* --- winning --- */

static bool allowed(runner *w)
{
    rbk_dial *d = w->d;
    bool again = d->asked != w;
    d->asked = w;
    return !again || d->conf.allow == NULL ||
           d->conf.allow((const struct sockaddr *)&w->sa, d->conf.allow_user);
}

static void win(runner *w)
{
    rbk_dial *d = w->d;
    uv_timer_stop(&d->timer);
    d->winner = w;
    close_others(d, w);
    if (d->conf.http2)
        rbk_stream_offer_http2(w->s);
    if (!allowed(w))
        fail(d, RBK_E_ADDRESS, "the address is not allowed");
    else if (d->conf.tls == NULL)
        succeed(w);
    else if (rbk_stream_start_tls(w->s, d->conf.tls, d->conf.name, d->conf.port) < 0)
        fail(d, RBK_E_NOMEM, "out of memory");
}

/* --- the proxy --- */

static void ask_proxy(runner *w)
{
    char ip[INET6_ADDRSTRLEN] = "", text[256];
    bool v6 = w->addr.v6;
    uv_inet_ntop(v6 ? AF_INET6 : AF_INET, w->addr.ip, ip, sizeof ip);
    const char *l = v6 ? "[" : "", *r = v6 ? "]" : "";
    unsigned port = w->d->conf.port;
    int n = snprintf(text, sizeof text, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n\r\n", l,
                     ip, r, port, l, ip, r, port);
    rbk_stream_write(w->s, text, (size_t)n);
}

/* The status of a head "HTTP/1.x NNN ...", 0 when it is none. */
static int parse_status(const rbk_buf *head)
{
    const char *p = head->p;
    if (head->n < 13 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') || p[8] != ' ')
        return 0;
    for (int i = 9; i < 12; i++)
        if (p[i] < '0' || p[i] > '9')
            return 0;
    return p[12] == ' ' || p[12] == '\r' ? (p[9] - '0') * 100 + (p[10] - '0') * 10 + p[11] - '0' : 0;
}

/* A proxy that cannot reach the receiver says 502 or 504 (RFC 9110); all else is its own. */
static void refused(runner *w, int status)
{
    char text[64];
    snprintf(text, sizeof text, "the proxy answered %d", status);
    w->d->err = status == 502 || status == 504 ? RBK_E_CONNECT : RBK_E_SYS;
    snprintf(w->d->detail, sizeof w->d->detail, "%s", text);
    rbk_stream_close(w->s, true);
}

static void on_data(rbk_stream *s, const char *p, size_t n, void *user)
{
    runner *w = user;
    rbk_dial *d = w->d;
    (void)s;
    if (d->over || d->winner)
        return; /* the winner's bytes are OpenSSL's */
    rbk_buf_add(&w->head, p, n);
    if (rbk_buf_err(&w->head) < 0) {
        fail(d, RBK_E_SYS, "the proxy's answer is too long");
        return;
    }
    const char *end_of_head = memmem(w->head.p, w->head.n, "\r\n\r\n", 4);
    if (end_of_head == NULL)
        return;
    int status = parse_status(&w->head);
    if (status == 0)
        fail(d, RBK_E_SYS, "the proxy's answer is not HTTP");
    else if (status / 100 != 2)
        refused(w, status);
    else if (end_of_head + 4 != w->head.p + w->head.n)
        fail(d, RBK_E_SYS, "the proxy sent bytes behind its answer");
    else
        win(w);
}

/* --- the race --- */

static const struct sockaddr *goal(const runner *w)
{
    return (const struct sockaddr *)(w->d->conf.proxy ? &w->d->proxy : &w->sa);
}

/* The kernel connected to what was checked. */
static bool is_peer(const runner *w)
{
    struct sockaddr_storage got = {0};
    socklen_t n = sizeof got;
    const struct sockaddr *want = goal(w);
    if (want->sa_family == AF_UNIX) /* a path, which the kernel does not translate */
        return true;
    if (getpeername(rbk_stream_fd(w->s), (struct sockaddr *)&got, &n) < 0 ||
        got.ss_family != want->sa_family)
        return false;
    if (want->sa_family == AF_INET) {
        const struct sockaddr_in *a = (const void *)want, *b = (const void *)&got;
        return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *a = (const void *)want, *b = (const void *)&got;
    return a->sin6_port == b->sin6_port && memcmp(&a->sin6_addr, &b->sin6_addr, 16) == 0;
}

static void on_opened(rbk_stream *s, void *user)
{
    runner *w = user;
    rbk_dial *d = w->d;
    (void)s;
    if (d->over)
        return;
    if (d->winner == w)
        succeed(w);
    else if (!is_peer(w))
        fail(d, RBK_E_ADDRESS, "connected to another address");
    else if (d->conf.proxy)
        ask_proxy(w);
    else
        win(w);
}

static void run_next(rbk_dial *d);

static void on_closed(rbk_stream *s, int err, const char *detail, void *user)
{
    runner *w = user;
    rbk_dial *d = w->d;
    bool proxied = d->conf.proxy && d->winner != w;
    (void)s;
    w->s = NULL;
    if (!d->over && !w->dropped && (d->winner == NULL || d->winner == w)) {
        if (err < 0 || d->err == 0) {
            d->err = err ? err : RBK_E_CONNECT;
            if (proxied && err != RBK_E_ADDRESS && err != RBK_E_NOMEM)
                d->err = RBK_E_SYS;
            snprintf(d->detail, sizeof d->detail, "%s%s", proxied ? "proxy: " : "",
                     detail && *detail ? detail : "closed by the peer");
        }
        bool last = d->winner || d->err == RBK_E_ADDRESS || d->err == RBK_E_NOMEM;
        if (last)
            fail(d, d->err, d->detail);
        else
            run_next(d);
    }
    unref(d);
}

static void on_timer(uv_timer_t *timer)
{
    run_next(timer->data);
}

static int run(runner *w)
{
    static const rbk_stream_cb cb = {.opened = on_opened, .data = on_data, .closed = on_closed};
    rbk_dial *d = w->d;
    rbk_connect how = {
        .addr = goal(w),
        .allow = d->conf.proxy ? NULL : d->conf.allow,
        .allow_user = d->conf.allow_user,
    };
    d->asked = w;
    if (d->conf.proxy && d->conf.allow &&
        !d->conf.allow((const struct sockaddr *)&w->sa, d->conf.allow_user))
        return RBK_E_ADDRESS;
    int r = rbk_stream_connect(d->loop, &how, &cb, w, &w->s);
    if (r == 0)
        d->refs++;
    return r;
}

static size_t count_running(rbk_dial *d, runner **ret_last)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        if (d->runners[i].s && !d->runners[i].dropped) {
            n++;
            *ret_last = &d->runners[i];
        }
    return n;
}

/* Its socket is closed at once, whenever its end is told. */
static void make_room(rbk_dial *d)
{
    runner *last = NULL;
    if (d->conf.sockets == 0 || count_running(d, &last) < d->conf.sockets)
        return;
    last->dropped = true;
    rbk_stream_close(last->s, true);
}

/* The next one joins; when there is none and nobody runs any more, it is lost. */
static void run_next(rbk_dial *d)
{
    runner *last = NULL;
    if (d->next < d->n) {
        make_room(d);
        int r = run(&d->runners[d->next++]);
        if (r < 0)
            fail(d, r, r == RBK_E_ADDRESS ? "the address is not allowed" : "out of memory");
        else if (d->next < d->n)
            uv_timer_start(&d->timer, on_timer, RBK_DIAL_NEXT_MS, 0);
    } else if (count_running(d, &last) == 0) {
        fail(d, d->err ? d->err : RBK_E_CONNECT, d->err ? d->detail : "there is no address");
    }
}

static size_t next_of(const rbk_dial_conf *conf, size_t i, bool v6)
{
    while (i < conf->n_addrs && conf->addrs[i].v6 != v6)
        i++;
    return i;
}

/* IPv6 and IPv4 in turn, each in the order of the answer. */
static void line_up(rbk_dial *d, const rbk_dial_conf *conf)
{
    size_t n = conf->n_addrs, six = next_of(conf, 0, true), four = next_of(conf, 0, false);
    while ((six < n || four < n) && d->n < RBK_DIAL_MAX) {
        bool v6 = six < n && (d->n % 2 == 0 || four == n);
        size_t *i = v6 ? &six : &four;
        runner *w = &d->runners[d->n++];
        w->d = d;
        w->addr = conf->addrs[*i];
        w->head = RBK_BUF(RBK_PROXY_HEAD_MAX);
        rbk_addr_to_sockaddr(&w->addr, conf->port, &w->sa);
        *i = next_of(conf, *i + 1, v6);
    }
}

/* The one place of a Unix socket. A path that is too long leads nowhere. */
static void line_up_path(rbk_dial *d, const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t n = strnlen(path, sizeof un.sun_path);
    if (n == 0 || n >= sizeof un.sun_path)
        return;
    memcpy(un.sun_path, path, n);
    runner *w = &d->runners[d->n++];
    w->d = d;
    w->head = RBK_BUF(RBK_PROXY_HEAD_MAX);
    memcpy(&w->sa, &un, sizeof un);
}

/* The first one runs in the next turn, so that nothing is called from in here. */
int rbk_dial_start(rbk_loop *l, const rbk_dial_conf *conf, rbk_dial **ret)
{
    rbk_dial *d = calloc(1, sizeof *d);
    if (d == NULL)
        return RBK_E_NOMEM;
    d->loop = l;
    d->conf = *conf;
    if (conf->proxy) {
        d->proxy = *conf->proxy;
        d->conf.proxy = &d->proxy;
    }
    if (conf->path) {
        d->conf.proxy = NULL;
        line_up_path(d, conf->path);
    } else {
        line_up(d, conf);
    }
    d->refs = 1;
    uv_timer_init(rbk_loop_uv(l), &d->timer);
    d->timer.data = d;
    *ret = d;
    if (d->n > 0 && d->conf.proxy == NULL) {
        int r = run(&d->runners[d->next++]);
        if (r < 0)
            rbk_dial_cancel(d);
        else if (d->next < d->n)
            uv_timer_start(&d->timer, on_timer, RBK_DIAL_NEXT_MS, 0);
        return r;
    }
    uv_timer_start(&d->timer, on_timer, 0, 0);
    return 0;
}
