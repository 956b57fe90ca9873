/* SPDX-License-Identifier: Apache-2.0 */
/* base/count.h - counters that one thread alone writes and any may read: a count costs a load and a
 * store. Those of different threads belong in different memory, so that they share no cache line. */
#ifndef RBK_BASE_COUNT_H
#define RBK_BASE_COUNT_H

#include <stdatomic.h>
#include <stdint.h>

static inline uint64_t rbk_count_now(const atomic_uint_fast64_t *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

static inline void rbk_count(atomic_uint_fast64_t *n, uint64_t more)
{
    atomic_store_explicit(n, rbk_count_now(n) + more, memory_order_relaxed);
}

#endif
