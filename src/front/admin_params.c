/* SPDX-License-Identifier: Apache-2.0 */
/* front/admin_params.c - params of the operators' methods, by name, from a table.
 *
 * A member that the method does not know is a fault that names it: a filter that was misspelt
 * would otherwise mean every job. Pure but for the arena of the call. */
#include "front/admin_impl.h"

#include "base/error.h"
#include "core/job_state.h"
#include "core/json.h"
#include "core/rfc3339.h"

#include <stdio.h>

enum { CHANGES = RBK_ADMIN_RETRY | RBK_ADMIN_CANCEL | RBK_ADMIN_PURGE,
       FILTERED = RBK_ADMIN_LIST | CHANGES };

/* NULL, or why the value is refused. */
typedef const char *(*read_fn)(rbk_admin_call *c, rbk_str value);

typedef struct param {
    const char *name;
    unsigned methods;
    bool filter;
    read_fn read;
} param;

static const char *read_text(rbk_admin_call *c, rbk_str value, rbk_str *ret)
{
    if (value.p[0] != '"' || value.n < 3)
        return "must be a non-empty string";
    rbk_str s = rbk_json_unescape(&c->arena, rbk_json_unquote(value));
    if (s.p == NULL)
        return "is too long";
    *ret = s;
    return NULL;
}

#define TEXT(name, field)                                                                          \
    static const char *read_##name(rbk_admin_call *c, rbk_str value)                               \
    {                                                                                              \
        return read_text(c, value, &c->params.field);                                              \
    }
TEXT(job, job)
TEXT(receiver, receiver)
TEXT(url, url)
TEXT(callback, callback)
TEXT(after, after)
TEXT(method, filter.method)
TEXT(filter_receiver, filter.receiver)
TEXT(caller, filter.caller)

static const char *read_rpc_id(rbk_admin_call *c, rbk_str value)
{
    if (value.p[0] == '{' || value.p[0] == '[')
        return "must be a string, a number or null";
    c->params.filter.rpc_id = value;
    return NULL;
}

static const char *read_state(rbk_admin_call *c, rbk_str value)
{
    rbk_str name;
    if (read_text(c, value, &name) == NULL)
        for (int i = 1; i < RBK_JOB_STATE_N; i++)
            if (rbk_str_ieqz(name, rbk_job_state_name((rbk_job_state)i))) {
                c->params.filter.states |= 1u << i;
                return NULL;
            }
    return "must be a state, or a list of states: HELD, QUEUED, RUNNING, DUE, SENDING, "
           "DELIVERED, DEAD, CANCELLED";
}

static const char *read_states(rbk_admin_call *c, rbk_str value)
{
    if (value.p[0] != '[')
        return read_state(c, value);
    const char *p = value.p, *why = NULL;
    while (why == NULL && rbk_json_element(&p))
        why = read_state(c, rbk_json_value(&p));
    return why || c->params.filter.states ? why : "must not be an empty list";
}

static const char *read_time(rbk_admin_call *c, rbk_str value, rbk_wall_ms *ret)
{
    uint64_t seconds;
    rbk_str text;
    if (value.p[0] == '"' && read_text(c, value, &text) == NULL &&
        rbk_rfc3339_parse(text, ret) == 0)
        return NULL;
    if (rbk_str_u64(value, INT64_C(253402300799), &seconds) == 0) {
        *ret = (rbk_wall_ms)seconds * 1000;
        return NULL;
    }
    return "must be a time like \"2026-11-23T21:04:05Z\", or whole seconds since 1970";
}

static const char *read_from(rbk_admin_call *c, rbk_str value)
{
    return read_time(c, value, &c->params.filter.from);
}

static const char *read_to_time(rbk_admin_call *c, rbk_str value)
{
    return read_time(c, value, &c->params.filter.to);
}

static const char *read_limit(rbk_admin_call *c, rbk_str value)
{
    uint64_t n;
    if (rbk_str_u64(value, RBK_ADMIN_PAGE_MAX, &n) < 0 || n == 0)
        return "must be a number from 1 to 1000";
    c->params.limit = (size_t)n;
    return NULL;
}

static const char *read_cursor(rbk_admin_call *c, rbk_str value)
{
    uint64_t n;
    if (rbk_str_eqz(value, "null"))
        return NULL;
    if (value.p[0] != '"' || rbk_str_u64(rbk_json_unquote(value), INT64_MAX, &n) < 0)
        return "must be the cursor of an answer";
    c->params.cursor = (int64_t)n;
    return NULL;
}

static const char *read_all(rbk_admin_call *c, rbk_str value)
{
    if (!rbk_str_eqz(value, "true") && !rbk_str_eqz(value, "false"))
        return "must be true or false";
    c->params.all = value.p[0] == 't';
    return NULL;
}

static const param table[] = {
    {"job", RBK_ADMIN_GET | CHANGES, false, read_job},
    {"state", FILTERED, true, read_states},
    {"method", FILTERED, true, read_method},
    {"receiver", FILTERED, true, read_filter_receiver},
    {"receiver", RBK_ADMIN_HOLD, false, read_receiver},
    {"id", FILTERED, true, read_rpc_id},
    {"caller", FILTERED, true, read_caller},
    {"from", FILTERED, true, read_from},
    {"to", FILTERED & ~RBK_ADMIN_RETRY, true, read_to_time},
    {"to_time", RBK_ADMIN_RETRY, true, read_to_time},
    {"to", RBK_ADMIN_RETRY, false, read_callback},
    {"limit", FILTERED | RBK_ADMIN_RECEIVERS, false, read_limit},
    {"cursor", FILTERED, false, read_cursor},
    {"all", CHANGES, false, read_all},
    {"after", RBK_ADMIN_RECEIVERS, false, read_after},
    {"url", RBK_ADMIN_CHECK, false, read_url},
    {"caller", RBK_ADMIN_CHECK, false, read_caller},
};
enum { N_PARAMS = sizeof table / sizeof table[0] };

static int read_member(rbk_admin_call *c, unsigned method, rbk_str raw, rbk_str value,
                       unsigned *seen)
{
    rbk_str name = rbk_json_unescape(&c->arena, raw);
    if (name.p == NULL)
        return rbk_admin_refuse(c, raw, "is too long");
    for (size_t i = 0; i < N_PARAMS; i++) {
        if (!(table[i].methods & method) || !rbk_str_eqz(name, table[i].name))
            continue;
        if (*seen & 1u << i)
            return rbk_admin_refuse(c, name, "stands twice");
        *seen |= 1u << i;
        c->params.filtered = c->params.filtered || table[i].filter;
        const char *why = table[i].read(c, value);
        return why ? rbk_admin_refuse(c, name, why) : 0;
    }
    return rbk_admin_refuse(c, name, "is not a member of this method's params");
}

static int check_change(rbk_admin_call *c)
{
    const rbk_admin_params *p = &c->params;
    if (p->job.p && (p->filtered || p->all || p->cursor))
        return rbk_admin_refuse(c, RBK_STR("job"), "stands alone: a filter is for many jobs");
    if (p->all && p->filtered)
        return rbk_admin_refuse(c, RBK_STR("all"), "stands alone: a filter is given too");
    if (!p->job.p && !p->filtered && !p->all)
        return rbk_admin_refuse(c, RBK_STR("job"),
                                "is missing; or give a filter, or \"all\": true for every job");
    return 0;
}

static int check_needed(rbk_admin_call *c, unsigned method)
{
    const rbk_admin_params *p = &c->params;
    if (method == RBK_ADMIN_GET && p->job.p == NULL)
        return rbk_admin_refuse(c, RBK_STR("job"), "is missing");
    if (method == RBK_ADMIN_HOLD && p->receiver.p == NULL)
        return rbk_admin_refuse(c, RBK_STR("receiver"), "is missing");
    if (method == RBK_ADMIN_CHECK && p->url.p == NULL)
        return rbk_admin_refuse(c, RBK_STR("url"), "is missing");
    return method & CHANGES ? check_change(c) : 0;
}

int rbk_admin_read(rbk_admin_call *c, unsigned method, rbk_str text)
{
    unsigned seen = 0;
    c->params = (rbk_admin_params){.limit = method == RBK_ADMIN_LIST ? 100 : RBK_ADMIN_PAGE_MAX};
    if (text.p && text.p[0] != '{')
        return rbk_admin_refuse(c, RBK_STR("params"), "must be an object: members go by name");
    rbk_str copy = text.p ? rbk_arena_dup(&c->arena, text) : RBK_STR("{}");
    if (copy.p == NULL) {
        rbk_admin_fault(c, RBK_E_NOMEM);
        return RBK_E_NOMEM;
    }
    rbk_str name;
    int r = 0;
    for (const char *p = copy.p; r == 0 && rbk_json_member(&p, &name);) {
        rbk_str value = rbk_json_value(&p);
        r = read_member(c, method, name, value, &seen);
    }
    return r < 0 ? r : check_needed(c, method);
}
