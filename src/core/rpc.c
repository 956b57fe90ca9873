/* SPDX-License-Identifier: Apache-2.0 */
/* core/rpc.c - step 1 of 5: RPC -> admit -> store -> execute -> deliver
 *
 * The document owns one copy of the body, and what its items hold are slices of it.
 * Each byte is walked once: a request object member by member, by-name params inside
 * that same walk. Where $rpc members are taken out, the members that stay move
 * together in place, byte for byte as the caller spelt them; so nothing is written
 * anew, and memory is bounded by the body. Strings that the service parameters keep
 * are copied out before anything moves. */
#include "core/rpc.h"

#include "core/json.h"

#include <stdlib.h>

typedef struct full_doc {
    rbk_rpc_doc pub; /* first: what the caller frees is this */
    rbk_arena arena;
} full_doc;

/* Names of a request object that nobody knows, to find the one that stands twice. */
typedef struct name_list {
    rbk_str *v;
    size_t n, cap;
} name_list;

typedef struct reader {
    rbk_arena *arena;  /* of the document */
    rbk_arena scratch; /* for one request */
    char *text;        /* the document's copy of the body */
    rbk_rpc_item *it;
    rbk_svc_reader svc;
    name_list names;
    unsigned seen;
    bool invalid; /* the request is -32600 */
    bool nomem;
} reader;

#define REQUEST_MEMBER_MAP(X) X(jsonrpc) X(id) X(method) X(params)
enum {
#define X(name) MEMBER_##name,
    REQUEST_MEMBER_MAP(X)
#undef X
    MEMBER_NESTED, /* "$rpc" */
    MEMBER_SERVICE,
    MEMBER_OTHER
};

static int member_of(rbk_str name)
{
#define X(known)                                                                                   \
    if (rbk_str_eq(name, RBK_STR(#known)))                                                         \
        return MEMBER_##known;
    REQUEST_MEMBER_MAP(X)
#undef X
    if (rbk_svc_is_ours(name))
        return name.n == 4 ? MEMBER_NESTED : MEMBER_SERVICE;
    return MEMBER_OTHER;
}

static int compare_names(const void *va, const void *vb)
{
    const rbk_str *a = va, *b = vb;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return a->n ? memcmp(a->p, b->p, a->n) : 0;
}

static void add_name(reader *r, rbk_str name)
{
    name_list *l = &r->names;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        rbk_str *v = rbk_arena_alloc(&r->scratch, cap * sizeof *v);
        if (v == NULL) {
            r->nomem = true;
            return;
        }
        if (l->n)
            memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = name;
}

/* Sorting keeps a hundred thousand members cheap, whatever names they have. */
static bool has_twice(const name_list *l)
{
    if (l->n < 2)
        return false;
    qsort(l->v, l->n, sizeof *l->v, compare_names);
    for (size_t i = 1; i < l->n; i++)
        if (compare_names(&l->v[i - 1], &l->v[i]) == 0)
            return true;
    return false;
}

/* The version is a string, perhaps with escapes. */
static void read_version(reader *r, rbk_str value)
{
    rbk_str s = RBK_STR_NONE;
    if (value.p[0] == '"') {
        s = rbk_json_unescape(&r->scratch, rbk_json_unquote(value));
        r->nomem |= s.p == NULL;
    }
    r->it->versioned = rbk_str_eq(s, RBK_STR("2.0"));
    r->invalid |= !r->it->versioned;
}

static bool is_id(rbk_str value)
{
    char c = value.p[0];
    return c == '"' || c == '-' || c == 'n' || (c >= '0' && c <= '9');
}

static void read_id(reader *r, rbk_str value)
{
    if (is_id(value))
        r->it->id = value;
    else
        r->invalid = true;
}

static void read_method(reader *r, rbk_str value)
{
    if (value.p[0] != '"') {
        r->invalid = true;
        return;
    }
    r->it->method = rbk_json_unescape(r->arena, rbk_json_unquote(value));
    r->nomem |= r->it->method.p == NULL;
}

/* "$rpc…" begins with '$' or with an escape, so other names need no unescaping. */
static bool is_ours(reader *r, rbk_str raw, rbk_str *ret_name)
{
    if (raw.n == 0 || (raw.p[0] != '$' && raw.p[0] != '\\'))
        return false;
    *ret_name = rbk_json_unescape(&r->scratch, raw);
    r->nomem |= ret_name->p == NULL;
    return ret_name->p && rbk_svc_is_ours(*ret_name);
}

static char *own(reader *r, const char *p)
{
    return r->text + (p - r->text);
}

/* `*p` stands on '{'. `to` is where the next member that stays goes: NULL as long as
 * none was taken out, and what stays need not move. */
static void read_named_params(reader *r, const char **p)
{
    const char *from = *p, *kept_end = from + 1;
    char *to = NULL;
    for (rbk_str raw, name; rbk_json_member(p, &raw);) {
        rbk_str value = rbk_json_value(p);
        if (is_ours(r, raw, &name)) {
            rbk_svc_take(&r->svc, name, value);
            if (to == NULL)
                to = own(r, kept_end);
            continue;
        }
        if (to) {
            size_t n = (size_t)(*p - raw.p) + 1; /* from the opening quote */
            if (to != from + 1)
                *to++ = ',';
            memmove(to, raw.p - 1, n);
            to += n;
        }
        kept_end = *p;
    }
    if (to)
        *to++ = '}';
    r->it->params = (rbk_str){from, (size_t)((to ? to : *p) - from)};
}

static void read_params(reader *r, const char **p)
{
    if (**p == '{') {
        bool beside = r->svc.nested;
        r->svc.nested = false;
        read_named_params(r, p);
        r->svc.nested = beside;
        return;
    }
    rbk_str value = rbk_json_value(p);
    if (value.p[0] == '[')
        r->it->params = value;
    else
        r->invalid |= value.p[0] != 'n';
}

/* `*p` stands on the member's value. */
static void read_member(reader *r, int member, rbk_str name, const char **p)
{
    if (member < MEMBER_SERVICE) {
        bool twice = r->seen & 1u << member;
        r->seen |= 1u << member;
        if (twice) {
            rbk_json_value(p);
            r->invalid = true;
            if (member == MEMBER_id)
                r->it->id = RBK_STR_NONE;
            return;
        }
    }
    if (member == MEMBER_params) {
        read_params(r, p);
        return;
    }
    rbk_str value = rbk_json_value(p);
    switch (member) {
    case MEMBER_jsonrpc:
        read_version(r, value);
        break;
    case MEMBER_id:
        read_id(r, value);
        break;
    case MEMBER_method:
        read_method(r, value);
        break;
    case MEMBER_OTHER:
        add_name(r, name);
        break;
    default:
        rbk_svc_take(&r->svc, name, value);
    }
}

static void refuse_request(rbk_rpc_item *it)
{
    rbk_str id = it->id.p ? it->id : RBK_STR("null");
    *it = (rbk_rpc_item){.err = RBK_E_REQUEST, .id = id, .versioned = true};
}

/* What the members say together. A fault of the request comes before one of $rpc. */
static void judge_request(reader *r)
{
    rbk_rpc_item *it = r->it;
    if (!(r->seen & 1u << MEMBER_method) || r->invalid || has_twice(&r->names)) {
        refuse_request(it);
        return;
    }
    it->notification = !(r->seen & 1u << MEMBER_id);
    it->err = rbk_svc_finish(&r->svc);
    if (it->err) {
        it->err_data = r->svc.err_data;
        it->svc = (rbk_service){0};
    }
}

/* `*p` stands on '{'. 0 or RBK_E_NOMEM. */
static int read_request(reader *r, const rbk_rpc_limits *limits, const char **p)
{
    r->svc = (rbk_svc_reader){.arena = r->arena, .max_timeout_ms = limits->max_timeout_ms,
                              .has_callback = limits->callback, .svc = &r->it->svc};
    r->names = (name_list){0};
    r->seen = 0;
    r->invalid = false;
    for (rbk_str raw; rbk_json_member(p, &raw) && !r->nomem;) {
        rbk_str name = rbk_json_unescape(&r->scratch, raw);
        r->nomem |= name.p == NULL;
        read_member(r, member_of(name), name, p);
    }
    judge_request(r);
    if (r->scratch.head)
        rbk_arena_free(&r->scratch);
    return r->nomem || r->svc.err == RBK_E_NOMEM ? RBK_E_NOMEM : 0;
}

static int read_item(reader *r, const rbk_rpc_limits *limits, const char **p)
{
    if (**p == '{')
        return read_request(r, limits, p);
    rbk_json_value(p);
    refuse_request(r->it);
    return 0;
}

/* A document with room for `n` items, in an arena of its own. */
static full_doc *new_doc(size_t n, size_t max_mem)
{
    rbk_arena arena = RBK_ARENA(max_mem);
    full_doc *d = rbk_arena_zalloc(&arena, sizeof *d);
    rbk_rpc_item *items = d ? rbk_arena_zalloc(&arena, n * sizeof *items) : NULL;
    if (items == NULL) {
        rbk_arena_free(&arena);
        return NULL;
    }
    d->pub.n = n;
    d->pub.items = items;
    d->arena = arena;
    return d;
}

static int read_items(full_doc *d, rbk_str body, const rbk_rpc_limits *limits, size_t max_mem)
{
    reader r = {.arena = &d->arena, .scratch = RBK_ARENA(max_mem)};
    r.text = rbk_arena_alloc(r.arena, body.n + 1);
    if (r.text == NULL)
        return RBK_E_NOMEM;
    memcpy(r.text, body.p, body.n);
    r.text[body.n] = 0;
    const char *p = rbk_json_blanks(r.text);
    int err = 0;
    if (!d->pub.batch) {
        r.it = d->pub.items;
        return read_item(&r, limits, &p);
    }
    for (size_t i = 0; err == 0 && rbk_json_element(&p); i++) {
        r.it = &d->pub.items[i];
        err = read_item(&r, limits, &p);
    }
    return err;
}

int rbk_rpc_parse_within(rbk_str body, const rbk_rpc_limits *limits, const struct yyjson_alc *alc,
                         size_t max_mem, rbk_rpc_doc **ret)
{
    rbk_json_top top;
    int err = rbk_json_validate(body, alc, &top);
    if (err)
        return err;
    if (!top.object && top.n == 0)
        return RBK_E_REQUEST; /* a scalar or an empty batch */
    if (top.array && top.n > limits->max_batch)
        return RBK_E_BATCH;
    full_doc *d = new_doc(top.array ? top.n : 1, max_mem);
    if (d == NULL)
        return RBK_E_NOMEM;
    d->pub.batch = top.array;
    err = read_items(d, body, limits, max_mem);
    if (err) {
        rbk_rpc_free(&d->pub);
        return err;
    }
    *ret = &d->pub;
    return 0;
}

int rbk_rpc_parse(rbk_str body, const rbk_rpc_limits *limits, rbk_rpc_doc **ret)
{
    /* Each allocation is bounded by the body and the batch limit. */
    return rbk_rpc_parse_within(body, limits, NULL, SIZE_MAX, ret);
}

void rbk_rpc_free(rbk_rpc_doc *doc)
{
    if (doc == NULL)
        return;
    rbk_arena arena = ((full_doc *)(void *)doc)->arena;
    rbk_arena_free(&arena);
}

rbk_str rbk_rpc_dup(rbk_rpc_doc *doc, rbk_str s)
{
    return rbk_arena_dup(&((full_doc *)(void *)doc)->arena, s);
}

int rbk_rpc_refuse(rbk_rpc_doc *doc, size_t i, const char *name, const char *reason)
{
    rbk_rpc_item *it = &doc->items[i];
    rbk_svc_reader r = {.arena = &((full_doc *)(void *)doc)->arena, .svc = &it->svc};
    rbk_svc_refuse(&r, name, reason);
    if (r.err == RBK_E_NOMEM)
        return r.err;
    it->err = r.err;
    it->err_data = r.err_data;
    it->svc = (rbk_service){0};
    return 0;
}
