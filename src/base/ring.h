/* SPDX-License-Identifier: Apache-2.0 */
/* base/ring.h - things on a list that leave it from anywhere: a ring of links that are
 * members of what is listed. An empty or unlisted link points to itself. One thread. */
#ifndef RBK_BASE_RING_H
#define RBK_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rbk_link {
    struct rbk_link *prev, *next;
} rbk_link;

#define RBK_OF_LINK(l, type, member) ((type *)(void *)((char *)(l)-offsetof(type, member)))

static inline void rbk_link_init(rbk_link *l)
{
    l->prev = l->next = l;
}

static inline bool rbk_link_empty(const rbk_link *ring)
{
    return ring->next == ring;
}

static inline void rbk_link_remove(rbk_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    rbk_link_init(l);
}

/* Move `l`, in a ring or alone, to the end of `ring`. */
static inline void rbk_link_append(rbk_link *ring, rbk_link *l)
{
    rbk_link_remove(l);
    l->prev = ring->prev;
    l->next = ring;
    ring->prev->next = l;
    ring->prev = l;
}

#endif
