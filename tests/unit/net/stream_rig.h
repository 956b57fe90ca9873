/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of streams share: both ends on one loop, turned by hand; each end counts
 * what it is told. Certificates are made once a program (make_certs). */
#ifndef RBK_TESTS_STREAM_RIG_H
#define RBK_TESTS_STREAM_RIG_H

#include "net/stream_impl.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "certs.h"

enum { LIMIT_MS = 60000, BIG = 6 * 1024 * 1024 };

typedef struct end {
    rbk_stream *s;
    int opened, ended, drained, closed, n_data, err;
    char detail[400];
    size_t got, bad;      /* bytes that came; that were not the pattern */
    size_t to_send, sent; /* of the pattern, by way of `drained` */
    bool echo, pause_each, close_at_data, close_at_open, close_now;
    bool resumed_early; /* data came while paused */
    bool reused;
    char last[64];
} end;

typedef struct rig {
    rbk_loop *l;
    uv_tcp_t listener;
    uv_timer_t limit;
    bool late;
    int connections;
    struct sockaddr_in addr;
    rbk_tls *server_tls;
    end client, server;
} rig;

static certs made;

static inline unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

/* --- callbacks of both ends --- */

static inline void send_more(end *e)
{
    static unsigned char chunk[50000];
    size_t n = e->to_send < sizeof chunk ? e->to_send : sizeof chunk;
    for (size_t i = 0; i < n; i++)
        chunk[i] = pattern(e->sent + i);
    e->sent += n;
    e->to_send -= n;
    if (n > 0)
        rbk_stream_write(e->s, chunk, n);
}

static inline void on_opened(rbk_stream *s, void *user)
{
    end *e = user;
    e->opened++;
    e->s = s;
    if (s->ssl)
        e->reused = SSL_session_reused(s->ssl);
    if (e->close_at_open)
        rbk_stream_close(s, e->close_now);
    else if (e->to_send > 0)
        send_more(e);
}

static inline void on_data(rbk_stream *s, const char *p, size_t n, void *user)
{
    end *e = user;
    if (e->pause_each && s->paused)
        e->resumed_early = true;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] != pattern(e->got + i))
            e->bad++;
    e->n_data++;
    e->got += n;
    snprintf(e->last, sizeof e->last, "%.*s", (int)(n < 63 ? n : 63), p);
    if (e->echo)
        rbk_stream_write(s, p, n);
    if (e->pause_each)
        rbk_stream_pause(s);
    if (e->close_at_data)
        rbk_stream_close(s, e->close_now);
}

static inline void on_ended(rbk_stream *s, void *user)
{
    end *e = user;
    (void)s;
    e->ended++;
}

static inline void on_drained(rbk_stream *s, void *user)
{
    end *e = user;
    e->drained++;
    if (e->to_send > 0)
        send_more(e);
    (void)s;
}

static inline void on_closed(rbk_stream *s, int err, const char *detail, void *user)
{
    end *e = user;
    (void)s;
    e->closed++;
    e->err = err;
    snprintf(e->detail, sizeof e->detail, "%s", detail);
}

static const rbk_stream_cb callbacks = {on_opened, on_data, on_ended, on_drained, on_closed};

/* --- the rig --- */

static inline void on_connection(uv_stream_t *listener, int status)
{
    rig *r = listener->data;
    if (status < 0)
        return;
    r->connections++;
    rbk_stream_accept(r->l, listener, r->server_tls, &callbacks, &r->server, &r->server.s);
}

static inline void on_limit(uv_timer_t *h)
{
    ((rig *)h->data)->late = true;
}

static inline void set_up(rig *r, rbk_tls *server_tls)
{
    rbk_error err = {0};
    int n = sizeof r->addr;
    memset(r, 0, sizeof *r);
    r->server_tls = server_tls;
    assert_int_equal(rbk_loop_new("test", &r->l, &err), 0);
    uv_timer_init(rbk_loop_uv(r->l), &r->limit);
    uv_tcp_init(rbk_loop_uv(r->l), &r->listener);
    r->limit.data = r->listener.data = r;
    uv_timer_start(&r->limit, on_limit, LIMIT_MS, 0);
    uv_ip4_addr("127.0.0.1", 0, &r->addr);
    assert_int_equal(uv_tcp_bind(&r->listener, (struct sockaddr *)&r->addr, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&r->listener, 16, on_connection), 0);
    uv_tcp_getsockname(&r->listener, (struct sockaddr *)&r->addr, &n);
}

static inline void tear_down(rig *r)
{
    uv_close((uv_handle_t *)&r->limit, NULL);
    uv_close((uv_handle_t *)&r->listener, NULL);
    rbk_loop_free(r->l);
}

/* Turn until `cond`, or fail. */
#define until(r, cond)                                                                             \
    do {                                                                                           \
        while (!(cond) && !(r)->late)                                                              \
            uv_run(rbk_loop_uv((r)->l), UV_RUN_ONCE);                                              \
        assert_true(cond);                                                                         \
    } while (0)

static inline void turn(rig *r, int times)
{
    for (int i = 0; i < times; i++)
        uv_run(rbk_loop_uv(r->l), UV_RUN_NOWAIT);
}

static inline void go(rig *r, rbk_tls *tls, const char *name)
{
    rbk_connect c = {.addr = (struct sockaddr *)&r->addr, .tls = tls, .name = name};
    assert_int_equal(rbk_stream_connect(r->l, &c, &callbacks, &r->client, &r->client.s), 0);
    assert_int_equal(r->client.opened + r->client.closed, 0);
}

/* The client closes, and both ends hear of it. */
static inline void close_both(rig *r)
{
    if (r->client.closed == 0)
        rbk_stream_close(r->client.s, false);
    until(r, r->server.ended || r->server.closed);
    if (r->server.closed == 0)
        rbk_stream_close(r->server.s, false);
    until(r, r->client.closed && r->server.closed);
    turn(r, 5);
    assert_int_equal(r->client.closed, 1);
    assert_int_equal(r->server.closed, 1);
}

/* --- settings of both ends --- */

static inline rbk_tls *client_tls(void)
{
    rbk_error err = {0};
    rbk_tls *t = NULL;
    rbk_tls_client_conf conf = {.ca_file = made.ca_file, .ca_only = true};
    assert_int_equal(rbk_tls_client_new(&conf, &t, &err), 0);
    return t;
}

static inline rbk_tls *server_tls(const leaf *lf)
{
    char cert[96], key[96], file[32];
    rbk_error err = {0};
    rbk_tls *t = NULL;
    certs_leaf(&made, lf);
    snprintf(file, sizeof file, "%s.pem", lf->file);
    certs_path(&made, file, cert);
    certs_path(&made, "key.pem", key);
    rbk_tls_server_conf conf = {.cert_file = cert, .key_file = key};
    assert_int_equal(rbk_tls_server_new(&conf, &t, &err), 0);
    return t;
}

static const leaf good = {.file = "good",
                          .names = "DNS:good.example,DNS:*.wild.example,IP:127.0.0.1,IP:::1",
                          .common = "x",
                          .from_s = -60,
                          .to_s = 600};

typedef struct pair {
    rbk_tls *client, *server;
} pair;

static const pair plain; /* no TLS */

static inline pair tls_pair(void)
{
    return (pair){client_tls(), server_tls(&good)};
}

static inline void free_pair(pair *p)
{
    rbk_tls_free(p->client);
    rbk_tls_free(p->server);
}

/* A rig of which both ends are open. */
static inline void open_both(rig *r, const pair *p)
{
    set_up(r, p->server);
    go(r, p->client, "good.example");
    until(r, r->client.opened && r->server.opened);
}

static inline int make_certs(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* the loops run on this thread here */
    certs_init(&made);
    return 0;
}

static inline int remove_certs(void **state)
{
    (void)state;
    certs_fini(&made);
    return 0;
}

#endif
