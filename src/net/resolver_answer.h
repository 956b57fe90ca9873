/* SPDX-License-Identifier: Apache-2.0 */
/* net/resolver_answer.h - what the resolver makes of an answer of c-ares, and addresses for the
 * socket interface. Pure; any thread. */
#ifndef RBK_NET_RESOLVER_ANSWER_H
#define RBK_NET_RESOLVER_ANSWER_H

#include <ares.h>

#include "net/resolver.h"

/* 0, or the resolver's error for a status of c-ares. */
int rbk_answer_error(int status);
/* IPv4 and IPv6 by turns: whichever does not work here, the other is the next try. 0 if
 * there are more than fit: whoever judges the addresses must see all. */
size_t rbk_answer_addrs(const struct ares_addrinfo *ai, rbk_addr out[RBK_ADDRS_MAX]);
/* For how many seconds it is kept: the least lifetime in it, within bounds. */
int rbk_answer_ttl(const struct ares_addrinfo *ai);

#endif
