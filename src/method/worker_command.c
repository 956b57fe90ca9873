/* SPDX-License-Identifier: Apache-2.0 */
/* method/worker_command.c - a command as one line of a configuration has it, in words. No shell
 * is asked: what is special to one is not special here. Any thread. */
#include "method/worker.h"

#include "base/error.h"
#include "method/worker_spawn.h"

#include <stdlib.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Copies the word at `*p` to `*to`, and puts both behind it. False when a quote is open. */
static bool take_word(const char **p, char **to)
{
    const char *at = *p;
    bool quoted = false;
    for (; *at && (quoted || !is_blank(*at)); at++) {
        if (*at == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && *at == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        *(*to)++ = *at;
    }
    *(*to)++ = 0;
    *p = at;
    return !quoted;
}

int rbk_worker_split(const char *command, char ***ret, rbk_error *err)
{
    size_t n = strlen(command), words = 0;
    if (n > RBK_WORKER_COMMAND_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "a command of more than %d bytes", RBK_WORKER_COMMAND_MAX);
    char **block = malloc((RBK_WORKER_ARGS_MAX + 1) * sizeof *block + n + 1);
    if (block == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "command");
    char *to = (char *)(block + RBK_WORKER_ARGS_MAX + 1);
    int r = 0;
    for (const char *p = command; r == 0;) {
        while (is_blank(*p))
            p++;
        if (*p == 0)
            break;
        if (words == RBK_WORKER_ARGS_MAX) {
            r = rbk_fail(err, RBK_E_CONFIG, "a command of more than %d words", RBK_WORKER_ARGS_MAX);
            break;
        }
        block[words++] = to;
        if (!take_word(&p, &to))
            r = rbk_fail(err, RBK_E_CONFIG, "a quote without its end");
    }
    if (r == 0 && (words == 0 || block[0][0] == 0))
        r = rbk_fail(err, RBK_E_CONFIG, "a command without a program");
    if (r < 0) {
        free(block);
        return r;
    }
    block[words] = NULL;
    *ret = block;
    return 0;
}

int rbk_worker_check(const char *command, rbk_error *err)
{
    char **words = NULL, *path = NULL;
    int r = rbk_worker_split(command, &words, err);
    if (r == 0)
        r = rbk_spawn_find(words[0], &path, err);
    free(words);
    free(path);
    return r;
}
