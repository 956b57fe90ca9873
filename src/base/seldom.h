/* SPDX-License-Identifier: Apache-2.0 */
/* base/seldom.h - events that peers can cause as often as they like, in a log that has an end: a
 * line a second says the first of them, and how many were left out before it. Any thread. */
#ifndef RBK_BASE_SELDOM_H
#define RBK_BASE_SELDOM_H

#include <stdatomic.h>

#include "base/clock.h"

typedef struct rbk_seldom { /* all zero to begin with */
    atomic_int_fast64_t at; /* of the last line */
    atomic_uint_fast64_t more;
} rbk_seldom;

/* Is it time for a line? Then `ret_more` gets how many were left out. */
static inline bool rbk_seldom_now(rbk_seldom *s, uint64_t *ret_more)
{
    enum { EVERY_MS = 1000 };
    int_fast64_t now = rbk_mono_now(), last = atomic_load(&s->at);
    if ((last && now - last < EVERY_MS) || !atomic_compare_exchange_strong(&s->at, &last, now)) {
        atomic_fetch_add(&s->more, 1);
        return false;
    }
    *ret_more = atomic_exchange(&s->more, 0);
    return true;
}

#endif
