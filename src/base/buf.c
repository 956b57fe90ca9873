/* SPDX-License-Identifier: Apache-2.0 */
/* base/buf.c - see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void rbk_buf_free(rbk_buf *b)
{
    free(b->p);
    *b = RBK_BUF(b->max);
}

int rbk_buf_reserve(rbk_buf *b, size_t n)
{
    if (b->err)
        return b->err;
    if (n <= b->cap - b->n)
        return 0;
    if (n > b->max || b->n > b->max - n)
        return b->err = RBK_E_TOO_LARGE;
    size_t cap = b->cap ? b->cap : 128;
    while (cap < b->n + n)
        cap = cap > SIZE_MAX / 2 ? b->n + n : cap * 2;
    if (cap > b->max)
        cap = b->max;
    char *p = realloc(b->p, cap);
    if (p == NULL)
        return b->err = RBK_E_NOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

void rbk_buf_add(rbk_buf *b, const void *p, size_t n)
{
    if (n == 0 || rbk_buf_reserve(b, n) < 0)
        return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

/* printf() ends its text with a NUL, for which a full buffer has no room; so it writes
 * beside the buffer. */
static RBK_PRINTF(3, 0) void add_long(rbk_buf *b, size_t n, const char *fmt, va_list ap)
{
    if (rbk_buf_reserve(b, n) < 0)
        return;
    char *text = malloc(n + 1);
    if (text == NULL) {
        b->err = RBK_E_NOMEM;
        return;
    }
    vsnprintf(text, n + 1, fmt, ap);
    rbk_buf_add(b, text, n);
    free(text);
}

void rbk_buf_addf(rbk_buf *b, const char *fmt, ...)
{
    char small[256];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof small) {
        rbk_buf_add(b, small, (size_t)n);
    } else if (n >= 0) {
        add_long(b, (size_t)n, fmt, again);
    }
    va_end(again);
}

void rbk_buf_add_u64(rbk_buf *b, uint64_t v)
{
    char d[20];
    size_t i = sizeof d;
    do
        d[--i] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    rbk_buf_add(b, d + i, sizeof d - i);
}

static void add_escape(rbk_buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"':
        rbk_buf_lit(b, "\\\"");
        break;
    case '\\':
        rbk_buf_lit(b, "\\\\");
        break;
    case '\n':
        rbk_buf_lit(b, "\\n");
        break;
    case '\r':
        rbk_buf_lit(b, "\\r");
        break;
    case '\t':
        rbk_buf_lit(b, "\\t");
        break;
    case '\b':
        rbk_buf_lit(b, "\\b");
        break;
    case '\f':
        rbk_buf_lit(b, "\\f");
        break;
    default:
        rbk_buf_add(b, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    }
}

/* printf and strtod agree on the locale's decimal sign, whatever it is. */
void rbk_buf_add_double(rbk_buf *b, double v)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    for (char *p = text; *p; p++)
        if (strchr("0123456789+-eE", *p) == NULL)
            *p = '.';
    rbk_buf_z(b, text);
}

void rbk_buf_json_str(rbk_buf *b, rbk_str s)
{
    rbk_buf_c(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        rbk_buf_add(b, s.p + from, i - from);
        add_escape(b, c);
        from = i + 1;
    }
    if (s.n > from)
        rbk_buf_add(b, s.p + from, s.n - from);
    rbk_buf_c(b, '"');
}
