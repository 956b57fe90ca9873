/* SPDX-License-Identifier: Apache-2.0 */
/* net/http2_client.c - a connection of the client that many calls share: HTTP/2.
 *
 * Opened as any other (http_client_conn.c); what speaks h2 comes to rbk_http2_start(). Then
 * SHARED <-> IDLE -> CLOSING. The call that it was opened for goes out at once, those that wait
 * for it once the peer's settings say how many it takes; who finds no room opens another.
 *
 * The session (http2_session.h) is fed and pulled; what it answers is `ready`, and reported when
 * the connection is in order. It is pulled at the end of a turn, so that the requests of one turn
 * leave together, and only when the kernel has all that was pulled before: so no more than
 * RBK_HTTP2_BATCH is held here, and a stream knows whether its request has gone.
 *
 * A stream that times out is reset, and the others go on. If nothing was heard meanwhile the
 * connection may lead nowhere: it gets a PING, and no new stream before something comes. If nothing
 * could be sent meanwhile, it is closed. */
#include "net/http_client_impl.h"
#include "net/loop_impl.h"

#include "base/error.h"

#include <stdlib.h>

enum { TRIES_MAX = 3 };

struct rbk_http2_conn {
    rbk_turn turn;
    rbk_http_conn *conn;
    rbk_http2_session *session;
    rbk_link calls;      /* that are streams */
    uint64_t heard;      /* bytes of the peer's */
    uint64_t woke;       /* `heard` when it was idle last; UINT64_MAX: never */
    bool doubted;        /* nothing came for an attempt's time; so it is while `heard` is */
    uint64_t doubted_at; /* this */
    rbk_mono_ms rest_at; /* when rests of answers are looked at; INT64_MAX: there are none */
};

/* --- calls --- */

bool rbk_http2_suits(const rbk_http_call *call)
{
    const rbk_http_post *post = call->post;
    return call->c->conf.http2 && post->tls && post->want_body == NULL && !post->once &&
           post->path == NULL;
}

/* With 0 it begins anew, and `detail` is why that may be in vain. */
static void make_ready(rbk_http_call *call, int err, const char *detail)
{
    call->conn = NULL;
    call->stream = NULL;
    call->redo = err == 0;
    rbk_http_call_ready(call, err ? err : RBK_E_CONNECT, err ? detail : "no connection");
}

/* The session's word. A peer that has not looked at it may have it again, or another one. */
static void on_answered(void *owner, const rbk_http2_answer *a)
{
    rbk_http_call *call = owner;
    if (a->http1)
        call->conn->receiver->only_http1 = true;
    call->any_sent = call->any_sent || a->any_sent;
    call->status = a->status;
    call->complete = a->complete;
    call->retry_after_n = a->retry_after.n;
    if (a->retry_after.n > 0)
        memcpy(call->retry_after, a->retry_after.p, a->retry_after.n);
    call->conn = NULL;
    call->stream = NULL;
    call->redo = a->unseen && call->tries++ < TRIES_MAX;
    rbk_http_call_ready(call, a->err, a->detail);
}

static rbk_mono_ms first_deadline(const rbk_link *ring)
{
    rbk_mono_ms first = INT64_MAX;
    for (rbk_link *l = ring->next; l != ring; l = l->next) {
        const rbk_http_call *call = RBK_OF_LINK(l, rbk_http_call, link);
        if (call->deadline < first)
            first = call->deadline;
    }
    return first;
}

static void deadline_at_most(rbk_http_conn *conn, rbk_mono_ms deadline)
{
    if (deadline < conn->deadline)
        rbk_http_conn_set_deadline(conn, deadline);
}

/* --- waiting --- */

bool rbk_http2_wait(rbk_http_call *call)
{
    rbk_http_client *c = call->c;
    if (!rbk_http2_suits(call))
        return false;
    rbk_http_receiver *rc = rbk_map_get(c->receivers, rbk_str_z(call->post->receiver));
    if (rc == NULL || rc->telling == NULL || rc->speaks == RBK_HTTP_ONE || rc->only_http1)
        return false;
    rbk_http_conn *conn = rc->telling;
    if (conn->n_waiting + 1 >= (rc->most ? rc->most : RBK_HTTP2_STREAMS_MAX))
        return false;
    conn->n_waiting++;
    call->conn = conn;
    rbk_link_append(&conn->waiting, &call->link);
    deadline_at_most(conn, call->deadline);
    return true;
}

static rbk_http_call *take_waiting(rbk_http_conn *conn, rbk_link *l)
{
    rbk_link_remove(l);
    conn->n_waiting--;
    return RBK_OF_LINK(l, rbk_http_call, link);
}

void rbk_http2_scatter(rbk_http_conn *conn, int err, const char *detail)
{
    while (!rbk_link_empty(&conn->waiting))
        make_ready(take_waiting(conn, conn->waiting.next), err, detail);
}

rbk_mono_ms rbk_http2_expire_waiting(rbk_http_conn *conn, rbk_mono_ms now)
{
    for (rbk_link *l = conn->waiting.next, *after; l != &conn->waiting; l = after) {
        after = l->next;
        if (RBK_OF_LINK(l, rbk_http_call, link)->deadline <= now)
            make_ready(take_waiting(conn, l), RBK_E_TIMEOUT, "no connection in time");
    }
    return first_deadline(&conn->waiting);
}

/* A stream leaves its connection. */
static void take_stream(rbk_http_call *call)
{
    call->any_sent = call->any_sent || rbk_http2_begun(call->stream);
    rbk_http2_abandon(call->stream);
    rbk_link_remove(&call->link);
}

void rbk_http2_evict(rbk_http_conn *conn, int err, const char *detail)
{
    rbk_http2_scatter(conn, err, detail);
    while (conn->h2 && !rbk_link_empty(&conn->h2->calls)) {
        rbk_http_call *call = RBK_OF_LINK(conn->h2->calls.next, rbk_http_call, link);
        take_stream(call);
        make_ready(call, err, detail);
    }
}

/* --- its state --- */

static void flush_soon(rbk_http_conn *conn)
{
    rbk_loop_at_turn_end(conn->c->loop, &conn->h2->turn);
}

/* It has come to be settled, or has room again. */
static void seat_waiting(rbk_http_conn *conn)
{
    rbk_http_receiver *rc = conn->receiver;
    if (rc->telling == conn) {
        rc->telling = NULL;
        rc->most = rbk_http2_streams(conn->h2->session) + rbk_http2_room(conn->h2->session);
    }
    while (!rbk_link_empty(&conn->waiting)) {
        rbk_http_call *call = take_waiting(conn, conn->waiting.next);
        call->conn = NULL;
        bool fits = rbk_http_conn_fits(conn, call) && rbk_http_conn_allowed(conn, call->post);
        if (!fits || !rbk_http2_take(conn, call))
            make_ready(call, 0, "");
    }
}

static bool is_doubtful(const rbk_http2_conn *h2)
{
    return h2->doubted && h2->doubted_at == h2->heard;
}

/* No stream is left: kept, or closed. What may lead nowhere has not long to show the contrary. */
static void rest(rbk_http_conn *conn)
{
    const rbk_http2_session *session = conn->h2->session;
    int64_t ms = conn->c->conf.idle_ms;
    if (is_doubtful(conn->h2) && ms > RBK_HTTP_REST_MS)
        ms = RBK_HTTP_REST_MS;
    if (rbk_http2_room(session) == 0 || conn->receiver->only_http1 || conn->c->freed)
        rbk_http_conn_close(conn, false);
    else
        rbk_http_conn_keep(conn, ms);
}

/* Something has come or gone. */
static void settle(rbk_http_conn *conn)
{
    rbk_http2_conn *h2 = conn->h2;
    bool settled = rbk_http2_settled(h2->session);
    if (settled && (conn->n_waiting > 0 || conn->receiver->telling == conn))
        seat_waiting(conn);
    if (rbk_http2_rests(h2->session) == 0) {
        h2->rest_at = INT64_MAX;
    } else if (h2->rest_at == INT64_MAX) {
        h2->rest_at = rbk_loop_now(conn->c->loop) + RBK_HTTP_REST_MS;
        deadline_at_most(conn, h2->rest_at);
    }
    if (conn->state == RBK_CONN_SHARED && rbk_http2_streams(h2->session) == 0 &&
        (settled || conn->n_waiting == 0))
        rest(conn);
    else if (conn->state == RBK_CONN_IDLE && rbk_http2_room(h2->session) == 0)
        rbk_http_conn_close(conn, false);
}

/* A stream of a connection that was lost. What cannot have been seen begins anew; so does once,
 * on a new connection, what met a kept one that the peer had just closed. */
static void lose_stream(rbk_http_call *call, bool kept, int err, const char *detail)
{
    bool unseen = !rbk_http2_begun(call->stream) && call->tries++ < TRIES_MAX;
    bool again = kept && !call->fresh;
    take_stream(call);
    make_ready(call, err, detail);
    call->redo = unseen || again;
    call->fresh = call->fresh || again;
}

/* The connection is of no use any more. */
static void lose(rbk_http_conn *conn, int err, const char *detail)
{
    const rbk_http2_conn *h2 = conn->h2;
    const char *fault = rbk_http2_fault(h2->session);
    bool kept = (err == 0 || err == RBK_E_CLOSED) && h2->heard == h2->woke && !*fault;
    if (err == 0)
        err = RBK_E_CLOSED;
    if (*fault) {
        err = err == RBK_E_CLOSED ? RBK_E_CONNECT : err;
        detail = fault;
    }
    rbk_http2_scatter(conn, err, detail);
    while (!rbk_link_empty(&h2->calls))
        lose_stream(RBK_OF_LINK(h2->calls.next, rbk_http_call, link), kept, err, detail);
}

static void die(rbk_http_conn *conn, int err)
{
    lose(conn, err, "out of memory");
    rbk_http_conn_close(conn, true); /* an orderly end would read on */
}

/* --- in and out --- */

/* What there is to be said, behind what was written in this turn. */
static int pull(rbk_http_conn *conn)
{
    rbk_buf *out = &conn->c->out;
    rbk_buf_clear(out);
    int r = rbk_http2_pull(conn->h2->session, out);
    if (out->n > 0 && rbk_stream_write(conn->s, out->p, out->n) < 0)
        r = r < 0 ? r : RBK_E_CLOSED;
    return r;
}

static void flush(rbk_http_conn *conn)
{
    if (conn->state == RBK_CONN_CLOSING || rbk_stream_unsent(conn->s) > 0)
        return;
    rbk_http2_flushed(conn->h2->session);
    int r = pull(conn);
    if (r == RBK_E_CLOSED)
        return; /* what is to be read is read; then the stream says why */
    if (r < 0)
        die(conn, r);
    else
        settle(conn);
}

static void on_turn(rbk_turn *turn)
{
    rbk_http_conn *conn = RBK_OF_LINK(turn, rbk_http2_conn, turn)->conn;
    rbk_http_client *c = conn->c;
    flush(conn);
    rbk_http_client_report(c);
}

static void on_drained(rbk_stream *s, void *user)
{
    rbk_http_conn *conn = user;
    rbk_http_client *c = conn->c;
    (void)s;
    flush(conn);
    rbk_http_client_report(c);
}

static void on_data(rbk_stream *s, const char *p, size_t n, void *user)
{
    rbk_http_conn *conn = user;
    rbk_http_client *c = conn->c;
    if (conn->state == RBK_CONN_CLOSING)
        return;
    conn->h2->heard += n;
    if (rbk_stream_unsent(s) == 0)
        rbk_http2_flushed(conn->h2->session);
    int r = rbk_http2_feed(conn->h2->session, p, n);
    if (r < 0) {
        die(conn, r);
    } else {
        flush_soon(conn);
        settle(conn);
    }
    rbk_http_client_report(c);
}

static void on_ended(rbk_stream *s, void *user)
{
    rbk_http_conn *conn = user;
    rbk_http_client *c = conn->c;
    bool idle = conn->state == RBK_CONN_IDLE;
    (void)s;
    lose(conn, 0, "closed by the receiver");
    rbk_http_conn_close(conn, !idle);
    rbk_http_client_report(c);
}

static void on_closed(rbk_stream *s, int err, const char *detail, void *user)
{
    rbk_http_conn *conn = user;
    rbk_http_client *c = conn->c;
    (void)s;
    if (conn->h2) /* there was memory for it */
        lose(conn, err, detail && *detail ? detail : "closed by the receiver");
    rbk_http_conn_drop(conn);
    rbk_http_client_report(c);
    rbk_http_client_reap(c);
}

/* --- joining and leaving --- */

bool rbk_http2_take(rbk_http_conn *conn, rbk_http_call *call)
{
    rbk_http2_conn *h2 = conn->h2;
    const rbk_http_post *post = call->post;
    const rbk_http2_request req = {
        .authority = post->authority,
        .target = post->target,
        .head = post->head,
        .body = post->body,
    };
    bool opener = conn->call == call;
    if ((!opener && rbk_http2_room(h2->session) == 0) || is_doubtful(h2) ||
        rbk_http2_submit(h2->session, &req, call, &call->stream) < 0)
        return false;
    if (opener)
        rbk_http_conn_detach(conn);
    call->conn = conn;
    call->heard_at = h2->heard;
    call->sent_at = rbk_stream_sent(conn->s);
    rbk_link_append(&h2->calls, &call->link);
    if (conn->state == RBK_CONN_IDLE) {
        h2->woke = h2->heard;
        rbk_http_conn_set_state(conn, RBK_CONN_SHARED);
        rbk_http_conn_set_deadline(conn, call->deadline);
    } else {
        deadline_at_most(conn, call->deadline);
    }
    flush_soon(conn);
    return true;
}

bool rbk_http2_join(rbk_http_call *call, rbk_http_receiver *rc)
{
    if (rc->only_http1 || !rbk_http2_suits(call))
        return false;
    for (rbk_link *l = rc->shared.next; l != &rc->shared; l = l->next) {
        rbk_http_conn *conn = RBK_OF_LINK(l, rbk_http_conn, kept);
        if (rbk_http2_room(conn->h2->session) > 0 && !is_doubtful(conn->h2) && rbk_http_conn_fits(conn, call) &&
            rbk_http_conn_allowed(conn, call->post) && rbk_http2_take(conn, call))
            return true;
    }
    return false;
}

void rbk_http2_leave(rbk_http_call *call)
{
    rbk_http_conn *conn = call->conn;
    call->conn = NULL;
    if (call->stream == NULL) {
        take_waiting(conn, &call->link);
        return;
    }
    take_stream(call);
    call->stream = NULL;
    flush_soon(conn);
    settle(conn);
}

void rbk_http2_start(rbk_http_conn *conn)
{
    static const rbk_stream_cb cb = {
        .data = on_data, .ended = on_ended, .drained = on_drained, .closed = on_closed};
    rbk_http2_conn *h2 = calloc(1, sizeof *h2);
    rbk_stream_take(conn->s, &cb, conn);
    if (h2 == NULL || rbk_http2_session_new(on_answered, &h2->session) < 0) {
        free(h2);
        rbk_http_conn_give_up(conn, RBK_E_NOMEM, "out of memory");
        return;
    }
    h2->conn = conn;
    h2->turn.fn = on_turn;
    h2->woke = UINT64_MAX;
    h2->rest_at = INT64_MAX;
    rbk_link_init(&h2->turn.link);
    rbk_link_init(&h2->calls);
    conn->h2 = h2;
    conn->receiver->speaks = RBK_HTTP_TWO;
    rbk_http_conn_set_state(conn, RBK_CONN_SHARED);
    if (!rbk_http2_take(conn, conn->call))
        rbk_http_conn_give_up(conn, RBK_E_NOMEM, "out of memory");
}

/* --- time and end --- */

static void doubt(rbk_http2_conn *h2)
{
    if (!is_doubtful(h2))
        rbk_http2_ping(h2->session);
    h2->doubted = true;
    h2->doubted_at = h2->heard;
}

/* False: in all that time not a byte could be sent. */
static bool expire_streams(rbk_http_conn *conn, rbk_mono_ms now)
{
    rbk_http2_conn *h2 = conn->h2;
    bool sends = true, full = rbk_stream_unsent(conn->s) > 0;
    for (rbk_link *l = h2->calls.next, *after; l != &h2->calls; l = after) {
        rbk_http_call *call = RBK_OF_LINK(l, rbk_http_call, link);
        after = l->next;
        if (call->deadline > now)
            continue;
        if (call->heard_at == h2->heard)
            doubt(h2);
        sends = sends && !(full && call->sent_at == rbk_stream_sent(conn->s));
        take_stream(call);
        make_ready(call, RBK_E_TIMEOUT, "no answer in time");
    }
    return sends;
}

/* What is left of answers may wait no longer. False: it cannot be said either. */
static bool age_rests(rbk_http_conn *conn, rbk_mono_ms now)
{
    rbk_http2_conn *h2 = conn->h2;
    if (h2->rest_at > now)
        return true;
    h2->rest_at = INT64_MAX;
    if (rbk_http2_age(h2->session))
        h2->rest_at = now + RBK_HTTP_REST_MS;
    return rbk_stream_unsent(conn->s) == 0 || !rbk_link_empty(&h2->calls);
}

static rbk_mono_ms next_deadline(const rbk_http_conn *conn)
{
    const rbk_http2_conn *h2 = conn->h2;
    rbk_mono_ms next = first_deadline(&h2->calls), waiting = first_deadline(&conn->waiting);
    next = waiting < next ? waiting : next;
    next = h2->rest_at < next ? h2->rest_at : next;
    if (!rbk_http2_settled(h2->session) && conn->connect_by < next)
        next = conn->connect_by;
    return next;
}

void rbk_http2_expire(rbk_http_conn *conn)
{
    rbk_http_client *c = conn->c;
    rbk_http2_conn *h2 = conn->h2;
    rbk_mono_ms now = rbk_loop_now(c->loop);
    bool greets = rbk_http2_settled(h2->session) || conn->connect_by > now;
    rbk_http2_expire_waiting(conn, now);
    if (!greets || !expire_streams(conn, now) || !age_rests(conn, now)) {
        lose(conn, RBK_E_TIMEOUT, greets ? "the receiver does not read" : "no HTTP/2 settings in time");
        rbk_http_conn_close(conn, true);
    } else {
        rbk_http_conn_set_deadline(conn, next_deadline(conn));
        flush_soon(conn);
        settle(conn);
    }
    rbk_http_client_report(c);
}

void rbk_http2_say_end(rbk_http_conn *conn)
{
    rbk_http2_say_goodbye(conn->h2->session);
    if (rbk_stream_unsent(conn->s) == 0)
        pull(conn);
}

void rbk_http2_free(rbk_http_conn *conn)
{
    if (conn->h2 == NULL)
        return;
    rbk_link_remove(&conn->h2->turn.link);
    rbk_http2_session_free(conn->h2->session);
    free(conn->h2);
    conn->h2 = NULL;
}
