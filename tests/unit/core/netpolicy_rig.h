/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/core/netpolicy_rig.h - what the tests of the policy share: policies made of
 * settings, verdicts on URLs and addresses, and listeners from text. */
#ifndef RBK_TESTS_NETPOLICY_RIG_H
#define RBK_TESTS_NETPOLICY_RIG_H

#include "core/netpolicy.h"

#include "vectors.h"

static const rbk_netpolicy_conf defaults = {.schemes = {"https,wss", 9}};

static inline rbk_netpolicy *policy_of(rbk_netpolicy_conf conf, const rbk_own_listener *own,
                                       size_t n)
{
    rbk_netpolicy *p = NULL;
    rbk_error err = {0};
    if (conf.schemes.n == 0)
        conf.schemes = defaults.schemes;
    if (rbk_netpolicy_new(&conf, own, n, &p, &err) < 0)
        fail_msg("%s", err.detail);
    return p;
}

static inline rbk_dsn_fault judge(const rbk_netpolicy *p, const char *text)
{
    rbk_dsn d;
    return rbk_netpolicy_check(p, rbk_str_z(text), &d);
}

static inline void expect(const rbk_netpolicy *p, const char *text, rbk_dsn_fault want)
{
    rbk_dsn_fault f = judge(p, text);
    if (f != want)
        fail_msg("%s: fault %d, not %d", text, f, want);
}

/* The address as text, on port 443. */
static inline bool addr_ok_at(const rbk_netpolicy *p, const char *text, uint16_t port)
{
    uint8_t a[16];
    if (rbk_parse_ipv4(rbk_str_z(text), a) == 0)
        return rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, a, port);
    assert_int_equal(rbk_parse_ipv6(rbk_str_z(text), a), 0);
    return rbk_netpolicy_addr_ok(p, RBK_HOST_IPV6, a, port);
}

static inline bool addr_ok(const rbk_netpolicy *p, const char *text)
{
    return addr_ok_at(p, text, 443);
}

static inline rbk_own_listener listener(const char *text, uint16_t port)
{
    rbk_own_listener l = {.port = port};
    l.kind = rbk_parse_ipv4(rbk_str_z(text), l.addr) == 0 ? RBK_HOST_IPV4 : RBK_HOST_IPV6;
    if (l.kind == RBK_HOST_IPV6)
        assert_int_equal(rbk_parse_ipv6(rbk_str_z(text), l.addr), 0);
    return l;
}

#endif
