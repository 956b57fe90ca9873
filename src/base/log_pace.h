/* SPDX-License-Identifier: Apache-2.0 */
/* base/log_pace.h - a line a second about what peers can make happen as often as they like.
 * All zero at first. Any thread. */
#ifndef RBK_BASE_LOG_PACE_H
#define RBK_BASE_LOG_PACE_H

#include <stdatomic.h>

#include "ringback/types.h"

typedef struct rbk_log_pace {
    atomic_int_fast64_t at;    /* of the last line; 0: there was none */
    atomic_uint_fast64_t more; /* since, without a line */
} rbk_log_pace;

/* True: write the line now, and say that *ret_more were left out before it. False: this one is
 * left out. */
bool rbk_log_pace_ok(rbk_log_pace *p, rbk_mono_ms now, uint64_t *ret_more);

#endif
