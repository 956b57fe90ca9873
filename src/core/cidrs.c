/* SPDX-License-Identifier: Apache-2.0 */
/* core/cidrs.c - see cidrs.h. A block whose address has bits behind its prefix is a slip of
 * somebody's, and is refused. */
#include "core/cidrs.h"

#include "base/error.h"

#include <stdlib.h>

/* --- Addresses ----------------------------------------------------------------------------- */

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

bool rbk_cidrs_have(const rbk_cidr *v, size_t n, rbk_host_kind kind, const uint8_t *addr)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].kind == kind && bits_equal(v[i].addr, addr, v[i].bits))
            return true;
    return false;
}

size_t rbk_addr_len(rbk_host_kind kind)
{
    return kind == RBK_HOST_IPV4 ? 4 : 16;
}

bool rbk_addr_unmap(rbk_host_kind *kind, const uint8_t **addr)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (*kind != RBK_HOST_IPV6 || memcmp(*addr, mapped, sizeof mapped) != 0)
        return false;
    *kind = RBK_HOST_IPV4;
    *addr += sizeof mapped;
    return true;
}

/* --- Text ---------------------------------------------------------------------------------- */

static int bad_item(rbk_error *err, const char *key, rbk_str item, const char *why)
{
    return rbk_fail(err, RBK_E_CONFIG, "%s: \"%.*s\" %s", key, (int)item.n, item.p, why);
}

static int make_room(const char *key, rbk_str list, rbk_cidrs *ret, rbk_error *err)
{
    rbk_str item;
    size_t n = 0;
    while (rbk_list_next(&list, &item))
        if (n++ == RBK_CIDRS_MAX)
            return rbk_fail(err, RBK_E_CONFIG, "%s: more than %d items", key, RBK_CIDRS_MAX);
    if (n && (ret->v = calloc(n, sizeof *ret->v)) == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "%s", key);
    return 0;
}

static int parse_cidr(rbk_str s, rbk_cidr *ret)
{
    const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
    rbk_str addr = {s.p, slash ? (size_t)(slash - s.p) : s.n};
    uint64_t bits;
    if (rbk_parse_ipv4(addr, ret->addr) == 0)
        ret->kind = RBK_HOST_IPV4;
    else if (rbk_parse_ipv6(addr, ret->addr) == 0)
        ret->kind = RBK_HOST_IPV6;
    else
        return RBK_E_INVAL;
    bits = 8 * rbk_addr_len(ret->kind);
    if (slash) {
        rbk_str digits = {slash + 1, s.n - addr.n - 1};
        if (rbk_str_u64(digits, bits, &bits) < 0)
            return RBK_E_INVAL;
    }
    ret->bits = (unsigned)bits;
    return 0;
}

/* The first address of the block. */
static void network_of(const rbk_cidr *c, uint8_t ret[16])
{
    memset(ret, 0, 16);
    memcpy(ret, c->addr, c->bits / 8);
    if (c->bits % 8)
        ret[c->bits / 8] = (uint8_t)(c->addr[c->bits / 8] & 0xff00 >> c->bits % 8);
}

static int check_host_bits(const char *key, rbk_str item, const rbk_cidr *c, rbk_error *err)
{
    uint8_t network[16];
    char text[46];
    network_of(c, network);
    if (memcmp(network, c->addr, rbk_addr_len(c->kind)) == 0)
        return 0;
    rbk_format_addr(c->kind, network, text);
    return rbk_fail(err, RBK_E_CONFIG, "%s: \"%.*s\" has bits set behind its prefix; the block is %s/%u",
                    key, (int)item.n, item.p, text, c->bits);
}

int rbk_cidrs_read(const char *key, rbk_str list, rbk_cidrs *ret, rbk_error *err)
{
    rbk_str item;
    *ret = (rbk_cidrs){NULL, 0};
    int r = make_room(key, list, ret, err);
    while (r == 0 && rbk_list_next(&list, &item)) {
        rbk_cidr *c = &ret->v[ret->n++];
        rbk_host_kind kind;
        const uint8_t *addr = c->addr;
        if (parse_cidr(item, c) < 0)
            return bad_item(err, key, item, "is not an address or CIDR block");
        if ((r = check_host_bits(key, item, c, err)) < 0)
            return r;
        kind = c->kind;
        if (c->bits >= 96 && rbk_addr_unmap(&kind, &addr))
            return bad_item(err, key, item, "is IPv4-mapped, write it as IPv4");
    }
    return r;
}

void rbk_cidrs_free(rbk_cidrs *l)
{
    free(l->v);
    *l = (rbk_cidrs){NULL, 0};
}
