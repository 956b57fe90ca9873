/* SPDX-License-Identifier: Apache-2.0 */
/* net/dns_reply.h - reads what c-ares does not tell of an answer (RFC 1035, RFC 2308). Pure;
 * any thread. */
#ifndef RBK_NET_DNS_REPLY_H
#define RBK_NET_DNS_REPLY_H

#include "ringback/types.h"

/* Has the answer an SOA record among its authorities? A server that knows that a name or
 * its data do not exist says whose word that is; one that only has no way to find out,
 * such as that of a closed network, cannot. */
bool rbk_dns_has_soa(const unsigned char *p, size_t n);

#endif
