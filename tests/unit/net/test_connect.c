/* SPDX-License-Identifier: Apache-2.0 */
/* From addresses to one connection: the race, its end, the peer that the kernel names, and a
 * proxy that does as it likes. All on one loop, turned by hand. */
#include "net/connect.h"

#include "../../support/receiver.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOT_MINE 0x7f0000fe /* 127.0.0.254, where nobody listens */

enum { LIMIT_MS = 60000 };

typedef struct rig {
    rbk_loop *l;
    rbk_dial *dial;
    uv_timer_t limit;
    bool late;
    int n_done, err;
    rbk_addr addr;
    char detail[400];
    rbk_stream *s;
    int gone;            /* the winner's stream has closed */
    uint32_t asked[32];  /* by allow(), in order */
    int n_asked;
    uint32_t refuse;     /* allow() says no to this one */
    size_t sockets;      /* most at one time; 0: no bound */
    uint32_t peer;       /* what getpeername() says in its place; 0: the truth */
} rig;

static rig *here; /* of the test that runs, for the wrapped call */

int __real_getpeername(int fd, struct sockaddr *addr, socklen_t *n);
int __wrap_getpeername(int fd, struct sockaddr *addr, socklen_t *n);

int __wrap_getpeername(int fd, struct sockaddr *addr, socklen_t *n)
{
    int r = __real_getpeername(fd, addr, n);
    if (r == 0 && here && here->peer && addr->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)addr)->sin_addr.s_addr = htonl(here->peer);
    return r;
}

static void on_gone(rbk_stream *s, int err, const char *detail, void *user)
{
    (void)s, (void)err, (void)detail;
    ((rig *)user)->gone++;
}

static void on_dialled(void *user, const rbk_dialled *res)
{
    static const rbk_stream_cb cb = {.closed = on_gone};
    rig *r = user;
    r->n_done++;
    r->err = res->err;
    r->addr = res->addr;
    r->s = res->s;
    snprintf(r->detail, sizeof r->detail, "%s", res->detail);
    if (r->s)
        rbk_stream_take(r->s, &cb, r);
}

static bool on_allow(const struct sockaddr *addr, void *user)
{
    rig *r = user;
    uint32_t ip = ntohl(((const struct sockaddr_in *)(const void *)addr)->sin_addr.s_addr);
    if (r->n_asked < 32)
        r->asked[r->n_asked++] = ip;
    return ip != r->refuse;
}

static void on_limit(uv_timer_t *t)
{
    ((rig *)t->data)->late = true;
}

static int setup(void **state)
{
    rig *r = calloc(1, sizeof *r);
    MUST(r && rbk_loop_new("test", &r->l, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
    uv_timer_init(rbk_loop_uv(r->l), &r->limit);
    r->limit.data = r;
    uv_timer_start(&r->limit, on_limit, LIMIT_MS, 0);
    here = r;
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    rig *r = *state;
    if (r->s && !r->gone)
        rbk_stream_close(r->s, true);
    uv_close((uv_handle_t *)&r->limit, NULL);
    rbk_loop_free(r->l);
    here = NULL;
    free(r);
    return 0;
}

#define UNTIL(r, cond)                                                                             \
    do {                                                                                           \
        while (!(cond) && !(r)->late)                                                              \
            uv_run(rbk_loop_uv((r)->l), UV_RUN_ONCE);                                              \
        assert_true(cond);                                                                         \
    } while (0)

static rbk_addr v4(uint32_t ip)
{
    return (rbk_addr){.ip = {(uint8_t)(ip >> 24), (uint8_t)(ip >> 16), (uint8_t)(ip >> 8),
                             (uint8_t)ip}};
}

static struct sockaddr_storage at(uint16_t port)
{
    struct sockaddr_storage sa = {0};
    rbk_addr addr = v4(INADDR_LOOPBACK);
    rbk_addr_to_sockaddr(&addr, port, &sa);
    return sa;
}

/* Dial `ips`, through `proxy` where it is not 0. */
static void start(rig *r, const uint32_t *ips, size_t n, uint16_t port, uint16_t proxy)
{
    rbk_addr addrs[16];
    struct sockaddr_storage sa = at(proxy);
    for (size_t i = 0; i < n; i++)
        addrs[i] = v4(ips[i]);
    rbk_dial_conf conf = {
        .addrs = addrs, .n_addrs = n, .sockets = r->sockets, .port = port, .name = "x.test",
        .proxy = proxy ? &sa : NULL, .allow = on_allow, .allow_user = r,
        .done = on_dialled, .user = r,
    };
    assert_int_equal(rbk_dial_start(r->l, &conf, &r->dial), 0);
    assert_int_equal(r->n_done, 0);
}

static void dial(rig *r, const uint32_t *ips, size_t n, uint16_t port, uint16_t proxy)
{
    start(r, ips, n, port, proxy);
    UNTIL(r, r->n_done);
}

static void serve_drain(peer *p)
{
    peer_drain(p);
}

/* A port of loopback where nobody listens. */
static uint16_t closed_port(void)
{
    uint16_t port;
    close(listen_on(1, &port));
    return port;
}

/* --- the race --- */

/* A connection that is not taken: the queue of its listener is full, so that the kernel does
 * not answer the SYN. */
typedef struct deaf {
    int fd, first[4];
    uint16_t port;
} deaf;

/* At `ip`, and at `port` where it is not 0. */
static void deaf_start_at(deaf *d, uint32_t ip, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(ip)};
    socklen_t n = sizeof sa;
    d->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    MUST(d->fd >= 0 && bind(d->fd, (struct sockaddr *)&sa, sizeof sa) == 0 &&
         listen(d->fd, 0) == 0 && getsockname(d->fd, (struct sockaddr *)&sa, &n) == 0);
    d->port = ntohs(sa.sin_port);
    for (int i = 0; i < 4; i++) {
        d->first[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(d->first[i], (struct sockaddr *)&sa, sizeof sa);
    }
}

static void deaf_start(deaf *d)
{
    deaf_start_at(d, INADDR_LOOPBACK, 0);
}

static void deaf_stop(deaf *d)
{
    for (int i = 0; i < 4; i++)
        close(d->first[i]);
    close(d->fd);
}

static int listen_at(uint32_t ip, uint16_t port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(ip)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, 8) == 0);
    return fd;
}

static void test_a_silent_address_costs_250_ms(void **state)
{
    rig *r = *state;
    deaf d;
    deaf_start(&d);
    int other = listen_at(0x7f000002, d.port);
    uv_update_time(rbk_loop_uv(r->l)); /* the loop's timers begin at its own last look at the clock */
    uint64_t begin = uv_hrtime();
    dial(r, (uint32_t[]){INADDR_LOOPBACK, 0x7f000002}, 2, d.port, 0);
    uint64_t ms = (uv_hrtime() - begin) / 1000000;
    assert_int_equal(r->err, 0);
    assert_int_equal(r->addr.ip[3], 2);
    assert_in_range(ms, RBK_DIAL_NEXT_MS - 5, 900);
    /* The first, the second, and nobody again: the last one asked about is in use. */
    assert_int_equal(r->n_asked, 2);
    assert_int_equal(r->asked[1], 0x7f000002);
    close(other);
    deaf_stop(&d);
}

static size_t count_files(void)
{
    size_t n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Of five silent addresses two at a time are tried, until the one that answers joins. */
static void test_few_sockets(void **state)
{
    enum { SILENT = 5 };
    rig *r = *state;
    deaf d[SILENT];
    uint32_t ips[SILENT + 1];
    size_t most = 0;
    uint16_t port = 0;
    for (uint32_t i = 0; i < SILENT; i++) { /* one port, deaf on each of these addresses */
        ips[i] = INADDR_LOOPBACK + i;
        deaf_start_at(&d[i], ips[i], port);
        port = d[i].port;
    }
    ips[SILENT] = INADDR_LOOPBACK + SILENT;
    int other = listen_at(ips[SILENT], port);
    r->sockets = 2;
    start(r, ips, SILENT + 1, port, 0);
    size_t before = count_files() - 1; /* the first runs */
    while (!r->n_done && !r->late) {
        uv_run(rbk_loop_uv(r->l), UV_RUN_ONCE);
        size_t now = count_files() - before;
        most = now > most ? now : most;
    }
    assert_int_equal(most, 2);
    assert_int_equal(r->n_asked, SILENT + 1);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->addr.ip[3], 1 + SILENT);
    close(other);
    for (int i = 0; i < SILENT; i++)
        deaf_stop(&d[i]);
}

static void test_a_refusing_address_costs_nothing(void **state)
{
    rig *r = *state;
    uint16_t port = closed_port();
    int other = listen_at(0x7f000003, port);
    uint64_t begin = uv_hrtime();
    dial(r, (uint32_t[]){INADDR_LOOPBACK, 0x7f000002, 0x7f000003}, 3, port, 0);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->addr.ip[3], 3);
    assert_true((uv_hrtime() - begin) / 1000000 < RBK_DIAL_NEXT_MS);
    close(other);
}

static void test_all_fail(void **state)
{
    rig *r = *state;
    uint32_t ips[12];
    for (uint32_t i = 0; i < 12; i++)
        ips[i] = INADDR_LOOPBACK + i;
    dial(r, ips, 12, closed_port(), 0);
    assert_int_equal(r->err, RBK_E_CONNECT);
    assert_non_null(strstr(r->detail, "refused"));
    assert_int_equal(r->n_asked, RBK_DIAL_MAX);
    assert_int_equal(r->n_done, 1);
}

/* One forbidden address ends the race, however many others there are. */
static void test_a_forbidden_address(void **state)
{
    rig *r = *state;
    r->refuse = 0x7f000002;
    dial(r, (uint32_t[]){INADDR_LOOPBACK, 0x7f000002, 0x7f000003}, 3, closed_port(), 0);
    assert_int_equal(r->err, RBK_E_ADDRESS);
    assert_int_equal(r->n_asked, 2);
}

static void test_the_kernel_has_the_last_word(void **state)
{
    rig *r = *state;
    receiver rc;
    receiver_start(&rc, NULL, serve_drain, NULL);
    r->peer = NOT_MINE;
    dial(r, (uint32_t[]){INADDR_LOOPBACK}, 1, rc.port, 0);
    assert_int_equal(r->err, RBK_E_ADDRESS);
    assert_string_equal(r->detail, "connected to another address");
    assert_null(r->s);
    receiver_stop(&rc);
}

/* --- the proxy --- */

typedef struct proxy_case {
    const char *says;
    int err;
    const char *detail;
} proxy_case;

static char heard[512];

static void serve_proxy(peer *p)
{
    const proxy_case *c = p->r->user;
    if (!peer_request(p))
        return;
    snprintf(heard, sizeof heard, "%s", p->request);
    peer_say(p, c->says);
    peer_drain(p);
}

static void test_the_proxy_is_asked_for_the_address(void **state)
{
    rig *r = *state;
    receiver rc;
    proxy_case c = {.says = "HTTP/1.0 200 OK\r\nVia: x\r\n\r\n"};
    receiver_start(&rc, NULL, serve_proxy, &c);
    dial(r, (uint32_t[]){0x01020304}, 1, 8443, rc.port);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->addr.ip[0], 1);
    assert_string_equal(heard, "CONNECT 1.2.3.4:8443 HTTP/1.1\r\nHost: 1.2.3.4:8443\r\n\r\n");
    assert_int_equal(r->asked[0], 0x01020304);
    receiver_stop(&rc);
}

static void test_the_proxy_is_asked_for_ipv6(void **state)
{
    rig *r = *state;
    receiver rc;
    proxy_case c = {.says = "HTTP/1.1 200 OK\r\n\r\n"};
    rbk_addr addr = {.v6 = true, .ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 7}};
    receiver_start(&rc, NULL, serve_proxy, &c);
    struct sockaddr_storage sa = at(rc.port);
    rbk_dial_conf conf = {.addrs = &addr, .n_addrs = 1, .port = 443, .name = "x.test",
                          .proxy = &sa, .done = on_dialled, .user = r};
    assert_int_equal(rbk_dial_start(r->l, &conf, &r->dial), 0);
    UNTIL(r, r->n_done);
    assert_int_equal(r->err, 0);
    assert_string_equal(heard, "CONNECT [2001:db8::7]:443 HTTP/1.1\r\n"
                               "Host: [2001:db8::7]:443\r\n\r\n");
    receiver_stop(&rc);
}

static char endless[RBK_PROXY_HEAD_MAX + 64];

static void test_faults_of_the_proxy(void **state)
{
    static const proxy_case cases[] = {
        {"HTTP/1.1 407 Who are you\r\n\r\n", RBK_E_SYS, "the proxy answered 407"},
        {"HTTP/1.1 503 No\r\n\r\n", RBK_E_SYS, "the proxy answered 503"},
        {"HTTP/1.1 502 No\r\n\r\n", RBK_E_CONNECT, "the proxy answered 502"},
        {"HTTP/1.1 504 No\r\n\r\n", RBK_E_CONNECT, "the proxy answered 504"},
        {"SSH-2.0-x\r\n\r\n", RBK_E_SYS, "the proxy's answer is not HTTP"},
        {"HTTP/1.1 2000 OK\r\n\r\n", RBK_E_SYS, "the proxy's answer is not HTTP"},
        {"HTTP/1.1 200 OK\r\n\r\nx", RBK_E_SYS, "the proxy sent bytes behind its answer"},
        {endless, RBK_E_SYS, "the proxy's answer is too long"},
    };
    memset(endless, 'x', sizeof endless - 1);
    memcpy(endless, "HTTP/1.1 200 OK\r\nA: ", 20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        proxy_case c = cases[i];
        receiver rc;
        if (i > 0) {
            teardown(state);
            setup(state);
        }
        rig *r = *state;
        receiver_start(&rc, NULL, serve_proxy, &c);
        dial(r, (uint32_t[]){0x01020304}, 1, 443, rc.port);
        assert_string_equal(r->detail, c.detail);
        assert_int_equal(r->err, c.err);
        assert_null(r->s);
        receiver_stop(&rc);
    }
}

/* Nobody listens; or somebody does and is silent: the owner's deadline asks whose fault it is. */
static void test_an_absent_proxy(void **state)
{
    rig *r = *state;
    receiver rc;
    const char *detail;
    proxy_case c = {.says = ""};
    dial(r, (uint32_t[]){0x01020304}, 1, 443, closed_port());
    assert_int_equal(r->err, RBK_E_SYS);
    assert_memory_equal(r->detail, "proxy: ", 7);
    r->n_done = 0;
    receiver_start(&rc, NULL, serve_proxy, &c);
    start(r, (uint32_t[]){0x01020304}, 1, 443, rc.port);
    for (; atomic_load(&rc.requests) == 0 && !r->late; usleep(1000))
        uv_run(rbk_loop_uv(r->l), UV_RUN_NOWAIT);
    assert_int_equal(atomic_load(&rc.requests), 1);
    assert_int_equal(rbk_dial_late(r->dial, &detail), RBK_E_SYS);
    assert_string_equal(detail, "no answer of the proxy in time");
    rbk_dial_cancel(r->dial);
    uv_run(rbk_loop_uv(r->l), UV_RUN_NOWAIT);
    assert_int_equal(r->n_done, 0);
    assert_int_equal(rbk_dial_late(NULL, &detail), RBK_E_TIMEOUT);
    receiver_stop(&rc);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_silent_address_costs_250_ms),
        TEST(few_sockets),
        TEST(a_refusing_address_costs_nothing),
        TEST(all_fail),
        TEST(a_forbidden_address),
        TEST(the_kernel_has_the_last_word),
        TEST(the_proxy_is_asked_for_the_address),
        TEST(the_proxy_is_asked_for_ipv6),
        TEST(faults_of_the_proxy),
        TEST(an_absent_proxy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
