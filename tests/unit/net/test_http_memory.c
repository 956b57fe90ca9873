/* SPDX-License-Identifier: Apache-2.0 */
/* What the HTTP server holds for its peers: the budget that all connections share, how
 * far one connection is read ahead, and how slowly answers may be taken. */
#include "http_rig.h"

#define HOST    " HTTP/1.1\r\nHost: h\r\n"
#define HOLD(n) "POST /hold?" #n HOST "\r\n"

enum { KIB = 1024, MIB = KIB * KIB, FREE = 64 * KIB, HALF = 512 * KIB };

static char letters[3 * MIB];

/* So many letters, ended by a NUL. */
static const char *body_of(size_t n)
{
    return letters + sizeof letters - 1 - n;
}

static void await_buffered(rig *g, size_t least, size_t most)
{
    rbk_mono_ms end = rbk_mono_now() + LIMIT_MS;
    for (size_t n = g->buffered; n < least || n > most; n = g->buffered) {
        if (rbk_mono_now() > end)
            fail_msg("%zu bytes are counted, not %zu to %zu", n, least, most);
        usleep(500);
    }
}

/* A connection of its own, a small request, its answer. */
static void check_served(const rig *g, size_t n)
{
    inbox in = {0};
    char head[128];
    int fd = rig_socket(g);
    snprintf(head, sizeof head, "POST /rpc" HOST "Connection: close\r\nContent-Length: %zu\r\n\r\n",
             n);
    rig_say(fd, head);
    rig_say(fd, body_of(n));
    answer a = rig_read(fd, &in);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, n);
    rig_expect_end(fd, &in);
    close(fd);
}

/* All of a body but its last letter. */
static int begin_body(const rig *g, size_t n)
{
    char head[128];
    int fd = rig_socket(g);
    snprintf(head, sizeof head, "POST /rpc" HOST "Content-Length: %zu\r\n\r\n", n);
    rig_say(fd, head);
    rig_say(fd, body_of(n - 1));
    return fd;
}

static void check_refused(const rig *g, const char *head)
{
    inbox in = {0};
    int fd = rig_socket(g);
    rig_say(fd, head);
    rig_say(fd, body_of(HALF - 1));
    answer a = rig_read(fd, &in);
    assert_true(a.status == 503 && a.close && rig_header(&a, "Retry-After").n > 0);
    assert_non_null(memmem(a.body.p, a.body.n, "-32009", 6));
    rig_expect_end(fd, &in);
    close(fd);
}

/* --- bodies ---------------------------------------------------------------------------- */

static void test_bodies(void **state)
{
    (void)state;
    const size_t each = HALF - 1 - FREE;
    rig g = {.conf.max_buffered = MIB};
    inbox in = {0};
    rig_start(&g);
    int a = begin_body(&g, HALF), b = begin_body(&g, HALF);
    await_buffered(&g, 2 * each, 2 * each);
    check_refused(&g, "POST /rpc" HOST "Content-Length: 524288\r\n\r\n");
    check_refused(&g, "POST /rpc" HOST "Transfer-Encoding: chunked\r\n\r\n80000\r\n");
    check_served(&g, 100);
    check_served(&g, 60 * KIB);
    await_buffered(&g, 2 * each, 2 * each);
    rig_say(a, "a"); /* what was taken in is served */
    answer ok = rig_read(a, &in);
    assert_true(ok.status == 200 && ok.body.n == HALF && !ok.close);
    rbk_buf_free(&in.b);
    await_buffered(&g, each, each);
    check_served(&g, HALF);
    assert_int_equal(g.n_requests, 4);
    close(b);
    await_buffered(&g, 0, 0);
    close(a);
    rig_stop(&g);
}

/* A refused body is not held until the answers before it have gone. */
static void test_refused_in_line(void **state)
{
    (void)state;
    rig g = {.conf.max_buffered = 100 * KIB};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0) "POST /rpc" HOST "Content-Length: 524288\r\n\r\n");
    rig_say(fd, body_of(HALF - 1));
    rig_await(&g.n_held, 1);
    check_served(&g, 100);
    await_buffered(&g, 0, 0);
    rig_answer(&g, 0, "first");
    assert_int_equal(rig_read(fd, &in).status, 200);
    assert_int_equal(rig_read(fd, &in).status, 503);
    rig_expect_end(fd, &in);
    close(fd);
    rig_stop(&g);
}

/* --- answers --------------------------------------------------------------------------- */

/* The loop has gone round since. */
static void go_round(const rig *g)
{
    for (int i = 0; i < 3; i++)
        check_served(g, 1);
}

/* Nothing more is handed over while answers wait, and after a large one requests come
 * one by one. */
static void test_read_ahead(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0) HOLD(1));
    rig_await(&g.n_held, 2);
    rig_answer(&g, 1, body_of(HALF));
    await_buffered(&g, HALF - FREE, HALF);
    rig_say(fd, HOLD(2) HOLD(3));
    go_round(&g);
    assert_int_equal(g.n_held, 2);
    rig_answer(&g, 0, "small");
    assert_int_equal(rig_read(fd, &in).body.n, 5);
    assert_int_equal(rig_read(fd, &in).body.n, HALF);
    await_buffered(&g, 0, 0);
    rig_await(&g.n_held, 3);
    go_round(&g);
    assert_int_equal(g.n_held, 3);
    rig_answer(&g, 2, "one");
    rig_await(&g.n_held, 4);
    rig_answer(&g, 3, "two");
    assert_true(rbk_str_eqz(rig_read(fd, &in).body, "one"));
    assert_true(rbk_str_eqz(rig_read(fd, &in).body, "two"));
    rbk_buf_free(&in.b);
    close(fd);
    rig_stop(&g);
}

/* Many small answers that wait are as much as a large one. */
static void test_many_answers_wait(void **state)
{
    (void)state;
    enum { N = 6, EACH = 60 * KIB };
    rig g = {0};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0) HOLD(1) HOLD(2) HOLD(3) HOLD(4) HOLD(5));
    rig_await(&g.n_held, N);
    for (unsigned i = 1; i < N; i++)
        rig_answer(&g, i, body_of(EACH));
    await_buffered(&g, (N - 1) * EACH - FREE, N * EACH);
    rig_say(fd, HOLD(6) HOLD(7));
    go_round(&g);
    assert_int_equal(g.n_held, N);
    rig_answer(&g, 0, "first");
    for (unsigned i = 0; i < N; i++)
        assert_int_equal(rig_read(fd, &in).status, 200);
    rig_await(&g.n_held, N + 2); /* at once: none of them was large */
    rig_answer(&g, N, "");
    rig_answer(&g, N + 1, "");
    assert_int_equal(rig_read(fd, &in).status, 200);
    assert_int_equal(rig_read(fd, &in).status, 200);
    rbk_buf_free(&in.b);
    close(fd);
    rig_stop(&g);
}

/* Two requests; the second is answered, the first waits. */
static int hold_answer(rig *g, size_t n)
{
    unsigned at = g->n_held;
    int fd = rig_socket(g);
    rig_say(fd, HOLD(0) HOLD(1));
    rig_await(&g->n_held, at + 2);
    rig_answer(g, at + 1, body_of(n));
    return fd;
}

static void check_closed(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

/* Over the budget who holds most is closed, over twice the budget anyone who is counted. */
static void test_answers_over_budget(void **state)
{
    (void)state;
    rig g = {.conf.max_buffered = MIB};
    inbox in = {0};
    rig_start(&g);
    check_closed(hold_answer(&g, 2 * MIB));
    rig_await(&g.n_gone, 1);
    await_buffered(&g, 0, 0);
    int a = hold_answer(&g, MIB);
    await_buffered(&g, MIB - FREE, MIB);
    int b = hold_answer(&g, MIB);
    await_buffered(&g, 2 * (MIB - FREE), 2 * MIB);
    check_closed(hold_answer(&g, HALF));
    rig_await(&g.n_gone, 2);
    await_buffered(&g, 2 * (MIB - FREE), 2 * MIB);
    check_refused(&g, "POST /rpc" HOST "Content-Length: 524288\r\n\r\n");
    check_served(&g, 60 * KIB);
    rig_answer(&g, 2, "a");
    assert_int_equal(rig_read(a, &in).body.n, 1);
    assert_int_equal(rig_read(a, &in).body.n, MIB);
    rbk_buf_free(&in.b);
    await_buffered(&g, MIB - FREE, MIB);
    close(b);
    rig_await(&g.n_gone, 3);
    await_buffered(&g, 0, 0);
    for (unsigned i = 0; i < g.n_held; i += i == 0 ? 4 : 2) /* owed to those who have gone */
        rig_answer(&g, i, "late");
    close(a);
    rig_stop(&g);
}

/* What the kernel does not take counts too; and a reader that closes gives it back. */
static void test_unsent(void **state)
{
    (void)state;
    rig g = {.send_buf = 16 * KIB};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, "POST /big" HOST "\r\n");
    await_buffered(&g, BIG - FREE, BIG);
    close(fd);
    await_buffered(&g, 0, 0);
    rig_stop(&g);
}

/* 8 KB a second: more than nothing, and not enough while megabytes wait. */
static void test_trickle(void **state)
{
    (void)state;
    enum { WRITE_MS = 4000, STEP = 2 * KIB, STEP_MS = 250 };
    static char sink[STEP];
    rig g = {.conf.write_ms = WRITE_MS, .send_buf = 16 * KIB};
    int room = 16 * KIB;
    rig_start(&g);
    int fd = rig_socket(&g);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    rig_say(fd, "POST /big" HOST "\r\n");
    rig_await(&g.n_requests, 1);
    rbk_mono_ms start = rbk_mono_now();
    while (g.connections > 0) {
        assert_true(rbk_mono_now() - start < LIMIT_MS);
        (void)recv(fd, sink, sizeof sink, MSG_DONTWAIT);
        usleep(STEP_MS * 1000); /* the slowness that is tested */
    }
    assert_true(rbk_mono_now() - start >= WRITE_MS);
    close(fd);
    rig_stop(&g);
}

int main(void)
{
    memset(letters, 'a', sizeof letters - 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_refused_in_line),
        cmocka_unit_test(test_read_ahead),
        cmocka_unit_test(test_many_answers_wait),
        cmocka_unit_test(test_answers_over_budget),
        cmocka_unit_test(test_unsent),
        cmocka_unit_test(test_trickle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
