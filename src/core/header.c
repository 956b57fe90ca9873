/* SPDX-License-Identifier: Apache-2.0 */
/* core/header.c - see header.h. */
#include "core/header.h"

bool rbk_header_is_name(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = rbk_lower(s.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
            (c == 0 || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0;
}

bool rbk_header_is_value(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '\t' && (s.p[i] < ' ' || s.p[i] > '~'))
            return false;
    return s.n > 0;
}

bool rbk_header_is_ours(rbk_str name)
{
    static const char *const names[] = {
        "host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
        "expect", "content-length", "content-type", "content-encoding", "user-agent",
        "webhook-id", "webhook-timestamp", "webhook-signature", "ringback-attempt",
        "proxy-authorization", "proxy-connection", "http2-settings", "accept-encoding"};
    rbk_str ws = RBK_STR("sec-websocket-");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (rbk_str_ieqz(name, names[i]))
            return true;
    return name.n >= ws.n && rbk_str_ieqz((rbk_str){name.p, ws.n}, ws.p);
}

bool rbk_header_line(rbk_str lines, rbk_str name)
{
    while (lines.n > name.n) {
        const char *end = memchr(lines.p, '\n', lines.n);
        if (strncasecmp(lines.p, name.p, name.n) == 0 && lines.p[name.n] == ':')
            return true;
        if (end == NULL)
            break;
        lines = (rbk_str){end + 1, lines.n - (size_t)(end + 1 - lines.p)};
    }
    return false;
}
