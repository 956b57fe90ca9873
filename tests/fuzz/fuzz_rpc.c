/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_rpc.c - bytes into the request parser.
 *
 * Beyond the sanitizers: an accepted body is JSON; each item that is to be answered has
 * an id that is JSON, and an answer made with it is JSON; params and error data are
 * JSON; and what was found, written as a request again, is found again. */
#include "base/buf.h"
#include "core/envelope.h"
#include "core/rpc.h"

#include <stdlib.h>

static const rbk_rpc_limits limits = {.max_batch = 100, .max_timeout_ms = 3600000};

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void require_same(rbk_str a, rbk_str b)
{
    require((a.p == NULL) == (b.p == NULL) && rbk_str_eq(a, b));
}

static void write_request(rbk_buf *b, const rbk_rpc_item *it)
{
    rbk_buf_lit(b, "{\"method\":");
    rbk_buf_json_str(b, it->method);
    if (it->id.p) {
        rbk_buf_lit(b, ",\"id\":");
        rbk_buf_str(b, it->id);
    }
    if (it->params.p) {
        rbk_buf_lit(b, ",\"params\":");
        rbk_buf_str(b, it->params);
    }
    if (it->versioned)
        rbk_buf_lit(b, ",\"jsonrpc\":\"2.0\"");
    if (it->svc.callback.p) {
        rbk_buf_lit(b, ",\"$rpc.callback\":");
        rbk_buf_json_str(b, it->svc.callback);
    }
    if (it->svc.ray_id.p) {
        rbk_buf_lit(b, ",\"$rpc\":{\"rayId\":");
        rbk_buf_json_str(b, it->svc.ray_id);
        rbk_buf_c(b, '}');
    }
    rbk_buf_c(b, '}');
}

static void check_again(const rbk_rpc_item *it)
{
    rbk_buf b = RBK_BUF(64 << 20);
    rbk_rpc_doc *doc = NULL;
    write_request(&b, it);
    require(rbk_buf_err(&b) == 0);
    require(rbk_rpc_parse(rbk_buf_view(&b), &limits, &doc) == 0 && doc->n == 1);
    const rbk_rpc_item *again = doc->items;
    require(again->err == 0 && again->notification == it->notification);
    require(again->versioned == it->versioned);
    require_same(again->id, it->id);
    require_same(again->method, it->method);
    require_same(again->params, it->params);
    require_same(again->svc.callback, it->svc.callback);
    require_same(again->svc.ray_id, it->svc.ray_id);
    rbk_rpc_free(doc);
    rbk_buf_free(&b);
}

static void check_answer(const rbk_rpc_item *it)
{
    require(rbk_json_check(it->id) == 0);
    rbk_buf b = RBK_BUF(64 << 20);
    rbk_write_fault(&b, (rbk_to){it->id, it->versioned}, it->err ? it->err : RBK_E_METHOD,
                    it->err_data);
    require(rbk_buf_err(&b) == 0 && rbk_json_check(rbk_buf_view(&b)) == 0);
    rbk_buf_free(&b);
}

static void check_item(const rbk_rpc_item *it)
{
    require(it->err == 0 || it->err == RBK_E_REQUEST || it->err == RBK_E_PARAMS);
    require(it->notification == (it->id.p == NULL));
    require(it->err != RBK_E_PARAMS || rbk_json_check(it->err_data) == 0);
    require(it->err != RBK_E_REQUEST || !it->notification);
    if (it->params.p)
        require(rbk_json_check(it->params) == 0);
    if (!it->notification)
        check_answer(it);
    if (it->err == 0)
        check_again(it);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    rbk_str body = {(const char *)data, n};
    rbk_rpc_doc *doc = NULL;
    int err = rbk_rpc_parse(body, &limits, &doc);
    int json = rbk_json_check(body);
    require((err == RBK_E_PARSE) == (json == RBK_E_PARSE));
    require((err == 0) == (doc != NULL));
    for (size_t i = 0; doc && i < doc->n; i++)
        check_item(&doc->items[i]);
    rbk_rpc_free(doc);
    return 0;
}
