/* SPDX-License-Identifier: Apache-2.0 */
/* transport/attempt.c - see attempt.h: from an attempt to an order for a client, and back.
 *
 * attempt -> name to addresses -> every address asked for -> the scheme's client ->
 * `done`. Parses nothing: host, port and target are those of core/dsn.c. A name with
 * one forbidden address is refused whole, since its owner mixes them on purpose; the
 * client asks once more for the very address, right before connect(2).
 *
 * One instance a courier loop, on that loop's thread alone. An attempt that fails
 * within send() ends in the next turn, by the list `soon` and a timer. */
#include "transport/attempt.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/ring.h"
#include "core/dsn.h"
#include "transport/version.h"

#include <stdlib.h>

enum {
    TEXT_MAX = 64 * 1024,
    AUTHORITY_MAX = RBK_HOST_MAX + 10,
};

typedef struct work {
    rbk_link link; /* in `all`, or in `late` */
    rbk_transport *t;
    rbk_attempt *a;
    rbk_http_post post;
    rbk_mono_ms deadline;
    bool sending; /* send() has not returned */
    bool busy;    /* the engine has enough attempts at the address */
    int err;      /* in `late`: what it ends with */
    const char *detail;
    rbk_buf text; /* the header lines, then a target that had to be put together */
    char authority[AUTHORITY_MAX];
} work;

struct rbk_transport {
    const rbk_attempt_client *how;
    rbk_transport_env env;
    void *client; /* as `how` makes them */
    rbk_resolver *resolver;
    rbk_link all, late;
    rbk_attempt *starved; /* no memory for a work: a chain by `priv` */
    uv_timer_t timer;     /* of `late` and `starved` */
};

/* --- the end of an attempt --- */

static void on_late(uv_timer_t *timer);

static void finish(work *w, const rbk_attempt_result *result)
{
    rbk_attempt *a = w->a;
    rbk_link_remove(&w->link);
    rbk_buf_free(&w->text);
    free(w);
    a->priv = NULL;
    a->done(a, result);
}

static void fail(work *w, int err, const char *detail)
{
    if (w->sending) {
        w->err = err;
        w->detail = detail;
        rbk_link_append(&w->t->late, &w->link);
        uv_timer_start(&w->t->timer, on_late, 0, 0);
        return;
    }
    finish(w, &(rbk_attempt_result){.err = err, .detail = detail});
}

static void end_starved(rbk_transport *t, int err, const char *detail)
{
    rbk_attempt *a = t->starved;
    t->starved = a->priv;
    a->priv = NULL;
    a->done(a, &(rbk_attempt_result){.err = err, .detail = detail});
}

static size_t count_late(const rbk_transport *t)
{
    size_t n = 0;
    for (const rbk_link *l = t->late.next; l != &t->late; l = l->next)
        n++;
    for (const rbk_attempt *a = t->starved; a; a = a->priv)
        n++;
    return n;
}

/* As many as there are now: what a `done` adds waits for the next turn, and one that
 * closes the transport leaves both lists empty. */
static void on_late(uv_timer_t *timer)
{
    rbk_transport *t = timer->data;
    for (size_t n = count_late(t); n > 0; n--) {
        if (!rbk_link_empty(&t->late)) {
            work *w = RBK_OF_LINK(t->late.next, work, link);
            finish(w, &(rbk_attempt_result){.err = w->err, .detail = w->detail});
        } else if (t->starved) {
            end_starved(t, RBK_E_NOMEM, "out of memory");
        }
    }
}

static void on_done(rbk_http_post *post, const rbk_http_result *result)
{
    const work *w = post->user;
    bool busy = w->busy && result->err == RBK_E_ADDRESS;
    finish(post->user, &(rbk_attempt_result){
                           .err = busy ? RBK_E_BUSY : result->err,
                           .status = result->status,
                           .complete = result->complete,
                           .retry_after = result->retry_after,
                           .detail = result->detail,
                       });
}

/* --- addresses --- */

static bool allowed(const work *w, const rbk_addr *addr)
{
    const rbk_dsn *dsn = w->a->parsed;
    struct sockaddr_storage sa;
    if (w->a->allow == NULL)
        return true;
    rbk_addr_to_sockaddr(addr, dsn->port, &sa);
    return w->a->allow((const struct sockaddr *)&sa, w->a->allow_user);
}

/* Right before an address is used. */
static bool may_use(const struct sockaddr *addr, void *user)
{
    work *w = user;
    const rbk_attempt *a = w->a;
    if (a->allow && !a->allow(addr, a->allow_user))
        return false;
    w->busy = a->enter && !a->enter(addr, a->allow_user);
    return !w->busy;
}

/* --- one attempt --- */

/* Host: the port only where it is not the scheme's own. */
static rbk_str make_authority(work *w, const rbk_dsn *dsn)
{
    bool v6 = dsn->kind == RBK_HOST_IPV6;
    rbk_buf b = {.p = w->authority, .cap = sizeof w->authority, .max = sizeof w->authority};
    rbk_buf_z(&b, v6 ? "[" : "");
    rbk_buf_z(&b, dsn->host_lower);
    rbk_buf_z(&b, v6 ? "]" : "");
    if (dsn->port != 443) {
        rbk_buf_c(&b, ':');
        rbk_buf_add_u64(&b, dsn->port);
    }
    return rbk_buf_view(&b);
}

/* Header lines and target of the request. 0, or the buffer's error. */
static int make_text(work *w, const rbk_dsn *dsn)
{
    const rbk_attempt *a = w->a;
    rbk_buf *b = &w->text;
    rbk_buf_reserve(b, 256 + a->headers.n + dsn->target.n); /* the usual: one allocation */
    rbk_buf_z(b, w->t->how->head);
    rbk_buf_lit(b, "User-Agent: ringback/" RBK_VERSION "\r\n"
                   "webhook-id: ");
    rbk_buf_str(b, a->job);
    rbk_buf_lit(b, "\r\nwebhook-timestamp: ");
    rbk_buf_add_u64(b, (uint64_t)(a->now > 0 ? a->now / 1000 : 0));
    rbk_buf_lit(b, "\r\nringback-attempt: ");
    rbk_buf_add_u64(b, a->number);
    rbk_buf_lit(b, "\r\n");
    rbk_buf_str(b, a->headers);
    size_t head_n = b->n;
    if (dsn->target_slash) {
        rbk_buf_c(b, '/');
        rbk_buf_str(b, dsn->target);
    }
    if (rbk_buf_err(b) < 0)
        return rbk_buf_err(b);
    w->post.head = (rbk_str){b->p, head_n};
    w->post.target = dsn->target_slash ? (rbk_str){b->p + head_n, b->n - head_n} : dsn->target;
    return 0;
}

static int make_post(work *w)
{
    const rbk_attempt *a = w->a;
    const rbk_dsn *dsn = a->parsed;
    rbk_http_post *post = &w->post;
    post->receiver = a->receiver;
    post->tls = true;
    post->name = dsn->host_lower;
    post->port = dsn->port;
    post->body = a->body;
    post->allow = may_use;
    post->allow_user = w;
    post->done = on_done;
    post->user = w;
    post->authority = make_authority(w, dsn);
    return make_text(w, dsn);
}

static void connect_to(work *w, const rbk_addr *addrs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!allowed(w, &addrs[i])) {
            fail(w, RBK_E_ADDRESS, "an address of the host is not allowed");
            return;
        }
    }
    rbk_transport *t = w->t;
    int64_t left = w->deadline - rbk_loop_now(t->env.loop);
    w->post.n_addrs = n < RBK_ADDRS_MAX ? n : RBK_ADDRS_MAX;
    memcpy(w->post.addrs, addrs, w->post.n_addrs * sizeof *addrs);
    w->post.total_ms = left > 0 ? left : 0;
    w->post.connect_ms = t->env.connect_ms;
    if (t->how->send(t->client, &w->post) < 0)
        fail(w, RBK_E_NOMEM, "out of memory");
}

static void on_resolved(void *user, int err, const rbk_addr *addrs, size_t n)
{
    work *w = user;
    if (err == RBK_E_CLOSED)
        fail(w, err, "the transport is closed");
    else if (err == RBK_E_BUSY)
        fail(w, err, "too many name look-ups wait");
    else if (err == RBK_E_NOMEM)
        fail(w, err, "out of memory");
    else if (err == RBK_E_TIMEOUT)
        fail(w, RBK_E_RESOLVE, "name look-up timed out");
    else if (err < 0 || n == 0)
        fail(w, RBK_E_RESOLVE, "no such name");
    else
        connect_to(w, addrs, n);
}

static void start(work *w)
{
    const rbk_dsn *dsn = w->a->parsed;
    const rbk_transport_env *env = &w->t->env;
    int64_t wait = env->resolve_ms < env->total_ms ? env->resolve_ms : env->total_ms;
    if (make_post(w) < 0) {
        fail(w, RBK_E_NOMEM, "out of memory");
    } else if (dsn->kind == RBK_HOST_NAME) {
        rbk_resolve(w->t->resolver, rbk_str_z(dsn->host_lower), wait, on_resolved, w);
    } else {
        rbk_addr addr = {.v6 = dsn->kind == RBK_HOST_IPV6};
        memcpy(addr.ip, dsn->addr, sizeof addr.ip);
        connect_to(w, &addr, 1);
    }
}

void rbk_attempt_send(rbk_transport *t, rbk_attempt *a)
{
    work *w = calloc(1, sizeof *w);
    if (w == NULL) {
        a->priv = t->starved;
        t->starved = a;
        uv_timer_start(&t->timer, on_late, 0, 0);
        return;
    }
    w->t = t;
    w->a = a;
    w->text = RBK_BUF(TEXT_MAX);
    w->deadline = rbk_loop_now(t->env.loop) + t->env.total_ms;
    a->priv = w;
    rbk_link_init(&w->link);
    rbk_link_append(&t->all, &w->link);
    w->sending = true;
    start(w);
    w->sending = false;
}

/* --- life of the transport --- */

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

int rbk_attempt_open(const rbk_attempt_client *how, const rbk_transport_env *env,
                     rbk_transport **ret, rbk_error *err)
{
    rbk_transport *t = calloc(1, sizeof *t);
    if (t == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "transport");
    int r = rbk_resolver_new(env->loop, &t->resolver, err);
    if (r == 0 && env->name_servers && rbk_resolver_set_servers(t->resolver, env->name_servers) < 0)
        r = rbk_fail(err, RBK_E_CONFIG, "name servers: %s", env->name_servers);
    if (r == 0)
        r = how->open(env, &t->client, err);
    if (r < 0) {
        rbk_resolver_free(t->resolver);
        free(t);
        return r;
    }
    t->how = how;
    t->env = *env;
    rbk_link_init(&t->all);
    rbk_link_init(&t->late);
    uv_timer_init(rbk_loop_uv(env->loop), &t->timer);
    t->timer.data = t;
    *ret = t;
    return 0;
}

/* Resolver and client end what they hold; the rest waits in the two lists. */
void rbk_attempt_close(rbk_transport *t)
{
    if (t == NULL)
        return;
    rbk_resolver_free(t->resolver);
    t->how->close(t->client);
    while (!rbk_link_empty(&t->late))
        finish(RBK_OF_LINK(t->late.next, work, link),
               &(rbk_attempt_result){.err = RBK_E_CLOSED, .detail = "the transport is closed"});
    while (t->starved)
        end_starved(t, RBK_E_CLOSED, "the transport is closed");
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}
