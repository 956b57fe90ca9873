/* SPDX-License-Identifier: Apache-2.0 */
/* method/upstream_url.c - where an upstream is; see upstream.h.
 *
 * Host, port and target are read by the parser of callbacks, which repairs nothing. A Unix socket
 * stands either percent-encoded where the host would be, as clients in Python and Go spell it, or
 * between two colons, as nginx does; the rest is then read as if the host were localhost. Pure. */
#include "method/upstream.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = rbk_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Into `path`; false when it is none, or too long. */
static bool decode_path(rbk_str s, bool encoded, char path[RBK_PATH_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (encoded && c == '%') {
            int hi = i + 2 < s.n ? hex_value(s.p[i + 1]) : -1;
            int lo = i + 2 < s.n ? hex_value(s.p[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return false;
            c = (char)(hi << 4 | lo);
            i += 2;
        }
        if ((unsigned char)c < 0x20 || n == RBK_PATH_MAX)
            return false;
        path[n++] = c;
    }
    path[n] = 0;
    return n > 1 && path[0] == '/';
}

/* "http+unix:" is taken off. */
static const char *parse_unix(rbk_str rest, rbk_upstream_url *ret)
{
    bool encoded = rbk_str_starts(rest, RBK_STR("//"));
    rbk_str where = encoded ? (rbk_str){rest.p + 2, rest.n - 2} : rest;
    const char *end = where.n ? memchr(where.p, encoded ? '/' : ':', where.n) : NULL;
    rbk_str path = {where.p, end ? (size_t)(end - where.p) : where.n};
    rbk_str target = {where.p + path.n, where.n - path.n};
    if (!encoded && target.n) {
        target.p++;
        target.n--;
    }
    if (!decode_path(path, encoded, ret->path))
        return "needs the absolute path of a socket of at most 107 bytes, like "
               "http+unix://%2Frun%2Fapp.sock/api";
    if (target.n && target.p[0] != '/')
        return "needs a path like /api behind the socket's";
    memcpy(ret->text, "http://localhost", 16);
    memcpy(ret->text + 16, target.p, target.n);
    ret->text[16 + target.n] = 0;
    return NULL;
}

const char *rbk_upstream_url_parse(rbk_str text, rbk_upstream_url *ret)
{
    rbk_str prefix = RBK_STR("http+unix:");
    *ret = (rbk_upstream_url){0};
    if (text.n > RBK_UPSTREAM_URL_MAX)
        return "is too long";
    if (rbk_str_starts(text, prefix)) {
        const char *wrong = parse_unix((rbk_str){text.p + prefix.n, text.n - prefix.n}, ret);
        if (wrong)
            return wrong;
    } else if (text.n) {
        memcpy(ret->text, text.p, text.n);
    }
    switch (rbk_dsn_parse(rbk_str_z(ret->text), RBK_STR("http,https"), &ret->dsn)) {
    case RBK_DSN_OK:
        break;
    case RBK_DSN_USERINFO:
        return "must have no user or password in it; a token goes into upstream_token_file";
    case RBK_DSN_PROTOCOL:
    case RBK_DSN_NO_PROTOCOL:
    case RBK_DSN_EMPTY:
        return "is none of http://host:port/path, https://… and http+unix://%2Frun%2Fapp.sock/path";
    default:
        return "is not a URL like http://127.0.0.1:8080/api";
    }
    ret->tls = ret->dsn.scheme_lower[4] == 's';
    ret->port = ret->dsn.port ? ret->dsn.port : 80;
    return NULL;
}
