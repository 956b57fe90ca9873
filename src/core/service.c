/* SPDX-License-Identifier: Apache-2.0 */
/* core/service.c - step of rpc.c: what the members named $rpc say.
 *
 * The spellings "$rpc.<name>" and "$rpc":{"<name>":…}, in params or beside them, all
 * come through rbk_svc_take(), so a name given twice is seen whatever its spelling.
 * An unknown name is refused: a misspelt callback must not turn an asynchronous call
 * into a synchronous one. */
#include "core/service.h"

#include "base/buf.h"
#include "core/json.h"
#include "core/rfc3339.h"


enum { NAME_SHOWN_MAX = 128 };

static const struct {
    const char *name;
    unsigned bit;
    bool needs_callback;
} known[] = {
#define X(name, bit, needs) {#name, bit, needs},
    RBK_SVC_MAP(X)
#undef X
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

bool rbk_svc_is_ours(rbk_str member)
{
    return rbk_str_starts(member, RBK_STR("$rpc")) && (member.n == 4 || member.p[4] == '.');
}

/* At most NAME_SHOWN_MAX bytes, cut between characters. */
static rbk_str shorten(rbk_str name)
{
    if (name.n <= NAME_SHOWN_MAX)
        return name;
    size_t n = NAME_SHOWN_MAX;
    while (n > 0 && ((unsigned char)name.p[n] & 0xc0) == 0x80)
        n--;
    return (rbk_str){name.p, n};
}

/* `name` without "$rpc."; absent: "$rpc" itself is at fault. */
static void refuse(rbk_svc_reader *r, rbk_str name, const char *reason)
{
    if (r->err)
        return;
    char full[8 + NAME_SHOWN_MAX], text[8 * (NAME_SHOWN_MAX + 64)];
    rbk_buf f = {.p = full, .cap = sizeof full, .max = sizeof full};
    rbk_buf b = {.p = text, .cap = sizeof text, .max = sizeof text};
    rbk_buf_lit(&f, "$rpc");
    if (name.p) {
        rbk_buf_c(&f, '.');
        rbk_buf_str(&f, shorten(name));
    }
    rbk_buf_c(&b, '{');
    rbk_buf_json_str(&b, rbk_buf_view(&f));
    rbk_buf_c(&b, ':');
    rbk_buf_json_str(&b, rbk_str_z(reason));
    rbk_buf_c(&b, '}');
    r->err_data = rbk_arena_dup(r->arena, rbk_buf_view(&b));
    r->err = r->err_data.p ? RBK_E_PARAMS : RBK_E_NOMEM;
}

static void out_of_memory(rbk_svc_reader *r)
{
    r->err = RBK_E_NOMEM;
    r->err_data = RBK_STR_NONE;
}

/* A copy, for the text that `value` lies in may change. False: memory is out. */
static bool copy_string(rbk_svc_reader *r, rbk_str value, rbk_str *ret)
{
    rbk_str raw = rbk_json_unquote(value), s = rbk_json_unescape(r->arena, raw);
    if (s.p == raw.p)
        s = rbk_arena_dup(r->arena, s);
    if (s.p == NULL) {
        out_of_memory(r);
        return false;
    }
    *ret = s;
    return true;
}

static void set_callback(rbk_svc_reader *r, const char *name, rbk_str value, rbk_str *ret)
{
    if (value.p[0] == '"')
        copy_string(r, value, ret);
    else
        refuse(r, rbk_str_z(name), "must be a non-empty string");
}

/* NUL is no part of a name by which a store or a lane finds things. */
static void set_key(rbk_svc_reader *r, const char *name, rbk_str value, rbk_str *ret)
{
    rbk_str s = RBK_STR_NONE;
    if (value.p[0] == '"' && !copy_string(r, value, &s))
        return;
    if (s.n >= 1 && s.n <= RBK_SVC_KEY_MAX && memchr(s.p, 0, s.n) == NULL)
        *ret = s;
    else
        refuse(r, rbk_str_z(name), "must be a string of 1 to 255 bytes, without NUL");
}

static bool is_integer(rbk_str v)
{
    if (v.p[0] != '-' && (v.p[0] < '0' || v.p[0] > '9'))
        return false;
    for (size_t i = 1; i < v.n; i++)
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
    return true;
}

static bool is_ray_id(rbk_str s)
{
    if (s.n == 0 || s.n > RBK_SVC_RAY_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '!' || s.p[i] > '~')
            return false;
    return true;
}

static void set_ray_id(rbk_svc_reader *r, rbk_str value)
{
    rbk_str s = RBK_STR_NONE;
    if (value.p[0] == '"') {
        if (!copy_string(r, value, &s))
            return;
    } else if (is_integer(value)) {
        s = rbk_arena_dup(r->arena, value);
        if (s.p == NULL) {
            out_of_memory(r);
            return;
        }
    }
    if (is_ray_id(s))
        r->svc->ray_id = s;
    else
        refuse(r, RBK_STR("rayId"), "must be 1 to 128 visible ASCII characters, or an integer");
}

typedef struct range {
    int64_t min_ms, max_ms;
} range;

/* "0.1", "3600": as JSON writes it, whatever the locale. */
static void add_seconds(rbk_buf *b, int64_t ms)
{
    rbk_buf_add_u64(b, (uint64_t)ms / 1000);
    if (ms % 1000 == 0)
        return;
    rbk_buf_addf(b, ".%03d", (int)(ms % 1000));
    while (b->p[b->n - 1] == '0')
        b->n--;
}

static void set_ms(rbk_svc_reader *r, const char *name, rbk_str value, range in, int64_t *ret_ms)
{
    double s;
    if (rbk_json_number(value, &s) && s >= (double)in.min_ms / 1000 && s <= (double)in.max_ms / 1000) {
        *ret_ms = (int64_t)(s * 1000 + 0.5);
        return;
    }
    char reason[128];
    rbk_buf b = {.p = reason, .cap = sizeof reason - 1, .max = sizeof reason - 1};
    rbk_buf_lit(&b, "must be a number of seconds from ");
    add_seconds(&b, in.min_ms);
    rbk_buf_lit(&b, " to ");
    add_seconds(&b, in.max_ms);
    reason[b.n] = 0;
    refuse(r, rbk_str_z(name), reason);
}

/* A day alone is no moment: would its beginning be meant, or its end? Numbers go up to the
 * greatest year that text can say, so one in milliseconds is refused. */
static bool read_moment(rbk_svc_reader *r, rbk_str value, rbk_wall_ms *ret)
{
    static const double max_s = 253402300799.999;
    double s;
    if (value.p[0] == '"') {
        rbk_str text;
        return copy_string(r, value, &text) && text.n > sizeof "2026-01-01" - 1 &&
               rbk_rfc3339_parse(text, ret) == 0;
    }
    if (!rbk_json_number(value, &s) || s < 0 || s > max_s)
        return false;
    *ret = (rbk_wall_ms)(s * 1000 + 0.5);
    return true;
}

static void set_deadline(rbk_svc_reader *r, rbk_str value)
{
    rbk_wall_ms t;
    if (read_moment(r, value, &t))
        r->svc->deadline = t > 0 ? t : 1;
    else
        refuse(r, RBK_STR("deadline"), "must be an RFC 3339 time, or unix seconds");
}

static void set_bool(rbk_svc_reader *r, const char *name, rbk_str value, bool *ret)
{
    if (value.p[0] == 't' || value.p[0] == 'f')
        *ret = value.p[0] == 't';
    else
        refuse(r, rbk_str_z(name), "must be true or false");
}

/* Which events there are is one word as yet. */
static void set_events(rbk_svc_reader *r, rbk_str value)
{
    const char *p = value.p;
    bool fine = *p == '[';
    while (fine && rbk_json_element(&p)) {
        rbk_str one = rbk_json_value(&p), name = RBK_STR_NONE;
        if (one.p[0] == '"' && !copy_string(r, one, &name))
            return;
        fine = rbk_str_eqz(name, "progress");
        r->svc->progress = fine;
    }
    if (!fine)
        refuse(r, RBK_STR("events"), "must be a list of \"progress\"");
}

static void set_one(rbk_svc_reader *r, unsigned bit, rbk_str value)
{
    bool ignored;
    switch (bit) {
    case RBK_SVC_callback:
        set_callback(r, "callback", value, &r->svc->callback);
        break;
    case RBK_SVC_failureCallback:
        set_callback(r, "failureCallback", value, &r->svc->failure_callback);
        break;
    case RBK_SVC_wait:
        set_ms(r, "wait", value, (range){0, RBK_SVC_WAIT_MAX_MS}, &r->svc->wait_ms);
        break;
    case RBK_SVC_deadline:
        set_deadline(r, value);
        break;
    case RBK_SVC_idempotencyKey:
        set_key(r, "idempotencyKey", value, &r->svc->idem_key);
        break;
    case RBK_SVC_key:
        set_key(r, "key", value, &r->svc->order_key);
        break;
    case RBK_SVC_timeout:
        set_ms(r, "timeout", value, (range){RBK_SVC_TIMEOUT_MIN_MS, r->max_timeout_ms},
               &r->svc->timeout_ms);
        break;
    case RBK_SVC_delay:
        set_ms(r, "delay", value, (range){0, RBK_SVC_DELAY_MAX_MS}, &r->svc->delay_ms);
        break;
    case RBK_SVC_receipt:
        set_bool(r, "receipt", value, &r->svc->receipt);
        break;
    case RBK_SVC_rayId:
        set_ray_id(r, value);
        break;
    case RBK_SVC_events:
        set_events(r, value);
        break;
    case RBK_SVC_ignoreCache:
        set_bool(r, "ignoreCache", value, &ignored);
        break;
    default:
        break;
    }
}

static void take_named(rbk_svc_reader *r, rbk_str name, rbk_str value)
{
    for (size_t i = 0; i < COUNT(known); i++) {
        if (!rbk_str_eqz(name, known[i].name))
            continue;
        if (r->seen & 1u << known[i].bit) {
            refuse(r, name, "given twice");
            return;
        }
        r->seen |= 1u << known[i].bit;
        set_one(r, known[i].bit, value);
        return;
    }
    refuse(r, name, "unknown service parameter");
}

static void take_nested(rbk_svc_reader *r, rbk_str object)
{
    if (object.p[0] != '{') {
        refuse(r, RBK_STR_NONE, "must be an object");
        return;
    }
    if (r->nested) {
        refuse(r, RBK_STR_NONE, "given twice");
        return;
    }
    r->nested = true;
    const char *p = object.p;
    for (rbk_str raw; rbk_json_member(&p, &raw);) {
        rbk_str name = rbk_json_unescape(r->arena, raw), value = rbk_json_value(&p);
        if (name.p)
            take_named(r, name, value);
        else
            out_of_memory(r);
        if (r->err)
            return;
    }
}

void rbk_svc_take(rbk_svc_reader *r, rbk_str member, rbk_str value)
{
    if (r->err)
        return;
    if (member.n == 4)
        take_nested(r, value);
    else
        take_named(r, (rbk_str){member.p + 5, member.n - 5}, value);
}

int rbk_svc_finish(rbk_svc_reader *r)
{
    bool callback = r->has_callback || (r->seen & RBK_SVC_BIT(callback));
    for (size_t i = 0; i < COUNT(known) && !callback; i++)
        if (known[i].needs_callback && (r->seen & 1u << known[i].bit))
            refuse(r, rbk_str_z(known[i].name), "needs $rpc.callback");
    if ((r->seen & RBK_SVC_BIT(key)) && (r->seen & RBK_SVC_BIT(delay)))
        refuse(r, RBK_STR("key"), "not with $rpc.delay");
    r->svc->set = r->err ? 0 : r->seen;
    return r->err;
}

void rbk_svc_refuse(rbk_svc_reader *r, const char *name, const char *reason)
{
    refuse(r, rbk_str_z(name), reason);
}
