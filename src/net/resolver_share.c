/* SPDX-License-Identifier: Apache-2.0 */
/* net/resolver_share.c - see resolver_share.h. */
#include "net/resolver_share.h"

#include <stdlib.h>

rbk_share *rbk_share_get(rbk_map *all, rbk_str key)
{
    rbk_share *s = rbk_map_get(all, key);
    if (s)
        return s;
    s = calloc(1, sizeof *s);
    if (s && rbk_map_put(all, key, s, &s->key) < 0) {
        free(s);
        return NULL;
    }
    return s;
}

void rbk_share_drop(rbk_map *all, rbk_share *s)
{
    if (s == NULL || s->lookups > 0 || s->waits > 0)
        return;
    rbk_map_remove(all, s->key);
    free(s);
}

bool rbk_share_is_full(unsigned has, unsigned taken, unsigned max)
{
    unsigned others = taken - has, quarter = max > others ? (max - others) / 4 : 0;
    return has >= (quarter ? quarter : 1);
}
