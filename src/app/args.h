/* SPDX-License-Identifier: Apache-2.0 */
/* app/args.h - words of a command line, one after the other.
 *
 * `--name value`, `--name=value`, `-c value`, `-cvalue`; options and plain words may be
 * mixed; `--` ends the options. One thread. */
#ifndef RBK_APP_ARGS_H
#define RBK_APP_ARGS_H

#include "base/str.h"

typedef struct rbk_flag {
    const char *name; /* without its dashes */
    char letter;      /* 0: none */
    bool value;       /* takes one */
} rbk_flag;

enum { RBK_ARG_END = -1, RBK_ARG_WORD = -2, RBK_ARG_BAD = -3 };

typedef struct rbk_args {
    int argc, at;
    char **argv;
    const rbk_flag *flags; /* ends with a row without a name */
    const char *value;     /* of the option, or the plain word */
    bool words_only;       /* behind `--` */
} rbk_args;

/* The next option's place in `flags`, or one of the above. A fault was told to stderr. */
int rbk_args_next(rbk_args *a);
/* A whole number within 0 to `max`; false and told to stderr when `a->value` is none. */
bool rbk_args_number(const rbk_args *a, uint64_t max, uint64_t *ret);

#endif
