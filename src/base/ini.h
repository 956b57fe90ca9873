/* SPDX-License-Identifier: Apache-2.0 */
/* base/ini.h - the text of an INI file, line by line.
 *
 * Sections `[name]` and `[name "quoted"]`, lines `key = value`. `#` and `;` begin a comment at the
 * start of a line or behind a blank. A value in double quotes keeps its blanks and comment signs;
 * \" and \\ are a quote and a backslash there. Nothing is cut and nothing continues on the next
 * line: what does not fit is a fault, with its line. Pure; any thread. */
#ifndef RBK_BASE_INI_H
#define RBK_BASE_INI_H

#include "base/str.h"

enum { RBK_INI_LINE_MAX = 4096 };

/* The functions return 0, or negative with what is wrong in err->detail; file and line are put
 * before it. What they are given is valid in the call alone. */
typedef struct rbk_ini {
    const char *path; /* for the faults */
    const char *like; /* "[server]": how a section looks, for the faults */
    int (*section)(void *user, rbk_str name, rbk_str quoted, rbk_error *err); /* quoted: or absent */
    int (*pair)(void *user, rbk_str key, rbk_str value, rbk_error *err);
    void *user;
    size_t begin, end; /* set by the reader: where the line is in the text, line end included */
} rbk_ini;

/* 0; RBK_E_CONFIG with "FILE:LINE: what" in err->detail; or what a function returned. */
int rbk_ini_read(rbk_ini *ini, rbk_str text, rbk_error *err);

/* Would a value be read back the same without quotes? */
bool rbk_ini_is_plain(rbk_str value);

#endif
