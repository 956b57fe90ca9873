/* SPDX-License-Identifier: Apache-2.0 */
/* server/options_ini.c - settings from an INI file (base/ini.h), and as one: sections `[name]`
 * and `[method "pattern"]`. One thread. */
#include "server/options_impl.h"

#include "base/ini.h"
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
    char prefix[KEY_MAX]; /* `server.` or `method."pattern".` */
} reader;

static bool is_section(rbk_str name)
{
    for (const rbk_option *opt = rbk_option_table; opt->name; opt++)
        if (rbk_str_eqz(name, opt->section))
            return true;
    return false;
}

static int read_section(void *user, rbk_str name, rbk_str pattern, rbk_error *err)
{
    reader *rd = user;
    if (pattern.p == NULL && rbk_str_starts(name, RBK_STR("method ")))
        return rbk_fail(err, RBK_E_CONFIG, "the pattern needs quotes: [method \"Order.*\"]");
    if (!is_section(name) || (pattern.p && !rbk_str_eqz(name, "method")))
        return rbk_fail(err, RBK_E_CONFIG, "unknown section");
    if (pattern.p && (pattern.n == 0 || pattern.n > RBK_OPTION_PATTERN_MAX))
        return rbk_fail(err, RBK_E_CONFIG, "the pattern is empty or too long");
    rbk_buf b = {.p = rd->prefix, .cap = sizeof rd->prefix - 1, .max = sizeof rd->prefix - 1};
    rbk_buf_str(&b, name);
    if (pattern.p)
        rbk_buf_addf(&b, ".\"%.*s\"", RBK_FMT(pattern));
    rbk_buf_c(&b, '.');
    rd->prefix[b.n] = 0;
    return 0;
}

static int read_pair(void *user, rbk_str name, rbk_str value, rbk_error *err)
{
    char key[KEY_MAX + RBK_INI_LINE_MAX + 1];
    reader *rd = user;
    rbk_buf b = {.p = key, .cap = sizeof key, .max = sizeof key};
    rbk_buf_z(&b, rd->prefix);
    rbk_buf_str(&b, name);
    if (rbk_map_get(rd->seen, rbk_buf_view(&b)))
        return rbk_fail(err, RBK_E_CONFIG, "%.*s: is set twice in this file",
                        b.n > 300 ? 300 : RBK_FMT(rbk_buf_view(&b)));
    int r = rbk_map_put(rd->seen, rbk_buf_view(&b), rd, NULL);
    return r < 0 ? r : rbk_options_set(rd->o, rbk_buf_view(&b), value, err);
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
    reader rd = {.o = o, .seen = rbk_map_new()};
    rbk_ini ini = {.path = path, .like = "[server] or [method \"Order.*\"]",
                   .section = read_section, .pair = read_pair, .user = &rd};
    int r = rd.seen ? read_file(path, &b, err) : rbk_fail(err, RBK_E_NOMEM, "out of memory");
    if (r == 0)
        r = rbk_ini_read(&ini, rbk_buf_view(&b), err);
    rbk_map_free(rd.seen);
    rbk_buf_free(&b);
    return r;
}

static void dump_value(const rbk_option *opt, const void *base, rbk_buf *b)
{
    rbk_buf v = RBK_BUF(RBK_OPTION_TEXT_MAX);
    rbk_option_print(opt, base, &v);
    rbk_str s = rbk_buf_view(&v);
    bool plain = rbk_ini_is_plain(s);
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
