/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_call.c - `ringback call`: one JSON-RPC request, and its answer on stdout. */
#include "app/admin_client.h"
#include "app/app.h"
#include "app/post.h"
#include "base/secret.h"
#include "core/json.h"

#include <stdio.h>

#include <yyjson.h>

enum { ANSWER_MAX = 64 << 20, SECONDS_MAX = 86400 };

/* Service parameters, each by an option of its own. Ranges are the server's to judge. */
#define SERVICE_MAP(X) /* option, name behind "$rpc.", kind of value */                            \
    X("callback", "callback", TEXT)                                                                \
    X("failure-callback", "failureCallback", TEXT)                                                 \
    X("wait", "wait", SECONDS)                                                                     \
    X("delay", "delay", SECONDS)                                                                   \
    X("deadline", "deadline", MOMENT)                                                              \
    X("run-timeout", "timeout", SECONDS)                                                           \
    X("key", "key", TEXT)                                                                          \
    X("idempotency-key", "idempotencyKey", TEXT)                                                   \
    X("receipt", "receipt", SWITCH)                                                                \
    X("progress", "events", EVENT)

typedef enum kind { /* from SWITCH on without a value */
    TEXT,
    SECONDS, /* a JSON number */
    MOMENT,  /* a JSON number, else text */
    SWITCH,  /* has no value: true */
    EVENT    /* has no value: the one event that there is */
} kind;

#define AS_SERVICE(option, name, kind) {option, name, kind},
static const struct {
    const char *option, *name;
    kind kind;
} service[] = {SERVICE_MAP(AS_SERVICE)};
enum { SERVICE_N = sizeof service / sizeof *service };

typedef struct request {
    const char *method;
    const char *params;             /* JSON object or array; NULL: none */
    const char *service[SERVICE_N]; /* NULL: not given */
    const char *id; /* a JSON number is one, else a string; NULL: a notification */
} request;

static bool is_json_number(const char *text)
{
    yyjson_doc *doc = yyjson_read(text, strlen(text), YYJSON_READ_NUMBER_AS_RAW);
    bool number = doc && yyjson_is_raw(yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    return number;
}

/* The members, `before` in front of the first. True if there was one. */
static bool add_service(const request *c, const char *before, rbk_buf *b)
{
    bool any = false;
    for (size_t i = 0; i < SERVICE_N; i++) {
        const char *value = c->service[i];
        if (value == NULL)
            continue;
        rbk_buf_z(b, any ? "," : before);
        rbk_buf_addf(b, "\"$rpc.%s\":", service[i].name);
        if (service[i].kind == SWITCH)
            rbk_buf_lit(b, "true");
        else if (service[i].kind == EVENT)
            rbk_buf_lit(b, "[\"progress\"]");
        else if (service[i].kind != TEXT && is_json_number(value))
            rbk_buf_z(b, value);
        else
            rbk_buf_json_str(b, rbk_str_z(value));
        any = true;
    }
    return any;
}

static void add_params(const request *c, bool object, rbk_buf *b)
{
    rbk_str text = rbk_str_z(c->params);
    rbk_buf_lit(b, ",\"params\":");
    if (!object) {
        rbk_buf_str(b, text);
        return;
    }
    const char *inside = rbk_json_blanks(text.p) + 1;
    bool empty = *rbk_json_blanks(inside) == '}';
    rbk_buf_lit(b, "{");
    if (add_service(c, "", b) && !empty)
        rbk_buf_lit(b, ",");
    rbk_buf_str(b, (rbk_str){inside, text.n - (size_t)(inside - text.p)});
}

/* Service parameters go inside params where these are an object, else beside them. 0, or
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
    if (!top.object)
        add_service(c, ",", b);
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

/* One service parameter. False and told to stderr where its value cannot be one. */
static bool take_service(request *c, size_t i, const char *value)
{
    if (service[i].kind == SECONDS && (!is_json_number(value) || *value == '-')) {
        rbk_usage("--%s wants seconds, like 2.5; '%s' is none", service[i].option, value);
        return false;
    }
    bool alone = service[i].kind >= SWITCH;
    if (!alone && *value == 0) {
        rbk_usage("--%s wants a value", service[i].option);
        return false;
    }
    c->service[i] = alone ? "" : value;
    return true;
}

#define AS_FLAG(option, name, kind) {option, 0, (kind) < SWITCH},

int rbk_cmd_call(int argc, char **argv)
{
    static const rbk_flag flags[] = {SERVICE_MAP(AS_FLAG){"id", 0, true}, {"notify", 0, false},
                                     {"timeout", 0, true}, {"ca", 0, true},
                                     {"token-file", 0, true}, {NULL, 0, false}};
    enum { ID = SERVICE_N, NOTIFY, TIMEOUT, CA, TOKEN_FILE };
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    request c = {.id = "1"};
    rbk_app_post post = {0};
    const char **words[] = {&post.url, &c.method, &c.params};
    const char *token_file = NULL;
    uint64_t seconds = 60;
    size_t n = 0;
    for (int i; (i = rbk_args_next(&a)) != RBK_ARG_END;) {
        if (i == RBK_ARG_BAD || (i == TIMEOUT && !rbk_args_number(&a, SECONDS_MAX, &seconds)))
            return RBK_EXIT_USAGE;
        if (i == RBK_ARG_WORD && n == 3)
            return rbk_usage("'%s' is too much: call takes URL METHOD [PARAMS]", a.value);
        if (i == RBK_ARG_WORD)
            *words[n++] = a.value;
        else if (i < SERVICE_N && !take_service(&c, (size_t)i, a.value))
            return RBK_EXIT_USAGE;
        else if (i == ID)
            c.id = a.value;
        else if (i == NOTIFY)
            c.id = NULL;
        else if (i == CA)
            post.ca_file = a.value;
        else if (i == TOKEN_FILE)
            token_file = a.value;
    }
    if (n < 2)
        return rbk_usage("call wants URL METHOD [PARAMS], "
                         "like http://127.0.0.1:7600/api demo.echo '{\"a\":1}'");
    post.timeout_ms = (int64_t)seconds * 1000;
    rbk_buf head = RBK_BUF(4096);
    rbk_error err = {0};
    rbk_buf_reserve(&head, 4096);
    int r = rbk_app_token_head(token_file, &head, &err);
    post.head = rbk_buf_view(&head);
    int code = r < 0 ? rbk_failed(r, err.detail) : send(&c, &post);
    rbk_secret_free(&head);
    return code;
}
