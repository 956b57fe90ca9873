/* SPDX-License-Identifier: Apache-2.0 */
/* base/map.h - a hash map from text to a pointer. Keys are copied; values are the
 * caller's. Hashing is SipHash-1-3 with a random key, so that peers who choose the
 * keys (receivers, member names) cannot make it slow. One thread at a time. */
#ifndef RBK_BASE_MAP_H
#define RBK_BASE_MAP_H

#include "base/str.h"

typedef struct rbk_map rbk_map;

rbk_map *rbk_map_new(void); /* NULL when memory is out */
void rbk_map_free(rbk_map *m);
void *rbk_map_get(const rbk_map *m, rbk_str key); /* NULL when absent */
/* Set or replace; `value` is not NULL. 0 or RBK_E_NOMEM. `ret_key` (may be NULL)
 * gets the map's own copy of the key, valid until the key is removed. */
int rbk_map_put(rbk_map *m, rbk_str key, void *value, rbk_str *ret_key);
void *rbk_map_remove(rbk_map *m, rbk_str key); /* the value, or NULL */
size_t rbk_map_size(const rbk_map *m);
/* Call `fn` for each value, in no order. `fn` must not change the map. */
void rbk_map_each(const rbk_map *m, void (*fn)(rbk_str key, void *value, void *user), void *user);

uint64_t rbk_hash(rbk_str s); /* SipHash-1-3 with the process's random key */

#endif
