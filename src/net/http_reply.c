/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_reply.c - answers of the HTTP server.
 *
 * Answers may be given in any order and leave in the order of the requests. The first
 * in line is written straight from the handler's bytes; any other keeps a copy until
 * its turn. Whether the connection closes is decided when an answer leaves, not when
 * it is given. What the server answers by itself has a JSON-RPC error as its body.
 * Loop thread. */
#include "net/http_server_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

enum { HEAD_MAX = 64 << 10, ANSWER_MAX = 1 << 30 };

const char *rbk_http_server_date(rbk_http_server *s)
{
    rbk_mono_ms now = rbk_loop_now(s->loop);
    if (now >= s->date_until) {
        rbk_wall_ms wall = rbk_wall_now();
        rbk_http_date(wall, s->date);
        s->date_until = now + 1000 - wall % 1000;
    }
    return s->date;
}

/* Whatever a header is made of, it stays one line. */
static void add_clean(rbk_buf *b, rbk_str s)
{
    size_t at = b->n;
    rbk_buf_str(b, s);
    for (; at < b->n; at++)
        if (((unsigned char)b->p[at] < 0x20 && b->p[at] != '\t') || b->p[at] == 0x7f)
            b->p[at] = ' ';
}

static void add_status(rbk_buf *b, int status)
{
    if (status == 200) {
        rbk_buf_lit(b, "HTTP/1.1 200 OK\r\nDate: ");
        return;
    }
    rbk_buf_lit(b, "HTTP/1.1 ");
    rbk_buf_add_u64(b, (uint64_t)status);
    rbk_buf_c(b, ' ');
    rbk_buf_z(b, rbk_http_reason(status));
    rbk_buf_lit(b, "\r\nDate: ");
}

static void add_headers(rbk_buf *b, const rbk_http_header *h, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        rbk_buf_lit(b, "\r\n");
        add_clean(b, h[i].name);
        rbk_buf_lit(b, ": ");
        add_clean(b, h[i].value);
    }
}

/* All head lines but Connection and the empty one. `rq` may be NULL. */
static void add_head(rbk_http_server *s, rbk_buf *b, const rbk_http_request *rq,
                     const rbk_http_reply *rp)
{
    add_status(b, rp->status);
    rbk_buf_add(b, rbk_http_server_date(s), 29);
    if (rp->status != 204 && rp->status != 304) {
        if (rp->content_type == NULL && rp->body.n) {
            rbk_buf_lit(b, "\r\nContent-Type: application/json");
        } else if (rp->content_type) {
            rbk_buf_lit(b, "\r\nContent-Type: ");
            add_clean(b, rbk_str_z(rp->content_type));
        }
        rbk_buf_lit(b, "\r\nContent-Length: ");
        rbk_buf_add_u64(b, rp->body.n);
    }
    add_headers(b, rp->headers, rp->n_headers);
    if (rq)
        add_headers(b, rq->extra, rq->n_extra);
    rbk_buf_lit(b, "\r\n");
}

static bool has_body(const rbk_http_rq *r, int status)
{
    return status != 204 && status != 304 && !rbk_str_eqz(r->head.method, "HEAD");
}

void rbk_http_conn_write(rbk_http_conn *c, rbk_str bytes)
{
    if (bytes.n == 0)
        return;
    if (c->write_by == 0) {
        c->write_by = rbk_loop_now(c->s->loop) + c->s->conf.write_ms;
        c->taken_mark = c->written - (c->large ? rbk_http_in_kernel(c) : 0);
    }
    c->written += (int64_t)bytes.n;
    rbk_count(&c->s->conf.numbers->bytes_out, bytes.n);
    if (rbk_stream_write(c->st, bytes.p, bytes.n) == RBK_E_NOMEM)
        rbk_http_conn_abort(c);
}

/* The head lines, the line that says what becomes of the connection, the body. */
static void write_answer(rbk_http_conn *c, const rbk_http_rq *r, rbk_str head, rbk_str body)
{
    bool close = c->stage >= RBK_HTTP_DISCARD && r->next == NULL;
    rbk_http_conn_write(c, head);
    if (close)
        rbk_http_conn_write(c, RBK_STR("Connection: close\r\n\r\n"));
    else if (r->head.http10)
        rbk_http_conn_write(c, RBK_STR("Connection: keep-alive\r\n\r\n"));
    else
        rbk_http_conn_write(c, RBK_STR("\r\n"));
    rbk_http_conn_write(c, body);
}

/* One request object stays with the connection, without what is large. */
static void recycle(rbk_http_conn *c, rbk_http_rq *r)
{
    if (c->spare) {
        rbk_http_rq_free(r);
        return;
    }
    if (r->body.cap > RBK_HTTP_KEEP)
        rbk_buf_free(&r->body);
    if (r->out.cap > RBK_HTTP_KEEP)
        rbk_buf_free(&r->out);
    c->spare = r;
}

static void pop_first(rbk_http_conn *c)
{
    rbk_http_rq *r = c->first;
    c->waiting -= r->answered ? r->out.n : 0;
    c->first = r->next;
    if (c->first == NULL)
        c->last = NULL;
    c->n_open--;
    recycle(c, r);
}

/* Answers that waited for the one just written. */
static void write_waiting(rbk_http_conn *c)
{
    while (c->first && c->first->answered) {
        rbk_http_rq *r = c->first;
        rbk_str all = rbk_buf_view(&r->out);
        rbk_http_watch w = r->watch;
        r->watch = (rbk_http_watch){0};
        write_answer(c, r, (rbk_str){all.p, r->out_head},
                     (rbk_str){all.p + r->out_head, all.n - r->out_head});
        rbk_http_watch_add(c, w);
        pop_first(c);
    }
}

static void keep_for_later(rbk_http_rq *r, const rbk_http_reply *rp)
{
    rbk_buf_clear(&r->out);
    r->out.max = ANSWER_MAX;
    add_head(r->conn->s, &r->out, &r->pub, rp);
    r->out_head = r->out.n;
    if (has_body(r, rp->status))
        rbk_buf_str(&r->out, rp->body);
    r->answered = true;
    r->watch = (rbk_http_watch){rp->written, rp->user};
    r->conn->waiting += r->out.n;
    if (rbk_buf_err(&r->out))
        rbk_http_conn_abort(r->conn);
}

static void answer(rbk_http_rq *r, const rbk_http_reply *rp)
{
    rbk_http_conn *c = r->conn;
    r->handed = false;
    c->large = c->large || rp->body.n > RBK_HTTP_FREE;
    rbk_count(&c->s->conf.numbers->answers[rbk_http_status_at_of(rp->status)], 1);
    if (c->first != r) {
        keep_for_later(r, rp);
        return;
    }
    rbk_buf *b = &c->s->scratch;
    rbk_buf_clear(b);
    b->max = HEAD_MAX;
    add_head(c->s, b, &r->pub, rp);
    if (rbk_buf_err(b))
        rbk_http_conn_abort(c);
    c->busy++;
    rbk_http_watch w = {rp->written, rp->user};
    write_answer(c, r, rbk_buf_view(b), has_body(r, rp->status) ? rp->body : RBK_STR_NONE);
    rbk_http_watch_add(c, w); /* after it, the body may be gone */
    pop_first(c);
    write_waiting(c);
    c->busy--;
}

void rbk_http_reply_send(rbk_http_request *rq, const rbk_http_reply *reply)
{
    rbk_http_rq *r = (rbk_http_rq *)rq;
    rbk_http_conn *c = r->conn;
    if (c == NULL) {
        rbk_http_rq_free(r);
        if (reply->written)
            reply->written(false, reply->user);
        return;
    }
    answer(r, reply);
    rbk_http_conn_settle(c);
}

rbk_http_status_at rbk_http_status_at_of(int status)
{
    switch (status) {
#define AT(n)                                                                                      \
    case n:                                                                                        \
        return RBK_HTTP_STATUS_##n;
        RBK_HTTP_STATUS_MAP(AT)
#undef AT
    default:
        return RBK_HTTP_STATUS_OTHER;
    }
}

/* --- answers of the server's own ---------------------------------------------- */

static int rpc_error(int status)
{
    switch (status) {
    case 401:
        return RBK_E_UNAUTHORIZED;
    case 413:
        return RBK_E_TOO_LARGE;
    case 429:
    case 503:
        return RBK_E_BUSY;
    default:
        return RBK_E_REQUEST;
    }
}

/* {"id":null,"error":{"code":…,"message":"…","data":"…"}}: `why` is our own text. */
static void add_error_body(rbk_buf *b, int status, const char *why)
{
    int err = rpc_error(status);
    rbk_buf_addf(b, "{\"id\":null,\"error\":{\"code\":%d,\"message\":", rbk_err_rpc_code(err));
    rbk_buf_json_str(b, rbk_str_z(rbk_strerror(err)));
    rbk_buf_lit(b, ",\"data\":");
    rbk_buf_json_str(b, rbk_str_z(why ? why : rbk_http_reason(status)));
    rbk_buf_lit(b, "}}");
}

typedef char seconds[16];

/* The header that belongs to a status; none has no name. `text` is room for its value. */
static rbk_http_header header_of(int status, const rbk_http_request *rq, seconds text)
{
    switch (status) {
    case 401:
        return (rbk_http_header){RBK_STR("WWW-Authenticate"), RBK_STR("Bearer")};
    case 405:
        return (rbk_http_header){RBK_STR("Allow"), rbk_str_z(rq && rq->allow ? rq->allow : "POST")};
    case 429:
    case 503:
        snprintf(text, sizeof(seconds), "%u", rq && rq->retry_after ? rq->retry_after : 1);
        return (rbk_http_header){RBK_STR("Retry-After"), rbk_str_z(text)};
    default:
        return (rbk_http_header){RBK_STR_NONE, RBK_STR_NONE};
    }
}

void rbk_http_refuse(rbk_http_rq *r, int status, const char *why)
{
    if (why == NULL && status == 415)
        why = "the content type must be application/json";
    rbk_buf body = RBK_BUF(1024);
    seconds text;
    rbk_http_header extra = header_of(status, &r->pub, text);
    const rbk_http_handler *h = &r->conn->s->handler;
    if (h->on_refused)
        h->on_refused(&r->pub, status, why, h->user);
    add_error_body(&body, status, why);
    answer(r, &(rbk_http_reply){.status = status,
                                .headers = &extra,
                                .n_headers = extra.name.n ? 1 : 0,
                                .body = rbk_buf_view(&body)});
    rbk_buf_free(&body);
}

void rbk_http_reply_refusal(rbk_http_request *rq, int status)
{
    rbk_http_rq *r = (rbk_http_rq *)rq;
    rbk_http_conn *c = r->conn;
    if (c == NULL) {
        rbk_http_rq_free(r);
        return;
    }
    rbk_http_refuse(r, status, NULL);
    rbk_http_conn_settle(c);
}

void rbk_http_write_busy(rbk_http_conn *c)
{
    rbk_buf body = RBK_BUF(1024), head = RBK_BUF(1024);
    seconds text;
    rbk_http_header extra = header_of(503, NULL, text);
    add_error_body(&body, 503, c->shed == RBK_HTTP_SHED_ADDRESS
                                   ? "too many connections from one address"
                                   : "too many connections");
    add_head(c->s, &head, NULL,
             &(rbk_http_reply){
                 .status = 503, .headers = &extra, .n_headers = 1, .body = rbk_buf_view(&body)});
    rbk_buf_lit(&head, "Connection: close\r\n\r\n");
    rbk_buf_str(&head, rbk_buf_view(&body));
    if (rbk_buf_err(&head) == 0)
        rbk_http_conn_write(c, rbk_buf_view(&head));
    rbk_buf_free(&head);
    rbk_buf_free(&body);
}
