/* SPDX-License-Identifier: Apache-2.0 */
/* method/upstream_request.c - what an upstream is sent: a plain JSON-RPC request, with the call's
 * own id and without $rpc members, and beside it in header lines what ringback knows of the
 * call. Loop thread. */
#include "method/upstream_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/secret.h"
#include "method/version.h"

#include <stdlib.h>

/* The one line of the file: visible ASCII. */
static int find_token(const rbk_buf *text, rbk_str *ret)
{
    rbk_str token = rbk_buf_view(text);
    while (token.n && (token.p[token.n - 1] == '\n' || token.p[token.n - 1] == '\r'))
        token.n--;
    for (size_t i = 0; i < token.n; i++)
        if (token.p[i] <= ' ' || token.p[i] > '~')
            return RBK_E_CONFIG;
    *ret = token;
    return token.n >= 1 && token.n <= RBK_UPSTREAM_TOKEN_MAX ? 0 : RBK_E_CONFIG;
}

static int add_token(rbk_buf *b, const char *path, rbk_error *err)
{
    rbk_buf text;
    rbk_str token;
    int r = rbk_secret_read(path, &text, err);
    if (r == 0 && (r = find_token(&text, &token)) < 0)
        rbk_fail(err, r, "%s: must be one line of at most %d ASCII characters without blanks",
                 path, RBK_UPSTREAM_TOKEN_MAX);
    if (r == 0) {
        rbk_buf_lit(b, "Authorization: Bearer ");
        rbk_buf_str(b, token);
        rbk_buf_lit(b, "\r\n");
    }
    rbk_secret_free(&text);
    return r;
}

char *rbk_upstream_head(const char *token_file, rbk_error *err)
{
    enum { ROOM = 256 + RBK_UPSTREAM_TOKEN_MAX };
    rbk_buf b = RBK_BUF(ROOM);
    rbk_buf_reserve(&b, ROOM); /* once: a growing buffer leaves copies of the token behind */
    rbk_buf_lit(&b, "Content-Type: application/json\r\nAccept: application/json\r\n"
                    "User-Agent: ringback/" RBK_VERSION "\r\n");
    int r = token_file && *token_file ? add_token(&b, token_file, err) : 0;
    rbk_buf_c(&b, 0);
    if (r == 0 && rbk_buf_err(&b) < 0)
        r = rbk_fail(err, RBK_E_NOMEM, "out of memory");
    if (r == 0)
        return b.p;
    rbk_secret_free(&b);
    return NULL;
}

static void add_call_lines(rbk_buf *b, const rbk_call *call)
{
    const char *job = rbk_call_job(call);
    rbk_wall_ms ends = rbk_call_deadline(call);
    char when[25];
    if (job)
        rbk_buf_addf(b, "Ringback-Job: %s\r\nRingback-Run: %u\r\n", job, rbk_call_run(call));
    if (ends > 0) {
        rbk_wall_format(ends, when);
        rbk_buf_addf(b, "Ringback-Deadline: %s\r\n", when);
    }
    rbk_buf_str(b, rbk_call_headers(call));
}

static void add_body(rbk_buf *b, const rbk_call *call)
{
    rbk_str id = rbk_call_id(call), params = rbk_call_params(call);
    rbk_buf_lit(b, "{\"jsonrpc\":\"2.0\"");
    if (id.p) {
        rbk_buf_lit(b, ",\"id\":");
        rbk_buf_str(b, id);
    }
    rbk_buf_lit(b, ",\"method\":");
    rbk_buf_json_str(b, rbk_call_method(call));
    if (params.p) {
        rbk_buf_lit(b, ",\"params\":");
        rbk_buf_str(b, params);
    }
    rbk_buf_c(b, '}');
}

int rbk_upstream_request(rbk_flight *f)
{
    rbk_upstream *u = f->u;
    rbk_buf *b = &f->text;
    rbk_str headers = rbk_call_headers(f->call), params = rbk_call_params(f->call);
    size_t head_n = strlen(u->head);
    rbk_buf_clear(b);
    rbk_buf_reserve(b, head_n + headers.n + params.n + 512); /* the usual: one allocation */
    rbk_buf_add(b, u->head, head_n);
    add_call_lines(b, f->call);
    head_n = b->n;
    add_body(b, f->call);
    if (rbk_buf_err(b) < 0)
        return RBK_E_NOMEM;
    f->post.head = (rbk_str){b->p, head_n};
    f->post.body = (rbk_str){b->p + head_n, b->n - head_n};
    return 0;
}
