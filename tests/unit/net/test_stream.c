/* SPDX-License-Identifier: Apache-2.0 */
/* Streams over loopback, plain and under TLS: what is sent arrives, what goes wrong is
 * told, and `closed` comes exactly once. Both ends run on one loop, turned by hand. */
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

enum { LIMIT_MS = 20000, BIG = 6 * 1024 * 1024 };

typedef struct end {
    rbk_stream *s;
    int opened, ended, drained, closed, n_data, err;
    char detail[400];
    size_t got, bad; /* bytes that came; that were not the pattern */
    size_t to_send;  /* of the pattern, by way of `drained` */
    bool echo, pause_each, close_at_data, close_at_open, close_now;
    bool resumed_early; /* data came while paused */
    bool reused;
    char last[64];
} end;

typedef struct rig {
    rbk_loop *l;
    uv_tcp_t listener;
    uv_timer_t limit;
    bool late, hold; /* hold: the listener accepts nothing */
    int connections;
    struct sockaddr_in addr;
    rbk_tls *server_tls;
    end client, server;
} rig;

static certs made;

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

/* --- callbacks of both ends --- */

static void send_more(end *e, size_t *at)
{
    static unsigned char chunk[50000];
    size_t n = e->to_send < sizeof chunk ? e->to_send : sizeof chunk;
    for (size_t i = 0; i < n; i++)
        chunk[i] = pattern(*at + i);
    *at += n;
    e->to_send -= n;
    if (n > 0)
        rbk_stream_write(e->s, chunk, n);
}

static size_t sent_by_client, sent_by_server;
static rig *now_running;

static size_t *sent_by(end *e)
{
    return e == &now_running->client ? &sent_by_client : &sent_by_server;
}

static void on_opened(rbk_stream *s, void *user)
{
    end *e = user;
    e->opened++;
    e->s = s;
    if (s->ssl)
        e->reused = SSL_session_reused(s->ssl);
    if (e->close_at_open)
        rbk_stream_close(s, e->close_now);
    else if (e->to_send > 0)
        send_more(e, sent_by(e));
}

static void on_data(rbk_stream *s, const char *p, size_t n, void *user)
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

static void on_ended(rbk_stream *s, void *user)
{
    end *e = user;
    (void)s;
    e->ended++;
}

static void on_drained(rbk_stream *s, void *user)
{
    end *e = user;
    e->drained++;
    if (e->to_send > 0)
        send_more(e, sent_by(e));
    (void)s;
}

static void on_closed(rbk_stream *s, int err, const char *detail, void *user)
{
    end *e = user;
    (void)s;
    e->closed++;
    e->err = err;
    snprintf(e->detail, sizeof e->detail, "%s", detail);
}

static const rbk_stream_cb callbacks = {on_opened, on_data, on_ended, on_drained, on_closed};

/* --- the rig --- */

static void on_connection(uv_stream_t *listener, int status)
{
    rig *r = listener->data;
    if (status < 0 || r->hold)
        return;
    r->connections++;
    rbk_stream_accept(r->l, listener, r->server_tls, &callbacks, &r->server, &r->server.s);
}

static void on_limit(uv_timer_t *h)
{
    ((rig *)h->data)->late = true;
}

static void set_up(rig *r, rbk_tls *server_tls)
{
    rbk_error err = {0};
    int n = sizeof r->addr;
    memset(r, 0, sizeof *r);
    now_running = r;
    sent_by_client = sent_by_server = 0;
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

static void tear_down(rig *r)
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

static void turn(rig *r, int times)
{
    for (int i = 0; i < times; i++)
        uv_run(rbk_loop_uv(r->l), UV_RUN_NOWAIT);
}

static void go(rig *r, rbk_tls *tls, const char *name)
{
    rbk_connect c = {.addr = (struct sockaddr *)&r->addr, .tls = tls, .name = name};
    assert_int_equal(rbk_stream_connect(r->l, &c, &callbacks, &r->client, &r->client.s), 0);
    assert_int_equal(r->client.opened + r->client.closed, 0);
}

/* The client closes, and both ends hear of it. */
static void close_both(rig *r)
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

static rbk_tls *client_tls(void)
{
    rbk_error err = {0};
    rbk_tls *t = NULL;
    rbk_tls_client_conf conf = {.ca_file = made.ca_file, .ca_only = true};
    assert_int_equal(rbk_tls_client_new(&conf, &t, &err), 0);
    return t;
}

static rbk_tls *server_tls(const leaf *lf)
{
    char cert[96], key[96], file[32];
    rbk_error err = {0};
    rbk_tls *t = NULL;
    certs_leaf(&made, lf);
    snprintf(file, sizeof file, "%s.pem", lf->file);
    certs_path(&made, file, cert);
    certs_path(&made, "key.pem", key);
    assert_int_equal(rbk_tls_server_new(cert, key, &t, &err), 0);
    return t;
}

static const leaf good = {.file = "good",
                          .names = "DNS:good.example,DNS:*.wild.example,IP:127.0.0.1,IP:::1",
                          .common = "x",
                          .from_s = -60,
                          .to_s = 600};

/* --- what is sent arrives --- */

static void exchange(rbk_tls *ct, rbk_tls *st)
{
    rig r;
    set_up(&r, st);
    r.server.echo = true;
    go(&r, ct, ct ? "good.example" : NULL);
    rbk_stream_write(r.client.s, "hel", 3); /* before it is open: kept */
    until(&r, r.client.opened && r.server.opened);
    rbk_stream_write(r.client.s, "", 0);
    assert_int_equal(rbk_stream_write(r.client.s, "lo", 2), 0);
    until(&r, r.client.got == 5);
    assert_true(rbk_stream_fd(r.client.s) >= 0);
    assert_memory_equal(rbk_stream_peer(r.server.s), "127.0.0.1:", 10);
    char text[32];
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(r.addr.sin_port));
    assert_string_equal(rbk_stream_peer(r.client.s), text);
    assert_int_equal(rbk_stream_unsent(r.client.s), 0);
    rbk_stream_write(r.client.s, "last", 4);
    rbk_stream_close(r.client.s, false);
    assert_int_equal(rbk_stream_write(r.client.s, "x", 1), RBK_E_CLOSED);
    assert_int_equal(r.client.closed, 0); /* never from within */
    until(&r, r.server.ended);
    assert_int_equal(r.server.got, 9); /* sent before the end */
    assert_string_equal(r.server.last, "last");
    close_both(&r);
    assert_int_equal(r.client.err, 0);
    assert_int_equal(r.server.err, 0);
    assert_string_equal(r.client.detail, "");
    assert_int_equal(r.client.opened, 1);
    assert_int_equal(r.server.opened, 1);
    assert_true(r.client.drained >= 1);
    tear_down(&r);
}

static void test_exchange(void **state)
{
    (void)state;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    exchange(NULL, NULL);
    exchange(ct, st);
    rbk_tls_free(ct);
    rbk_tls_free(st);
}

/* Many writes of a turn are one packet. */
static void test_one_write_a_turn(void **state)
{
    (void)state;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    for (int tls = 0; tls < 2; tls++) {
        rig r;
        set_up(&r, tls ? st : NULL);
        go(&r, tls ? ct : NULL, "good.example");
        until(&r, r.client.opened && r.server.opened);
        for (int i = 0; i < 100; i++)
            rbk_stream_write(r.client.s, "0123456789", 10);
        until(&r, r.server.got == 1000);
        assert_int_equal(r.server.n_data, 1);
        assert_int_equal(r.client.drained, 1);
        close_both(&r);
        tear_down(&r);
    }
    rbk_tls_free(ct);
    rbk_tls_free(st);
}

static void transfer(rbk_tls *ct, rbk_tls *st, bool pausing)
{
    rig r;
    set_up(&r, st);
    r.client.to_send = r.server.to_send = BIG;
    r.client.pause_each = pausing;
    go(&r, ct, "127.0.0.1");
    while (r.client.got < BIG && !r.late) {
        uv_run(rbk_loop_uv(r.l), pausing ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        if (pausing && r.client.opened && r.client.closed == 0 && r.client.s->paused) {
            turn(&r, 1);
            rbk_stream_resume(r.client.s);
        }
    }
    until(&r, r.client.got == BIG && r.server.got == BIG);
    assert_int_equal(r.client.bad + r.server.bad, 0);
    assert_false(r.client.resumed_early);
    assert_true(r.client.drained > 10);
    r.client.pause_each = false;
    rbk_stream_resume(r.client.s);
    close_both(&r);
    assert_int_equal(r.client.err, 0);
    assert_int_equal(r.server.err, 0);
    tear_down(&r);
}

static void test_big_both_ways(void **state)
{
    (void)state;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    for (int pausing = 0; pausing < 2; pausing++) {
        transfer(NULL, NULL, pausing);
        transfer(ct, st, pausing);
    }
    rbk_tls_free(ct);
    rbk_tls_free(st);
}

/* A peer that does not read: what is written stays, and is counted, and goes later. */
static void test_unsent(void **state)
{
    (void)state;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    for (int tls = 0; tls < 2; tls++) {
        rig r;
        char *big = calloc(1, 3 * BIG);
        set_up(&r, tls ? st : NULL);
        go(&r, tls ? ct : NULL, "good.example");
        until(&r, r.client.opened && r.server.opened);
        rbk_stream_pause(r.server.s);
        for (size_t i = 0; i < 3 * BIG; i++)
            big[i] = (char)pattern(i);
        rbk_stream_write(r.client.s, big, 3 * BIG);
        assert_int_equal(rbk_stream_unsent(r.client.s), 3 * BIG);
        turn(&r, 200);
        assert_true(rbk_stream_unsent(r.client.s) > 0);
        assert_true(rbk_stream_unsent(r.client.s) < 3 * BIG);
        assert_int_equal(r.client.drained, 0);
        assert_int_equal(r.server.got, 0);
        rbk_stream_resume(r.server.s);
        rbk_stream_close(r.client.s, false); /* sends it all first */
        until(&r, r.server.ended);
        assert_int_equal(r.server.got, 3 * BIG);
        assert_int_equal(r.server.bad, 0);
        close_both(&r);
        tear_down(&r);
        free(big);
    }
    rbk_tls_free(ct);
    rbk_tls_free(st);
}

/* The server answers and closes while the client's bytes lie unread: the client gets the
 * whole answer all the same. */
static void test_answer_survives_close(void **state)
{
    (void)state;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    for (int tls = 0; tls < 2; tls++) {
        rig r;
        char *big = calloc(1, 500000);
        set_up(&r, tls ? st : NULL);
        go(&r, tls ? ct : NULL, "good.example");
        until(&r, r.client.opened && r.server.opened);
        rbk_stream_pause(r.server.s);
        rbk_stream_pause(r.client.s);
        rbk_stream_write(r.client.s, big, 500000);
        turn(&r, 20);
        r.server.to_send = BIG / 4;
        while (r.server.to_send > 0)
            send_more(&r.server, &sent_by_server);
        rbk_stream_close(r.server.s, false);
        turn(&r, 20);
        rbk_stream_resume(r.client.s);
        until(&r, r.client.ended);
        assert_int_equal(r.client.got, BIG / 4);
        assert_int_equal(r.client.bad, 0);
        rbk_stream_close(r.client.s, false);
        until(&r, r.client.closed && r.server.closed);
        tear_down(&r);
        free(big);
    }
    rbk_tls_free(ct);
    rbk_tls_free(st);
}

/* --- connecting --- */

static bool refuse(const struct sockaddr *addr, void *user)
{
    *(uint16_t *)user = ((const struct sockaddr_in *)(const void *)addr)->sin_port;
    return false;
}

static void test_not_allowed(void **state)
{
    (void)state;
    rig r;
    uint16_t asked = 0;
    set_up(&r, NULL);
    rbk_connect c = {.addr = (struct sockaddr *)&r.addr, .allow = refuse, .allow_user = &asked};
    assert_int_equal(rbk_stream_connect(r.l, &c, &callbacks, &r.client, &r.client.s), 0);
    assert_int_equal(asked, r.addr.sin_port);
    assert_int_equal(rbk_stream_fd(r.client.s), -1); /* not even a socket */
    assert_int_equal(r.client.closed, 0);
    until(&r, r.client.closed);
    assert_int_equal(r.client.err, RBK_E_ADDRESS);
    turn(&r, 10);
    assert_int_equal(r.connections, 0);
    assert_int_equal(r.client.opened, 0);
    tear_down(&r);
}

static void test_refused(void **state)
{
    (void)state;
    rig r;
    set_up(&r, NULL);
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, and does not listen */
    socklen_t n = sizeof r.addr;
    r.addr.sin_port = 0;
    assert_int_equal(bind(fd, (struct sockaddr *)&r.addr, sizeof r.addr), 0);
    getsockname(fd, (struct sockaddr *)&r.addr, &n);
    go(&r, NULL, NULL);
    until(&r, r.client.closed);
    assert_int_equal(r.client.err, RBK_E_CONNECT);
    assert_string_equal(r.client.detail, "connection refused");
    assert_int_equal(r.client.opened, 0);
    close(fd);
    tear_down(&r);
}

/* --- certificates --- */

typedef struct bad_cert {
    leaf lf;
    const char *name;
    const char *says; /* NULL: it is good */
} bad_cert;

static const bad_cert bad_certs[] = {
    {{"c1", "DNS:good.example", "x", -60, 600, false}, "good.example", NULL},
    {{"c2", "DNS:good.example", "x", -600, -60, false}, "good.example", "expired"},
    {{"c3", "DNS:good.example", "x", 60, 600, false}, "good.example", "not yet valid"},
    {{"c4", "DNS:good.example", "x", -60, 600, false}, "evil.example", "hostname mismatch"},
    {{"c5", "DNS:good.example", "x", -60, 600, true}, "good.example", "issuer certificate"},
    {{"c6", NULL, "good.example", -60, 600, false}, "good.example", "hostname mismatch"},
    {{"c7", "DNS:*.good.example", "x", -60, 600, false}, "a.good.example", NULL},
    {{"c8", "DNS:*.good.example", "x", -60, 600, false}, "a.b.good.example", "hostname mismatch"},
    {{"c9", "DNS:a*.good.example", "x", -60, 600, false}, "ab.good.example", "hostname mismatch"},
    {{"c10", "IP:127.0.0.1", "x", -60, 600, false}, "127.0.0.1", NULL},
    {{"c11", "IP:::1", "x", -60, 600, false}, "::1", NULL},
    {{"c12", "IP:127.0.0.2", "x", -60, 600, false}, "127.0.0.1", "IP address mismatch"},
    {{"c13", "DNS:127.0.0.1", "x", -60, 600, false}, "127.0.0.1", "IP address mismatch"},
};

static void test_certificates(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_certs / sizeof *bad_certs; i++) {
        const bad_cert *b = &bad_certs[i];
        rig r;
        rbk_tls *ct = client_tls(), *st = server_tls(&b->lf);
        set_up(&r, st);
        go(&r, ct, b->name);
        rbk_stream_write(r.client.s, "secret", 6);
        if (b->says == NULL) {
            until(&r, r.server.got == 6);
            close_both(&r);
            assert_int_equal(r.client.err, 0);
        } else {
            until(&r, r.client.closed && r.server.closed);
            assert_int_equal(r.client.err, RBK_E_TLS);
            assert_int_equal(r.client.opened, 0);
            assert_int_equal(r.server.got, 0);
            if (strstr(r.client.detail, b->says) == NULL)
                fail_msg("%s: \"%s\" does not say \"%s\"", b->lf.file, r.client.detail, b->says);
            assert_int_equal(r.server.err, RBK_E_TLS); /* the alert came */
            assert_non_null(strstr(r.server.detail, "alert"));
        }
        rbk_tls_free(ct);
        rbk_tls_free(st);
        tear_down(&r);
    }
}

static void test_no_name(void **state)
{
    (void)state;
    rig r;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    for (int i = 0; i < 2; i++) {
        set_up(&r, st);
        go(&r, ct, i ? "" : NULL);
        until(&r, r.client.closed && r.server.closed);
        assert_int_equal(r.client.err, RBK_E_TLS);
        assert_int_equal(r.client.opened, 0);
        tear_down(&r);
    }
    rbk_tls_free(ct);
    rbk_tls_free(st);
}

static void test_bad_files(void **state)
{
    (void)state;
    rbk_error err = {0};
    rbk_tls *t = NULL;
    char cert[96], key[96], none[96];
    rbk_tls *st = server_tls(&good);
    certs_path(&made, "good.pem", cert);
    certs_path(&made, "key.pem", key);
    certs_path(&made, "none.pem", none);
    assert_int_equal(rbk_tls_server_new(none, key, &t, &err), RBK_E_CONFIG);
    assert_non_null(strstr(err.detail, none));
    assert_int_equal(rbk_tls_server_new(cert, none, &t, &err), RBK_E_CONFIG);
    assert_non_null(strstr(err.detail, none));
    assert_int_equal(rbk_tls_server_new(cert, cert, &t, &err), RBK_E_CONFIG);
    rbk_tls_client_conf conf = {.ca_file = none};
    assert_int_equal(rbk_tls_client_new(&conf, &t, &err), RBK_E_CONFIG);
    assert_non_null(strstr(err.detail, none));
    conf.ca_file = key;
    assert_int_equal(rbk_tls_client_new(&conf, &t, &err), RBK_E_CONFIG);
    assert_null(t);
    rbk_tls_free(st);
    rbk_tls_free(NULL);
}

/* --- sessions --- */

static void test_resumption(void **state)
{
    (void)state;
    rig r;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    set_up(&r, st);
    r.server.echo = true;
    for (int i = 0; i < 6; i++) {
        memset(&r.client, 0, sizeof r.client);
        memset(&r.server, 0, sizeof r.server);
        r.server.echo = true;
        go(&r, ct, i == 4 ? "a.wild.example" : "good.example");
        rbk_stream_write(r.client.s, "x", 1);
        until(&r, r.client.got == 1); /* the ticket came before it */
        assert_int_equal(r.client.reused, i != 0 && i != 4);
        assert_int_equal(r.server.reused, r.client.reused);
        rbk_stream_close(r.client.s, i % 2); /* cut off or not, the session stays */
        until(&r, r.client.closed);
        if (r.server.closed == 0)
            rbk_stream_close(r.server.s, true);
        until(&r, r.server.closed);
    }
    rbk_tls_free(ct);
    rbk_tls_free(st);
    tear_down(&r);
}

/* The settings may be given back while streams use them. */
static void test_tls_counted(void **state)
{
    (void)state;
    rig r;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    set_up(&r, st);
    r.server.echo = true;
    go(&r, ct, "good.example");
    until(&r, r.client.opened && r.server.opened);
    rbk_tls_free(ct);
    rbk_tls_free(st);
    rbk_stream_write(r.client.s, "x", 1);
    until(&r, r.client.got == 1);
    close_both(&r);
    tear_down(&r);
}

/* --- ends --- */

/* A FIN without close_notify is no end. */
static void test_truncated(void **state)
{
    (void)state;
    rig r;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    set_up(&r, st);
    go(&r, ct, "good.example");
    until(&r, r.client.opened && r.server.opened);
    rbk_stream_write(r.server.s, "half", 4);
    until(&r, r.client.got == 4);
    rbk_stream_close(r.server.s, true);
    until(&r, r.client.closed && r.server.closed);
    assert_int_equal(r.client.err, RBK_E_CLOSED);
    assert_int_equal(r.client.ended, 0);
    assert_int_equal(r.server.err, 0);
    tear_down(&r);
    rbk_tls_free(ct);
    rbk_tls_free(st);
}

/* After the peer's end one may still write, plain and under TLS. */
static void test_half_closed(void **state)
{
    (void)state;
    rig r;
    set_up(&r, NULL);
    go(&r, NULL, NULL);
    until(&r, r.client.opened && r.server.opened);
    shutdown(rbk_stream_fd(r.client.s), SHUT_WR);
    until(&r, r.server.ended);
    assert_int_equal(r.server.closed, 0);
    rbk_stream_write(r.server.s, "after", 5);
    until(&r, r.client.got == 5);
    rbk_stream_close(r.server.s, false);
    until(&r, r.client.ended);
    rbk_stream_close(r.client.s, false);
    until(&r, r.client.closed && r.server.closed);
    assert_int_equal(r.server.err + r.client.err, 0);
    tear_down(&r);
}

static int raw_accept(rig *r)
{
    uv_os_fd_t fd;
    uv_fileno((uv_handle_t *)&r->listener, &fd);
    for (int i = 0; i < 1000000; i++) {
        int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (c >= 0)
            return c;
        uv_run(rbk_loop_uv(r->l), UV_RUN_NOWAIT);
    }
    return -1;
}

/* The listener of a rig whose other end the test plays by itself. */
static void set_up_raw(rig *r)
{
    set_up(r, NULL);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    socklen_t n = sizeof r->addr;
    r->addr.sin_port = 0;
    assert_int_equal(bind(fd, (struct sockaddr *)&r->addr, sizeof r->addr), 0);
    assert_int_equal(listen(fd, 4), 0);
    getsockname(fd, (struct sockaddr *)&r->addr, &n);
    uv_close((uv_handle_t *)&r->listener, NULL);
    turn(r, 1);
    uv_tcp_init(rbk_loop_uv(r->l), &r->listener);
    r->listener.data = r;
    uv_tcp_open(&r->listener, fd);
}

static void test_reset(void **state)
{
    (void)state;
    rig r;
    set_up_raw(&r);
    go(&r, NULL, NULL);
    int fd = raw_accept(&r);
    until(&r, r.client.opened);
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    until(&r, r.client.closed);
    assert_int_equal(r.client.err, RBK_E_CLOSED);
    assert_string_equal(r.client.detail, "connection reset by peer");
    assert_int_equal(r.client.ended, 0);
    tear_down(&r);
}

/* What came before a reset is read even though a write met the reset first. */
static void test_last_words(void **state)
{
    (void)state;
    rig r;
    set_up_raw(&r);
    go(&r, NULL, NULL);
    int fd = raw_accept(&r);
    until(&r, r.client.opened);
    assert_int_equal(write(fd, "early", 5), 5);
    close(fd); /* FIN; whatever the client writes is answered by RST */
    rbk_stream_write(r.client.s, "abc", 3);
    rbk_stream_flush_soon(r.client.s);
    until(&r, r.client.ended || r.client.closed);
    assert_int_equal(r.client.got, 5);
    if (r.client.closed == 0)
        rbk_stream_close(r.client.s, false);
    until(&r, r.client.closed);
    tear_down(&r);
}

/* Ends and nonsense in place of a handshake. */
static void test_no_handshake(void **state)
{
    (void)state;
    rbk_tls *ct = client_tls();
    for (int what = 0; what < 3; what++) {
        rig r;
        set_up_raw(&r);
        go(&r, ct, "good.example");
        int fd = raw_accept(&r);
        if (what == 1)
            assert_true(write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28) == 28);
        if (what == 2) /* a handshake record of a length that TLS does not know */
            assert_true(write(fd, "\x16\x03\x03\xff\xff\x02\xff\xff\xff", 9) == 9);
        if (what == 0) {
            char eat[4096];
            ssize_t n = 0;
            until(&r, n > 0 || (n = read(fd, eat, sizeof eat)) > 0);
            close(fd);
        }
        until(&r, r.client.closed);
        assert_int_equal(r.client.err, RBK_E_TLS);
        assert_int_equal(r.client.opened, 0);
        assert_true(strlen(r.client.detail) > 5);
        if (what != 0)
            close(fd);
        tear_down(&r);
    }
    rbk_tls_free(ct);
}

/* --- closing at each stage --- */

static void close_after(rbk_tls *ct, rbk_tls *st, int turns, bool now, bool by_server)
{
    rig r;
    set_up(&r, st);
    r.client.to_send = r.server.to_send = 200000;
    go(&r, ct, "good.example");
    turn(&r, turns);
    end *e = by_server && r.server.s ? &r.server : &r.client;
    end *other = e == &r.client ? &r.server : &r.client;
    if (e->closed == 0)
        rbk_stream_close(e->s, now);
    if (e->closed == 0)
        rbk_stream_close(e->s, now); /* again: nothing more */
    turn(&r, 3);
    if (e->closed == 0)
        rbk_stream_close(e->s, true); /* cut short */
    until(&r, e->closed);
    if (other->s && other->closed == 0)
        rbk_stream_close(other->s, false);
    until(&r, other->s == NULL || other->closed);
    turn(&r, 5);
    if (other->s && other->closed == 0) /* it was accepted only now */
        rbk_stream_close(other->s, true);
    until(&r, other->s == NULL || other->closed);
    assert_int_equal(e->closed, 1);
    assert_int_equal(e->err, 0);
    assert_true(other->closed <= 1);
    tear_down(&r);
}

static void test_close_at_each_stage(void **state)
{
    (void)state;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    for (int i = 0; i < 14 * 4; i++) {
        close_after(NULL, NULL, i / 4, i & 1, i & 2);
        close_after(ct, st, i / 4, i & 1, i & 2);
    }
    rbk_tls_free(ct);
    rbk_tls_free(st);
}

static void test_close_in_callbacks(void **state)
{
    (void)state;
    rbk_tls *ct = client_tls(), *st = server_tls(&good);
    for (int i = 0; i < 8; i++) {
        bool tls = i & 1;
        rig r;
        set_up(&r, tls ? st : NULL);
        r.client.close_now = i & 2;
        r.client.close_at_open = i & 4;
        r.client.close_at_data = !(i & 4);
        r.server.to_send = 300000;
        go(&r, tls ? ct : NULL, "good.example");
        until(&r, r.client.closed);
        until(&r, r.server.ended || r.server.closed);
        if (r.server.closed == 0)
            rbk_stream_close(r.server.s, true);
        until(&r, r.server.closed);
        turn(&r, 5);
        assert_int_equal(r.client.closed, 1);
        assert_int_equal(r.client.err, 0);
        assert_int_equal(r.client.n_data, i & 4 ? 0 : 1); /* none after the close */
        tear_down(&r);
    }
    rbk_tls_free(ct);
    rbk_tls_free(st);
}

/* --- other clients against our server --- */

typedef struct other {
    struct sockaddr_in addr;
    int max_version;
    const char *alpn;
    const char *ciphers;
    bool done; /* the handshake */
} other;

static void *other_client(void *arg)
{
    other *o = arg;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, 0);
    SSL_CTX_set_max_proto_version(ctx, o->max_version);
    if (o->ciphers)
        SSL_CTX_set_cipher_list(ctx, o->ciphers);
    SSL *ssl = SSL_new(ctx);
    if (o->alpn)
        SSL_set_alpn_protos(ssl, (const unsigned char *)o->alpn, (unsigned)strlen(o->alpn));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&o->addr, sizeof o->addr) == 0) {
        SSL_set_fd(ssl, fd);
        o->done = SSL_connect(ssl) == 1;
        if (o->done)
            SSL_shutdown(ssl);
    }
    close(fd);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return NULL;
}

static void test_other_clients(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *alpn, *ciphers;
        bool done;
    } cases[] = {
        {TLS1_3_VERSION, "\x08http/1.1", NULL, true},
        {TLS1_2_VERSION, "\x02h2\x08http/1.1", NULL, true},
        {TLS1_2_VERSION, NULL, NULL, true},
        {TLS1_1_VERSION, NULL, NULL, false},
        {TLS1_VERSION, NULL, NULL, false},
        {TLS1_3_VERSION, "\x02h2", NULL, false},
        {TLS1_2_VERSION, NULL, "ECDHE-ECDSA-AES128-SHA256", false}, /* CBC */
        {TLS1_2_VERSION, NULL, "ECDHE-ECDSA-CHACHA20-POLY1305", true},
    };
    rbk_tls *st = server_tls(&good);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rig r;
        pthread_t thread;
        set_up(&r, st);
        other o = {r.addr, cases[i].version, cases[i].alpn, cases[i].ciphers, false};
        pthread_create(&thread, NULL, other_client, &o);
        until(&r, r.server.closed || r.server.ended);
        if (r.server.closed == 0)
            rbk_stream_close(r.server.s, false);
        until(&r, r.server.closed);
        pthread_join(thread, NULL);
        if (o.done != cases[i].done)
            fail_msg("case %zu: %s", i, r.server.detail);
        assert_int_equal(r.server.opened, cases[i].done);
        assert_int_equal(r.server.err, cases[i].done ? 0 : RBK_E_TLS);
        tear_down(&r);
    }
    rbk_tls_free(st);
}

/* --- threads: loops that share one rbk_tls --- */

typedef struct many {
    rbk_loop *l;
    rbk_tls *tls;
    struct sockaddr_in addr;
    end client;
    int left;
    uv_sem_t *done;
} many;

static void many_next(many *m);

static void many_closed(rbk_stream *s, int err, const char *detail, void *user)
{
    many *m = (many *)(void *)((char *)user - offsetof(many, client));
    on_closed(s, err, detail, user);
    if (--m->left > 0 && err == 0)
        many_next(m);
    else
        uv_sem_post(m->done);
}

static void many_data(rbk_stream *s, const char *p, size_t n, void *user)
{
    (void)p, (void)n, (void)user;
    rbk_stream_close(s, false);
}

static void many_next(many *m)
{
    static const rbk_stream_cb cb = {.data = many_data, .closed = many_closed};
    rbk_connect c = {.addr = (struct sockaddr *)&m->addr, .tls = m->tls, .name = "good.example"};
    rbk_stream_connect(m->l, &c, &cb, &m->client, &m->client.s);
    rbk_stream_write(m->client.s, "x", 1);
}

static void many_start(void *arg)
{
    many_next(arg);
}

typedef struct echo_server {
    rbk_loop *l;
    rbk_tls *tls;
    uv_tcp_t listener;
    struct sockaddr_in addr;
} echo_server;

static void echo_data(rbk_stream *s, const char *p, size_t n, void *user)
{
    (void)user;
    rbk_stream_write(s, p, n);
}

static void echo_closed(rbk_stream *s, int err, const char *detail, void *user)
{
    (void)s, (void)err, (void)detail, (void)user;
}

static void echo_connection(uv_stream_t *listener, int status)
{
    static const rbk_stream_cb cb = {.data = echo_data, .closed = echo_closed};
    echo_server *e = listener->data;
    rbk_stream *s;
    if (status == 0)
        rbk_stream_accept(e->l, listener, e->tls, &cb, NULL, &s);
}

static void echo_start(void *arg)
{
    echo_server *e = arg;
    int n = sizeof e->addr;
    uv_tcp_init(rbk_loop_uv(e->l), &e->listener);
    e->listener.data = e;
    uv_ip4_addr("127.0.0.1", 0, &e->addr);
    uv_tcp_bind(&e->listener, (struct sockaddr *)&e->addr, 0);
    uv_listen((uv_stream_t *)&e->listener, 64, echo_connection);
    uv_tcp_getsockname(&e->listener, (struct sockaddr *)&e->addr, &n);
}

static void echo_stop(void *arg)
{
    uv_close((uv_handle_t *)&((echo_server *)arg)->listener, NULL);
}

static void test_threads(void **state)
{
    (void)state;
    rbk_error err = {0};
    echo_server e = {.tls = server_tls(&good)};
    rbk_tls *ct = client_tls();
    many m[3];
    uv_sem_t done;
    uv_sem_init(&done, 0);
    assert_int_equal(rbk_loop_new("server", &e.l, &err), 0);
    assert_int_equal(rbk_loop_start(e.l, &err), 0);
    rbk_loop_call(e.l, echo_start, &e);
    for (int i = 0; i < 3; i++) {
        m[i] = (many){.tls = ct, .addr = e.addr, .left = 20, .done = &done};
        assert_int_equal(rbk_loop_new("client", &m[i].l, &err), 0);
        assert_int_equal(rbk_loop_start(m[i].l, &err), 0);
        rbk_loop_call(m[i].l, many_start, &m[i]);
    }
    for (int i = 0; i < 3; i++)
        uv_sem_wait(&done);
    rbk_loop_call(e.l, echo_stop, &e);
    for (int i = 0; i < 3; i++) {
        rbk_loop_free(m[i].l);
        assert_int_equal(m[i].left, 0);
        assert_int_equal(m[i].client.closed, 20);
        assert_int_equal(m[i].client.err, 0);
    }
    rbk_loop_free(e.l);
    rbk_tls_free(ct);
    rbk_tls_free(e.tls);
    uv_sem_destroy(&done);
}

static int make_certs(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* the loops run on this thread here */
    certs_init(&made);
    return 0;
}

static int remove_certs(void **state)
{
    (void)state;
    certs_fini(&made);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_one_write_a_turn),
        cmocka_unit_test(test_big_both_ways),
        cmocka_unit_test(test_unsent),
        cmocka_unit_test(test_answer_survives_close),
        cmocka_unit_test(test_not_allowed),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_no_name),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_tls_counted),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_half_closed),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_no_handshake),
        cmocka_unit_test(test_close_at_each_stage),
        cmocka_unit_test(test_close_in_callbacks),
        cmocka_unit_test(test_other_clients),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
