/* SPDX-License-Identifier: Apache-2.0 */
/* What the HTTP server does not put up with: slow and silent peers, too many of them,
 * and a process without memory or free descriptors. */
#include "http_rig.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

#define HOST    " HTTP/1.1\r\nHost: h\r\n"
#define HOLD(n) "POST /hold?" #n HOST "\r\n"
#define SHORT   150 /* ms */

enum {
    DEFAULT_MS = 9000, /* less than any deadline by default */
    STALL = 600        /* long enough for a client that has to wait for the processor */
};

static char text[64 << 10];

/* --- deadlines ------------------------------------------------------------------- */

/* `begin`, then a byte now and then: the deadline does not move. */
static void check_slow(const rig *g, const char *begin, const char *tail)
{
    inbox in = {0};
    int fd = rig_socket(g);
    rbk_mono_ms start = rbk_mono_now();
    rig_say(fd, begin);
    while (recv(fd, text, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN) {
        assert_true(rbk_mono_now() - start < LIMIT_MS);
        assert_true(*tail != 0);
        send(fd, tail++, 1, MSG_NOSIGNAL);
        usleep(20000); /* the slowness that is tested */
    }
    answer a = rig_read(fd, &in);
    assert_true(a.status == 408 && a.close);
    assert_in_range(rbk_mono_now() - start, SHORT - 20, DEFAULT_MS);
    rig_expect_end(fd, &in);
    close(fd);
}

static void test_slow_requests(void **state)
{
    (void)state;
    static char tail[2001];
    rig g = {.conf.head_ms = SHORT, .conf.body_ms = SHORT};
    rig_start(&g);
    memset(tail, 'a', sizeof tail - 1);
    check_slow(&g, "P",
               "OST /rpc HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    check_slow(&g, "POST /rpc" HOST, tail);
    check_slow(&g, "\r\n", tail);
    check_slow(&g, "POST /rpc" HOST "Content-Length: 5000\r\n\r\n", tail);
    check_slow(&g, "POST /rpc" HOST "Transfer-Encoding: chunked\r\n\r\n1000\r\n", tail);
    check_slow(&g, "POST /rpc" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", tail);
    assert_int_equal(g.n_requests, 0);
    rig_stop(&g);
}

static void test_idle(void **state)
{
    (void)state;
    rig g = {.conf.idle_ms = SHORT};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rbk_mono_ms start = rbk_mono_now();
    rig_expect_end(fd, &in); /* nothing said: nothing answered */
    assert_in_range(rbk_mono_now() - start, SHORT - 20, DEFAULT_MS);
    close(fd);
    fd = rig_socket(&g);
    rig_say(fd, HOLD(0));
    rig_await(&g.n_held, 1);
    usleep(SHORT * 2000); /* a slow handler is not an idle peer */
    rig_answer(&g, 0, "late");
    assert_true(rbk_str_eqz(rig_read(fd, &in).body, "late"));
    rig_expect_end(fd, &in);
    close(fd);
    rig_stop(&g);
}

static void test_write_stall(void **state)
{
    (void)state;
    rig g = {.conf.write_ms = STALL};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g), reading = rig_socket(&g);
    rig_say(fd, "POST /big" HOST "\r\n");
    rig_await(&g.n_requests, 1);
    rig_await_closed(&g, 1);
    rig_say(reading, "POST /big" HOST "\r\n");
    for (size_t n = 0; n < BIG; n = in.b.n) { /* slow, but it goes on */
        assert_true(rig_more(reading, &in));
        usleep(2000);
    }
    assert_int_equal(rig_read(reading, &in).body.n, BIG);
    rbk_buf_free(&in.b);
    close(fd);
    close(reading);
    rig_stop(&g);
}

static void check_healthy(int fd, inbox *in)
{
    rig_say(fd, "POST /rpc" HOST "Content-Length: 2\r\n\r\nok");
    assert_true(rbk_str_eqz(rig_read(fd, in).body, "ok"));
}

static void test_too_many_connections(void **state)
{
    (void)state;
    rig g = {.conf.max_connections = 2};
    inbox in = {0};
    rig_start(&g);
    int a = rig_socket(&g), b = rig_socket(&g);
    rig_await(&g.connections, 2);
    int c = rig_socket(&g);
    answer busy = rig_read(c, &in);
    assert_true(busy.status == 503 && busy.close && rig_header(&busy, "Retry-After").n > 0);
    assert_non_null(memmem(busy.body.p, busy.body.n, "-32009", 6));
    rig_expect_end(c, &in);
    close(c);
    close(b);
    rig_await_closed(&g, 1);
    b = rig_socket(&g);
    rig_say(b, "POST /rpc" HOST "Connection: close\r\n\r\n");
    assert_int_equal(rig_read(b, &in).status, 200);
    rig_expect_end(b, &in);
    close(a);
    close(b);
    rig_stop(&g);
}

/* At the limit whoever is idle the longest makes room; who waits for an answer does not. */
static void test_idle_gives_way(void **state)
{
    (void)state;
    rig g = {.conf.max_connections = 3, .conf.yield_ms = SHORT};
    inbox in = {0};
    rig_start(&g);
    int oldest = rig_socket(&g);
    rig_say(oldest, HOLD(0));
    rig_await(&g.n_held, 1);
    int first = rig_socket(&g), second = rig_socket(&g);
    rig_await(&g.connections, 3);
    usleep(SHORT * 1500);
    check_healthy(first, &in); /* now the second is idle for longer */
    int late = rig_socket(&g);
    check_healthy(late, &in);
    rig_expect_end(second, &in);
    int burst = rig_socket(&g); /* the others were busy just now */
    assert_int_equal(rig_read(burst, &in).status, 503);
    rig_expect_end(burst, &in);
    check_healthy(first, &in);
    rig_answer(&g, 0, "held");
    assert_true(rbk_str_eqz(rig_read(oldest, &in).body, "held"));
    assert_int_equal(g.connections, 3);
    close(burst);
    close(second);
    close(oldest);
    close(first);
    close(late);
    rbk_buf_free(&in.b);
    rig_stop(&g);
}

/* --- no memory ---------------------------------------------------------------------- */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
static atomic_int calls_left; /* the call that finds 1 fails */

void *__wrap_calloc(size_t n, size_t size)
{
    return calls_left > 0 && atomic_fetch_sub(&calls_left, 1) == 1 ? NULL : __real_calloc(n, size);
}

/* The connection, its stream, its request: without memory for one of them the client is
 * turned away, and the next one is served. */
static void test_no_memory(void **state)
{
    (void)state;
    rig g = {0};
    rig_start(&g);
    for (int nth = 1; nth <= 3; nth++) {
        inbox in = {0};
        calls_left = nth;
        int fd = rig_socket(&g);
        (void)rig_send(fd, RBK_STR("POST /rpc" HOST "\r\n"), SIZE_MAX);
        assert_true(recv(fd, text, 1, 0) <= 0);
        assert_int_equal(calls_left, 0);
        close(fd);
        fd = rig_socket(&g);
        rig_say(fd, "POST /rpc" HOST "Connection: close\r\n\r\n");
        assert_int_equal(rig_read(fd, &in).status, 200);
        rig_expect_end(fd, &in);
        close(fd);
    }
    rig_await_closed(&g, 0);
    rig_stop(&g);
}

/* --- no descriptors ----------------------------------------------------------------- */

static int64_t cpu_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* From now on no descriptor can be made. */
static struct rlimit use_up_descriptors(void)
{
    struct rlimit old;
    getrlimit(RLIMIT_NOFILE, &old);
    int free_fd = dup(0);
    close(free_fd);
    struct rlimit none = {(rlim_t)free_fd, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    return old;
}

static void lose_reserve(void *arg)
{
    uv_loop_t *uv = rbk_loop_uv(arg);
    close(uv->emfile_fd);
    uv->emfile_fd = -1;
}

static int connect_made(const rig *g, int fd)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(g->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return connect(fd, (struct sockaddr *)&to, sizeof to);
}

/* Clients that cannot be accepted are turned away; the loop does not spin, and those
 * who are connected are served. With `lost` libuv's reserve is gone, and idle
 * connections make room: for the newcomer, and for one free place. */
static void check_no_descriptors(bool lost)
{
    enum { CLIENTS = 20 };
    rig g = {0};
    inbox in = {0}, in2 = {0};
    int fd[CLIENTS];
    rig_start(&g);
    int healthy = rig_socket(&g);
    check_healthy(healthy, &in);
    int idle[2] = {lost ? rig_socket(&g) : -1, lost ? rig_socket(&g) : -1};
    rig_await(&g.connections, lost ? 3 : 1);
    for (int i = 0; i < CLIENTS; i++)
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct rlimit old = use_up_descriptors();
    if (lost) {
        rbk_loop_call(g.loop, lose_reserve, g.loop);
        int taken = dup(0); /* the place of the reserve */
        assert_true(taken >= 0);
        rig_say(healthy, HOLD(0)); /* so that it is not idle */
        rig_await(&g.n_held, 1);
        assert_int_equal(connect_made(&g, fd[0]), 0);
        check_healthy(fd[0], &in2);
        rbk_buf_free(&in2.b);
        in2 = (inbox){0};
        rig_answer(&g, 0, "held");
        assert_true(rbk_str_eqz(rig_read(healthy, &in).body, "held"));
        close(taken);
    } else {
        for (int i = 0; i < CLIENTS; i++)
            assert_int_equal(connect_made(&g, fd[i]), 0);
        for (int i = 0; i < CLIENTS; i++) /* turned away: an end or a reset */
            assert_true(recv(fd[i], text, 1, 0) <= 0);
        int64_t cpu = cpu_ms();
        usleep(SHORT * 1000);
        assert_true(cpu_ms() - cpu < SHORT / 2);
        check_healthy(healthy, &in);
    }
    setrlimit(RLIMIT_NOFILE, &old);
    for (int i = 0; i < CLIENTS; i++)
        close(fd[i]);
    int again = rig_socket(&g);
    check_healthy(again, &in2);
    close(again);
    close(healthy);
    close(idle[0]);
    close(idle[1]);
    rbk_buf_free(&in.b);
    rbk_buf_free(&in2.b);
    rig_stop(&g);
}

static void test_no_descriptors(void **state)
{
    (void)state;
    check_no_descriptors(false);
}

static void test_no_descriptors_no_reserve(void **state)
{
    (void)state;
    check_no_descriptors(true);
}

/* A server that does not come to be closes what it was given: without memory for it, with a
 * descriptor that the loop does not take, and with one that cannot listen. */
static void test_no_server(void **state)
{
    (void)state;
    const rbk_http_conf conf = {0};
    const rbk_http_handler handler = {0};
    rbk_http_server *s = NULL;
    rbk_loop *loop;
    rbk_error err;
    assert_int_equal(rbk_loop_new("http", &loop, &err), 0);
    for (int i = 0; i < 3; i++) {
        int fd = open("/", i == 1 ? O_PATH : O_RDONLY);
        assert_true(fd >= 0);
        calls_left = i == 0;
        int r = rbk_http_server_new(loop, fd, &conf, &handler, &s, &err);
        assert_int_equal(r, i == 0 ? RBK_E_NOMEM : RBK_E_SYS);
        assert_null(s);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
    }
    rbk_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_requests),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_write_stall),
        cmocka_unit_test(test_too_many_connections),
        cmocka_unit_test(test_idle_gives_way),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_no_descriptors_no_reserve),
        cmocka_unit_test(test_no_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
