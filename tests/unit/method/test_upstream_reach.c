/* SPDX-License-Identifier: Apache-2.0 */
/* How an upstream is reached: Unix sockets, TLS, names; its token and the headers that go along;
 * and how many calls at a time, with thousands in flight on one thread. */
#include "upstream_rig.h"

#include "net/http_server.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#define ONE HTTP_OK("19", "{\"id\":7,\"result\":1}")

static void listen_at(receiver *r, const char *path, void (*serve)(peer *p), void *user)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    r->serve = serve;
    r->user = user;
    r->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(un.sun_path, sizeof un.sun_path, "%s", path);
    MUST(bind(r->fd, (struct sockaddr *)&un, sizeof un) == 0 && listen(r->fd, 16) == 0);
    MUST(pthread_create(&r->thread, NULL, receiver_thread, r) == 0);
}

static void test_unix(void **state)
{
    char dir[] = "/tmp/rbk-up-XXXXXX", path[64];
    play *y = PLAY(ONE);
    rig g = {0};
    answer a;
    (void)state;
    MUST(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    told.n = 0;
    listen_at(&g.r, path, serve_play, y);
    snprintf(g.url, sizeof g.url, "http+unix:%s:/rpc", path);
    rig_upstream(&g, NULL);
    rig_server(&g);
    for (int i = 0; i < 3; i++)
        assert_string_equal(up(&g, CALL, &a), "{\"id\":7,\"result\":1}");
    assert_int_equal(g.r.accepts, 1);
    assert_non_null(strstr(y->last, "POST /rpc HTTP/1.1\r\nHost: localhost\r\n"));
    rig_stop(&g);
    unlink(path);
    rmdir(dir);
}

static void test_tls(void **state)
{
    identity ca = make_identity(&(cert_spec){0});
    identity id = make_identity(&(cert_spec){.san = "DNS:localhost", .issuer = &ca});
    char pem[] = "/tmp/rbk-ca-XXXXXX";
    rig g = {0};
    answer a;
    (void)state;
    write_pem(&ca, pem);
    told.n = 0;
    receiver_start(&g.r, make_server_ctx(&id), serve_play, PLAY(ONE));
    snprintf(g.url, sizeof g.url, "https://localhost:%u/", g.r.port);
    rig_upstream(&g, &(rbk_upstream_conf){.ca_file = pem});
    rig_server(&g);
    for (int i = 0; i < 3; i++)
        assert_string_equal(up(&g, CALL, &a), "{\"id\":7,\"result\":1}");
    assert_int_equal(g.r.accepts, 1);
    rig_stop(&g);

    /* A certificate that nobody vouches for: no byte of a request is sent. */
    memset(&g, 0, sizeof g);
    receiver_start(&g.r, make_server_ctx(&id), serve_play, PLAY(ONE));
    snprintf(g.url, sizeof g.url, "https://localhost:%u/", g.r.port);
    rig_upstream(&g, NULL);
    rig_server(&g);
    assert_non_null(strstr(up(&g, "{\"id\":7,\"method\":\"up\",\"params\":{\"$rpc.timeout\":0.5}}", &a),
                           "-32002"));
    assert_int_equal(g.r.requests, 0);
    assert_int_equal(n_told("error=TLS"), 1);
    rig_stop(&g);
    unlink(pem);
    free_identity(&id);
    free_identity(&ca);
}

static void serve_mute(peer *p)
{
    peer_drain(p);
}

#define SHORT(seconds) "{\"id\":7,\"method\":\"up\",\"params\":{\"$rpc.timeout\":" seconds "}}"

/* It accepts, and says nothing to a TLS handshake: given up by the connection's own time-out, and
 * tried again, since nothing was sent. */
static void test_slow_connection(void **state)
{
    rig g = {0};
    answer a;
    (void)state;
    told.n = 0;
    receiver_start(&g.r, NULL, serve_mute, NULL);
    snprintf(g.url, sizeof g.url, "https://127.0.0.1:%u/", g.r.port);
    rig_upstream(&g, &(rbk_upstream_conf){.connect_ms = 100});
    rig_server(&g);
    assert_non_null(strstr(up(&g, SHORT("1.5"), &a), "-32002"));
    assert_in_range(g.r.accepts, 2, 8);
    assert_int_equal(n_told("upstream.unreachable"), 1);
    assert_int_equal(n_told("error=TIMEOUT"), 1);
    rig_stop(&g);
}

/* No name server answers; the call is over before the look-up is. */
static void test_no_name(void **state)
{
    rig g = {0};
    answer a;
    (void)state;
    told.n = 0;
    receiver_start(&g.r, NULL, serve_mute, NULL);
    snprintf(g.url, sizeof g.url, "http://upstream.test:%u/", g.r.port);
    rig_upstream(&g, &(rbk_upstream_conf){.name_servers = "127.0.0.1:1", .connect_ms = 2000});
    rig_server(&g);
    for (int i = 0; i < 3; i++)
        assert_non_null(strstr(up(&g, SHORT("0.3"), &a), "-32002"));
    assert_int_equal(g.r.accepts, 0);
    rig_stop(&g);
}

/* --- headers --- */

static void test_token(void **state)
{
    char path[] = "/tmp/rbk-token-XXXXXX";
    play *y = PLAY(ONE);
    rbk_upstream_conf conf = {.token_file = path, .url = "http://127.0.0.1:1/"};
    rbk_upstream *u = NULL;
    rbk_error err = {0};
    rig g;
    answer a;
    (void)state;
    int fd = mkstemp(path);
    MUST(write(fd, "s3cret.token\n", 13) == 13);
    MUST(fchmod(fd, 0644) == 0);
    assert_int_equal(rbk_upstream_new(&conf, &told_log, &u, &err), RBK_E_CONFIG);
    assert_non_null(strstr(err.detail, "chmod 600"));
    MUST(fchmod(fd, 0600) == 0);
    rig_start(&g, y, &(rbk_upstream_conf){.token_file = path});
    assert_string_equal(up(&g, CALL, &a), "{\"id\":7,\"result\":1}");
    assert_non_null(strstr(y->last, "\r\nAuthorization: Bearer s3cret.token\r\n"));
    rig_stop(&g);
    MUST(write(fd, "two\n", 4) == 4);
    assert_int_equal(rbk_upstream_new(&conf, &told_log, &u, &err), RBK_E_CONFIG);
    assert_null(strstr(err.detail, "s3cret"));
    close(fd);
    unlink(path);
}

static const char *up_with(rig *g, const char *body, const rbk_header *h, size_t n, answer *a)
{
    *a = (answer){.lock = PTHREAD_MUTEX_INITIALIZER};
    rbk_request rq = {.body = {body, strlen(body)}, .headers = h, .n_headers = n};
    assert_int_equal(rbk_server_handle(g->s, &rq, on_reply, a), 0);
    WAIT_FOR(a->count);
    return a->body;
}

static void test_forwarded(void **state)
{
    static const rbk_header h[] = {
        {{"Authorization", 13}, {"Basic eHl6", 10}}, {{"TraceParent", 11}, {"00-ab", 5}},
        {{"X-Request-Id", 12}, {"own", 3}},          {{"traceparent", 11}, {"again", 5}},
        {{"X-Other", 7}, {"no", 2}},                 {{"X-Bad", 5}, {"a\r\nX-Evil: 1", 12}},
    };
    enum { N = sizeof h / sizeof *h };
    play *y = PLAY(ONE);
    rig g = {0};
    answer a;
    (void)state;
    told.n = 0;
    receiver_start(&g.r, NULL, serve_play, y);
    snprintf(g.url, sizeof g.url, "http://127.0.0.1:%u/api", g.r.port);
    rig_upstream(&g, NULL);
    g.s = make_server();
    set(g.s, "method.\"up\".forward_headers", "traceparent, x-request-id, x-bad");
    assert_int_equal(rbk_server_method(g.s, &(rbk_method){.name = "up", .fn = rbk_upstream_call,
                                                          .user = g.u}), 0);
    start(g.s);
    up_with(&g, CALL, h, N, &a);
    assert_non_null(strstr(y->last, "\r\nTraceParent: 00-ab\r\nX-Request-Id: own\r\n"));
    assert_null(strstr(y->last, "again"));
    assert_null(strstr(y->last, "Basic"));
    assert_null(strstr(y->last, "X-Other"));
    assert_null(strstr(y->last, "Evil"));
    /* A job has them from the store; the caller's rayId comes before the request's own id. */
    up_with(&g, "{\"id\":7,\"method\":\"up\",\"params\":{" CALLBACK ",\"$rpc.rayId\":\"ray\"}}", h, N,
            &a);
    WAIT_FOR(far_end.delivered == 1);
    assert_non_null(strstr(y->last, "\r\nX-Request-Id: ray\r\nTraceParent: 00-ab\r\n"));
    assert_null(strstr(y->last, "own"));
    rig_stop(&g);
}

/* --- how many --- */

/* An upstream on a loop, that answers each request after a while, and none before so many came. */
typedef struct slow {
    rbk_loop *loop;
    rbk_http_server *server;
    uint16_t port;
    atomic_int ms, gate, now, most, total;
    atomic_uint connections;
} slow;

typedef struct turn {
    uv_timer_t timer;
    slow *s;
    rbk_http_request *rq;
    char id[32];
} turn;

static void on_turn_closed(uv_handle_t *h)
{
    free(h->data);
}

static void on_time(uv_timer_t *timer)
{
    turn *t = timer->data;
    char body[80];
    if (t->s->total < t->s->gate) {
        uv_timer_start(timer, on_time, 100, 0);
        return;
    }
    int n = snprintf(body, sizeof body, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":1}", t->id);
    t->s->now--;
    rbk_http_reply_send(t->rq, &(rbk_http_reply){.status = 200, .body = {body, (size_t)n}});
    uv_close((uv_handle_t *)timer, on_turn_closed);
}

static int slow_head(rbk_http_request *rq, void *user)
{
    (void)rq;
    (void)user;
    return 0;
}

static void slow_request(rbk_http_request *rq, void *user)
{
    slow *s = user;
    turn *t = calloc(1, sizeof *t);
    const char *id = memmem(rq->body.p, rq->body.n, "\"id\":", 5);
    MUST(t && id);
    snprintf(t->id, sizeof t->id, "%.*s", (int)strcspn(id + 5, ",}"), id + 5);
    t->s = s;
    t->rq = rq;
    t->timer.data = t;
    int now = ++s->now;
    s->total++;
    if (now > s->most)
        s->most = now;
    uv_timer_init(rbk_loop_uv(s->loop), &t->timer);
    uv_timer_start(&t->timer, on_time, (uint64_t)s->ms, 0);
}

static void slow_open(void *arg)
{
    slow *s = arg;
    rbk_error err;
    int fd;
    rbk_http_conf conf = {.max_connections = 8192, .connections = &s->connections};
    rbk_http_handler handler = {.on_head = slow_head, .on_request = slow_request, .user = s};
    MUST(rbk_http_listen(RBK_STR("127.0.0.1:0"), 1, &fd, &s->port, &err) == 0);
    MUST(rbk_http_server_new(s->loop, fd, &conf, &handler, &s->server, &err) == 0);
}

static void slow_close(void *arg)
{
    rbk_http_server_close(((slow *)arg)->server);
}

static void slow_start(slow *s, int ms)
{
    *s = (slow){.ms = ms};
    MUST(rbk_loop_new("slow", &s->loop, NULL) == 0 && rbk_loop_start(s->loop, NULL) == 0);
    rbk_loop_call(s->loop, slow_open, s);
}

static void slow_stop(slow *s)
{
    rbk_loop_call(s->loop, slow_close, s);
    rbk_loop_free(s->loop);
}

static int count_threads(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    MUST(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static size_t resident(void)
{
    size_t all = 0, here = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    MUST(f && fscanf(f, "%zu %zu", &all, &here) == 2);
    fclose(f);
    return here * (size_t)sysconf(_SC_PAGESIZE);
}

static atomic_int n_answers, n_good;

static void on_one(void *user, const rbk_reply *reply)
{
    (void)user;
    n_good += reply->body.n > 10 && memmem(reply->body.p, reply->body.n, "\"result\":1", 10) != NULL;
    n_answers++;
}

static void rig_slow(rig *g, slow *s, size_t connections)
{
    memset(g, 0, sizeof *g);
    told.n = 0;
    told.text[0] = 0;
    n_answers = n_good = 0;
    snprintf(g->url, sizeof g->url, "http://127.0.0.1:%u/", s->port);
    rig_upstream(g, &(rbk_upstream_conf){.connections = connections});
    rig_server(g);
}

static void rig_slow_stop(rig *g)
{
    rbk_server_stop(g->s);
    rbk_upstream_free(g->u);
    rbk_server_free(g->s);
}

static void post_many(rig *g, int n)
{
    for (int i = 0; i < n; i++) {
        char body[64];
        int len = snprintf(body, sizeof body, "{\"id\":%d,\"method\":\"up\"}", i);
        assert_int_equal(rbk_server_handle(g->s, &(rbk_request){.body = {body, (size_t)len}}, on_one,
                                           NULL), 0);
    }
}

/* Both ends of the connections are in this process, so the bound holds for the two together. */
static void test_thousands(void **state)
{
    enum { N = 2000, MIB = 1 << 20 };
    struct rlimit files;
    slow s;
    rig g;
    (void)state;
    MUST(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = files.rlim_max < 3 * N ? files.rlim_max : 3 * N;
    MUST(setrlimit(RLIMIT_NOFILE, &files) == 0);
    if (files.rlim_cur < 2 * N + 200)
        skip();
    slow_start(&s, 1000);
    s.gate = N; /* on a slow machine they are at it for longer than that second */
    rig_slow(&g, &s, 0);
    int threads = count_threads();
    size_t before = resident();
    post_many(&g, N);
    WAIT_FOR(s.most == N);
    assert_int_equal(count_threads(), threads);
    size_t after = resident();
    WAIT_FOR(n_answers == N);
    assert_int_equal(n_good, N);
    assert_int_equal(s.total, N);
    print_message("%d calls in flight: %zu KiB\n", N, (after - before) >> 10);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(after - before < 64 * MIB);
#endif
    rig_slow_stop(&g);
    slow_stop(&s);
}

static void test_limit(void **state)
{
    slow s;
    rig g;
    (void)state;
    slow_start(&s, 30);
    rig_slow(&g, &s, 4);
    post_many(&g, 40);
    WAIT_FOR(n_answers == 40);
    assert_int_equal(n_good, 40);
    assert_int_equal(s.most, 4);
    rig_slow_stop(&g);
    slow_stop(&s);
}

/* Jobs that hang leave some connections to synchronous calls. */
static void test_jobs_leave_room(void **state)
{
    slow s;
    rig g;
    (void)state;
    slow_start(&s, 3000);
    rig_slow(&g, &s, 8);
    assert_int_equal(ask_jobs(g.s, "up", 20, false), 200);
    WAIT_FOR(s.most == 7);
    s.ms = 1;
    post_many(&g, 10);
    WAIT_FOR(n_answers == 10);
    assert_int_equal(far_end.attempts, 0);
    assert_int_equal(s.most, 8);
    rig_slow_stop(&g);
    slow_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_unix),      RIG_TEST(test_tls),   RIG_TEST(test_token),
        RIG_TEST(test_slow_connection), RIG_TEST(test_no_name), RIG_TEST(test_forwarded), RIG_TEST(test_limit), RIG_TEST(test_jobs_leave_room),
        RIG_TEST(test_thousands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
