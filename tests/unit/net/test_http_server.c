/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server as a peer sees it: statuses, order of answers, Expect, who closes
 * when, drain, listening. */
#include "http_rig.h"

#define HOST    " HTTP/1.1\r\nHost: h\r\n"
#define HOLD(n) "POST /hold?" #n HOST "\r\n"

static char text[64 << 10];

static void check_error(const rig *g, const char *request, int status, const char *code)
{
    answer a = rig_ask(g, request, text, sizeof text);
    if (a.status != status || !memmem(a.body.p, a.body.n, code, strlen(code)))
        fail_msg("%d, not %d: %.*s", a.status, status, RBK_FMT(a.body));
    assert_true(rbk_str_eqz(rig_header(&a, "Content-Type"), "application/json"));
    assert_int_equal(rig_header(&a, "Allow").p != NULL, status == 405);
    assert_int_equal(rig_header(&a, "WWW-Authenticate").p != NULL, status == 401);
}

/* A handler may name other methods than POST. */
static void test_allowed_methods(void **state)
{
    (void)state;
    static const struct {
        const char *request, *allow;
    } rows[] = {{"GET /rpc" HOST "\r\n", "POST"}, {"GET /read-only" HOST "\r\n", "GET, HEAD"}};
    rig g = {0};
    rig_start(&g);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        answer a = rig_ask(&g, rows[i].request, text, sizeof text);
        assert_int_equal(a.status, 405);
        assert_true(rbk_str_eqz(rig_header(&a, "Allow"), rows[i].allow));
    }
    rig_stop(&g);
}

static void test_statuses(void **state)
{
    (void)state;
    rig g = {.conf.max_body = 10, .conf.max_line = 100};
    rig_start(&g);
    check_error(&g, "GET /rpc" HOST "\r\n", 405, "-32600");
    check_error(&g, "POST /secret" HOST "\r\n", 401, "-32001");
    check_error(&g, "POST /none" HOST "Content-Length: 5\r\n\r\n", 404, "-32600");
    check_error(&g, "POST /none" HOST "Content-Encoding: br\r\n\r\n", 404, "-32600");
    check_error(&g, "POST /typed" HOST "Content-Length: 5\r\n\r\n", 415, "application/json");
    check_error(&g, "POST /rpc" HOST "Content-Encoding: gzip\r\n\r\n", 415, "Content-Encoding");
    check_error(&g, "POST /rpc" HOST "Content-Length: 11\r\n\r\n", 413, "-32007");
    check_error(&g, "POST /rpc" HOST "Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n5\r\n", 413,
                "-32007");
    check_error(&g, "POST /rpc" HOST "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417, "-32600");
    check_error(&g, "FOO /rpc" HOST "\r\n", 501, "-32600");
    check_error(&g, "POST /rpc HTTP/2.0\r\n", 505, "-32600");
    check_error(&g, "rubbish\r\n", 400, "-32600");
    assert_int_equal(g.n_requests, 0);
    answer a =
        rig_ask(&g, "POST /rpc" HOST "Connection: close\r\nContent-Length: 10\r\n\r\n0123456789",
                text, sizeof text);
    assert_true(a.status == 200 && rbk_str_eqz(a.body, "0123456789"));
    a = rig_ask(&g,
                "POST /rpc" HOST "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                "6\r\nabcdef\r\n4\r\nghij\r\n0\r\n\r\n",
                text, sizeof text);
    assert_true(a.status == 200 && rbk_str_eqz(a.body, "abcdefghij"));
    rig_stop(&g);
}

static void test_line_limits(void **state)
{
    (void)state;
    rig g = {0};
    rig_start(&g);
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_buf_addf(&b, "POST /%09000d" HOST "\r\n", 0);
    rbk_buf_c(&b, 0);
    check_error(&g, b.p, 414, "-32600");
    rbk_buf_clear(&b);
    rbk_buf_addf(&b, "POST /rpc" HOST "X: %09000d\r\n\r\n", 0);
    rbk_buf_c(&b, 0);
    check_error(&g, b.p, 431, "-32600");
    rbk_buf_free(&b);
    rig_stop(&g);
}

static void test_bodiless(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {.head_only = true};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, "HEAD /rpc" HOST "Content-Length: 3\r\n\r\nabc");
    answer a = rig_read(fd, &in);
    assert_true(a.status == 200 && rbk_str_eqz(rig_header(&a, "Content-Length"), "3"));
    in.head_only = false;
    rig_say(fd, "POST /empty" HOST "\r\nPOST /rpc" HOST "Content-Length: 0\r\n\r\n");
    a = rig_read(fd, &in);
    assert_int_equal(a.status, 204);
    a = rig_read(fd, &in);
    assert_true(a.status == 200 && a.body.n == 0 && !a.close);
    shutdown(fd, SHUT_WR);
    rig_expect_end(fd, &in);
    close(fd);
    rig_stop(&g);
}

/* Whatever a method says in a header, it stays one header. */
static void test_header_stays_one_line(void **state)
{
    (void)state;
    rig g = {0};
    rig_start(&g);
    answer a = rig_ask(&g, "POST /evil" HOST "Connection: close\r\nContent-Length: 1\r\n\r\nx",
                       text, sizeof text);
    assert_true(rbk_str_eqz(rig_header(&a, "X-Evil"), "a  Set-Cookie: b  c"));
    assert_null(rig_header(&a, "Set-Cookie").p);
    assert_null(rig_header(&a, "X").p);
    rig_stop(&g);
}

static void test_keep_alive(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0};
    rig_start(&g);
    answer a = rig_ask(&g, "POST /rpc HTTP/1.0\r\n\r\n", text, sizeof text);
    assert_int_equal(a.status, 200);
    int fd = rig_socket(&g);
    rig_say(fd, "POST /rpc HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    a = rig_read(fd, &in);
    assert_true(rbk_str_eqz(rig_header(&a, "Connection"), "keep-alive"));
    rig_say(fd, "POST /rpc" HOST "Connection: x, Close\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n");
    a = rig_read(fd, &in);
    assert_true(a.close);
    rig_expect_end(fd, &in);
    close(fd);
    rig_stop(&g);
}

static void test_order(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0) HOLD(1) "POST /rpc" HOST "Content-Length: 4\r\n\r\nsync" HOLD(
                    2) "POST /none" HOST "\r\nPOST /smuggled" HOST "\r\n");
    rig_await(&g.n_held, 3);
    rig_answer(&g, 2, "two");
    rig_answer(&g, 1, "one");
    rig_await(&g.n_answered, 2);
    rig_answer(&g, 0, "zero");
    static const char *const want[] = {"zero", "one", "sync", "two"};
    for (size_t i = 0; i < 4; i++) {
        answer a = rig_read(fd, &in);
        assert_true(rbk_str_eqz(a.body, want[i]) && !a.close);
    }
    answer a = rig_read(fd, &in);
    assert_true(a.status == 404 && a.close);
    rig_expect_end(fd, &in);
    close(fd);
    rig_stop(&g);
}

static void test_pipeline_is_bounded(void **state)
{
    (void)state;
    enum { MANY = 100 };
    rig g = {.conf.max_pipeline = 4};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    for (int i = 0; i < MANY; i++)
        rig_say(fd, HOLD(x));
    for (unsigned i = 0; i < MANY; i++) {
        rig_await(&g.n_held, i + 1);
        rig_answer(&g, i, "ok");
    }
    for (int i = 0; i < MANY; i++)
        assert_int_equal(rig_read(fd, &in).status, 200);
    assert_true(g.most_held <= 4);
    shutdown(fd, SHUT_WR);
    rig_expect_end(fd, &in);
    close(fd);
    rig_stop(&g);
}

/* Who does not read his answers is not read either: memory stays bounded. */
static void test_unread_answers_stop_reading(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    for (int i = 0; i < 5; i++)
        rig_say(fd, "POST /big" HOST "\r\n");
    rig_await(&g.n_requests, 1);
    inbox other = {0};
    int fd2 = rig_socket(&g); /* by the time of this answer the first was looked at */
    rig_say(fd2, "POST /rpc" HOST "Connection: close\r\n\r\n");
    rig_read(fd2, &other);
    rig_expect_end(fd2, &other);
    close(fd2);
    assert_true(g.n_requests <= 3);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rig_read(fd, &in).body.n, BIG);
    shutdown(fd, SHUT_WR);
    rig_expect_end(fd, &in);
    close(fd);
    rig_stop(&g);
}

static void test_expect(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, "POST /rpc" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_int_equal(rig_read(fd, &in).status, 100);
    rig_say(fd, "{}");
    assert_true(rbk_str_eqz(rig_read(fd, &in).body, "{}"));
    /* The body is there already: none is needed. */
    rig_say(fd, "POST /rpc" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n[]");
    assert_true(rbk_str_eqz(rig_read(fd, &in).body, "[]"));
    /* Never before the answer of an earlier request. */
    rig_say(fd, HOLD(0) "POST /rpc" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    rig_await(&g.n_held, 1);
    rig_answer(&g, 0, "held");
    assert_true(rbk_str_eqz(rig_read(fd, &in).body, "held"));
    assert_int_equal(rig_read(fd, &in).status, 100);
    rig_say(fd, "x");
    assert_true(rbk_str_eqz(rig_read(fd, &in).body, "x"));
    /* Refused before the body. */
    rig_say(fd, "POST /none" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    assert_int_equal(rig_read(fd, &in).status, 404);
    rig_expect_end(fd, &in);
    close(fd);
    check_error(&g, "POST /rpc" HOST "Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n", 413,
                "-32007");
    rig_stop(&g);
}

/* The refusal arrives although the body is still on its way. */
static void test_refusal_is_read(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, "POST /rpc" HOST "Content-Length: 4000000\r\n\r\n");
    rbk_buf b = RBK_BUF(4000000);
    assert_int_equal(rbk_buf_reserve(&b, 4000000), 0);
    memset(b.p, 'x', 4000000);
    assert_true(rig_send(fd, (rbk_str){b.p, 4000000}, 65536));
    assert_int_equal(rig_read(fd, &in).status, 413);
    rig_expect_end(fd, &in);
    close(fd);
    rbk_buf_free(&b);
    rig_stop(&g);
}

/* --- ends ------------------------------------------------------------------------- */

static void test_gone(void **state)
{
    (void)state;
    rig g = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0) HOLD(1));
    rig_await(&g.n_held, 2);
    rig_answer(&g, 1, "kept for its turn");
    rig_await(&g.n_answered, 1);
    close(fd);
    rig_await(&g.n_gone, 1);
    rig_answer(&g, 0, "nobody listens");
    rig_await(&g.n_answered, 2);
    rig_await_closed(&g, 0);
    fd = rig_socket(&g);
    rig_say(fd, HOLD(2));
    rig_await(&g.n_held, 3);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd); /* a reset */
    rig_await(&g.n_gone, 2);
    rig_answer(&g, 2, "nobody listens");
    rig_await(&g.n_answered, 3);
    rig_await_closed(&g, 0);
    rig_stop(&g);
}

static void test_cut_off(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, "POST /rpc" HOST "Content-Length: 3\r\n\r\nab");
    shutdown(fd, SHUT_WR);
    assert_int_equal(rig_read(fd, &in).status, 400);
    rig_expect_end(fd, &in);
    close(fd);
    assert_int_equal(g.n_requests, 0);
    rig_stop(&g);
}

static void test_drain(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0}, in2 = {0}, in3 = {0};
    rig_start(&g);
    int idle = rig_socket(&g), busy = rig_socket(&g), half = rig_socket(&g);
    rig_say(busy, HOLD(0) HOLD(1));
    rig_await(&g.n_held, 2);
    rig_say(half, "POST /rpc" HOST "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(rig_read(half, &in3).status, 100);
    rig_await(&g.connections, 3);
    rbk_loop_call(g.loop, rig_drain, &g);
    rig_expect_end(idle, &in);
    rig_answer(&g, 1, "last");
    rig_answer(&g, 0, "first");
    answer a = rig_read(busy, &in2);
    assert_true(rbk_str_eqz(a.body, "first") && !a.close);
    a = rig_read(busy, &in2);
    assert_true(rbk_str_eqz(a.body, "last") && a.close);
    rig_expect_end(busy, &in2);
    rig_say(half, "ok");
    a = rig_read(half, &in3);
    assert_true(rbk_str_eqz(a.body, "ok") && a.close);
    rig_expect_end(half, &in3);
    assert_int_equal(rig_socket(&g), -1); /* nobody listens any more */
    close(idle);
    close(busy);
    close(half);
    rig_await_closed(&g, 0);
    rig_stop(&g);
}

static void test_close_before_reply(void **state)
{
    (void)state;
    rig g = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0) "POST /rpc");
    rig_await(&g.n_held, 1);
    rbk_loop_call(g.loop, rig_close_server, &g);
    assert_int_equal(g.n_gone, 1);
    rig_answer(&g, 0, "too late");
    rig_await(&g.n_answered, 1);
    close(fd);
    rig_stop(&g);
}

/* --- listening --------------------------------------------------------------------- */

static void test_listen(void **state)
{
    (void)state;
    int fds[3], one;
    uint16_t port = 0, other;
    char same[32];
    rbk_error err;
    static const char *const bad[] = {"",
                                      "7600",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:x",
                                      "127.0.0.1:65536",
                                      "localhost:1",
                                      "::1:1",
                                      "[::1]",
                                      "[::1:1",
                                      "[127.0.0.1]:1",
                                      "1.2.3:1",
                                      "[]:1",
                                      "127.0.0.1:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(rbk_http_listen(rbk_str_z(bad[i]), 1, fds, &port, &err), RBK_E_CONFIG);
        assert_non_null(strstr(err.detail, bad[i]));
    }
    for (size_t n = 1; n <= 3; n += 2) {
        assert_int_equal(rbk_http_listen(RBK_STR("127.0.0.1:0"), n, fds, &port, &err), 0);
        assert_int_not_equal(port, 0);
        snprintf(same, sizeof same, "127.0.0.1:%u", port);
        for (size_t m = 1; m <= 2; m++) {
            assert_int_equal(rbk_http_listen(rbk_str_z(same), m, (int[2]){0}, &other, &err),
                             RBK_E_SYS);
            assert_non_null(strstr(err.detail, same));
            assert_non_null(strstr(err.detail, "another server"));
        }
        for (size_t i = 0; i < n; i++)
            close(fds[i]);
        /* Gone, the port is free at once. */
        assert_int_equal(rbk_http_listen(rbk_str_z(same), 1, &one, &other, &err), 0);
        assert_int_equal(other, port);
        close(one);
    }
    assert_int_equal(rbk_http_listen(RBK_STR(":0"), 2, fds, &port, &err), 0);
    rig g = {.port = port}; /* every address: also this one */
    int fd = rig_socket(&g);
    assert_true(fd >= 0);
    close(fd);
    close(fds[0]);
    close(fds[1]);
    int r = rbk_http_listen(RBK_STR("[::1]:0"), 1, &one, &port, &err);
    if (r == 0) { /* a machine may have no IPv6 */
        g.port = port;
        assert_int_equal(rig_socket(&g), -1);
        close(one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allowed_methods),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_line_limits),
        cmocka_unit_test(test_bodiless),
        cmocka_unit_test(test_header_stays_one_line),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_pipeline_is_bounded),
        cmocka_unit_test(test_unread_answers_stop_reading),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_refusal_is_read),
        cmocka_unit_test(test_gone),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_close_before_reply),
        cmocka_unit_test(test_listen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
