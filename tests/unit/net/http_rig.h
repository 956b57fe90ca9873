/* SPDX-License-Identifier: Apache-2.0 */
/* http_rig.h - an HTTP server on a loop thread, and a raw client that reads answers.
 *
 * Paths: /rpc echoes the body at once, /hold keeps the request until rig_answer(),
 * /big answers 8 MiB, /empty 204, /typed wants JSON, /none is 404, /secret
 * is 401, /often 429. What the handler
 * writes is read by the test through atomics, or through rbk_loop_call(). */
#ifndef RBK_TEST_HTTP_RIG_H
#define RBK_TEST_HTTP_RIG_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "net/http_server.h"

enum { HELD_MAX = 256, BIG = 8 << 20, LIMIT_MS = 20000 };

typedef struct rig {
    rbk_http_conf conf;
    rbk_loop *loop;
    rbk_http_server *server;
    uint16_t port;
    rbk_http_request *held[HELD_MAX];
    atomic_uint n_held, n_answered, n_gone, most_held, n_requests;
    atomic_uint n_refused, n_shed[RBK_HTTP_SHEDS];
    atomic_uint connections;
    atomic_size_t buffered;
    int send_buf; /* of the server's sockets; 0: as the system has it */
    char *big;
} rig;

static inline int rig_on_head(rbk_http_request *rq, void *user)
{
    (void)user;
    if (rbk_str_eqz(rq->path, "/none"))
        return 404;
    if (rbk_str_eqz(rq->path, "/secret"))
        return 401;
    if (rbk_str_eqz(rq->path, "/often")) {
        rq->retry_after = 17;
        return 429;
    }
    if (rbk_str_eqz(rq->path, "/read-only"))
        rq->allow = "GET, HEAD";
    if (!rbk_str_eqz(rq->method, "POST") && !rbk_str_eqz(rq->method, "HEAD"))
        return 405;
    if (rbk_str_eqz(rq->path, "/typed") &&
        !rbk_str_eqz(rbk_http_find(rq->headers, rq->n_headers, "content-type"), "application/json"))
        return 415;
    return 0;
}

static inline void rig_hold(rig *g, rbk_http_request *rq)
{
    unsigned n = atomic_fetch_add(&g->n_held, 1);
    assert_true(n < HELD_MAX);
    g->held[n] = rq;
    unsigned waiting = n + 1 - g->n_answered;
    if (waiting > g->most_held)
        g->most_held = waiting;
}

static inline void rig_on_request(rbk_http_request *rq, void *user)
{
    rig *g = user;
    rbk_http_reply rp = {.status = 200, .body = rq->body};
    rbk_http_header evil = {RBK_STR("X-Evil"), RBK_STR("a\r\nSet-Cookie: b\n\0c")};
    g->n_requests++;
    if (rbk_str_eqz(rq->path, "/hold")) {
        rig_hold(g, rq);
        return;
    }
    if (rbk_str_eqz(rq->path, "/empty"))
        rp = (rbk_http_reply){.status = 204};
    if (rbk_str_eqz(rq->path, "/big"))
        rp.body = (rbk_str){g->big, BIG};
    if (rbk_str_eqz(rq->path, "/evil")) {
        rp.headers = &evil;
        rp.n_headers = 1;
        rp.content_type = "text/plain\r\nX: y";
    }
    rbk_http_reply_send(rq, &rp);
}

static inline void rig_on_gone(rbk_http_request *rq, void *user)
{
    rig *g = user;
    assert_true(rq->headers != NULL && rq->peer[0] == '1');
    g->n_gone++;
}

static inline void rig_on_refused(const rbk_http_request *rq, int status, const char *why, void *user)
{
    rig *g = user;
    assert_true(rq->peer[0] == '1' && status >= 400 && (why == NULL || why[0]));
    g->n_refused++;
}

static inline void rig_on_shed(const char *peer, rbk_http_shed why, void *user)
{
    rig *g = user;
    assert_true(peer[0] == '1');
    g->n_shed[why]++;
}

static inline void rig_make(void *arg)
{
    rig *g = arg;
    rbk_error err;
    int fd;
    if (g->big == NULL)
        g->big = calloc(1, BIG);
    assert_int_equal(rbk_http_listen(RBK_STR("127.0.0.1:0"), 1, &fd, &g->port, &err), 0);
    g->conf.connections = &g->connections;
    g->conf.buffered = &g->buffered;
    if (g->send_buf)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &g->send_buf, sizeof g->send_buf);
    rbk_http_handler h = {.on_head = rig_on_head, .on_request = rig_on_request,
                          .on_gone = rig_on_gone, .on_refused = rig_on_refused,
                          .on_shed = rig_on_shed, .user = g};
    assert_int_equal(rbk_http_server_new(g->loop, fd, &g->conf, &h, &g->server, &err), 0);
}

static inline void rig_start(rig *g)
{
    rbk_error err;
    assert_int_equal(rbk_loop_new("http", &g->loop, &err), 0);
    rig_make(g);
    assert_int_equal(rbk_loop_start(g->loop, &err), 0);
}

static inline void rig_close_server(void *arg)
{
    rig *g = arg;
    rbk_http_server_close(g->server);
    g->server = NULL;
}

static inline void rig_drain(void *arg)
{
    rbk_http_server_drain(((rig *)arg)->server);
}

typedef struct rig_reply {
    rbk_task task;
    rig *g;
    unsigned i;
    const char *body;
} rig_reply;

static inline void rig_reply_now(rbk_task *task)
{
    rig_reply *r = (rig_reply *)task;
    r->g->n_answered++;
    rbk_http_reply_send(r->g->held[r->i],
                        &(rbk_http_reply){.status = 200, .body = rbk_str_z(r->body)});
    free(r);
}

/* Answer the i-th held request, from this other thread. */
static inline void rig_answer(rig *g, unsigned i, const char *body)
{
    rig_reply *r = calloc(1, sizeof *r);
    *r = (rig_reply){.task.fn = rig_reply_now, .g = g, .i = i, .body = body};
    rbk_loop_post(g->loop, &r->task);
}

/* Wait until *n is at least `want`. */
static inline void rig_await(atomic_uint *n, unsigned want)
{
    for (rbk_mono_ms end = rbk_mono_now() + LIMIT_MS; *n < want; usleep(500))
        if (rbk_mono_now() > end)
            fail_msg("waited in vain: %u of %u", *n, want);
}

static inline void rig_await_closed(rig *g, unsigned open)
{
    for (rbk_mono_ms end = rbk_mono_now() + LIMIT_MS; g->connections > open; usleep(500))
        if (rbk_mono_now() > end)
            fail_msg("%u connections are still open", g->connections);
}

static inline void rig_stop(rig *g)
{
    if (g->server)
        rbk_loop_call(g->loop, rig_close_server, g);
    rbk_loop_stop(g->loop);
    rbk_loop_free(g->loop);
    assert_int_equal(g->connections, 0);
    assert_int_equal(g->buffered, 0);
    free(g->big);
}

/* --- the client ------------------------------------------------------------------ */

static inline int rig_socket(const rig *g)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval tv = {.tv_sec = LIMIT_MS / 1000};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(g->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* In pieces of `step`. False when the server would not take all. */
static inline bool rig_send(int fd, rbk_str s, size_t step)
{
    for (size_t at = 0; at < s.n;) {
        size_t n = s.n - at < step ? s.n - at : step;
        ssize_t w = send(fd, s.p + at, n, MSG_NOSIGNAL);
        if (w <= 0)
            return false;
        at += (size_t)w;
    }
    return true;
}

static inline void rig_say(int fd, const char *text)
{
    assert_true(rig_send(fd, rbk_str_z(text), SIZE_MAX));
}

typedef struct answer {
    int status;
    rbk_str head, body;
    bool close;
} answer;

/* All that came so far, and where the next answer begins. */
typedef struct inbox {
    rbk_buf b;
    size_t at;
    bool head_only; /* the next answer is to HEAD */
} inbox;

static inline rbk_str rig_header(const answer *a, const char *name)
{
    char line[128];
    int n = snprintf(line, sizeof line, "\r\n%s: ", name);
    const char *p = memmem(a->head.p, a->head.n, line, (size_t)n);
    if (p == NULL)
        return RBK_STR_NONE;
    p += n;
    const char *end = memmem(p, (size_t)(a->head.p + a->head.n - p), "\r\n", 2);
    return (rbk_str){p, (size_t)(end - p)};
}

/* Every answer of ours is well formed, whatever it says. */
static inline void rig_lint(const answer *a)
{
    rbk_str length = rig_header(a, "Content-Length"), date = rig_header(a, "Date");
    assert_int_equal(date.n, 29);
    assert_null(rig_header(a, "Transfer-Encoding").p);
    assert_int_equal(length.p == NULL, a->status == 204);
    assert_true(a->body.n == 0 || rig_header(a, "Content-Type").p != NULL);
}

static inline bool take_answer(inbox *in, answer *ret)
{
    rbk_str s = {in->b.p + in->at, in->b.n - in->at};
    const char *end = s.n ? memmem(s.p, s.n, "\r\n\r\n", 4) : NULL;
    uint64_t n = 0;
    if (end == NULL)
        return false;
    assert_true(s.n > 12 && memcmp(s.p, "HTTP/1.1 ", 9) == 0);
    *ret = (answer){.head = {s.p, (size_t)(end + 4 - s.p)}, .status = atoi(s.p + 9)};
    rbk_str length = rig_header(ret, "Content-Length");
    if (length.p)
        assert_int_equal(rbk_str_u64(length, SIZE_MAX, &n), 0);
    if (in->head_only)
        n = 0;
    if (s.n - ret->head.n < n)
        return false;
    ret->body = (rbk_str){end + 4, (size_t)n};
    ret->close = rbk_str_eqz(rig_header(ret, "Connection"), "close");
    in->at += ret->head.n + (size_t)n;
    if (ret->status != 100)
        rig_lint(ret);
    return true;
}

/* More bytes; false at the end. A reset is no orderly end. */
static inline bool rig_more(int fd, inbox *in)
{
    if (in->b.max == 0)
        in->b = RBK_BUF(64 << 20);
    assert_int_equal(rbk_buf_reserve(&in->b, 65536), 0);
    ssize_t n = recv(fd, in->b.p + in->b.n, 65536, 0);
    if (n < 0)
        fail_msg("no answer: %s", strerror(errno));
    in->b.n += (size_t)n;
    return n > 0;
}

/* The next answer; its texts are valid until more is read. */
static inline answer rig_read(int fd, inbox *in)
{
    answer a = {0};
    while (!take_answer(in, &a))
        if (!rig_more(fd, in))
            fail_msg("closed without an answer");
    return a;
}

/* Nothing but the end may follow. */
static inline void rig_expect_end(int fd, inbox *in)
{
    while (rig_more(fd, in))
        ;
    if (in->at != in->b.n)
        fail_msg("more than was asked for: %.60s", in->b.p + in->at);
    rbk_buf_free(&in->b);
    *in = (inbox){0};
}

/* Send `text` on a connection of its own, read one answer and the end. */
static inline answer rig_ask(const rig *g, const char *text, char *keep, size_t n)
{
    inbox in = {0};
    int fd = rig_socket(g);
    rig_say(fd, text);
    answer a = rig_read(fd, &in);
    assert_true(a.close);
    assert_true(a.head.n + a.body.n < n);
    memcpy(keep, a.head.p, a.head.n + a.body.n);
    size_t head_n = a.head.n;
    a.head.p = keep;
    a.body.p = keep + head_n;
    rig_expect_end(fd, &in);
    close(fd);
    return a;
}

#endif
