/* SPDX-License-Identifier: Apache-2.0 */
/* core/netpolicy.c - see netpolicy.h; the data is in netpolicy_tables.h.
 *
 * An address is refused when it is ringback's own or in `deny`, else taken when it is
 * in `allow`, else taken when it is public. IPv6 begins from 2000::/3 and subtracts.
 *
 * Own listeners: the same address and port. Two things that a binary address cannot
 * tell apart are refused together. A listener on any address (0.0.0.0, ::, whichever
 * family) is reached through every loopback address, and a connection to the
 * unspecified address ends on loopback; so a wildcard listener refuses loopback and
 * unspecified targets of its port, and a loopback listener refuses unspecified ones.
 * The other addresses of this machine are unknown here: whoever makes the policy lists
 * them beside a wildcard listener (server/own.c).
 *
 * `hosts` names a special-use name only when a glob spells out the part that makes it
 * special: "*.corp.internal" opens "a.corp.internal", and "**" opens no such name. */
#include "core/netpolicy.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "core/cidrs.h"

enum { LIST_MAX = 1024, SCHEMES_MAX = 128 };

#include "core/netpolicy_tables.h"

typedef struct glob {
    size_t n;
    char p[RBK_HOST_MAX + 1];
} glob;

struct rbk_netpolicy {
    atomic_uint refs;
    int64_t resolve_ms;
    char schemes[SCHEMES_MAX + 1];
    size_t schemes_n;
    glob *hosts;
    size_t n_hosts;
    rbk_cidrs allow, deny;
    rbk_own_listener *own;
    size_t n_own;
    uint8_t ports[65536 / 8];
};

/* ---- addresses ---- */

static bool is_unspecified(rbk_host_kind kind, const uint8_t *addr)
{
    static const uint8_t zero[16];
    return memcmp(addr, zero, rbk_addr_len(kind)) == 0;
}

static bool is_loopback(rbk_host_kind kind, const uint8_t *addr)
{
    static const uint8_t one[16] = {[15] = 1};
    return kind == RBK_HOST_IPV4 ? addr[0] == 127 : memcmp(addr, one, 16) == 0;
}

static bool is_public(rbk_host_kind kind, const uint8_t *addr)
{
    if (rbk_cidrs_have(special_blocks, sizeof special_blocks / sizeof *special_blocks, kind, addr))
        return false;
    if (kind == RBK_HOST_IPV4)
        return true;
    /* ISATAP (RFC 5214) holds an IPv4 address in any prefix. */
    bool isatap = (addr[8] & 0xfd) == 0 && addr[9] == 0 && addr[10] == 0x5e && addr[11] == 0xfe;
    return (addr[0] & 0xe0) == 0x20 && !isatap;
}

static bool reaches(const rbk_own_listener *l, rbk_host_kind kind, const uint8_t *addr)
{
    rbk_host_kind lkind = l->kind;
    const uint8_t *laddr = l->addr;
    rbk_addr_unmap(&lkind, &laddr);
    if (is_unspecified(lkind, laddr))
        return is_unspecified(kind, addr) || is_loopback(kind, addr);
    if (is_unspecified(kind, addr))
        return is_loopback(lkind, laddr);
    return lkind == kind && memcmp(laddr, addr, rbk_addr_len(kind)) == 0;
}

static bool is_own(const rbk_netpolicy *p, rbk_host_kind kind, const uint8_t *addr, uint16_t port)
{
    for (size_t i = 0; i < p->n_own; i++)
        if (p->own[i].port == port && reaches(&p->own[i], kind, addr))
            return true;
    return false;
}

bool rbk_netpolicy_addr_ok(const rbk_netpolicy *p, rbk_host_kind kind, const uint8_t *addr,
                           uint16_t port)
{
    /* A mapped address is inside "::/0" too, so `deny` is asked in both its shapes. */
    if (rbk_cidrs_have(p->deny.v, p->deny.n, kind, addr))
        return false;
    bool mapped = rbk_addr_unmap(&kind, &addr);
    if (is_own(p, kind, addr, port) || rbk_cidrs_have(p->deny.v, p->deny.n, kind, addr))
        return false;
    if (rbk_cidrs_have(p->allow.v, p->allow.n, kind, addr))
        return true;
    return !mapped && is_public(kind, addr);
}

/* ---- names ---- */

/* "*" is any text without a dot, "**" any text, both perhaps empty. `reach[i]` says that
 * the glob so far can match the first `i` bytes: linear work, whatever the glob. */
static bool glob_matches(const glob *g, rbk_str host)
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

/* Is `name` the suffix, or under it? */
static bool is_under(rbk_str name, rbk_str suffix)
{
    if (name.n < suffix.n || memcmp(name.p + name.n - suffix.n, suffix.p, suffix.n) != 0)
        return false;
    return name.n == suffix.n || name.p[name.n - suffix.n - 1] == '.';
}

static bool host_listed(const rbk_netpolicy *p, rbk_str host)
{
    for (size_t i = 0; i < p->n_hosts; i++)
        if (glob_matches(&p->hosts[i], host))
            return true;
    return p->n_hosts == 0;
}

/* Does a glob that ends in `suffix`, letter by letter, match the host? */
static bool host_named(const rbk_netpolicy *p, rbk_str host, rbk_str suffix)
{
    for (size_t i = 0; i < p->n_hosts; i++)
        if (is_under((rbk_str){p->hosts[i].p, p->hosts[i].n}, suffix) &&
            glob_matches(&p->hosts[i], host))
            return true;
    return false;
}

static bool special_name_refused(const rbk_netpolicy *p, rbk_str host)
{
    if (memchr(host.p, '.', host.n) == NULL && !host_named(p, host, host))
        return true;
    for (size_t i = 0; i < sizeof special_names / sizeof *special_names; i++) {
        rbk_str suffix = rbk_str_z(special_names[i]);
        if (is_under(host, suffix) && !host_named(p, host, suffix))
            return true;
    }
    return false;
}

/* ---- the check ---- */

static bool port_listed(const rbk_netpolicy *p, unsigned port)
{
    return p->ports[port / 8] >> port % 8 & 1;
}

rbk_dsn_fault rbk_netpolicy_check(const rbk_netpolicy *p, rbk_str text, rbk_dsn *ret)
{
    rbk_dsn_fault fault = rbk_dsn_parse(text, rbk_netpolicy_schemes(p), ret);
    if (fault)
        return fault;
    if (!port_listed(p, ret->port))
        return RBK_DSN_PORT;
    rbk_str host = rbk_str_z(ret->host_lower);
    if (!host_listed(p, host))
        return RBK_DSN_HOST;
    if (ret->kind == RBK_HOST_NAME)
        return special_name_refused(p, host) ? RBK_DSN_HOST : RBK_DSN_OK;
    return rbk_netpolicy_addr_ok(p, ret->kind, ret->addr, ret->port) ? RBK_DSN_OK : RBK_DSN_ADDRESS;
}

rbk_str rbk_netpolicy_schemes(const rbk_netpolicy *p)
{
    return (rbk_str){p->schemes, p->schemes_n};
}

int64_t rbk_netpolicy_resolve_ms(const rbk_netpolicy *p)
{
    return p->resolve_ms;
}

/* ---- configuration ---- */

static int bad_item(rbk_error *err, const char *key, rbk_str item, const char *why)
{
    return rbk_fail(err, RBK_E_CONFIG, "%s: \"%.*s\" %s", key, (int)item.n, item.p, why);
}

/* `*ret` gets zeroed room for every item of the list, NULL for none. */
static int make_room(const char *key, rbk_str list, size_t size, void **ret, rbk_error *err)
{
    rbk_str item;
    size_t n = 0;
    while (rbk_list_next(&list, &item))
        if (n++ == LIST_MAX)
            return rbk_fail(err, RBK_E_CONFIG, "%s: more than %d items", key, LIST_MAX);
    if (n && (*ret = calloc(n, size)) == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "%s", key);
    return 0;
}

static bool is_scheme(rbk_str s)
{
    static const char others[] = "0123456789+-.";
    for (size_t i = 0; i < s.n; i++) {
        bool letter = rbk_lower(s.p[i]) >= 'a' && rbk_lower(s.p[i]) <= 'z';
        if (!letter && (i == 0 || !memchr(others, s.p[i], sizeof others - 1)))
            return false;
    }
    return s.n > 0 && s.n <= 15;
}

static int add_scheme(rbk_netpolicy *p, rbk_str item, rbk_error *err)
{
    const char *key = "callback.schemes";
    if (rbk_str_ieqz(item, "http") || rbk_str_ieqz(item, "ws"))
        return bad_item(err, key, item, "is not encrypted, use https or wss");
    if (!is_scheme(item))
        return bad_item(err, key, item, "is not a scheme");
    if (p->schemes_n + 1 + item.n > SCHEMES_MAX)
        return bad_item(err, key, item, "is one too many");
    if (p->schemes_n)
        p->schemes[p->schemes_n++] = ',';
    for (size_t i = 0; i < item.n; i++)
        p->schemes[p->schemes_n++] = rbk_lower(item.p[i]);
    return 0;
}

static int set_schemes(rbk_netpolicy *p, rbk_str list, rbk_error *err)
{
    rbk_str item;
    int r = 0;
    while (r == 0 && rbk_list_next(&list, &item))
        r = add_scheme(p, item, err);
    if (r == 0 && p->schemes_n == 0)
        return rbk_fail(err, RBK_E_CONFIG, "callback.schemes is empty");
    return r;
}

static bool is_glob_text(const glob *g)
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

static int add_host(rbk_netpolicy *p, rbk_str item, rbk_error *err)
{
    glob *g = &p->hosts[p->n_hosts];
    uint8_t addr[16];
    rbk_str s = item;
    if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
        s = (rbk_str){s.p + 1, s.n - 2};
    if (rbk_parse_ipv6(s, addr) == 0) {
        rbk_format_addr(RBK_HOST_IPV6, addr, g->p);
        g->n = strlen(g->p);
        p->n_hosts++;
        return 0;
    }
    if (item.n > 1 && item.p[item.n - 1] == '.')
        item.n--;
    if (item.n > RBK_HOST_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "callback.hosts: an item of %zu bytes", item.n);
    for (; g->n < item.n; g->n++)
        g->p[g->n] = rbk_lower(item.p[g->n]);
    if (!is_glob_text(g))
        return bad_item(err, "callback.hosts", item, "is not a host name, address or glob");
    p->n_hosts++;
    return 0;
}

static int set_hosts(rbk_netpolicy *p, rbk_str list, rbk_error *err)
{
    rbk_str item;
    void *v = NULL;
    int r = make_room("callback.hosts", list, sizeof(glob), &v, err);
    p->hosts = v;
    while (r == 0 && rbk_list_next(&list, &item))
        r = add_host(p, item, err);
    return r;
}

static int add_port_range(rbk_netpolicy *p, rbk_str item, rbk_error *err)
{
    const char *dash = item.n ? memchr(item.p, '-', item.n) : NULL;
    rbk_str lo = {item.p, dash ? (size_t)(dash - item.p) : item.n};
    rbk_str hi = dash ? (rbk_str){dash + 1, item.n - lo.n - 1} : lo;
    uint64_t from, to;
    if (rbk_str_u64(lo, 65535, &from) < 0 || rbk_str_u64(hi, 65535, &to) < 0 || from == 0 ||
        from > to)
        return bad_item(err, "callback.ports", item, "is not a port or range from 1 to 65535");
    for (; from <= to; from++)
        p->ports[from / 8] |= (uint8_t)(1U << from % 8);
    return 0;
}

static int set_ports(rbk_netpolicy *p, rbk_str list, rbk_error *err)
{
    rbk_str item;
    int r = 0;
    if (list.n == 0) {
        add_port_range(p, RBK_STR("443"), NULL);
        add_port_range(p, RBK_STR("1024-65535"), NULL);
        for (size_t i = 0; i < sizeof bad_ports / sizeof *bad_ports; i++)
            p->ports[bad_ports[i] / 8] &= (uint8_t) ~(1U << bad_ports[i] % 8);
    }
    while (r == 0 && rbk_list_next(&list, &item))
        r = add_port_range(p, item, err);
    return r;
}

static int set_own(rbk_netpolicy *p, const rbk_own_listener *own, size_t n, rbk_error *err)
{
    if (n == 0)
        return 0;
    p->own = calloc(n, sizeof *own);
    if (p->own == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "own listeners");
    memcpy(p->own, own, n * sizeof *own);
    p->n_own = n;
    return 0;
}

int rbk_netpolicy_new(const rbk_netpolicy_conf *conf, const rbk_own_listener *own, size_t n_own,
                      rbk_netpolicy **ret, rbk_error *err)
{
    int r;
    rbk_netpolicy *p = calloc(1, sizeof *p);
    if (p == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "callback policy");
    atomic_init(&p->refs, 1);
    p->resolve_ms = conf->resolve_ms;
    if ((r = set_schemes(p, rbk_str_trim(conf->schemes), err)) < 0 ||
        (r = set_hosts(p, rbk_str_trim(conf->hosts), err)) < 0 ||
        (r = rbk_cidrs_read("callback.allow", rbk_str_trim(conf->allow), &p->allow, err)) < 0 ||
        (r = rbk_cidrs_read("callback.deny", rbk_str_trim(conf->deny), &p->deny, err)) < 0 ||
        (r = set_ports(p, rbk_str_trim(conf->ports), err)) < 0 ||
        (r = set_own(p, own, n_own, err)) < 0)
        goto out;
    *ret = p;
    p = NULL;
out:
    rbk_netpolicy_unref(p);
    return r;
}

rbk_netpolicy *rbk_netpolicy_ref(rbk_netpolicy *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void rbk_netpolicy_unref(rbk_netpolicy *p)
{
    if (p == NULL || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(p->hosts);
    rbk_cidrs_free(&p->allow);
    rbk_cidrs_free(&p->deny);
    free(p->own);
    free(p);
}

void rbk_own_listener_read(rbk_str text, uint16_t port, rbk_own_listener *ret)
{
    *ret = (rbk_own_listener){.kind = RBK_HOST_IPV4, .port = port};
    size_t colon = text.n;
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    rbk_str host = {text.p, colon > 0 ? colon - 1 : 0};
    if (host.n > 2 && host.p[0] == '[') {
        ret->kind = RBK_HOST_IPV6;
        rbk_parse_ipv6((rbk_str){host.p + 1, host.n - 2}, ret->addr);
    } else if (host.n) {
        rbk_parse_ipv4(host, ret->addr);
    }
}
