/* SPDX-License-Identifier: Apache-2.0 */
/* base/arena.h - many small allocations that die together.
 *
 * Memory comes in chunks; nothing is freed alone. Alignment is that of max_align_t.
 * One thread at a time. `max` bounds the sum of all chunks. */
#ifndef RBK_BASE_ARENA_H
#define RBK_BASE_ARENA_H

#include "base/str.h"

typedef struct rbk_arena_chunk rbk_arena_chunk;

typedef struct rbk_arena {
    rbk_arena_chunk *head;
    size_t used, size; /* of the head chunk */
    size_t sum, max;
} rbk_arena;

#define RBK_ARENA(maximum) ((rbk_arena){.max = (maximum)})

void *rbk_arena_alloc(rbk_arena *a, size_t n); /* NULL when memory or `max` is out */
void *rbk_arena_zalloc(rbk_arena *a, size_t n);
/* A copy, NUL-terminated behind its end. `p` is NULL when memory is out. */
rbk_str rbk_arena_dup(rbk_arena *a, rbk_str s);
void rbk_arena_free(rbk_arena *a); /* empty again, `max` kept */

#endif
