/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_server_conn.c - a connection of the HTTP server.
 *
 * Bytes go through consume() into the request being read; a complete request joins
 * the line of those that wait for their answers, and the handler gets it. Whatever
 * happens ends in rbk_http_conn_settle(), the one place that decides what comes next:
 * go on reading, wait, linger, close; and that sets the timer.
 *
 * Deadlines are absolute. Reading stops while max_pipeline requests (one, if answers
 * are large) or OUT_HIGH bytes of answers wait. A refusal ends the reading of requests.
 * An orderly close of the stream reads on for a bounded time, so that the peer gets the
 * answer in place of a reset. Loop thread. */
#include "net/http_server_impl.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum {
    OUT_HIGH = 256 << 10,
    REST_MAX = 4 << 20,    /* more than a stream ever gives at once */
    DISCARD_MAX = 1 << 20, /* of what comes behind the last request */
    BODY_BASE_MS = 10000,  /* and the time for its bytes at 1 KiB/s */
    PACE = 1,              /* bytes a ms that a peer must take */
    PACE_LARGE = 16        /* when more than RBK_HTTP_FREE wait for it */
};

/* --- requests ---------------------------------------------------------------- */

void rbk_http_rq_free(rbk_http_rq *r)
{
    if (r == NULL)
        return;
    rbk_http_head_free(&r->head);
    rbk_buf_free(&r->body);
    rbk_buf_free(&r->out);
    free(r);
}

static rbk_http_rq *take_rq(rbk_http_conn *c)
{
    rbk_http_rq *r = c->spare;
    c->spare = NULL;
    if (r == NULL) {
        r = calloc(1, sizeof *r);
        if (r == NULL)
            return NULL;
        r->conn = c;
        strncpy(r->peer, rbk_stream_peer(c->st), sizeof r->peer - 1);
    }
    rbk_http_head_reset(&r->head, &c->s->conf);
    r->body.max = c->s->conf.max_body;
    rbk_buf_clear(&r->body);
    r->pub = (rbk_http_request){.peer = r->peer, .from = &c->peer};
    r->next = NULL;
    r->handed = r->answered = false;
    return r;
}

/* The request being read takes its place in the line. */
static rbk_http_rq *enqueue(rbk_http_conn *c)
{
    rbk_http_rq *r = c->cur;
    c->cur = NULL;
    c->read_by = 0;
    c->wants_continue = false;
    rbk_http_charge_body(c, 0);
    if (c->last)
        c->last->next = r;
    else
        c->first = r;
    c->last = r;
    c->n_open++;
    return r;
}

static void refuse(rbk_http_conn *c, int status, const char *why)
{
    rbk_http_rq *r = enqueue(c);
    rbk_buf_free(&r->body); /* it may wait in line */
    c->stage = RBK_HTTP_DISCARD;
    rbk_http_refuse(r, status, why);
}

static void complete(rbk_http_conn *c)
{
    rbk_http_rq *r = enqueue(c);
    bool more = r->head.keep_alive && !c->s->draining;
    c->stage = more ? RBK_HTTP_HEAD : RBK_HTTP_DISCARD;
    r->handed = true;
    c->s->handler.on_request(&r->pub, c->s->handler.user);
    /* Answered at once, it is gone; else its body was for that call alone. */
    if (c->last == r && r->handed && r->body.cap > RBK_HTTP_KEEP)
        rbk_buf_free(&r->body);
}

/* --- reading ----------------------------------------------------------------- */

static void try_continue(rbk_http_conn *c)
{
    if (!c->wants_continue || c->first)
        return; /* it would stand before the answers of earlier requests */
    c->wants_continue = false;
    rbk_http_conn_write(c, RBK_STR("HTTP/1.1 100 Continue\r\n\r\n"));
}

static void expect_body(rbk_http_conn *c, bool body_is_here)
{
    const rbk_http_conf *conf = &c->s->conf;
    rbk_http_head *h = &c->cur->head;
    uint64_t size = h->chunked ? conf->max_body : h->length;
    int64_t ms = size < INT32_MAX ? BODY_BASE_MS + (int64_t)size * 1000 / 1024 : conf->body_ms;
    c->read_by = rbk_loop_now(c->s->loop) + (ms < conf->body_ms ? ms : conf->body_ms);
    c->stage = h->chunked ? RBK_HTTP_CHUNKS : RBK_HTTP_BODY;
    if (h->chunked)
        rbk_http_chunks_begin(&c->chunks, h);
    c->wants_continue = h->expect == RBK_HTTP_EXPECT_100 && !body_is_here;
    try_continue(c);
}

static void head_done(rbk_http_conn *c, bool body_is_here)
{
    rbk_http_rq *r = c->cur;
    rbk_http_head *h = &r->head;
    r->pub.method = h->method;
    r->pub.path = h->path;
    r->pub.query = h->query;
    r->pub.headers = h->fields;
    r->pub.n_headers = h->n_fields;
    int status = c->s->handler.on_head ? c->s->handler.on_head(&r->pub, c->s->handler.user) : 0;
    if (c->stage == RBK_HTTP_CLOSING)
        return;
    if (status)
        refuse(c, status, NULL);
    else if (h->expect == RBK_HTTP_EXPECT_OTHER)
        refuse(c, 417, "only 100-continue can be expected");
    else if (h->encoded)
        refuse(c, 415, "Content-Encoding is not supported");
    else if (h->length > c->s->conf.max_body)
        refuse(c, 413, "body too large");
    else if (h->chunked || h->length)
        expect_body(c, body_is_here);
    else
        complete(c);
}

static size_t read_head(rbk_http_conn *c, rbk_str in)
{
    size_t used;
    if (c->cur == NULL) {
        c->cur = take_rq(c);
        if (c->cur == NULL) {
            rbk_http_conn_abort(c);
            return in.n;
        }
        c->read_by = rbk_loop_now(c->s->loop) + c->s->conf.head_ms;
    }
    int r = rbk_http_head_feed(&c->cur->head, &c->s->conf, in, &used);
    if (r == RBK_HTTP_DONE)
        head_done(c, used < in.n);
    else if (r != RBK_HTTP_MORE)
        refuse(c, r, c->cur->head.why);
    return used;
}

/* A body that is not complete yet grew. */
static void check_budget(rbk_http_conn *c)
{
    if (!rbk_http_charge_body(c, c->cur->body.n))
        refuse(c, 503, "too many large requests at once");
}

/* A body that came in one piece is not copied. */
static size_t read_body(rbk_http_conn *c, rbk_str in)
{
    rbk_http_rq *r = c->cur;
    size_t need = (size_t)r->head.length - r->body.n;
    size_t used = in.n < need ? in.n : need;
    c->wants_continue = false;
    if (r->body.n == 0 && used == need) {
        r->pub.body = (rbk_str){in.p, used};
        complete(c);
        return used;
    }
    rbk_buf_add(&r->body, in.p, used);
    r->pub.body = rbk_buf_view(&r->body);
    if (rbk_buf_err(&r->body))
        refuse(c, 503, "out of memory");
    else if (used == need)
        complete(c);
    else
        check_budget(c);
    return used;
}

static size_t read_chunks(rbk_http_conn *c, rbk_str in)
{
    size_t used;
    rbk_http_rq *r = c->cur;
    c->wants_continue = false;
    int st = rbk_http_chunks_feed(&c->chunks, &c->s->conf, &r->body, in, &used);
    r->pub.body = rbk_buf_view(&r->body);
    if (st == RBK_HTTP_DONE)
        complete(c);
    else if (st != RBK_HTTP_MORE)
        refuse(c, st, c->chunks.why);
    else
        check_budget(c);
    return used;
}

bool rbk_http_conn_is_full(const rbk_http_conn *c)
{
    if (c->stage == RBK_HTTP_TUNNEL)
        return c->tunnel_held || rbk_stream_unsent(c->st) > OUT_HIGH;
    return c->stage == RBK_HTTP_HEAD && c->cur == NULL &&
           (c->n_open >= (c->large ? 1 : c->s->conf.max_pipeline) ||
            c->waiting + rbk_stream_unsent(c->st) > OUT_HIGH);
}

static void discard(rbk_http_conn *c, size_t n)
{
    c->discarded += n;
    if (c->discarded > DISCARD_MAX)
        rbk_stream_pause(c->st);
}

/* How much of `in` was used; less than all when requests have to wait. */
static size_t consume(rbk_http_conn *c, rbk_str in)
{
    size_t used = 0;
    c->busy++;
    while (used < in.n && !rbk_http_conn_is_full(c)) {
        rbk_str left = {in.p + used, in.n - used};
        if (c->stage == RBK_HTTP_HEAD) {
            used += read_head(c, left);
        } else if (c->stage == RBK_HTTP_BODY) {
            used += read_body(c, left);
        } else if (c->stage == RBK_HTTP_CHUNKS) {
            used += read_chunks(c, left);
        } else if (c->stage == RBK_HTTP_TUNNEL) {
            used += rbk_http_tunnel_feed(c, left);
        } else {
            discard(c, left.n);
            used = in.n;
        }
    }
    c->busy--;
    return used;
}

/* --- what comes next ---------------------------------------------------------- */

static void on_timer(uv_timer_t *t);

static void arm(rbk_http_conn *c)
{
    rbk_mono_ms due = c->read_by;
    if (c->write_by && (due == 0 || c->write_by < due))
        due = c->write_by;
    if (due == 0 || (c->timer_due && c->timer_due <= due))
        return;
    rbk_mono_ms now = rbk_loop_now(c->s->loop);
    if (uv_timer_start(&c->timer, on_timer, due > now ? (uint64_t)(due - now) : 0, 0) == 0)
        c->timer_due = due;
}

void rbk_http_conn_end(rbk_http_conn *c)
{
    c->stage = RBK_HTTP_CLOSING;
    c->read_by = 0;
    if (c->st)
        rbk_stream_close(c->st, false);
}

void rbk_http_conn_abort(rbk_http_conn *c)
{
    c->stage = RBK_HTTP_CLOSING;
    c->read_by = c->write_by = 0;
    if (c->st)
        rbk_stream_close(c->st, true);
}

static void read_rest(rbk_http_conn *c)
{
    while (c->rest_at < c->rest.n && !rbk_http_conn_is_full(c))
        c->rest_at += consume(c, (rbk_str){c->rest.p + c->rest_at, c->rest.n - c->rest_at});
    if (c->rest.n == 0 || c->rest_at < c->rest.n)
        return;
    rbk_buf_free(&c->rest);
    c->rest_at = 0;
    if (c->stage != RBK_HTTP_CLOSING)
        rbk_stream_resume(c->st);
}

bool rbk_http_conn_is_idle(const rbk_http_conn *c)
{
    return c->stage == RBK_HTTP_HEAD && c->cur == NULL && c->first == NULL;
}

void rbk_http_conn_settle(rbk_http_conn *c)
{
    if (c->busy)
        return; /* whoever is below us does it */
    read_rest(c);
    if (!rbk_http_charge_answers(c))
        rbk_http_conn_abort(c);
    try_continue(c);
    if (c->stage == RBK_HTTP_DISCARD && c->first == NULL) {
        if (c->write_by == 0) /* all has gone */
            rbk_http_conn_end(c);
    } else if (rbk_http_conn_is_idle(c)) {
        if (c->s->draining)
            rbk_http_conn_end(c);
        else if (c->read_by == 0 && c->write_by == 0) /* idle from now on */
            c->read_by = rbk_loop_now(c->s->loop) + c->s->conf.idle_ms;
    }
    arm(c);
}

int64_t rbk_http_in_kernel(const rbk_http_conn *c)
{
    int n = 0;
    return ioctl(rbk_stream_fd(c->st), TIOCOUTQ, &n) == 0 && n > 0 ? n : 0;
}

/* What waits for the peer is thrown away, in the kernel too. */
static void cut_off(rbk_http_conn *c)
{
    struct linger none = {.l_onoff = 1};
    setsockopt(rbk_stream_fd(c->st), SOL_SOCKET, SO_LINGER, &none, sizeof none);
    rbk_http_conn_abort(c);
}

/* Every write_ms so many bytes must reach the peer, or all leave us. */
static void check_write(rbk_http_conn *c, rbk_mono_ms now)
{
    size_t unsent = rbk_stream_unsent(c->st);
    int64_t taken = c->written - (int64_t)unsent - rbk_http_in_kernel(c);
    int64_t pace = unsent > RBK_HTTP_FREE ? PACE_LARGE : PACE;
    if (unsent == 0) {
        c->write_by = 0;
    } else if (taken - c->taken_mark < pace * c->s->conf.write_ms) {
        cut_off(c);
    } else {
        c->taken_mark = taken;
        c->write_by = now + c->s->conf.write_ms;
    }
}

static void tell_unopened(const rbk_http_conn *c, const char *detail)
{
    const rbk_http_handler *h = &c->s->handler;
    if (c->stage == RBK_HTTP_OPENING && c->s->conf.tls && h->on_unopened)
        h->on_unopened(rbk_stream_peer(c->st), detail, h->user);
}

static void on_timer(uv_timer_t *t)
{
    rbk_http_conn *c = t->data;
    rbk_mono_ms now = rbk_loop_now(c->s->loop);
    c->timer_due = 0;
    if (c->write_by && now >= c->write_by)
        check_write(c, now);
    if (c->read_by && now >= c->read_by) {
        if (c->stage == RBK_HTTP_OPENING) {
            tell_unopened(c, "the TLS handshake came too slowly");
            rbk_http_conn_abort(c);
        } else if (c->cur) {
            refuse(c, 408, "the request came too slowly");
        } else {
            rbk_http_conn_end(c); /* idle */
        }
    }
    if (c->stage == RBK_HTTP_CLOSING)
        arm(c);
    else
        rbk_http_conn_settle(c);
}

/* --- the stream --------------------------------------------------------------- */

static void on_opened(rbk_stream *st, void *user)
{
    (void)st;
    rbk_http_conn *c = user;
    if (c->stage != RBK_HTTP_OPENING)
        return;
    c->stage = RBK_HTTP_HEAD;
    c->read_by = 0;
    if (c->shed) {
        rbk_http_write_busy(c);
        c->stage = RBK_HTTP_DISCARD;
    }
    rbk_http_conn_settle(c);
}

static void on_data(rbk_stream *st, const char *p, size_t n, void *user)
{
    rbk_http_conn *c = user;
    rbk_count(&c->s->conf.numbers->bytes_in, n);
    size_t used = c->rest.n ? 0 : consume(c, (rbk_str){p, n});
    if (used < n) {
        rbk_stream_pause(st);
        rbk_buf_add(&c->rest, p + used, n - used);
        if (rbk_buf_err(&c->rest))
            rbk_http_conn_abort(c);
    }
    rbk_http_conn_settle(c);
}

/* The peer sends no more. Who closes before the answer has gone. */
static void on_ended(rbk_stream *st, void *user)
{
    (void)st;
    rbk_http_conn *c = user;
    if (c->stage == RBK_HTTP_CLOSING)
        return;
    if (c->first) {
        rbk_http_conn_orphan(c);
        rbk_http_conn_end(c);
    } else if (c->cur) {
        refuse(c, 400, "the request is not complete");
        rbk_http_conn_settle(c);
    } else {
        rbk_http_conn_end(c);
    }
}

static void on_drained(rbk_stream *st, void *user)
{
    (void)st;
    rbk_http_conn *c = user;
    c->write_by = 0;
    rbk_http_watches_drained(c);
    if (c->stage != RBK_HTTP_CLOSING)
        rbk_http_conn_settle(c);
}

void rbk_http_conn_orphan(rbk_http_conn *c)
{
    const rbk_http_handler *h = &c->s->handler;
    rbk_http_rq *r = c->first;
    c->first = c->last = NULL;
    c->n_open = 0;
    c->waiting = 0;
    while (r) {
        rbk_http_rq *next = r->next;
        r->conn = NULL;
        rbk_http_watch_tell(&r->watch, false);
        if (!r->handed)
            rbk_http_rq_free(r);
        else if (h->on_gone)
            h->on_gone(&r->pub, h->user);
        r = next;
    }
}

static void on_timer_closed(uv_handle_t *t)
{
    rbk_http_conn *c = t->data;
    rbk_http_rq_free(c->cur);
    rbk_http_rq_free(c->spare);
    rbk_buf_free(&c->rest);
    rbk_http_server_forget(c);
    free(c);
}

static void on_closed(rbk_stream *st, int err, const char *detail, void *user)
{
    (void)st;
    rbk_http_conn *c = user;
    if (err == RBK_E_TLS)
        tell_unopened(c, detail);
    c->st = NULL;
    c->stage = RBK_HTTP_CLOSING;
    rbk_http_uncharge(c);
    rbk_http_watches_closed(c);
    rbk_http_conn_orphan(c);
    rbk_http_tunnel_end(c);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

static const rbk_stream_cb stream_cb = {
    .opened = on_opened,
    .data = on_data,
    .ended = on_ended,
    .drained = on_drained,
    .closed = on_closed,
};

int rbk_http_conn_accept(rbk_http_server *s, rbk_http_conn **ret)
{
    rbk_http_conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return RBK_E_NOMEM;
    *c = (rbk_http_conn){.s = s, .stage = RBK_HTTP_OPENING, .rest = RBK_BUF(REST_MAX)};
    int r =
        rbk_stream_accept(s->loop, &s->listener.stream, s->conf.tls, &stream_cb, c, &c->st);
    if (r < 0) {
        free(c);
        return r;
    }
    uv_timer_init(rbk_loop_uv(s->loop), &c->timer);
    c->timer.data = c;
    c->read_by = rbk_loop_now(s->loop) + s->conf.head_ms;
    arm(c);
    *ret = c;
    return 0;
}

void rbk_http_conn_drain(rbk_http_conn *c)
{
    if (c->stage == RBK_HTTP_TUNNEL) {
        rbk_http_tunnel_drain(c);
    } else if (c->stage == RBK_HTTP_OPENING || rbk_http_conn_is_idle(c)) {
        rbk_http_conn_end(c);
    } else if (c->stage == RBK_HTTP_HEAD && c->cur == NULL) {
        c->stage = RBK_HTTP_DISCARD;
        rbk_http_conn_settle(c);
    }
}
