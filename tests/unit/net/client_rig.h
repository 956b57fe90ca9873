/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the HTTP client share: a client on a loop of its own, a post with
 * what became of it, and the plainest receivers. */
#ifndef RBK_TESTS_CLIENT_RIG_H
#define RBK_TESTS_CLIENT_RIG_H

#include "net/http_client.h"

#include "../../support/receiver.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

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

static inline bool on_allow(const struct sockaddr *addr, void *user)
{
    shot *s = user;
    (void)addr;
    atomic_fetch_add(&s->asked, 1);
    return !atomic_load(&s->refuse);
}

static inline void do_send(void *arg)
{
    shot *s = arg;
    s->sending = true;
    rbk_http_post_send(s->f->client, &s->post);
    s->sending = false;
}

static inline void on_done(rbk_http_post *post, const rbk_http_result *result)
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

static inline void add_addr(shot *s, uint32_t ip)
{
    rbk_addr *a = &s->post.addrs[s->post.n_addrs++];
    for (int i = 0; i < 4; i++)
        a->ip[i] = (uint8_t)(ip >> (24 - 8 * i));
}

static inline void shot_init(shot *s, fixture *f, uint16_t port)
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

static inline void fire(shot *s)
{
    rbk_loop_call(s->f->loop, do_send, s);
}

static inline void wait_done(shot *s)
{
    struct timespec by;
    clock_gettime(CLOCK_REALTIME, &by);
    by.tv_sec += 20;
    while (sem_timedwait(&s->sem, &by) < 0)
        MUST(errno == EINTR);
    assert_false(s->within);
}

static inline void shoot(shot *s)
{
    fire(s);
    wait_done(s);
}

static inline void do_new(void *arg)
{
    fixture *f = arg;
    MUST(rbk_http_client_new(f->loop, &f->conf, &f->client, NULL) == 0);
}

static inline void do_free(void *arg)
{
    fixture *f = arg;
    rbk_http_client_free(f->client);
    f->client = NULL;
}

static inline void fixture_start(fixture *f, const rbk_http_client_conf *conf)
{
    memset(f, 0, sizeof *f);
    if (conf)
        f->conf = *conf;
    if (f->conf.tls == NULL)
        f->conf.plain = true;
    MUST(rbk_loop_new("client", &f->loop, NULL) == 0);
    MUST(rbk_loop_start(f->loop, NULL) == 0);
    rbk_loop_call(f->loop, do_new, f);
}

static inline void fixture_stop(fixture *f)
{
    rbk_loop_call(f->loop, do_free, f);
    rbk_loop_stop(f->loop);
    rbk_loop_free(f->loop);
}

static inline void serve_ok(peer *p)
{
    while (peer_request(p) && peer_say(p, OK_EMPTY))
        ;
}

static inline void serve_keep_text(peer *p)
{
    if (peer_request(p))
        peer_say(p, OK_EMPTY);
    peer_drain(p);
}

static inline void serve_silence(peer *p)
{
    if (peer_request(p))
        peer_drain(p);
}

#endif
