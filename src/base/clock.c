/* SPDX-License-Identifier: Apache-2.0 */
/* base/clock.c - see clock.h. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#ifdef CLOCK_BOOTTIME
#define MONO CLOCK_BOOTTIME
#else
#define MONO CLOCK_MONOTONIC
#endif

static int64_t read_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

rbk_wall_ms rbk_wall_now(void)
{
    return read_ms(CLOCK_REALTIME);
}

rbk_mono_ms rbk_mono_now(void)
{
    return read_ms(MONO);
}

uint64_t rbk_mono_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void rbk_wall_format(rbk_wall_ms t, char out[25])
{
    time_t s = (time_t)(t / 1000);
    int ms = (int)(t % 1000);
    if (ms < 0)
        s--, ms += 1000;
    struct tm tm;
    if (gmtime_r(&s, &tm) == NULL || tm.tm_year > 8099 || tm.tm_year < -1900) {
        snprintf(out, 25, "-");
        return;
    }
    size_t n = strftime(out, 25, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 25 - n, ".%03dZ", ms);
}
