/* SPDX-License-Identifier: Apache-2.0 */
/* base/buf.h - a growing byte buffer with a maximum that is set when it is made.
 *
 * A failed append marks the buffer: later appends do nothing, and the caller asks
 * once, at the end, with rbk_buf_err(). One thread at a time; the owner frees. */
#ifndef RBK_BASE_BUF_H
#define RBK_BASE_BUF_H

#include "base/str.h"

typedef struct rbk_buf {
    char *p;
    size_t n, cap, max;
    int err; /* 0, RBK_E_NOMEM, or RBK_E_TOO_LARGE when `max` was met */
} rbk_buf;

#define RBK_BUF(maximum) ((rbk_buf){.max = (maximum)})

void rbk_buf_free(rbk_buf *b);             /* empty again, `max` kept */
int rbk_buf_reserve(rbk_buf *b, size_t n); /* room for `n` more bytes; 0 or `err` */
void rbk_buf_add(rbk_buf *b, const void *p, size_t n);
void rbk_buf_addf(rbk_buf *b, const char *fmt, ...) RBK_PRINTF(2, 3);
void rbk_buf_add_u64(rbk_buf *b, uint64_t v);
/* The shortest text that reads back the same, whatever the locale; `v` is finite. */
void rbk_buf_add_double(rbk_buf *b, double v);

static inline void rbk_buf_str(rbk_buf *b, rbk_str s)
{
    rbk_buf_add(b, s.p, s.n);
}

static inline void rbk_buf_z(rbk_buf *b, const char *z)
{
    rbk_buf_add(b, z, strlen(z));
}

static inline void rbk_buf_c(rbk_buf *b, char c)
{
    rbk_buf_add(b, &c, 1);
}

#define rbk_buf_lit(b, lit) rbk_buf_add((b), "" lit, sizeof(lit) - 1)

/* A JSON string with its quotes; `s` is UTF-8. Control characters, quotes and
 * backslashes are escaped, all else is copied. RFC 8259 section 7. */
void rbk_buf_json_str(rbk_buf *b, rbk_str s);

static inline void rbk_buf_clear(rbk_buf *b)
{
    b->n = 0;
    b->err = 0;
}

static inline int rbk_buf_err(const rbk_buf *b)
{
    return b->err;
}

static inline rbk_str rbk_buf_view(const rbk_buf *b)
{
    return (rbk_str){b->p, b->n};
}

#endif
