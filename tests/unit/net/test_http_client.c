/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against receivers that do what they should not: answers, floods,
 * deadlines, addresses. Over plain TCP, since TLS makes no difference there. */
#include "client_rig.h"

/* --- scripts --- */

typedef struct script {
    const char *name, *answer;
    int close;       /* after the answer: 0 no, 1 orderly, 2 reset */
    int err, status; /* expected */
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
        {"chunked", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 0, 0, 200,
         true},
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
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
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
    assert_int_equal(s.result.err, 0);
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

/* The body, for who wants it: `done` comes at its end then. */
static void check_body(const char *answer, int close, int err, const char *want)
{
    const script sc = {.answer = answer, .close = close};
    fixture f;
    receiver r;
    shot s;
    rbk_buf body = RBK_BUF(8);
    receiver_start(&r, NULL, serve_script, (void *)(uintptr_t)&sc);
    fixture_start(&f, NULL);
    shot_init(&s, &f, r.port);
    s.post.want_body = &body;
    shoot(&s);
    assert_int_equal(s.result.err, err);
    assert_int_equal(s.result.status, err ? 0 : 200);
    if (want)
        assert_true(rbk_str_eqz(rbk_buf_view(&body), want));
    else
        assert_true(err != 0 || rbk_buf_err(&body) == RBK_E_TOO_LARGE);
    fixture_stop(&f);
    receiver_stop(&r);
    rbk_buf_free(&body);
}

static void test_wanted_body(void **state)
{
    (void)state;
    check_body(OK_EMPTY, 0, 0, "");
    check_body(OK_HEAD "Content-Length: 8\r\n\r\n12345678", 0, 0, "12345678");
    check_body(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 0, 0,
               "abc");
    check_body(OK_HEAD "\r\nto end", 1, 0, "to end");
    check_body(OK_HEAD "Content-Length: 9\r\n\r\n123456789", 0, 0, NULL);
    check_body(OK_HEAD "Content-Length: 8\r\n\r\n123", 1, RBK_E_CLOSED, NULL);
    check_body(OK_HEAD "Transfer-Encoding: chunked\r\n\r\nx\r\n", 0, RBK_E_PROTOCOL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wanted_body),   cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_request_bytes), cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_floods),        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_never_accepts), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_next_address),  cmocka_unit_test(test_not_allowed),
        cmocka_unit_test(test_other_address), cmocka_unit_test(test_big_body),
        cmocka_unit_test(test_early_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
