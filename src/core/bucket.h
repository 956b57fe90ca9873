/* SPDX-License-Identifier: Apache-2.0 */
/* core/bucket.h - token buckets: so many requests in so much time, and no more at once than that
 * time allows.
 *
 * A bucket is one number, the time at which it will be full again: an idle bucket needs no upkeep
 * and is told from a new one by nobody. Pure; integers alone; whoever holds the bucket locks it. */
#ifndef RBK_CORE_BUCKET_H
#define RBK_CORE_BUCKET_H

#include "base/str.h"
#include "ringback/types.h"

#define RBK_RATE_MAX 1000000000 /* tokens; the time is a second, a minute or an hour */

/* `n` tokens in `ms`, which is also what a full bucket holds. n 0: no bound. */
typedef struct rbk_rate {
    int64_t n, ms;
} rbk_rate;

/* "50/s", "1000/m", "20000/h"; a number alone is by the second. 0; or RBK_E_INVAL, and `ret` is left
 * as it was. */
int rbk_rate_read(rbk_str text, rbk_rate *ret);

typedef struct rbk_bucket { /* all zero: full */
    int64_t full_at; /* ns on the clock of `now` */
} rbk_bucket;

/* Take `n` tokens for a request that has taken `held` already. 0: taken. Else nothing is, and it
 * says in how many ms (1 and up) as many as the whole request needs will be there. What needs more
 * than a full bucket has is let through by one that is full but for `held`, and the bucket pays for it
 * afterwards: it is late, not refused for ever. */
int64_t rbk_bucket_take(rbk_bucket *b, const rbk_rate *rate, uint64_t n, uint64_t held,
                        rbk_mono_ms now);
/* Give back `n` tokens that were taken at this rate. */
void rbk_bucket_give(rbk_bucket *b, const rbk_rate *rate, uint64_t n);
/* Is it as good as a new one? */
bool rbk_bucket_is_full(const rbk_bucket *b, rbk_mono_ms now);

#endif
