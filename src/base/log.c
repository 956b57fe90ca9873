/* SPDX-License-Identifier: Apache-2.0 */
/* base/log.c - makes one line of an event. The line is built on the stack, cut at
 * LINE_MAX_BYTES; nothing of a peer reaches it unescaped. Any thread. */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdio.h>

enum { LINE_MAX_BYTES = 2048, VALUE_MAX = 256 };

static const char *const names[] = {"debug", "info", "warn", "error"};

/* What may stand in a logfmt value without quotes. */
static bool is_plain(rbk_str s)
{
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\' || s.p[i] > '~')
            return false;
    return true;
}

/* Printable ASCII only: a terminal and a log parser see neither control bytes nor
 * broken UTF-8. */
static void add_quoted(rbk_buf *b, rbk_str s)
{
    rbk_buf_c(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            rbk_buf_c(b, '\\');
        if (c >= ' ' && c <= '~')
            rbk_buf_c(b, (char)c);
        else
            rbk_buf_addf(b, "\\u%04x", c);
    }
    rbk_buf_c(b, '"');
}

static void add_field(rbk_buf *b, bool json, const rbk_log_field *f)
{
    if (json)
        rbk_buf_addf(b, ",\"%s\":", f->key);
    else
        rbk_buf_addf(b, " %s=", f->key);
    if (f->text.p == NULL) {
        rbk_buf_addf(b, "%lld", (long long)f->num);
        return;
    }
    rbk_str v = f->text;
    if (v.n > VALUE_MAX)
        v.n = VALUE_MAX;
    if (!json && is_plain(v))
        rbk_buf_str(b, v);
    else
        add_quoted(b, v);
}

void rbk_log_fields(const rbk_log *log, rbk_level level, const char *event,
                    const rbk_log_field *f, size_t n)
{
    if (log == NULL || log->write == NULL || level < log->level)
        return;
    char line[LINE_MAX_BYTES], time[25];
    rbk_buf b = {.p = line, .cap = sizeof line - 4, .max = sizeof line - 4};
    rbk_wall_format(rbk_wall_now(), time);
    if (log->json)
        rbk_buf_addf(&b, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", time, names[level],
                     event);
    else
        rbk_buf_addf(&b, "time=%s level=%s event=%s", time, names[level], event);
    for (size_t i = 0; i < n; i++) {
        size_t before = b.n;
        add_field(&b, log->json, &f[i]);
        if (b.err) { /* a field that does not fit is left out whole */
            b.err = 0;
            b.n = before;
        }
    }
    if (log->json)
        line[b.n++] = '}';
    line[b.n] = 0;
    log->write(log->user, level, line, b.n);
}
