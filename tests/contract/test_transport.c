/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of the transport seam (ringback/transport.h), over every backend that can
 * reach a TLS receiver on this machine: what it sends, what it must not send, and that
 * every attempt ends exactly once. */
#include "transport_kit.h"

static const rbk_transport_ops *const backends[] = {&rbk_transport_https, &rbk_transport_wss,
                                                   &https_over_http2};

/* --- what is sent --- */

/* The key is the one that was sent: any will do. */
static void want_handshake(char *want, size_t n, const trial *x, const char *line, const char *got)
{
    const char *key = strstr(got, "Sec-WebSocket-Key: ");
    MUST(key);
    snprintf(want, n,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n%.43s\r\n"
             "User-Agent: ringback/" RBK_TEST_VERSION "\r\nwebhook-id: %s\r\n"
             "webhook-timestamp: 1614265330\r\nringback-attempt: 3\r\n"
             "traceparent: 00-1-2-03\r\nX-Request-Id: r1\r\n\r\n%s",
             line, x->f->r.port, key, x->job, x->body);
}

/* Names in lower case, and no connection's own headers. */
static void want_http2(char *want, size_t n, const trial *x, const char *line)
{
    snprintf(want, n,
             "POST https://127.0.0.1:%u%s HTTP/2\r\ncontent-type: application/json\r\n"
             "user-agent: ringback/" RBK_TEST_VERSION "\r\nwebhook-id: %s\r\n"
             "webhook-timestamp: 1614265330\r\nringback-attempt: 3\r\n"
             "traceparent: 00-1-2-03\r\nx-request-id: r1\r\ncontent-length: %zu\r\n\r\n%s",
             x->f->r.port, line, x->job, strlen(x->body), x->body);
}

static void check_request(const rbk_transport_ops *ops, const char *target, const char *line)
{
    fixture f;
    trial x;
    char want[1024];
    fixture_start(&f, ops, &id, serve_one, NULL);
    trial_init(&x, &f, ops->scheme, "127.0.0.1", target);
    run(&x);
    assert_int_equal(x.result.err, 0);
    assert_int_equal(x.result.status, ok_of(f.ops));
    assert_true(x.result.complete);
    assert_true(atomic_load(&x.asked) > 0);
    rbk_loop_call(f.loop, do_close, &f);
    WAIT_COUNT(f.r.finished, 1);
    if (ok_of(ops) == 1000)
        want_handshake(want, sizeof want, &x, line, f.r.peers[0]->request);
    else if (is_over_http2(ops))
        want_http2(want, sizeof want, &x, line);
    else
        snprintf(want, sizeof want,
             "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Type: application/json\r\n"
             "User-Agent: ringback/" RBK_TEST_VERSION "\r\nwebhook-id: %s\r\n"
             "webhook-timestamp: 1614265330\r\nringback-attempt: 3\r\n"
             "traceparent: 00-1-2-03\r\nX-Request-Id: r1\r\nContent-Length: %zu\r\n\r\n%s",
             line, f.r.port, x.job, strlen(x.body), x.body);
    assert_string_equal(f.r.peers[0]->request, want);
    fixture_stop(&f);
}

static void test_request(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        check_request(backends[i], "/order/callback?x=%20y&z", "/order/callback?x=%20y&z");
        check_request(backends[i], "", "/");
        check_request(backends[i], "?a=b", "/?a=b");
    }
}

/* A name is resolved, sent as SNI, and verified. */
static char sni[64];

static void serve_sni(peer *p)
{
    const char *name = SSL_get_servername(p->ssl, TLSEXT_NAMETYPE_host_name);
    snprintf(sni, sizeof sni, "%s", name ? name : "");
    serve_one(p);
}

static void test_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        fixture f;
        trial x;
        fixture_start(&f, backends[i], &id, serve_sni, NULL);
        trial_init(&x, &f, backends[i]->scheme, "LocalHost.", "/");
        run(&x);
        assert_int_equal(x.result.err, 0);
        assert_int_equal(x.result.status, ok_of(f.ops));
        fixture_stop(&f);
        assert_string_equal(sni, "localhost");
    }
}

/* --- what comes back --- */

static void test_statuses(void **state)
{
    static const struct {
        const char *answer;
        int status;
        const char *retry_after;
    } rows[] = {
        {"HTTP/1.1 204 No Content\r\n\r\n", 204, ""},
        {"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", 302,
         ""},
        {"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", 410, ""},
        {"HTTP/1.1 429 X\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n", 429, "120"},
        {"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", 500, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            fixture f;
            trial x;
            fixture_start(&f, backends[i], &id, serve_one, (void *)(uintptr_t)rows[k].answer);
            trial_init(&x, &f, backends[i]->scheme, "127.0.0.1", "/");
            run(&x);
            assert_int_equal(x.result.err, 0);
            assert_int_equal(x.result.status, rows[k].status);
            assert_string_equal(x.retry_after, rows[k].retry_after);
            fixture_stop(&f);
        }
    }
}

static void check_failure(const rbk_transport_ops *ops, const char *host, int err)
{
    fixture f;
    trial x;
    fixture_start(&f, ops, &id, serve_silence, NULL);
    f.env.total_ms = err == RBK_E_TIMEOUT ? 200 : 10000;
    rbk_loop_call(f.loop, do_close, &f);
    rbk_loop_call(f.loop, do_open, &f);
    trial_init(&x, &f, ops->scheme, host, "/");
    run(&x);
    assert_int_equal(x.result.err, err);
    assert_int_equal(x.result.status, 0);
    assert_true(x.detail[0] != 0);
    fixture_stop(&f);
}

static void test_failures(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        check_failure(backends[i], "127.0.0.1", RBK_E_TIMEOUT); /* never answers */
        check_failure(backends[i], "127.0.0.2", RBK_E_CONNECT); /* nobody listens */
        check_failure(backends[i], "nobody.invalid", RBK_E_RESOLVE);
    }
}

/* --- what the look-up of the name says --- */

static void test_lookup_failures(void **state)
{
    static const struct {
        int said, err;
        const char *detail;
    } rows[] = {
        {RBK_E_BUSY, RBK_E_BUSY, "too many name look-ups wait"},
        {RBK_E_TIMEOUT, RBK_E_RESOLVE, "name look-up timed out"},
        {RBK_E_RESOLVE, RBK_E_RESOLVE, "no such name"},
        {RBK_E_NOMEM, RBK_E_NOMEM, "out of memory"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            fixture f;
            trial x;
            fixture_start(&f, backends[i], &id, serve_ok, NULL);
            trial_init(&x, &f, backends[i]->scheme, "name.test", "/");
            fake_resolve.err = rows[k].said;
            run(&x);
            fake_resolve.err = 0;
            assert_int_equal(x.result.err, rows[k].err);
            assert_string_equal(x.detail, rows[k].detail);
            assert_int_equal(atomic_load(&f.r.accepts), 0);
            fixture_stop(&f);
        }
    }
}

/* The receiver is the last of `n` addresses; nobody listens at the others. */
static void check_addresses(const rbk_transport_ops *ops, size_t n, int err)
{
    fixture f;
    trial x;
    fixture_start(&f, ops, &id, serve_ok, NULL);
    trial_init(&x, &f, ops->scheme, "localhost", "/");
    for (size_t i = 0; i < n; i++)
        fake_resolve.addrs[i] = (rbk_addr){.ip = {127, 0, 0, (uint8_t)(i + 1 < n ? i + 2 : 1)}};
    fake_resolve.n = n;
    run(&x);
    fake_resolve.n = 0;
    assert_int_equal(x.result.err, err);
    assert_int_equal(atomic_load(&f.r.accepts), err ? 0 : 1);
    assert_true((size_t)atomic_load(&x.asked) >= n); /* each is judged, tried or not */
    fixture_stop(&f);
}

static void test_few_addresses_tried(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        check_addresses(backends[i], RBK_DIAL_MAX, 0);
        check_addresses(backends[i], RBK_DIAL_MAX + 1, RBK_E_CONNECT);
    }
}

/* --- what must not be sent --- */

static void test_refused_address(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        for (size_t k = 0; k < sizeof hosts / sizeof *hosts; k++) {
            fixture f;
            trial x;
            fixture_start(&f, backends[i], &id, serve_ok, NULL);
            trial_init(&x, &f, backends[i]->scheme, hosts[k], "/");
            x.refuse = true;
            run(&x);
            assert_int_equal(x.result.err, RBK_E_ADDRESS);
            assert_string_equal(x.detail, "an address of the host is not allowed");
            assert_true(atomic_load(&x.asked) > 0);
            x.refuse = false; /* and again, when it may: one connection in all */
            run(&x);
            assert_int_equal(x.result.status, ok_of(f.ops));
            assert_int_equal(atomic_load(&f.r.accepts), 1);
            x.refuse = true; /* kept connections are no way around the policy */
            run(&x);
            assert_int_equal(x.result.err, RBK_E_ADDRESS);
            assert_int_equal(atomic_load(&f.r.requests), 1);
            fixture_stop(&f);
        }
    }
}

/* The engine has enough attempts at the address: nothing is sent, and it is told so. */
static void test_full_address(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        for (size_t k = 0; k < sizeof hosts / sizeof *hosts; k++) {
            fixture f;
            trial x;
            fixture_start(&f, backends[i], &id, serve_ok, NULL);
            trial_init(&x, &f, backends[i]->scheme, hosts[k], "/");
            x.full = true;
            run(&x);
            assert_int_equal(x.result.err, RBK_E_BUSY);
            assert_string_equal(x.detail, "the address is not allowed");
            assert_int_equal(atomic_load(&x.entered), 1);
            x.full = false;
            run(&x);
            assert_int_equal(x.result.status, ok_of(f.ops));
            assert_int_equal(atomic_load(&f.r.accepts), 1);
            fixture_stop(&f);
        }
    }
}

/* One forbidden address among the name's spoils all of it (where localhost has two). */
static void test_mixed_addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        fixture f;
        trial x;
        fixture_start(&f, backends[i], &id, serve_ok, NULL);
        trial_init(&x, &f, backends[i]->scheme, "localhost", "/");
        x.refuse_v6 = true;
        run(&x);
        assert_int_equal(x.result.err, x.saw_v6 ? RBK_E_ADDRESS : 0);
        assert_int_equal(atomic_load(&f.r.accepts), x.saw_v6 ? 0 : 1);
        fixture_stop(&f);
    }
}

static void test_wrong_certificate(void **state)
{
    identity other = make_identity(&(cert_spec){.san = "DNS:b.example", .issuer = &ca});
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        fixture f;
        trial x;
        fixture_start(&f, backends[i], &other, serve_ok, NULL);
        trial_init(&x, &f, backends[i]->scheme, "127.0.0.1", "/");
        run(&x);
        assert_int_equal(x.result.err, RBK_E_TLS);
        fixture_stop(&f);
        assert_int_equal(atomic_load(&f.r.requests), 0);
    }
    free_identity(&other);
}

/* --- many --- */

/* Not of wss: a websocket serves one attempt. HTTP/2 needs but one connection. */
static void test_reuse(void **state)
{
    enum { AT_ONCE = 16, EACH = 63 };
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        fixture f;
        if (backends[i] == &rbk_transport_wss)
            continue;
        trial *x = calloc(AT_ONCE, sizeof *x);
        MUST(x);
        fixture_start(&f, backends[i], &id, serve_ok, NULL);
        for (int k = 0; k < AT_ONCE; k++) {
            trial_init(&x[k], &f, backends[i]->scheme, "127.0.0.1", "/");
            x[k].again = EACH - 1;
            rbk_loop_call(f.loop, do_send, &x[k]);
        }
        for (int k = 0; k < AT_ONCE; k++) {
            wait_done(&x[k]);
            assert_int_equal(atomic_load(&x[k].n_done), EACH);
        }
        assert_int_equal(atomic_load(&f.r.requests), AT_ONCE * EACH);
        assert_true(atomic_load(&f.r.accepts) <= (is_over_http2(backends[i]) ? 1 : AT_ONCE));
        fixture_stop(&f);
        free(x);
    }
}

static void test_close_under_way(void **state)
{
    enum { N = 12 };
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.1", "nobody.invalid"};
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        fixture f;
        trial *x = calloc(N, sizeof *x);
        MUST(x);
        fixture_start(&f, backends[i], &id, serve_silence, NULL);
        for (int k = 0; k < N; k++) {
            trial_init(&x[k], &f, backends[i]->scheme, hosts[k % 3], "/");
            x[k].refuse = k % 3 == 1;
            rbk_loop_call(f.loop, do_send, &x[k]);
            if (k == N / 2)
                WAIT_COUNT(f.r.requests, 1);
        }
        rbk_loop_call(f.loop, do_close, &f);
        for (int k = 0; k < N; k++) {
            assert_int_equal(atomic_load(&x[k].n_done), 1);
            assert_false(x[k].within);
            assert_true(x[k].result.err < 0);
            if (k % 3 == 0)
                assert_int_equal(x[k].result.err, RBK_E_CLOSED);
        }
        fixture_stop(&f);
        for (int k = 0; k < N; k++)
            assert_int_equal(atomic_load(&x[k].n_done), 1);
        free(x);
    }
}

/* Each allocation of the loop thread fails in turn: every attempt ends, once, and the
 * next goes well. */
static void check_no_memory(const rbk_transport_ops *ops, const char *host)
{
    alloc_failure a = {0};
    do {
        fixture f;
        trial x;
        fixture_start(&f, ops, &id, serve_ok, NULL);
        trial_init(&x, &f, ops->scheme, host, "?x");
        a.n++;
        rbk_loop_call(f.loop, do_fail_in, &a);
        run(&x);
        rbk_loop_call(f.loop, do_fail_stop, &a);
        assert_true(x.result.err != 0 || x.result.status == ok_of(ops));
        assert_int_equal(atomic_load(&x.n_done), 1);
        rbk_loop_call(f.loop, do_close, &f); /* no failed name lookup is remembered */
        rbk_loop_call(f.loop, do_open, &f);
        run(&x);
        assert_int_equal(x.result.status, ok_of(f.ops));
        fixture_stop(&f);
    } while (a.left == 0 && a.n < 200);
    assert_true(a.n > 5 && a.n < 200);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        check_no_memory(backends[i], "127.0.0.1");
        check_no_memory(backends[i], "localhost");
    }
}

/* --- the registry --- */

static void test_registry(void **state)
{
    static rbk_transport_ops future, lacking, other;
    (void)state;
    future = lacking = other = rbk_transport_https;
    future.scheme = "future";
    future.abi = RBK_TRANSPORT_ABI + 1;
    lacking.scheme = "lacking";
    lacking.send = NULL;
    other.scheme = "other";
    assert_null(rbk_transports_at(0));
    assert_int_equal(rbk_transports_add(&future), RBK_E_STATE);
    assert_int_equal(rbk_transports_add(&lacking), RBK_E_STATE);
    assert_int_equal(rbk_transports_add(&rbk_transport_https), 0);
    assert_int_equal(rbk_transports_add(&rbk_transport_https), RBK_E_STATE); /* taken */
    assert_int_equal(rbk_transports_add(&other), 0);
    assert_ptr_equal(rbk_transports_find(RBK_STR("https")), &rbk_transport_https);
    assert_ptr_equal(rbk_transports_find(RBK_STR("other")), &other);
    assert_null(rbk_transports_find(RBK_STR("http")));
    assert_null(rbk_transports_find(RBK_STR("httpsx")));
    assert_ptr_equal(rbk_transports_at(1), &other);
    assert_null(rbk_transports_at(2));
}

static int setup(void **state)
{
    (void)state;
    ca = make_identity(&(cert_spec){0});
    id = make_identity(
        &(cert_spec){.san = "IP:127.0.0.1,IP:127.0.0.2,DNS:localhost", .issuer = &ca});
    write_pem(&ca, ca_path);
    https_over_http2 = rbk_transport_https;
    rbk_tls_client_conf conf = {.ca_file = ca_path, .ca_only = true};
    return rbk_tls_client_new(&conf, &tls, NULL);
}

static int teardown(void **state)
{
    (void)state;
    rbk_tls_free(tls);
    unlink(ca_path);
    free_identity(&id);
    free_identity(&ca);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),         cmocka_unit_test(test_name),
        cmocka_unit_test(test_statuses),        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_refused_address), cmocka_unit_test(test_wrong_certificate),
        cmocka_unit_test(test_mixed_addresses), cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_close_under_way), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_lookup_failures), cmocka_unit_test(test_few_addresses_tried),
        cmocka_unit_test(test_registry),        cmocka_unit_test(test_full_address),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
