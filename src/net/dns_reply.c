/* SPDX-License-Identifier: Apache-2.0 */
/* net/dns_reply.c - see dns_reply.h. Every step is checked against the end: the bytes are a
 * peer's. Names are skipped, never followed, so there are no loops. */
#include "net/dns_reply.h"

enum { HEADER_N = 12, FIXED_N = 10, TYPE_SOA = 6 };

static unsigned read16(const unsigned char *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

/* The place behind the name at `at`; past `n` when there is none. */
static size_t skip_name(const unsigned char *p, size_t n, size_t at)
{
    while (at < n) {
        if (p[at] == 0)
            return at + 1;
        if (p[at] >= 0xc0)
            return at + 2;
        at += p[at] + 1u;
    }
    return n + 1;
}

/* The place behind the record at `at`, and its type. */
static size_t skip_record(const unsigned char *p, size_t n, size_t at, unsigned *ret_type)
{
    at = skip_name(p, n, at);
    if (at > n || n - at < FIXED_N)
        return n + 1;
    *ret_type = read16(p + at);
    return at + FIXED_N + read16(p + at + 8);
}

bool rbk_dns_has_soa(const unsigned char *p, size_t n)
{
    if (p == NULL || n < HEADER_N)
        return false;
    unsigned questions = read16(p + 4), answers = read16(p + 6), authorities = read16(p + 8);
    size_t at = HEADER_N;
    for (; questions > 0 && at <= n; questions--)
        at = skip_name(p, n, at) + 4;
    for (unsigned i = 0; i < answers + authorities && at <= n; i++) {
        unsigned type = 0;
        at = skip_record(p, n, at, &type);
        if (i >= answers && at <= n && type == TYPE_SOA)
            return true;
    }
    return false;
}
