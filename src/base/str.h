/* SPDX-License-Identifier: Apache-2.0 */
/* base/str.h - small helpers on rbk_str. Inline; any thread. */
#ifndef RBK_BASE_STR_H
#define RBK_BASE_STR_H

#include <string.h>
#include <strings.h>

#include "ringback/types.h"

#define RBK_STR(lit) ((rbk_str){"" lit, sizeof(lit) - 1})
#define RBK_STR_NONE ((rbk_str){NULL, 0})
/* printf("%.*s", RBK_FMT(s)) */
#define RBK_FMT(s) (int)(s).n, (s).p ? (s).p : ""

static inline rbk_str rbk_str_z(const char *z)
{
    return (rbk_str){z, z ? strlen(z) : 0};
}

static inline bool rbk_str_eq(rbk_str a, rbk_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool rbk_str_eqz(rbk_str a, const char *z)
{
    return rbk_str_eq(a, rbk_str_z(z));
}

/* ASCII case is ignored, whatever the locale. */
static inline char rbk_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static inline bool rbk_str_ieqz(rbk_str a, const char *z)
{
    size_t i = 0;
    for (; i < a.n && z[i]; i++)
        if (rbk_lower(a.p[i]) != rbk_lower(z[i]))
            return false;
    return i == a.n && z[i] == 0;
}

static inline bool rbk_str_starts(rbk_str s, rbk_str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* Without leading and trailing blanks and tabs. */
static inline rbk_str rbk_str_trim(rbk_str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Decimal digits only, no sign, no blanks, at most `max`. 0, or RBK_E_INVAL. */
static inline int rbk_str_u64(rbk_str s, uint64_t max, uint64_t *ret_v)
{
    uint64_t v = 0;
    if (s.n == 0)
        return RBK_E_INVAL;
    for (size_t i = 0; i < s.n; i++) {
        unsigned d = (unsigned char)s.p[i] - (unsigned)'0';
        if (d > 9 || v > (UINT64_MAX - d) / 10)
            return RBK_E_INVAL;
        v = v * 10 + d;
    }
    if (v > max)
        return RBK_E_INVAL;
    *ret_v = v;
    return 0;
}

#endif
