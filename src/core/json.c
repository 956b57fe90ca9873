/* SPDX-License-Identifier: Apache-2.0 */
/* core/json.c - see json.h. Nothing here recurses: depth is bounded before yyjson
 * sees the text, so that a body of brackets costs one pass over it and no memory. */
#include "core/json.h"

#include "core/rpc.h"

#include <yyjson.h>

/* '[' and '{' differ in one bit, and so do ']' and '}'. */
static bool is_opener(char c)
{
    return (c | 0x20) == '{';
}

static bool is_closer(char c)
{
    return (c | 0x20) == '}';
}

static size_t count_openers(rbk_str t)
{
    size_t n = 0;
    for (size_t i = 0; i < t.n; i++)
        n += is_opener(t.p[i]);
    return n;
}

/* The text need not be valid: up to its first fault the lexing is that of JSON. */
static bool is_too_deep(rbk_str t)
{
    if (count_openers(t) <= RBK_RPC_DEPTH_MAX)
        return false;
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < t.n; i++) {
        char c = t.p[i];
        if (c == '"')
            quoted = !quoted;
        else if (quoted)
            i += c == '\\';
        else if (is_opener(c) && ++depth > RBK_RPC_DEPTH_MAX)
            return true;
        else if (is_closer(c) && depth > 0)
            depth--;
    }
    return false;
}

int rbk_json_validate(rbk_str text, const struct yyjson_alc *alc, rbk_json_top *ret_top)
{
    if (text.n == 0 || is_too_deep(text))
        return RBK_E_PARSE;
    yyjson_read_err err;
    /* Without YYJSON_READ_INSITU the text is only read. */
    char *dat = (char *)(uintptr_t)text.p;
    yyjson_doc *doc = yyjson_read_opts(dat, text.n, YYJSON_READ_NUMBER_AS_RAW, alc, &err);
    if (doc == NULL)
        return err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? RBK_E_NOMEM : RBK_E_PARSE;
    yyjson_val *root = yyjson_doc_get_root(doc);
    *ret_top = (rbk_json_top){
        .object = yyjson_is_obj(root), .array = yyjson_is_arr(root), .n = yyjson_arr_size(root)};
    yyjson_doc_free(doc);
    return 0;
}

int rbk_json_check(rbk_str text)
{
    rbk_json_top top;
    return rbk_json_validate(text, NULL, &top);
}

/* `p` stands on the opening quote. */
static const char *skip_string(const char *p)
{
    for (p++; *p != '"'; p++)
        p += *p == '\\';
    return p + 1;
}

static const char *skip_container(const char *p)
{
    size_t depth = 0;
    for (;;) {
        if (*p == '"') {
            p = skip_string(p);
            continue;
        }
        if (is_opener(*p))
            depth++;
        else if (is_closer(*p) && --depth == 0)
            return p + 1;
        p++;
    }
}

/* Numbers and literals run to a separator; all of these end below '-' or in a bracket. */
static const char *skip_scalar(const char *p)
{
    while (*p > ' ' && *p != ',' && !is_closer(*p))
        p++;
    return p;
}

rbk_str rbk_json_value(const char **p)
{
    const char *from = *p;
    if (*from == '"')
        *p = skip_string(from);
    else if (is_opener(*from))
        *p = skip_container(from);
    else
        *p = skip_scalar(from);
    return (rbk_str){from, (size_t)(*p - from)};
}

bool rbk_json_member(const char **p, rbk_str *ret_name)
{
    const char *at = rbk_json_blanks(*p);
    if (*at != '}')
        at = rbk_json_blanks(at + 1); /* behind '{' or ',' */
    if (*at == '}') {
        *p = at + 1;
        return false;
    }
    const char *end = skip_string(at);
    *ret_name = (rbk_str){at + 1, (size_t)(end - at) - 2};
    at = rbk_json_blanks(end);
    *p = rbk_json_blanks(at + 1); /* behind ':' */
    return true;
}

bool rbk_json_element(const char **p)
{
    const char *at = rbk_json_blanks(*p);
    if (*at != ']')
        at = rbk_json_blanks(at + 1);
    *p = *at == ']' ? at + 1 : at;
    return *at != ']';
}

static unsigned read_hex4(const char *p)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)p[i];
        v = v << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return v;
}

static char *put_utf8(char *out, unsigned u)
{
    if (u < 0x80) {
        *out++ = (char)u;
        return out;
    }
    if (u < 0x800) {
        *out++ = (char)(0xc0 | u >> 6);
    } else {
        if (u < 0x10000) {
            *out++ = (char)(0xe0 | u >> 12);
        } else {
            *out++ = (char)(0xf0 | u >> 18);
            *out++ = (char)(0x80 | (u >> 12 & 0x3f));
        }
        *out++ = (char)(0x80 | (u >> 6 & 0x3f));
    }
    *out++ = (char)(0x80 | (u & 0x3f));
    return out;
}

/* `*p` stands behind "\u"; surrogates come in pairs, yyjson saw to that. */
static unsigned read_unicode(const char **p)
{
    unsigned u = read_hex4(*p);
    *p += 4;
    if (u >> 10 == 0xd800 >> 10) {
        u = 0x10000 + ((u & 0x3ff) << 10) + (read_hex4(*p + 2) & 0x3ff);
        *p += 6;
    }
    return u;
}

static char unescape_letter(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default: /* quote, slash, backslash */
        return c;
    }
}

rbk_str rbk_json_unescape(rbk_arena *a, rbk_str raw)
{
    if (raw.n == 0 || memchr(raw.p, '\\', raw.n) == NULL)
        return raw;
    char *to = rbk_arena_alloc(a, raw.n), *out = to; /* an escape is longer than its text */
    if (to == NULL)
        return RBK_STR_NONE;
    for (const char *p = raw.p, *end = raw.p + raw.n; p < end;) {
        if (*p != '\\') {
            *out++ = *p++;
        } else if (p[1] == 'u') {
            p += 2;
            out = put_utf8(out, read_unicode(&p));
        } else {
            *out++ = unescape_letter(p[1]);
            p += 2;
        }
    }
    return (rbk_str){to, (size_t)(out - to)};
}

bool rbk_json_number(rbk_str value, double *ret)
{
    yyjson_val v;
    if (value.p[0] != '-' && (value.p[0] < '0' || value.p[0] > '9'))
        return false;
    if (yyjson_read_number(value.p, &v, 0, NULL, NULL) == NULL)
        return false;
    *ret = yyjson_get_num(&v);
    return true;
}
