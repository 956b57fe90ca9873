/* SPDX-License-Identifier: Apache-2.0 */
/* net/peers.h - what each address of clients has and does: its connections and its requests, for the
 * limits of one address. Others than addresses may be limited by such a table too, by their names.
 *
 * An IPv6 client owns a /64 and so counts as one; an IPv4-mapped address is the IPv4 address.
 * Shared by all loops. The memory is bounded and taken at the start: when there are more addresses
 * than places, those that have no connection are forgotten, who has been quiet for longest first. Any
 * thread. */
#ifndef RBK_NET_PEERS_H
#define RBK_NET_PEERS_H

#include "core/bucket.h"
#include "core/cidrs.h"

#include <sys/socket.h>

typedef struct rbk_peers rbk_peers;

typedef struct rbk_peers_conf {
    unsigned per_address; /* connections at one time; 0: no bound */
    size_t max_connections; /* that all have together, for the size */
    const rbk_cidrs *exempt; /* nobody counts these; copied. NULL: none */
} rbk_peers_conf;

/* Whom a connection is from. `counts` false: from nobody who has limits (a Unix socket, an exempt
 * address). */
typedef struct rbk_peer {
    uint8_t addr[16];
    bool counts;
    bool entered; /* it is among the connections of the address */
} rbk_peer;

/* NULL when memory is out. */
rbk_peers *rbk_peers_new(const rbk_peers_conf *conf);
void rbk_peers_free(rbk_peers *p); /* NULL is legal; every connection has left */

void rbk_peer_of(const rbk_peers *p, const struct sockaddr *addr, rbk_peer *ret);
/* Somebody with a name; it may go when this returns. */
void rbk_peer_of_name(rbk_str name, rbk_peer *ret);
/* The same of whom the connected socket `fd` leads to. */
void rbk_peer_of_socket(const rbk_peers *p, int fd, rbk_peer *ret);

/* A connection comes. False: its address has as many as it may. */
bool rbk_peers_enter(rbk_peers *p, rbk_peer *peer);
void rbk_peers_leave(rbk_peers *p, rbk_peer *peer); /* it goes; once, and only if it was let in */

typedef struct rbk_taking {
    const rbk_rate *rate;
    uint64_t n, held;
} rbk_taking;

/* Take tokens, as rbk_bucket_take(). */
int64_t rbk_peers_take(rbk_peers *p, const rbk_peer *peer, const rbk_taking *t, rbk_mono_ms now);
/* Give back what was taken so: the request is refused for another reason. */
void rbk_peers_give(rbk_peers *p, const rbk_peer *peer, const rbk_taking *t);

#endif
