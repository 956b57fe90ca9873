/* SPDX-License-Identifier: Apache-2.0 */
/* net/resolver.h - names to addresses by c-ares on one loop, never blocking it.
 *
 * A and AAAA of the absolute name, no search list; the hosts file is honoured. A name
 * with more than RBK_ADDRS_MAX addresses has none, since all of them are to be judged.
 * A lookup that no server answers ends after some 5 s. Answers are cached for their lifetime
 * within 5 to 300 s, failures for 5 s, of at most 4,096 names; lookups of one name are joined;
 * at most 1,000 wait. Loop thread. */
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

/* `n` addresses, at least one, IPv4 and IPv6 by turns; or `err`: RBK_E_RESOLVE (the name has
 * none), RBK_E_CONNECT (no name server gave an answer), RBK_E_TIMEOUT, RBK_E_BUSY,
 * RBK_E_NOMEM, RBK_E_CLOSED. The list is the resolver's and valid in the callback alone,
 * which may do anything but rbk_loop_stop(). */
typedef void (*rbk_resolved_fn)(void *user, int err, const rbk_addr *addrs, size_t n);

/* Asks the name servers that the system names at that moment. */
int rbk_resolver_new(rbk_loop *l, rbk_resolver **ret, rbk_error *err);
/* Ask these ("127.0.0.1:5353,[::1]:53") in place of the system's; before any lookup. 0,
 * or RBK_E_CONFIG. For tests and odd set-ups. */
int rbk_resolver_set_servers(rbk_resolver *r, const char *servers);
/* That a name has no address is believed only with an SOA record (RFC 2308), at the price of
 * one more query for such names; else it is RBK_E_CONNECT. Before any lookup. */
void rbk_resolver_want_proof(rbk_resolver *r);
uint64_t rbk_resolver_lookups(void); /* begun by all resolvers; any thread */
void rbk_resolver_free(rbk_resolver *r); /* lookups under way end with RBK_E_CLOSED */
/* `fn` is called exactly once, perhaps before this returns (a cached answer). */
void rbk_resolve(rbk_resolver *r, rbk_str name, int64_t timeout_ms, rbk_resolved_fn fn, void *user);

/* The same for somebody who gets no more than a quarter of the places, for waiting and for
 * lookups, that all others leave free; RBK_E_BUSY past it. A lookup keeps its place until it
 * ends, also when nobody waits for it any more. */
typedef struct rbk_lookup {
    rbk_str name, share; /* `share`: whose it is; empty: no limit of its own */
    int64_t timeout_ms;
    rbk_resolved_fn fn;
    void *user;
} rbk_lookup;
void rbk_resolve_shared(rbk_resolver *r, const rbk_lookup *l);

/* How long the answer for `name` is still kept, in ms; 0: there is none. */
int64_t rbk_resolver_keeps(const rbk_resolver *r, rbk_str name);

/* The socket address of `a` and `port`. */
void rbk_addr_to_sockaddr(const rbk_addr *a, uint16_t port, struct sockaddr_storage *ret);

#endif
