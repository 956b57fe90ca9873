/* SPDX-License-Identifier: Apache-2.0 */
/* app/post.c - see post.h.
 *
 * Parses the URL with the parser of callbacks, asks the system for the addresses (this
 * thread may wait, and a developer's names are those of the machine), then runs the
 * library's HTTP client on a loop of its own until the answer is there. */
#include "app/post.h"

#include "base/error.h"
#include "base/secret.h"
#include "core/dsn.h"
#include "net/connect.h"
#include "net/http_client.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct exchange {
    rbk_http_post post;
    rbk_loop *loop;
    rbk_http_client *client;
    rbk_tls *tls;
    rbk_dsn dsn;
    char authority[RBK_HOST_MAX + 16], target[RBK_DSN_MAX + 2];
    char place[RBK_HOST_MAX + 16]; /* for people: the authority, or the socket */
    rbk_error *err;
    int result; /* status or rbk_err, once `done` */
    bool done;
    pthread_mutex_t lock;
    pthread_cond_t cond;
} exchange;

static int parse_url(exchange *x, const char *url)
{
    rbk_str schemes = RBK_STR("http,https"), text = rbk_str_z(url);
    char reason[160];
    rbk_dsn_fault fault = rbk_dsn_parse(text, schemes, &x->dsn);
    if (fault != RBK_DSN_OK) {
        rbk_dsn_reason(fault, text, schemes, reason);
        return rbk_fail(x->err, RBK_E_INVAL, "%s: %s", url,
                        fault == RBK_DSN_PROTOCOL ? "the protocol is neither http nor https"
                                                  : reason);
    }
    bool tls = strcmp(x->dsn.scheme_lower, "https") == 0;
    const char *open = x->dsn.kind == RBK_HOST_IPV6 ? "[" : "";
    uint16_t port = x->dsn.port ? x->dsn.port : tls ? 443 : 80;
    snprintf(x->authority, sizeof x->authority, "%s%s%s:%u", open, x->dsn.host_lower,
             open[0] ? "]" : "", port);
    snprintf(x->target, sizeof x->target, "%s%.*s", x->dsn.target_slash ? "/" : "",
             RBK_FMT(x->dsn.target));
    snprintf(x->place, sizeof x->place, "%s", x->authority);
    x->post.tls = tls;
    x->post.port = port;
    x->post.name = x->dsn.host_lower;
    x->post.receiver = x->dsn.receiver;
    x->post.authority = rbk_str_z(x->authority);
    x->post.target = rbk_str_z(x->target);
    return 0;
}

static int use_socket(exchange *x, const char *path)
{
    if (path[0] == 0 || strlen(path) > RBK_PATH_MAX)
        return rbk_fail(x->err, RBK_E_INVAL, "unix:%s: needs the path of a socket of at most %d bytes", path,
                        RBK_PATH_MAX);
    snprintf(x->place, sizeof x->place, "unix:%s", path);
    x->post.path = path;
    x->post.receiver = x->place;
    return 0;
}

static int resolve(exchange *x)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
    if (x->dsn.kind != RBK_HOST_NAME)
        hints.ai_flags = AI_NUMERICHOST;
    int r = getaddrinfo(x->dsn.host_lower, NULL, &hints, &list);
    if (r != 0)
        return rbk_fail(x->err, RBK_E_RESOLVE, "%s: %s", x->dsn.host_lower, gai_strerror(r));
    for (struct addrinfo *i = list; i && x->post.n_addrs < RBK_ADDRS_MAX; i = i->ai_next) {
        rbk_addr *a = &x->post.addrs[x->post.n_addrs];
        const void *sa = i->ai_addr;
        a->v6 = i->ai_family == AF_INET6;
        if (a->v6)
            memcpy(a->ip, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
        else if (i->ai_family == AF_INET)
            memcpy(a->ip, &((const struct sockaddr_in *)sa)->sin_addr, 4);
        else
            continue;
        x->post.n_addrs++;
    }
    freeaddrinfo(list);
    return 0;
}

static void on_done(rbk_http_post *post, const rbk_http_result *result)
{
    exchange *x = post->user;
    int r = result->status;
    if (result->err < 0)
        r = rbk_fail(x->err, result->err, "%s: %s%s%s", x->place, rbk_strerror(result->err),
                     result->detail[0] ? ": " : "", result->detail);
    else if (rbk_buf_err(post->want_body) < 0)
        r = rbk_fail(x->err, rbk_buf_err(post->want_body), "%s: the answer is too large",
                     x->place);
    pthread_mutex_lock(&x->lock);
    x->result = r;
    x->done = true;
    pthread_cond_signal(&x->cond);
    pthread_mutex_unlock(&x->lock);
}

static void start(void *arg)
{
    exchange *x = arg;
    rbk_http_post_send(x->client, &x->post);
}

static void finish(void *arg)
{
    exchange *x = arg;
    rbk_http_client_free(x->client);
}

static int run(exchange *x)
{
    rbk_http_client_conf conf = {.tls = x->tls, .plain = x->tls == NULL};
    int r = rbk_loop_new("post", &x->loop, x->err);
    if (r == 0)
        r = rbk_http_client_new(x->loop, &conf, &x->client, x->err);
    if (r == 0)
        r = rbk_loop_start(x->loop, x->err);
    if (r == 0) {
        rbk_loop_call(x->loop, start, x);
        pthread_mutex_lock(&x->lock);
        while (!x->done)
            pthread_cond_wait(&x->cond, &x->lock);
        pthread_mutex_unlock(&x->lock);
        rbk_loop_call(x->loop, finish, x);
        r = x->result;
    } else if (x->client) {
        finish(x);
    }
    rbk_loop_free(x->loop);
    return r;
}

int rbk_app_post_run(const rbk_app_post *p, rbk_buf *ret_body, rbk_error *err)
{
    exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    *x = (exchange){.err = err, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    x->post = (rbk_http_post){
        .body = p->body, .want_body = ret_body, .connect_ms = p->timeout_ms,
        .total_ms = p->timeout_ms, .done = on_done, .user = x,
        .head = RBK_STR("Content-Type: application/json\r\nAccept: application/json\r\n")};
    rbk_tls_client_conf tls = {.ca_file = p->ca_file};
    rbk_buf head = RBK_BUF(64 << 10);
    rbk_buf_str(&head, x->post.head);
    rbk_buf_str(&head, p->head);
    x->post.head = rbk_buf_view(&head);
    int r = rbk_buf_err(&head) < 0 ? rbk_fail(err, rbk_buf_err(&head), "the head is too long")
                                   : parse_url(x, p->url);
    if (r == 0)
        r = p->socket ? use_socket(x, p->socket) : resolve(x);
    if (r == 0 && x->post.tls)
        r = rbk_tls_client_new(&tls, &x->tls, err);
    if (r == 0)
        r = run(x);
    rbk_tls_free(x->tls);
    rbk_secret_free(&head); /* tokens are in it */
    free(x);
    return r;
}
