/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_worker.c - what a worker writes, and the words of its command.
 *
 * Beyond the sanitizers: a line that is taken has a result or an error, and what was found of it is
 * JSON; params that are JSON become one line of JSON that means the same to a second pass; the words of a
 * command are no more, and no longer, than its text. */
#include "core/rpc.h"
#include "method/worker.h"
#include "method/worker_line.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void check_line(rbk_str text)
{
    rbk_worker_line l;
    if (rbk_worker_read(text, &l) || l.progress)
        return;
    if (l.result.p) {
        require(rbk_json_check(l.result) == 0 && l.message.p == NULL);
        return;
    }
    require(l.message.p != NULL && l.message.p[-1] == '"' && l.message.p[l.message.n] == '"');
    require(l.data.p == NULL || rbk_json_check(l.data) == 0);
}

/* The request that carries `params`, without its end of line. */
static rbk_str request_of(rbk_buf *b, rbk_str params)
{
    rbk_worker_write(b, &(rbk_worker_request){.id = 1, .method = RBK_STR("m"), .params = params, .run = 1});
    require(b->err == 0 && b->p[b->n - 1] == '\n' && memchr(b->p, '\n', b->n - 1) == NULL);
    return (rbk_str){b->p, b->n - 1};
}

static void check_request(rbk_str params)
{
    static const rbk_str front = {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":", 46};
    static const rbk_str behind = {",\"ringback\":{\"run\":1}}", 22};
    if (rbk_json_check(params) < 0)
        return;
    rbk_buf once = RBK_BUF(64 << 20), twice = RBK_BUF(64 << 20);
    rbk_str line = request_of(&once, params);
    require(rbk_str_starts(line, front) && line.n >= front.n + behind.n);
    rbk_str compact = {line.p + front.n, line.n - front.n - behind.n};
    require(rbk_json_check(compact) == 0 && compact.n <= params.n);
    require(rbk_str_eq(request_of(&twice, compact), line));
    rbk_buf_free(&once);
    rbk_buf_free(&twice);
}

static void check_command(const char *text)
{
    char **words;
    size_t n = 0, bytes = 0;
    if (rbk_worker_split(text, &words, NULL) < 0)
        return;
    for (; words[n]; n++)
        bytes += strlen(words[n]);
    require(n >= 1 && n <= RBK_WORKER_ARGS_MAX && words[0][0] && bytes <= strlen(text));
    free(words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size + 1); /* a NUL behind it, as the parts ask for */
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    copy[size] = 0;
    check_line((rbk_str){copy, size});
    check_request((rbk_str){copy, size});
    check_command(copy);
    free(copy);
    return 0;
}
