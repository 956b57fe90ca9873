/* SPDX-License-Identifier: Apache-2.0 */
/* net/http2_session.c - see http2_session.h.
 *
 * A stream is on `live` while it has an owner, then on `rests` until nghttp2 closes it. What
 * nghttp2 leaves open is bounded here: the size of heads, the number of interim ones, the rest of
 * bodies, and the frames that bring nothing. These are paid from a purse that each request and
 * each KiB of a body that is sent fill up, so that a peer works for what it makes us do.
 *
 * Callbacks of nghttp2 never fail but for want of memory: a fault of a stream resets it, one of
 * the connection asks nghttp2 for GOAWAY, after which it reads nothing more. */
#include "net/http2_session.h"

#include "base/error.h"
#include "base/ring.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PURSE = 1024,      /* frames that a connection may begin with */
    PURSE_MAX = 8192,
    PER_REQUEST = 64,  /* and those that come with each request */
    HEAD_OUT_MAX = 256 * 1024,
    NV_STACK = 40,
};

struct rbk_http2_stream {
    rbk_link link;
    rbk_http2_session *h;
    int32_t id;
    void *owner; /* NULL: answered or abandoned */
    rbk_str body;
    size_t body_at;
    bool begun;      /* its head was pulled */
    uint64_t end_at; /* what had been pulled when its end was, and a byte more; 0: not yet */
    int status;
    bool is_over; /* reset by us, or to be */
    bool old;
    const char *fault;
    uint32_t code; /* of the peer's RST_STREAM */
    bool was_reset;
    unsigned n_interim, n_retry_after;
    size_t head_n, rest_n, retry_after_n;
    char retry_after[RBK_HTTP2_FIELD_MAX];
};

struct rbk_http2_session {
    nghttp2_session *ng;
    rbk_http2_answered answered;
    rbk_link live, rests;
    unsigned n, n_rests;
    uint64_t pulled, flushed;
    unsigned purse, sent_n;
    bool settled, retired, dead, known;
    char fault[160];
};

/* --- memory: through our own objects, so that tests can make it fail --- */

static void *take_memory(size_t n, void *user)
{
    (void)user;
    return malloc(n);
}

static void *take_zeroed(size_t n, size_t size, void *user)
{
    (void)user;
    return calloc(n, size);
}

static void *take_again(void *p, size_t n, void *user)
{
    (void)user;
    return realloc(p, n);
}

static void give_back(void *p, void *user)
{
    (void)user;
    free(p);
}

/* --- the end of streams --- */

static void drop_stream(rbk_http2_stream *st)
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
    drop_stream(st);
    return 0;
}

/* --- what is wrong --- */

static void set_fault(rbk_http2_session *h, const char *what, const char *why)
{
    if (h->fault[0] == 0)
        snprintf(h->fault, sizeof h->fault, "HTTP/2: %s%s%s", what, *why ? ": " : "", why);
}

/* The peer makes us work for nothing. */
static void end_flood(rbk_http2_session *h)
{
    set_fault(h, "too many frames that bring nothing", "");
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
        end_flood(h);
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
        set_fault(h, "the receiver gives up", nghttp2_http2_strerror(frame->error_code));
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

static ssize_t read_body(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
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
        set_fault(h, nghttp2_http2_strerror(frame->goaway.error_code), text);
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

static void fill_purse(rbk_http2_session *h, unsigned n)
{
    h->purse = h->purse + n < PURSE_MAX ? h->purse + n : PURSE_MAX;
}

/* What nghttp2 says of itself. */
static int fail_session(rbk_http2_session *h, int error)
{
    h->dead = true;
    set_fault(h, nghttp2_strerror(error), "");
    return error == NGHTTP2_ERR_NOMEM || error == NGHTTP2_ERR_CALLBACK_FAILURE ? RBK_E_NOMEM
                                                                               : RBK_E_CONNECT;
}

int rbk_http2_pull(rbk_http2_session *h, rbk_buf *out)
{
    size_t had = out->n;
    ssize_t n = 0;
    const uint8_t *p;
    while (out->n - had < RBK_HTTP2_BATCH && (n = nghttp2_session_mem_send(h->ng, &p)) > 0)
        rbk_buf_add(out, p, (size_t)n);
    h->pulled += out->n - had;
    fill_purse(h, h->sent_n >> 10);
    h->sent_n &= 1023;
    if (n < 0)
        return fail_session(h, (int)n);
    if (rbk_buf_err(out) < 0)
        return fail_session(h, NGHTTP2_ERR_NOMEM);
    return h->dead ? RBK_E_CONNECT : 0;
}

void rbk_http2_flushed(rbk_http2_session *h)
{
    h->flushed = h->pulled;
}

int rbk_http2_feed(rbk_http2_session *h, const char *p, size_t n)
{
    ssize_t r = nghttp2_session_mem_recv(h->ng, (const uint8_t *)p, n);
    if (r < 0)
        return fail_session(h, (int)r);
    return h->dead ? RBK_E_CONNECT : 0;
}

void rbk_http2_say_goodbye(rbk_http2_session *h)
{
    h->retired = true;
    nghttp2_session_terminate_session(h->ng, NGHTTP2_NO_ERROR); /* without memory: unsaid */
}

/* --- requests --- */

static nghttp2_nv make_nv(rbk_str name, rbk_str value, bool keep)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.p, /* neither is written to */
        .value = (uint8_t *)(uintptr_t)value.p,
        .namelen = name.n,
        .valuelen = value.n,
        .flags = keep ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX,
    };
}

/* Those of every request are worth a place in the peer's table, the others but once, for the sake
 * of their names. */
static bool is_constant(rbk_str name)
{
    return rbk_str_ieqz(name, "content-type") || rbk_str_ieqz(name, "user-agent");
}

static size_t count_lines(rbk_str head)
{
    size_t n = 0;
    for (const char *p = head.p; p && (p = memchr(p, '\n', head.n - (size_t)(p - head.p))); p++)
        n++;
    return n;
}

static size_t add_lines(nghttp2_nv *nv, rbk_str head, bool known)
{
    size_t n = 0;
    while (head.n > 0) {
        const char *end = memchr(head.p, '\n', head.n);
        size_t line_n = end ? (size_t)(end - head.p) + 1 : head.n;
        const char *colon = memchr(head.p, ':', line_n);
        if (colon) {
            size_t name_n = (size_t)(colon - head.p);
            rbk_str name = {head.p, name_n};
            rbk_str value = rbk_str_trim((rbk_str){colon + 1, line_n - name_n - 1});
            while (value.n > 0 && (value.p[value.n - 1] == '\r' || value.p[value.n - 1] == '\n'))
                value.n--;
            nv[n++] = make_nv(name, value, !known || is_constant(name));
        }
        head.p += line_n;
        head.n -= line_n;
    }
    return n;
}

static int32_t submit(rbk_http2_session *h, const rbk_http2_request *req, rbk_http2_stream *st)
{
    char digits[24];
    nghttp2_nv stack[NV_STACK], *nv = stack;
    nghttp2_data_provider body = {.source.ptr = st, .read_callback = read_body};
    size_t n = 5 + count_lines(req->head) + 1;
    if (n > NV_STACK && (nv = malloc(n * sizeof *nv)) == NULL)
        return NGHTTP2_ERR_NOMEM;
    int digits_n = snprintf(digits, sizeof digits, "%zu", req->body.n);
    n = 0;
    nv[n++] = make_nv(RBK_STR(":method"), RBK_STR("POST"), true);
    nv[n++] = make_nv(RBK_STR(":scheme"), RBK_STR("https"), true);
    nv[n++] = make_nv(RBK_STR(":authority"), req->authority, true);
    nv[n++] = make_nv(RBK_STR(":path"), req->target, false);
    n += add_lines(nv + n, req->head, h->known);
    nv[n++] = make_nv(RBK_STR("content-length"), (rbk_str){digits, (size_t)digits_n}, false);
    int32_t id = nghttp2_submit_request(h->ng, NULL, nv, n, req->body.n ? &body : NULL, st);
    h->known = true;
    if (nv != stack)
        free(nv);
    return id;
}

int rbk_http2_submit(rbk_http2_session *h, const rbk_http2_request *req, void *owner,
                     rbk_http2_stream **ret)
{
    if (h->retired || h->dead)
        return RBK_E_BUSY;
    rbk_http2_stream *st = calloc(1, sizeof *st);
    if (st == NULL)
        return RBK_E_NOMEM;
    st->h = h;
    st->owner = owner;
    st->body = req->body;
    int32_t id = submit(h, req, st);
    if (id < 0) {
        free(st);
        h->retired = h->retired || id != NGHTTP2_ERR_NOMEM;
        return id == NGHTTP2_ERR_NOMEM ? RBK_E_NOMEM : RBK_E_BUSY;
    }
    st->id = id;
    rbk_link_init(&st->link);
    rbk_link_append(&h->live, &st->link);
    h->n++;
    fill_purse(h, PER_REQUEST);
    *ret = st;
    return 0;
}

/* --- life --- */

static nghttp2_session_callbacks *make_callbacks(void)
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

static int make_session(rbk_http2_session *h, const nghttp2_session_callbacks *cb,
                        const nghttp2_option *option)
{
    nghttp2_mem mem = {NULL, take_memory, give_back, take_zeroed, take_again};
    static const nghttp2_settings_entry ours[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, RBK_HTTP2_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, RBK_HTTP2_HEAD_MAX},
    };
    if (nghttp2_session_client_new3(&h->ng, cb, h, option, &mem) != 0 ||
        nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, ours, sizeof ours / sizeof *ours) != 0)
        return RBK_E_NOMEM;
    return 0;
}

int rbk_http2_session_new(rbk_http2_answered answered, rbk_http2_session **ret)
{
    rbk_http2_session *h = calloc(1, sizeof *h);
    nghttp2_session_callbacks *cb = h ? make_callbacks() : NULL;
    nghttp2_option *option = NULL;
    int r = RBK_E_NOMEM;
    if (cb == NULL || nghttp2_option_new(&option) != 0)
        goto out;
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, HEAD_OUT_MAX);
    h->answered = answered;
    h->purse = PURSE;
    rbk_link_init(&h->live);
    rbk_link_init(&h->rests);
    r = make_session(h, cb, option);
out:
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    if (r == 0)
        *ret = h;
    else if (h)
        rbk_http2_session_free(h);
    return r;
}

static void free_streams(rbk_link *ring)
{
    while (ring->next && !rbk_link_empty(ring))
        drop_stream(RBK_OF_LINK(ring->next, rbk_http2_stream, link));
}

void rbk_http2_session_free(rbk_http2_session *h)
{
    if (h == NULL)
        return;
    nghttp2_session_del(h->ng);
    free_streams(&h->live);
    free_streams(&h->rests);
    free(h);
}

/* --- looking --- */

bool rbk_http2_begun(const rbk_http2_stream *st)
{
    return st->begun;
}

bool rbk_http2_settled(const rbk_http2_session *h)
{
    return h->settled;
}

unsigned rbk_http2_streams(const rbk_http2_session *h)
{
    return h->n;
}

unsigned rbk_http2_rests(const rbk_http2_session *h)
{
    return h->n_rests;
}

unsigned rbk_http2_room(const rbk_http2_session *h)
{
    uint32_t theirs =
        nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    unsigned most = theirs < RBK_HTTP2_STREAMS_MAX ? theirs : RBK_HTTP2_STREAMS_MAX;
    if (!h->settled || h->retired || h->dead || h->n >= most)
        return 0;
    return most - h->n;
}

bool rbk_http2_retired(const rbk_http2_session *h)
{
    return h->retired;
}

const char *rbk_http2_fault(const rbk_http2_session *h)
{
    return h->fault;
}
