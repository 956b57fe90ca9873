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
 * A special-use name is refused unless `hosts` names it (core/hosts.h). */
#include "core/netpolicy.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "core/cidrs.h"

enum { SCHEMES_MAX = 128 };

#include "core/netpolicy_tables.h"

struct rbk_netpolicy {
    atomic_uint refs;
    int64_t resolve_ms;
    char schemes[SCHEMES_MAX + 1];
    size_t schemes_n;
    rbk_hosts hosts;
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

static bool special_name_refused(const rbk_netpolicy *p, rbk_str host)
{
    if (memchr(host.p, '.', host.n) == NULL && !rbk_hosts_name(&p->hosts, host, host))
        return true;
    for (size_t i = 0; i < sizeof special_names / sizeof *special_names; i++) {
        rbk_str suffix = rbk_str_z(special_names[i]);
        if (rbk_hosts_is_under(host, suffix) && !rbk_hosts_name(&p->hosts, host, suffix))
            return true;
    }
    return false;
}

/* ---- the check ---- */

static bool port_listed(const rbk_netpolicy *p, unsigned port)
{
    return p->ports[port / 8] >> port % 8 & 1;
}

rbk_dsn_fault rbk_netpolicy_check_for(const rbk_netpolicy *p, const rbk_hosts *only, rbk_str text,
                                      rbk_dsn *ret)
{
    rbk_dsn_fault fault = rbk_dsn_parse(text, rbk_netpolicy_schemes(p), ret);
    if (fault)
        return fault;
    if (!port_listed(p, ret->port))
        return RBK_DSN_PORT;
    rbk_str host = rbk_str_z(ret->host_lower);
    if (!rbk_hosts_fit(&p->hosts, host) || (only && !rbk_hosts_fit(only, host)))
        return RBK_DSN_HOST;
    if (ret->kind == RBK_HOST_NAME)
        return special_name_refused(p, host) ? RBK_DSN_HOST : RBK_DSN_OK;
    return rbk_netpolicy_addr_ok(p, ret->kind, ret->addr, ret->port) ? RBK_DSN_OK : RBK_DSN_ADDRESS;
}

rbk_dsn_fault rbk_netpolicy_check(const rbk_netpolicy *p, rbk_str text, rbk_dsn *ret)
{
    return rbk_netpolicy_check_for(p, NULL, text, ret);
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
        (r = rbk_hosts_read(&p->hosts, "callback.hosts", rbk_str_trim(conf->hosts), err)) < 0 ||
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
    rbk_hosts_free(&p->hosts);
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
