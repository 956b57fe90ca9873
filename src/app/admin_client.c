/* SPDX-License-Identifier: Apache-2.0 */
/* app/admin_client.c - see admin_client.h. What a server sends is shown, never trusted: cells
 * pass rbk_print_peer(), so that no method's name steers a terminal. */
#include "app/admin_client.h"

#include "app/post.h"
#include "base/error.h"
#include "server/signing.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_MAX = 65 << 20, TIMEOUT_MS = 60000 };

void rbk_admin_client_flag(rbk_admin_client *c, int flag, const char *value)
{
    if (flag == RBK_ADMIN_URL)
        c->url = value;
    else if (flag == RBK_ADMIN_TOKEN)
        c->token_file = value;
    else if (flag == RBK_ADMIN_JSON)
        c->json = true;
}

/* Where the server is: as it was given, as a URL, and of "unix:/path" the path. */
typedef struct place {
    const char *given, *socket;
    rbk_buf url;
} place;

static void find_place(const rbk_admin_client *c, place *p)
{
    static const char local[] = "unix:";
    const char *url = c->url ? c->url : getenv("RINGBACK_ADMIN");
    url = url && url[0] ? url : "http://127.0.0.1:7601";
    *p = (place){.given = url, .url = RBK_BUF(4096)};
    if (strncmp(url, local, sizeof local - 1) == 0) {
        p->socket = url + sizeof local - 1;
        url = "http://localhost";
    }
    size_t n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    rbk_buf_add(&p->url, url, n);
    rbk_buf_add(&p->url, "/rpc", sizeof "/rpc");
}

int rbk_app_token_head(const char *file, rbk_buf *b, rbk_error *err)
{
    rbk_buf text;
    if (file == NULL)
        return 0;
    int r = rbk_secret_read(file, &text, err);
    rbk_str token = rbk_buf_view(&text);
    while (token.n && (unsigned char)token.p[token.n - 1] <= ' ')
        token.n--;
    bool ok = token.n > 0 && token.n <= 1024;
    for (size_t i = 0; ok && i < token.n; i++)
        ok = token.p[i] > ' ' && token.p[i] <= '~';
    if (r == 0 && !ok)
        r = rbk_fail(err, RBK_E_CONFIG, "%s: is not one line with a token", file);
    if (r == 0) {
        rbk_buf_lit(b, "Authorization: Bearer ");
        rbk_buf_str(b, token);
        rbk_buf_lit(b, "\r\n");
        r = rbk_buf_err(b);
    }
    rbk_secret_free(&text);
    return r;
}

static int tell_status(const char *url, int status)
{
    rbk_error err = {0};
    const char *hint = status == 401   ? ": --token-file wants the server's token"
                       : status == 403 ? ": it serves its own address and localhost alone"
                       : status == 404 ? ": is that the address of admin.listen?"
                                       : "";
    rbk_fail(&err, RBK_E_PROTOCOL, "%s answered HTTP %d%s", url, status, hint);
    return rbk_failed(RBK_E_PROTOCOL, err.detail);
}

/* {"code":…,"message":…,"data":{member: why}} */
static int tell_error(yyjson_val *error)
{
    rbk_buf b = RBK_BUF(1 << 16), out = RBK_BUF(1 << 17);
    const char *message = yyjson_get_str(yyjson_obj_get(error, "message"));
    yyjson_obj_iter it = yyjson_obj_iter_with(yyjson_obj_get(error, "data"));
    rbk_buf_z(&b, message ? message : "error");
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&it));) {
        const char *name = yyjson_get_str(key);
        const char *why = yyjson_get_str(yyjson_obj_iter_get_val(key));
        rbk_buf_addf(&b, ": %s: %s", name ? name : "?", why ? why : "?");
    }
    rbk_print_peer(&out, rbk_buf_view(&b));
    rbk_buf_c(&out, 0);
    bool usage = yyjson_get_int(yyjson_obj_get(error, "code")) == -32602;
    rbk_failed(RBK_E_PARAMS, rbk_buf_err(&out) == 0 ? out.p : "error");
    rbk_buf_free(&b);
    rbk_buf_free(&out);
    return usage ? RBK_EXIT_USAGE : RBK_EXIT_FAILED;
}

static yyjson_doc *judge(const char *url, int status, const rbk_buf *answer,
                         yyjson_val **ret_result, int *ret_code)
{
    if (status != 200) {
        *ret_code = tell_status(url, status);
        return NULL;
    }
    yyjson_doc *doc = yyjson_read(answer->p, answer->n, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_val *root = yyjson_doc_get_root(doc), *error = yyjson_obj_get(root, "error");
    *ret_result = yyjson_obj_get(root, "result");
    if (*ret_result)
        return doc;
    if (error) { /* numbers are wanted as such here */
        yyjson_doc *again = yyjson_read(answer->p, answer->n, 0);
        *ret_code = tell_error(yyjson_obj_get(yyjson_doc_get_root(again), "error"));
        yyjson_doc_free(again);
    } else {
        *ret_code = rbk_failed(RBK_E_PROTOCOL, "the answer is not JSON-RPC: is that a ringback?");
    }
    yyjson_doc_free(doc);
    return NULL;
}

yyjson_doc *rbk_admin_ask(const rbk_admin_client *c, const char *method, rbk_str params,
                          yyjson_val **ret_result, int *ret_code)
{
    rbk_buf head = RBK_BUF(4096), body = RBK_BUF(1 << 20), answer = RBK_BUF(ANSWER_MAX);
    rbk_error err = {0};
    yyjson_doc *doc = NULL;
    place at;
    find_place(c, &at);
    rbk_buf_addf(&body, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":", method);
    rbk_buf_str(&body, params);
    rbk_buf_c(&body, '}');
    int r = rbk_app_token_head(c->token_file, &head, &err);
    if (r == 0 && (rbk_buf_err(&at.url) < 0 || rbk_buf_err(&body) < 0))
        r = rbk_fail(&err, RBK_E_INVAL, "the URL or the filter is too long");
    if (r == 0)
        r = rbk_app_post_run(&(rbk_app_post){.url = at.url.p, .socket = at.socket, .body = rbk_buf_view(&body),
                                             .head = rbk_buf_view(&head), .timeout_ms = TIMEOUT_MS},
                             &answer, &err);
    if (r < 0) {
        *ret_code = rbk_failed(r, err.detail[0] ? err.detail : rbk_strerror(r));
        *ret_code = r == RBK_E_INVAL ? RBK_EXIT_USAGE : *ret_code;
    } else {
        doc = judge(at.socket ? at.given : at.url.p, r, &answer, ret_result, ret_code);
    }
    rbk_secret_free(&head);
    rbk_buf_free(&at.url);
    rbk_buf_free(&body);
    rbk_buf_free(&answer);
    return doc;
}

/* --- Output ------------------------------------------------------------------------------ */

void rbk_columns_add(rbk_columns *t, const char *cell)
{
    if (t->cells.max == 0)
        t->cells = RBK_BUF(16 << 20);
    rbk_print_peer(&t->cells, rbk_str_z(cell && cell[0] ? cell : "-"));
    rbk_buf_c(&t->cells, 0);
}

void rbk_columns_print(rbk_columns *t)
{
    size_t width[RBK_COLUMNS_MAX] = {0}, i = 0;
    rbk_buf out = RBK_BUF(64 << 20);
    const char *end = t->cells.p + t->cells.n;
    for (const char *p = t->cells.p; p < end; p += strlen(p) + 1, i++)
        if (strlen(p) > width[i % t->n])
            width[i % t->n] = strlen(p);
    i = 0;
    for (const char *p = t->cells.p; p < end; p += strlen(p) + 1, i++) {
        bool last = i % t->n == t->n - 1;
        rbk_buf_addf(&out, "%-*s%s", last ? 0 : (int)width[i % t->n], p, last ? "\n" : "  ");
    }
    fwrite(out.p, 1, out.n, stdout);
    rbk_buf_free(&out);
    rbk_buf_free(&t->cells);
}

void rbk_print_json(yyjson_val *v)
{
    size_t n = 0;
    char *text = yyjson_val_write(v, 0, &n);
    rbk_buf out = RBK_BUF(256 << 20);
    if (text)
        rbk_print_peer(&out, (rbk_str){text, n});
    rbk_buf_c(&out, '\n');
    fwrite(out.p, 1, out.n, stdout);
    rbk_buf_free(&out);
    free(text);
}
