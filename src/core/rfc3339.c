/* SPDX-License-Identifier: Apache-2.0 */
/* core/rfc3339.c - see rfc3339.h. Reads from the left, and what is left over at the end is a
 * fault. Digits past the millisecond are dropped; a leap second is the second after it. */
#include "core/rfc3339.h"

#include "ringback/types.h"

/* `n` digits and then `end` (NUL: none) off the front. */
static bool take(rbk_str *s, size_t n, char end, int *ret)
{
    int v = 0;
    if (s->n < n + (end != 0))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return false;
        v = v * 10 + (s->p[i] - '0');
    }
    if (end && s->p[n] != end)
        return false;
    *s = (rbk_str){s->p + n + (end != 0), s->n - n - (end != 0)};
    *ret = v;
    return true;
}

/* Days from 1970-01-01; the year begins in March. */
static int64_t days_to(int year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t m = month > 2 ? month - 3 : month + 9;
    return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

static bool take_date(rbk_str *s, int64_t *ret_days)
{
    int year, month, day;
    if (!take(s, 4, '-', &year) || !take(s, 2, '-', &month) || !take(s, 2, 0, &day) ||
        year < 1970 || month < 1 || month > 12 || day < 1 || day > days_of(year, month))
        return false;
    *ret_days = days_to(year, month, day);
    return true;
}

static bool take_time(rbk_str *s, int64_t *ret_ms)
{
    int hour, minute, second, unit = 100, ms = 0;
    if (!take(s, 2, ':', &hour) || !take(s, 2, ':', &minute) || !take(s, 2, 0, &second) ||
        hour > 23 || minute > 59 || second > 60)
        return false;
    if (s->n && s->p[0] == '.') {
        int digit;
        *s = (rbk_str){s->p + 1, s->n - 1};
        if (!take(s, 1, 0, &digit))
            return false;
        do {
            ms += digit * unit;
            unit /= 10;
        } while (take(s, 1, 0, &digit));
    }
    *ret_ms = ((int64_t)hour * 3600 + minute * 60 + second) * 1000 + ms;
    return true;
}

static bool take_offset(rbk_str *s, int64_t *ret_ms)
{
    int hour, minute;
    if (s->n == 0)
        return false;
    char c = s->p[0];
    *s = (rbk_str){s->p + 1, s->n - 1};
    *ret_ms = 0;
    if (c == 'Z' || c == 'z')
        return true;
    if ((c != '+' && c != '-') || !take(s, 2, ':', &hour) || !take(s, 2, 0, &minute) ||
        hour > 23 || minute > 59)
        return false;
    *ret_ms = (int64_t)(hour * 60 + minute) * 60000 * (c == '-' ? -1 : 1);
    return true;
}

int rbk_rfc3339_parse(rbk_str s, rbk_wall_ms *ret)
{
    int64_t days, ms = 0, offset = 0;
    if (!take_date(&s, &days))
        return RBK_E_INVAL;
    if (s.n) {
        char c = s.p[0];
        s = (rbk_str){s.p + 1, s.n - 1};
        if ((c != 'T' && c != 't' && c != ' ') || !take_time(&s, &ms) || !take_offset(&s, &offset))
            return RBK_E_INVAL;
    }
    if (s.n)
        return RBK_E_INVAL;
    *ret = days * INT64_C(86400000) + ms - offset;
    return 0;
}
