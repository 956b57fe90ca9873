/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client over TLS: a receiver that is not who it should be, or speaks no TLS. */
#include "client_rig.h"

/* --- TLS: whoever is not verified gets no byte of the request --- */

static atomic_int body_bytes;

static void serve_count(peer *p)
{
    char buf[4096];
    ssize_t n = peer_recv(p, buf, sizeof buf);
    if (n > 0) {
        atomic_fetch_add(&body_bytes, (int)n);
        peer_say(p, OK_EMPTY);
        peer_drain(p);
    }
}

static void serve_plain_400(peer *p)
{
    char buf[4096];
    ssize_t n = peer_recv(p, buf, sizeof buf - 1);
    buf[n > 0 ? n : 0] = 0;
    if (n > 0 && strstr(buf, "POST"))
        atomic_fetch_add(&body_bytes, 1);
    peer_say(p, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    peer_drain(p);
}

static void serve_mute(peer *p)
{
    char buf[4096];
    while (recv(p->fd, buf, sizeof buf, 0) > 0)
        if (memmem(buf, sizeof buf, "POST", 4))
            atomic_fetch_add(&body_bytes, 1);
}

static void serve_hang_up(peer *p)
{
    char buf[4096];
    recv(p->fd, buf, sizeof buf, 0); /* the client's hello */
}

typedef struct tls_case {
    const char *name, *host, *san;
    long from_s, to_s;
    int signer; /* 0: the CA, 1: another CA, 2: itself */
    bool weak;
    int max_version; /* 0: any */
    int err;
} tls_case;

static void run_tls(const tls_case *tc, const identity *ca, const identity *other, rbk_tls *tls)
{
    const identity *signers[] = {ca, other, NULL};
    identity id = make_identity(&(cert_spec){.san = tc->san,
                                             .issuer = signers[tc->signer],
                                             .from_s = tc->from_s,
                                             .to_s = tc->to_s,
                                             .weak = tc->weak});
    SSL_CTX *ctx = make_server_ctx(&id);
    fixture f;
    receiver r;
    shot s;
    if (tc->max_version)
        SSL_CTX_set_max_proto_version(ctx, tc->max_version);
    atomic_store(&body_bytes, 0);
    receiver_start(&r, ctx, serve_count, NULL);
    fixture_start(&f, &(rbk_http_client_conf){.tls = tls});
    shot_init(&s, &f, r.port);
    s.post.tls = true;
    s.post.name = tc->host;
    shoot(&s);
    if (s.result.err != tc->err)
        print_error("%s: err %d status %d (%s)\n", tc->name, s.result.err, s.result.status,
                    s.detail);
    assert_int_equal(s.result.err, tc->err);
    assert_int_equal(s.result.status, tc->err ? 0 : 200);
    fixture_stop(&f);
    receiver_stop(&r);
    assert_int_equal(atomic_load(&body_bytes) > 0, tc->err == 0);
    assert_true(tc->err == 0 || (s.detail[0] != 0 && !s.result.any_sent));
    free_identity(&id);
}

static void run_no_tls(void (*serve)(peer *p), int err, rbk_tls *tls)
{
    fixture f;
    receiver r;
    shot s;
    atomic_store(&body_bytes, 0);
    receiver_start(&r, NULL, serve, NULL);
    fixture_start(&f, &(rbk_http_client_conf){.tls = tls});
    shot_init(&s, &f, r.port);
    s.post.tls = true;
    s.post.connect_ms = err == RBK_E_TIMEOUT ? 150 : 5000;
    s.post.total_ms = 60000;
    shoot(&s);
    assert_int_equal(s.result.err, err);
    assert_false(s.result.any_sent);
    fixture_stop(&f);
    receiver_stop(&r);
    assert_int_equal(atomic_load(&body_bytes), 0);
}

static void test_tls(void **state)
{
    enum { DAY = 86400, TLS = RBK_E_TLS };
    static const tls_case cases[] = {
        {"good name", "a.example", "DNS:a.example", 0, 0, 0, false, 0, 0},
        {"good address", "127.0.0.1", "IP:127.0.0.1", 0, 0, 0, false, 0, 0},
        {"TLS 1.2", "a.example", "DNS:a.example", 0, 0, 0, false, TLS1_2_VERSION, 0},
        {"TLS 1.1", "a.example", "DNS:a.example", 0, 0, 0, false, TLS1_1_VERSION, TLS},
        {"expired", "a.example", "DNS:a.example", -2 * DAY, -DAY, 0, false, 0, TLS},
        {"not yet valid", "a.example", "DNS:a.example", DAY, 2 * DAY, 0, false, 0, TLS},
        {"other name", "a.example", "DNS:b.example", 0, 0, 0, false, 0, TLS},
        {"name of a longer one", "a.example", "DNS:x.a.example", 0, 0, 0, false, 0, TLS},
        {"address for a name", "a.example", "IP:127.0.0.1", 0, 0, 0, false, 0, TLS},
        {"name for an address", "127.0.0.1", "DNS:127.0.0.1", 0, 0, 0, false, 0, TLS},
        {"other address", "127.0.0.1", "IP:127.0.0.2", 0, 0, 0, false, 0, TLS},
        {"unknown CA", "a.example", "DNS:a.example", 0, 0, 1, false, 0, TLS},
        {"self-signed", "a.example", "DNS:a.example", 0, 0, 2, false, 0, TLS},
        {"weak key", "a.example", "DNS:a.example", 0, 0, 0, true, 0, TLS},
    };
    char path[] = "/tmp/rbk-test-ca-XXXXXX";
    identity ca = make_identity(&(cert_spec){0}), other = make_identity(&(cert_spec){0});
    rbk_tls_client_conf conf = {.ca_file = path, .ca_only = true};
    rbk_tls *tls = NULL;
    (void)state;
    write_pem(&ca, path);
    MUST(rbk_tls_client_new(&conf, &tls, NULL) == 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run_tls(&cases[i], &ca, &other, tls);
    run_no_tls(serve_plain_400, RBK_E_TLS, tls);
    run_no_tls(serve_mute, RBK_E_TIMEOUT, tls);
    run_no_tls(serve_hang_up, RBK_E_TLS, tls);
    rbk_tls_free(tls);
    unlink(path);
    free_identity(&ca);
    free_identity(&other);
}

/* A client that was not made for it sends nothing without TLS, and nothing to a Unix socket,
 * whatever a post says: so it is for the client of deliveries. */
static void test_tls_alone(void **state)
{
    rbk_tls_client_conf conf = {0};
    rbk_tls *tls = NULL;
    fixture f;
    receiver r;
    (void)state;
    MUST(rbk_tls_client_new(&conf, &tls, NULL) == 0);
    receiver_start(&r, NULL, serve_count, NULL);
    fixture_start(&f, &(rbk_http_client_conf){.tls = tls});
    for (int i = 0; i < 3; i++) {
        shot s;
        shot_init(&s, &f, r.port);
        s.post.tls = i == 2;
        s.post.path = i > 0 ? "/tmp/rbk-nothing-here" : NULL;
        shoot(&s);
        assert_int_equal(s.result.err, RBK_E_TLS);
        assert_string_equal(s.detail, "not over TLS");
        assert_false(s.result.any_sent);
        assert_int_equal(s.asked, 0);
    }
    fixture_stop(&f);
    assert_int_equal(r.accepts, 0);
    receiver_stop(&r);
    rbk_tls_free(tls);
}

/* Somebody who asks about addresses is asked about Unix sockets too. */
static void test_socket_refused(void **state)
{
    fixture f;
    shot s;
    (void)state;
    fixture_start(&f, NULL);
    shot_init(&s, &f, 1);
    s.post.path = "/tmp/rbk-nothing-here";
    s.refuse = 1;
    shoot(&s);
    assert_int_equal(s.result.err, RBK_E_ADDRESS);
    assert_int_equal(s.asked, 1);
    s.refuse = 0;
    shoot(&s);
    assert_int_equal(s.result.err, RBK_E_CONNECT);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_alone),
        cmocka_unit_test(test_socket_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
