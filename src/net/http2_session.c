/* SPDX-License-Identifier: Apache-2.0 */
/* net/http2_session.c - see http2_session.h: requests to frames, bytes in and out. What the peer's
 * frames mean is in http2_events.c. */
#include "net/http2_session_impl.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    PURSE = 1024,      /* frames that a connection may begin with */
    PURSE_MAX = 8192,
    PER_REQUEST = 64,  /* and those that come with each request */
    HEAD_OUT_MAX = 128 * 1024,
    NV_STACK = 40,
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

/* --- bytes --- */

static void fill_purse(rbk_http2_session *h, unsigned n)
{
    h->purse = h->purse + n < PURSE_MAX ? h->purse + n : PURSE_MAX;
}

/* What nghttp2 says of itself. */
static int fail_session(rbk_http2_session *h, int error)
{
    h->dead = true;
    rbk_http2_set_fault(h, nghttp2_strerror(error), "");
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
    size_t cost = (h->came_n + n) >> 10; /* nghttp2 does not tell of frames that it does not know */
    h->came_n = (h->came_n + n) & 1023;
    if (cost > h->purse) {
        rbk_http2_end_flood(h);
        return RBK_E_CONNECT;
    }
    h->purse -= (unsigned)cost;
    ssize_t r = nghttp2_session_mem_recv(h->ng, (const uint8_t *)p, n);
    if (r < 0)
        return fail_session(h, (int)r);
    return h->dead ? RBK_E_CONNECT : 0;
}

void rbk_http2_ping(rbk_http2_session *h)
{
    nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, NULL); /* without memory: unasked */
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
    nghttp2_data_provider body = {.source.ptr = st, .read_callback = rbk_http2_read_body};
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
    nghttp2_session_callbacks *cb = h ? rbk_http2_callbacks() : NULL;
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
        rbk_http2_drop_stream(RBK_OF_LINK(ring->next, rbk_http2_stream, link));
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
