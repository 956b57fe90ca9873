/* SPDX-License-Identifier: Apache-2.0 */
/* net/websocket_client.c - see websocket_client.h.
 *
 *   CONNECTING -> ASKING (the handshake was sent) -> SAYING (the message was) -> OVER
 *
 * Most websocket libraries echo a close at once, whatever their program thinks of the message.
 * So SAYING leaves the first word to the peer: our own close goes out only when the message has
 * been with the kernel for RBK_WS_PATIENCE_MS and the peer has not closed.
 *
 * OVER is reached once, in finish(), which tells the owner; the call itself lives until its
 * stream and its timer are closed. Loop thread. */
#include "net/websocket_client.h"

#include "base/error.h"
#include "base/ring.h"
#include "net/connect.h"
#include "net/http_response.h"
#include "net/stream.h"
#include "net/websocket.h"

#include <stdlib.h>

enum { HEAD_MAX = 128 * 1024, IN_MAX = 64 * 1024, ENDING_MAX = 256 };

typedef enum stage { CONNECTING, ASKING, SAYING, OVER } stage;

typedef struct call {
    rbk_link link; /* in the client's list, while not OVER */
    rbk_ws_client *c;
    rbk_http_post *post; /* NULL once OVER */
    stage stage;
    rbk_dial *dial;   /* while CONNECTING */
    rbk_stream *s;    /* then; NULL: closed */
    uv_timer_t timer; /* of the next deadline */
    bool timer_closed;
    rbk_mono_ms deadline;
    bool closing; /* our close was sent */
    bool any_sent;
    bool ending; /* its stream ends in order */
    int err;   /* what it ends with in the next turn, 0: nothing */
    const char *detail;
    rbk_response rsp;
    rbk_response_upgrade up;
    char key[RBK_WS_KEY_MAX];
    rbk_ws *ws; /* SAYING */
} call;

struct rbk_ws_client {
    rbk_loop *loop;
    rbk_ws_client_conf conf;
    rbk_link calls;
    size_t n_calls; /* those that are OVER included */
    size_t n_ending;
    bool freed;
};

/* --- the end --- */

static void reap_client(rbk_ws_client *c)
{
    if (c->freed && c->n_calls == 0)
        free(c);
}

static void reap(call *k)
{
    rbk_ws_client *c = k->c;
    if (k->stage != OVER || k->s || !k->timer_closed)
        return;
    rbk_ws_free(k->ws);
    free(k);
    c->n_calls--;
    reap_client(c);
}

static void on_timer_closed(uv_handle_t *h)
{
    call *k = h->data;
    k->timer_closed = true;
    reap(k);
}

/* The last word to the owner, which may free the client: nothing may follow it. */
static void finish(call *k, const rbk_http_result *result)
{
    rbk_http_post *post = k->post;
    k->stage = OVER;
    k->post = NULL;
    rbk_link_remove(&k->link);
    uv_close((uv_handle_t *)&k->timer, on_timer_closed);
    post->priv = NULL;
    post->done(post, result);
}

/* `now`: without the orderly end, which takes the peer's time: only so many do. */
static void drop_stream(call *k, bool now)
{
    rbk_dial_cancel(k->dial);
    k->dial = NULL;
    if (k->s == NULL)
        return;
    if (!now && !k->ending && k->c->n_ending < k->c->conf.ending_max) {
        k->ending = true;
        k->c->n_ending++;
    }
    rbk_stream_close(k->s, now || !k->ending);
}

static void fail(call *k, int err, const char *detail)
{
    drop_stream(k, true);
    finish(k, &(rbk_http_result){.err = err, .any_sent = k->any_sent, .detail = detail});
}

/* --- deadlines --- */

static void on_timer(uv_timer_t *t);

static void set_deadline(call *k, rbk_mono_ms by)
{
    int64_t in = by - rbk_loop_now(k->c->loop);
    uv_timer_start(&k->timer, on_timer, in > 0 ? (uint64_t)in : 0, 0);
}

static void fail_soon(call *k, int err, const char *detail)
{
    k->err = err;
    k->detail = detail;
    set_deadline(k, 0);
}

/* Until our own close; short of the deadline, so that there is time for the echo. */
static void set_patience(call *k)
{
    rbk_mono_ms now = rbk_loop_now(k->c->loop), left = k->deadline - now;
    set_deadline(k, now + (left / 2 < RBK_WS_PATIENCE_MS ? left / 2 : RBK_WS_PATIENCE_MS));
}

static int write_out(call *k);

/* The peer had its time to speak first. */
static void close_first(call *k)
{
    if (rbk_stream_unsent(k->s) > 0) { /* it has not got the message yet */
        set_patience(k);
        return;
    }
    int r = rbk_ws_send_close(k->ws, RBK_WS_NORMAL);
    k->closing = true;
    set_deadline(k, k->deadline);
    if (r == RBK_E_NOMEM || write_out(k) == RBK_E_NOMEM)
        fail(k, RBK_E_NOMEM, "out of memory"); /* of another error the stream's end tells */
}

static void on_timer(uv_timer_t *t)
{
    call *k = t->data;
    const char *detail = "no answer in time";
    int err = RBK_E_TIMEOUT;
    if (k->stage == SAYING && !k->closing && k->err == 0 &&
        rbk_loop_now(k->c->loop) < k->deadline) {
        close_first(k);
        return;
    }
    if (k->stage == CONNECTING)
        err = rbk_dial_late(k->dial, &detail);
    if (k->err)
        fail(k, k->err, k->detail);
    else
        fail(k, err, detail);
}

/* --- the message --- */

static int write_out(call *k)
{
    rbk_buf *out = rbk_ws_out(k->ws);
    int r = out->n ? rbk_stream_write(k->s, out->p, out->n) : 0;
    rbk_buf_free(out);
    return r;
}

/* The peer's close has come: it is the answer. */
static void answered(call *k, bool complete)
{
    int code = rbk_ws_closed_by(k->ws);
    const char *detail = complete ? "" : "closed before it had the message";
    drop_stream(k, !complete);
    finish(k, &(rbk_http_result){
                  .status = code, .complete = complete, .any_sent = true, .detail = detail});
}

static void hear(call *k, rbk_str bytes)
{
    bool complete = rbk_stream_unsent(k->s) == 0;
    int r = rbk_ws_feed(k->ws, bytes);
    if (write_out(k) < 0 && r == 0 && rbk_ws_closed_by(k->ws) == 0)
        return; /* the stream's end says why */
    if (r < 0)
        drop_stream(k, r != RBK_E_PROTOCOL); /* else the close that says what is wrong goes out */
    if (r < 0)
        finish(k, &(rbk_http_result){
                      .err = r, .any_sent = true, .detail = rbk_ws_fault(k->ws)});
    else if (rbk_ws_closed_by(k->ws))
        answered(k, complete);
}

static void say(call *k)
{
    rbk_ws_conf conf = {.max_in = IN_MAX};
    int r = rbk_ws_new(&conf, &k->ws);
    if (r == 0)
        r = rbk_ws_send_text(k->ws, k->post->body);
    if (r == 0)
        r = write_out(k);
    k->stage = SAYING;
    if (r < 0) {
        fail(k, r, "the message could not be written");
        return;
    }
    set_patience(k);
    if (k->up.rest.n)
        hear(k, k->up.rest);
}

/* --- the handshake --- */

static bool is_value(unsigned n_times, const char *p, size_t n, const char *want)
{
    return n_times == 1 && n <= RBK_RESPONSE_FIELD_MAX &&
           rbk_str_ieqz(rbk_str_trim((rbk_str){p, n}), want);
}

/* "Upgrade", alone or in a list. */
static bool has_upgrade(const rbk_response_upgrade *u)
{
    rbk_str rest = {u->connection, u->connection_n};
    if (u->n_connection != 1 || u->connection_n > RBK_RESPONSE_FIELD_MAX)
        return false;
    while (rest.n) {
        const char *comma = memchr(rest.p, ',', rest.n);
        size_t n = comma ? (size_t)(comma - rest.p) : rest.n;
        if (rbk_str_ieqz(rbk_str_trim((rbk_str){rest.p, n}), "upgrade"))
            return true;
        n += comma ? 1 : 0;
        rest = (rbk_str){rest.p + n, rest.n - n};
    }
    return false;
}

/* What is wrong with a 101, or NULL. */
static const char *judge_switch(const call *k)
{
    const rbk_response_upgrade *u = &k->up;
    char want[RBK_WS_ACCEPT_MAX];
    rbk_ws_accept(rbk_str_z(k->key), want);
    rbk_str got = rbk_str_trim(
        (rbk_str){u->accept, u->accept_n <= RBK_RESPONSE_FIELD_MAX ? u->accept_n : 0});
    if (!is_value(u->n_upgrade, u->upgrade, u->upgrade_n, "websocket"))
        return "101 without Upgrade: websocket";
    if (!has_upgrade(u))
        return "101 without Connection: Upgrade";
    if (u->n_accept != 1 || !rbk_str_eqz(got, want))
        return "101 with a wrong Sec-WebSocket-Accept";
    if (u->n_unasked)
        return "101 with an extension or subprotocol that was not asked for";
    return NULL;
}

/* The server did not switch. Whatever it says, it has no message. */
static void refused(call *k)
{
    rbk_http_result result = {.status = k->rsp.status,
                              .any_sent = true,
                              .retry_after = rbk_response_retry_after(&k->rsp),
                              .detail = "the receiver did not switch to websocket"};
    drop_stream(k, true);
    finish(k, &result);
}

static void hear_head(call *k, const char *p, size_t n)
{
    rbk_response *rsp = &k->rsp;
    const char *fault;
    rsp->request_open = rbk_stream_unsent(k->s) > 0;
    int r = rbk_response_feed(rsp, p, n);
    if (!rsp->head_done) {
        if (r < 0)
            fail(k, RBK_E_PROTOCOL, rsp->fault);
    } else if (rsp->status != 101) {
        refused(k);
    } else if (rsp->early) {
        fail(k, RBK_E_PROTOCOL, "101 before the request");
    } else if ((fault = judge_switch(k)) != NULL) {
        fail(k, RBK_E_PROTOCOL, fault);
    } else {
        say(k);
    }
}

static int write_request(call *k)
{
    const rbk_http_post *post = k->post;
    rbk_buf b = RBK_BUF(HEAD_MAX);
    rbk_ws_key(k->key);
    rbk_buf_reserve(&b, 256 + post->target.n + post->head.n);
    rbk_buf_lit(&b, "GET ");
    rbk_buf_str(&b, post->target);
    rbk_buf_lit(&b, " HTTP/1.1\r\nHost: ");
    rbk_buf_str(&b, post->authority);
    rbk_buf_lit(&b, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
    rbk_buf_z(&b, k->key);
    rbk_buf_lit(&b, "\r\n");
    rbk_buf_str(&b, post->head);
    rbk_buf_lit(&b, "\r\n");
    int r = rbk_buf_err(&b);
    if (r == 0)
        r = rbk_stream_write(k->s, b.p, b.n);
    rbk_buf_free(&b);
    return r;
}

/* --- the stream --- */

static void on_data(rbk_stream *s, const char *p, size_t n, void *user)
{
    call *k = user;
    (void)s;
    if (k->stage == ASKING && n > 0)
        hear_head(k, p, n);
    else if (k->stage == SAYING)
        hear(k, (rbk_str){p, n});
}

static void on_ended(rbk_stream *s, void *user)
{
    call *k = user;
    (void)s;
    if (k->stage == OVER)
        drop_stream(k, false);
    else
        fail(k, RBK_E_CLOSED, "closed by the receiver");
}

static void on_closed(rbk_stream *s, int err, const char *detail, void *user)
{
    call *k = user;
    (void)s;
    k->s = NULL;
    if (k->ending)
        k->c->n_ending--;
    k->ending = false;
    if (k->stage == OVER)
        reap(k);
    else
        fail(k, err ? err : RBK_E_CLOSED, detail ? detail : "");
}

/* The race for a connection has ended. */
static void on_dialled(void *user, const rbk_dialled *r)
{
    static const rbk_stream_cb cb = {.data = on_data, .ended = on_ended, .closed = on_closed};
    call *k = user;
    k->dial = NULL;
    if (r->err < 0) {
        fail(k, r->err, r->detail);
        return;
    }
    k->s = r->s;
    rbk_stream_take(k->s, &cb, k);
    k->stage = ASKING;
    k->any_sent = true;
    set_deadline(k, k->deadline);
    rbk_response_init(&k->rsp);
    k->rsp.upgrade = &k->up;
    int e = write_request(k);
    if (e < 0)
        fail(k, e, "the request could not be written");
}

/* 0, or RBK_E_NOMEM. */
static int dial(call *k)
{
    const rbk_http_post *post = k->post;
    rbk_dial_conf how = {
        .addrs = post->addrs,
        .n_addrs = post->n_addrs < RBK_ADDRS_MAX ? post->n_addrs : RBK_ADDRS_MAX,
        .sockets = k->c->conf.dial_sockets,
        .port = post->port,
        .tls = k->c->conf.tls,
        .name = post->name,
        .proxy = k->c->conf.proxy.ss_family != AF_UNSPEC ? &k->c->conf.proxy : NULL,
        .allow = post->allow,
        .allow_user = post->allow_user,
        .done = on_dialled,
        .user = k,
    };
    rbk_mono_ms by = rbk_loop_now(k->c->loop) + post->connect_ms;
    int r = rbk_dial_start(k->c->loop, &how, &k->dial);
    if (r < 0)
        k->dial = NULL; /* it may have been there for a moment */
    else
        set_deadline(k, by < k->deadline ? by : k->deadline);
    return r;
}

/* --- orders --- */

int rbk_ws_client_send(rbk_ws_client *c, rbk_http_post *post)
{
    call *k = calloc(1, sizeof *k);
    if (k == NULL)
        return RBK_E_NOMEM;
    rbk_link_init(&k->link);
    rbk_link_append(&c->calls, &k->link);
    c->n_calls++;
    k->c = c;
    k->post = post;
    k->deadline = rbk_loop_now(c->loop) + post->total_ms;
    uv_timer_init(rbk_loop_uv(c->loop), &k->timer);
    k->timer.data = k;
    post->priv = k;
    if (c->freed) {
        fail_soon(k, RBK_E_CLOSED, "the client is closed");
        return 0;
    }
    if (c->conf.tls == NULL)
        fail_soon(k, RBK_E_TLS, "no TLS settings");
    else if (dial(k) < 0)
        fail_soon(k, RBK_E_NOMEM, "out of memory");
    return 0;
}

int rbk_ws_client_new(rbk_loop *l, const rbk_ws_client_conf *conf, rbk_ws_client **ret,
                      rbk_error *err)
{
    rbk_ws_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "websocket client");
    c->loop = l;
    c->conf = *conf;
    if (c->conf.ending_max == 0 || c->conf.ending_max > ENDING_MAX)
        c->conf.ending_max = ENDING_MAX;
    rbk_link_init(&c->calls);
    *ret = c;
    return 0;
}

void rbk_ws_client_free(rbk_ws_client *c)
{
    if (c == NULL || c->freed)
        return;
    rbk_link now;
    rbk_link_init(&now);
    c->n_calls++; /* nobody reaps it meanwhile */
    c->freed = true;
    while (!rbk_link_empty(&c->calls)) /* what a `done` sends from now on ends in a later turn */
        rbk_link_append(&now, c->calls.next);
    while (!rbk_link_empty(&now))
        fail(RBK_OF_LINK(now.next, call, link), RBK_E_CLOSED, "the client is closed");
    c->n_calls--;
    reap_client(c);
}
