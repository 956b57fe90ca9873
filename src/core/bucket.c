/* SPDX-License-Identifier: Apache-2.0 */
/* core/bucket.c - see bucket.h. A token is worth the ns in which one flows in; all sums stop at
 * DEBT_MAX, which is longer than any process lives. */
#include "core/bucket.h"

#include "base/error.h"

#define NS INT64_C(1000000)          /* in a ms */
#define DEBT_MAX (INT64_MAX / 4)     /* ns: 73 years */

int rbk_rate_read(rbk_str text, rbk_rate *ret)
{
    uint64_t n = 0;
    const char *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
    rbk_str digits = {text.p, slash ? (size_t)(slash - text.p) : text.n};
    rbk_str unit = slash ? (rbk_str){slash + 1, text.n - digits.n - 1} : RBK_STR("s");
    int64_t ms = rbk_str_eqz(unit, "s")   ? 1000
                 : rbk_str_eqz(unit, "m") ? 60000
                 : rbk_str_eqz(unit, "h") ? 3600000
                                          : 0;
    if (ms == 0 || rbk_str_u64(digits, RBK_RATE_MAX, &n) < 0 || n == 0)
        return RBK_E_INVAL;
    *ret = (rbk_rate){(int64_t)n, ms};
    return 0;
}

/* `n` tokens in ns. */
static int64_t worth(uint64_t n, int64_t cost)
{
    return n > (uint64_t)(DEBT_MAX / cost) ? DEBT_MAX : (int64_t)n * cost;
}

/* Of one token, in ns. */
static int64_t cost_of(const rbk_rate *rate)
{
    return (rate->ms * NS + rate->n - 1) / rate->n;
}

int64_t rbk_bucket_take(rbk_bucket *b, const rbk_rate *rate, uint64_t n, uint64_t held,
                        rbk_mono_ms now)
{
    if (rate->n == 0)
        return 0;
    int64_t t = now * NS, cost = cost_of(rate);
    int64_t size = rate->n * cost, need = worth(n, cost), own = worth(held, cost);
    int64_t missing = b->full_at > t ? b->full_at - t : 0;
    if ((need <= size && missing <= size - need) || missing <= own) {
        int64_t all = missing > DEBT_MAX - need ? DEBT_MAX : missing + need;
        b->full_at = t + all;
        return 0;
    }
    int64_t room = need <= size - own ? size - own - need : 0; /* it comes anew, and takes all */
    int64_t ms = (missing - room + NS - 1) / NS;
    return ms > 0 ? ms : 1;
}

void rbk_bucket_give(rbk_bucket *b, const rbk_rate *rate, uint64_t n)
{
    int64_t back = rate->n ? worth(n, cost_of(rate)) : 0;
    b->full_at = b->full_at > back ? b->full_at - back : 0;
}

bool rbk_bucket_is_full(const rbk_bucket *b, rbk_mono_ms now)
{
    return b->full_at <= now * NS;
}
