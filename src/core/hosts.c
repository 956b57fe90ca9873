/* SPDX-License-Identifier: Apache-2.0 */
/* core/hosts.c - see hosts.h. Matching is linear work, whatever the glob. */
#include "core/hosts.h"

#include <stdlib.h>

#include "base/error.h"

/* `reach[i]` says that the glob so far can match the first `i` bytes. */
static bool glob_matches(const rbk_glob *g, rbk_str host)
{
    bool reach[RBK_HOST_MAX + 1] = {true};
    for (size_t k = 0; k < g->n; k++) {
        if (g->p[k] == '*') {
            bool dots = k + 1 < g->n && g->p[k + 1] == '*';
            for (size_t i = 0; i < host.n; i++)
                reach[i + 1] |= reach[i] && (dots || host.p[i] != '.');
            k += dots;
        } else {
            for (size_t i = host.n; i > 0; i--)
                reach[i] = reach[i - 1] && host.p[i - 1] == g->p[k];
            reach[0] = false;
        }
    }
    return reach[host.n];
}

bool rbk_hosts_is_under(rbk_str name, rbk_str suffix)
{
    if (name.n < suffix.n || memcmp(name.p + name.n - suffix.n, suffix.p, suffix.n) != 0)
        return false;
    return name.n == suffix.n || name.p[name.n - suffix.n - 1] == '.';
}

bool rbk_hosts_fit(const rbk_hosts *h, rbk_str host)
{
    for (size_t i = 0; i < h->n; i++)
        if (glob_matches(&h->v[i], host))
            return true;
    return h->n == 0;
}

bool rbk_hosts_name(const rbk_hosts *h, rbk_str host, rbk_str suffix)
{
    for (size_t i = 0; i < h->n; i++)
        if (rbk_hosts_is_under((rbk_str){h->v[i].p, h->v[i].n}, suffix) &&
            glob_matches(&h->v[i], host))
            return true;
    return false;
}

/* --- Reading -------------------------------------------------------------------------------- */

static bool is_glob_text(const rbk_glob *g)
{
    static const char marks[] = "-_.*";
    for (size_t i = 0; i < g->n; i++) {
        char c = g->p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && !memchr(marks, c, sizeof marks - 1))
            return false;
        if (c == '.' && (i == 0 || g->p[i - 1] == '.'))
            return false;
    }
    return g->n > 0;
}

static int read_glob(rbk_glob *g, const char *key, rbk_str item, rbk_error *err)
{
    uint8_t addr[16];
    rbk_str s = item;
    if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
        s = (rbk_str){s.p + 1, s.n - 2};
    if (rbk_parse_ipv6(s, addr) == 0) {
        rbk_format_addr(RBK_HOST_IPV6, addr, g->p);
        g->n = strlen(g->p);
        return 0;
    }
    if (item.n > 1 && item.p[item.n - 1] == '.')
        item.n--;
    if (item.n > RBK_HOST_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "%s: an item of %zu bytes", key, item.n);
    for (; g->n < item.n; g->n++)
        g->p[g->n] = rbk_lower(item.p[g->n]);
    if (!is_glob_text(g))
        return rbk_fail(err, RBK_E_CONFIG, "%s: \"%.*s\" is not a host name, address or glob", key,
                        RBK_FMT(item));
    return 0;
}

int rbk_hosts_read(rbk_hosts *h, const char *key, rbk_str list, rbk_error *err)
{
    rbk_str item, rest = list;
    size_t n = 0;
    int r = 0;
    while (rbk_list_next(&rest, &item))
        n++;
    if (n > RBK_HOSTS_MAX - h->n)
        return rbk_fail(err, RBK_E_CONFIG, "%s: more than %d items", key, RBK_HOSTS_MAX);
    if (n == 0)
        return 0;
    rbk_glob *v = calloc(h->n + n, sizeof *v);
    if (v == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "%s", key);
    if (h->n)
        memcpy(v, h->v, h->n * sizeof *v);
    free(h->v);
    h->v = v;
    while (r == 0 && rbk_list_next(&list, &item)) {
        r = read_glob(&v[h->n], key, item, err);
        h->n += r == 0;
    }
    return r;
}

void rbk_hosts_free(rbk_hosts *h)
{
    free(h->v);
    *h = (rbk_hosts){0};
}
