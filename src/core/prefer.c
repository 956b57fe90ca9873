/* SPDX-License-Identifier: Apache-2.0 */
/* core/prefer.c - see prefer.h. A list of preferences, divided by commas, each a name, perhaps
 * with a value, perhaps with parameters behind semicolons; a quoted value may hold either. */
#include "core/prefer.h"

/* How far it is to the first `end` that stands outside quotes, or to the end of `s`. */
static size_t span(rbk_str s, char end)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (quoted && s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            quoted = !quoted;
        else if (s.p[i] == end && !quoted)
            return i;
    }
    return s.n;
}

/* What stands before `end`; `s` goes on behind it. */
static rbk_str cut(rbk_str *s, char end)
{
    size_t n = span(*s, end);
    rbk_str part = {s->p, n};
    *s = n < s->n ? (rbk_str){s->p + n + 1, s->n - n - 1} : (rbk_str){s->p + n, 0};
    return rbk_str_trim(part);
}

/* Whole seconds, in quotes or without; -1: it is no such thing. */
static int64_t read_seconds(rbk_str s)
{
    int64_t ms = 0;
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
        s = (rbk_str){s.p + 1, s.n - 2};
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        ms = ms * 10 + (s.p[i] - '0') * 1000;
        if (ms > RBK_PREFER_WAIT_MAX_MS)
            ms = RBK_PREFER_WAIT_MAX_MS;
    }
    return s.n ? ms : -1;
}

void rbk_prefer_read(rbk_prefer *p, rbk_str value)
{
    while (value.n) {
        rbk_str one = cut(&value, ',');
        rbk_str said = cut(&one, ';'); /* parameters mean nothing to us */
        rbk_str name = cut(&said, '=');
        if (rbk_str_ieqz(name, "respond-async"))
            p->respond_async = true;
        else if (rbk_str_ieqz(name, "wait") && p->wait_ms < 0)
            p->wait_ms = read_seconds(rbk_str_trim(said));
    }
}
