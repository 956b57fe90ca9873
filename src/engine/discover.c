/* SPDX-License-Identifier: Apache-2.0 */
/* engine/discover.c - see discover.h: OpenRPC 1.3.
 *
 * A method's params are its schema's properties, those that are required first; `x-params` has the
 * schema as it is. The service parameters stand once, among the components, and every method that
 * takes params by name refers to them.
 *
 * Documents are kept by the rights that they are for, so that who asks again and again costs a copy: one
 * for those who may call everything, and a few for others, who share one where they may call the same. */
#include "engine/discover.h"

#include "base/clock.h"
#include "base/map.h"
#include "core/json.h"
#include "engine/discover_service.h"
#include "transport/version.h"

#include <stdlib.h>

enum { KEPT = 8 };

typedef struct document {
    rbk_buf rights;   /* globs, one a line; empty: everything */
    rbk_buf text;     /* empty: there is none yet */
    uint64_t version; /* of the methods that it shows */
} document;

struct rbk_discover {
    const rbk_discover_own *own;
    size_t n_own;
    pthread_mutex_t lock;
    document everything, some[KEPT]; /* each at a place that its rights say */
};

static void init_document(document *k)
{
    *k = (document){.rights = RBK_BUF(RBK_CALLERS_FILE_MAX), .text = RBK_BUF(RBK_DISCOVER_MAX)};
}

static void free_document(document *k)
{
    rbk_buf_free(&k->rights);
    rbk_buf_free(&k->text);
}

rbk_discover *rbk_discover_new(const rbk_discover_own *own, size_t n)
{
    rbk_discover *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    *d = (rbk_discover){.own = own, .n_own = n};
    init_document(&d->everything);
    for (size_t i = 0; i < KEPT; i++)
        init_document(&d->some[i]);
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

void rbk_discover_free(rbk_discover *d)
{
    if (d == NULL)
        return;
    free_document(&d->everything);
    for (size_t i = 0; i < KEPT; i++)
        free_document(&d->some[i]);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* --- What is shown, in order ------------------------------------------------------------------ */

typedef struct shown {
    rbk_str name;
    rbk_about *about; /* a reference; or NULL */
    bool glob;
} shown;

typedef struct collection {
    shown *list;
    size_t n, cap;
    bool nomem;
    const rbk_caller *caller; /* whose rights count; NULL: everything is shown */
} collection;

static void collect(void *user, rbk_str name, const rbk_about *about, bool glob)
{
    collection *c = user;
    if (!rbk_caller_may_call(c->caller, name)) /* of a pattern: all that it stands for */
        return;
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 64;
        shown *list = realloc(c->list, cap * sizeof *list);
        if (list == NULL) {
            c->nomem = true;
            return;
        }
        c->list = list;
        c->cap = cap;
    }
    rbk_about *mine = about ? rbk_about_ref((rbk_about *)(uintptr_t)about) : NULL;
    c->list[c->n++] = (shown){mine ? mine->name : name, mine, glob}; /* names of entries stay */
}

static int by_name(const void *va, const void *vb)
{
    const shown *a = va, *b = vb;
    size_t n = a->name.n < b->name.n ? a->name.n : b->name.n;
    int r = n ? memcmp(a->name.p, b->name.p, n) : 0;
    return r ? r : a->name.n < b->name.n ? -1 : a->name.n > b->name.n;
}

static void let_go(collection *c)
{
    for (size_t i = 0; i < c->n; i++)
        rbk_about_unref(c->list[i].about);
    free(c->list);
}

/* --- Params ----------------------------------------------------------------------------------- */

/* The value of a keyword of a schema; absent: it is not there. Names in escapes are no keywords. */
static rbk_str keyword(rbk_str schema, const char *wanted)
{
    rbk_str name, found = RBK_STR_NONE;
    const char *p = rbk_json_blanks(schema.p);
    if (*p != '{')
        return found;
    while (rbk_json_member(&p, &name)) {
        rbk_str value = rbk_json_value(&p);
        if (rbk_str_eqz(name, wanted))
            found = value;
    }
    return found;
}

/* `name` as it is spelt; lists are short. */
static bool is_listed(rbk_str list, rbk_str name)
{
    if (list.p == NULL)
        return false;
    for (const char *p = list.p; rbk_json_element(&p);) {
        rbk_str item = rbk_json_value(&p);
        if (rbk_str_eq(rbk_json_unquote(item), name))
            return true;
    }
    return false;
}

/* A content descriptor; the name is spelt as JSON has it between quotes. */
static void write_param(rbk_buf *b, rbk_str name, rbk_str schema, bool required)
{
    rbk_str text = keyword(schema, "description");
    rbk_buf_lit(b, "{\"name\":\"");
    rbk_buf_str(b, name);
    rbk_buf_c(b, '"');
    if (text.p && text.p[0] == '"') {
        rbk_buf_lit(b, ",\"description\":");
        rbk_buf_str(b, text);
    }
    rbk_buf_z(b, required ? ",\"required\":true,\"schema\":" : ",\"required\":false,\"schema\":");
    rbk_buf_str(b, schema);
    rbk_buf_lit(b, "},");
}

static void write_properties(rbk_buf *b, rbk_str schema, bool required)
{
    rbk_str properties = keyword(schema, "properties"), list = keyword(schema, "required"), name;
    if (properties.p == NULL)
        return;
    for (const char *p = properties.p; rbk_json_member(&p, &name);) {
        rbk_str value = rbk_json_value(&p);
        if (is_listed(list, name) == required)
            write_param(b, name, value, required);
    }
}

/* Required names that have no schema of their own. */
static void write_bare(rbk_buf *b, rbk_str schema)
{
    rbk_str properties = keyword(schema, "properties"), list = keyword(schema, "required");
    if (list.p == NULL)
        return;
    for (const char *p = list.p; rbk_json_element(&p);) {
        rbk_str item = rbk_json_value(&p), name = rbk_json_unquote(item), other;
        bool known = false;
        for (const char *q = properties.p ? properties.p : "{}"; rbk_json_member(&q, &other);) {
            rbk_json_value(&q);
            known |= rbk_str_eq(name, other);
        }
        if (!known)
            write_param(b, name, RBK_STR("true"), true);
    }
}

/* By position: the n-th value is "n", unless its schema has a title. */
static void write_items(rbk_buf *b, rbk_str schema)
{
    rbk_str items = keyword(schema, "prefixItems"), min = keyword(schema, "minItems");
    size_t n = 0, least = min.p ? (size_t)strtoull(min.p, NULL, 10) : 0;
    if (items.p == NULL)
        return;
    for (const char *p = items.p; rbk_json_element(&p); n++) {
        rbk_str value = rbk_json_value(&p), title = keyword(value, "title");
        char index[24] = {0};
        rbk_buf name = {.p = index, .cap = sizeof index, .max = sizeof index};
        rbk_buf_add_u64(&name, n);
        write_param(b, title.n > 2 && title.p[0] == '"' ? rbk_json_unquote(title) : rbk_buf_view(&name),
                    value, n < least);
    }
}

static void end_list(rbk_buf *b)
{
    if (rbk_buf_err(b) == 0 && b->n && b->p[b->n - 1] == ',')
        b->n--;
    rbk_buf_c(b, ']');
}

/* By name or by position; a method that says nothing of itself takes both. `callback`: the service
 * parameters may stand among them. */
static void write_params(rbk_buf *b, rbk_str schema, bool object, bool array, bool callback)
{
    bool by_name = object && (!array || keyword(schema, "properties").p || keyword(schema, "required").p);
    rbk_buf_lit(b, ",\"paramStructure\":");
    rbk_buf_z(b, !object ? "\"by-position\"" : by_name ? "\"by-name\"" : "\"either\"");
    rbk_buf_lit(b, ",\"params\":[");
    if (by_name) {
        write_properties(b, schema, true);
        write_bare(b, schema);
        write_properties(b, schema, false);
        if (callback)
            rbk_buf_lit(b, "{\"$ref\":\"#/components/contentDescriptors/ServiceParameters\"}");
    } else if (!object) {
        write_items(b, schema);
    }
    end_list(b);
}

/* --- The document ------------------------------------------------------------------------------- */

static void write_method(rbk_buf *b, const shown *s)
{
    const rbk_about *a = s->about;
    const rbk_schema *params = a ? a->params : NULL;
    rbk_str schema = params ? rbk_schema_text(params) : RBK_STR("true");
    rbk_buf_lit(b, "{\"name\":");
    rbk_buf_json_str(b, s->name);
    if (a && a->description.p) {
        rbk_buf_lit(b, ",\"description\":");
        rbk_buf_json_str(b, a->description);
    }
    write_params(b, schema, !params || rbk_schema_takes_object(params),
                 !params || rbk_schema_takes_array(params), true);
    rbk_buf_lit(b, ",\"result\":{\"name\":\"result\",\"schema\":");
    rbk_buf_str(b, a && a->result.p ? a->result : RBK_STR("true"));
    rbk_buf_lit(b, "},\"x-callback\":true");
    if (params) {
        rbk_buf_lit(b, ",\"x-params\":");
        rbk_buf_str(b, schema);
    }
    rbk_buf_lit(b, "},");
}

static void write_own(rbk_buf *b, const rbk_discover_own *own)
{
    rbk_buf_lit(b, "{\"name\":");
    rbk_buf_json_str(b, rbk_str_z(own->name));
    rbk_buf_lit(b, ",\"description\":");
    rbk_buf_json_str(b, rbk_str_z(own->description));
    write_params(b, rbk_str_z(own->params), true, false, false);
    rbk_buf_lit(b, ",\"result\":{\"name\":\"result\",\"schema\":");
    rbk_buf_z(b, own->result);
    rbk_buf_lit(b, "},\"x-callback\":false},");
}

static void write_patterns(rbk_buf *b, const collection *c)
{
    rbk_buf_lit(b, ",\"x-patterns\":[");
    for (size_t i = 0; i < c->n; i++) {
        if (!c->list[i].glob)
            continue;
        rbk_buf_json_str(b, c->list[i].name);
        rbk_buf_c(b, ',');
    }
    end_list(b);
}

static void write_all(const rbk_discover *d, const rbk_engine *e, const collection *c, rbk_buf *b)
{
    rbk_buf_lit(b, "{\"openrpc\":\"1.3.2\",\"info\":{\"title\":\"ringback\",\"version\":");
    rbk_buf_json_str(b, rbk_str_z(RBK_VERSION));
    rbk_buf_lit(b, "},\"methods\":[");
    for (size_t i = 0; i < c->n; i++)
        if (!c->list[i].glob)
            write_method(b, &c->list[i]);
    for (size_t i = 0; i < d->n_own; i++)
        write_own(b, &d->own[i]);
    end_list(b);
    rbk_buf_lit(b, ",\"components\":{");
    rbk_discover_service(b, e->conf.limits.max_timeout_ms);
    rbk_buf_c(b, '}');
    write_patterns(b, c);
    rbk_buf_c(b, '}');
}

/* What is shown to `caller`, behind `b`. */
static int write_for(const rbk_discover *d, const rbk_engine *e, const rbk_caller *caller, rbk_buf *b)
{
    collection c = {.caller = caller};
    rbk_methods_show(e->conf.methods, collect, &c);
    if (!c.nomem) {
        if (c.n)
            qsort(c.list, c.n, sizeof *c.list, by_name);
        write_all(d, e, &c, b);
    }
    let_go(&c);
    return c.nomem || b->err == RBK_E_NOMEM ? RBK_E_NOMEM : b->err ? RBK_E_RESULT_SIZE : 0;
}

/* With the lock held. A change that comes meanwhile makes the version old, and the next one who asks makes
 * it anew. */
static int make(const rbk_discover *d, const rbk_engine *e, const rbk_caller *caller, document *k)
{
    uint64_t version = rbk_methods_version(e->conf.methods);
    if (k->text.n && k->version == version)
        return 0;
    rbk_buf_free(&k->text);
    k->text.err = 0;
    int r = write_for(d, e, caller, &k->text);
    if (r < 0)
        rbk_buf_free(&k->text);
    k->version = version;
    return r;
}

/* Where the document of such a caller is, or will be. NULL: no memory. With the lock held. */
static document *find_document(rbk_discover *d, const rbk_caller *caller)
{
    rbk_buf rights = RBK_BUF(RBK_CALLERS_FILE_MAX);
    if (caller == NULL || caller->n_methods == 0)
        return &d->everything;
    for (size_t i = 0; i < caller->n_methods; i++) {
        rbk_buf_z(&rights, caller->methods[i]);
        rbk_buf_c(&rights, '\n');
    }
    document *k = rbk_buf_err(&rights) == 0 ? &d->some[rbk_hash(rbk_buf_view(&rights)) % KEPT] : NULL;
    if (k && !rbk_str_eq(rbk_buf_view(&k->rights), rbk_buf_view(&rights))) {
        free_document(k);
        k->rights = rights;
    } else {
        rbk_buf_free(&rights);
    }
    return k;
}

int rbk_discover_write(rbk_discover *d, rbk_engine *e, const rbk_caller *caller, rbk_buf *b)
{
    pthread_mutex_lock(&d->lock);
    document *k = find_document(d, caller);
    int r = k ? make(d, e, caller, k) : RBK_E_NOMEM;
    if (r == 0)
        rbk_buf_str(b, rbk_buf_view(&k->text));
    pthread_mutex_unlock(&d->lock);
    return r;
}
