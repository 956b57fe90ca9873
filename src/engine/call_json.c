/* SPDX-License-Identifier: Apache-2.0 */
/* engine/call_json.c - the builder of results: JSON text piece by piece.
 *
 * The builder knows at each moment what may come next; the first fault is kept, what
 * follows it changes nothing, and the answer tells. One thread at a time. */
#include "engine/call.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEPTH_MAX = 64 };

struct rbk_json {
    rbk_buf b;
    int err;
    bool checked; /* no raw text went in: nothing to check at the end */
    bool key;     /* a key was written, its value is due */
    size_t depth;
    struct level {
        char close;
        bool any;
    } level[DEPTH_MAX + 1]; /* level[0] is the text as a whole */
};

rbk_json *rbk_call_json(rbk_call *c)
{
    if (c->json == NULL) {
        c->json = calloc(1, sizeof *c->json);
        if (c->json)
            c->json->b = RBK_BUF(c->e->conf.max_result + 1);
    }
    if (c->json) {
        rbk_buf b = c->json->b;
        rbk_buf_clear(&b);
        *c->json = (rbk_json){.b = b, .checked = true};
    }
    return c->json;
}

void rbk_json_free(rbk_json *j)
{
    if (j == NULL)
        return;
    rbk_buf_free(&j->b);
    free(j);
}

/* What stands in front of a value: a comma, or nothing. False when none may stand here. */
static bool begin_value(rbk_json *j)
{
    if (j == NULL || j->err)
        return false;
    struct level *l = &j->level[j->depth];
    bool legal = j->depth == 0 ? !l->any : l->close == ']' || j->key;
    if (!legal) {
        j->err = RBK_E_STATE;
        return false;
    }
    if (l->any && !j->key)
        rbk_buf_c(&j->b, ',');
    l->any = true;
    j->key = false;
    return true;
}

static void open_level(rbk_json *j, char open, char close)
{
    if (!begin_value(j))
        return;
    if (j->depth == DEPTH_MAX) {
        j->err = RBK_E_STATE;
        return;
    }
    rbk_buf_c(&j->b, open);
    j->level[++j->depth] = (struct level){.close = close};
}

void rbk_json_object(rbk_json *j)
{
    open_level(j, '{', '}');
}

void rbk_json_array(rbk_json *j)
{
    open_level(j, '[', ']');
}

void rbk_json_end(rbk_json *j)
{
    if (j == NULL || j->err)
        return;
    if (j->depth == 0 || j->key) {
        j->err = RBK_E_STATE;
        return;
    }
    rbk_buf_c(&j->b, j->level[j->depth--].close);
}

void rbk_json_key(rbk_json *j, const char *key)
{
    if (j == NULL || j->err)
        return;
    struct level *l = &j->level[j->depth];
    if (l->close != '}' || j->key) {
        j->err = RBK_E_STATE;
        return;
    }
    if (l->any)
        rbk_buf_c(&j->b, ',');
    rbk_buf_json_str(&j->b, rbk_str_z(key));
    rbk_buf_c(&j->b, ':');
    l->any = true;
    j->key = true;
}

void rbk_json_str(rbk_json *j, rbk_str s)
{
    if (!begin_value(j))
        return;
    rbk_buf_json_str(&j->b, s);
    j->checked = false; /* it might not be UTF-8 */
}

void rbk_json_text(rbk_json *j, const char *z)
{
    rbk_json_str(j, rbk_str_z(z));
}

void rbk_json_int(rbk_json *j, int64_t v)
{
    if (!begin_value(j))
        return;
    if (v < 0)
        rbk_buf_c(&j->b, '-');
    rbk_buf_add_u64(&j->b, v < 0 ? (uint64_t)0 - (uint64_t)v : (uint64_t)v);
}

void rbk_json_double(rbk_json *j, double v)
{
    if (!isfinite(v))
        rbk_json_null(j);
    else if (begin_value(j))
        rbk_buf_add_double(&j->b, v);
}

void rbk_json_bool(rbk_json *j, bool v)
{
    if (begin_value(j))
        rbk_buf_z(&j->b, v ? "true" : "false");
}

void rbk_json_null(rbk_json *j)
{
    if (begin_value(j))
        rbk_buf_lit(&j->b, "null");
}

void rbk_json_raw(rbk_json *j, rbk_str json)
{
    if (!begin_value(j))
        return;
    rbk_buf_str(&j->b, json);
    j->checked = false;
}

int rbk_call_result_json(rbk_call *c, rbk_json *j)
{
    if (j == NULL)
        return rbk_call_fail(c, RBK_E_INTERNAL) ? RBK_E_NOMEM : RBK_E_STATE;
    if (j->b.err == RBK_E_TOO_LARGE)
        return rbk_call_fail(c, RBK_E_RESULT_SIZE) ? RBK_E_RESULT_SIZE : RBK_E_STATE;
    if (j->err || j->b.err || j->depth || !j->level[0].any)
        return rbk_call_broken(c, "what it built is not one JSON value");
    return rbk_call_answer_text(c, rbk_buf_view(&j->b), j->checked);
}
