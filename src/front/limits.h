/* SPDX-License-Identifier: Apache-2.0 */
/* front/limits.h - how much one client may ask for, and what is said and counted of those who are
 * refused. For every front; shared by all loops, any thread.
 *
 * The first token of a body is taken when its head is there (rbk_limits_address(), and once it is
 * known who it is, rbk_limits_caller()), the others once its members are counted, by a gate that the front puts before its exchange (rbk_exchange_guard()). A
 * front that has no heads has all of them taken there. */
#ifndef RBK_FRONT_LIMITS_H
#define RBK_FRONT_LIMITS_H

#include "base/seldom.h"
#include "front/front_numbers.h"
#include "net/http_server.h"
#include "net/peers.h"

typedef struct rbk_limits_conf {
    rbk_rate rate;        /* requests of one address */
    unsigned per_address; /* connections of one address; 0: no bound */
    rbk_str exempt;       /* CIDRs of addresses that have neither limit */
    size_t max_connections;
    const rbk_log *log;
} rbk_limits_conf;

typedef struct rbk_limits {
    rbk_rate rate;
    rbk_peers *addresses;
    rbk_peers *callers; /* by name, so that their buckets outlive a reload */
    const rbk_log *log;
    rbk_seldom lines[RBK_REFUSALS];
} rbk_limits;

/* RBK_E_CONFIG with the key in `err`, RBK_E_NOMEM; then there is nothing to free. */
int rbk_limits_init(rbk_limits *l, const rbk_limits_conf *conf, rbk_error *err);
void rbk_limits_free(rbk_limits *l); /* all zero is legal */

/* Who asks, as far as it is known: made by the front for one body, of use while that is submitted. */
typedef struct rbk_limits_who {
    rbk_limits *l;
    rbk_front_numbers *numbers; /* of the loop */
    const rbk_peer *from;
    const char *peer;
    const rbk_caller *caller; /* NULL: nobody in particular */
    unsigned held; /* tokens that it has taken already, of each bucket */
} rbk_limits_who;

/* The first token of the address, of the caller. 0; or the seconds to name in `Retry-After`, with
 * 429. Loop thread. */
unsigned rbk_limits_address(const rbk_limits_who *who);
unsigned rbk_limits_caller(const rbk_limits_who *who);
/* For rbk_exchange_guard(), with a rbk_limits_who. What the caller's bucket refuses takes nothing of the
 * address's, of which others live. */
unsigned rbk_limits_gate(size_t n, void *who);

/* A request is refused as a whole with `status`: by the HTTP server, or with 503 by the engine. It is
 * counted and logged; 429 was already. */
void rbk_limits_refused(const rbk_limits_who *who, int status);
/* The same of one that the engine answers with 503, perhaps because its caller has too much pending. */
void rbk_limits_busy(const rbk_limits_who *who, bool over_quota);
/* A connection is turned away. */
void rbk_limits_shed(const rbk_limits_who *who, rbk_http_shed why);

#endif
