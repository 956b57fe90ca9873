/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_chunks.c - a chunked request body (RFC 9112 section 7.1), byte by byte.
 *
 * Our own reader, because three bounds have to be kept that llhttp does not show: the
 * digits of a size (16), the bytes of all chunk extensions of a request (4 KiB), and
 * the trailer section, which shares the limits of the head. The grammar is strict:
 * CRLF alone ends a line, and no blanks stand around a size. Extensions and trailers
 * are checked and dropped. */
#include "net/http_parse.h"

enum { EXTENSIONS_MAX = 4096, DIGITS_MAX = 16 };

enum state {
    SIZE,
    EXT_NAME,  /* after ";" */
    EXT_VALUE, /* after "=" */
    EXT_QUOTED,
    EXT_ESCAPED,
    EXT_AFTER, /* behind a quoted value */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_NAME, /* also the empty line */
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    END
};

static int refuse(rbk_http_chunks *c, int status, const char *why)
{
    c->why = why;
    return status;
}

static int hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch = rbk_lower(ch);
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* What a header value or a quoted text may hold. */
static bool is_text(unsigned char c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

void rbk_http_chunks_begin(rbk_http_chunks *c, const rbk_http_head *h)
{
    *c = (rbk_http_chunks){.bytes = h->raw.n - h->fields_at, .n_lines = h->n_lines};
}

static int read_size(rbk_http_chunks *c, char ch)
{
    int d = hex_digit(ch);
    if (d >= 0) {
        if (++c->digits > DIGITS_MAX)
            return refuse(c, 400, "chunk size too long");
        c->left = c->left << 4 | (unsigned)d;
        return RBK_HTTP_MORE;
    }
    if (c->digits == 0 || (ch != '\r' && ch != ';'))
        return refuse(c, 400, "bad chunk size");
    c->state = ch == '\r' ? SIZE_LF : EXT_NAME;
    c->digits = 0; /* from here: letters of the name or value being read */
    return RBK_HTTP_MORE;
}

/* ";" name [ "=" ( token / quoted-string ) ], any number of them */
static int read_extension(rbk_http_chunks *c, char ch)
{
    if (++c->extensions > EXTENSIONS_MAX)
        return refuse(c, 400, "chunk extensions too long");
    if (c->state == EXT_QUOTED || c->state == EXT_ESCAPED) {
        if (!is_text((unsigned char)ch))
            return refuse(c, 400, "bad chunk extension");
        if (c->state == EXT_ESCAPED)
            c->state = EXT_QUOTED;
        else if (ch == '\\' || ch == '"')
            c->state = ch == '"' ? EXT_AFTER : EXT_ESCAPED;
        return RBK_HTTP_MORE;
    }
    if (c->state != EXT_AFTER && rbk_http_is_tchar((unsigned char)ch)) {
        c->digits = 1;
        return RBK_HTTP_MORE;
    }
    bool begun = c->digits || c->state == EXT_AFTER;
    if (c->state == EXT_VALUE && ch == '"' && !begun)
        c->state = EXT_QUOTED;
    else if (c->state == EXT_NAME && ch == '=' && begun)
        c->state = EXT_VALUE;
    else if (ch == ';' && begun)
        c->state = EXT_NAME;
    else if (ch == '\r' && begun)
        c->state = SIZE_LF;
    else
        return refuse(c, 400, "bad chunk extension");
    c->digits = 0;
    return RBK_HTTP_MORE;
}

static int read_trailer(rbk_http_chunks *c, const rbk_http_conf *conf, char ch)
{
    if (++c->bytes > conf->max_head + 2 || ++c->line > conf->max_line + 1)
        return refuse(c, 431, "trailer section too large");
    if (c->state == TRAILER_VALUE) {
        if (ch == '\r')
            c->state = TRAILER_LF;
        else if (!is_text((unsigned char)ch))
            return refuse(c, 400, "bad trailer");
        return RBK_HTTP_MORE;
    }
    if (c->line == 1 && ch == '\r') {
        c->state = END_LF;
    } else if (c->line > 1 && ch == ':') {
        if (++c->n_lines > conf->max_fields)
            return refuse(c, 431, "too many trailers");
        c->state = TRAILER_VALUE;
    } else if (!rbk_http_is_tchar((unsigned char)ch)) {
        return refuse(c, 400, "bad trailer");
    }
    return RBK_HTTP_MORE;
}

/* The end of a line, or of a chunk's data: just this letter may come. */
static int expect_letter(rbk_http_chunks *c, char ch)
{
    if (ch != (c->state == DATA_CR ? '\r' : '\n'))
        return refuse(c, 400, "a line of the chunked body ends badly");
    switch (c->state) {
    case SIZE_LF:
        c->state = c->left ? DATA : TRAILER_NAME;
        break;
    case DATA_CR:
        c->state = DATA_LF;
        break;
    case DATA_LF:
        c->state = SIZE;
        break;
    case TRAILER_LF:
        c->state = TRAILER_NAME;
        c->line = 0;
        break;
    default:
        c->state = END;
        return RBK_HTTP_DONE;
    }
    return RBK_HTTP_MORE;
}

static int read_letter(rbk_http_chunks *c, const rbk_http_conf *conf, char ch)
{
    switch (c->state) {
    case SIZE:
        return read_size(c, ch);
    case EXT_NAME:
    case EXT_VALUE:
    case EXT_QUOTED:
    case EXT_ESCAPED:
    case EXT_AFTER:
        return read_extension(c, ch);
    case TRAILER_NAME:
    case TRAILER_VALUE:
        return read_trailer(c, conf, ch);
    default:
        return expect_letter(c, ch);
    }
}

static int read_data(rbk_http_chunks *c, rbk_buf *body, rbk_str in, size_t *used)
{
    size_t n = in.n - *used;
    if (c->left < n)
        n = (size_t)c->left;
    rbk_buf_add(body, in.p + *used, n);
    if (rbk_buf_err(body))
        return refuse(c, 503, "out of memory");
    *used += n;
    c->left -= n;
    if (c->left == 0)
        c->state = DATA_CR;
    return RBK_HTTP_MORE;
}

int rbk_http_chunks_feed(rbk_http_chunks *c, const rbk_http_conf *conf, rbk_buf *body, rbk_str in,
                         size_t *ret_used)
{
    size_t used = 0;
    int r = RBK_HTTP_MORE;
    while (r == RBK_HTTP_MORE && used < in.n) {
        if (c->state == DATA)
            r = read_data(c, body, in, &used);
        else
            r = read_letter(c, conf, in.p[used++]);
        /* A size that cannot fit is refused before its data comes. */
        if (r == RBK_HTTP_MORE && c->state == SIZE_LF && c->left > body->max - body->n)
            r = refuse(c, 413, "body too large");
    }
    *ret_used = used;
    return r;
}
