/* SPDX-License-Identifier: Apache-2.0 */
/* net/http2_events.c - what nghttp2 tells about a session: frames that came, frames that went,
 * streams that ended.
 *
 * What nghttp2 leaves open is bounded here: the size of heads, the number of interim ones, the rest
 * of bodies, and the frames that bring nothing. Each frame, and each KiB that comes, is paid from a
 * purse that each request and each KiB of a body that is sent fill up, so that a peer works for what it makes us do.
 *
 * Callbacks of nghttp2 never fail but for want of memory: a fault of a stream resets it, one of
 * the connection asks nghttp2 for GOAWAY, after which it reads nothing more. */
#include "net/http2_session_impl.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

/* --- the end of streams --- */

void rbk_http2_drop_stream(rbk_http2_stream *st)
{
    rbk_http2_session *h = st->h;
    h->n--;
    h->n_rests -= st->owner == NULL;
    rbk_link_remove(&st->link);
    free(st);
}

/* Without memory for it the stream stays until the connection ends. */
static void reset(rbk_http2_stream *st)
{
    if (!st->is_over)
        nghttp2_submit_rst_stream(st->h->ng, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_CANCEL);
    st->is_over = true;
}

/* The owner goes; its request is not touched any more. */
static void *part(rbk_http2_stream *st)
{
    rbk_http2_session *h = st->h;
    void *owner = st->owner;
    st->owner = NULL;
    st->body = RBK_STR_NONE;
    rbk_link_append(&h->rests, &st->link);
    h->n_rests++;
    return owner;
}

void rbk_http2_abandon(rbk_http2_stream *st)
{
    if (st->owner == NULL)
        return;
    part(st);
    reset(st);
}

static void fail_stream(rbk_http2_stream *st, const rbk_http2_answer *answer)
{
    rbk_http2_answer a = *answer;
    a.any_sent = st->begun;
    if (st->owner)
        st->h->answered(part(st), &a);
}

/* What came is no answer, and nothing more of it is wanted. */
static void refuse(rbk_http2_stream *st, const char *why)
{
    fail_stream(st, &(rbk_http2_answer){.err = RBK_E_PROTOCOL, .detail = why});
    reset(st);
}

/* The final head is there. */
static void answer(rbk_http2_stream *st)
{
    rbk_http2_session *h = st->h;
    bool retry = st->n_retry_after == 1 && st->retry_after_n <= RBK_HTTP2_FIELD_MAX;
    bool complete = st->end_at > 0 && st->end_at <= h->flushed;
    rbk_http2_answer a = {
        .status = st->status,
        .complete = complete,
        .any_sent = true,
        .retry_after = retry ? rbk_str_trim((rbk_str){st->retry_after, st->retry_after_n})
                             : RBK_STR_NONE,
        .detail = "",
    };
    void *owner = part(st);
    if (st->end_at == 0)
        reset(st); /* the rest of the request has no owner */
    if (h->n_rests > RBK_HTTP2_RESTS_MAX)
        reset(RBK_OF_LINK(h->rests.next, rbk_http2_stream, link));
    h->answered(owner, &a);
}

bool rbk_http2_age(rbk_http2_session *h)
{
    bool left = false;
    for (rbk_link *l = h->rests.next; l != &h->rests; l = l->next) {
        rbk_http2_stream *st = RBK_OF_LINK(l, rbk_http2_stream, link);
        if (st->old)
            reset(st);
        left = left || !st->is_over;
        st->old = true;
    }
    return left;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    rbk_http2_stream *st = nghttp2_session_get_stream_user_data(ng, id);
    char detail[96];
    (void)user;
    if (st == NULL)
        return 0;
    bool http1 = st->was_reset && code == NGHTTP2_HTTP_1_1_REQUIRED;
    snprintf(detail, sizeof detail, "HTTP/2 stream reset: %s", nghttp2_http2_strerror(code));
    if (code == NGHTTP2_REFUSED_STREAM || http1)
        fail_stream(st, &(rbk_http2_answer){
                            .err = RBK_E_CLOSED, .unseen = true, .http1 = http1, .detail = detail});
    else if (st->was_reset)
        fail_stream(st, &(rbk_http2_answer){.err = RBK_E_CLOSED, .detail = detail});
    else
        fail_stream(st, &(rbk_http2_answer){.err = RBK_E_PROTOCOL,
                                            .detail = st->fault ? st->fault : detail});
    rbk_http2_drop_stream(st);
    return 0;
}

/* --- what is wrong --- */

void rbk_http2_set_fault(rbk_http2_session *h, const char *what, const char *why)
{
    if (h->fault[0] == 0)
        snprintf(h->fault, sizeof h->fault, "HTTP/2: %s%s%s", what, *why ? ": " : "", why);
}

void rbk_http2_end_flood(rbk_http2_session *h)
{
    rbk_http2_set_fault(h, "too many frames that bring nothing", "");
    h->dead = true;
    nghttp2_session_terminate_session(h->ng, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *user)
{
    rbk_http2_stream *st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    (void)user;
    if (st)
        st->fault = nghttp2_strerror(error); /* static text */
    return 0;
}

/* --- what comes --- */

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user)
{
    rbk_http2_session *h = user;
    (void)ng;
    (void)hd;
    if (h->purse == 0)
        rbk_http2_end_flood(h);
    else
        h->purse--;
    return 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    rbk_http2_stream *st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    (void)user;
    if (st && st->owner)
        st->status = 0, st->n_retry_after = 0;
    return 0;
}

static void keep_retry_after(rbk_http2_stream *st, rbk_str value)
{
    st->n_retry_after++;
    st->retry_after_n = value.n;
    if (value.n <= sizeof st->retry_after)
        memcpy(st->retry_after, value.p, value.n);
}

/* nghttp2 lets three digits pass. */
static int parse_status(rbk_str value)
{
    return (value.p[0] - '0') * 100 + (value.p[1] - '0') * 10 + value.p[2] - '0';
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    rbk_http2_stream *st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    rbk_str k = {(const char *)name, name_n}, v = {(const char *)value, value_n};
    (void)flags;
    (void)user;
    if (st == NULL || st->is_over)
        return 0;
    st->head_n += name_n + value_n + 4;
    if (st->head_n > RBK_HTTP2_HEAD_MAX) {
        refuse(st, "head too large");
        return 0;
    }
    if (st->owner == NULL) /* a trailer says nothing about the head */
        return 0;
    if (rbk_str_eqz(k, ":status") && v.n == 3)
        st->status = parse_status(v);
    else if (rbk_str_eqz(k, "retry-after"))
        keep_retry_after(st, v);
    return 0;
}

/* As strict as with HTTP/1.1. */
static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    rbk_http2_stream *st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    (void)name, (void)value, (void)flags, (void)user;
    if (st && !st->is_over)
        refuse(st, "a header that is none");
    return 0;
}

static void end_head(rbk_http2_stream *st)
{
    if (st->owner == NULL || st->is_over)
        return;
    if (st->status < 100 || st->status > 599)
        refuse(st, "status out of range");
    else if (st->status >= 200)
        answer(st);
    else if (++st->n_interim > RBK_HTTP2_INTERIM_MAX)
        refuse(st, "too many interim answers");
}

static void hear_goaway(rbk_http2_session *h, const nghttp2_goaway *frame)
{
    h->retired = true;
    if (frame->error_code != NGHTTP2_NO_ERROR)
        rbk_http2_set_fault(h, "the receiver gives up", nghttp2_http2_strerror(frame->error_code));
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    rbk_http2_session *h = user;
    rbk_http2_stream *st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        h->settled = h->settled || !(frame->hd.flags & NGHTTP2_FLAG_ACK);
        break;
    case NGHTTP2_GOAWAY:
        hear_goaway(h, &frame->goaway);
        break;
    case NGHTTP2_RST_STREAM:
        if (st)
            st->was_reset = true;
        break;
    case NGHTTP2_HEADERS:
        if (st)
            end_head(st);
        break;
    default:
        break;
    }
    return 0;
}

static int on_body(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    rbk_http2_stream *st = nghttp2_session_get_stream_user_data(ng, id);
    (void)p, (void)user;
    if (nghttp2_session_consume_connection(ng, n) == NGHTTP2_ERR_NOMEM)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (st == NULL)
        return 0;
    st->rest_n += n;
    if (st->rest_n >= RBK_HTTP2_WINDOW && !(flags & NGHTTP2_FLAG_END_STREAM))
        reset(st);
    return 0;
}

/* --- what goes --- */

ssize_t rbk_http2_read_body(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t n,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
    rbk_http2_stream *st = source->ptr;
    rbk_http2_session *h = user;
    (void)ng, (void)id;
    if (st->owner == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t left = st->body.n - st->body_at;
    n = n < left ? n : left;
    memcpy(buf, st->body.p + st->body_at, n);
    st->body_at += n;
    h->sent_n += (unsigned)n;
    if (st->body_at == st->body.n)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    rbk_http2_session *h = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        rbk_str why = {(const char *)frame->goaway.opaque_data, frame->goaway.opaque_data_len};
        char text[96];
        if (frame->goaway.error_code == NGHTTP2_NO_ERROR)
            return 0;
        snprintf(text, sizeof text, "%.*s", why.n < 90 ? (int)why.n : 90, why.n ? why.p : "");
        rbk_http2_set_fault(h, nghttp2_http2_strerror(frame->goaway.error_code), text);
        h->dead = true;
        return 0;
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    rbk_http2_stream *st = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    if (st == NULL)
        return 0;
    st->begun = true;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        st->end_at = h->pulled + 1;
    return 0;
}

/* --- all of them --- */

nghttp2_session_callbacks *rbk_http2_callbacks(void)
{
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_body);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    return cb;
}
