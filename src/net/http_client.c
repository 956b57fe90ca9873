/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_client.c - posts: from send to `done`; see http_client.h.
 *
 * A post takes a kept connection or opens one (net/connect.h); its connection
 * (http_client_conn.c) reports back by the rbk_http_call_* functions. One timer serves
 * all deadlines: it is armed for the earliest one known and then looks at every active
 * connection, at most each TICK_MS, so the hot path touches no timer at all. */
#include "net/http_client_impl.h"

#include "base/error.h"

#include <stdlib.h>

enum { TICK_MS = 10, DEFAULT_IDLE_PER_RECEIVER = 16, DEFAULT_IDLE = 1024, DEFAULT_IDLE_MS = 30000 };

static void on_timer(uv_timer_t *timer);

void rbk_http_client_arm(rbk_http_client *c, rbk_mono_ms deadline)
{
    if (deadline >= c->armed || c->freed)
        return;
    int64_t in = deadline - rbk_loop_now(c->loop);
    c->armed = deadline;
    uv_timer_start(&c->timer, on_timer, in > 0 ? (uint64_t)in : 0, 0);
}

/* --- the end of a call --- */

void rbk_http_call_finish(rbk_http_call *call, const rbk_http_result *result)
{
    rbk_http_post *post = call->post;
    char *own = call->own;
    rbk_link_remove(&call->link);
    free(call);
    post->priv = NULL;
    post->done(post, result);
    free(own);
}

void rbk_http_call_fail(rbk_http_call *call, int err, const char *detail)
{
    rbk_http_result result = {.err = err, .any_sent = call->any_sent, .detail = detail};
    rbk_http_call_finish(call, &result);
}

static void fail_soon(rbk_http_call *call, int err, const char *detail)
{
    call->err = err;
    call->detail = detail;
    rbk_link_append(&call->c->soon, &call->link);
    rbk_http_client_arm(call->c, 0);
}

void rbk_http_call_ready(rbk_http_call *call, int err, const char *detail)
{
    char *own = *detail ? strdup(detail) : NULL;
    free(call->own);
    call->own = own;
    call->detail = own ? own : "";
    call->err = err;
    rbk_link_append(&call->c->ready, &call->link);
    rbk_http_client_arm(call->c, 0); /* at the latest */
}

static void finish_ready(rbk_http_call *call)
{
    char text[RBK_HTTP2_FIELD_MAX];
    rbk_str retry_after = RBK_STR_NONE;
    if (call->retry_after_n > 0)
        retry_after = (rbk_str){memcpy(text, call->retry_after, call->retry_after_n),
                                call->retry_after_n};
    rbk_http_result result = {
        .err = call->err,
        .status = call->err ? 0 : call->status,
        .complete = call->err == 0 && call->complete,
        .any_sent = call->any_sent,
        .retry_after = retry_after,
        .detail = call->detail,
    };
    rbk_http_call_finish(call, &result);
}

/* --- connecting --- */

/* A new connection. 0; RBK_E_CONNECT when there is no address; RBK_E_NOMEM. */
static int open_new(rbk_http_call *call)
{
    rbk_http_client *c = call->c;
    if (call->post->n_addrs == 0 && call->post->path == NULL)
        return RBK_E_CONNECT;
    if (c->conf.conns_max && c->n_conns >= c->conf.conns_max)
        rbk_http_conn_make_room(c);
    return rbk_http_conn_open(call);
}

void rbk_http_call_again(rbk_http_call *call, int err, const char *detail)
{
    /* Never a kept connection this time: so it happens but once. */
    bool last = call->c->freed || rbk_loop_now(call->c->loop) >= call->deadline;
    if (last || open_new(call) < 0)
        rbk_http_call_fail(call, err, detail);
}

static int place(rbk_http_call *call)
{
    if (!call->fresh && rbk_http_conn_reuse(call))
        return 0;
    return rbk_http2_wait(call) ? 0 : open_new(call);
}

/* What it ended with before stands where nothing comes of it. */
static bool begin_anew(rbk_http_call *call)
{
    call->redo = false;
    bool last = call->c->freed || rbk_loop_now(call->c->loop) >= call->deadline;
    return !last && place(call) == 0;
}

void rbk_http_client_report(rbk_http_client *c)
{
    while (!rbk_link_empty(&c->ready)) {
        rbk_http_call *call = RBK_OF_LINK(c->ready.next, rbk_http_call, link);
        rbk_link_remove(&call->link);
        if (!call->redo || !begin_anew(call))
            finish_ready(call);
    }
}

static int start(rbk_http_call *call, const char **ret_detail)
{
    rbk_http_client *c = call->c;
    *ret_detail = "";
    if (c->freed) {
        *ret_detail = "the client is closed";
        return RBK_E_CLOSED;
    }
    if (!c->conf.plain && (!call->post->tls || call->post->path)) {
        *ret_detail = "not over TLS";
        return RBK_E_TLS;
    }
    if (call->post->tls && c->conf.tls == NULL) {
        *ret_detail = "no TLS settings";
        return RBK_E_TLS;
    }
    int r = place(call);
    if (r < 0)
        *ret_detail = r == RBK_E_NOMEM ? "out of memory" : "no address";
    return r;
}

void rbk_http_post_send(rbk_http_client *c, rbk_http_post *post)
{
    const char *detail = "";
    rbk_http_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        post->priv = c->starved;
        c->starved = post;
        rbk_http_client_arm(c, 0);
        return;
    }
    rbk_link_init(&call->link);
    call->c = c;
    call->post = post;
    call->deadline = rbk_loop_now(c->loop) + post->total_ms;
    post->priv = call;
    int r = start(call, &detail);
    if (r < 0)
        fail_soon(call, r, detail);
}

static bool remove_starved(rbk_http_client *c, rbk_http_post *post)
{
    rbk_http_post *at = c->starved, *before = NULL;
    for (; at && at != post; at = at->priv)
        before = at;
    if (at == NULL)
        return false;
    if (before)
        before->priv = post->priv;
    else
        c->starved = post->priv;
    return true;
}

static void fail_starved(rbk_http_post *post, int err, const char *detail)
{
    rbk_http_result result = {.err = err, .detail = detail};
    post->priv = NULL;
    post->done(post, &result);
}

void rbk_http_post_cancel(rbk_http_client *c, rbk_http_post *post)
{
    if (remove_starved(c, post)) {
        fail_starved(post, RBK_E_CANCELLED, "cancelled");
        return;
    }
    rbk_http_call *call = post->priv;
    if (call == NULL)
        return;
    rbk_http_conn_abandon(call);
    rbk_http_call_fail(call, RBK_E_CANCELLED, "cancelled");
}

/* --- deadlines --- */

/* End what could not end within rbk_http_post_send(). A `done` may send again and so
 * put more on the list: that waits for the next turn. */
static void end_soon(rbk_http_client *c)
{
    rbk_link now;
    size_t n_starved = 0;
    rbk_link_init(&now);
    for (const rbk_http_post *at = c->starved; at; at = at->priv)
        n_starved++;
    while (!rbk_link_empty(&c->soon))
        rbk_link_append(&now, c->soon.next);
    while (!rbk_link_empty(&now)) {
        rbk_http_call *call = RBK_OF_LINK(now.next, rbk_http_call, link);
        rbk_http_call_fail(call, call->err, call->detail);
    }
    while (n_starved-- > 0 && c->starved) {
        rbk_http_post *post = c->starved;
        c->starved = post->priv;
        fail_starved(post, RBK_E_NOMEM, "out of memory");
    }
}

/* What is due is moved to a list of its own first, because an expiry may change any list. */
static rbk_mono_ms expire_active(rbk_http_client *c, rbk_mono_ms now)
{
    rbk_mono_ms next = INT64_MAX;
    for (rbk_link *l = c->active.next, *after; l != &c->active; l = after) {
        rbk_http_conn *conn = RBK_OF_LINK(l, rbk_http_conn, link);
        after = l->next;
        if (conn->deadline <= now)
            rbk_link_append(&c->due, l);
        else if (conn->deadline < next)
            next = conn->deadline;
    }
    while (!rbk_link_empty(&c->due)) {
        rbk_http_conn *conn = RBK_OF_LINK(c->due.next, rbk_http_conn, link);
        rbk_link_append(&c->active, &conn->link);
        rbk_http_conn_expire(conn);
    }
    return next;
}

static rbk_mono_ms expire_idle(rbk_http_client *c, rbk_mono_ms now)
{
    while (!rbk_link_empty(&c->idle)) {
        rbk_http_conn *conn = RBK_OF_LINK(c->idle.next, rbk_http_conn, link);
        if (conn->deadline > now)
            return conn->deadline;
        rbk_http_conn_close(conn, false);
    }
    return INT64_MAX;
}

static void on_timer(uv_timer_t *timer)
{
    rbk_http_client *c = timer->data;
    rbk_mono_ms now = rbk_loop_now(c->loop);
    c->armed = INT64_MAX;
    end_soon(c);
    rbk_http_client_report(c);
    if (c->freed)
        return;
    rbk_mono_ms next = expire_active(c, now);
    rbk_mono_ms idle = expire_idle(c, now);
    if (idle < next)
        next = idle;
    if (next != INT64_MAX)
        rbk_http_client_arm(c, next > now + TICK_MS ? next : now + TICK_MS);
}

/* --- life of the client --- */

int rbk_http_client_new(rbk_loop *l, const rbk_http_client_conf *conf, rbk_http_client **ret,
                        rbk_error *err)
{
    rbk_http_client *c = calloc(1, sizeof *c);
    if (c == NULL || (c->receivers = rbk_map_new()) == NULL) {
        free(c);
        return rbk_fail(err, RBK_E_NOMEM, "http client");
    }
    c->loop = l;
    c->conf = *conf;
    if (c->conf.idle_per_receiver == 0)
        c->conf.idle_per_receiver = DEFAULT_IDLE_PER_RECEIVER;
    if (c->conf.idle_max == 0)
        c->conf.idle_max = DEFAULT_IDLE;
    if (c->conf.idle_ms <= 0)
        c->conf.idle_ms = DEFAULT_IDLE_MS;
    rbk_link_init(&c->active);
    rbk_link_init(&c->due);
    rbk_link_init(&c->idle);
    rbk_link_init(&c->closing);
    rbk_link_init(&c->soon);
    rbk_link_init(&c->ready);
    rbk_link_init(&c->known);
    c->out = RBK_BUF(RBK_HTTP_OUT_MAX);
    c->armed = INT64_MAX;
    uv_timer_init(rbk_loop_uv(l), &c->timer);
    c->timer.data = c;
    *ret = c;
    return 0;
}

void rbk_http_client_reap(rbk_http_client *c)
{
    if (!c->freed || !c->timer_closed || c->n_conns > 0)
        return;
    while (!rbk_link_empty(&c->known)) {
        rbk_http_receiver *rc = RBK_OF_LINK(c->known.next, rbk_http_receiver, known);
        rbk_link_remove(&rc->known);
        free(rc);
    }
    rbk_map_free(c->receivers);
    rbk_buf_free(&c->out);
    free(c);
}

static void on_timer_closed(uv_handle_t *handle)
{
    rbk_http_client *c = handle->data;
    end_soon(c); /* what a `done` sent during rbk_http_client_free() */
    c->timer_closed = true;
    rbk_http_client_reap(c);
}

static void close_all(rbk_link *ring)
{
    while (!rbk_link_empty(ring)) {
        rbk_http_conn *conn = RBK_OF_LINK(ring->next, rbk_http_conn, link);
        rbk_http_call *call = conn->call;
        bool idle = conn->state == RBK_CONN_IDLE;
        rbk_http2_evict(conn, RBK_E_CLOSED, "the client is closed");
        if (call)
            rbk_http_conn_abandon(call);
        else
            rbk_http_conn_close(conn, !idle);
        if (call)
            rbk_http_call_fail(call, RBK_E_CLOSED, "the client is closed");
    }
}

void rbk_http_client_free(rbk_http_client *c)
{
    if (c == NULL || c->freed)
        return;
    c->freed = true;
    close_all(&c->active);
    close_all(&c->due);
    close_all(&c->idle);
    rbk_http_client_report(c);
    end_soon(c);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}
