/* SPDX-License-Identifier: Apache-2.0 */
/* core/netpolicy.h - which hosts, ports and addresses a callback may reach.
 *
 * Decides on parsed DSNs and on binary addresses, never on text that something else
 * parses. Pure: immutable once built, so any thread may ask that has a reference; a new
 * policy replaces an old one whole. The address check is made at admit for a literal, and
 * again for the socket address of every attempt. */
#ifndef RBK_CORE_NETPOLICY_H
#define RBK_CORE_NETPOLICY_H

#include "core/dsn.h"
#include "core/hosts.h"

typedef struct rbk_netpolicy rbk_netpolicy;

typedef struct rbk_netpolicy_conf {
    rbk_str schemes; /* "https,wss" */
    rbk_str hosts;   /* globs, comma-separated; empty: any host */
    rbk_str allow;   /* CIDRs, comma-separated: allowed though special */
    rbk_str deny;    /* CIDRs: never, even when in `allow` */
    rbk_str ports;   /* "443,1024-65535"; empty: 443 and 1024-65535 without the
                        WHATWG bad ports. A list given by hand is taken as it is */
    int64_t resolve_ms; /* how long admission waits for the addresses of a name; 0: never */
} rbk_netpolicy_conf;

/* An address and port that ringback listens on. `kind` is IPV4 or IPV6; all zero
 * bytes mean any address, of which the policy knows loopback alone: the machine's other
 * addresses are listed beside it. */
typedef struct rbk_own_listener {
    rbk_host_kind kind;
    uint8_t addr[16];
    uint16_t port;
} rbk_own_listener;

/* The address of "127.0.0.1:7600", "[::1]:7600", ":7600", which is listened on at `port`. */
void rbk_own_listener_read(rbk_str text, uint16_t port, rbk_own_listener *ret);

/* 0, or RBK_E_CONFIG with the offending item named in `err`, or RBK_E_NOMEM. The
 * scheme "http" is RBK_E_CONFIG: callbacks are encrypted. */
int rbk_netpolicy_new(const rbk_netpolicy_conf *conf, const rbk_own_listener *own, size_t n_own,
                      rbk_netpolicy **ret, rbk_error *err);
rbk_netpolicy *rbk_netpolicy_ref(rbk_netpolicy *p);
void rbk_netpolicy_unref(rbk_netpolicy *p); /* NULL is legal */

/* Every check of a callback that needs no network, in the documented order, parse
 * included. On RBK_DSN_OK `ret` is filled. */
rbk_dsn_fault rbk_netpolicy_check(const rbk_netpolicy *p, rbk_str text, rbk_dsn *ret);

/* The same, and the host must fit `only` too (NULL: any). */
rbk_dsn_fault rbk_netpolicy_check_for(const rbk_netpolicy *p, const rbk_hosts *only, rbk_str text,
                                      rbk_dsn *ret);

/* May a connection go to this address? `kind` IPV4 (4 bytes) or IPV6 (16 bytes). An
 * IPv4-mapped IPv6 address is judged as the IPv4 address that it holds in `allow`
 * and `deny`, and is otherwise refused. */
bool rbk_netpolicy_addr_ok(const rbk_netpolicy *p, rbk_host_kind kind, const uint8_t *addr,
                           uint16_t port);

/* The schemes that the policy enables, as configured. */
rbk_str rbk_netpolicy_schemes(const rbk_netpolicy *p);
/* As configured. */
int64_t rbk_netpolicy_resolve_ms(const rbk_netpolicy *p);

#endif
