/* SPDX-License-Identifier: Apache-2.0 */
/* server/options_ini.c - settings from an INI file, and as one.
 *
 * Sections `[name]` and `[method "pattern"]`, lines `key = value`. `#` and `;` begin a
 * comment at the start of a line or behind a blank. A value in double quotes keeps its
 * blanks and comment signs; \" and \\ are a quote and a backslash there. Nothing is cut
 * and nothing continues on the next line: what does not fit is a fault, with its line.
 * The reader is our own because inih cuts section and key names at 49 bytes without a
 * word, and keeps its limits in variables of the whole process. One thread. */
#include "server/options_impl.h"

#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 1 << 20, KEY_MAX = 400 };

typedef struct reader {
    rbk_options *o;
    rbk_map *seen; /* keys of this file */
    const char *path;
    size_t line;
    char prefix[KEY_MAX]; /* `server.` or `method."pattern".`; empty before a section */
} reader;

static int fail_line(const reader *rd, rbk_error *err, const char *what)
{
    return rbk_fail(err, RBK_E_CONFIG, "%s:%zu: %s", rd->path, rd->line, what);
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

static bool is_name(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!(s.p[i] >= 'a' && s.p[i] <= 'z') && s.p[i] != '_')
            return false;
    return s.n > 0;
}

static bool is_section(rbk_str name)
{
    for (const rbk_option *opt = rbk_option_table; opt->name; opt++)
        if (rbk_str_eqz(name, opt->section))
            return true;
    return false;
}

/* `line` begins with '['. */
static int read_section(reader *rd, rbk_str line, rbk_error *err)
{
    size_t i = 1;
    while (i < line.n && line.p[i] != ']' && line.p[i] != '"')
        i++;
    rbk_str name = rbk_str_trim((rbk_str){line.p + 1, i - 1}), pattern = RBK_STR_NONE;
    if (i < line.n && line.p[i] == '"') {
        const char *from = line.p + i + 1;
        const char *quote = memchr(from, '"', line.n - i - 1);
        if (quote == NULL)
            return fail_line(rd, err, "a quote is not closed");
        pattern = (rbk_str){from, (size_t)(quote - from)};
        for (i += pattern.n + 2; i < line.n && (line.p[i] == ' ' || line.p[i] == '\t');)
            i++;
    }
    if (i >= line.n || line.p[i] != ']' || !is_rest_empty((rbk_str){line.p + i + 1, line.n - i - 1}))
        return fail_line(rd, err, "is not a section like [server] or [method \"Order.*\"]");
    if (pattern.p == NULL && rbk_str_starts(name, RBK_STR("method ")))
        return fail_line(rd, err, "the pattern needs quotes: [method \"Order.*\"]");
    if (!is_section(name) || (pattern.p && !rbk_str_eqz(name, "method")))
        return fail_line(rd, err, "unknown section");
    if (pattern.p && (pattern.n == 0 || pattern.n > RBK_OPTION_PATTERN_MAX))
        return fail_line(rd, err, "the pattern is empty or too long");
    rbk_buf b = {.p = rd->prefix, .cap = sizeof rd->prefix - 1, .max = sizeof rd->prefix - 1};
    rbk_buf_str(&b, name);
    if (pattern.p)
        rbk_buf_addf(&b, ".\"%.*s\"", RBK_FMT(pattern));
    rbk_buf_c(&b, '.');
    rd->prefix[b.n] = 0;
    return 0;
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
    char key[KEY_MAX + RBK_OPTION_LINE_MAX + 1], value[RBK_OPTION_LINE_MAX];
    rbk_error what = {0};
    const char *eq = memchr(line.p, '=', line.n);
    if (eq == NULL)
        return fail_line(rd, err, "is neither a section nor a line like key = value");
    rbk_str name = rbk_str_trim((rbk_str){line.p, (size_t)(eq - line.p)});
    rbk_str text = rbk_str_trim((rbk_str){eq + 1, line.n - (size_t)(eq - line.p) - 1});
    if (!is_name(name))
        return fail_line(rd, err, "the key has other characters than a-z and _");
    if (rd->prefix[0] == 0)
        return fail_line(rd, err, "the key stands before the first section");
    if (text.n && text.p[0] == '"') {
        const char *wrong = unquote(text, value, &text.n);
        if (wrong)
            return fail_line(rd, err, wrong);
        text.p = value;
    } else {
        text = without_comment(text);
    }
    rbk_buf b = {.p = key, .cap = sizeof key, .max = sizeof key};
    rbk_buf_z(&b, rd->prefix);
    rbk_buf_str(&b, name);
    if (rbk_map_get(rd->seen, rbk_buf_view(&b)))
        return rbk_fail(err, RBK_E_CONFIG, "%s:%zu: %.*s: is set twice in this file", rd->path,
                        rd->line, b.n > 300 ? 300 : RBK_FMT(rbk_buf_view(&b)));
    int r = rbk_map_put(rd->seen, rbk_buf_view(&b), rd, NULL);
    if (r == 0)
        r = rbk_options_set(rd->o, rbk_buf_view(&b), text, &what);
    if (r < 0)
        rbk_fail(err, r, "%s:%zu: %s", rd->path, rd->line,
                 r == RBK_E_NOMEM ? "out of memory" : what.detail);
    return r;
}

static int read_line(reader *rd, rbk_str line, rbk_error *err)
{
    if (line.n > RBK_OPTION_LINE_MAX)
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

/* A FIFO or a device could hold its reader for ever. */
static int open_regular(const char *path, rbk_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return rbk_fail(err, RBK_E_CONFIG, "%s: cannot be read: %s", path, strerror(errno));
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return rbk_fail(err, RBK_E_CONFIG, "%s: cannot be read: it is not a regular file", path);
}

static int read_file(const char *path, rbk_buf *b, rbk_error *err)
{
    int r = 0, fd = open_regular(path, err);
    ssize_t n = 1;
    if (fd < 0)
        return fd;
    while (n != 0 && r == 0) {
        r = rbk_buf_reserve(b, 4096);
        if (r < 0)
            break;
        n = read(fd, b->p + b->n, 4096);
        if (n > 0)
            b->n += (size_t)n;
        else if (n < 0 && errno != EINTR)
            r = rbk_fail(err, RBK_E_CONFIG, "%s: cannot be read: %s", path, strerror(errno));
    }
    if (r == RBK_E_TOO_LARGE)
        r = rbk_fail(err, RBK_E_CONFIG, "%s: is larger than %d bytes", path, FILE_BYTES_MAX);
    else if (r == RBK_E_NOMEM)
        rbk_fail(err, r, "%s: out of memory", path);
    close(fd);
    return r;
}

int rbk_options_load(rbk_options *o, const char *path, rbk_error *err)
{
    rbk_buf b = RBK_BUF(FILE_BYTES_MAX + 4096);
    reader rd = {.o = o, .path = path, .seen = rbk_map_new()};
    int r = rd.seen ? read_file(path, &b, err) : rbk_fail(err, RBK_E_NOMEM, "out of memory");
    rbk_str rest = rbk_buf_view(&b);
    if (rbk_str_starts(rest, RBK_STR("\xef\xbb\xbf")))
        rest = (rbk_str){rest.p + 3, rest.n - 3};
    while (r == 0 && rest.n) {
        const char *end = memchr(rest.p, '\n', rest.n);
        size_t n = end ? (size_t)(end - rest.p) : rest.n;
        rd.line++;
        r = read_line(&rd, (rbk_str){rest.p, n}, err);
        n += end != NULL;
        rest = (rbk_str){rest.p + n, rest.n - n};
    }
    rbk_map_free(rd.seen);
    rbk_buf_free(&b);
    return r;
}

static void dump_value(const rbk_option *opt, const void *base, rbk_buf *b)
{
    rbk_buf v = RBK_BUF(RBK_OPTION_TEXT_MAX);
    rbk_option_print(opt, base, &v);
    rbk_str s = rbk_buf_view(&v), bare = rbk_str_trim(s);
    bool plain = s.n == 0 || (s.p[0] != '"' && bare.n == s.n && without_comment(s).n == s.n);
    rbk_buf_addf(b, s.n ? "%s = " : "%s =", opt->name);
    if (plain)
        rbk_buf_str(b, s);
    else
        rbk_buf_c(b, '"');
    for (size_t i = 0; !plain && i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            rbk_buf_c(b, '\\');
        rbk_buf_c(b, s.p[i]);
    }
    rbk_buf_z(b, plain ? "\n" : "\"\n");
    if (v.err)
        b->err = v.err;
    rbk_buf_free(&v);
}

void rbk_options_dump(const rbk_options *o, rbk_buf *b)
{
    const char *section = "";
    for (const rbk_option *opt = rbk_option_table; opt->name; opt++) {
        if (strcmp(section, opt->section) != 0)
            rbk_buf_addf(b, "%s[%s]\n", section[0] ? "\n" : "", opt->section);
        section = opt->section;
        dump_value(opt, o, b);
    }
    for (size_t i = 0; i < o->n_rules; i++) {
        rbk_buf_addf(b, "\n[method \"%s\"]\n", o->rules[i].pattern);
        for (const rbk_option *opt = rbk_option_rule_table; opt->name; opt++)
            dump_value(opt, &o->rules[i], b);
    }
}
