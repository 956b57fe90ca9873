/* SPDX-License-Identifier: Apache-2.0 */
/* engine/builtin.c - see builtin.h: one row for each method, its params by name, and jobs as
 * callers see them.
 *
 * A caller sees its own jobs, and of a receiver no more than the class of its last status: never
 * an address, a reason in terms of the network, or who else there is. */
#include "engine/builtin.h"

#include "base/clock.h"
#include "core/envelope.h"
#include "core/json.h"
#include "core/ws_session.h"
#include "engine/change.h"
#include "engine/progress.h"
#include "engine/watch.h"

#include <stdlib.h>
#include <yyjson.h>

enum { WAIT_MAX_MS = 30000 };

typedef struct asked {
    rbk_engine *e;
    rbk_exchange *ex;
    uint32_t item;
    rbk_str caller;
    const rbk_caller *rights; /* NULL: everything is allowed */
    rbk_str session; /* of the websocket; absent: none */
    rbk_id job;
    int64_t timeout_ms;
} asked;

/* --- Jobs as their callers see them ----------------------------------------------------------- */

static void write_id(rbk_buf *b, const rbk_job *job)
{
    char id[RBK_ID_TEXT + 1];
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, id);
    rbk_buf_lit(b, "{\"id\":\"");
    rbk_buf_z(b, id);
    rbk_buf_lit(b, "\",\"state\":\"");
    rbk_buf_z(b, rbk_job_state_name((rbk_job_state)job->state));
    rbk_buf_c(b, '"');
}

static void write_time(rbk_buf *b, const char *name, rbk_wall_ms t)
{
    char text[25];
    if (t <= 0)
        return;
    rbk_wall_format(t, text);
    rbk_buf_addf(b, ",\"%s\":\"%s\"", name, text);
}

static void write_text(rbk_buf *b, const char *name, rbk_str s)
{
    if (s.p == NULL)
        return;
    rbk_buf_addf(b, ",\"%s\":", name);
    rbk_buf_json_str(b, s);
}

static void write_attempts(rbk_buf *b, const rbk_job *job)
{
    rbk_buf_addf(b, ",\"attempts\":%u", (unsigned)job->attempts);
    if (job->last_status >= 100 && job->last_status < 1000)
        rbk_buf_addf(b, ",\"status\":\"%dxx\"", (int)(job->last_status / 100));
    if (job->reason.n && job->state != RBK_JOB_DELIVERED)
        rbk_buf_lit(b, ",\"error\":\"delivery failed\"");
}

static void write_progress(rbk_buf *b, rbk_engine *e, const rbk_job *job)
{
    char id[RBK_ID_TEXT + 1];
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, id);
    rbk_progress_write(e, id, b);
}

static void write_job(rbk_buf *b, rbk_engine *e, const rbk_job *job)
{
    write_id(b, job);
    write_text(b, "method", job->method);
    write_time(b, "created", job->created);
    if (!rbk_job_is_terminal((rbk_job_state)job->state))
        write_time(b, "due", job->due);
    rbk_buf_addf(b, ",\"runs\":%u", (unsigned)job->runs);
    write_attempts(b, job);
    write_text(b, "callback", rbk_session_is_name(job->callback) ? RBK_STR("ws:") : job->callback);
    write_progress(b, e, job);
    if (job->response.n) {
        rbk_buf_lit(b, ",\"response\":");
        rbk_buf_str(b, job->response);
    }
    rbk_buf_c(b, '}');
}

/* --- Methods: 0 when the member will be answered, else the error that it is answered with ------- */

static int watch_job(asked *a, int64_t wait_ms)
{
    return rbk_watch(a->e->watches, &(rbk_watch_spec){.ex = a->ex, .item = a->item, .id = a->job,
                                                      .caller = a->caller, .wait_ms = wait_ms,
                                                      .write = write_job});
}

static int get_job(asked *a)
{
    return watch_job(a, 0);
}

static int wait_for_job(asked *a)
{
    return watch_job(a, a->timeout_ms);
}

static int discover(asked *a)
{
    const rbk_rpc_item *it = rbk_exchange_item(a->ex, a->item);
    rbk_buf b = RBK_BUF(RBK_DISCOVER_MAX), out = RBK_BUF(RBK_DISCOVER_MAX + it->id.n + 256);
    int r = it->notification ? 0 : rbk_discover_write(a->e->discover, a->e, a->rights, &b);
    if (r == 0 && it->notification) {
        rbk_exchange_silent(a->ex, a->item);
    } else if (r == 0) {
        out.err = b.err;
        rbk_write_result(&out, (rbk_to){it->id, it->versioned}, rbk_buf_view(&b));
        rbk_exchange_answer(a->ex, a->item, &out);
    }
    rbk_buf_free(&b);
    rbk_buf_free(&out);
    return r;
}

/* A cancel under way. */
typedef struct cancelling {
    rbk_exchange *ex;
    uint32_t item;
    rbk_id job;
} cancelling;

static void answer_state(const cancelling *c, uint8_t state)
{
    const rbk_rpc_item *it = rbk_exchange_item(c->ex, c->item);
    rbk_buf b = RBK_BUF(256), out = RBK_BUF(it->id.n + 512);
    if (it->notification) {
        rbk_exchange_silent(c->ex, c->item);
        return;
    }
    write_id(&b, &(rbk_job){.seq = (int64_t)c->job.seq, .rnd = (int64_t)c->job.rnd, .state = state});
    rbk_buf_c(&b, '}');
    out.err = b.err;
    rbk_write_result(&out, (rbk_to){it->id, it->versioned}, rbk_buf_view(&b));
    rbk_exchange_answer(c->ex, c->item, &out);
    rbk_buf_free(&b);
    rbk_buf_free(&out);
}

static void on_cancelled(void *user, const rbk_changed *changed)
{
    cancelling *c = user;
    if (changed->err == RBK_E_STATE)
        rbk_exchange_refuse(c->ex, c->item, "id", "the job has ended");
    else if (changed->err < 0)
        rbk_exchange_fault(c->ex, c->item, changed->err, RBK_STR_NONE);
    else
        answer_state(c, changed->state);
    rbk_exchange_unref(c->ex);
    free(c);
}

static int cancel_job(asked *a)
{
    char id[RBK_ID_TEXT + 1];
    cancelling *c = malloc(sizeof *c);
    if (c == NULL)
        return RBK_E_NOMEM;
    *c = (cancelling){rbk_exchange_ref(a->ex), a->item, a->job};
    rbk_id_format(a->job, id);
    rbk_change change = {.kind = RBK_CHANGE_CANCEL, .id = rbk_str_z(id), .owned = true,
                         .owner = a->caller};
    rbk_error err = {0};
    int r = rbk_engine_change(a->e, &change, on_cancelled, c, &err);
    if (r < 0) {
        rbk_exchange_unref(c->ex);
        free(c);
    }
    return r;
}

/* --- Acknowledgements of what came over a websocket --------------------------------------------------- */

static void log_ignored(rbk_engine *e, rbk_id job, int err)
{
    char id[RBK_ID_TEXT + 1];
    if (RBK_LOG(e)->level > RBK_DEBUG)
        return;
    rbk_id_format(job, id);
    rbk_event(RBK_LOG(e), RBK_DEBUG, "ack.ignored", RBK_FZ("job", id), RBK_FZ("error", rbk_err_name(err)));
}

static void answer_true(const cancelling *c)
{
    const rbk_rpc_item *it = rbk_exchange_item(c->ex, c->item);
    rbk_buf out = RBK_BUF(it->id.n + 64);
    rbk_write_result(&out, (rbk_to){it->id, it->versioned}, RBK_STR("true"));
    rbk_exchange_answer(c->ex, c->item, &out);
    rbk_buf_free(&out);
}

static void on_acknowledged(void *user, const rbk_changed *changed)
{
    cancelling *c = user;
    bool silent = rbk_exchange_item(c->ex, c->item)->notification;
    int err = changed->err == RBK_E_STATE ? RBK_E_NOTFOUND : changed->err;
    if (silent && err < 0)
        log_ignored(rbk_exchange_engine(c->ex), c->job, err);
    if (silent)
        rbk_exchange_silent(c->ex, c->item);
    else if (err < 0)
        rbk_exchange_fault(c->ex, c->item, err, RBK_STR_NONE);
    else
        answer_true(c);
    rbk_exchange_unref(c->ex);
    free(c);
}

static int acknowledge(asked *a)
{
    bool silent = rbk_exchange_item(a->ex, a->item)->notification;
    cancelling *c = a->session.n ? malloc(sizeof *c) : NULL;
    int r = a->session.n == 0 ? RBK_E_NOTFOUND : c ? 0 : RBK_E_NOMEM;
    if (r == 0) {
        *c = (cancelling){rbk_exchange_ref(a->ex), a->item, a->job};
        r = rbk_engine_ack(a->e, a->session, a->job, silent, on_acknowledged, c);
        if (r < 0)
            rbk_exchange_unref(a->ex);
    }
    if (r == 0)
        return 0;
    free(c);
    if (!silent)
        return r;
    log_ignored(a->e, a->job, r);
    rbk_exchange_silent(a->ex, a->item);
    return 0;
}

/* --- Params ------------------------------------------------------------------------------------- */

/* NULL, or why the value is refused. */
static const char *read_job(asked *a, rbk_str value)
{
    if (value.p[0] != '"')
        return "must be a string";
    return rbk_id_parse(rbk_json_unquote(value), &a->job) < 0 ? "is no job id" : NULL;
}

static const char *read_timeout(asked *a, rbk_str value)
{
    yyjson_val v;
    bool number = value.p[0] == '-' || (value.p[0] >= '0' && value.p[0] <= '9');
    double s = number && yyjson_read_number(value.p, &v, 0, NULL, NULL) ? yyjson_get_num(&v) : -1;
    if (!(s >= 0 && s <= WAIT_MAX_MS / 1000))
        return "must be a number of seconds from 0 to 30";
    a->timeout_ms = (int64_t)(s * 1000 + 0.5);
    return NULL;
}

enum { JOB = 1, TIMEOUT = 2 };

static const struct {
    const char *name;
    unsigned bit;
    const char *(*read)(asked *a, rbk_str value);
} params[] = {
    {"id", JOB, read_job},
    {"timeout", TIMEOUT, read_timeout},
};

static const struct {
    const char *name;
    unsigned takes, needs;
    int (*run)(asked *a);
} methods[] = {
    {"rpc.discover", 0, 0, discover},
    {"rpc.job.get", JOB, JOB, get_job},
    {"rpc.job.ack", JOB, JOB, acknowledge},
    {"rpc.job.cancel", JOB, JOB, cancel_job},
    {"rpc.job.wait", JOB | TIMEOUT, JOB, wait_for_job},
};

/* One member. NULL, or why it is refused. */
static const char *read_member(asked *a, size_t method, unsigned *seen, rbk_str name, rbk_str value)
{
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) {
        if (!(methods[method].takes & params[i].bit) || !rbk_str_eqz(name, params[i].name))
            continue;
        if (*seen & params[i].bit)
            return "given twice";
        *seen |= params[i].bit;
        return params[i].read(a, value);
    }
    return "unknown parameter";
}

/* False: the member is refused. */
static bool read_params(asked *a, size_t method, rbk_str text)
{
    unsigned seen = 0;
    rbk_str name;
    const char *p = text.p ? text.p : "{}";
    if (*p != '{') {
        rbk_exchange_refuse(a->ex, a->item, "params", "must be an object");
        return false;
    }
    while (rbk_json_member(&p, &name)) {
        const char *why = read_member(a, method, &seen, name, rbk_json_value(&p));
        if (why) {
            rbk_exchange_refuse_member(a->ex, a->item, name, why);
            return false;
        }
    }
    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++)
        if (methods[method].needs & ~seen & params[i].bit) {
            rbk_exchange_refuse(a->ex, a->item, params[i].name, "is required");
            return false;
        }
    return true;
}

/* --- Each member ---------------------------------------------------------------------------------- */

static void run(asked *a, size_t method, const rbk_rpc_item *it)
{
    if (it->svc.set & RBK_SVC_BIT(callback)) {
        rbk_exchange_refuse(a->ex, a->item, "$rpc.callback",
                            "this method is answered at once, never by a callback");
        return;
    }
    int r = read_params(a, method, it->params) ? methods[method].run(a) : 0;
    if (r < 0)
        rbk_exchange_fault(a->ex, a->item, r, RBK_STR_NONE);
}

bool rbk_builtin(rbk_engine *e, rbk_exchange *ex, uint32_t item, const rbk_asker *who)
{
    const rbk_rpc_item *it = rbk_exchange_item(ex, item);
    if (!rbk_str_starts(it->method, RBK_STR("rpc.")))
        return false;
    asked a = {.e = e, .ex = ex, .item = item, .caller = who->name, .rights = who->caller,
               .session = who->session, .timeout_ms = WAIT_MAX_MS};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (rbk_str_eqz(it->method, methods[i].name)) {
            run(&a, i, it);
            return true;
        }
    return false;
}

/* --- What they say of themselves ------------------------------------------------------------------ */

#define ID "\"id\":{\"type\":\"string\",\"description\":\"The job's id.\"}"
#define ONE_ID "{\"type\":\"object\",\"properties\":{" ID "},\"required\":[\"id\"],\"additionalProperties\":false}"
#define SHOWN                                                                                      \
    "{\"type\":\"object\",\"properties\":{" ID ",\"state\":{\"type\":\"string\"},"                     \
    "\"method\":{\"type\":\"string\"},\"created\":{\"type\":\"string\",\"format\":\"date-time\"},"      \
    "\"due\":{\"type\":\"string\",\"format\":\"date-time\"},\"runs\":{\"type\":\"integer\"},"           \
    "\"attempts\":{\"type\":\"integer\"},\"status\":{\"type\":\"string\"},"                            \
    "\"error\":{\"type\":\"string\"},\"callback\":{\"type\":\"string\"},"                              \
    "\"response\":{\"type\":\"object\"}},\"required\":[\"id\",\"state\",\"runs\",\"attempts\"]}"

rbk_discover *rbk_builtin_discover(void)
{
    static const rbk_discover_own own[] = {
        {"rpc.discover", "This document.", "{\"type\":\"object\",\"additionalProperties\":false}",
         "{\"type\":\"object\"}"},
        {"rpc.job.ack", "The response that came over this websocket is there: the job is delivered.", ONE_ID,
         "{\"const\":true}"},
        {"rpc.job.cancel", "Cancels a job of the caller.", ONE_ID,
         "{\"type\":\"object\",\"properties\":{" ID ",\"state\":{\"enum\":[\"DUE\",\"CANCELLED\"]}}}"},
        {"rpc.job.get", "What has become of a job of the caller.", ONE_ID, SHOWN},
        {"rpc.job.wait", "The same, once the job has its response, or the time is up.",
         "{\"type\":\"object\",\"properties\":{" ID ",\"timeout\":{\"type\":\"number\",\"minimum\":0,"
         "\"maximum\":30,\"default\":30,\"description\":\"Seconds.\"}},\"required\":[\"id\"],"
         "\"additionalProperties\":false}", SHOWN},
    };
    return rbk_discover_new(own, sizeof own / sizeof own[0]);
}
