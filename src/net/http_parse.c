/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_parse.c - the head of a request.
 *
 * In two steps, so that the verdict cannot depend on how the bytes were split. While
 * bytes come, lines are cut and bounded: each ends with CRLF, has no other CR, and
 * fits its limit; the request line is checked as soon as it is there. When the empty
 * line has come, llhttp (strict, no lenient flag) reads the whole head at once, and
 * the rules that it leaves open follow: one space between the words of the request
 * line, exactly one valid Host, framing by exactly one of one Content-Length and one
 * `Transfer-Encoding: chunked` (RFC 9112 sections 3.2 and 6).
 *
 * No strtol() or scanf() here: digits are counted, letters are in tables. */
#include "net/http_parse.h"

#include <llhttp.h>
#include <stdlib.h>

enum { KEEP_FIELDS = 32, FIELDS_FIRST = 16 };

static int refuse(rbk_http_head *h, int status, const char *why)
{
    h->why = why;
    return status;
}

bool rbk_http_is_tchar(unsigned char c)
{
    /* One bit a letter: !#$%&'*+-.^_`|~ digits and letters. */
    static const uint32_t set[4] = {0, 0x03ff6cfau, 0xc7fffffeu, 0x57ffffffu};
    return c < 128 && (set[c >> 5] >> (c & 31) & 1);
}

/* strchr() would find NUL too. */
static bool is_one_of(const char *set, char c)
{
    return c != 0 && strchr(set, c) != NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_token(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!rbk_http_is_tchar((unsigned char)s.p[i]))
            return false;
    return s.n > 0;
}

/* --- lines ------------------------------------------------------------------- */

void rbk_http_head_reset(rbk_http_head *h, const rbk_http_conf *conf)
{
    rbk_buf raw = h->raw;
    rbk_http_header *fields = h->fields;
    size_t cap = h->cap_fields;
    raw.max = conf->max_line + conf->max_head + 8;
    rbk_buf_clear(&raw);
    if (raw.cap > RBK_HTTP_KEEP)
        rbk_buf_free(&raw);
    if (cap > KEEP_FIELDS) {
        free(fields);
        fields = NULL;
        cap = 0;
    }
    *h = (rbk_http_head){.raw = raw, .fields = fields, .cap_fields = cap};
}

void rbk_http_head_free(rbk_http_head *h)
{
    rbk_buf_free(&h->raw);
    free(h->fields);
    *h = (rbk_http_head){0};
}

/* method SP request-target SP HTTP-version, with exactly these spaces. */
static int parse_request_line(rbk_http_head *h, rbk_str line)
{
    const char *sp = memchr(line.p, ' ', line.n);
    if (sp == NULL)
        return refuse(h, 400, "malformed request line");
    h->method_n = (size_t)(sp - line.p);
    const char *target = sp + 1, *end = line.p + line.n;
    sp = memchr(target, ' ', (size_t)(end - target));
    if (sp == NULL || sp == target || !is_token((rbk_str){line.p, h->method_n}))
        return refuse(h, 400, "malformed request line");
    h->target_n = (size_t)(sp - target);
    for (const char *p = target; p < sp; p++)
        if (*p < 0x21 || *p > 0x7e || is_one_of("#\"<>\\", *p))
            return refuse(h, 400, "bad character in the request target");
    const char *v = sp + 1;
    if (end - v != 8 || memcmp(v, "HTTP/", 5) != 0 || !is_digit(v[5]) || v[6] != '.' ||
        !is_digit(v[7]))
        return refuse(h, 400, "malformed HTTP version");
    if (v[5] != '1' || v[7] > '1')
        return refuse(h, 505, "HTTP/1.1 and HTTP/1.0 are spoken here");
    h->http10 = v[7] == '0';
    return RBK_HTTP_MORE;
}

static int parse_head(rbk_http_head *h);

/* A line is there: its content is raw[line..n-2]. */
static int end_line(rbk_http_head *h, const rbk_http_conf *conf)
{
    const char *p = h->raw.p + h->line;
    size_t n = h->raw.n - h->line;
    if (n < 2 || p[n - 2] != '\r')
        return refuse(h, 400, "a line ends without CR");
    n -= 2;
    if (memchr(p, '\r', n))
        return refuse(h, 400, "CR within a line");
    if (h->fields_at && n == 0)
        return parse_head(h);
    if (h->fields_at) {
        if (++h->n_lines > conf->max_fields)
            return refuse(h, 431, "too many header fields");
    } else if (n == 0) {
        if (h->skipped)
            return refuse(h, 400, "empty lines before the request line");
        h->skipped = true;
        h->raw.n = 0;
        return RBK_HTTP_MORE;
    } else {
        int r = parse_request_line(h, (rbk_str){p, n});
        if (r != RBK_HTTP_MORE)
            return r;
        h->fields_at = h->raw.n;
    }
    h->line = h->raw.n;
    return RBK_HTTP_MORE;
}

static int add_bytes(rbk_http_head *h, const rbk_http_conf *conf, rbk_str part)
{
    if (h->raw.n - h->line + part.n > conf->max_line + 2)
        return h->fields_at ? refuse(h, 431, "header line too long")
                            : refuse(h, 414, "request line too long");
    if (h->fields_at && h->raw.n - h->fields_at + part.n > conf->max_head + 2)
        return refuse(h, 431, "header section too large");
    rbk_buf_str(&h->raw, part);
    return rbk_buf_err(&h->raw) ? refuse(h, 503, "out of memory") : RBK_HTTP_MORE;
}

int rbk_http_head_feed(rbk_http_head *h, const rbk_http_conf *conf, rbk_str in, size_t *ret_used)
{
    size_t used = 0;
    int r = RBK_HTTP_MORE;
    h->begun |= in.n > 0;
    while (r == RBK_HTTP_MORE && used < in.n) {
        const char *from = in.p + used;
        const char *lf = memchr(from, '\n', in.n - used);
        size_t take = lf ? (size_t)(lf + 1 - from) : in.n - used;
        r = add_bytes(h, conf, (rbk_str){from, take});
        if (r == RBK_HTTP_MORE && lf)
            r = end_line(h, conf);
        used += take;
    }
    *ret_used = used;
    return r;
}

/* --- the whole head ---------------------------------------------------------- */

static int on_field(llhttp_t *p, const char *at, size_t n)
{
    rbk_http_head *h = p->data;
    if (h->n_fields == h->cap_fields) {
        size_t cap = h->cap_fields ? h->cap_fields * 2 : FIELDS_FIRST;
        rbk_http_header *f = realloc(h->fields, cap * sizeof *f);
        if (f == NULL)
            return HPE_USER;
        h->fields = f;
        h->cap_fields = cap;
    }
    h->fields[h->n_fields++] = (rbk_http_header){.name = {at, n}, .value = {at + n, 0}};
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    rbk_http_head *h = p->data;
    rbk_http_header *f = &h->fields[h->n_fields - 1];
    /* A value comes in one piece; a second piece would be a folded line. */
    if (h->n_fields == 0 || f->value.n != 0)
        return HPE_USER;
    f->value = (rbk_str){at, n};
    return 0;
}

static int on_complete(llhttp_t *p)
{
    (void)p;
    return HPE_PAUSED; /* the body is read by others */
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_complete,
};

static int run_llhttp(rbk_http_head *h)
{
    llhttp_t parser;
    llhttp_init(&parser, HTTP_REQUEST, &settings);
    parser.data = h;
    switch (llhttp_execute(&parser, h->raw.p, h->raw.n)) {
    case HPE_PAUSED:
        break;
    case HPE_INVALID_METHOD:
        return refuse(h, 501, "unknown method");
    case HPE_USER:
        return refuse(h, 503, "out of memory");
    default:
        return refuse(h, 400, "malformed header section");
    }
    if (h->n_fields != h->n_lines) /* they see the same lines, or somebody is fooled */
        return refuse(h, 400, "folded header line");
    h->keep_alive = llhttp_should_keep_alive(&parser) != 0;
    return RBK_HTTP_MORE;
}

/* uri-host [ ":" port ], RFC 3986 section 3.2.2; percent-encoding is not taken. */
static bool is_host(rbk_str s)
{
    size_t i = 0;
    if (s.n && s.p[0] == '[') {
        for (i = 1; i < s.n && s.p[i] != ']'; i++)
            if (!is_one_of("0123456789abcdefABCDEF:.", s.p[i]))
                return false;
        if (i < 3 || i++ == s.n)
            return false;
    } else {
        while (i < s.n && !is_one_of("#%^`|", s.p[i]) &&
               (rbk_http_is_tchar((unsigned char)s.p[i]) || is_one_of("(),;=", s.p[i])))
            i++;
        if (i == 0)
            return false;
    }
    uint64_t port;
    return i == s.n ||
           (s.p[i] == ':' &&
            (i + 1 == s.n || rbk_str_u64((rbk_str){s.p + i + 1, s.n - i - 1}, 65535, &port) == 0));
}

/* Only `chunked` is understood. A list of other codings that ends with it is 501; what
 * leaves the length of the body in doubt is 400. */
static int check_codings(rbk_http_head *h, rbk_str v)
{
    if (rbk_str_ieqz(v, "chunked")) {
        h->chunked = true;
        return RBK_HTTP_MORE;
    }
    size_t n_chunked = 0;
    bool last = false;
    for (const char *end = v.p + v.n;;) {
        const char *comma = memchr(v.p, ',', (size_t)(end - v.p));
        rbk_str one = rbk_str_trim((rbk_str){v.p, (size_t)((comma ? comma : end) - v.p)});
        if (!is_token(one))
            return refuse(h, 400, "malformed Transfer-Encoding");
        last = rbk_str_ieqz(one, "chunked");
        n_chunked += last;
        if (comma == NULL)
            break;
        v.p = comma + 1;
    }
    if (last && n_chunked == 1)
        return refuse(h, 501, "unknown transfer coding");
    return refuse(h, 400, "chunked must be the last transfer coding");
}

/* ASCII case is ignored, whatever the locale. */
static bool starts_with(rbk_str s, rbk_str prefix)
{
    if (s.n < prefix.n)
        return false;
    for (size_t i = 0; i < prefix.n; i++)
        if (rbk_lower(s.p[i]) != rbk_lower(prefix.p[i]))
            return false;
    return true;
}

/* Of an absolute form leave the path; its authority must be what Host says. */
static int cut_authority(rbk_http_head *h, rbk_str *target, rbk_str host)
{
    rbk_str t = *target;
    size_t from = starts_with(t, RBK_STR("http://"))    ? 7
                  : starts_with(t, RBK_STR("https://")) ? 8
                                                        : 0;
    if (from == 0)
        return refuse(h, 400, "request target must begin with a slash");
    size_t i = from;
    while (i < t.n && t.p[i] != '/' && t.p[i] != '?')
        i++;
    rbk_str authority = {t.p + from, i - from};
    if (!is_host(authority) || (host.p && (authority.n != host.n || !starts_with(authority, host))))
        return refuse(h, 400, "request target and Host differ");
    *target = (rbk_str){t.p + i, t.n - i};
    return RBK_HTTP_MORE;
}

/* Origin form, or absolute form (RFC 9112 section 3.2). */
static int split_target(rbk_http_head *h, rbk_str target, rbk_str host)
{
    if (target.p[0] != '/') {
        int r = cut_authority(h, &target, host);
        if (r != RBK_HTTP_MORE)
            return r;
    }
    const char *q = target.n ? memchr(target.p, '?', target.n) : NULL;
    h->path = q ? (rbk_str){target.p, (size_t)(q - target.p)} : target;
    h->query = q ? (rbk_str){q + 1, target.n - h->path.n - 1} : RBK_STR_NONE;
    if (h->path.n == 0)
        h->path = RBK_STR("/");
    return RBK_HTTP_MORE;
}

typedef struct framing {
    rbk_str host, length, coding;
} framing;

/* A header that may stand once alone. */
static int take_once(rbk_http_head *h, rbk_str *slot, rbk_str value, const char *twice)
{
    if (slot->p)
        return refuse(h, 400, twice);
    *slot = value;
    return RBK_HTTP_MORE;
}

static int look_at_field(rbk_http_head *h, rbk_http_header *f, framing *fr)
{
    f->value = rbk_str_trim(f->value);
    switch (f->name.n) { /* most headers end here */
    case 4:
        if (rbk_str_ieqz(f->name, "Host"))
            return take_once(h, &fr->host, f->value, "two Host headers");
        break;
    case 6:
        if (rbk_str_ieqz(f->name, "Expect"))
            h->expect = h->expect == RBK_HTTP_EXPECT_NONE && rbk_str_ieqz(f->value, "100-continue")
                            ? RBK_HTTP_EXPECT_100
                            : RBK_HTTP_EXPECT_OTHER;
        break;
    case 14:
        if (rbk_str_ieqz(f->name, "Content-Length"))
            return take_once(h, &fr->length, f->value, "two Content-Length headers");
        break;
    case 16:
        if (rbk_str_ieqz(f->name, "Content-Encoding"))
            h->encoded = true;
        break;
    case 17:
        if (rbk_str_ieqz(f->name, "Transfer-Encoding"))
            return take_once(h, &fr->coding, f->value, "two Transfer-Encoding headers");
        break;
    default:
        break;
    }
    return RBK_HTTP_MORE;
}

static int check_framing(rbk_http_head *h, const framing *fr)
{
    if (fr->host.p ? !is_host(fr->host) : !h->http10)
        return refuse(h, 400, fr->host.p ? "bad Host header" : "no Host header");
    if (fr->coding.p && (fr->length.p || h->http10))
        return refuse(h, 400, "Transfer-Encoding with Content-Length or in HTTP/1.0");
    if (fr->coding.p)
        return check_codings(h, fr->coding);
    if (fr->length.p && rbk_str_u64(fr->length, INT64_MAX, &h->length) < 0)
        return refuse(h, 400, "bad Content-Length");
    return RBK_HTTP_MORE;
}

static int parse_head(rbk_http_head *h)
{
    framing fr = {0};
    int r = run_llhttp(h);
    for (size_t i = 0; r == RBK_HTTP_MORE && i < h->n_fields; i++)
        r = look_at_field(h, &h->fields[i], &fr);
    if (r == RBK_HTTP_MORE)
        r = check_framing(h, &fr);
    if (r == RBK_HTTP_MORE)
        r = split_target(h, (rbk_str){h->raw.p + h->method_n + 1, h->target_n}, fr.host);
    if (r != RBK_HTTP_MORE)
        return r;
    h->method = (rbk_str){h->raw.p, h->method_n};
    if (h->http10) /* RFC 9110 section 10.1.1: not from 1.0 clients */
        h->expect = RBK_HTTP_EXPECT_NONE;
    return RBK_HTTP_DONE;
}
