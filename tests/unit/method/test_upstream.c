/* SPDX-License-Identifier: Apache-2.0 */
/* Calls through an upstream, from real requests to real connections: what it is sent, what its
 * answers become, and what is sent again. */
#include "upstream_rig.h"

/* --- what is sent, what comes back --- */

static void assert_sent(play *y, const char *what)
{
    pthread_mutex_lock(&y->lock);
    if (strstr(y->last, what) == NULL)
        fail_msg("'%s' is not in %s", what, y->last);
    pthread_mutex_unlock(&y->lock);
}

static void test_pass_through(void **state)
{
    play *y = PLAY(HTTP_ALL("200 OK", " {\"jsonrpc\" : \"2.0\",\"result\":{\"a\":1.0e0, \"b\" : "
                                      "\"\\u00e9\\/\"} ,\"id\":7.50}\n"));
    rig g;
    answer a;
    (void)state;
    rig_start(&g, y, NULL);
    assert_string_equal(up(&g, "{\"id\":7.50,\"method\":\"up\",\"params\":{\"n\":1E5 , "
                               "\"$rpc.rayId\":\"r\",\"x\":\"\\u00e9\"}}", &a),
                        "{\"id\":7.50,\"result\":{\"a\":1.0e0, \"b\" : \"\\u00e9\\/\"}}");
    assert_sent(y, "POST /api HTTP/1.1\r\nHost: 127.0.0.1:");
    assert_sent(y, "\r\nContent-Type: application/json\r\n");
    assert_sent(y, "\r\nRingback-Deadline: 20");
    assert_sent(y, "{\"jsonrpc\":\"2.0\",\"id\":7.50,\"method\":\"up\",\"params\":{\"n\":1E5");
    assert_sent(y, "\"x\":\"\\u00e9\"}}");
    assert_null(strstr(y->last, "$rpc"));
    assert_null(strstr(y->last, "Ringback-Job"));
    rig_stop(&g);
}

static void test_keep_alive(void **state)
{
    rig g;
    answer a;
    (void)state;
    rig_start(&g, PLAY(HTTP_OK("21", "{\"id\":7,\"result\":[1]}")), NULL);
    for (int i = 0; i < 10; i++)
        assert_string_equal(up(&g, CALL, &a), "{\"id\":7,\"result\":[1]}");
    assert_int_equal(g.r.accepts, 1);
    rig_stop(&g);
}

typedef struct verdict {
    const char *answer, *body;
} verdict;

static void check_verdicts(const verdict *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        rig g;
        answer a;
        rig_start(&g, PLAY(v[i].answer), NULL);
        if (strcmp(up(&g, CALL, &a), v[i].body) != 0)
            fail_msg("%s: %s", v[i].answer, a.body);
        assert_int_equal(g.r.requests, 1);
        rig_stop(&g);
    }
}

static void test_errors(void **state)
{
    static const verdict v[] = {
        {HTTP_ALL("200 OK", "{\"id\":7,\"error\":{\"code\":-5,\"message\":\"no \\\"x\\\"\",\"data\":[1.00]}}"),
         "{\"id\":7,\"error\":{\"code\":-5,\"message\":\"no \\\"x\\\"\",\"data\":[1.00]}}"},
        {HTTP_ALL("500 Oops", "{\"id\":7,\"error\":{\"code\":9,\"message\":\"m\"}}"),
         "{\"id\":7,\"error\":{\"code\":9,\"message\":\"m\"}}"},
        {HTTP_ALL("400 Bad", "{\"id\":null,\"error\":{\"code\":-32600,\"message\":\"m\"}}"),
         "{\"id\":7,\"error\":{\"code\":-32600,\"message\":\"m\"}}"},
        {HTTP_ALL("503 Busy", "{\"id\":7,\"error\":{\"code\":9,\"message\":\"m\"}}"),
         "{\"id\":7,\"error\":{\"code\":9,\"message\":\"m\"}}"},
        {HTTP_ALL("503 Busy", "busy"), INTERNAL},
        {HTTP_ALL("404 No", "<html>"), INTERNAL},
        {HTTP_ALL("500 Oops", "{\"id\":7,\"result\":1}"), INTERNAL},
        {HTTP_ALL("204 No", ""), INTERNAL},
        {HTTP_ALL("200 OK", ""), INTERNAL},
        {HTTP_ALL("200 OK", "{\"id\":8,\"result\":1}"), INTERNAL},
        {HTTP_ALL("200 OK", "[{\"id\":7,\"result\":1}]"), INTERNAL},
        {"!{\"id\":7,\"result\":1}\n", INTERNAL},
        {"!", INTERNAL},
        {"~", INTERNAL},
        {"!HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"id\":7,\"result\":1}", INTERNAL},
        {"!HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"id\r\n", INTERNAL},
    };
    (void)state;
    check_verdicts(v, sizeof v / sizeof *v);
}

static void test_redirect(void **state)
{
    rig g;
    answer a;
    (void)state;
    rig_start(&g, PLAY("HTTP/1.1 307 T\r\nLocation: https://u:p@other.example/secret?x\r\n"
                       "Content-Length: 0\r\n\r\n"), NULL);
    for (int i = 0; i < 3; i++)
        assert_string_equal(up(&g, CALL, &a), INTERNAL);
    assert_int_equal(g.r.requests, 3);
    assert_int_equal(n_told("upstream.fault"), 1);
    assert_int_equal(n_told("host=other.example"), 1);
    assert_int_equal(n_told("secret"), 0);
    rig_stop(&g);
}

static void test_large(void **state)
{
    enum { N = 300 * 1024 };
    char *text = malloc(N);
    rig g;
    answer a;
    (void)state;
    for (int inside = 0; inside < 2; inside++) {
        size_t n = inside ? 3000 : N - 200; /* over the result's bound; over all bounds */
        int at = snprintf(text, N, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n{\"id\":7,\"result\":\"",
                          n + 20);
        memset(text + at, 'x', n);
        strcpy(text + at + n, "\"}");
        rig_start(&g, PLAY(text, HTTP_OK("19", "{\"id\":7,\"result\":1}")),
                  &(rbk_upstream_conf){.max_result = 1000});
        assert_string_equal(up(&g, CALL, &a),
                            "{\"id\":7,\"error\":{\"code\":-32008,\"message\":\"Result too large\"}}");
        assert_string_equal(up(&g, CALL, &a), "{\"id\":7,\"result\":1}");
        assert_int_equal(g.r.accepts, inside ? 1 : 2);
        rig_stop(&g);
    }
    free(text);
}

static void test_notification(void **state)
{
    play *y = PLAY("HTTP/1.1 204 N\r\n\r\n", HTTP_OK("2", "ok"), HTTP_ALL("500 Oops", ""));
    rig g;
    answer a;
    (void)state;
    rig_start(&g, y, NULL);
    for (int i = 1; i <= 3; i++) {
        assert_string_equal(up(&g, "{\"method\":\"up\"}", &a), "");
        assert_int_equal(a.status, 204);
        WAIT_COUNT(g.r.requests, i);
    }
    assert_sent(y, "{\"jsonrpc\":\"2.0\",\"method\":\"up\"}");
    WAIT_FOR(n_told("upstream.fault") == 1);
    rig_stop(&g);
}

/* --- what is sent again --- */

/* The upstream closes after its answer, perhaps just when the next call is sent. */
static void test_stale_connection(void **state)
{
    rig g;
    answer a;
    (void)state;
    rig_start(&g, PLAY("!" HTTP_OK("19", "{\"id\":7,\"result\":1}")), NULL);
    for (int i = 1; i <= 20; i++) {
        assert_string_equal(up(&g, CALL, &a), "{\"id\":7,\"result\":1}");
        assert_int_equal(g.r.requests, i);
        WAIT_COUNT(g.r.finished, i);
    }
    rig_stop(&g);
}

/* A kept connection is closed behind a request that was read: nobody knows what was done. A job may
 * run anew, a synchronous call may not. */
static void test_kept_breaks_off(void **state)
{
    rig g;
    answer a;
    (void)state;
    rig_start(&g, PLAY(HTTP_OK("19", "{\"id\":7,\"result\":1}"), "!",
                       HTTP_OK("19", "{\"id\":7,\"result\":1}"), "~",
                       HTTP_OK("19", "{\"id\":1,\"result\":1}"), "!",
                       HTTP_OK("19", "{\"id\":1,\"result\":2}")), NULL);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(up(&g, CALL, &a), "{\"id\":7,\"result\":1}");
        assert_string_equal(up(&g, CALL, &a), INTERNAL);
        assert_int_equal(g.r.requests, 2 * i + 2);
    }
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(ask_job(g.s, "up", ""), 200);
        WAIT_FOR(far_end.delivered == i);
    }
    assert_string_equal(far_end.body, "{\"id\":1,\"result\":2}");
    assert_int_equal(g.r.requests, 7);
    rig_stop(&g);
}

/* A port that nobody listens on. */
static uint16_t free_port(void)
{
    uint16_t port;
    close(listen_on(1, &port));
    return port;
}

static void test_comes_late(void **state)
{
    play *y = PLAY(HTTP_OK("19", "{\"id\":7,\"result\":1}"));
    rig g = {0};
    answer a;
    (void)state;
    told.n = 0;
    uint16_t port = free_port();
    snprintf(g.url, sizeof g.url, "http://127.0.0.1:%u", port);
    rig_upstream(&g, NULL);
    rig_server(&g);
    post(g.s, CALL, &a);
    WAIT_FOR(n_told("upstream.unreachable") == 1);
    watch_for(500);
    assert_int_equal(a.count, 0);
    memset(&g.r, 0, sizeof g.r);
    receiver_start(&g.r, NULL, serve_play, y);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0);
    MUST(bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0);
    MUST(listen(fd, 16) == 0);
    int conn = accept(fd, NULL, NULL);
    MUST(conn >= 0);
    add_peer(&g.r, conn);
    WAIT_FOR(a.count);
    assert_string_equal(a.body, "{\"id\":7,\"result\":1}");
    assert_int_equal(n_told("upstream.unreachable"), 1);
    assert_int_equal(n_told("upstream.back"), 1);
    assert_sent(y, "POST / HTTP/1.1\r\n");
    close(fd);
    rig_stop(&g);
}

static void test_job_again(void **state)
{
    play *y = PLAY("!", "!HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"id\":1", "~",
                   "!HTTP/1.1 502 B\r\n\r\n", "!HTTP/1.1 504 B\r\n\r\n",
                   HTTP_OK("19", "{\"id\":1,\"result\":5}"));
    rig g;
    answer a;
    (void)state;
    rig_start(&g, y, NULL);
    post_job(g.s, "up", "", &a);
    WAIT_FOR(far_end.delivered == 1);
    assert_string_equal(far_end.body, "{\"id\":1,\"result\":5}");
    assert_int_equal(g.r.requests, 6);
    char line[80];
    snprintf(line, sizeof line, "\r\nRingback-Job: %s\r\nRingback-Run: 1\r\n", a.job);
    assert_sent(y, line);
    rig_stop(&g);
}

static void test_retry_after(void **state)
{
    rig g;
    (void)state;
    rig_start(&g, PLAY("HTTP/1.1 503 B\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
                       HTTP_OK("19", "{\"id\":1,\"result\":5}")), NULL);
    rbk_mono_ms from = rbk_mono_now();
    assert_int_equal(ask_job(g.s, "up", ""), 200);
    WAIT_FOR(far_end.delivered == 1);
    assert_true(rbk_mono_now() - from >= 1000);
    assert_int_equal(g.r.requests, 2);
    rig_stop(&g);
}

/* --- the end of waiting --- */

static void test_time_out(void **state)
{
    rig g;
    answer a;
    (void)state;
    rig_start(&g, PLAY(""), NULL);
    assert_string_equal(up(&g, "{\"id\":7,\"method\":\"up\",\"params\":{\"$rpc.timeout\":0.3}}", &a),
                        "{\"id\":7,\"error\":{\"code\":-32002,\"message\":\"Timed out\"}}");
    WAIT_COUNT(g.r.finished, 1); /* the connection was closed */
    assert_int_equal(ask_job(g.s, "up", ",\"$rpc.timeout\":0.3"), 200);
    WAIT_FOR(far_end.delivered == 1);
    assert_non_null(strstr(far_end.body, "-32002"));
    WAIT_COUNT(g.r.finished, 2);
    rig_stop(&g);
}

static void test_never_there(void **state)
{
    rig g;
    answer a;
    (void)state;
    rig_start(&g, PLAY("!HTTP/1.1 503 B\r\n\r\n"), NULL);
    post_job(g.s, "up", ",\"$rpc.timeout\":1", &a);
    WAIT_FOR(far_end.delivered == 1);
    assert_non_null(strstr(far_end.body, "-32002"));
    assert_in_range(g.r.requests, 2, 6);
    assert_int_equal(n_told("upstream.unreachable"), 1);
    rig_stop(&g);
}

static void test_stop(void **state)
{
    rig g;
    answer a;
    (void)state;
    rig_start(&g, PLAY(""), NULL);
    post(g.s, CALL, &a);
    WAIT_COUNT(g.r.requests, 1);
    rbk_mono_ms from = rbk_mono_now();
    rbk_upstream_stop(g.u, 300);
    assert_in_range(rbk_mono_now() - from, 300, 10000);
    WAIT_FOR(a.count);
    assert_string_equal(a.body, INTERNAL);
    assert_string_equal(up(&g, CALL, &a),
                        "{\"id\":7,\"error\":{\"code\":-32009,\"message\":\"Server is busy\"}}");
    rig_stop(&g);
}

static void serve_slowly(peer *p)
{
    while (peer_request(p)) {
        watch_for(200);
        peer_say(p, HTTP_OK("19", "{\"id\":7,\"result\":1}"));
    }
}

static void test_stop_waits(void **state)
{
    rig g = {0};
    answer a;
    (void)state;
    receiver_start(&g.r, NULL, serve_slowly, NULL);
    snprintf(g.url, sizeof g.url, "http://localhost:%u/", g.r.port);
    rig_upstream(&g, NULL);
    rig_server(&g);
    post(g.s, CALL, &a);
    WAIT_COUNT(g.r.requests, 1);
    rbk_upstream_stop(g.u, 20000);
    WAIT_FOR(a.count);
    assert_string_equal(a.body, "{\"id\":7,\"result\":1}");
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_pass_through),  RIG_TEST(test_keep_alive),   RIG_TEST(test_errors),
        RIG_TEST(test_redirect),      RIG_TEST(test_large),        RIG_TEST(test_notification),
        RIG_TEST(test_stale_connection), RIG_TEST(test_kept_breaks_off), RIG_TEST(test_comes_late), RIG_TEST(test_job_again),
        RIG_TEST(test_retry_after),   RIG_TEST(test_time_out),     RIG_TEST(test_never_there),
        RIG_TEST(test_stop),          RIG_TEST(test_stop_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
