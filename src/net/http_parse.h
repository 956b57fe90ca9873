/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_parse.h - the bytes of one HTTP/1.1 request into its head and body.
 *
 * Both readers take bytes as they come and give the same verdict however they were
 * split. They return RBK_HTTP_MORE, RBK_HTTP_DONE, or the status of a refusal (400 and
 * up) with a word why; after a refusal the connection cannot be trusted to be in step.
 * No I/O, no clock; the owner's thread. */
#ifndef RBK_NET_HTTP_PARSE_H
#define RBK_NET_HTTP_PARSE_H

#include "net/http_server.h"

enum { RBK_HTTP_MORE = 0, RBK_HTTP_DONE = 1 };

enum { RBK_HTTP_KEEP = 4096 }; /* a larger buffer is not kept between requests */

/* What an Expect header asked for. */
typedef enum rbk_http_expect {
    RBK_HTTP_EXPECT_NONE,
    RBK_HTTP_EXPECT_100,
    RBK_HTTP_EXPECT_OTHER
} rbk_http_expect;

/* A request head. All texts point into `raw`, and are set when it is complete. */
typedef struct rbk_http_head {
    rbk_buf raw;      /* the request line and the header lines so far */
    size_t line;      /* where the line being read begins */
    size_t fields_at; /* where the header lines begin; 0 in the request line */
    size_t method_n, target_n;
    unsigned n_lines; /* header lines seen */
    bool begun;       /* at least one byte came */
    bool skipped;     /* the one empty line that may come before the request line */

    rbk_http_header *fields;
    size_t n_fields, cap_fields;
    rbk_str method, path, query;
    bool http10, keep_alive, chunked, encoded; /* encoded: a Content-Encoding is there */
    rbk_http_expect expect;
    uint64_t length; /* Content-Length, 0 without one */
    const char *why; /* of a refusal; static text */
} rbk_http_head;

/* Ready for the next request; what is large is given back. */
void rbk_http_head_reset(rbk_http_head *h, const rbk_http_conf *conf);
void rbk_http_head_free(rbk_http_head *h);
int rbk_http_head_feed(rbk_http_head *h, const rbk_http_conf *conf, rbk_str in, size_t *ret_used);

/* A chunked body. Trailers share the limits of the head, and are dropped. */
typedef struct rbk_http_chunks {
    int state;
    unsigned digits;    /* of the size being read */
    uint64_t left;      /* of the chunk being read */
    size_t extensions;  /* bytes of chunk extensions so far */
    size_t line, bytes; /* of the trailer line being read; of all head and trailer lines */
    unsigned n_lines;
    const char *why;
} rbk_http_chunks;

void rbk_http_chunks_begin(rbk_http_chunks *c, const rbk_http_head *h);
/* Data is added to `body`, whose maximum is that of the body. */
int rbk_http_chunks_feed(rbk_http_chunks *c, const rbk_http_conf *conf, rbk_buf *body, rbk_str in,
                         size_t *ret_used);

/* A letter of an RFC 9110 token. */
bool rbk_http_is_tchar(unsigned char c);

#endif
