/* SPDX-License-Identifier: Apache-2.0 */
/* engine/discover_service.c - see discover_service.h. Types and ranges are those that
 * core/service.c checks; which parameters there are, its list says. */
#include "engine/discover_service.h"

#include "core/service.h"

typedef struct param {
    const char *name;
    const char *schema; /* without its braces; %s is the greatest timeout in seconds */
} param;

static const param params[] = {
    {"callback", "\"type\":\"string\",\"minLength\":1,\"maxLength\":2048,"
                 "\"description\":\"DSN that the response goes to. The call is acknowledged at once.\""},
    {"failureCallback", "\"type\":\"string\",\"minLength\":1,\"maxLength\":2048,"
                        "\"description\":\"DSN that an error response goes to instead.\""},
    {"timeout", "\"type\":\"number\",\"minimum\":0.1,\"maximum\":%s,"
                "\"description\":\"Seconds that one run of the method may take.\""},
    {"wait", "\"type\":\"number\",\"minimum\":0,\"maximum\":30,"
             "\"description\":\"Seconds in which a result is the answer itself.\""},
    {"delay", "\"type\":\"number\",\"minimum\":0,\"maximum\":2592000,"
              "\"description\":\"Seconds before which it is not run.\""},
    {"deadline", "\"type\":[\"string\",\"number\"],"
                 "\"description\":\"RFC 3339 time or unix seconds, after which nothing is run.\""},
    {"idempotencyKey", "\"type\":\"string\",\"minLength\":1,\"maxLength\":255,"
                       "\"description\":\"The same request under the same key is one job.\""},
    {"key", "\"type\":\"string\",\"minLength\":1,\"maxLength\":255,"
            "\"description\":\"Jobs of one key run and are delivered one after the other.\""},
    {"receipt", "\"type\":\"boolean\",\"description\":\"The job's id in the acknowledgement.\""},
    {"events", "\"type\":\"array\",\"items\":{\"enum\":[\"progress\"]},"
               "\"description\":\"Notifications that the callback gets too.\""},
    {"rayId", "\"type\":[\"string\",\"integer\"],\"pattern\":\"^[!-~]{1,128}$\","
              "\"description\":\"Correlation id, sent along as X-Request-Id.\""},
    {"ignoreCache", "\"type\":\"boolean\",\"description\":\"Has no effect.\""},
};

static const struct {
    const char *name;
    bool needs_callback;
} offered[] = {
#define X(name, bit, needs) {#name, needs},
    RBK_SVC_MAP(X)
#undef X
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* "3600", "90.5" */
static void add_seconds(rbk_buf *b, int64_t ms)
{
    rbk_buf_add_u64(b, (uint64_t)ms / 1000);
    if (ms % 1000)
        rbk_buf_addf(b, ".%03d", (int)(ms % 1000));
}

static void write_schema(rbk_buf *b, const param *p, int64_t max_timeout_ms)
{
    const char *hole = strstr(p->schema, "%s");
    rbk_buf_c(b, '"');
    rbk_buf_z(b, p->name);
    rbk_buf_lit(b, "\":{");
    if (hole) {
        rbk_buf_add(b, p->schema, (size_t)(hole - p->schema));
        add_seconds(b, max_timeout_ms);
        rbk_buf_z(b, hole + 2);
    } else {
        rbk_buf_z(b, p->schema);
    }
    rbk_buf_c(b, '}');
}

void rbk_discover_service(rbk_buf *b, int64_t max_timeout_ms)
{
    bool first = true;
    rbk_buf_lit(b, "\"schemas\":{\"ServiceParameters\":{\"type\":\"object\",\"additionalProperties\":false,"
                   "\"properties\":{");
    for (size_t i = 0; i < COUNT(params); i++) {
        rbk_buf_z(b, first ? "" : ",");
        write_schema(b, &params[i], max_timeout_ms);
        first = false;
    }
    rbk_buf_lit(b, "},\"dependencies\":{");
    first = true;
    for (size_t i = 0; i < COUNT(offered); i++) {
        if (!offered[i].needs_callback)
            continue;
        rbk_buf_addf(b, "%s\"%s\":[\"callback\"]", first ? "" : ",", offered[i].name);
        first = false;
    }
    rbk_buf_lit(b, "}}},\"contentDescriptors\":{\"ServiceParameters\":{\"name\":\"$rpc\",\"required\":false,"
                   "\"description\":\"For the server, not for the method: $rpc.callback among the params, "
                   "or $rpc with callback in it; either may stand in the request beside params too.\","
                   "\"schema\":{\"$ref\":\"#/components/schemas/ServiceParameters\"}}}");
}
