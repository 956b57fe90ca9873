/* SPDX-License-Identifier: Apache-2.0 */
/* front/limits.h - how much one client may ask for, and what is said and counted of those who are
 * refused. For every front; shared by all loops, any thread.
 *
 * The first token of a body is taken when its head is there (rbk_limits_head()), the others once its
 * members are counted, by a gate that the front puts before its exchange (rbk_exchange_guard()). A
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
    const rbk_log *log;
    rbk_seldom lines[RBK_REFUSALS];
} rbk_limits;

/* RBK_E_CONFIG with the key in `err`, RBK_E_NOMEM; then there is nothing to free. */
int rbk_limits_init(rbk_limits *l, const rbk_limits_conf *conf, rbk_error *err);
void rbk_limits_free(rbk_limits *l); /* all zero is legal */

/* Who asks: made by the front for one body, and of use while that is submitted. */
typedef struct rbk_limits_who {
    rbk_limits *l;
    rbk_front_numbers *numbers; /* of the loop */
    const rbk_peer *from;
    const char *peer;
    unsigned held; /* tokens that it has taken already */
} rbk_limits_who;

/* The first token. 0; or the seconds to name in `Retry-After`, with 429. Loop thread. */
unsigned rbk_limits_head(const rbk_limits_who *who);
/* For rbk_exchange_guard(), with a rbk_limits_who. */
unsigned rbk_limits_gate(size_t n, void *who);

/* The HTTP server refused a request by itself with `status`. A 429 is not counted again. */
void rbk_limits_refused(rbk_limits *l, rbk_front_numbers *n, const rbk_http_request *rq, int status,
                        const char *why);
void rbk_limits_shed(rbk_limits *l, rbk_front_numbers *n, const char *peer, rbk_http_shed why);
/* The engine had no room for anything of a body. */
void rbk_limits_busy(rbk_limits *l, rbk_front_numbers *n, const char *peer);

#endif
