/* SPDX-License-Identifier: Apache-2.0 */
/* http_reader.h - runs of requests through the two readers of net/http_parse.h, in pieces as one
 * likes: what must not depend on how the bytes were split. Aborts where a reader takes bytes that
 * it was not given, or none. */
#ifndef RBK_TEST_HTTP_READER_H
#define RBK_TEST_HTTP_READER_H

#include <stdio.h>
#include <stdlib.h>

#include "net/http_parse.h"

static const rbk_http_conf conf = {
    .max_body = 1 << 20, .max_line = 8192, .max_head = 32 << 10, .max_fields = 100};

/* What the readers say about a run of bytes: requests that were complete, then a
 * refusal or the end of the bytes. */
typedef struct verdict {
    size_t requests;
    int status;      /* 0: no refusal */
    size_t body;     /* bytes of all bodies */
    uint32_t hash;   /* of all bodies, methods, paths, headers */
    bool in_request; /* the end came within a request */
    bool closed;     /* the last request asked for it */
} verdict;

typedef struct reader {
    rbk_http_head head;
    rbk_http_chunks chunks;
    rbk_buf body;
    int stage; /* 0 head, 1 body, 2 chunks */
    verdict v;
    bool over;
} reader;

static inline void mix(verdict *v, rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        v->hash = (v->hash ^ (unsigned char)s.p[i]) * 16777619u;
    v->hash = (v->hash ^ 0x100) * 16777619u;
}

static inline void request_done(reader *r)
{
    r->v.requests++;
    r->v.body += r->body.n;
    mix(&r->v, r->head.method);
    mix(&r->v, r->head.path);
    mix(&r->v, r->head.query);
    for (size_t i = 0; i < r->head.n_fields; i++) {
        mix(&r->v, r->head.fields[i].name);
        mix(&r->v, r->head.fields[i].value);
    }
    mix(&r->v, rbk_buf_view(&r->body));
    r->over = !r->head.keep_alive;
    r->stage = 0;
    rbk_buf_clear(&r->body);
    rbk_http_head_reset(&r->head, &conf);
}

static inline int feed_head(reader *r, rbk_str in, size_t *used)
{
    int st = rbk_http_head_feed(&r->head, &conf, in, used);
    if (st != RBK_HTTP_DONE)
        return st;
    if (r->head.encoded)
        return 415;
    if (r->head.length > conf.max_body)
        return 413;
    r->stage = r->head.chunked ? 2 : r->head.length ? 1 : 0;
    rbk_http_chunks_begin(&r->chunks, &r->head);
    if (r->stage == 0)
        request_done(r);
    return 0;
}

static inline int feed_body(reader *r, rbk_str in, size_t *used)
{
    size_t need = (size_t)r->head.length - r->body.n;
    *used = in.n < need ? in.n : need;
    rbk_buf_add(&r->body, in.p, *used);
    if (*used == need)
        request_done(r);
    return 0;
}

static inline int feed_chunks(reader *r, rbk_str in, size_t *used)
{
    int st = rbk_http_chunks_feed(&r->chunks, &conf, &r->body, in, used);
    if (st != RBK_HTTP_DONE)
        return st;
    request_done(r);
    return 0;
}

static inline void feed(reader *r, const char *p, size_t n)
{
    while (n > 0 && !r->over) {
        size_t used = 0;
        int st = (r->stage == 0   ? feed_head
                  : r->stage == 1 ? feed_body
                                  : feed_chunks)(r, (rbk_str){p, n}, &used);
        if (used == 0 || used > n)
            abort();
        p += used;
        n -= used;
        if (st) {
            r->v.status = st;
            r->over = true;
        }
    }
}

/* The bytes in pieces: up to `cut`, then pieces of `step`. */
static inline verdict read_all(rbk_str in, size_t cut, size_t step)
{
    reader r = {.body = RBK_BUF(conf.max_body)};
    rbk_http_head_reset(&r.head, &conf);
    for (size_t at = 0, n = cut; at < in.n; at += n, n = step) {
        if (n > in.n - at)
            n = in.n - at;
        /* Heap memory of just that size: an overread is seen. */
        char *piece = malloc(n ? n : 1);
        memcpy(piece, in.p + at, n);
        feed(&r, piece, n);
        free(piece);
    }
    r.v.closed = r.over && r.v.status == 0;
    r.v.in_request = !r.over && (r.stage || r.head.begun);
    rbk_http_head_free(&r.head);
    rbk_buf_free(&r.body);
    return r.v;
}

static inline verdict read_whole(rbk_str in)
{
    return read_all(in, in.n, in.n);
}

#endif
