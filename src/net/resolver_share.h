/* SPDX-License-Identifier: Apache-2.0 */
/* net/resolver_share.h - who has how many of a resolver's places: of those for lookups, and
 * of those for waiting. Nobody takes more than a quarter of what all others leave free, so
 * names whose servers never answer leave room for everybody else's. Loop thread. */
#ifndef RBK_NET_RESOLVER_SHARE_H
#define RBK_NET_RESOLVER_SHARE_H

#include "base/map.h"

typedef struct rbk_share {
    rbk_str key; /* the map's copy */
    unsigned lookups, waits;
} rbk_share;

/* The share of `key` in `all`, made where there is none; NULL: no memory. */
rbk_share *rbk_share_get(rbk_map *all, rbk_str key);
/* Forget it, when it has nothing (any more). NULL is legal. */
void rbk_share_drop(rbk_map *all, rbk_share *s);
/* May who has `has` of the `taken` out of `max` places get no further one? One is always
 * allowed. */
bool rbk_share_is_full(unsigned has, unsigned taken, unsigned max);

#endif
