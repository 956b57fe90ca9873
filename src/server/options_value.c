/* SPDX-License-Identifier: Apache-2.0 */
/* server/options_value.c - values of options from text and back.
 *
 * What is printed parses to the same value. Nothing here asks the locale, and no text
 * is repaired: "10 G", "1.5M" or "5" where a unit is wanted are faults. One thread. */
#include "server/options_impl.h"

#include <stdlib.h>

typedef struct unit {
    const char *name;
    int64_t factor;
} unit;

/* Smallest first; the printer takes the greatest that divides. */
static const unit size_units[] = {
    {"", 1}, {"K", INT64_C(1) << 10}, {"M", INT64_C(1) << 20}, {"G", INT64_C(1) << 30},
    {"T", INT64_C(1) << 40},
};
static const unit ms_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};
enum { N_UNITS = 5 };

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};
static const char *const guarantee_names[] = {"at-least-once", "at-most-once", NULL};
static const char *const format_names[] = {"logfmt", "json", NULL};

static const unit *units_of(const rbk_option *opt)
{
    return opt->kind == RBK_OPT_SIZE ? size_units : opt->kind == RBK_OPT_MS ? ms_units : NULL;
}

static const char *const *names_of(const rbk_option *opt)
{
    if (opt->kind == RBK_OPT_GUARANTEE)
        return guarantee_names;
    return opt->kind == RBK_OPT_LEVEL ? level_names : format_names;
}

static void print_units(const unit *u, int64_t v, rbk_buf *b)
{
    size_t i = N_UNITS - 1;
    if (v == 0) {
        rbk_buf_c(b, '0');
        return;
    }
    while (i > 0 && v % u[i].factor != 0)
        i--;
    rbk_buf_addf(b, "%lld%s", (long long)(v / u[i].factor), u[i].name);
}

/* Digits and a unit's name. A plain 0 needs no unit. */
static int parse_units(const unit *units, rbk_str text, int64_t *ret)
{
    size_t digits = 0;
    uint64_t v = 0;
    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    if (rbk_str_u64((rbk_str){text.p, digits}, INT64_MAX, &v) < 0)
        return RBK_E_INVAL;
    rbk_str name = {text.p + digits, text.n - digits};
    for (size_t i = 0; i < N_UNITS; i++) {
        if (!rbk_str_ieqz(name, units[i].name))
            continue;
        if (v > (uint64_t)(INT64_MAX / units[i].factor))
            return RBK_E_INVAL;
        *ret = (int64_t)v * units[i].factor;
        return 0;
    }
    if (name.n == 0 && v == 0) {
        *ret = 0;
        return 0;
    }
    return RBK_E_INVAL;
}

void rbk_option_range(const rbk_option *opt, rbk_buf *b)
{
    const unit *u = units_of(opt);
    switch (opt->kind) {
    case RBK_OPT_TEXT:
        rbk_buf_lit(b, "text");
        break;
    case RBK_OPT_BOOL:
        rbk_buf_lit(b, "yes, no");
        break;
    case RBK_OPT_LEVEL:
    case RBK_OPT_FORMAT:
    case RBK_OPT_GUARANTEE:
        for (const char *const *n = names_of(opt); *n; n++)
            rbk_buf_addf(b, "%s%s", n == names_of(opt) ? "" : ", ", *n);
        break;
    case RBK_OPT_INT:
    case RBK_OPT_REAL:
        rbk_buf_addf(b, "%lld to %lld", (long long)opt->min, (long long)opt->max);
        break;
    case RBK_OPT_SIZE:
    case RBK_OPT_MS:
        print_units(u, opt->min, b);
        rbk_buf_lit(b, " to ");
        print_units(u, opt->max, b);
        break;
    }
}

static int fail_range(const rbk_option *opt, const char *kind, rbk_str text, rbk_error *err)
{
    rbk_buf b = RBK_BUF(256);
    rbk_option_range(opt, &b);
    int r = rbk_fail(err, RBK_E_CONFIG, "'%.*s' is not %s from %.*s",
                     text.n > 100 ? 100 : RBK_FMT(text), kind, RBK_FMT(rbk_buf_view(&b)));
    rbk_buf_free(&b);
    return r;
}

static int parse_number(const rbk_option *opt, int64_t *field, rbk_str text, rbk_error *err)
{
    static const char *const kinds[] = {[RBK_OPT_INT] = "a number",
                                        [RBK_OPT_SIZE] = "a size (bytes, or K, M, G, T)",
                                        [RBK_OPT_MS] = "a time (with ms, s, m, h or d)"};
    int64_t v = 0;
    uint64_t plain = 0;
    int r = 0;
    if (text.n == 0 && opt->none) {
        *field = 0;
        return 0;
    }
    if (opt->kind == RBK_OPT_INT) {
        r = rbk_str_u64(text, INT64_MAX, &plain);
        v = (int64_t)plain;
    } else {
        r = parse_units(units_of(opt), text, &v);
    }
    if (r < 0 || v < opt->min || v > opt->max)
        return fail_range(opt, kinds[opt->kind], text, err);
    *field = v;
    return 0;
}

/* "0.25": digits, a point, at most six digits. Millionths are exact in a double's print. */
static int parse_real(const rbk_option *opt, double *field, rbk_str text, rbk_error *err)
{
    uint64_t whole = 0, micro = 0;
    size_t dot = 0;
    while (dot < text.n && text.p[dot] != '.')
        dot++;
    rbk_str frac = {text.p + dot + 1, dot < text.n ? text.n - dot - 1 : 0};
    int r = rbk_str_u64((rbk_str){text.p, dot}, 1000000, &whole);
    if (r == 0 && dot < text.n)
        r = frac.n > 6 ? RBK_E_INVAL : rbk_str_u64(frac, 999999, &micro);
    for (size_t i = frac.n; i < 6; i++)
        micro *= 10;
    double v = (double)(whole * 1000000 + micro) / 1e6;
    if (r < 0 || v < (double)opt->min || v > (double)opt->max)
        return fail_range(opt, "a number", text, err);
    *field = v;
    return 0;
}

static void print_real(double v, rbk_buf *b)
{
    uint64_t micro = (uint64_t)(v * 1e6 + 0.5), frac = micro % 1000000;
    int digits = 6;
    rbk_buf_add_u64(b, micro / 1000000);
    if (frac == 0)
        return;
    while (frac % 10 == 0)
        frac /= 10, digits--;
    rbk_buf_addf(b, ".%0*llu", digits, (unsigned long long)frac);
}

static int parse_bool(bool *field, rbk_str text, rbk_error *err)
{
    static const char *const names[] = {"no", "yes", "false", "true", "off", "on"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (rbk_str_ieqz(text, names[i])) {
            *field = i % 2 == 1;
            return 0;
        }
    }
    return rbk_fail(err, RBK_E_CONFIG, "'%.*s' is neither yes nor no",
                    text.n > 100 ? 100 : RBK_FMT(text));
}

static int parse_name(const rbk_option *opt, int64_t *field, rbk_str text, rbk_error *err)
{
    const char *const *names = names_of(opt);
    for (int64_t i = 0; names[i]; i++) {
        if (rbk_str_ieqz(text, names[i])) {
            *field = i;
            return 0;
        }
    }
    rbk_buf b = RBK_BUF(256);
    rbk_option_range(opt, &b);
    int r = rbk_fail(err, RBK_E_CONFIG, "'%.*s' is none of %.*s",
                     text.n > 100 ? 100 : RBK_FMT(text), RBK_FMT(rbk_buf_view(&b)));
    rbk_buf_free(&b);
    return r;
}

static int parse_text(const rbk_option *opt, char **field, rbk_str text, rbk_error *err)
{
    char room[160];
    if (text.p == NULL)
        text = RBK_STR("");
    if (text.n > RBK_OPTION_TEXT_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "longer than %d bytes", RBK_OPTION_TEXT_MAX);
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f)
            return rbk_fail(err, RBK_E_CONFIG, "has a control character");
    const char *wrong = opt->check ? opt->check(text, room) : NULL;
    if (wrong)
        return rbk_fail(err, RBK_E_CONFIG, "%s", wrong);
    char *copy = strndup(text.p, text.n);
    if (copy == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    free(*field);
    *field = copy;
    return 0;
}

int rbk_option_parse(const rbk_option *opt, void *base, rbk_str text, rbk_error *err)
{
    void *field = (char *)base + opt->offset;
    switch (opt->kind) {
    case RBK_OPT_TEXT:
        return parse_text(opt, field, text, err);
    case RBK_OPT_REAL:
        return parse_real(opt, field, text, err);
    case RBK_OPT_BOOL:
        return parse_bool(field, text, err);
    case RBK_OPT_LEVEL:
    case RBK_OPT_FORMAT:
    case RBK_OPT_GUARANTEE:
        return parse_name(opt, field, text, err);
    case RBK_OPT_INT:
    case RBK_OPT_SIZE:
    case RBK_OPT_MS:
        break;
    }
    return parse_number(opt, field, text, err);
}

void rbk_option_print(const rbk_option *opt, const void *base, rbk_buf *b)
{
    const void *field = (const char *)base + opt->offset;
    const int64_t *number = field;
    switch (opt->kind) {
    case RBK_OPT_TEXT: {
        const char *const *text = field;
        rbk_buf_z(b, *text ? *text : "");
        return;
    }
    case RBK_OPT_REAL:
        print_real(*(const double *)field, b);
        return;
    case RBK_OPT_BOOL:
        rbk_buf_z(b, *(const bool *)field ? "yes" : "no");
        return;
    case RBK_OPT_LEVEL:
    case RBK_OPT_FORMAT:
    case RBK_OPT_GUARANTEE:
        rbk_buf_z(b, names_of(opt)[*number]);
        return;
    case RBK_OPT_INT:
        if (*number != 0 || !opt->none)
            rbk_buf_addf(b, "%lld", (long long)*number);
        return;
    case RBK_OPT_SIZE:
    case RBK_OPT_MS:
        if (*number != 0 || !opt->none)
            print_units(units_of(opt), *number, b);
        return;
    }
}
