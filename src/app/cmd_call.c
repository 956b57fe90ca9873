/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_call.c - `ringback call`: one JSON-RPC request, and its answer on stdout. */
#include "app/app.h"
#include "app/post.h"
#include "core/json.h"

#include <stdio.h>

#include <yyjson.h>

enum { ANSWER_MAX = 64 << 20, SECONDS_MAX = 86400 };

typedef struct request {
    const char *method;
    const char *params;   /* JSON object or array; NULL: none */
    const char *callback; /* NULL: none */
    const char *id;       /* a JSON number is one, else a string; NULL: a notification */
} request;

static void add_params(const request *c, bool object, rbk_buf *b)
{
    rbk_str text = rbk_str_z(c->params);
    rbk_buf_lit(b, ",\"params\":");
    if (!object || c->callback == NULL) {
        rbk_buf_str(b, text);
        return;
    }
    const char *inside = rbk_json_blanks(text.p) + 1;
    bool empty = *rbk_json_blanks(inside) == '}';
    rbk_buf_lit(b, "{\"$rpc.callback\":");
    rbk_buf_json_str(b, rbk_str_z(c->callback));
    rbk_buf_z(b, empty ? "" : ",");
    rbk_buf_str(b, (rbk_str){inside, text.n - (size_t)(inside - text.p)});
}

static bool is_json_number(const char *text)
{
    yyjson_doc *doc = yyjson_read(text, strlen(text), YYJSON_READ_NUMBER_AS_RAW);
    bool number = doc && yyjson_is_raw(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    return number;
}

/* The callback goes inside params where these are an object, else beside them. 0, or
 * RBK_E_PARSE where params are neither object nor array, or RBK_E_NOMEM. */
static int write_request(const request *c, rbk_buf *b)
{
    rbk_json_top top = {0};
    if (c->params) {
        int r = rbk_json_validate(rbk_str_z(c->params), NULL, &top);
        if (r < 0 || (!top.object && !top.array))
            return r < 0 ? r : RBK_E_PARSE;
    }
    rbk_buf_lit(b, "{\"jsonrpc\":\"2.0\"");
    if (c->id) {
        rbk_buf_lit(b, ",\"id\":");
        if (is_json_number(c->id))
            rbk_buf_z(b, c->id);
        else
            rbk_buf_json_str(b, rbk_str_z(c->id));
    }
    rbk_buf_lit(b, ",\"method\":");
    rbk_buf_json_str(b, rbk_str_z(c->method));
    if (c->params)
        add_params(c, top.object, b);
    if (c->callback && !top.object) {
        rbk_buf_lit(b, ",\"$rpc.callback\":");
        rbk_buf_json_str(b, rbk_str_z(c->callback));
    }
    rbk_buf_lit(b, "}");
    return rbk_buf_err(b);
}

static bool is_error(const rbk_buf *answer)
{
    yyjson_doc *doc = yyjson_read(answer->p, answer->n, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool error = !yyjson_is_obj(root) || yyjson_obj_get(root, "error");
    yyjson_doc_free(doc);
    return error;
}

/* The exit code for an answer that was printed. */
static int judge(int status, bool expected, const rbk_buf *answer)
{
    char text[40];
    if (status != 200 && status != 204) {
        snprintf(text, sizeof text, "the server answered HTTP %d", status);
        return rbk_failed(RBK_E_PROTOCOL, text);
    }
    if (answer->n == 0)
        return expected ? rbk_failed(RBK_E_PROTOCOL, "the answer is empty") : RBK_EXIT_OK;
    return is_error(answer) ? RBK_EXIT_FAILED : RBK_EXIT_OK;
}

static int send(const request *c, rbk_app_post *post)
{
    rbk_buf body = RBK_BUF(ANSWER_MAX), answer = RBK_BUF(ANSWER_MAX), out = RBK_BUF(4 * ANSWER_MAX);
    rbk_error err = {0};
    int code = RBK_EXIT_USAGE, r = write_request(c, &body);
    if (r < 0) {
        rbk_usage(r == RBK_E_PARSE ? "PARAMS is neither a JSON object nor an array"
                                   : "out of memory");
        goto out;
    }
    post->body = rbk_buf_view(&body);
    r = rbk_app_post_run(post, &answer, &err);
    if (r < 0) {
        code = rbk_failed(r, err.detail);
        code = r == RBK_E_INVAL ? RBK_EXIT_USAGE : code;
        goto out;
    }
    rbk_print_peer(&out, rbk_buf_view(&answer));
    if (answer.n && answer.p[answer.n - 1] != '\n')
        rbk_buf_c(&out, '\n');
    rbk_print(rbk_buf_view(&out));
    code = judge(r, c->id != NULL, &answer);
out:
    rbk_buf_free(&body);
    rbk_buf_free(&answer);
    rbk_buf_free(&out);
    return code;
}

int rbk_cmd_call(int argc, char **argv)
{
    static const rbk_flag flags[] = {{"callback", 0, true}, {"id", 0, true}, {"notify", 0, false},
                                     {"timeout", 0, true},  {"ca", 0, true}, {NULL, 0, false}};
    enum { CALLBACK, ID, NOTIFY, TIMEOUT, CA };
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    request c = {.id = "1"};
    rbk_app_post post = {0};
    const char **words[] = {&post.url, &c.method, &c.params};
    uint64_t seconds = 60;
    size_t n = 0;
    for (int i; (i = rbk_args_next(&a)) != RBK_ARG_END;) {
        if (i == RBK_ARG_BAD || (i == TIMEOUT && !rbk_args_number(&a, SECONDS_MAX, &seconds)))
            return RBK_EXIT_USAGE;
        if (i == RBK_ARG_WORD && n == 3)
            return rbk_usage("'%s' is too much: call takes URL METHOD [PARAMS]", a.value);
        if (i == RBK_ARG_WORD)
            *words[n++] = a.value;
        else if (i == CALLBACK)
            c.callback = a.value;
        else if (i == ID)
            c.id = a.value;
        else if (i == NOTIFY)
            c.id = NULL;
        else if (i == CA)
            post.ca_file = a.value;
    }
    if (n < 2)
        return rbk_usage("call wants URL METHOD [PARAMS], "
                         "like http://127.0.0.1:7600/api demo.echo '{\"a\":1}'");
    post.timeout_ms = (int64_t)seconds * 1000;
    return send(&c, &post);
}
