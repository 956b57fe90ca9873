/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_words.c - short texts of peers and operators that mean a time or a key.
 *
 * Beyond the sanitizers: a Retry-After is 0 or 1 s to 24 h; a date that was read, written in the
 * one form that is written, is the same date; a schedule has as many steps as it may, each within
 * its range; an answer about DNS is read within its bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"
#include "core/http_date.h"
#include "core/retry.h"
#include "core/rfc3339.h"
#include "net/dns_reply.h"
#include "net/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const rbk_wall_ms now = 1800000000000;

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_date(rbk_str s)
{
    char text[30];
    rbk_wall_ms t, again;
    if (rbk_http_date_parse(s, now, &t) < 0)
        return;
    require(t % 1000 == 0);
    rbk_http_date(t, text);
    require(rbk_http_date_parse(rbk_str_z(text), now, &again) == 0 && again == t);
}

static void check_retry_after(rbk_str s)
{
    static const int statuses[] = {200, 429, 503, 504};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        int64_t ms = rbk_retry_after(statuses[i], s, now);
        require(ms == 0 || (ms >= 1000 && ms <= 24 * 3600 * 1000LL));
        require(ms == 0 || statuses[i] != 200);
    }
}

static void check_schedule(rbk_str s)
{
    rbk_retry_conf c = {.jitter = 0.2};
    if (rbk_retry_parse(s, &c) < 0)
        return;
    require(c.steps > 0 && c.steps <= RBK_RETRY_STEPS_MAX);
    for (size_t i = 0; i < c.steps; i++)
        require(c.step_ms[i] >= 1 && c.step_ms[i] <= 30 * 24 * 3600 * 1000LL);
    rbk_wall_ms due;
    for (uint32_t k = 1; k <= c.steps + 1; k++)
        if (rbk_retry_next(&c, k, now, now, ~(uint64_t)k, &due))
            require(due >= now && due <= rbk_retry_end(&c, now));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    rbk_str s = {(const char *)data, n};
    rbk_wall_ms t;
    check_date(s);
    check_retry_after(s);
    check_schedule(s);
    if (rbk_rfc3339_parse(s, &t) == 0) {
        char text[25];
        rbk_wall_ms again;
        rbk_wall_format(t, text);
        require(rbk_rfc3339_parse(rbk_str_z(text), &again) == 0 && again == t);
    }
    rbk_dns_has_soa(data, n);
    return 0;
}
