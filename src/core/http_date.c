/* SPDX-License-Identifier: Apache-2.0 */
/* core/http_date.c - see http_date.h. The name of the day must be one, but need not be
 * the day of the date: nobody could say which of the two is wrong. A pattern says where
 * each field of a form stands; everything else must match to the letter. */
#include "core/http_date.h"

typedef struct fields {
    int year, month, day, hour, minute, second;
    bool short_year;
} fields;

/* The place of `s`, cut to `n` letters when that is not 0, among the names, or -1. */
static int find_name(rbk_str s, const char *const *names, int count, size_t n)
{
    for (int i = 0; i < count; i++) {
        rbk_str name = rbk_str_z(names[i]);
        if (n)
            name.n = n;
        if (rbk_str_eq(s, name))
            return i;
    }
    return -1;
}

static int find_month(rbk_str s)
{
    static const char *const names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    return find_name(s, names, 12, 0) + 1;
}

static bool is_day(rbk_str s, size_t n)
{
    static const char *const names[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                        "Friday", "Saturday", "Sunday"};
    return find_name(s, names, 7, n) >= 0;
}

/* `n` digits at `p`, or -1. */
static int number(const char *p, size_t n)
{
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return -1;
        v = v * 10 + (p[i] - '0');
    }
    return v;
}

/* Where a letter of a pattern goes, NULL for one that stands for itself. */
static int *field_of(char kind, fields *f)
{
    switch (kind) {
    case '4': /* year */
        return &f->year;
    case '2': /* year of two digits */
        f->short_year = true;
        return &f->year;
    case 'n': /* name of the month */
        return &f->month;
    case 'd':
    case 'e': /* day, a blank in place of a first 0 */
        return &f->day;
    case 'h':
        return &f->hour;
    case 'm':
        return &f->minute;
    case 's':
        return &f->second;
    default:
        return NULL;
    }
}

/* One letter of a pattern at `p`; how long it was, 0 when it does not fit. */
static size_t take(char kind, const char *p, size_t left, fields *f)
{
    int *field = field_of(kind, f);
    size_t n = kind == '4' ? 4 : kind == 'n' ? 3 : 2;
    if (field == NULL)
        return left > 0 && *p == kind;
    if (left < n)
        return 0;
    if (kind == 'n')
        *field = find_month((rbk_str){p, n});
    else if (kind == 'e' && *p == ' ')
        *field = number(p + 1, 1);
    else
        *field = number(p, n);
    return *field >= 0 ? n : 0;
}

static bool match(rbk_str s, const char *pattern, fields *f)
{
    size_t at = 0;
    for (; *pattern; pattern++) {
        size_t n = take(*pattern, s.p + at, s.n - at, f);
        if (n == 0)
            return false;
        at += n;
    }
    return at == s.n;
}

static bool read_fields(rbk_str s, fields *f)
{
    const char *comma = memchr(s.p, ',', s.n);
    size_t day = comma ? (size_t)(comma - s.p) : 3;
    if (s.n < day)
        return false;
    rbk_str name = {s.p, day}, rest = {s.p + day, s.n - day};
    if (comma == NULL)
        return is_day(name, 3) && match(rest, " n e h:m:s 4", f);
    if (day == 3)
        return is_day(name, 3) && match(rest, ", d n 4 h:m:s GMT", f);
    return is_day(name, 0) && match(rest, ", d-n-2 h:m:s GMT", f);
}

/* Days from 1970-01-01 to a date of the Gregorian calendar. */
static int64_t days_to(int year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1; /* the year begins in March */
    int64_t m = month > 2 ? month - 3 : month + 9;
    return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

static bool is_date(const fields *f)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (f->month < 1 || f->month > 12 || f->day < 1)
        return false;
    bool leap = f->year % 4 == 0 && (f->year % 100 != 0 || f->year % 400 == 0);
    return f->year >= 1 && f->day <= days[f->month - 1] + (f->month == 2 && leap) &&
           f->hour <= 23 && f->minute <= 59 && f->second <= 60; /* 60: a leap second */
}

int rbk_http_date_parse(rbk_str s, rbk_wall_ms now, rbk_wall_ms *ret)
{
    fields f = {0};
    if (s.n == 0 || !read_fields(s, &f))
        return RBK_E_INVAL;
    if (f.short_year) {
        int this_year = (int)(1970 + now / (INT64_C(31556952) * 1000));
        f.year += this_year / 100 * 100;
        if (f.year > this_year + 50)
            f.year -= 100;
        else if (f.year + 50 < this_year)
            f.year += 100;
    }
    if (!is_date(&f))
        return RBK_E_INVAL;
    *ret = (days_to(f.year, f.month, f.day) * 86400 + f.hour * 3600 + f.minute * 60 + f.second) *
           1000;
    return 0;
}
