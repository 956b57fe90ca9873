/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_client_conn.c - one connection of the client: open, ask, read, keep, close. What one
 * of HTTP/2 does between opening and closing is in http2_client.c.
 *
 * OPENING -> WAITING -> (READING ->) IDLE -> WAITING …, and from each of them CLOSING.
 * A call is answered at the end of the final head: what the body does later changes
 * nothing, so the rest is read without it, bounded in bytes, time and number, only to
 * learn whether the connection may serve again. (One that wants the body is answered at
 * the body's end.)
 *
 * Every report to a call may end in the user's `done`, which may send, cancel or free
 * the client. So a report is the last thing that a function here does. */
#include "net/http_client_impl.h"

#include <stdlib.h>

/* A peer that says for how long it keeps a connection counts from its own point of view. */
enum { KEEP_ALIVE_MARGIN_MS = 1000 };

/* --- lists and counters --- */

static rbk_http_receiver *get_receiver(rbk_http_client *c, rbk_str name)
{
    rbk_http_receiver *rc = rbk_map_get(c->receivers, name);
    if (rc && !rbk_link_empty(&rc->known)) {
        rbk_link_remove(&rc->known);
        c->n_known--;
    }
    if (rc)
        return rc;
    rc = calloc(1, sizeof *rc);
    if (rc == NULL || rbk_map_put(c->receivers, name, rc, &rc->name) < 0) {
        free(rc);
        return NULL;
    }
    rbk_link_init(&rc->idle);
    rbk_link_init(&rc->shared);
    rbk_link_init(&rc->known);
    return rc;
}

static void forget_receiver(rbk_http_client *c, rbk_http_receiver *rc)
{
    rbk_link_remove(&rc->known);
    rbk_map_remove(c->receivers, rc->name);
    free(rc);
}

/* What it speaks is worth remembering: it decides how many connections are opened next time. */
static void put_receiver(rbk_http_client *c, rbk_http_receiver *rc)
{
    if (rc->n_conns > 0)
        return;
    if (!c->conf.http2 || c->freed || rc->speaks == RBK_HTTP_UNKNOWN) {
        forget_receiver(c, rc);
        return;
    }
    rbk_link_append(&c->known, &rc->known);
    if (++c->n_known > RBK_HTTP_KNOWN_MAX) {
        c->n_known--;
        forget_receiver(c, RBK_OF_LINK(c->known.next, rbk_http_receiver, known));
    }
}

void rbk_http_conn_set_state(rbk_http_conn *conn, rbk_conn_state state)
{
    rbk_http_client *c = conn->c;
    rbk_http_receiver *rc = conn->receiver;
    if (conn->state == RBK_CONN_IDLE) {
        rbk_link_remove(&conn->kept);
        c->n_idle--;
        rc->n_idle--;
    } else if (conn->state == RBK_CONN_READING) {
        c->n_reading--;
        rc->n_reading--;
    } else if (conn->state == RBK_CONN_SHARED) {
        rbk_link_remove(&conn->kept);
    } else if (conn->state == RBK_CONN_CLOSING) {
        rc->n_closing--;
    }
    conn->state = state;
    if (state == RBK_CONN_IDLE) {
        rbk_link_append(&c->idle, &conn->link);
        rbk_link_append(&rc->idle, &conn->kept);
        c->n_idle++;
        rc->n_idle++;
    } else {
        rbk_link_append(state == RBK_CONN_CLOSING ? &c->closing : &c->active, &conn->link);
    }
    if (state == RBK_CONN_READING) {
        c->n_reading++;
        rc->n_reading++;
    } else if (state == RBK_CONN_SHARED) {
        rbk_link_append(&rc->shared, &conn->kept);
    } else if (state == RBK_CONN_CLOSING) {
        rc->n_closing++;
    }
}

void rbk_http_conn_set_deadline(rbk_http_conn *conn, rbk_mono_ms deadline)
{
    conn->deadline = deadline;
    rbk_http_client_arm(conn->c, deadline);
}

static void attach(rbk_http_conn *conn, rbk_http_call *call)
{
    conn->call = call;
    call->conn = conn;
}

/* Nothing was sent only while the kernel has taken no byte since. */
rbk_http_call *rbk_http_conn_detach(rbk_http_conn *conn)
{
    rbk_http_call *call = conn->call;
    if (call == NULL)
        return NULL;
    if (conn->asked && rbk_stream_sent(conn->s) != conn->before)
        call->any_sent = true;
    conn->call = NULL;
    call->conn = NULL;
    return call;
}

/* Nobody waits for what it tells, from here on. */
static void stop_telling(rbk_http_conn *conn)
{
    if (conn->receiver->telling == conn)
        conn->receiver->telling = NULL;
}

void rbk_http_conn_drop(rbk_http_conn *conn)
{
    rbk_http_client *c = conn->c;
    stop_telling(conn);
    rbk_http2_free(conn);
    rbk_http_conn_set_state(conn, RBK_CONN_CLOSING);
    rbk_link_remove(&conn->link);
    conn->receiver->n_closing--;
    conn->receiver->n_conns--;
    put_receiver(c, conn->receiver);
    free(conn->extra);
    free(conn);
    c->n_conns--;
}

void rbk_http_conn_close(rbk_http_conn *conn, bool now)
{
    if (conn->state == RBK_CONN_CLOSING)
        return;
    if (conn->s == NULL) { /* not open yet: there is nothing to wait for */
        rbk_dial_cancel(conn->dial);
        rbk_http_conn_drop(conn);
        return;
    }
    if (conn->receiver->n_closing >= conn->c->conf.idle_per_receiver)
        now = true; /* an orderly end takes the peer's time, which is not trusted */
    stop_telling(conn);
    if (conn->h2 && !now)
        rbk_http2_say_end(conn);
    rbk_http_conn_set_state(conn, RBK_CONN_CLOSING);
    conn->cut = now;
    rbk_stream_close(conn->s, now);
}

/* One that is being closed waits for nothing but its peer. It goes to the end of its list: what
 * was cut off stays there until the loop says that it is closed. */
static bool cut_closing(rbk_http_client *c)
{
    if (rbk_link_empty(&c->closing))
        return false;
    rbk_http_conn *conn = RBK_OF_LINK(c->closing.next, rbk_http_conn, link);
    if (conn->cut)
        return false;
    conn->cut = true;
    rbk_link_append(&c->closing, &conn->link);
    rbk_stream_close(conn->s, true);
    return true;
}

void rbk_http_conn_make_room(rbk_http_client *c)
{
    rbk_http_conn *pick = NULL;
    if (cut_closing(c))
        return;
    if (!rbk_link_empty(&c->idle))
        pick = RBK_OF_LINK(c->idle.next, rbk_http_conn, link);
    for (rbk_link *l = c->active.next; pick == NULL && l != &c->active; l = l->next)
        if (RBK_OF_LINK(l, rbk_http_conn, link)->state == RBK_CONN_READING)
            pick = RBK_OF_LINK(l, rbk_http_conn, link);
    if (pick)
        rbk_http_conn_close(pick, true);
}

void rbk_http_conn_abandon(rbk_http_call *call)
{
    rbk_http_conn *conn = call->conn;
    if (conn == NULL)
        return;
    if (conn->call != call) {
        rbk_http2_leave(call);
        return;
    }
    rbk_http_conn_detach(conn);
    rbk_http2_scatter(conn, 0, "");
    rbk_http_conn_close(conn, true);
}

static rbk_mono_ms earlier(rbk_mono_ms a, rbk_mono_ms b)
{
    return a < b ? a : b;
}

/* --- asking --- */

static int write_request(rbk_http_conn *conn)
{
    const rbk_http_post *post = conn->call->post;
    rbk_buf *b = &conn->c->out;
    bool one = post->body.n <= RBK_HTTP_ONE_WRITE;
    rbk_buf_clear(b);
    rbk_buf_lit(b, "POST ");
    rbk_buf_str(b, post->target);
    rbk_buf_lit(b, " HTTP/1.1\r\nHost: ");
    rbk_buf_str(b, post->authority);
    rbk_buf_lit(b, "\r\n");
    rbk_buf_str(b, post->head);
    rbk_buf_lit(b, "Content-Length: ");
    rbk_buf_add_u64(b, post->body.n);
    rbk_buf_lit(b, "\r\n\r\n");
    if (one)
        rbk_buf_str(b, post->body);
    int r = rbk_buf_err(b);
    conn->before = rbk_stream_sent(conn->s);
    if (r == 0)
        r = rbk_stream_write(conn->s, b->p, b->n);
    conn->asked = r == 0;
    if (r == 0 && !one)
        r = rbk_stream_write(conn->s, post->body.p, post->body.n);
    return r;
}

/* The answer goes where the post wants it. */
static int want(rbk_http_conn *conn, rbk_buf *body)
{
    if (body == NULL)
        return 0;
    if (conn->extra == NULL && (conn->extra = calloc(1, sizeof *conn->extra)) == NULL)
        return RBK_E_NOMEM;
    rbk_buf_clear(body);
    conn->rsp.body = body;
    conn->rsp.extra = conn->extra;
    return 0;
}

static int ask(rbk_http_conn *conn)
{
    rbk_http_conn_set_state(conn, RBK_CONN_WAITING);
    rbk_http_conn_set_deadline(conn, conn->call->deadline);
    rbk_response_init(&conn->rsp);
    int r = want(conn, conn->call->post->want_body);
    return r < 0 ? r : write_request(conn);
}

static bool same_addr(const rbk_addr *a, const rbk_addr *b)
{
    return a->v6 == b->v6 && memcmp(a->ip, b->ip, a->v6 ? 16 : 4) == 0;
}

bool rbk_http_conn_fits(const rbk_http_conn *conn, const rbk_http_call *call)
{
    const rbk_http_post *post = call->post;
    if (conn->tls != (post->tls ? call->c->conf.tls : NULL) || conn->local != (post->path != NULL))
        return false;
    if (conn->h2 && !rbk_http2_suits(call))
        return false;
    if (conn->local) /* the receiver's name has the path */
        return true;
    for (size_t i = 0; i < post->n_addrs && i < RBK_ADDRS_MAX; i++)
        if (same_addr(&conn->addr, &post->addrs[i]))
            return true;
    return false;
}

bool rbk_http_conn_allowed(const rbk_http_conn *conn, const rbk_http_post *post)
{
    return post->allow == NULL || post->allow((const struct sockaddr *)&conn->sa, post->allow_user);
}

bool rbk_http_conn_reuse(rbk_http_call *call)
{
    rbk_http_client *c = call->c;
    rbk_http_receiver *rc = rbk_map_get(c->receivers, rbk_str_z(call->post->receiver));
    if (rc == NULL)
        return false;
    if (!rbk_link_empty(&rc->shared) && rbk_http2_join(call, rc))
        return true;
    for (rbk_link *l = rc->idle.prev, *before; l != &rc->idle; l = before) {
        rbk_http_conn *conn = RBK_OF_LINK(l, rbk_http_conn, kept);
        before = l->prev;
        if (!rbk_http_conn_fits(conn, call))
            continue;
        bool stale = call->post->once && !rbk_stream_is_quiet(conn->s);
        if (stale || !rbk_http_conn_allowed(conn, call->post)) {
            rbk_http_conn_close(conn, false);
            continue;
        }
        if (conn->h2) {
            if (rbk_http2_take(conn, call))
                return true;
            continue;
        }
        attach(conn, call);
        conn->reused = true;
        if (ask(conn) == 0)
            return true;
        rbk_http_conn_abandon(call);
    }
    return false;
}

/* --- what the stream says --- */

/* The connection of `call` has gone, or is of no use any more. */
static void report_lost(rbk_http_call *call, rbk_conn_state state, bool again, int err,
                        const char *detail)
{
    if (state == RBK_CONN_OPENING)
        rbk_http_call_fail(call, err, detail);
    else if (again && (err == 0 || err == RBK_E_CLOSED))
        rbk_http_call_again(call, RBK_E_CLOSED, detail);
    else
        rbk_http_call_fail(call, err ? err : RBK_E_CLOSED, detail);
}

/* `call`: the connection's, taken from it. */
static bool may_repeat(const rbk_http_conn *conn, const rbk_http_call *call)
{
    return conn->reused && !rbk_response_begun(&conn->rsp) && call &&
           !(call->post->once && call->any_sent);
}

/* The call's own matter, and not that of others who wait for the connection. */
static bool is_private(const rbk_http_conn *conn, const rbk_http_call *call, int err)
{
    return err == RBK_E_ADDRESS || err == RBK_E_NOMEM ||
           (err == RBK_E_TIMEOUT && call && call->deadline < conn->connect_by);
}

void rbk_http_conn_give_up(rbk_http_conn *conn, int err, const char *detail)
{
    rbk_conn_state state = conn->state;
    rbk_http_call *call = rbk_http_conn_detach(conn);
    bool again = err == 0 && may_repeat(conn, call);
    rbk_http2_scatter(conn, is_private(conn, call, err) ? 0 : err, detail);
    rbk_http_conn_close(conn, true);
    if (call)
        report_lost(call, state, again, err, detail);
}

void rbk_http_conn_keep(rbk_http_conn *conn, int64_t ms)
{
    rbk_http_client *c = conn->c;
    rbk_http_receiver *rc = conn->receiver;
    if (ms <= 0) {
        rbk_http_conn_close(conn, false);
        return;
    }
    rbk_http_conn_set_state(conn, RBK_CONN_IDLE);
    rbk_http_conn_set_deadline(conn, rbk_loop_now(c->loop) + ms);
    if (rc->n_idle > c->conf.idle_per_receiver)
        rbk_http_conn_close(RBK_OF_LINK(rc->idle.next, rbk_http_conn, kept), false);
    else if (c->n_idle > c->conf.idle_max)
        rbk_http_conn_close(RBK_OF_LINK(c->idle.next, rbk_http_conn, link), false);
}

static void keep(rbk_http_conn *conn)
{
    int64_t asked = rbk_response_keep_alive_ms(&conn->rsp), ms = conn->c->conf.idle_ms;
    if (asked >= 0 && asked - KEEP_ALIVE_MARGIN_MS < ms)
        ms = asked - KEEP_ALIVE_MARGIN_MS;
    rbk_http_conn_keep(conn, ms);
}

/* The head of the final answer is there (`r`: what feeding said); the call is gone. */
static void settle(rbk_http_conn *conn, int r, rbk_mono_ms deadline)
{
    rbk_http_client *c = conn->c;
    const rbk_response *rsp = &conn->rsp;
    rbk_mono_ms rest = rbk_loop_now(c->loop) + RBK_HTTP_REST_MS;
    bool unsent = rbk_stream_unsent(conn->s) > 0;
    if (r < 0 || rsp->fault || rsp->early || unsent || c->freed)
        rbk_http_conn_close(conn, true);
    else if (rsp->done && rsp->clean)
        keep(conn);
    else if (rsp->done)
        rbk_http_conn_close(conn, false);
    else if (conn->state == RBK_CONN_READING)
        return;
    else if (conn->receiver->n_reading >= c->conf.idle_per_receiver ||
             c->n_reading >= c->conf.idle_max)
        rbk_http_conn_close(conn, true);
    else {
        rbk_http_conn_set_state(conn, RBK_CONN_READING);
        rbk_http_conn_set_deadline(conn, deadline < rest ? deadline : rest);
    }
}

static void answered(rbk_http_conn *conn, int r)
{
    rbk_response *rsp = &conn->rsp;
    char text[RBK_RESPONSE_FIELD_MAX], text2[sizeof conn->extra->location];
    rbk_str retry_after = rbk_response_retry_after(rsp), location = rbk_response_location(rsp);
    rbk_http_call *call = rbk_http_conn_detach(conn);
    if (retry_after.p) /* the connection may serve the next call before `done` is through */
        retry_after.p = memcpy(text, retry_after.p, retry_after.n);
    if (location.p)
        location.p = memcpy(text2, location.p, location.n);
    rbk_http_result result = {
        .status = rsp->status,
        .complete = !rsp->early,
        .any_sent = true,
        .retry_after = retry_after,
        .location = location,
        .detail = "",
    };
    settle(conn, r, call->deadline);
    rbk_http_call_finish(call, &result);
}

static void on_data(rbk_stream *s, const char *p, size_t n, void *user)
{
    rbk_http_conn *conn = user;
    rbk_response *rsp = &conn->rsp;
    if (conn->state == RBK_CONN_IDLE) /* nobody asked */
        rbk_http_conn_close(conn, true);
    if (n == 0 || (conn->state != RBK_CONN_WAITING && conn->state != RBK_CONN_READING))
        return;
    rsp->request_open = rbk_stream_unsent(s) > 0;
    int r = rbk_response_feed(rsp, p, n);
    if (conn->state == RBK_CONN_READING)
        settle(conn, r, 0);
    else if (rsp->head_done && (rsp->body == NULL || rsp->done))
        answered(conn, r);
    else if (r < 0)
        rbk_http_conn_give_up(conn, RBK_E_PROTOCOL, rsp->fault);
}

static void on_ended(rbk_stream *s, void *user)
{
    rbk_http_conn *conn = user;
    (void)s;
    if (conn->state == RBK_CONN_WAITING && rbk_response_end(&conn->rsp))
        answered(conn, 0);
    else if (conn->call)
        rbk_http_conn_give_up(conn, 0, "closed by the receiver");
    else
        rbk_http_conn_close(conn, conn->state != RBK_CONN_IDLE);
}

static void on_closed(rbk_stream *s, int err, const char *detail, void *user)
{
    rbk_http_conn *conn = user;
    rbk_http_client *c = conn->c;
    rbk_conn_state state = conn->state;
    rbk_http_call *call = rbk_http_conn_detach(conn);
    bool again = may_repeat(conn, call);
    (void)s;
    rbk_http_conn_drop(conn);
    if (call)
        report_lost(call, state, again, err, detail ? detail : "");
    else
        rbk_http_client_reap(c);
}

/* Of those that wait for it too. True: it may go on. */
static bool opens_still(rbk_http_conn *conn)
{
    rbk_mono_ms now = rbk_loop_now(conn->c->loop), next = rbk_http2_expire_waiting(conn, now);
    rbk_mono_ms by = earlier(conn->connect_by, conn->call->deadline);
    if (by <= now)
        return false;
    rbk_http_conn_set_deadline(conn, earlier(by, next));
    return true;
}

void rbk_http_conn_expire(rbk_http_conn *conn)
{
    const char *detail;
    int err = rbk_dial_late(conn->dial, &detail);
    if (conn->h2)
        rbk_http2_expire(conn);
    else if (conn->state == RBK_CONN_OPENING && opens_still(conn))
        rbk_http_client_report(conn->c);
    else if (conn->state == RBK_CONN_OPENING)
        rbk_http_conn_give_up(conn, err, detail);
    else if (conn->call)
        rbk_http_conn_give_up(conn, RBK_E_TIMEOUT, "no answer in time");
    else
        rbk_http_conn_close(conn, true);
}

/* --- opening --- */

/* The race for a connection has ended. */
static void on_dialled(void *user, const rbk_dialled *r)
{
    static const rbk_stream_cb cb = {.data = on_data, .ended = on_ended, .closed = on_closed};
    rbk_http_conn *conn = user;
    conn->dial = NULL;
    if (r->err < 0) {
        rbk_http_conn_give_up(conn, r->err, r->detail);
        return;
    }
    conn->s = r->s;
    conn->addr = r->addr;
    if (conn->local)
        conn->sa.ss_family = AF_UNIX;
    else
        rbk_addr_to_sockaddr(&r->addr, conn->call->post->port, &conn->sa);
    if (rbk_stream_is_http2(r->s)) {
        rbk_http2_start(conn);
        return;
    }
    rbk_stream_take(r->s, &cb, conn);
    stop_telling(conn);
    conn->receiver->speaks = RBK_HTTP_ONE;
    rbk_http2_scatter(conn, 0, "");
    int e = ask(conn);
    if (e < 0)
        rbk_http_conn_give_up(conn, e, "the request could not be written");
    else
        rbk_http_client_report(conn->c);
}

int rbk_http_conn_open(rbk_http_call *call)
{
    rbk_http_client *c = call->c;
    rbk_http_post *post = call->post;
    rbk_http_conn *conn = calloc(1, sizeof *conn);
    rbk_http_receiver *rc = conn ? get_receiver(c, rbk_str_z(post->receiver)) : NULL;
    if (rc == NULL) {
        free(conn);
        return RBK_E_NOMEM;
    }
    rbk_link_init(&conn->link);
    rbk_link_init(&conn->kept);
    rbk_link_init(&conn->waiting);
    conn->c = c;
    conn->receiver = rc;
    conn->tls = post->tls ? c->conf.tls : NULL;
    conn->local = post->path != NULL;
    rbk_dial_conf how = {
        .addrs = post->addrs,
        .n_addrs = post->n_addrs < RBK_ADDRS_MAX ? post->n_addrs : RBK_ADDRS_MAX,
        .sockets = c->conf.dial_sockets,
        .port = post->port,
        .path = post->path,
        .tls = conn->tls,
        .name = post->name,
        .http2 = rbk_http2_suits(call) && !rc->only_http1,
        .proxy = c->conf.proxy.ss_family != AF_UNSPEC ? &c->conf.proxy : NULL,
        .allow = post->allow,
        .allow_user = post->allow_user,
        .done = on_dialled,
        .user = conn,
    };
    int r = rbk_dial_start(c->loop, &how, &conn->dial);
    if (r < 0) {
        put_receiver(c, rc);
        free(conn);
        return r;
    }
    rbk_mono_ms by = rbk_loop_now(c->loop) + post->connect_ms;
    rc->n_conns++;
    c->n_conns++;
    if (how.http2)
        rc->telling = conn;
    conn->connect_by = by;
    attach(conn, call);
    rbk_http_conn_set_state(conn, RBK_CONN_OPENING);
    rbk_http_conn_set_deadline(conn, earlier(by, call->deadline));
    return 0;
}
