/* SPDX-License-Identifier: Apache-2.0 */
/* base/arena.c - see arena.h. */
#include "base/arena.h"

#include <stdlib.h>

enum { CHUNK_MIN = 2048, ALIGN = _Alignof(max_align_t) };

struct rbk_arena_chunk {
    rbk_arena_chunk *next;
    max_align_t data[];
};

static int add_chunk(rbk_arena *a, size_t n)
{
    size_t size = n > CHUNK_MIN ? n : CHUNK_MIN;
    if (size > a->max || a->sum > a->max - size)
        return RBK_E_NOMEM;
    rbk_arena_chunk *c = malloc(sizeof *c + size);
    if (c == NULL)
        return RBK_E_NOMEM;
    c->next = a->head;
    a->head = c;
    a->used = 0;
    a->size = size;
    a->sum += size;
    return 0;
}

void *rbk_arena_alloc(rbk_arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL; /* so that no sum below overflows */
    n = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if ((a->head == NULL || n > a->size - a->used) && add_chunk(a, n) < 0)
        return NULL;
    void *p = (char *)a->head->data + a->used;
    a->used += n;
    return p;
}

void *rbk_arena_zalloc(rbk_arena *a, size_t n)
{
    void *p = rbk_arena_alloc(a, n);
    if (p)
        memset(p, 0, n);
    return p;
}

rbk_str rbk_arena_dup(rbk_arena *a, rbk_str s)
{
    char *p = rbk_arena_alloc(a, s.n + 1);
    if (p == NULL)
        return RBK_STR_NONE;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return (rbk_str){p, s.n};
}

void rbk_arena_free(rbk_arena *a)
{
    while (a->head) {
        rbk_arena_chunk *c = a->head;
        a->head = c->next;
        free(c);
    }
    *a = RBK_ARENA(a->max);
}
