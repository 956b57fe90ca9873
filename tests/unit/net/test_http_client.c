/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against receivers that do what they should not: over plain TCP where
 * TLS makes no difference, over TLS where the point is that the body is never sent. */
#include "net/http_client.h"

#include "../../support/failing_alloc.h"
#include "../../support/receiver.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { HERE = 0x7f000001 };

typedef struct fixture {
    rbk_loop *loop;
    rbk_http_client *client;
    rbk_http_client_conf conf;
} fixture;

/* One post and what became of it. */
typedef struct shot {
    rbk_http_post post;
    fixture *f;
    char receiver[64], authority[64];
    rbk_http_result result;
    char retry_after[80], detail[256];
    bool retry_present;
    atomic_int n_done, asked, refuse; /* of allow() */
    atomic_bool sending, within;      /* `done` came from within send */
    struct shot *then;                /* sent by `done` */
    int again;                        /* so many times this one again */
    sem_t sem;
} shot;

static bool on_allow(const struct sockaddr *addr, void *user)
{
    shot *s = user;
    (void)addr;
    atomic_fetch_add(&s->asked, 1);
    return !atomic_load(&s->refuse);
}

static void do_send(void *arg)
{
    shot *s = arg;
    s->sending = true;
    rbk_http_post_send(s->f->client, &s->post);
    s->sending = false;
}

static void on_done(rbk_http_post *post, const rbk_http_result *result)
{
    shot *s = post->user;
    s->within = s->within || s->sending;
    s->result = *result;
    s->retry_present = result->retry_after.p != NULL;
    snprintf(s->retry_after, sizeof s->retry_after, "%.*s", RBK_FMT(result->retry_after));
    snprintf(s->detail, sizeof s->detail, "%s", result->detail);
    atomic_fetch_add(&s->n_done, 1);
    if (s->again > 0) {
        s->again--;
        do_send(s);
        return;
    }
    if (s->then)
        do_send(s->then);
    sem_post(&s->sem);
}

static void add_addr(shot *s, uint32_t ip)
{
    rbk_addr *a = &s->post.addrs[s->post.n_addrs++];
    for (int i = 0; i < 4; i++)
        a->ip[i] = (uint8_t)(ip >> (24 - 8 * i));
}

static void shot_init(shot *s, fixture *f, uint16_t port)
{
    memset(s, 0, sizeof *s);
    sem_init(&s->sem, 0, 0);
    s->f = f;
    snprintf(s->receiver, sizeof s->receiver, "http://127.0.0.1:%u", port);
    snprintf(s->authority, sizeof s->authority, "127.0.0.1:%u", port);
    s->post = (rbk_http_post){
        .receiver = s->receiver,
        .name = "127.0.0.1",
        .authority = rbk_str_z(s->authority),
        .target = RBK_STR("/cb?x=1"),
        .head = RBK_STR("Content-Type: application/json\r\nX-Test: 1\r\n"),
        .body = RBK_STR("{\"id\":1}"),
        .port = port,
        .connect_ms = 5000,
        .total_ms = 10000,
        .allow = on_allow,
        .allow_user = s,
        .done = on_done,
        .user = s,
    };
    add_addr(s, HERE);
}

static void fire(shot *s)
{
    rbk_loop_call(s->f->loop, do_send, s);
}

static void wait_done(shot *s)
{
    struct timespec by;
    clock_gettime(CLOCK_REALTIME, &by);
    by.tv_sec += 20;
    while (sem_timedwait(&s->sem, &by) < 0)
        MUST(errno == EINTR);
    assert_false(s->within);
}

static void shoot(shot *s)
{
    fire(s);
    wait_done(s);
}

static void do_new(void *arg)
{
    fixture *f = arg;
    MUST(rbk_http_client_new(f->loop, &f->conf, &f->client, NULL) == 0);
}

static void do_free(void *arg)
{
    fixture *f = arg;
    rbk_http_client_free(f->client);
    f->client = NULL;
}

static void fixture_start(fixture *f, const rbk_http_client_conf *conf)
{
    memset(f, 0, sizeof *f);
    if (conf)
        f->conf = *conf;
    MUST(rbk_loop_new("client", &f->loop, NULL) == 0);
    MUST(rbk_loop_start(f->loop, NULL) == 0);
    rbk_loop_call(f->loop, do_new, f);
}

static void fixture_stop(fixture *f)
{
    rbk_loop_call(f->loop, do_free, f);
    rbk_loop_stop(f->loop);
    rbk_loop_free(f->loop);
}

/* --- scripts --- */

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static void serve_ok(peer *p)
{
    while (peer_request(p) && peer_say(p, OK_EMPTY))
        ;
}

typedef struct script {
    const char *name, *answer;
    int close;           /* after the answer: 0 no, 1 orderly, 2 reset */
    int err, status;     /* expected */
    bool reused;
} script;

static void serve_script(peer *p)
{
    const script *sc = p->r->user;
    while (peer_request(p)) {
        peer_say(p, sc->answer);
        if (sc->close) {
            p->reset = sc->close == 2;
            return;
        }
    }
}

static void run_script(const script *sc)
{
    fixture f;
    receiver r;
    shot s;
    receiver_start(&r, NULL, serve_script, (void *)(uintptr_t)sc);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    shoot(&s);
    bool good = s.result.err == sc->err && s.result.status == sc->status && s.result.any_sent &&
                (sc->status == 0 || s.result.complete);
    if (!good)
        print_error("%s: err %d status %d complete %d (%s)\n", sc->name, s.result.err,
                    s.result.status, s.result.complete, s.detail);
    assert_true(good);
    shoot(&s);
    if (sc->reused != (atomic_load(&r.accepts) == 1))
        print_error("%s: %d connections\n", sc->name, atomic_load(&r.accepts));
    assert_int_equal(sc->reused, atomic_load(&r.accepts) == 1);
    fixture_stop(&f);
    receiver_stop(&r);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

static void test_scripts(void **state)
{
    static const script scripts[] = {
        {"200", OK_EMPTY, 0, 0, 200, true},
        {"body", OK_HEAD "Content-Length: 2\r\n\r\nok", 0, 0, 200, true},
        {"chunked", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 0, 0, 200, true},
        {"204", "HTTP/1.1 204 No Content\r\n\r\n", 0, 0, 204, true},
        {"302 is not followed", "HTTP/1.1 302 F\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 0, 0,
         302, true},
        {"500", "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n", 0, 0, 500, true},
        {"interim", "HTTP/1.1 103 X\r\n\r\n" OK_EMPTY, 0, 0, 200, true},
        {"connection: close", OK_HEAD "Connection: close\r\nContent-Length: 0\r\n\r\n", 1, 0, 200,
         false},
        {"connection: close, open", OK_HEAD "Connection: close\r\nContent-Length: 0\r\n\r\n", 0, 0,
         200, false},
        {"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 0, 200, false},
        {"until the end", OK_HEAD "\r\nabc", 1, 0, 200, false},
        {"body too short, close", OK_HEAD "Content-Length: 9\r\n\r\nok", 1, 0, 200, false},
        {"body too short, reset", OK_HEAD "Content-Length: 9\r\n\r\nok", 2, 0, 200, false},
        {"extra bytes", OK_HEAD "Content-Length: 2\r\n\r\nok!", 0, 0, 200, false},
        {"two answers", OK_EMPTY OK_EMPTY, 0, 0, 200, false},
        {"bad chunk size", OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 0, 0, 200, false},
        {"two lengths", OK_HEAD "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 0, RBK_E_PROTOCOL,
         0, false},
        {"101", "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 0, RBK_E_PROTOCOL, 0,
         false},
        {"garbage", "what?", 0, RBK_E_PROTOCOL, 0, false},
        {"garbage, close", "what?", 1, RBK_E_PROTOCOL, 0, false},
        {"status 600", "HTTP/1.1 600 X\r\n\r\n", 0, RBK_E_PROTOCOL, 0, false},
        {"199, then the end", "HTTP/1.1 199 X\r\n\r\n", 1, RBK_E_CLOSED, 0, false},
        {"half a head, close", "HTTP/1.1 200 OK\r\nContent-", 1, RBK_E_CLOSED, 0, false},
        {"half a head, reset", "HTTP/1.1 200 OK\r\nContent-", 2, RBK_E_CLOSED, 0, false},
        {"nothing, close", "", 1, RBK_E_CLOSED, 0, false},
        {"nothing, reset", "", 2, RBK_E_CLOSED, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        run_script(&scripts[i]);
}

static void serve_keep_text(peer *p)
{
    if (peer_request(p))
        peer_say(p, OK_EMPTY);
    peer_drain(p);
}

static void test_request_bytes(void **state)
{
    fixture f;
    receiver r;
    shot s;
    char want[512];
    (void)state;
    receiver_start(&r, NULL, serve_keep_text, NULL);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    shoot(&s);
    assert_int_equal(s.result.err, 0);
    assert_int_equal(atomic_load(&s.asked), 1);
    fixture_stop(&f);
    WAIT_COUNT(r.finished, 1);
    snprintf(want, sizeof want,
             "POST /cb?x=1 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Type: application/json\r\n"
             "X-Test: 1\r\nContent-Length: 8\r\n\r\n{\"id\":1}",
             r.port);
    assert_string_equal(r.peers[0]->request, want);
    receiver_stop(&r);
}

static void test_retry_after(void **state)
{
    static const script sc = {
        .answer = "HTTP/1.1 503 X\r\nRetry-After: 120 \r\nContent-Length: 0\r\n\r\n"};
    fixture f;
    receiver r;
    shot s;
    (void)state;
    receiver_start(&r, NULL, serve_script, (void *)(uintptr_t)&sc);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    shoot(&s);
    assert_int_equal(s.result.status, 503);
    assert_true(s.retry_present);
    assert_string_equal(s.retry_after, "120");
    fixture_stop(&f);
    receiver_stop(&r);
}

/* --- floods --- */

static void serve_flood(peer *p)
{
    static char block[8192];
    const script *sc = p->r->user; /* `name` comes once, `answer` for ever */
    if (!peer_request(p))
        return;
    peer_say(p, sc->name);
    size_t n = strlen(sc->answer), k = 0;
    while (k + n <= sizeof block) {
        memcpy(block + k, sc->answer, n);
        k += n;
    }
    while (peer_send(p, block, k))
        ;
}

/* The receiver ends only when the client has closed. */
static void test_floods(void **state)
{
    static const script floods[] = {
        {OK_HEAD "Content-Length: 10737418240\r\n\r\n", "xxxxxxxx", 0, 0, 200, false},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n", "4\r\nxxxx\r\n", 0, 0, 200, false},
        {OK_HEAD "Transfer-Encoding: chunked\r\n\r\n1;", "xxxx", 0, 0, 200, false},
        {OK_HEAD "\r\n", "xxxx", 0, 0, 200, false},
        {OK_HEAD, "X: y\r\n", 0, RBK_E_PROTOCOL, 0, false},
        {OK_HEAD "X: ", "y", 0, RBK_E_PROTOCOL, 0, false},
        {"", "HTTP/1.1 100 Continue\r\n\r\n", 0, RBK_E_PROTOCOL, 0, false},
        {"HTTP/1.1 200 ", "O", 0, RBK_E_PROTOCOL, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++) {
        fixture f;
        receiver r;
        shot s;
        receiver_start(&r, NULL, serve_flood, (void *)(uintptr_t)&floods[i]);
        fixture_start(&f, NULL);
        shot_init(&s, &f, r.port);
        shoot(&s);
        assert_int_equal(s.result.err, floods[i].err);
        assert_int_equal(s.result.status, floods[i].status);
        WAIT_COUNT(r.finished, 1);
        fixture_stop(&f);
        receiver_stop(&r);
    }
}

/* --- deadlines --- */

static void serve_silence(peer *p)
{
    if (peer_request(p))
        peer_drain(p);
}

static void serve_drop_by_drop(peer *p)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nX-Slow: very slow indeed\r\n\r\n";
    if (!peer_request(p))
        return;
    for (size_t i = 0; i < sizeof text - 1 && peer_send(p, text + i, 1); i++)
        poll(NULL, 0, 20);
}

static void check_timeout(void (*serve)(peer *p))
{
    fixture f;
    receiver r;
    shot s;
    receiver_start(&r, NULL, serve, NULL);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    s.post.total_ms = 150;
    shoot(&s);
    assert_int_equal(s.result.err, RBK_E_TIMEOUT);
    assert_int_equal(s.result.status, 0);
    assert_true(s.result.any_sent);
    WAIT_COUNT(r.finished, 1); /* its connection was closed */
    fixture_stop(&f);
    receiver_stop(&r);
}

static void test_timeouts(void **state)
{
    (void)state;
    check_timeout(serve_silence);
    check_timeout(serve_drop_by_drop); /* the deadline is absolute */
}

/* A full backlog drops the SYN, as a filter does. */
static void test_never_accepts(void **state)
{
    fixture f;
    shot s;
    uint16_t port;
    int fd = listen_on(0, &port), fill[4];
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons(port)};
    (void)state;
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        MUST(connect(fill[i], (struct sockaddr *)&sa, sizeof sa) == 0 || errno == EINPROGRESS);
    }
    fixture_start(&f, NULL);
    shot_init(&s, &f, port);
    s.post.connect_ms = 100;
    s.post.total_ms = 60000;
    shoot(&s);
    assert_int_equal(s.result.err, RBK_E_TIMEOUT);
    assert_false(s.result.any_sent);
    fixture_stop(&f);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
}

/* --- addresses --- */

static uint16_t closed_port(void)
{
    uint16_t port;
    close(listen_on(1, &port));
    return port;
}

static void test_refused(void **state)
{
    fixture f;
    shot s;
    (void)state;
    fixture_start(&f, NULL);
    shot_init(&s, &f, closed_port());
    shoot(&s);
    assert_int_equal(s.result.err, RBK_E_CONNECT);
    assert_false(s.result.any_sent);
    assert_true(s.detail[0] != 0);
    s.post.n_addrs = 0;
    shoot(&s);
    assert_int_equal(s.result.err, RBK_E_CONNECT);
    fixture_stop(&f);
}

static void test_next_address(void **state)
{
    fixture f;
    receiver r;
    shot s;
    (void)state;
    receiver_start(&r, NULL, serve_ok, NULL);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    s.post.n_addrs = 0;
    add_addr(&s, HERE + 1); /* nobody listens there */
    add_addr(&s, HERE);
    shoot(&s);
    assert_int_equal(s.result.status, 200);
    assert_int_equal(atomic_load(&s.asked), 2);
    shoot(&s); /* the kept one is of the second address */
    assert_int_equal(s.result.status, 200);
    assert_int_equal(atomic_load(&r.accepts), 1);
    fixture_stop(&f);
    receiver_stop(&r);
}

static void test_not_allowed(void **state)
{
    fixture f;
    receiver r;
    shot s;
    (void)state;
    receiver_start(&r, NULL, serve_ok, NULL);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    add_addr(&s, HERE + 1);
    s.refuse = 1;
    shoot(&s);
    assert_int_equal(s.result.err, RBK_E_ADDRESS);
    assert_int_equal(atomic_load(&s.asked), 1); /* one is enough: no other is tried */
    assert_int_equal(atomic_load(&r.accepts), 0);
    s.refuse = 0;
    shoot(&s);
    assert_int_equal(s.result.status, 200);
    s.refuse = 1; /* the policy has changed since the connection was made */
    shoot(&s);
    assert_int_equal(s.result.err, RBK_E_ADDRESS);
    WAIT_COUNT(r.finished, 1);
    assert_int_equal(atomic_load(&r.requests), 1);
    fixture_stop(&f);
    receiver_stop(&r);
}

/* A kept connection serves only who resolved to its address. */
static void test_other_address(void **state)
{
    fixture f;
    receiver r;
    shot s;
    (void)state;
    receiver_start(&r, NULL, serve_ok, NULL);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    shoot(&s);
    assert_int_equal(s.result.status, 200);
    s.post.n_addrs = 0;
    add_addr(&s, HERE + 1);
    shoot(&s);
    assert_int_equal(s.result.err, RBK_E_CONNECT);
    assert_int_equal(atomic_load(&r.requests), 1);
    fixture_stop(&f);
    receiver_stop(&r);
}

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

/* --- the request itself --- */

static char big[3 << 20];

static void serve_big(peer *p)
{
    bool same = peer_request(p) && p->request_n - p->head_n == sizeof big &&
                memcmp(p->request + p->head_n, big, sizeof big) == 0;
    peer_say(p, same ? OK_EMPTY : "HTTP/1.1 500 X\r\n\r\n");
    peer_drain(p);
}

static void test_big_body(void **state)
{
    fixture f;
    receiver r;
    shot s;
    (void)state;
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)('a' + i % 23);
    receiver_start(&r, NULL, serve_big, NULL);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    s.post.body = (rbk_str){big, sizeof big};
    shoot(&s);
    assert_int_equal(s.result.status, 200);
    assert_true(s.result.complete);
    fixture_stop(&f);
    receiver_stop(&r);
}

static void serve_early(peer *p)
{
    pthread_barrier_t *seen = p->r->user;
    peer_say(p, OK_EMPTY);
    pthread_barrier_wait(seen); /* reads nothing until the client has decided */
}

/* 200 before the body was read is no proof of anything. */
static void test_early_answer(void **state)
{
    fixture f;
    receiver r;
    shot s;
    pthread_barrier_t seen;
    char *body = calloc(1, 32 << 20); /* more than any socket buffer */
    (void)state;
    MUST(body);
    pthread_barrier_init(&seen, NULL, 2);
    receiver_start(&r, NULL, serve_early, &seen);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    s.post.body = (rbk_str){body, 32 << 20};
    shoot(&s);
    assert_int_equal(s.result.err, 0);
    assert_int_equal(s.result.status, 200);
    assert_false(s.result.complete);
    pthread_barrier_wait(&seen);
    fixture_stop(&f);
    receiver_stop(&r);
    pthread_barrier_destroy(&seen);
    free(body);
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

typedef struct alloc_failure {
    int n, left; /* the n-th fails; more than 0 left: there were not so many */
} alloc_failure;

static void do_fail_in(void *arg)
{
    fail_in = ((alloc_failure *)arg)->n;
}

static void do_fail_stop(void *arg)
{
    ((alloc_failure *)arg)->left = fail_in;
    fail_in = 0;
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
        print_error("%s: err %d status %d (%s)\n", tc->name, s.result.err, s.result.status, s.detail);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scripts),        cmocka_unit_test(test_request_bytes),
        cmocka_unit_test(test_retry_after),    cmocka_unit_test(test_floods),
        cmocka_unit_test(test_timeouts),       cmocka_unit_test(test_never_accepts),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_next_address),
        cmocka_unit_test(test_not_allowed),    cmocka_unit_test(test_other_address),
        cmocka_unit_test(test_closed_at_reuse), cmocka_unit_test(test_idle),
        cmocka_unit_test(test_kept_limits),    cmocka_unit_test(test_chain),
        cmocka_unit_test(test_done_at_head),   cmocka_unit_test(test_rest_limits),
        cmocka_unit_test(test_big_body),
        cmocka_unit_test(test_early_answer),   cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_free_under_way), cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_starved),        cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
