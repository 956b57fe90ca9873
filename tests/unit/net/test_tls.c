/* SPDX-License-Identifier: Apache-2.0 */
/* TLS of streams: which certificates are taken, sessions that are resumed, which clients
 * our server takes, and loops on threads that share one rbk_tls. */
#include "stream_rig.h"

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
    pair t = tls_pair();
    for (int i = 0; i < 2; i++) {
        set_up(&r, t.server);
        go(&r, t.client, i ? "" : NULL);
        until(&r, r.client.closed && r.server.closed);
        assert_int_equal(r.client.err, RBK_E_TLS);
        assert_int_equal(r.client.opened, 0);
        tear_down(&r);
    }
    free_pair(&t);
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
    const struct {
        rbk_tls_server_conf conf;
        const char *names, *says;
    } bad[] = {
        {{none, key, NULL}, none, "No such file"},
        {{cert, none, NULL}, none, "No such file"},
        {{cert, cert, NULL}, cert, "others than its owner"},
        {{made.dir, key, NULL}, made.dir, "is no file"},
        {{key, key, NULL}, key, "no start line"},
        {{cert, key, none}, none, "No such file"},
        {{cert, key, key}, key, ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(rbk_tls_server_new(&bad[i].conf, &t, &err), RBK_E_CONFIG);
        if (strstr(err.detail, bad[i].names) == NULL || strstr(err.detail, bad[i].says) == NULL)
            fail_msg("case %zu: %s", i, err.detail);
    }
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
    pair t = tls_pair();
    set_up(&r, t.server);
    r.server.echo = true;
    for (int i = 0; i < 6; i++) {
        memset(&r.client, 0, sizeof r.client);
        memset(&r.server, 0, sizeof r.server);
        r.server.echo = true;
        go(&r, t.client, i == 4 ? "a.wild.example" : "good.example");
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
    free_pair(&t);
    tear_down(&r);
}

/* The settings may be given back while streams use them. */
static void test_tls_counted(void **state)
{
    (void)state;
    rig r;
    pair t = tls_pair();
    open_both(&r, &t);
    r.server.echo = true;
    free_pair(&t);
    rbk_stream_write(r.client.s, "x", 1);
    until(&r, r.client.got == 1);
    close_both(&r);
    tear_down(&r);
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

/* Connections to come get other settings, with which the sessions from before are none. */
static void test_take(void **state)
{
    (void)state;
    rig r;
    pair t = tls_pair();
    rbk_wall_ms from, to, now = rbk_wall_now();
    leaf later = good;
    later.file = "later";
    later.to_s = good.to_s + 1000;
    set_up(&r, t.server);
    for (int i = 0; i < 4; i++) {
        memset(&r.client, 0, sizeof r.client);
        memset(&r.server, 0, sizeof r.server);
        r.server.echo = true;
        if (i == 2)
            rbk_tls_server_take(t.server, server_tls(&later));
        rbk_tls_server_validity(t.server, &from, &to);
        assert_in_range(from, now + good.from_s * 1000 - 5000, now);
        assert_in_range(to, now + (i < 2 ? good : later).to_s * 1000 - 5000,
                        now + (i < 2 ? good : later).to_s * 1000 + 5000);
        go(&r, t.client, "good.example");
        rbk_stream_write(r.client.s, "x", 1);
        until(&r, r.client.got == 1);
        assert_int_equal(r.client.reused, i % 2);
        close_both(&r);
    }
    free_pair(&t);
    tear_down(&r);
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
    for (int i = 0; i < 3; i++) {
        rbk_tls_server_take(e.tls, server_tls(&good)); /* in the middle of handshakes */
        uv_sem_wait(&done);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certificates), cmocka_unit_test(test_no_name),
        cmocka_unit_test(test_bad_files),    cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_tls_counted),  cmocka_unit_test(test_other_clients),
        cmocka_unit_test(test_threads),      cmocka_unit_test(test_take),
    };
    return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
