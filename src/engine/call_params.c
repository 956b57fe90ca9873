/* SPDX-License-Identifier: Apache-2.0 */
/* engine/call_params.c - typed access to a call's params by JSON Pointer (RFC 6901).
 *
 * The params are parsed when first asked for, numbers kept as text; what is handed out
 * lives as long as the call. One thread at a time for one call. */
#include "engine/call.h"

#include <stdlib.h>
#include <yyjson.h>

struct raw_text {
    struct raw_text *next;
    char *text;
};

void rbk_call_params_free(rbk_call *c)
{
    while (c->raws) {
        struct raw_text *r = c->raws;
        c->raws = r->next;
        free(r->text);
        free(r);
    }
    yyjson_doc_free(c->doc);
}

static int find_value(rbk_call *c, const char *pointer, yyjson_val **ret)
{
    if (c->params.p == NULL)
        return RBK_E_NOTFOUND;
    if (c->doc == NULL) {
        c->doc = yyjson_read(c->params.p, c->params.n, YYJSON_READ_NUMBER_AS_RAW);
        if (c->doc == NULL)
            return RBK_E_NOMEM;
    }
    *ret = yyjson_doc_ptr_getn(c->doc, pointer, strlen(pointer));
    return *ret ? 0 : RBK_E_NOTFOUND;
}

int rbk_param_str(rbk_call *c, const char *pointer, rbk_str *ret)
{
    yyjson_val *v = NULL;
    int r = find_value(c, pointer, &v);
    if (r < 0)
        return r;
    if (!yyjson_is_str(v))
        return RBK_E_PARAMS;
    *ret = (rbk_str){yyjson_get_str(v), yyjson_get_len(v)};
    return 0;
}

int rbk_param_bool(rbk_call *c, const char *pointer, bool *ret)
{
    yyjson_val *v = NULL;
    int r = find_value(c, pointer, &v);
    if (r < 0)
        return r;
    if (!yyjson_is_bool(v))
        return RBK_E_PARAMS;
    *ret = yyjson_get_bool(v);
    return 0;
}

/* The number behind a raw text. */
static int read_number(rbk_call *c, const char *pointer, yyjson_val *ret)
{
    yyjson_val *v = NULL;
    int r = find_value(c, pointer, &v);
    if (r < 0)
        return r;
    if (!yyjson_is_raw(v) || yyjson_read_number(yyjson_get_raw(v), ret, 0, NULL, NULL) == NULL)
        return RBK_E_PARAMS;
    return 0;
}

int rbk_param_int(rbk_call *c, const char *pointer, int64_t *ret)
{
    yyjson_val num;
    int r = read_number(c, pointer, &num);
    if (r < 0)
        return r;
    if (!yyjson_is_int(&num) || (yyjson_is_uint(&num) && yyjson_get_uint(&num) > INT64_MAX))
        return RBK_E_PARAMS;
    *ret = yyjson_get_sint(&num);
    return 0;
}

int rbk_param_double(rbk_call *c, const char *pointer, double *ret)
{
    yyjson_val num;
    int r = read_number(c, pointer, &num);
    if (r < 0)
        return r;
    *ret = yyjson_get_num(&num);
    return 0;
}

int rbk_param_raw(rbk_call *c, const char *pointer, rbk_str *ret)
{
    yyjson_val *v = NULL;
    size_t n = 0;
    int r = find_value(c, pointer, &v);
    if (r < 0)
        return r;
    struct raw_text *text = calloc(1, sizeof *text);
    if (text == NULL || (text->text = yyjson_val_write(v, 0, &n)) == NULL) {
        free(text);
        return RBK_E_NOMEM;
    }
    text->next = c->raws;
    c->raws = text;
    *ret = (rbk_str){text->text, n};
    return 0;
}
