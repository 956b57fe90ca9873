/* SPDX-License-Identifier: Apache-2.0 */
/* core/retry.c - see retry.h. The schedule is walked once, and its last step repeated until
 * `max_age`, which alone ends a delivery: attempts that a receiver asked for itself, by
 * Retry-After, cost it nothing of the schedule's time. A wait that would end behind
 * `max_age` ends there, so slow attempts cost a delivery its last try only when the
 * age itself has passed. */
#include "core/retry.h"

#include "core/http_date.h"

#define STEP_MAX_MS (INT64_C(30) * 86400 * 1000)

/* Codes of a websocket's close. */
enum { WS_NORMAL = 1000, WS_GOING_AWAY = 1001, WS_RESTART = 1012, WS_BAD_GATEWAY = 1014 };

static int unit_ms(rbk_str unit, int64_t *ret_ms)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (rbk_str_eqz(unit, units[i].name)) {
            *ret_ms = units[i].ms;
            return 0;
        }
    return RBK_E_INVAL;
}

static int parse_step(rbk_str s, int64_t *ret_ms)
{
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    uint64_t v;
    int64_t unit;
    if (rbk_str_u64((rbk_str){s.p, digits}, (uint64_t)STEP_MAX_MS, &v) < 0 ||
        unit_ms((rbk_str){s.p + digits, s.n - digits}, &unit) < 0)
        return RBK_E_INVAL;
    if (v == 0 || (int64_t)v > STEP_MAX_MS / unit)
        return RBK_E_INVAL;
    *ret_ms = (int64_t)v * unit;
    return 0;
}

int rbk_retry_parse(rbk_str text, rbk_retry_conf *ret)
{
    int64_t step[RBK_RETRY_STEPS_MAX];
    size_t n = 0;
    for (bool more = true; more; n++) {
        const char *comma = text.n ? memchr(text.p, ',', text.n) : NULL;
        size_t len = comma ? (size_t)(comma - text.p) : text.n;
        if (n == RBK_RETRY_STEPS_MAX ||
            parse_step(rbk_str_trim((rbk_str){text.p, len}), &step[n]) < 0)
            return RBK_E_INVAL;
        more = comma != NULL;
        if (more)
            text = (rbk_str){comma + 1, text.n - len - 1};
    }
    memcpy(ret->step_ms, step, n * sizeof step[0]);
    ret->steps = n;
    return 0;
}

rbk_outcome_kind rbk_outcome_of(int status, bool complete)
{
    if (status == 410)
        return RBK_OUT_GONE;
    if (((status >= 200 && status <= 299) || status == WS_NORMAL) && complete)
        return RBK_OUT_DELIVERED;
    return RBK_OUT_FAILED;
}

bool rbk_retry_blames_host(int err, int status)
{
    switch (err) {
    case 0:
        return status == 429 || (status >= 502 && status <= 504) || status == WS_GOING_AWAY ||
               (status >= WS_RESTART && status <= WS_BAD_GATEWAY);
    case RBK_E_RESOLVE:
    case RBK_E_CONNECT:
    case RBK_E_TLS:
    case RBK_E_TIMEOUT:
        return true;
    default:
        return false;
    }
}

static bool is_number(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

int64_t rbk_retry_after(int status, rbk_str value, rbk_wall_ms now)
{
    enum { LEAST_S = 1, MOST_S = 86400 };
    uint64_t s = MOST_S;
    rbk_wall_ms date;
    if (status != 429 && status != 503 && status != 504)
        return 0;
    if (is_number(value)) {
        if (rbk_str_u64(value, MOST_S, &s) < 0)
            s = MOST_S; /* a number, however long */
    } else if (value.n && rbk_http_date_parse(value, now, &date) == 0 && date > now) {
        if (date - now < (int64_t)MOST_S * 1000)
            s = (uint64_t)(date - now + 999) / 1000;
    } else {
        return 0;
    }
    return (int64_t)(s < LEAST_S ? LEAST_S : s) * 1000;
}

static int64_t max_age_of(const rbk_retry_conf *conf)
{
    if (conf->max_age_ms > 0)
        return conf->max_age_ms;
    int64_t sum = 0;
    for (size_t i = 0; i < conf->steps; i++)
        sum += conf->step_ms[i];
    return sum;
}

/* Evenly spread over step ± jitter. */
static int64_t spread(int64_t step_ms, double jitter, uint64_t random)
{
    double unit = (double)(random >> 11) * 0x1p-53; /* 0 <= unit < 1 */
    double ms = (double)step_ms * (1 + jitter * (2 * unit - 1));
    return ms < 1 ? 1 : (int64_t)ms;
}

rbk_wall_ms rbk_retry_end(const rbk_retry_conf *conf, rbk_wall_ms first)
{
    return first + max_age_of(conf);
}

bool rbk_retry_next_after(const rbk_retry_conf *conf, rbk_wall_ms first, rbk_wall_ms now,
                          int64_t after_ms, rbk_wall_ms *ret_due)
{
    rbk_wall_ms end = rbk_retry_end(conf, first);
    if (now >= end)
        return false;
    *ret_due = after_ms < end - now ? now + after_ms : end;
    return true;
}

bool rbk_retry_next(const rbk_retry_conf *conf, uint32_t attempts, rbk_wall_ms first,
                    rbk_wall_ms now, uint64_t random, rbk_wall_ms *ret_due)
{
    if (attempts == 0 || conf->steps == 0)
        return false;
    size_t step = attempts < conf->steps ? attempts - 1 : conf->steps - 1;
    return rbk_retry_next_after(conf, first, now, spread(conf->step_ms[step], conf->jitter, random),
                                ret_due);
}
