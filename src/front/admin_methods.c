/* SPDX-License-Identifier: Apache-2.0 */
/* front/admin_methods.c - the methods of the operators' side, one row each.
 *
 * A method reads its params, asks the engine, and is told on a thread of the engine, which
 * writes the answer and hands the call back to its loop. */
#include "front/admin_impl.h"

#include "core/envelope.h"
#include "engine/quotas.h"

/* --- What the engine tells --------------------------------------------------------------- */

static void write_cursor(rbk_buf *b, int64_t next)
{
    if (next == 0) {
        rbk_buf_lit(b, "\"cursor\":null");
        return;
    }
    rbk_buf_lit(b, "\"cursor\":\""); /* a number of that size is rounded by many readers */
    rbk_admin_write_i64(b, next);
    rbk_buf_c(b, '"');
}

static void on_jobs(void *user, int err, const rbk_job *jobs, int64_t next)
{
    rbk_admin_call *c = user;
    if (err < 0) {
        rbk_admin_fault(c, err);
        rbk_admin_answered(c);
        return;
    }
    rbk_admin_open_long(c);
    rbk_buf_lit(&c->out, "{\"jobs\":[");
    for (const rbk_job *job = jobs; job; job = job->next) {
        rbk_admin_write_job(&c->out, job, false);
        rbk_buf_z(&c->out, job->next ? "," : "");
    }
    rbk_buf_lit(&c->out, "],");
    write_cursor(&c->out, next);
    rbk_buf_lit(&c->out, "}}");
    rbk_admin_answered(c);
}

static void on_detail(void *user, const rbk_job *job, const rbk_attempt_note *notes, size_t n)
{
    rbk_admin_call *c = user;
    if (job == NULL) {
        rbk_admin_fault(c, RBK_E_NOTFOUND);
        rbk_admin_answered(c);
        return;
    }
    rbk_admin_open_long(c);
    rbk_admin_write_job(&c->out, job, true);
    if (rbk_buf_err(&c->out) == 0)
        c->out.n--; /* the attempts belong into the same object */
    rbk_buf_lit(&c->out, ",\"attempt_log\":");
    rbk_admin_write_notes(&c->out, notes, n);
    rbk_buf_lit(&c->out, "}}");
    rbk_admin_answered(c);
}

static void on_changed(void *user, const rbk_changed *changed)
{
    rbk_admin_call *c = user;
    if (changed->err == RBK_E_STATE)
        rbk_admin_refuse(c, RBK_STR("job"), "its state does not allow this");
    else if (changed->err < 0)
        rbk_admin_fault(c, changed->err);
    else {
        rbk_admin_open(c);
        rbk_buf_lit(&c->out, "{\"changed\":");
        rbk_buf_add_u64(&c->out, changed->changed);
        rbk_buf_lit(&c->out, ",\"skipped\":");
        rbk_buf_add_u64(&c->out, changed->skipped);
        rbk_buf_c(&c->out, ',');
        write_cursor(&c->out, changed->next);
        rbk_buf_lit(&c->out, "}}");
    }
    rbk_admin_answered(c);
}

static void on_receivers(void *user, const rbk_receiver_info *list, size_t n)
{
    rbk_admin_call *c = user;
    rbk_admin_open_long(c);
    rbk_buf_lit(&c->out, "{\"receivers\":[");
    for (size_t i = 0; i < n; i++) {
        rbk_buf_z(&c->out, i ? "," : "");
        rbk_admin_write_receiver(&c->out, &list[i]);
    }
    rbk_buf_lit(&c->out, "],\"after\":");
    if (n && n == c->params.limit)
        rbk_buf_json_str(&c->out, rbk_str_z(list[n - 1].name));
    else
        rbk_buf_lit(&c->out, "null");
    rbk_buf_lit(&c->out, "}}");
    rbk_admin_answered(c);
}

/* --- Methods: 0 when the engine will tell; else the answer was written ------------------- */

static int list_jobs(rbk_admin_call *c)
{
    const rbk_admin_params *p = &c->params;
    int r = rbk_engine_list(c->f->e, &p->filter, p->cursor, p->limit, on_jobs, c);
    if (r < 0)
        rbk_admin_fault(c, r);
    return r;
}

static int get_job(rbk_admin_call *c)
{
    int r = rbk_engine_get(c->f->e, c->params.job, on_detail, c);
    if (r == RBK_E_INVAL)
        return rbk_admin_refuse(c, RBK_STR("job"), "is no job id");
    if (r < 0)
        rbk_admin_fault(c, r);
    return r;
}

static int change_jobs(rbk_admin_call *c, rbk_change_kind kind)
{
    const rbk_admin_params *p = &c->params;
    rbk_change change = {.kind = kind, .id = p->job, .filter = &p->filter, .after = p->cursor,
                         .max = p->limit, .to = p->callback};
    rbk_error err = {0};
    int r = rbk_engine_change(c->f->e, &change, on_changed, c, &err);
    if (r == RBK_E_INVAL)
        return rbk_admin_refuse(c, RBK_STR("job"), "is no job id");
    if (r == RBK_E_PARAMS)
        return rbk_admin_refuse(c, RBK_STR("to"), err.text);
    if (r < 0)
        rbk_admin_fault(c, r);
    return r;
}

static int retry_jobs(rbk_admin_call *c)
{
    return change_jobs(c, RBK_CHANGE_RETRY);
}

static int cancel_jobs(rbk_admin_call *c)
{
    return change_jobs(c, RBK_CHANGE_CANCEL);
}

static int purge_jobs(rbk_admin_call *c)
{
    return change_jobs(c, RBK_CHANGE_PURGE);
}

static int list_receivers(rbk_admin_call *c)
{
    const rbk_admin_params *p = &c->params;
    int r = c->f->ending ? RBK_E_BUSY
                         : rbk_engine_receivers(c->f->e, p->after, p->limit, on_receivers, c);
    if (r == RBK_E_INVAL)
        return rbk_admin_refuse(c, RBK_STR("after"), "is too long");
    if (r < 0)
        rbk_admin_fault(c, r);
    return r;
}

static int hold_receiver(rbk_admin_call *c, bool hold)
{
    int r = c->f->ending ? RBK_E_BUSY : rbk_engine_hold_receiver(c->f->e, c->params.receiver, hold,
                                                                 on_changed, c);
    if (r == RBK_E_INVAL)
        return rbk_admin_refuse(c, RBK_STR("receiver"),
                                "must be a receiver like https://host:port, as lists show it");
    if (r < 0)
        rbk_admin_fault(c, r);
    return r;
}

static int pause_receiver(rbk_admin_call *c)
{
    return hold_receiver(c, true);
}

static int resume_receiver(rbk_admin_call *c)
{
    return hold_receiver(c, false);
}

/* `hosts` are the caller's own, besides what the policy says; NULL: nobody's. */
static void tell_verdict(rbk_admin_call *c, const rbk_hosts *hosts)
{
    rbk_str url = c->params.url;
    rbk_dsn dsn;
    rbk_netpolicy *policy = rbk_engine_policy(c->f->e);
    rbk_dsn_fault fault = rbk_netpolicy_check_for(policy, hosts, url, &dsn);
    rbk_admin_open(c);
    if (fault == RBK_DSN_OK) {
        rbk_buf_lit(&c->out, "{\"accepted\":true,\"receiver\":");
        rbk_buf_json_str(&c->out, rbk_str_z(dsn.receiver));
    } else {
        char reason[160];
        rbk_dsn_reason(fault, url, rbk_netpolicy_schemes(policy), reason);
        rbk_buf_lit(&c->out, "{\"accepted\":false,\"reason\":");
        rbk_buf_json_str(&c->out, rbk_str_z(reason));
        rbk_buf_lit(&c->out, ",\"check\":");
        rbk_buf_json_str(&c->out, rbk_str_z(rbk_dsn_check(fault)));
    }
    rbk_buf_lit(&c->out, "}}");
    rbk_netpolicy_unref(policy);
}

static int check_callback(rbk_admin_call *c)
{
    rbk_str name = c->params.filter.caller;
    rbk_callers *callers = rbk_engine_callers(c->f->e);
    const rbk_caller *who = callers && name.p ? rbk_callers_find(callers, name) : NULL;
    if (name.p && who == NULL)
        rbk_admin_refuse(c, RBK_STR("caller"), "is not in the tokens file");
    else
        tell_verdict(c, who ? &who->hosts : NULL);
    rbk_callers_unref(callers);
    return 1;
}

/* Those who have most pending. */
static void write_callers(rbk_admin_call *c)
{
    rbk_quota_use use[100];
    size_t n = rbk_engine_quotas(c->f->e, use, sizeof use / sizeof use[0]);
    rbk_buf_lit(&c->out, ",\"callers\":[");
    for (size_t i = 0; i < n; i++) {
        rbk_buf_str(&c->out, i ? RBK_STR(",{\"caller\":") : RBK_STR("{\"caller\":"));
        rbk_buf_json_str(&c->out, rbk_str_z(use[i].caller));
        rbk_buf_addf(&c->out, ",\"pending\":%lld,\"pending_bytes\":%lld}", (long long)use[i].jobs,
                     (long long)use[i].bytes);
    }
    rbk_buf_c(&c->out, ']');
}

static int tell_stats(rbk_admin_call *c)
{
    rbk_metrics m;
    rbk_front_metrics front;
    rbk_engine_metrics(c->f->e, &m);
    if (c->f->front)
        rbk_http_front_metrics(c->f->front, &front);
    rbk_admin_open(c);
    rbk_admin_write_stats(&c->out, &m, c->f->front ? &front : NULL);
    c->out.n--; /* one member more, before its end */
    write_callers(c);
    rbk_buf_lit(&c->out, "}}");
    return 1;
}

static const struct {
    const char *name;
    unsigned params;
    int (*run)(rbk_admin_call *c);
} methods[] = {
    {"rpc.jobs.list", RBK_ADMIN_LIST, list_jobs},
    {"rpc.jobs.get", RBK_ADMIN_GET, get_job},
    {"rpc.jobs.retry", RBK_ADMIN_RETRY, retry_jobs},
    {"rpc.jobs.cancel", RBK_ADMIN_CANCEL, cancel_jobs},
    {"rpc.jobs.purge", RBK_ADMIN_PURGE, purge_jobs},
    {"rpc.receivers.list", RBK_ADMIN_RECEIVERS, list_receivers},
    {"rpc.receivers.pause", RBK_ADMIN_HOLD, pause_receiver},
    {"rpc.receivers.resume", RBK_ADMIN_HOLD, resume_receiver},
    {"rpc.callback.check", RBK_ADMIN_CHECK, check_callback},
    {"rpc.stats", RBK_ADMIN_STATS, tell_stats},
};

bool rbk_admin_begin(rbk_admin_call *c)
{
    const rbk_rpc_item *item = &c->doc->items[c->i];
    if (item->err) {
        rbk_write_fault(&c->out, rbk_admin_to(c), item->err, item->err_data);
        return false;
    }
    if (item->svc.set) { /* nothing here becomes a job */
        rbk_admin_refuse(c, RBK_STR("$rpc"), "service parameters have no meaning here");
        return false;
    }
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (rbk_str_eqz(item->method, methods[i].name))
            return rbk_admin_read(c, methods[i].params, item->params) == 0 &&
                   methods[i].run(c) == 0;
    rbk_admin_fault(c, RBK_E_METHOD);
    return false;
}
