/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client's kept connections, and how posts end: closed at the moment of reuse,
 * limits, cancelled, freed under way, out of memory. */
#include "client_rig.h"

#include "../../support/failing_alloc.h"

/* --- kept connections --- */

typedef enum stale {
    STALE_CLOSE,  /* the first connection answers once and closes at the second request */
    STALE_RESET,  /* the same, harder */
    STALE_HALF,   /* the second answer breaks off */
    STALE_SILENT, /* the second request is never answered */
    STALE_ALWAYS  /* no later connection answers either */
} stale;

static void serve_stale(peer *p)
{
    stale how = *(const stale *)p->r->user;
    if (p->index > 0) {
        if (how != STALE_ALWAYS)
            serve_ok(p);
        else
            peer_request(p);
        return;
    }
    if (!peer_request(p) || !peer_say(p, OK_EMPTY) || !peer_request(p))
        return;
    p->reset = how == STALE_RESET;
    if (how == STALE_HALF)
        peer_say(p, "HTTP/1.1 ");
    if (how == STALE_SILENT)
        peer_drain(p);
}

static void check_stale(stale how, int err, int status, int accepts)
{
    fixture f;
    receiver r;
    shot s;
    receiver_start(&r, NULL, serve_stale, &how);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    shoot(&s);
    assert_int_equal(s.result.status, 200);
    s.post.total_ms = how == STALE_SILENT ? 100 : 10000;
    shoot(&s);
    assert_int_equal(s.result.err, err);
    assert_int_equal(s.result.status, status);
    assert_true(s.result.any_sent);
    assert_int_equal(atomic_load(&r.accepts), accepts);
    fixture_stop(&f);
    receiver_stop(&r);
}

static void test_closed_at_reuse(void **state)
{
    (void)state;
    check_stale(STALE_CLOSE, 0, 200, 2);
    check_stale(STALE_RESET, 0, 200, 2);
    check_stale(STALE_HALF, RBK_E_CLOSED, 0, 1);
    check_stale(STALE_SILENT, RBK_E_TIMEOUT, 0, 1);
    check_stale(STALE_ALWAYS, RBK_E_CLOSED, 0, 2);
}

static void serve_then_bytes(peer *p)
{
    if (peer_request(p) && peer_say(p, OK_EMPTY)) {
        poll(NULL, 0, 30); /* behind the answer, not with it */
        peer_say(p, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
        peer_drain(p);
    }
}

static void serve_then_close(peer *p)
{
    if (peer_request(p))
        peer_say(p, OK_EMPTY);
}

static void check_idle(void (*serve)(peer *p), const rbk_http_client_conf *conf)
{
    fixture f;
    receiver r;
    shot s;
    receiver_start(&r, NULL, serve, NULL);
    fixture_start(&f, conf);
    shot_init(&s, &f, r.port);
    shoot(&s);
    assert_int_equal(s.result.status, 200);
    WAIT_COUNT(r.finished, 1);
    shoot(&s);
    assert_int_equal(s.result.status, 200);
    assert_int_equal(atomic_load(&r.accepts), 2);
    fixture_stop(&f);
    receiver_stop(&r);
}

static void test_idle(void **state)
{
    (void)state;
    check_idle(serve_then_bytes, NULL);
    check_idle(serve_then_close, NULL);
    check_idle(serve_keep_text, &(rbk_http_client_conf){.idle_ms = 50});
}

typedef struct gate {
    pthread_barrier_t all;
} gate;

static void serve_gate(peer *p)
{
    gate *g = p->r->user;
    if (!peer_request(p))
        return;
    pthread_barrier_wait(&g->all);
    peer_say(p, OK_EMPTY);
    peer_drain(p);
}

/* Four at once, but no more than the limit are kept. */
static void check_kept(const rbk_http_client_conf *conf)
{
    fixture f;
    receiver r;
    gate g;
    shot s[4];
    pthread_barrier_init(&g.all, NULL, 4);
    receiver_start(&r, NULL, serve_gate, &g);
    fixture_start(&f, conf);
    for (int i = 0; i < 4; i++) {
        shot_init(&s[i], &f, r.port);
        fire(&s[i]);
    }
    for (int i = 0; i < 4; i++) {
        wait_done(&s[i]);
        assert_int_equal(s[i].result.status, 200);
    }
    assert_int_equal(atomic_load(&r.accepts), 4);
    WAIT_COUNT(r.finished, 3);
    fixture_stop(&f);
    receiver_stop(&r);
    pthread_barrier_destroy(&g.all);
}

static void test_kept_limits(void **state)
{
    (void)state;
    check_kept(&(rbk_http_client_conf){.idle_per_receiver = 1});
    check_kept(&(rbk_http_client_conf){.idle_max = 1});
}

static void serve_many(peer *p)
{
    while (peer_request(p) && peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        ;
}

/* With no room for two, a kept connection is closed for a new one to another receiver. */
static void test_room_for_new(void **state)
{
    (void)state;
    fixture f;
    receiver r[2];
    shot s[2];
    fixture_start(&f, &(rbk_http_client_conf){.conns_max = 1});
    for (int i = 0; i < 2; i++)
        receiver_start(&r[i], NULL, serve_many, NULL);
    for (int i = 0; i < 4; i++) {
        shot_init(&s[i % 2], &f, r[i % 2].port);
        shoot(&s[i % 2]);
        assert_int_equal(s[i % 2].result.status, 200);
        if (i > 0)
            WAIT_COUNT(r[(i - 1) % 2].finished, (i + 1) / 2);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(atomic_load(&r[i].accepts), 2);
    fixture_stop(&f);
    for (int i = 0; i < 2; i++)
        receiver_stop(&r[i]);
}

/* `done` sends the next: all over one connection. */
static void test_chain(void **state)
{
    fixture f;
    receiver r;
    shot s;
    (void)state;
    receiver_start(&r, NULL, serve_many, NULL);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    s.again = 500;
    shoot(&s);
    assert_int_equal(atomic_load(&s.n_done), 501);
    assert_int_equal(atomic_load(&r.requests), 501);
    assert_int_equal(atomic_load(&r.accepts), 1);
    fixture_stop(&f);
    receiver_stop(&r);
}

static void serve_slow_rest(peer *p)
{
    gate *g = p->r->user;
    if (!peer_request(p))
        return;
    if (p->index > 0) { /* never kept */
        peer_say(p, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    pthread_barrier_wait(&g->all); /* the test saw `done` */
    peer_say(p, "ok");
    if (peer_request(p))
        peer_say(p, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    peer_drain(p);
}

/* The head decides; the body comes when it comes, and then the connection serves again. */
static void test_done_at_head(void **state)
{
    fixture f;
    receiver r;
    gate g;
    shot s;
    (void)state;
    pthread_barrier_init(&g.all, NULL, 2);
    receiver_start(&r, NULL, serve_slow_rest, &g);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    shoot(&s);
    assert_int_equal(s.result.status, 200);
    pthread_barrier_wait(&g.all);
    for (int i = 0; i < 200 && s.result.status != 202; i++)
        shoot(&s);
    assert_int_equal(s.result.status, 202);
    fixture_stop(&f);
    receiver_stop(&r);
    pthread_barrier_destroy(&g.all);
}

static void serve_no_rest(peer *p)
{
    if (peer_request(p))
        peer_say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    peer_drain(p);
}

/* Bodies that never end hold no more connections than may be kept, and not for long. */
static void test_rest_limits(void **state)
{
    fixture f;
    receiver r;
    shot s;
    (void)state;
    receiver_start(&r, NULL, serve_no_rest, NULL);
    fixture_start(&f, &(rbk_http_client_conf){.idle_per_receiver = 2});
    shot_init(&s, &f, r.port);
    s.post.total_ms = 3000;
    for (int i = 0; i < 6; i++) {
        shoot(&s);
        assert_int_equal(s.result.status, 200);
    }
    WAIT_COUNT(r.finished, 4);
    assert_int_equal(atomic_load(&r.finished), 4);
    WAIT_COUNT(r.finished, 6); /* the deadline of the post is that of its rest, too */
    fixture_stop(&f);
    receiver_stop(&r);
}

/* --- ends --- */

static void do_cancel(void *arg)
{
    shot *s = arg;
    int before = s->n_done;
    rbk_http_post_cancel(s->f->client, &s->post);
    MUST(s->n_done == before + 1); /* before it returns */
}

static void do_send_and_cancel(void *arg)
{
    do_send(arg);
    do_cancel(arg);
}

static void test_cancel(void **state)
{
    fixture f;
    receiver r;
    shot s;
    (void)state;
    receiver_start(&r, NULL, serve_silence, NULL);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    fire(&s);
    WAIT_COUNT(r.requests, 1);
    rbk_loop_call(f.loop, do_cancel, &s); /* waits for the answer */
    assert_int_equal(s.result.err, RBK_E_CANCELLED);
    assert_true(s.result.any_sent);
    rbk_loop_call(f.loop, do_send_and_cancel, &s); /* connects */
    assert_int_equal(s.result.err, RBK_E_CANCELLED);
    assert_false(s.result.any_sent);
    s.post.n_addrs = 0;
    rbk_loop_call(f.loop, do_send_and_cancel, &s); /* has failed, and waits for its turn */
    assert_int_equal(s.result.err, RBK_E_CANCELLED);
    assert_int_equal(atomic_load(&s.n_done), 3);
    WAIT_COUNT(r.finished, 1);
    fixture_stop(&f);
    receiver_stop(&r);
    assert_int_equal(atomic_load(&s.n_done), 3);
}

static void test_free_under_way(void **state)
{
    enum { N = 8 };
    fixture f;
    receiver r;
    shot s[N], late;
    (void)state;
    receiver_start(&r, NULL, serve_silence, NULL);
    fixture_start(&f, NULL);
    shot_init(&late, &f, r.port);
    for (int i = 0; i < N; i++) {
        shot_init(&s[i], &f, r.port);
        fire(&s[i]);
    }
    WAIT_COUNT(r.requests, N / 2);
    s[0].then = &late; /* sends to a client that is being freed */
    rbk_http_client *client = f.client;
    rbk_loop_call(f.loop, do_free, &f);
    (void)client;
    for (int i = 0; i < N; i++) {
        assert_int_equal(atomic_load(&s[i].n_done), 1);
        assert_int_equal(s[i].result.err, RBK_E_CLOSED);
    }
    rbk_loop_stop(f.loop);
    rbk_loop_free(f.loop);
    assert_int_equal(atomic_load(&late.n_done), 1);
    assert_int_equal(late.result.err, RBK_E_CLOSED);
    receiver_stop(&r);
}

/* Each allocation of the loop thread fails in turn, on a new connection and on a kept one. */
static void test_no_memory(void **state)
{
    fixture f;
    receiver r;
    (void)state;
    receiver_start(&r, NULL, serve_ok, NULL);
    alloc_failure a = {0};
    int failed = 0;
    do {
        shot s;
        fixture_start(&f, NULL);
        shot_init(&s, &f, r.port);
        a.n++;
        rbk_loop_call(f.loop, do_fail_in, &a);
        for (int i = 0; i < 2; i++) {
            shoot(&s);
            assert_int_equal(atomic_load(&s.n_done), i + 1);
            failed += s.result.err != 0;
            assert_true(s.result.err != 0 || s.result.status == 200);
        }
        rbk_loop_call(f.loop, do_fail_stop, &a);
        shoot(&s); /* and all is well again */
        assert_int_equal(s.result.status, 200);
        fixture_stop(&f);
    } while (a.left == 0 && a.n < 100);
    assert_true(a.n > 5 && a.n < 100);
    assert_true(failed > 3);
    receiver_stop(&r);
}

static void do_send_starved(void *arg)
{
    shot *s = arg;
    fail_in = 1;
    do_send(&s[0]);
    fail_in = 1;
    do_send(&s[1]);
    fail_in = 1;
    do_send(&s[2]);
    fail_in = 0;
    do_cancel(&s[1]);
}

/* What found no memory at all can still be cancelled, and ends later otherwise. */
static void test_starved(void **state)
{
    fixture f;
    shot s[3];
    (void)state;
    fixture_start(&f, NULL);
    for (int i = 0; i < 3; i++)
        shot_init(&s[i], &f, 1);
    rbk_loop_call(f.loop, do_send_starved, s);
    for (int i = 0; i < 3; i++)
        wait_done(&s[i]);
    assert_int_equal(s[0].result.err, RBK_E_NOMEM);
    assert_int_equal(s[1].result.err, RBK_E_CANCELLED);
    assert_int_equal(s[2].result.err, RBK_E_NOMEM);
    fixture_stop(&f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&s[i].n_done), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_at_reuse), cmocka_unit_test(test_idle),
        cmocka_unit_test(test_kept_limits),     cmocka_unit_test(test_chain),
        cmocka_unit_test(test_room_for_new),
        cmocka_unit_test(test_done_at_head),    cmocka_unit_test(test_rest_limits),
        cmocka_unit_test(test_cancel),          cmocka_unit_test(test_free_under_way),
        cmocka_unit_test(test_no_memory),       cmocka_unit_test(test_starved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
