/* SPDX-License-Identifier: Apache-2.0 */
/* base/log_pace.c - see log_pace.h. */
#include "base/log_pace.h"

enum { EVERY_MS = 1000 };

bool rbk_log_pace_ok(rbk_log_pace *p, rbk_mono_ms now, uint64_t *ret_more)
{
    int_fast64_t last = atomic_load(&p->at);
    if ((last && now - last < EVERY_MS) || !atomic_compare_exchange_strong(&p->at, &last, now)) {
        atomic_fetch_add(&p->more, 1);
        return false;
    }
    *ret_more = atomic_exchange(&p->more, 0);
    return true;
}
