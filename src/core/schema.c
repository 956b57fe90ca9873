/* SPDX-License-Identifier: Apache-2.0 */
/* core/schema.c - see schema.h: text into a table, and params against the table.
 *
 * A type is a bit. A number counts as an integer by its value, as JSON Schema has it: 1.0 and 1e2
 * do; its digits are looked at, so it may have any size. Properties are sorted, so that a body of a
 * hundred thousand members is cheap. */
#include "core/schema.h"

#include "base/buf.h"
#include "base/error.h"
#include "core/json.h"
#include "core/rpc.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    T_STRING = 1,
    T_NUMBER = 2, /* any number; goes with T_INTEGER */
    T_INTEGER = 4,
    T_BOOLEAN = 8,
    T_OBJECT = 16,
    T_ARRAY = 32,
    T_NULL = 64,
    T_ANY = 127
};

static const struct {
    const char *name, *shown;
    unsigned bits;
} types[] = {
    {"string", "a string", T_STRING},   {"number", "a number", T_NUMBER | T_INTEGER},
    {"integer", "an integer", T_INTEGER}, {"boolean", "true or false", T_BOOLEAN},
    {"object", "an object", T_OBJECT},  {"array", "an array", T_ARRAY},
    {"null", "null", T_NULL},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

typedef struct member {
    rbk_str name; /* without escapes */
    unsigned types;
    bool required, known; /* in `required`, in `properties` */
} member;

struct rbk_schema {
    rbk_str text;
    rbk_arena arena; /* of the text and the names */
    unsigned types;  /* of params as a whole */
    member *members; /* by name */
    size_t n_members, n_required;
    bool open; /* other names may stand there */
    unsigned *items;
    size_t n_items;
    bool open_items;
    uint64_t min_items, max_items;
};

/* --- Making ------------------------------------------------------------------------------------ */

typedef struct maker {
    rbk_schema *s;
    rbk_error *err;
    int r; /* 0, or the first fault */
    member members[2 * RBK_SCHEMA_MEMBERS_MAX]; /* properties and required names, as they come */
    size_t n;
} maker;

static void fault(maker *m, const char *what)
{
    if (m->r == 0)
        m->r = rbk_fail(m->err, RBK_E_CONFIG, "%s", what);
}

static unsigned type_named(maker *m, rbk_str value)
{
    for (size_t i = 0; value.p[0] == '"' && i < COUNT(types); i++)
        if (rbk_str_eqz(rbk_json_unquote(value), types[i].name))
            return types[i].bits;
    fault(m, "type must be string, number, integer, boolean, object, array, null, or a list of them");
    return 0;
}

static unsigned read_type(maker *m, rbk_str value)
{
    unsigned bits = 0;
    if (value.p[0] != '[')
        return type_named(m, value);
    for (const char *p = value.p; m->r == 0 && rbk_json_element(&p);)
        bits |= type_named(m, rbk_json_value(&p));
    if (bits == 0)
        fault(m, "type is an empty list");
    return bits;
}

/* The type of a schema within the schema; nothing else of it is looked at. */
static unsigned type_of(maker *m, rbk_str schema)
{
    unsigned bits = T_ANY;
    rbk_str name;
    if (schema.p[0] == 't')
        return T_ANY;
    if (schema.p[0] == 'f')
        return 0;
    if (schema.p[0] != '{') {
        fault(m, "a schema must be an object, true or false");
        return 0;
    }
    for (const char *p = schema.p; rbk_json_member(&p, &name);) {
        rbk_str value = rbk_json_value(&p);
        if (rbk_str_eqz(name, "type"))
            bits = read_type(m, value);
    }
    return bits;
}

static member *add_member(maker *m, rbk_str raw)
{
    rbk_str name = rbk_json_unescape(&m->s->arena, raw);
    if (name.p == NULL && m->r == 0)
        m->r = rbk_fail(m->err, RBK_E_NOMEM, "schema");
    else if (name.n > RBK_SCHEMA_NAME_MAX)
        fault(m, "a name is longer than 255 bytes");
    else if (m->n == COUNT(m->members))
        fault(m, "too many members");
    if (m->r < 0)
        return NULL;
    m->members[m->n] = (member){.name = name, .types = T_ANY};
    return &m->members[m->n++];
}

static void read_properties(maker *m, rbk_str value)
{
    rbk_str name;
    size_t n = 0;
    if (value.p[0] != '{') {
        fault(m, "properties must be an object");
        return;
    }
    for (const char *p = value.p; m->r == 0 && rbk_json_member(&p, &name);) {
        rbk_str schema = rbk_json_value(&p);
        member *x = add_member(m, name);
        if (++n > RBK_SCHEMA_MEMBERS_MAX)
            fault(m, "more than 256 properties");
        else if (x)
            *x = (member){.name = x->name, .known = true, .types = type_of(m, schema)};
    }
}

static void read_required(maker *m, rbk_str value)
{
    size_t n = 0;
    if (value.p[0] != '[') {
        fault(m, "required must be a list of names");
        return;
    }
    for (const char *p = value.p; m->r == 0 && rbk_json_element(&p);) {
        rbk_str name = rbk_json_value(&p);
        member *x = name.p[0] == '"' ? add_member(m, rbk_json_unquote(name)) : NULL;
        if (x)
            x->required = true;
        else
            fault(m, "required must be a list of names");
        if (++n > RBK_SCHEMA_MEMBERS_MAX)
            fault(m, "more than 256 required names");
    }
}

static void read_items(maker *m, rbk_str value)
{
    rbk_schema *s = m->s;
    if (value.p[0] != '[') {
        fault(m, "prefixItems must be a list of schemas");
        return;
    }
    s->n_items = 0;
    s->items = rbk_arena_alloc(&s->arena, RBK_SCHEMA_MEMBERS_MAX * sizeof *s->items);
    if (s->items == NULL) {
        m->r = rbk_fail(m->err, RBK_E_NOMEM, "schema");
        return;
    }
    for (const char *p = value.p; m->r == 0 && rbk_json_element(&p);) {
        rbk_str schema = rbk_json_value(&p);
        if (s->n_items == RBK_SCHEMA_MEMBERS_MAX)
            fault(m, "more than 256 prefixItems");
        else
            s->items[s->n_items++] = type_of(m, schema);
    }
}

/* Other names, other items: only `false` forbids them. */
static bool read_open(maker *m, rbk_str value, const char *what)
{
    if (value.p[0] != '{' && value.p[0] != 't' && value.p[0] != 'f')
        fault(m, what);
    return value.p[0] != 'f';
}

static uint64_t read_count(maker *m, rbk_str value)
{
    uint64_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9' || n > UINT32_MAX) {
            fault(m, "minItems and maxItems must be whole numbers");
            return 0;
        }
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    }
    return n;
}

static void read_keyword(maker *m, rbk_str name, rbk_str value)
{
    rbk_schema *s = m->s;
    if (rbk_str_eqz(name, "type"))
        s->types = read_type(m, value);
    else if (rbk_str_eqz(name, "properties"))
        read_properties(m, value);
    else if (rbk_str_eqz(name, "required"))
        read_required(m, value);
    else if (rbk_str_eqz(name, "additionalProperties"))
        s->open = read_open(m, value, "additionalProperties must be a schema, true or false");
    else if (rbk_str_eqz(name, "prefixItems"))
        read_items(m, value);
    else if (rbk_str_eqz(name, "items"))
        s->open_items = read_open(m, value, "items must be a schema, true or false");
    else if (rbk_str_eqz(name, "minItems"))
        s->min_items = read_count(m, value);
    else if (rbk_str_eqz(name, "maxItems"))
        s->max_items = read_count(m, value);
}

static int compare(const void *va, const void *vb)
{
    const member *a = va, *b = vb;
    if (a->name.n != b->name.n)
        return a->name.n < b->name.n ? -1 : 1;
    return a->name.n ? memcmp(a->name.p, b->name.p, a->name.n) : 0;
}

/* By name, each once: what is said of a name in several places holds together. */
static void keep_members(maker *m)
{
    rbk_schema *s = m->s;
    s->members = rbk_arena_alloc(&s->arena, (m->n + 1) * sizeof *s->members);
    if (s->members == NULL) {
        m->r = rbk_fail(m->err, RBK_E_NOMEM, "schema");
        return;
    }
    qsort(m->members, m->n, sizeof *m->members, compare);
    for (size_t i = 0; i < m->n; i++) {
        member *last = s->n_members ? &s->members[s->n_members - 1] : NULL;
        if (last && compare(last, &m->members[i]) == 0) {
            last->types &= m->members[i].types;
            last->required |= m->members[i].required;
            last->known |= m->members[i].known;
        } else {
            s->members[s->n_members++] = m->members[i];
        }
    }
    for (size_t i = 0; i < s->n_members; i++) {
        s->n_required += s->members[i].required;
        if (!s->open && !s->members[i].known)
            fault(m, "required has a name that is not allowed");
    }
}

static void make(maker *m)
{
    rbk_schema *s = m->s;
    const char *p = rbk_json_blanks(s->text.p);
    rbk_str name;
    if (*p == 't')
        return;
    if (*p != '{') {
        fault(m, "it must be an object, or true");
        return;
    }
    while (m->r == 0 && rbk_json_member(&p, &name)) {
        rbk_str value = rbk_json_value(&p);
        read_keyword(m, name, value);
    }
    if (m->r == 0 && !(s->types & (T_OBJECT | T_ARRAY)))
        fault(m, "params are an object or an array");
    if (m->r == 0)
        keep_members(m);
}

int rbk_schema_new(rbk_str text, rbk_schema **ret, rbk_error *err)
{
    if (text.n > RBK_SCHEMA_TEXT_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "it is larger than 64K");
    int r = rbk_json_check(text);
    if (r < 0)
        return rbk_fail(err, r == RBK_E_PARSE ? RBK_E_CONFIG : r, "it is not JSON");
    rbk_schema *s = calloc(1, sizeof *s);
    maker *m = calloc(1, sizeof *m);
    if (s)
        *s = (rbk_schema){.arena = RBK_ARENA(SIZE_MAX), .types = T_ANY, .open = true,
                          .open_items = true, .max_items = UINT64_MAX};
    if (s)
        s->text = rbk_arena_dup(&s->arena, text);
    if (s == NULL || m == NULL || s->text.p == NULL) {
        r = rbk_fail(err, RBK_E_NOMEM, "schema");
    } else {
        m->s = s;
        m->err = err;
        make(m);
        r = m->r;
    }
    free(m);
    if (r < 0) {
        rbk_schema_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

void rbk_schema_free(rbk_schema *s)
{
    if (s == NULL)
        return;
    rbk_arena_free(&s->arena);
    free(s);
}

bool rbk_schema_takes_object(const rbk_schema *s)
{
    return s->types & T_OBJECT;
}

bool rbk_schema_takes_array(const rbk_schema *s)
{
    return s->types & T_ARRAY;
}

rbk_str rbk_schema_text(const rbk_schema *s)
{
    return s->text;
}

/* --- Checking ---------------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The exponent behind `p`, which stands on 'e'; a huge one is cut: no text has so many digits. */
static int64_t read_exponent(const char *p, const char *end)
{
    bool minus = *++p == '-';
    int64_t v = 0;
    for (p += *p == '-' || *p == '+'; p < end; p++)
        v = v < INT64_C(1) << 48 ? v * 10 + (*p - '0') : v;
    return minus ? -v : v;
}

/* Is the number whole? Its digits, without the point, times ten to a power: they must end in as
 * many zeros as the power takes away. */
static bool is_whole(rbk_str v)
{
    const char *end = v.p + v.n, *p = v.p;
    int64_t zeros = 0, fraction = 0, power = 0;
    bool point = false, any = false; /* a digit other than 0 */
    for (; p < end; p++) {
        if (*p == 'e' || *p == 'E') {
            power = read_exponent(p, end);
            break;
        }
        point |= *p == '.';
        if (!is_digit(*p))
            continue;
        fraction += point;
        any |= *p != '0';
        zeros = *p == '0' ? zeros + 1 : 0;
    }
    return !any || zeros + power - fraction >= 0;
}

static bool is_of(rbk_str v, unsigned bits)
{
    switch (v.p[0]) {
    case '"':
        return bits & T_STRING;
    case '{':
        return bits & T_OBJECT;
    case '[':
        return bits & T_ARRAY;
    case 't':
    case 'f':
        return bits & T_BOOLEAN;
    case 'n':
        return bits & T_NULL;
    default:
        return (bits & T_NUMBER) || ((bits & T_INTEGER) && is_whole(v));
    }
}

/* "must be a string or null" */
static void name_types(unsigned bits, char out[RBK_SCHEMA_REASON_MAX])
{
    rbk_buf b = {.p = out, .cap = RBK_SCHEMA_REASON_MAX - 1, .max = RBK_SCHEMA_REASON_MAX - 1};
    unsigned left = bits;
    rbk_buf_z(&b, bits ? "must be " : "is not allowed");
    for (size_t i = 0; i < COUNT(types); i++) {
        if ((left & types[i].bits) != types[i].bits)
            continue;
        rbk_buf_z(&b, left == bits ? "" : (left & ~types[i].bits) ? ", " : " or ");
        rbk_buf_z(&b, types[i].shown);
        left &= ~types[i].bits;
    }
    out[b.n] = 0;
}

static bool refuse(rbk_schema_fault *f, rbk_str name, const char *reason)
{
    size_t n = name.n;
    if (n > RBK_SCHEMA_NAME_MAX)
        for (n = RBK_SCHEMA_NAME_MAX; n && ((unsigned char)name.p[n] & 0xc0) == 0x80;)
            n--;
    if (n)
        memcpy(f->name, name.p, n);
    f->name[n] = 0;
    snprintf(f->reason, sizeof f->reason, "%s", reason);
    return false;
}

static bool refuse_type(rbk_schema_fault *f, rbk_str name, unsigned bits)
{
    char reason[RBK_SCHEMA_REASON_MAX];
    name_types(bits, reason);
    return refuse(f, name, reason);
}

static const member *find(const rbk_schema *s, rbk_str name)
{
    return s->n_members == 0 ? NULL
                             : bsearch(&(member){.name = name}, s->members, s->n_members,
                                       sizeof *s->members, compare);
}

/* Which members were there, by place. */
typedef struct place_set {
    uint8_t bits[2 * RBK_SCHEMA_MEMBERS_MAX / 8];
} place_set;

static bool member_fits(const rbk_schema *s, rbk_str name, rbk_str value, place_set *seen,
                        rbk_schema_fault *f)
{
    const member *m = find(s, name);
    if (m == NULL)
        return s->open || refuse(f, name, "is not a parameter of this method");
    size_t i = (size_t)(m - s->members);
    seen->bits[i / 8] |= (uint8_t)(1u << i % 8);
    return is_of(value, m->types) || refuse_type(f, name, m->types);
}

/* A name in escapes: one that is longer than all escapes of the longest name is none of ours, but
 * still has to be named. */
static bool escaped_fits(const rbk_schema *s, rbk_str raw, rbk_str value, place_set *seen,
                         rbk_schema_fault *f)
{
    rbk_arena arena = RBK_ARENA(16 * RBK_SCHEMA_NAME_MAX);
    rbk_str name = raw.n <= 6 * RBK_SCHEMA_NAME_MAX ? rbk_json_unescape(&arena, raw) : raw;
    bool fits = member_fits(s, name.p ? name : raw, value, seen, f);
    rbk_arena_free(&arena);
    return fits;
}

static bool object_fits(const rbk_schema *s, const char *p, rbk_schema_fault *f)
{
    place_set seen = {{0}};
    rbk_str name;
    while (rbk_json_member(&p, &name)) {
        rbk_str value = rbk_json_value(&p);
        bool fits = memchr(name.p, '\\', name.n) ? escaped_fits(s, name, value, &seen, f)
                                                 : member_fits(s, name, value, &seen, f);
        if (!fits)
            return false;
    }
    for (size_t i = 0; s->n_required && i < s->n_members; i++)
        if (s->members[i].required && !(seen.bits[i / 8] >> i % 8 & 1))
            return refuse(f, s->members[i].name, "is required");
    return true;
}

static bool array_fits(const rbk_schema *s, const char *p, rbk_schema_fault *f)
{
    char index[24];
    uint64_t n = 0;
    for (; rbk_json_element(&p); n++) {
        rbk_str value = rbk_json_value(&p);
        unsigned bits = n < s->n_items ? s->items[n] : s->open_items ? T_ANY : 0;
        if (is_of(value, bits))
            continue;
        snprintf(index, sizeof index, "%llu", (unsigned long long)n);
        return n < s->n_items ? refuse_type(f, rbk_str_z(index), bits)
                              : refuse(f, rbk_str_z(index), "is not a parameter of this method");
    }
    if (n < s->min_items)
        return refuse(f, RBK_STR("params"), "has too few values");
    return n <= s->max_items || refuse(f, RBK_STR("params"), "has too many values");
}

bool rbk_schema_fits(const rbk_schema *s, rbk_str params, rbk_schema_fault *ret)
{
    const char *p = params.p ? rbk_json_blanks(params.p) : s->types & T_OBJECT ? "{}" : "[]";
    unsigned is = *p == '{' ? T_OBJECT : T_ARRAY;
    if (!(s->types & is))
        return refuse_type(ret, RBK_STR("params"), s->types & (T_OBJECT | T_ARRAY));
    return is == T_OBJECT ? object_fits(s, p, ret) : array_fits(s, p, ret);
}
