/* SPDX-License-Identifier: Apache-2.0 */
/* net/resolver.h - names to addresses by c-ares on one loop, never blocking it.
 *
 * A and AAAA of the absolute name, no search list; the hosts file is honoured.
 * Answers are cached for their lifetime within 5 to 300 s, failures for 5 s; lookups
 * of one name are joined; at most 1,000 wait. Loop thread. */
#ifndef RBK_NET_RESOLVER_H
#define RBK_NET_RESOLVER_H

#include <netinet/in.h>

#include "net/loop.h"

typedef struct rbk_resolver rbk_resolver;

enum { RBK_ADDRS_MAX = 16 };

typedef struct rbk_addr {
    bool v6;
    uint8_t ip[16]; /* 4 or 16 bytes */
} rbk_addr;

/* `n` addresses, or `err`: RBK_E_RESOLVE, RBK_E_TIMEOUT, RBK_E_BUSY. The list is the
 * resolver's and valid in the callback alone. */
typedef void (*rbk_resolved_fn)(void *user, int err, const rbk_addr *addrs, size_t n);

int rbk_resolver_new(rbk_loop *l, rbk_resolver **ret, rbk_error *err);
void rbk_resolver_free(rbk_resolver *r); /* lookups under way end with RBK_E_CLOSED */
/* `fn` is called exactly once, perhaps before this returns (a cached answer). */
void rbk_resolve(rbk_resolver *r, rbk_str name, int64_t timeout_ms, rbk_resolved_fn fn,
                 void *user);

/* The socket address of `a` and `port`. */
void rbk_addr_to_sockaddr(const rbk_addr *a, uint16_t port, struct sockaddr_storage *ret);

#endif
