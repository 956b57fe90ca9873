/* SPDX-License-Identifier: Apache-2.0 */
/* app/args.c - see args.h. Our own, because getopt keeps its state in variables of the
 * process and orders words otherwise on other libraries. */
#include "app/args.h"

#include <stdio.h>

static int complain(const char *what, const char *word)
{
    fprintf(stderr, "ringback: %s %s\n", word, what);
    return RBK_ARG_BAD;
}

/* `rest` is the value written in the same word, or NULL. */
static int take(rbk_args *a, int i, const char *word, const char *rest)
{
    if (!a->flags[i].value)
        return rest ? complain("takes no value", word) : i;
    if (rest == NULL && a->at == a->argc)
        return complain("wants a value", word);
    a->value = rest ? rest : a->argv[a->at++];
    return i;
}

static int next_long(rbk_args *a, const char *word)
{
    const char *eq = strchr(word, '=');
    rbk_str name = {word + 2, eq ? (size_t)(eq - word - 2) : strlen(word + 2)};
    for (int i = 0; a->flags[i].name; i++)
        if (rbk_str_eqz(name, a->flags[i].name))
            return take(a, i, word, eq ? eq + 1 : NULL);
    return complain("is not an option of this command", word);
}

static int next_short(rbk_args *a, const char *word)
{
    for (int i = 0; a->flags[i].name; i++)
        if (a->flags[i].letter && a->flags[i].letter == word[1])
            return take(a, i, word, word[2] ? word + 2 : NULL);
    return complain("is not an option of this command", word);
}

int rbk_args_next(rbk_args *a)
{
    a->value = NULL;
    if (a->at == a->argc)
        return RBK_ARG_END;
    const char *word = a->argv[a->at++];
    if (!a->words_only && strcmp(word, "--") == 0) {
        a->words_only = true;
        return rbk_args_next(a);
    }
    if (!a->words_only && word[0] == '-' && word[1] == '-')
        return next_long(a, word);
    if (!a->words_only && word[0] == '-' && word[1])
        return next_short(a, word);
    a->value = word;
    return RBK_ARG_WORD;
}

bool rbk_args_number(const rbk_args *a, uint64_t max, uint64_t *ret)
{
    if (rbk_str_u64(rbk_str_z(a->value), max, ret) == 0)
        return true;
    fprintf(stderr, "ringback: '%s' is not a number from 0 to %llu\n", a->value,
            (unsigned long long)max);
    return false;
}
