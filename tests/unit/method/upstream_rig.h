/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of upstreams share: an embedded server whose method `up` is run by a scripted
 * upstream, and what the operator is told. */
#ifndef RBK_TESTS_UPSTREAM_RIG_H
#define RBK_TESTS_UPSTREAM_RIG_H

#include "method/upstream.h"

#include "../engine/engine_rig.h"

#include "../../support/receiver.h"

enum { TOLD_MAX = 64 * 1024 };

typedef struct rig {
    receiver r;
    rbk_upstream *u;
    rbk_server *s;
    char url[128];
} rig;

static struct told {
    pthread_mutex_t lock;
    char text[TOLD_MAX];
    size_t n;
} told = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void on_told(void *user, rbk_level level, const char *line, size_t n)
{
    (void)user;
    (void)level;
    pthread_mutex_lock(&told.lock);
    if (told.n + n + 2 < TOLD_MAX) {
        memcpy(told.text + told.n, line, n);
        told.n += n;
        told.text[told.n++] = '\n';
        told.text[told.n] = 0;
    }
    pthread_mutex_unlock(&told.lock);
}

/* How often `what` stands in the log of the upstream. */
static inline int n_told(const char *what)
{
    int n = 0;
    pthread_mutex_lock(&told.lock);
    for (const char *p = told.text; (p = strstr(p, what)) != NULL; p += strlen(what))
        n++;
    pthread_mutex_unlock(&told.lock);
    return n;
}

static rbk_log told_log = {.level = RBK_DEBUG, .write = on_told};

/* --- scripts --- */

/* What one request is answered with; NULL ends. */
typedef struct play {
    const char *const *answers; /* whole HTTP answers by turns, the last one for all that follow;
                                   "": hang; "!": close without an answer; "!…": the text behind
                                   it, then close; "~…": the same, then a reset */
    atomic_int at;
    pthread_mutex_t lock;
    char last[8192]; /* the last request */
} play;

static inline void serve_play(peer *p)
{
    play *y = p->r->user;
    while (peer_request(p)) {
        int at = atomic_fetch_add(&y->at, 1), i = 0;
        pthread_mutex_lock(&y->lock);
        snprintf(y->last, sizeof y->last, "%s", p->request);
        pthread_mutex_unlock(&y->lock);
        while (i < at && y->answers[i + 1])
            i++;
        const char *say = y->answers[i];
        bool close = *say == '!' || *say == '~';
        p->reset = *say == '~';
        if (*say == 0)
            peer_drain(p);
        else
            peer_say(p, say + close);
        if (*say == 0 || close)
            return;
    }
}

#define PLAY(...)                                                                                  \
    (&(play){.answers = (const char *const[]){__VA_ARGS__, NULL},                                  \
             .lock = PTHREAD_MUTEX_INITIALIZER})

#define HTTP_OK(n, body) "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " n "\r\n\r\n" body
/* Any length: to the end of the connection. */
#define HTTP_ALL(head, body) "!HTTP/1.1 " head "\r\n\r\n" body

/* --- the server in front --- */

static inline void rig_upstream(rig *g, const rbk_upstream_conf *conf)
{
    rbk_upstream_conf c = conf ? *conf : (rbk_upstream_conf){0};
    rbk_error err = {0};
    if (c.url == NULL)
        c.url = g->url;
    if (rbk_upstream_new(&c, &told_log, &g->u, &err) < 0)
        fail_msg("%s", err.detail);
}

static inline void rig_server(rig *g)
{
    g->s = make_server();
    set(g->s, "method.timeout", "20s");
    assert_int_equal(rbk_server_method(g->s, &(rbk_method){.name = "up", .fn = rbk_upstream_call,
                                                           .user = g->u}), 0);
    start(g->s);
}

/* `y` plays on plain TCP. */
static inline void rig_start(rig *g, play *y, const rbk_upstream_conf *conf)
{
    memset(g, 0, sizeof *g);
    told.n = 0;
    told.text[0] = 0;
    receiver_start(&g->r, NULL, serve_play, y);
    snprintf(g->url, sizeof g->url, "http://127.0.0.1:%u/api", g->r.port);
    rig_upstream(g, conf);
    rig_server(g);
}

static inline void rig_stop(rig *g)
{
    rbk_server_stop(g->s);
    rbk_upstream_free(g->u);
    rbk_server_free(g->s);
    receiver_stop(&g->r);
}

/* A synchronous call of `up`: the answer's body. */
static inline const char *up(rig *g, const char *body, answer *a)
{
    ask(g->s, body, a);
    return a->body;
}

#define CALL "{\"id\":7,\"method\":\"up\"}"
#define INTERNAL "{\"id\":7,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}"

#endif
