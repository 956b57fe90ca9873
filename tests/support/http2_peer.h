/* SPDX-License-Identifier: Apache-2.0 */
/* tests/support/http2_peer.h - a scripted receiver's connection (receiver.h) that speaks HTTP/2,
 * with the server's end of nghttp2: requests come as text, answers go as text, one after the
 * other. For scripts that do not care which HTTP it is. */
#ifndef RBK_TESTS_HTTP2_PEER_H
#define RBK_TESTS_HTTP2_PEER_H

#include "receiver.h"

#include <nghttp2/nghttp2.h>

enum { H2_TEXT_MAX = 8192 };

/* One request: "POST /path HTTP/2\r\nHost: …\r\nname: value\r\n…\r\n\r\nbody". */
typedef struct h2_request {
    struct h2_request *next;
    int32_t stream;
    size_t n;
    char text[H2_TEXT_MAX];
} h2_request;

typedef struct h2_peer {
    nghttp2_session *ng;
    h2_request *head, *tail; /* whole ones that wait to be taken */
    int32_t stream;          /* of the one that was taken last */
} h2_peer;

static inline int h2_select(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                            const unsigned char *in, unsigned in_n, void *user)
{
    static const unsigned char ours[] = "\x02h2";
    unsigned char *p = NULL;
    (void)ssl, (void)user;
    if (SSL_select_next_proto(&p, out_n, ours, sizeof ours - 1, in, in_n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = p;
    return SSL_TLSEXT_ERR_OK;
}

static inline bool h2_is(const peer *p)
{
    const unsigned char *name = NULL;
    unsigned n = 0;
    if (p->ssl)
        SSL_get0_alpn_selected(p->ssl, &name, &n);
    return n == 2 && memcmp(name, "h2", 2) == 0;
}

static inline void h2_add(h2_request *q, const void *p, size_t n)
{
    MUST(q->n + n < sizeof q->text);
    memcpy(q->text + q->n, p, n);
    q->n += n;
    q->text[q->n] = 0;
}

static inline int h2_on_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)user;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        h2_request *q = calloc(1, sizeof *q);
        MUST(q);
        q->stream = frame->hd.stream_id;
        nghttp2_session_set_stream_user_data(ng, q->stream, q);
    }
    return 0;
}

/* The pseudo headers come in the order :method, :scheme, :authority, :path. */
static inline int h2_on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                               size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                               void *user)
{
    h2_request *q = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    char text[512];
    (void)flags, (void)user;
    if (name[0] != ':')
        snprintf(text, sizeof text, "%.*s: %.*s\r\n", (int)name_n, (const char *)name, (int)value_n,
                 (const char *)value);
    else if (name[1] == 'm')
        snprintf(text, sizeof text, "%.*s ", (int)value_n, (const char *)value);
    else if (name[1] == 'a')
        snprintf(text, sizeof text, "%.*s", (int)value_n, (const char *)value);
    else if (name[1] == 'p')
        snprintf(text, sizeof text, "%.*s HTTP/2\r\n", (int)value_n, (const char *)value);
    else
        snprintf(text, sizeof text, "%.*s://", (int)value_n, (const char *)value);
    h2_add(q, text, strlen(text));
    return 0;
}

static inline int h2_on_body(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p,
                             size_t n, void *user)
{
    (void)flags, (void)user;
    h2_add(nghttp2_session_get_stream_user_data(ng, id), p, n);
    return 0;
}

static inline int h2_on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    h2_peer *h = user;
    h2_request *q = nghttp2_session_get_stream_user_data(ng, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_HEADERS && q)
        h2_add(q, "\r\n", 2);
    if (q && (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        nghttp2_session_set_stream_user_data(ng, q->stream, NULL);
        *(h->tail ? &h->tail->next : &h->head) = q;
        h->tail = q;
    }
    return 0;
}

static inline int h2_on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    (void)code, (void)user;
    free(nghttp2_session_get_stream_user_data(ng, id));
    return 0;
}

static inline bool h2_flush(peer *p, const h2_peer *h)
{
    const uint8_t *out;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(h->ng, &out)) > 0)
        if (!peer_send(p, out, (size_t)n))
            return false;
    return n == 0;
}

static inline void h2_open(peer *p, h2_peer *h)
{
    nghttp2_session_callbacks *cb;
    memset(h, 0, sizeof *h);
    MUST(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, h2_on_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, h2_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, h2_on_body);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, h2_on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, h2_on_close);
    MUST(nghttp2_session_server_new(&h->ng, cb, h) == 0);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, NULL, 0);
    h2_flush(p, h);
}

static inline void h2_close(h2_peer *h)
{
    for (h2_request *q; (q = h->head);) {
        h->head = q->next;
        free(q);
    }
    nghttp2_session_del(h->ng);
}

/* The next request, into the peer's. False when the peer has gone. */
static inline bool h2_next(peer *p, h2_peer *h)
{
    char buf[4096];
    while (h->head == NULL) {
        ssize_t n = peer_recv(p, buf, sizeof buf);
        if (n <= 0 || nghttp2_session_mem_recv(h->ng, (uint8_t *)buf, (size_t)n) != n ||
            !h2_flush(p, h))
            return false;
    }
    h2_request *q = h->head;
    h->head = q->next;
    if (h->head == NULL)
        h->tail = NULL;
    if (p->request == NULL)
        MUST(p->request = malloc(REQUEST_MAX + 1));
    memcpy(p->request, q->text, q->n + 1);
    p->request_n = q->n;
    h->stream = q->stream;
    free(q);
    atomic_fetch_add(&p->r->requests, 1);
    return true;
}

/* "HTTP/1.1 200 OK\r\nName: value\r\n\r\n" as an answer to the last request. */
static inline bool h2_say(peer *p, h2_peer *h, const char *text)
{
    char copy[1024], *at = copy, *line;
    nghttp2_nv nv[8] = {{.name = (uint8_t *)":status", .namelen = 7, .valuelen = 3}};
    size_t n = 1;
    snprintf(copy, sizeof copy, "%s", text);
    nv[0].value = (uint8_t *)copy + 9;
    strsep(&at, "\n");
    while ((line = strsep(&at, "\n")) && line[0] != '\r' && line[0] != 0) {
        char *name = strsep(&line, ":"), *value = line + 1;
        value[strcspn(value, "\r")] = 0;
        MUST(n < 8);
        nv[n++] = (nghttp2_nv){.name = (uint8_t *)name, .value = (uint8_t *)value,
                               .namelen = strlen(name), .valuelen = strlen(value)};
    }
    MUST(nghttp2_submit_response(h->ng, h->stream, nv, n, NULL) == 0);
    return h2_flush(p, h);
}

#endif
