/* SPDX-License-Identifier: Apache-2.0 */
/* base/ini.c - see ini.h. The reader is our own because inih cuts section and key names at 49
 * bytes without a word, and keeps its limits in variables of the whole process. */
#include "base/ini.h"

#include "base/error.h"

#include <stdio.h>

typedef struct reader {
    rbk_ini *ini;
    size_t line;
    bool in_section;
} reader;

static int fail_line(const reader *rd, rbk_error *err, const char *what)
{
    return rbk_fail(err, RBK_E_CONFIG, "%s:%zu: %s", rd->ini->path, rd->line, what);
}

/* What a function said, behind file and line. */
static int pass_on(const reader *rd, int r, const rbk_error *what, rbk_error *err)
{
    return rbk_fail(err, r, "%s:%zu: %s", rd->ini->path, rd->line,
                    r == RBK_E_NOMEM ? "out of memory" : what->detail);
}

/* What follows a section or a quoted value: nothing, or a comment. */
static bool is_rest_empty(rbk_str s)
{
    rbk_str t = rbk_str_trim(s);
    return t.n == 0 || ((t.p[0] == '#' || t.p[0] == ';') && t.p != s.p);
}

/* Cut a comment off a bare value: a sign at its start or behind a blank. */
static rbk_str without_comment(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] == '#' || s.p[i] == ';') && (i == 0 || s.p[i - 1] == ' ' || s.p[i - 1] == '\t'))
            return rbk_str_trim((rbk_str){s.p, i});
    return s;
}

bool rbk_ini_is_plain(rbk_str s)
{
    return s.n == 0 ||
           (s.p[0] != '"' && rbk_str_trim(s).n == s.n && without_comment(s).n == s.n);
}

static bool is_name(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool digit = i > 0 && s.p[i] >= '0' && s.p[i] <= '9';
        if (!(s.p[i] >= 'a' && s.p[i] <= 'z') && s.p[i] != '_' && !digit)
            return false;
    }
    return s.n > 0;
}

/* `line` begins with '['. */
static int read_section(reader *rd, rbk_str line, rbk_error *err)
{
    char text[160];
    size_t i = 1;
    rbk_error what = {0};
    while (i < line.n && line.p[i] != ']' && line.p[i] != '"')
        i++;
    rbk_str name = rbk_str_trim((rbk_str){line.p + 1, i - 1}), quoted = RBK_STR_NONE;
    if (i < line.n && line.p[i] == '"') {
        const char *from = line.p + i + 1;
        const char *quote = memchr(from, '"', line.n - i - 1);
        if (quote == NULL)
            return fail_line(rd, err, "a quote is not closed");
        quoted = (rbk_str){from, (size_t)(quote - from)};
        for (i += quoted.n + 2; i < line.n && (line.p[i] == ' ' || line.p[i] == '\t');)
            i++;
    }
    if (i >= line.n || line.p[i] != ']' || !is_rest_empty((rbk_str){line.p + i + 1, line.n - i - 1})) {
        snprintf(text, sizeof text, "is not a section like %.120s", rd->ini->like);
        return fail_line(rd, err, text);
    }
    rd->in_section = true;
    int r = rd->ini->section(rd->ini->user, name, quoted, &what);
    return r < 0 ? pass_on(rd, r, &what, err) : 0;
}

/* The text between quotes, into `out`. NULL, or what is wrong. */
static const char *unquote(rbk_str s, char *out, size_t *ret_n)
{
    size_t i = 1, n = 0;
    for (; i < s.n && s.p[i] != '"'; i++) {
        if (s.p[i] == '\\') {
            i++;
            if (i == s.n || (s.p[i] != '"' && s.p[i] != '\\'))
                return "a backslash in quotes stands before a quote or a backslash only";
        }
        out[n++] = s.p[i];
    }
    if (i >= s.n)
        return "a quote is not closed";
    if (!is_rest_empty((rbk_str){s.p + i + 1, s.n - i - 1}))
        return "something follows the closing quote";
    *ret_n = n;
    return NULL;
}

static int read_pair(reader *rd, rbk_str line, rbk_error *err)
{
    char value[RBK_INI_LINE_MAX];
    rbk_error what = {0};
    const char *wrong = NULL, *eq = memchr(line.p, '=', line.n);
    if (eq == NULL)
        return fail_line(rd, err, "is neither a section nor a line like key = value");
    rbk_str name = rbk_str_trim((rbk_str){line.p, (size_t)(eq - line.p)});
    rbk_str text = rbk_str_trim((rbk_str){eq + 1, line.n - (size_t)(eq - line.p) - 1});
    if (!is_name(name))
        return fail_line(rd, err, "the key has other characters than a-z, 0-9 and _");
    if (!rd->in_section)
        return fail_line(rd, err, "the key stands before the first section");
    bool quoted = text.n && text.p[0] == '"';
    if (quoted && (wrong = unquote(text, value, &text.n)) != NULL)
        return fail_line(rd, err, wrong);
    if (quoted)
        text.p = value;
    else
        text = without_comment(text);
    int r = rd->ini->pair(rd->ini->user, name, text, &what);
    explicit_bzero(value, quoted ? text.n : 0); /* some are secrets */
    return r < 0 ? pass_on(rd, r, &what, err) : 0;
}

static int read_line(reader *rd, rbk_str line, rbk_error *err)
{
    if (line.n > RBK_INI_LINE_MAX)
        return fail_line(rd, err, "the line is longer than 4096 bytes");
    if (line.n && memchr(line.p, 0, line.n))
        return fail_line(rd, err, "the line has a NUL byte");
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    line = rbk_str_trim(line);
    if (line.n == 0 || line.p[0] == '#' || line.p[0] == ';')
        return 0;
    return line.p[0] == '[' ? read_section(rd, line, err) : read_pair(rd, line, err);
}

int rbk_ini_read(rbk_ini *ini, rbk_str text, rbk_error *err)
{
    reader rd = {.ini = ini};
    rbk_str mark = RBK_STR("\xef\xbb\xbf");
    int r = 0;
    ini->end = rbk_str_starts(text, mark) ? mark.n : 0;
    while (r == 0 && ini->end < text.n) {
        rbk_str rest = {text.p + ini->end, text.n - ini->end};
        const char *stop = memchr(rest.p, '\n', rest.n);
        size_t n = stop ? (size_t)(stop - rest.p) : rest.n;
        ini->begin = ini->end;
        ini->end += n + (stop != NULL);
        rd.line++;
        r = read_line(&rd, (rbk_str){rest.p, n}, err);
    }
    return r;
}
