/* SPDX-License-Identifier: Apache-2.0 */
/* core/refs.c - see refs.h. */
#include "core/refs.h"

#include "core/json.h"
#include "core/rpc.h"

#include <stdlib.h>

enum { NAME_SHOWN = 100, ARENA_MAX = 64 << 20, FAULT_MAX = 4096 };
static const rbk_str mark = {"@FROM:", 6};

/* --- Finding ------------------------------------------------------------------------------ */

typedef struct search {
    rbk_arena *a;
    rbk_str params, member;
    rbk_refs *refs;
    int err;
} search;

/* The text behind the mark: an id, perhaps with a path in parentheses at its end. */
static void split(rbk_str text, rbk_ref *ref)
{
    ref->id = text;
    ref->path = RBK_STR("");
    if (text.n == 0 || text.p[text.n - 1] != ')')
        return;
    for (size_t i = text.n; i-- > 0;)
        if (text.p[i] == '(') {
            ref->id.n = i;
            ref->path = (rbk_str){text.p + i + 1, text.n - i - 2};
            return;
        }
}

static uint32_t part_of(rbk_refs *refs, rbk_str id)
{
    for (size_t i = 0; i < refs->n; i++)
        if (rbk_str_eq(refs->ref[i].id, id))
            return refs->ref[i].part;
    return refs->parts++;
}

/* Most strings begin with neither the mark nor an escape. */
static void take_string(search *s, rbk_str value)
{
    rbk_str raw = rbk_json_unquote(value);
    if (raw.n < mark.n || (raw.p[0] != '@' && raw.p[0] != '\\'))
        return;
    rbk_str text = rbk_json_unescape(s->a, raw);
    if (text.p == NULL)
        s->err = RBK_E_NOMEM;
    if (text.p == NULL || !rbk_str_starts(text, mark))
        return;
    if (s->refs->n == RBK_REFS_MAX) {
        s->err = RBK_E_TOO_LARGE;
        return;
    }
    rbk_ref ref = {.member = s->member, .at = (size_t)(value.p - s->params.p), .n = value.n};
    split((rbk_str){text.p + mark.n, text.n - mark.n}, &ref);
    ref.part = part_of(s->refs, ref.id);
    s->refs->ref[s->refs->n++] = ref;
}

/* Strings of a text are its values and its names; a name has a colon behind it. The text is
 * walked flat: brackets do not matter. */
static void take_strings(search *s, rbk_str text)
{
    for (const char *p = text.p, *end = text.p + text.n; p < end && s->err == 0;) {
        if (*p != '"') {
            p++;
            continue;
        }
        rbk_str value = rbk_json_value(&p);
        const char *next = p;
        while (next < end && (*next == ' ' || *next == '\n' || *next == '\r' || *next == '\t'))
            next++;
        if (next == end || *next != ':')
            take_string(s, value);
    }
}

static void find_in_object(search *s)
{
    const char *p = s->params.p;
    for (rbk_str raw; s->err == 0 && rbk_json_member(&p, &raw);) {
        s->member = rbk_json_unescape(s->a, raw);
        if (s->member.p == NULL)
            s->err = RBK_E_NOMEM;
        else
            take_strings(s, rbk_json_value(&p));
    }
}

static void find_in_array(search *s)
{
    const char *p = s->params.p;
    for (uint64_t i = 0; s->err == 0 && rbk_json_element(&p); i++) {
        char digits[24];
        rbk_buf b = {.p = digits, .cap = sizeof digits, .max = sizeof digits};
        size_t before = s->refs->n;
        rbk_buf_add_u64(&b, i);
        take_strings(s, rbk_json_value(&p));
        rbk_str name = s->refs->n > before || s->err ? rbk_arena_dup(s->a, rbk_buf_view(&b))
                                                     : RBK_STR("");
        if (name.p == NULL)
            s->err = RBK_E_NOMEM;
        for (; before < s->refs->n; before++)
            s->refs->ref[before].member = name;
    }
}

bool rbk_refs_may_be(rbk_str params)
{
    return params.p && params.n &&
           (memmem(params.p, params.n, mark.p, mark.n) || memchr(params.p, '\\', params.n));
}

int rbk_refs_find(rbk_arena *a, rbk_str params, rbk_refs *ret)
{
    search s = {.a = a, .params = params, .refs = ret};
    ret->n = 0;
    ret->parts = 0;
    if (!rbk_refs_may_be(params))
        return 0;
    if (params.p[0] == '{')
        find_in_object(&s);
    else if (params.p[0] == '[')
        find_in_array(&s);
    return s.err;
}

rbk_str rbk_refs_id(rbk_arena *a, rbk_str id)
{
    if (id.n == 0 || id.p[0] == 'n')
        return RBK_STR_NONE;
    return id.p[0] == '"' ? rbk_json_unescape(a, rbk_json_unquote(id)) : id;
}

/* --- Results --------------------------------------------------------------------------------- */

rbk_str rbk_response_result(rbk_str response)
{
    const char *p = response.p;
    if (response.n == 0 || *p != '{')
        return RBK_STR_NONE;
    for (rbk_str raw; rbk_json_member(&p, &raw);) {
        rbk_str value = rbk_json_value(&p);
        if (rbk_str_eq(raw, RBK_STR("result")))
            return value;
    }
    return RBK_STR_NONE;
}

static rbk_str member_at(rbk_arena *a, rbk_str object, rbk_str name)
{
    const char *p = object.p;
    rbk_str found = RBK_STR_NONE;
    for (rbk_str raw; rbk_json_member(&p, &raw);) {
        rbk_str value = rbk_json_value(&p);
        rbk_str text = rbk_json_unescape(a, raw);
        if (text.p && rbk_str_eq(text, name))
            found = value;
    }
    return found;
}

static rbk_str element_at(rbk_str array, rbk_str number)
{
    const char *p = array.p;
    uint64_t want;
    if (rbk_str_u64(number, UINT32_MAX, &want) < 0 || (number.n > 1 && number.p[0] == '0'))
        return RBK_STR_NONE;
    for (uint64_t i = 0; rbk_json_element(&p); i++) {
        rbk_str value = rbk_json_value(&p);
        if (i == want)
            return value;
    }
    return RBK_STR_NONE;
}

rbk_str rbk_value_at(rbk_arena *a, rbk_str value, rbk_str path)
{
    while (path.n && value.p) {
        const char *dot = memchr(path.p, '.', path.n);
        rbk_str step = {path.p, dot ? (size_t)(dot - path.p) : path.n};
        path = dot ? (rbk_str){dot + 1, path.n - step.n - 1} : RBK_STR("");
        if (dot && path.n == 0)
            return RBK_STR_NONE; /* a dot at the end names nothing */
        if (value.p[0] == '{')
            value = member_at(a, value, step);
        else if (value.p[0] == '[')
            value = element_at(value, step);
        else
            value = RBK_STR_NONE;
    }
    return value;
}

/* --- Replacing ---------------------------------------------------------------------------------- */

/* Not in the middle of a character. */
static rbk_str shown(rbk_str s)
{
    if (s.n <= NAME_SHOWN)
        return s;
    s.n = NAME_SHOWN;
    while (s.n && ((unsigned char)s.p[s.n] & 0xc0) == 0x80)
        s.n--;
    return s;
}

void rbk_ref_fault(rbk_buf *b, const rbk_ref *ref, const char *why)
{
    rbk_buf reason = RBK_BUF(FAULT_MAX);
    const char *at = strchr(why, '%');
    rbk_buf_add(&reason, why, at ? (size_t)(at - why) : strlen(why));
    if (at) {
        rbk_buf_str(&reason, shown(ref->id));
        rbk_buf_z(&reason, at + 1);
    }
    rbk_buf_c(b, '{');
    rbk_buf_json_str(b, shown(ref->member));
    rbk_buf_c(b, ':');
    rbk_buf_json_str(b, rbk_buf_view(&reason));
    rbk_buf_c(b, '}');
    if (reason.err)
        b->err = reason.err;
    rbk_buf_free(&reason);
}

typedef struct replacing {
    rbk_arena a;
    rbk_part_fn part;
    void *user;
    rbk_buf *to, *fault;
} replacing;

static int refuse(replacing *r, const rbk_ref *ref, const char *why)
{
    rbk_buf_clear(r->fault);
    rbk_ref_fault(r->fault, ref, why);
    if (r->fault->err)
        rbk_buf_free(r->fault);
    return RBK_E_PARAMS;
}

static int replace_one(replacing *r, const rbk_ref *ref)
{
    rbk_str response;
    int err = r->part(r->user, ref->part, &response);
    if (err < 0)
        return err;
    rbk_str result = rbk_response_result(response);
    if (result.p == NULL)
        return refuse(r, ref, RBK_REF_FAILED);
    rbk_str value = rbk_value_at(&r->a, result, ref->path);
    if (value.p == NULL)
        return refuse(r, ref, "the result of the member % has no such part");
    rbk_buf_str(r->to, value);
    if (r->to->err == RBK_E_TOO_LARGE)
        return refuse(r, ref, "too large with the result of the member %");
    return r->to->err;
}

static int replace_all(replacing *r, rbk_str params, const rbk_refs *refs)
{
    size_t at = 0;
    for (size_t i = 0; i < refs->n; i++) {
        const rbk_ref *ref = &refs->ref[i];
        rbk_buf_add(r->to, params.p + at, ref->at - at);
        at = ref->at + ref->n;
        int err = replace_one(r, ref);
        if (err < 0)
            return err;
    }
    rbk_buf_add(r->to, params.p + at, params.n - at);
    const rbk_ref *last = refs->n ? &refs->ref[refs->n - 1] : NULL;
    if (r->to->err)
        return r->to->err == RBK_E_TOO_LARGE && last
                   ? refuse(r, last, "too large with the result of the member %")
                   : r->to->err;
    int err = refs->n ? rbk_json_check(rbk_buf_view(r->to)) : 0;
    return err == RBK_E_PARSE ? refuse(r, last, "nested too deep with the result of the member %")
                              : err;
}

int rbk_refs_replace(rbk_str params, rbk_part_fn part, void *user, rbk_buf *to, rbk_buf *ret_fault)
{
    replacing r = {.a = RBK_ARENA(ARENA_MAX), .part = part, .user = user, .to = to,
                   .fault = ret_fault};
    rbk_refs refs;
    int err = rbk_refs_find(&r.a, params, &refs);
    if (err == 0)
        err = replace_all(&r, params, &refs);
    rbk_arena_free(&r.a);
    return err;
}
