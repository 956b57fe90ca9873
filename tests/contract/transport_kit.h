/* SPDX-License-Identifier: Apache-2.0 */
/* tests/contract/transport_kit.h - a transport on a loop, a receiver that speaks https and
 * wss, and one attempt that says how it ended. For the one program that includes it. */
#include "core/dsn.h"
#include "net/connect.h"
#include "net/loop.h"
#include "net/tls.h"
#include "seam/transports.h"
#include "transport/transports.h"

#include "../support/failing_alloc.h"
#include "../support/fake_resolve.h"
#include "../support/http2_peer.h"
#include "../support/receiver.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

/* Made once: keys and certificates take their time. */
static identity ca, id;
static char ca_path[] = "/tmp/rbk-test-ca-XXXXXX";
static rbk_tls *tls;

/* https once more, with receivers that want HTTP/2. */
static rbk_transport_ops https_over_http2;

static bool is_over_http2(const rbk_transport_ops *ops)
{
    return ops == &https_over_http2;
}

typedef struct fixture {
    const rbk_transport_ops *ops;
    rbk_loop *loop;
    rbk_transport *t;
    rbk_transport_env env;
    receiver r;
} fixture;

typedef struct trial {
    fixture *f;
    rbk_attempt a;
    rbk_dsn dsn;
    char text[256], job[40], body[128];
    rbk_attempt_result result;
    char retry_after[64], detail[256];
    bool refuse, refuse_v6, full, saw_v6, sending, within;
    atomic_int asked, entered, n_done;
    int again; /* so many times more, from `done` */
    sem_t sem;
} trial;

static bool on_allow(const struct sockaddr *addr, void *user)
{
    trial *x = user;
    uint16_t port = addr->sa_family == AF_INET6
                        ? ((const struct sockaddr_in6 *)(const void *)addr)->sin6_port
                        : ((const struct sockaddr_in *)(const void *)addr)->sin_port;
    MUST(ntohs(port) == x->dsn.port);
    atomic_fetch_add(&x->asked, 1);
    x->saw_v6 = x->saw_v6 || addr->sa_family == AF_INET6;
    return !x->refuse && !(x->refuse_v6 && addr->sa_family == AF_INET6);
}

static bool on_enter(const struct sockaddr *addr, void *user)
{
    trial *x = user;
    (void)addr;
    atomic_fetch_add(&x->entered, 1);
    return !x->full;
}

static void do_send(void *arg)
{
    trial *x = arg;
    x->sending = true;
    x->f->ops->send(x->f->t, &x->a);
    x->sending = false;
}

static int ok_of(const rbk_transport_ops *ops);

static void on_done(rbk_attempt *a, const rbk_attempt_result *result)
{
    trial *x = a->user;
    x->within = x->within || x->sending;
    x->result = *result;
    snprintf(x->retry_after, sizeof x->retry_after, "%.*s", RBK_FMT(result->retry_after));
    snprintf(x->detail, sizeof x->detail, "%s", result->detail);
    atomic_fetch_add(&x->n_done, 1);
    if (x->again > 0 && result->status == ok_of(x->f->ops)) {
        x->again--;
        do_send(x);
        return;
    }
    sem_post(&x->sem);
}

static void trial_init(trial *x, fixture *f, const char *scheme, const char *host,
                       const char *target)
{
    MUST(x != NULL);
    memset(x, 0, sizeof *x);
    sem_init(&x->sem, 0, 0);
    x->f = f;
    snprintf(x->text, sizeof x->text, "%s://%s:%u%s", scheme, host, f->r.port, target);
    MUST(rbk_dsn_parse(rbk_str_z(x->text), rbk_str_z(scheme), &x->dsn) == RBK_DSN_OK);
    snprintf(x->job, sizeof x->job, "0198c5e0-0000-7000-8000-000000000001");
    snprintf(x->body, sizeof x->body, "{\"id\":1,\"result\":\"\xc3\xa4 \\u0000\",\"n\":99.990}");
    x->a = (rbk_attempt){
        .dsn = rbk_str_z(x->text),
        .parsed = &x->dsn,
        .receiver = x->dsn.receiver,
        .job = rbk_str_z(x->job),
        .number = 3,
        .now = 1614265330999,
        .headers = RBK_STR("traceparent: 00-1-2-03\r\nX-Request-Id: r1\r\n"),
        .body = rbk_str_z(x->body),
        .allow = on_allow,
        .enter = on_enter,
        .allow_user = x,
        .done = on_done,
        .user = x,
    };
}

static void wait_done(trial *x)
{
    struct timespec by;
    clock_gettime(CLOCK_REALTIME, &by);
    by.tv_sec += 30;
    while (sem_timedwait(&x->sem, &by) < 0)
        MUST(errno == EINTR);
    assert_false(x->within);
}

static void run(trial *x)
{
    rbk_loop_call(x->f->loop, do_send, x);
    wait_done(x);
}

static void do_open(void *arg)
{
    fixture *f = arg;
    MUST(f->ops->open(&f->env, &f->t, NULL) == 0);
}

static void do_close(void *arg)
{
    fixture *f = arg;
    if (f->t)
        f->ops->close(f->t);
    f->t = NULL;
}

static void fixture_start(fixture *f, const rbk_transport_ops *ops, const identity *cert,
                          void (*serve)(peer *p), void *user)
{
    memset(f, 0, sizeof *f);
    f->ops = ops;
    SSL_CTX *ctx = make_server_ctx(cert);
    if (is_over_http2(ops))
        SSL_CTX_set_alpn_select_cb(ctx, h2_select, NULL);
    receiver_start(&f->r, ctx, serve, user);
    MUST(rbk_loop_new("courier", &f->loop, NULL) == 0);
    MUST(rbk_loop_start(f->loop, NULL) == 0);
    f->env = (rbk_transport_env){
        .loop = f->loop, .tls = tls, .connect_ms = 5000, .total_ms = 10000, .resolve_ms = 1000,
        .http2 = is_over_http2(ops)};
    rbk_loop_call(f->loop, do_open, f);
}

static void fixture_stop(fixture *f)
{
    rbk_loop_call(f->loop, do_close, f);
    rbk_loop_stop(f->loop);
    rbk_loop_free(f->loop);
    receiver_stop(&f->r);
}

/* What a success looks like. */
static int ok_of(const rbk_transport_ops *ops)
{
    return strcmp(ops->scheme, "wss") == 0 ? 1000 : 200;
}

static bool is_websocket(const peer *p)
{
    return strncmp(p->request, "GET ", 4) == 0;
}

static void accept_key(const char *request, char out[32])
{
    const char *key = strstr(request, "Sec-WebSocket-Key: ");
    unsigned char hash[SHA_DIGEST_LENGTH];
    char text[128];
    MUST(key);
    snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    SHA1((unsigned char *)text, strlen(text), hash);
    EVP_EncodeBlock((unsigned char *)out, hash, sizeof hash);
}

/* One short masked frame; its text, opcode, or -1. */
static int peer_frame(peer *p, char text[126])
{
    unsigned char head[6];
    size_t n = 0;
    while (n < sizeof head) {
        ssize_t r = peer_recv(p, head + n, sizeof head - n);
        if (r <= 0)
            return -1;
        n += (size_t)r;
    }
    size_t size = head[1] & 0x7f, got = 0;
    MUST((head[0] & 0x80) && (head[1] & 0x80) && size < 126);
    while (got < size) {
        ssize_t r = peer_recv(p, text + got, size - got);
        if (r <= 0)
            return -1;
        got += (size_t)r;
    }
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(text[i] ^ head[2 + i % 4]);
    text[size] = 0;
    return head[0] & 0x0f;
}

/* The request asked for a websocket: switch, take the text into the request, echo the close. */
static void peer_websocket(peer *p)
{
    char accept[32], answer[256], text[126];
    accept_key(p->request, accept);
    snprintf(answer, sizeof answer,
             "HTTP/1.1 101 X\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    if (!peer_say(p, answer) || peer_frame(p, text) != 1)
        return;
    strcpy(p->request + p->request_n, text);
    if (peer_frame(p, text) == 8)
        peer_send(p, "\x88\x02\x03\xe8", 4);
    peer_drain(p);
}

static void serve_ok(peer *p)
{
    h2_peer h;
    if (h2_is(p)) {
        h2_open(p, &h);
        while (h2_next(p, &h) && h2_say(p, &h, OK_EMPTY))
            ;
        h2_close(&h);
        return;
    }
    while (peer_request(p)) {
        if (is_websocket(p)) {
            peer_websocket(p);
            return;
        }
        if (!peer_say(p, OK_EMPTY))
            return;
    }
}

static void serve_one(peer *p)
{
    const char *answer = p->r->user;
    h2_peer h;
    if (h2_is(p)) {
        h2_open(p, &h);
        if (h2_next(p, &h))
            h2_say(p, &h, answer ? answer : OK_EMPTY);
        peer_drain(p);
        h2_close(&h);
        return;
    }
    bool asked = peer_request(p);
    if (asked && answer == NULL && is_websocket(p))
        peer_websocket(p);
    else if (asked)
        peer_say(p, answer ? answer : OK_EMPTY);
    peer_drain(p);
}

static void serve_silence(peer *p)
{
    h2_peer h;
    if (h2_is(p)) {
        h2_open(p, &h);
        while (h2_next(p, &h))
            ;
        h2_close(&h);
    } else if (peer_request(p)) {
        peer_drain(p);
    }
}
