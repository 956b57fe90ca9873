/* SPDX-License-Identifier: Apache-2.0 */
/* base/clock.h - the two clocks. Wall time is stored and shown; monotonic time is
 * waited on. Any thread. */
#ifndef RBK_BASE_CLOCK_H
#define RBK_BASE_CLOCK_H

#include "ringback/types.h"

rbk_wall_ms rbk_wall_now(void);
rbk_mono_ms rbk_mono_now(void); /* CLOCK_BOOTTIME: goes on while the machine sleeps */
uint64_t rbk_mono_us(void);     /* for latencies only */

/* "2026-11-23T21:04:05.678Z" and NUL. */
void rbk_wall_format(rbk_wall_ms t, char out[25]);

#endif
