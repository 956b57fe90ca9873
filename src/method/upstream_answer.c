/* SPDX-License-Identifier: Apache-2.0 */
/* method/upstream_answer.c - see upstream_answer.h.
 *
 * One JSON-RPC response object, and nothing that two readers could take for two things: no batch,
 * no member twice, exactly one of result and error. "jsonrpc" may be left out, as in requests
 * to ringback; other members are skipped. */
#include "method/upstream_answer.h"

#include "core/json.h"
#include "core/rpc.h"

#include <errno.h>
#include <stdlib.h>

enum { VERSION, ID, RESULT, ERROR, CODE, MESSAGE, DATA, N_NAMES };

static const char *const names[N_NAMES] = {"jsonrpc", "id",      "result", "error",
                                           "code",    "message", "data"};

/* Values of the members in `names`; absent ones have no `p`. */
typedef struct members {
    rbk_str of[N_NAMES];
    bool twice;
} members;

/* `p` stands on the object. */
static void read_members(const char *p, rbk_arena *mem, members *ret)
{
    rbk_str name;
    *ret = (members){0};
    while (rbk_json_member(&p, &name)) {
        rbk_str value = rbk_json_value(&p);
        rbk_str plain = rbk_json_unescape(mem, name);
        for (int i = 0; i < N_NAMES; i++) {
            if (!rbk_str_eqz(plain, names[i]))
                continue;
            ret->twice = ret->twice || ret->of[i].p;
            ret->of[i] = value;
        }
    }
}

static bool is_string(rbk_str value)
{
    return value.n && value.p[0] == '"';
}

static bool is_number(rbk_str value)
{
    return value.n && (value.p[0] == '-' || (value.p[0] >= '0' && value.p[0] <= '9'));
}

static bool to_double(rbk_arena *mem, rbk_str s, double *ret)
{
    rbk_str z = rbk_arena_dup(mem, s);
    if (z.p == NULL)
        return false;
    *ret = strtod(z.p, NULL);
    return true;
}

/* The same JSON value, however it is spelt: a server that reads 1.0 may well write 1. */
static bool is_same_id(rbk_arena *mem, rbk_str a, rbk_str b)
{
    double x, y;
    if (rbk_str_eq(a, b))
        return true;
    if (is_string(a) && is_string(b)) {
        rbk_str s = rbk_json_unescape(mem, rbk_json_unquote(a));
        rbk_str t = rbk_json_unescape(mem, rbk_json_unquote(b));
        return s.p && t.p && rbk_str_eq(s, t);
    }
    return is_number(a) && is_number(b) && to_double(mem, a, &x) && to_double(mem, b, &y) && x == y;
}

/* An integer of 64 bits, without a fraction or an exponent. */
static bool read_code(rbk_arena *mem, rbk_str s, int64_t *ret)
{
    rbk_str z = is_number(s) ? rbk_arena_dup(mem, s) : RBK_STR_NONE;
    char *end;
    if (z.p == NULL)
        return false;
    errno = 0;
    long long v = strtoll(z.p, &end, 10);
    *ret = v;
    return errno == 0 && *end == 0;
}

static const char *read_error(rbk_str error, rbk_upstream_answer *ret)
{
    members m;
    if (error.p[0] != '{')
        return "its error is no object";
    read_members(error.p, &ret->mem, &m);
    if (m.twice)
        return "a member of its error stands twice";
    if (!read_code(&ret->mem, m.of[CODE], &ret->code))
        return "its error has no code";
    if (!is_string(m.of[MESSAGE]))
        return "its error has no message";
    rbk_str message = rbk_json_unescape(&ret->mem, rbk_json_unquote(m.of[MESSAGE]));
    message = message.p ? rbk_arena_dup(&ret->mem, message) : message;
    rbk_str data = m.of[DATA].p ? rbk_arena_dup(&ret->mem, m.of[DATA]) : RBK_STR_NONE;
    if (message.p == NULL || (m.of[DATA].p && data.p == NULL))
        return "out of memory";
    ret->message = message.p;
    ret->data = data.p;
    ret->kind = RBK_UPSTREAM_ERROR;
    return NULL;
}

static const char *read_body(rbk_str body, rbk_str id, rbk_upstream_answer *ret)
{
    rbk_json_top top;
    members m;
    int r = rbk_json_validate(body, NULL, &top);
    if (r < 0)
        return r == RBK_E_NOMEM ? "out of memory" : "its answer is not JSON";
    if (top.array)
        return "it answered with a batch";
    if (!top.object)
        return "its answer is no object";
    read_members(rbk_json_blanks(body.p), &ret->mem, &m);
    if (m.twice)
        return "a member of its answer stands twice";
    if (m.of[VERSION].p && !rbk_str_eqz(m.of[VERSION], "\"2.0\""))
        return "its answer is not of JSON-RPC 2.0";
    if ((m.of[RESULT].p != NULL) == (m.of[ERROR].p != NULL))
        return m.of[RESULT].p ? "its answer has a result and an error"
                              : "its answer has neither a result nor an error";
    bool null_id = m.of[ERROR].p && rbk_str_eqz(m.of[ID], "null");
    if (m.of[ID].p == NULL || (!null_id && !is_same_id(&ret->mem, m.of[ID], id)))
        return "its answer has another id";
    if (m.of[ERROR].p)
        return read_error(m.of[ERROR], ret);
    ret->result = m.of[RESULT];
    ret->kind = RBK_UPSTREAM_RESULT;
    return NULL;
}

void rbk_upstream_read(rbk_str body, rbk_str id, rbk_upstream_answer *ret)
{
    *ret = (rbk_upstream_answer){.mem = RBK_ARENA(4 * (body.n + id.n) + 4096)};
    ret->why = read_body(body, id, ret);
    if (ret->why)
        ret->kind = RBK_UPSTREAM_BROKEN;
}

rbk_str rbk_upstream_location_host(rbk_str location)
{
    const char *slashes = location.n ? memmem(location.p, location.n, "//", 2) : NULL;
    if (slashes == NULL)
        return RBK_STR("");
    rbk_str host = {slashes + 2, 0};
    size_t room = location.n - (size_t)(host.p - location.p);
    while (host.n < room && !memchr("/?#", host.p[host.n], 3))
        host.n++;
    const char *at = host.n ? memrchr(host.p, '@', host.n) : NULL;
    if (at) {
        host.n -= (size_t)(at + 1 - host.p);
        host.p = at + 1;
    }
    return host;
}
