/* SPDX-License-Identifier: Apache-2.0 */
/* base/error.c - one table of errors, and two ways to fill an rbk_error.
 * No state; any thread. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int num, rpc;
    rbk_err_class cls;
    const char *name, *text;
} errors[] = {
    {0, 0, RBK_CLASS_CALLER, "OK", "OK"},
#define ROW(sym, num, rpc, cls, text) {num, rpc, RBK_CLASS_##cls, #sym, text},
    RBK_ERR_MAP(ROW)
#undef ROW
};

/* The numbers run 0, -1, -2 … without gaps, so the row is at -err. */
static int find_row(int err)
{
    if (err > 0 || err <= -(int)(sizeof errors / sizeof errors[0]) || errors[-err].num != err)
        return -1;
    return -err;
}

const char *rbk_strerror(int err)
{
    int i = find_row(err);
    return i < 0 ? "Unknown error" : errors[i].text;
}

const char *rbk_err_name(int err)
{
    int i = find_row(err);
    return i < 0 ? "UNKNOWN_ERROR" : errors[i].name;
}

int rbk_err_rpc_code(int err)
{
    int i = find_row(err);
    return i < 0 ? -32603 : errors[i].rpc;
}

rbk_err_class rbk_err_classify(int err)
{
    int i = find_row(err);
    return i < 0 ? RBK_CLASS_FATAL : errors[i].cls;
}

int rbk_fail(rbk_error *err, int code, const char *fmt, ...)
{
    if (err == NULL)
        return code;
    err->code = code;
    snprintf(err->text, sizeof err->text, "%s", rbk_strerror(code));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->detail, sizeof err->detail, fmt, ap);
    va_end(ap);
    return code;
}

/* Text that was cut ends with a whole UTF-8 character: it goes into JSON. */
static void end_whole(char *z)
{
    size_t n = strlen(z), at = n;
    while (at > 0 && n - at < 3 && ((unsigned char)z[at - 1] & 0xc0) == 0x80)
        at--;
    if (at == 0)
        return;
    unsigned char lead = (unsigned char)z[at - 1];
    size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (n - at + 1 < want)
        z[at - 1] = 0;
}

int rbk_fail_text(rbk_error *err, int code, const char *fmt, ...)
{
    if (err == NULL)
        return code;
    err->code = code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->detail, sizeof err->detail, fmt, ap);
    va_end(ap);
    snprintf(err->text, sizeof err->text, "%.*s", (int)sizeof err->text - 1, err->detail);
    end_whole(err->text);
    return code;
}
