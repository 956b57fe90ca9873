/* SPDX-License-Identifier: Apache-2.0 */
/* net/http2_session_impl.h - shared by http2_session.c (requests, bytes, life) and http2_events.c
 * (what nghttp2 tells). Not for anybody else. One thread.
 *
 * A stream is on `live` while it has an owner, then on `rests` until nghttp2 closes it. */
#ifndef RBK_NET_HTTP2_SESSION_IMPL_H
#define RBK_NET_HTTP2_SESSION_IMPL_H

#include "base/ring.h"
#include "net/http2_session.h"

#include <nghttp2/nghttp2.h>

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
    bool was_reset; /* by the peer */
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
    unsigned purse, sent_n, came_n;
    bool settled, retired, dead, known;
    char fault[160];
};

/* http2_events.c */

/* NULL when memory is out. */
nghttp2_session_callbacks *rbk_http2_callbacks(void);
/* The body of a request, whose stream is the source's pointer. */
ssize_t rbk_http2_read_body(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t n,
                            uint32_t *flags, nghttp2_data_source *source, void *user);
/* Out of all lists, and gone. */
void rbk_http2_drop_stream(rbk_http2_stream *st);
/* The peer makes us work for nothing. */
void rbk_http2_end_flood(rbk_http2_session *h);
/* The first fault stands. */
void rbk_http2_set_fault(rbk_http2_session *h, const char *what, const char *why);

#endif
