/* SPDX-License-Identifier: Apache-2.0 */
/* base/id.h - job ids: UUID version 7 (RFC 9562 section 5.7).
 *
 * 48 bits of unix milliseconds, 12 bits of counter, 62 random bits. Time and
 * counter together are `seq`: strictly rising within a generator, and the row id of
 * a stored job. When the clock stands still or jumps back, the counter carries
 * into the milliseconds, so order never depends on the clock. */
#ifndef RBK_BASE_ID_H
#define RBK_BASE_ID_H

#include "base/str.h"

typedef struct rbk_id {
    uint64_t seq; /* 60 bits: milliseconds << 12 | counter */
    uint64_t rnd; /* 62 bits */
} rbk_id;

#define RBK_ID_TEXT 36 /* characters of the text form, without NUL */

typedef struct rbk_id_gen {
    uint64_t last; /* the last seq given */
    uint64_t pool[32];
    unsigned left;
} rbk_id_gen;

/* Start behind `last` (0, or the greatest seq that a store holds). */
void rbk_id_gen_init(rbk_id_gen *g, uint64_t last);
rbk_id rbk_id_next(rbk_id_gen *g, rbk_wall_ms now);

/* The time in a seq. */
static inline rbk_wall_ms rbk_id_ms(uint64_t seq)
{
    return (rbk_wall_ms)(seq >> 12);
}

void rbk_id_format(rbk_id id, char out[RBK_ID_TEXT + 1]);
/* 0, or RBK_E_INVAL where `s` is no UUIDv7 in its 36-character form. */
int rbk_id_parse(rbk_str s, rbk_id *ret_id);

/* `n` bytes from the kernel's random source (getrandom). Never fails: waits. */
void rbk_random(void *p, size_t n);

#endif
