/* SPDX-License-Identifier: Apache-2.0 */
/* method/worker_line.c - see worker_line.h. */
#include "method/worker_line.h"

#include "core/json.h"

/* --- The request --- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Tokens are kept apart by brackets, commas and colons: no blank is needed. A string has no raw
 * line break. */
static void add_compact(rbk_buf *b, rbk_str json)
{
    const char *p = json.p, *end = json.p + json.n, *from = p;
    bool quoted = false;
    for (; p < end; p++) {
        if (quoted && *p == '\\' && p + 1 < end) {
            p++;
        } else if (*p == '"') {
            quoted = !quoted;
        } else if (!quoted && is_blank(*p)) {
            rbk_buf_add(b, from, (size_t)(p - from));
            from = p + 1;
        }
    }
    rbk_buf_add(b, from, (size_t)(end - from));
}

void rbk_worker_write(rbk_buf *b, const rbk_worker_request *rq)
{
    rbk_buf_lit(b, "{\"jsonrpc\":\"2.0\",\"id\":");
    rbk_buf_add_u64(b, rq->id);
    rbk_buf_lit(b, ",\"method\":");
    rbk_buf_json_str(b, rq->method);
    if (rq->params.p) {
        rbk_buf_lit(b, ",\"params\":");
        add_compact(b, rq->params);
    }
    rbk_buf_lit(b, ",\"ringback\":{");
    if (rq->job)
        rbk_buf_addf(b, "\"job\":\"%s\",", rq->job);
    rbk_buf_addf(b, "\"run\":%u", rq->run);
    if (rq->deadline > 0)
        rbk_buf_addf(b, ",\"deadline\":%lld.%03d", (long long)(rq->deadline / 1000),
                     (int)(rq->deadline % 1000));
    rbk_buf_lit(b, "}}\n");
}

/* --- The response --- */

/* The members that count, as they stand in the line; absent where it has none. */
typedef struct members {
    rbk_str jsonrpc, id, result, error, method, params;
} members;

typedef struct slot {
    const char *name;
    rbk_str *value;
} slot;

/* The members of an object, each into its slot; others are passed over. False when one of them
 * stands twice. */
static bool take_members(const char *p, const slot *slots, size_t n)
{
    rbk_str name;
    while (rbk_json_member(&p, &name)) {
        rbk_str value = rbk_json_value(&p);
        for (size_t i = 0; i < n; i++) {
            if (!rbk_str_eqz(name, slots[i].name))
                continue;
            if (slots[i].value->p)
                return false;
            *slots[i].value = value;
        }
    }
    return true;
}

/* -?digits, within 64 bits. */
static bool read_i64(rbk_str s, int64_t *ret)
{
    bool minus = s.n > 0 && s.p[0] == '-';
    uint64_t v;
    if (rbk_str_u64((rbk_str){s.p + minus, s.n - minus}, INT64_MAX, &v) < 0)
        return false;
    *ret = minus ? -(int64_t)v : (int64_t)v;
    return true;
}

static bool is_string(rbk_str s)
{
    return s.n >= 2 && s.p[0] == '"';
}

static const char *read_error(rbk_str error, rbk_worker_line *ret)
{
    rbk_str code = RBK_STR_NONE, message = RBK_STR_NONE;
    const slot slots[] = {{"code", &code}, {"message", &message}, {"data", &ret->data}};
    if (error.p[0] != '{' || !take_members(error.p, slots, 3))
        return "its error is not an object with code and message";
    if (code.p == NULL || !read_i64(code, &ret->code))
        return "its error's code is not an integer";
    if (!is_string(message))
        return "its error's message is not a string";
    ret->message = rbk_json_unquote(message);
    return NULL;
}

/* What a worker tells by the way is no reason to kill it. */
static const char *read_progress(rbk_str params, rbk_worker_line *ret)
{
    rbk_str id = RBK_STR_NONE, value = RBK_STR_NONE, total = RBK_STR_NONE, message = RBK_STR_NONE;
    const slot slots[] = {{"id", &id}, {"value", &value}, {"total", &total}, {"message", &message}};
    if (params.p == NULL || params.p[0] != '{' || !take_members(params.p, slots, 4))
        return "its params are not an object with each member once";
    if (id.p == NULL || rbk_str_u64(id, UINT64_MAX, &ret->id) < 0)
        return "it has not the id of a request";
    if (value.p == NULL || !rbk_json_number(value, &ret->value))
        return "its value is not a number";
    if (total.p && !rbk_json_number(total, &ret->total))
        return "its total is not a number";
    if (message.p && !is_string(message))
        return "its message is not a string";
    if (message.p)
        ret->message = rbk_json_unquote(message);
    return NULL;
}

static const char *read_members(const members *m, rbk_worker_line *ret)
{
    if (m->jsonrpc.p && !rbk_str_eqz(m->jsonrpc, "\"2.0\""))
        return "its jsonrpc is not \"2.0\"";
    if (m->method.p) {
        ret->progress = rbk_str_eqz(m->method, "\"rpc.progress\"") && m->id.p == NULL;
        if (!ret->progress)
            return "it is a request, and no response";
        ret->fault = read_progress(m->params, ret);
        return NULL;
    }
    if (m->id.p == NULL || rbk_str_u64(m->id, UINT64_MAX, &ret->id) < 0)
        return "it has not the id of a request";
    if ((m->result.p == NULL) == (m->error.p == NULL))
        return "it has not exactly one of result and error";
    ret->result = m->result;
    return m->error.p ? read_error(m->error, ret) : NULL;
}

const char *rbk_worker_read(rbk_str line, rbk_worker_line *ret)
{
    rbk_json_top top;
    members m = {0};
    const slot slots[] = {{"jsonrpc", &m.jsonrpc}, {"id", &m.id}, {"result", &m.result},
                          {"error", &m.error}, {"method", &m.method},
                          {"params", &m.params}};
    *ret = (rbk_worker_line){0};
    int r = rbk_json_validate(line, NULL, &top);
    if (r == RBK_E_NOMEM)
        return "there is no memory to read it";
    if (r < 0 || !top.object)
        return "it is not a JSON object";
    if (!take_members(rbk_json_blanks(line.p), slots, sizeof slots / sizeof slots[0]))
        return "it has a member twice";
    return read_members(&m, ret);
}
