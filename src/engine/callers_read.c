/* SPDX-License-Identifier: Apache-2.0 */
/* engine/callers_read.c - the table of callers from the text of a tokens file: one row a key.
 *
 * An INI file (base/ini.h) of sections [token "name"]. Keys that are lists may stand several times
 * in a section. No fault quotes a secret, nor a hash. */
#include "engine/callers_impl.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/ini.h"
#include "core/header.h"

#include <stdlib.h>

typedef struct reader {
    rbk_callers *c;
    rbk_caller *now; /* the section that is read */
    unsigned seen;   /* keys of it that stand once, as bits of rows */
    rbk_buf headers; /* lines of the section so far */
} reader;

/* --- Keys: 0, or negative with what is wrong ---------------------------------------------- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_hash(reader *rd, rbk_str value, rbk_error *err)
{
    rbk_caller *c = rd->now;
    uint8_t hash[32];
    bool ok = value.n == 2 * sizeof hash;
    for (size_t i = 0; ok && i < sizeof hash; i++) {
        int hi = hex_digit(value.p[2 * i]), lo = hex_digit(value.p[2 * i + 1]);
        ok = hi >= 0 && lo >= 0;
        hash[i] = ok ? (uint8_t)(hi << 4 | lo) : 0;
    }
    if (!ok)
        return rbk_fail(err, RBK_E_CONFIG, "is not the SHA-256 of a token, 64 digits 0-9 and a-f; "
                                           "ringback token add writes it");
    if (c->n_hashes == RBK_CALLER_SLOTS)
        return rbk_fail(err, RBK_E_CONFIG, "stands more than %d times", RBK_CALLER_SLOTS);
    memcpy(c->hash[c->n_hashes++], hash, sizeof hash);
    return 0;
}

static int read_secret(reader *rd, rbk_str value, rbk_error *err)
{
    rbk_caller *c = rd->now;
    if (c->secrets == NULL && (c->secrets = rbk_sign_keys_new()) == NULL)
        return RBK_E_NOMEM;
    if (rbk_sign_keys_count(c->secrets, RBK_SIGN_HMAC) == RBK_CALLER_SLOTS)
        return rbk_fail(err, RBK_E_CONFIG, "stands more than %d times", RBK_CALLER_SLOTS);
    return rbk_sign_keys_add(c->secrets, value, RBK_SIGN_HMAC, err);
}

static bool is_method_glob(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return false;
    return s.n > 0 && s.n <= 255;
}

static int add_method(rbk_caller *c, rbk_str item, rbk_error *err)
{
    if (!is_method_glob(item))
        return rbk_fail(err, RBK_E_CONFIG, "an item is not a method or glob of 1 to 255 bytes");
    if (c->n_methods == RBK_CALLER_GLOBS_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "more than %d items", RBK_CALLER_GLOBS_MAX);
    char **list = realloc(c->methods, (c->n_methods + 1) * sizeof *list);
    if (list)
        c->methods = list;
    char *copy = list ? strndup(item.p, item.n) : NULL;
    if (copy == NULL)
        return RBK_E_NOMEM;
    list[c->n_methods++] = copy;
    return 0;
}

static int read_methods(reader *rd, rbk_str value, rbk_error *err)
{
    rbk_str item;
    int r = 0;
    while (r == 0 && rbk_list_next(&value, &item))
        r = add_method(rd->now, item, err);
    return r;
}

static int read_hosts(reader *rd, rbk_str value, rbk_error *err)
{
    rbk_error what = {0};
    rbk_hosts *h = &rd->now->hosts;
    int r = rbk_hosts_read(h, "hosts", value, &what);
    if (r == RBK_E_CONFIG)
        rbk_fail(err, r, "%s", what.detail + strlen("hosts: "));
    if (r == 0 && h->n > RBK_CALLER_GLOBS_MAX)
        r = rbk_fail(err, RBK_E_CONFIG, "more than %d items", RBK_CALLER_GLOBS_MAX);
    return r;
}

static int read_rate(reader *rd, rbk_str value, rbk_error *err)
{
    if (rbk_rate_read(value, &rd->now->rate) < 0)
        return rbk_fail(err, RBK_E_CONFIG, "is not a rate of 1 to 1000000000, like 50/s, 1000/m or "
                                           "20000/h");
    return 0;
}

static int read_max_pending(reader *rd, rbk_str value, rbk_error *err)
{
    uint64_t n = 0;
    if (rbk_str_u64(value, 1000000000, &n) < 0 || n == 0)
        return rbk_fail(err, RBK_E_CONFIG, "is not a number from 1 to 1000000000");
    rd->now->max_pending = (int64_t)n;
    return 0;
}

/* Digits, and perhaps K, M, G or T. */
static int read_max_pending_bytes(reader *rd, rbk_str value, rbk_error *err)
{
    static const char units[] = "KMGT";
    const char *unit = value.n ? memchr(units, value.p[value.n - 1], 4) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    uint64_t n = 0;
    value.n -= unit != NULL;
    if (rbk_str_u64(value, (UINT64_C(1) << 50) >> shift, &n) < 0 || n == 0)
        return rbk_fail(err, RBK_E_CONFIG, "is not a size of 1 to 1024T (bytes, or K, M, G, T)");
    rd->now->max_pending_bytes = (int64_t)(n << shift);
    return 0;
}

/* "Name: value" */
static int read_header(reader *rd, rbk_str value, rbk_error *err)
{
    const char *colon = value.n ? memchr(value.p, ':', value.n) : NULL;
    rbk_str name = {value.p, colon ? (size_t)(colon - value.p) : 0};
    rbk_str text = colon ? rbk_str_trim((rbk_str){colon + 1, value.n - name.n - 1}) : RBK_STR_NONE;
    size_t lines = 0;
    for (size_t i = 0; i < rd->headers.n; i++)
        lines += rd->headers.p[i] == '\n';
    if (!rbk_header_is_name(name) || !rbk_header_is_value(text))
        return rbk_fail(err, RBK_E_CONFIG, "is not a header like X-Api-Key: abc, of visible ASCII "
                                           "and blanks");
    if (rbk_header_is_ours(name))
        return rbk_fail(err, RBK_E_CONFIG, "'%.*s' is written by ringback itself", RBK_FMT(name));
    if (rbk_header_line(rbk_buf_view(&rd->headers), name))
        return rbk_fail(err, RBK_E_CONFIG, "'%.*s' stands twice", RBK_FMT(name));
    if (lines == RBK_CALLER_HEADERS_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "more than %d headers", RBK_CALLER_HEADERS_MAX);
    rbk_buf_str(&rd->headers, name);
    rbk_buf_lit(&rd->headers, ": ");
    rbk_buf_str(&rd->headers, text);
    rbk_buf_lit(&rd->headers, "\r\n");
    if (rbk_buf_err(&rd->headers) == RBK_E_TOO_LARGE)
        return rbk_fail(err, RBK_E_CONFIG, "the headers of one token are longer than %d bytes",
                        RBK_CALLER_HEADERS_BYTES);
    return rbk_buf_err(&rd->headers);
}

static const struct {
    const char *key;
    bool several;
    int (*read)(reader *rd, rbk_str value, rbk_error *err);
} rows[] = {
    {"hash", true, read_hash},
    {"secret", true, read_secret},
    {"methods", true, read_methods},
    {"hosts", true, read_hosts},
    {"headers", true, read_header},
    {"rate", false, read_rate},
    {"max_pending", false, read_max_pending},
    {"max_pending_bytes", false, read_max_pending_bytes},
};

/* --- Lines ------------------------------------------------------------------------------------ */

static int read_pair(void *user, rbk_str key, rbk_str value, rbk_error *err)
{
    reader *rd = user;
    rbk_error what = {0};
    size_t i = 0, n = sizeof rows / sizeof rows[0];
    while (i < n && !rbk_str_eqz(key, rows[i].key))
        i++;
    if (i == n)
        return rbk_fail(err, RBK_E_CONFIG, "%.*s: unknown key", key.n > 80 ? 80 : RBK_FMT(key));
    if (value.n == 0)
        return rbk_fail(err, RBK_E_CONFIG, "%s: is empty; leave the line out", rows[i].key);
    if (!rows[i].several && rd->seen & 1U << i)
        return rbk_fail(err, RBK_E_CONFIG, "%s: stands twice", rows[i].key);
    rd->seen |= 1U << i;
    int r = rows[i].read(rd, value, &what);
    return r < 0 ? rbk_fail(err, r, "%s: %s", rows[i].key, what.detail) : 0;
}

/* The header lines of a section become its caller's. */
static int end_section(reader *rd)
{
    rbk_str lines = rbk_buf_view(&rd->headers);
    if (rd->now == NULL || lines.n == 0)
        return 0;
    char *copy = strndup(lines.p, lines.n);
    if (copy)
        rd->now->headers = (rbk_str){copy, lines.n};
    explicit_bzero(rd->headers.p, rd->headers.n);
    rbk_buf_clear(&rd->headers);
    return copy ? 0 : RBK_E_NOMEM;
}

static int grow(rbk_callers *c)
{
    size_t cap = c->cap ? 2 * c->cap : 16;
    rbk_caller *list = c->n < c->cap ? c->list : realloc(c->list, cap * sizeof *list);
    if (list == NULL)
        return RBK_E_NOMEM;
    c->cap = c->n < c->cap ? c->cap : cap;
    c->list = list;
    return 0;
}

static int read_section(void *user, rbk_str section, rbk_str name, rbk_error *err)
{
    reader *rd = user;
    rbk_callers *c = rd->c;
    int r = end_section(rd);
    if (r < 0)
        return r;
    if (!rbk_str_eqz(section, "token") || name.p == NULL)
        return rbk_fail(err, RBK_E_CONFIG, "is not a section like [token \"name\"]");
    if (!rbk_caller_is_name(name))
        return rbk_fail(err, RBK_E_CONFIG, "a name has 1 to %d of a-z A-Z 0-9 . _ - @, and begins "
                                           "with a letter or digit", RBK_CALLER_NAME_MAX);
    if (rbk_callers_find(c, name))
        return rbk_fail(err, RBK_E_CONFIG, "token \"%.*s\" stands twice", RBK_FMT(name));
    if (c->n == RBK_CALLERS_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "more than %d tokens", RBK_CALLERS_MAX);
    if (grow(c) < 0 || rbk_map_put(c->names, name, (void *)(uintptr_t)(c->n + 1), NULL) < 0)
        return RBK_E_NOMEM;
    rd->now = &c->list[c->n++];
    *rd->now = (rbk_caller){.n_hashes = 0};
    memcpy(rd->now->name, name.p, name.n);
    rd->seen = 0;
    return 0;
}

static int read_all(reader *rd, const char *path, rbk_str text, rbk_error *err)
{
    rbk_error what = {0};
    rbk_ini ini = {.path = path, .like = "[token \"name\"]", .section = read_section,
                   .pair = read_pair, .user = rd};
    int r = rbk_ini_read(&ini, text, err);
    if (r == 0 && (r = end_section(rd)) < 0)
        rbk_fail(err, r, "%s: out of memory", path);
    if (r == 0 && (r = rbk_callers_index(rd->c, &what)) < 0)
        rbk_fail(err, r, "%s: %s", path, what.detail);
    return r;
}

int rbk_callers_read(const char *path, rbk_str text, rbk_callers **ret, rbk_error *err)
{
    reader rd = {.c = rbk_callers_new(), .headers = RBK_BUF(RBK_CALLER_HEADERS_BYTES)};
    int r = rd.c && rbk_buf_reserve(&rd.headers, RBK_CALLER_HEADERS_BYTES) == 0
                ? read_all(&rd, path, text, err)
                : rbk_fail(err, RBK_E_NOMEM, "%s: out of memory", path);
    if (rd.headers.p)
        explicit_bzero(rd.headers.p, rd.headers.cap);
    rbk_buf_free(&rd.headers);
    if (r == 0)
        *ret = rd.c;
    else
        rbk_callers_unref(rd.c);
    return r;
}
