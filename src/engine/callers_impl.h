/* SPDX-License-Identifier: Apache-2.0 */
/* engine/callers_impl.h - the inside of the table, for callers.c and callers_read.c alone. */
#ifndef RBK_ENGINE_CALLERS_IMPL_H
#define RBK_ENGINE_CALLERS_IMPL_H

#include "base/map.h"
#include "engine/callers.h"

#include <stdatomic.h>

typedef struct rbk_token_hash {
    uint8_t hash[32];
    uint32_t caller; /* place in the list */
} rbk_token_hash;

struct rbk_callers {
    atomic_uint refs;
    rbk_caller *list;
    size_t n, cap;
    rbk_map *names; /* name -> place in the list + 1 */
    /* Sorted by hash, and `span` more at the end that are nobody's. Hashes that begin with the
     * `bits` bits b are at first[b] and behind it, at most `span` of them. */
    rbk_token_hash *tokens;
    size_t n_tokens;
    uint32_t *first;
    unsigned bits;
    size_t span;
};

rbk_callers *rbk_callers_new(void); /* empty; NULL when memory is out */
/* Make the index of the tokens, once all are in the list. RBK_E_CONFIG: one hash stands twice. */
int rbk_callers_index(rbk_callers *c, rbk_error *err);

#endif
