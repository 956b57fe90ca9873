/* SPDX-License-Identifier: Apache-2.0 */
/* engine/call.c - EXECUTE's half of a call: its answer, given once.
 *
 * The answer of a job is written as the response object that the receiver will get,
 * and goes to the store before anything is sent. Any thread. */
#include "engine/call.h"

#include "base/clock.h"
#include "core/envelope.h"
#include "engine/execute.h"
#include "engine/lanes.h"
#include "engine/progress.h"
#include "engine/reaper.h"
#include "engine/runs.h"
#include "engine/signer.h"
#include "engine/store_thread.h"

#include <stdlib.h>

enum { OPEN, ANSWERED, EXPIRED };
enum { ENVELOPE_ROOM = 512, RETRY_RUN_MS = 1000 };

static rbk_call *new_call(rbk_engine *e, const rbk_method_entry *method)
{
    rbk_call *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->e = e;
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    c->method = method;
    c->run = 1;
    int64_t ms = atomic_load_explicit(&method->timeout_ms, memory_order_relaxed);
    c->timeout_ms = ms ? ms : e->conf.method_ms;
    c->pool = method->index;
    c->once = atomic_load_explicit(&method->once, memory_order_relaxed);
    atomic_init(&c->holders, 1);
    atomic_init(&c->refs, 1);
    atomic_init(&c->state, OPEN);
    return c;
}

rbk_call *rbk_call_new_sync(rbk_engine *e, rbk_exchange *ex, uint32_t item,
                            const rbk_method_entry *method)
{
    rbk_call *c = new_call(e, method);
    if (c == NULL)
        return NULL;
    const rbk_rpc_item *it = rbk_exchange_item(ex, item);
    c->ex = rbk_exchange_ref(ex);
    c->item = item;
    c->name = it->method;
    c->params = it->params;
    if (it->svc.timeout_ms)
        c->timeout_ms = it->svc.timeout_ms;
    c->not_after = it->svc.deadline;
    return c;
}

/* What is needed to deliver the answer: all of the job but its params, with the lane of its
 * receiver. The lane of the receiver of errors, where that is another, lies in mem[2]. */
static rbk_job *copy_for_answer(const rbk_job *job)
{
    char lane[RBK_LANE_MAX + 1];
    rbk_send_lane(job->callback, lane);
    rbk_job view = *job;
    view.params = RBK_STR_NONE;
    view.lane = rbk_str_z(lane);
    rbk_job *copy = rbk_job_copy(&view);
    if (copy == NULL || job->failure_callback.p == NULL)
        return copy;
    rbk_send_lane(job->failure_callback, lane);
    copy->mem[2] = strdup(lane);
    if (copy->mem[2])
        return copy;
    rbk_job_free(copy);
    return NULL;
}

/* The response is an error: another receiver may be meant for it. */
static void divert(rbk_ticket *t)
{
    if (t->job->failure_callback.p == NULL)
        return;
    t->job->callback = t->job->failure_callback;
    t->job->lane = rbk_str_z(t->job->mem[2]);
    t->divert = true;
}

rbk_call *rbk_call_new_job(rbk_engine *e, rbk_ticket *t)
{
    rbk_job *answer = copy_for_answer(t->job);
    rbk_call *c = answer ? new_call(e, t->method) : NULL;
    if (c == NULL) {
        rbk_job_free(answer);
        return NULL;
    }
    c->request = t->job;
    c->ticket = t;
    t->job = answer;
    c->name = c->request->method;
    c->params = c->request->params;
    c->run = c->request->runs + 1;
    if (c->request->timeout_ms)
        c->timeout_ms = c->request->timeout_ms;
    c->not_after = c->request->deadline;
    rbk_id_format((rbk_id){(uint64_t)answer->seq, (uint64_t)answer->rnd}, c->job_text);
    return c;
}

/* A method that did not do its part: its caller learns -32603, its author why. */
static void log_fault(const rbk_call *c, const char *why)
{
    rbk_event(RBK_LOG(c->e), RBK_WARN, "method.fault", RBK_FS("method", c->name),
              RBK_FZ("job", c->request ? c->job_text : ""), RBK_FZ("why", why));
}

rbk_call *rbk_call_ref(rbk_call *c)
{
    atomic_fetch_add_explicit(&c->holders, 1, memory_order_relaxed);
    return c;
}

void rbk_call_unref(rbk_call *c)
{
    if (c == NULL || atomic_fetch_sub_explicit(&c->holders, 1, memory_order_acq_rel) != 1)
        return;
    /* Nobody can answer any more. Where nobody waits either, letting go is right. */
    bool gone = rbk_call_cancelled(c);
    if (atomic_load(&c->state) == OPEN && rbk_call_fail(c, RBK_E_INTERNAL) && !gone)
        log_fault(c, "it let go of the call without an answer");
    if (c->counted)
        rbk_execute_left(c->e->execute, c->pool);
    rbk_call_release(c);
}

void rbk_call_keep(rbk_call *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

void rbk_call_release(rbk_call *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    rbk_report_end(c);
    rbk_call_params_free(c);
    rbk_json_free(c->json);
    rbk_buf_free(&c->headers);
    rbk_handler_unref(c->handler);
    rbk_job_free(c->request);
    rbk_exchange_unref(c->ex);
    rbk_engine_unref(c->e);
    free(c);
}

/* --- The answer --------------------------------------------------------------- */

static bool take_answer(rbk_call *c, int state)
{
    int open = OPEN;
    if (atomic_compare_exchange_strong(&c->state, &open, state))
        return true;
    if (open == EXPIRED && state == ANSWERED)
        atomic_fetch_add(&c->e->late, 1);
    return false;
}

static rbk_to to_whom(const rbk_call *c)
{
    if (c->ex) {
        const rbk_rpc_item *it = rbk_exchange_item(c->ex, c->item);
        return (rbk_to){it->id, it->versioned};
    }
    return (rbk_to){c->request->rpc_id, (c->request->flags & RBK_JOB_VERSIONED) != 0};
}

/* Back to its lane in the store, to run once more in a while: what is left when there
 * is no memory for the answer. */
static void park_to_run_again(const rbk_engine *e, rbk_ticket *t, const rbk_method_entry *method)
{
    rbk_ticket_park(t, rbk_engine_now(e) + RETRY_RUN_MS);
    t->job->lane = method->lane;
}

/* A job of which nothing is sent ends when it has run, or is cancelled. */
static void end_silent(rbk_ticket *t, bool cancelled)
{
    if (!cancelled) {
        rbk_ticket_move(t, RBK_EV_DONE, RBK_OP_DONE);
        return;
    }
    rbk_ticket_move(t, RBK_EV_CANCEL, RBK_OP_DONE);
    uint8_t from = t->from;
    rbk_ticket_move(t, RBK_EV_CANCEL, RBK_OP_DONE);
    t->from = from;
}

void rbk_job_collect(rbk_ticket *t)
{
    uint8_t from = t->from;
    rbk_ticket_move(t, RBK_EV_COLLECT, RBK_OP_DONE);
    t->from = from;
}

/* A response object: a result, or an error with what made it, RESULT or EXPIRE. */
typedef struct response {
    rbk_buf text;
    bool failed;
    rbk_job_event why;
} response;

/* It goes to the store with the ticket. Who waits for a job that has not been answered wants it
 * cancelled. */
static void give_to_store(rbk_engine *e, rbk_ticket *t, const rbk_method_entry *method,
                          response *r)
{
    rbk_buf *text = &r->text;
    bool silent = (t->job->flags & RBK_JOB_NOTIFICATION) != 0;
    if (silent) {
        rbk_buf_free(text);
        end_silent(t, t->waiter != NULL);
    } else if (text->err || text->p == NULL) {
        rbk_buf_free(text);
        if (t->marked)
            t->op = RBK_OP_STATE; /* as it is: the next start answers that it was interrupted */
        else
            park_to_run_again(e, t, method);
    } else {
        rbk_ticket_move(t, t->waiter ? RBK_EV_CANCEL : r->why, RBK_OP_RESULT);
        if (r->failed)
            divert(t);
        t->job->response = rbk_buf_view(text);
        t->job->mem[1] = text->p;
        if (t->job->flags & RBK_JOB_MEMBER)
            rbk_job_collect(t);
        else
            rbk_signer_ahead(e, t);
    }
    rbk_store_push(e->store, t);
}

/* It is disarmed behind that: a stop that sees no armed call may close the store. */
static void finish(rbk_call *c, rbk_buf *text, bool failed)
{
    rbk_report_end(c);
    if (c->ex && rbk_exchange_item(c->ex, c->item)->notification) {
        rbk_buf_free(text);
        rbk_exchange_silent(c->ex, c->item);
    } else if (c->ex) {
        rbk_exchange_answer(c->ex, c->item, text);
    } else {
        rbk_ticket *t = c->ticket;
        c->ticket = NULL;
        bool expired = atomic_load(&c->state) == EXPIRED;
        response r = {*text, failed, expired ? RBK_EV_EXPIRE : RBK_EV_RESULT};
        give_to_store(c->e, t, c->method, &r);
    }
    rbk_reaper_disarm(c->e->reaper, c);
}

static rbk_buf make_buf(const rbk_call *c, size_t n)
{
    rbk_buf b = RBK_BUF(SIZE_MAX / 2);
    rbk_buf_reserve(&b, n + to_whom(c).id.n + ENVELOPE_ROOM);
    return b;
}

static void finish_fault(rbk_call *c, int err)
{
    rbk_buf b = make_buf(c, 0);
    rbk_write_fault(&b, to_whom(c), err, RBK_STR_NONE);
    finish(c, &b, true);
}

bool rbk_call_fail(rbk_call *c, int err)
{
    if (!take_answer(c, ANSWERED))
        return false;
    finish_fault(c, err);
    return true;
}

void rbk_call_expire(rbk_call *c)
{
    if (take_answer(c, EXPIRED))
        finish_fault(c, RBK_E_TIMEOUT);
    if (c->awaited && rbk_execute_leave(c->e->execute, c))
        rbk_call_unref(c);
}

bool rbk_call_in_time(rbk_call *c)
{
    if (c->not_after == 0)
        return true;
    int64_t left = c->not_after - rbk_wall_now();
    if (left < c->timeout_ms)
        c->timeout_ms = left;
    return left > 0;
}

bool rbk_call_cancel(rbk_call *c, rbk_waiter *waiter)
{
    if (!take_answer(c, EXPIRED))
        return false;
    c->ticket->waiter = waiter;
    finish_fault(c, RBK_E_CANCELLED);
    return true;
}

void rbk_call_drop(rbk_call *c)
{
    if (take_answer(c, ANSWERED)) {
        rbk_reaper_disarm(c->e->reaper, c);
        if (c->ex)
            rbk_exchange_fault(c->ex, c->item, RBK_E_BUSY, RBK_STR_NONE);
        rbk_ticket_free(c->ticket);
        c->ticket = NULL;
    }
}

rbk_call *rbk_call_of(rbk_waiter *begin)
{
    return (rbk_call *)(void *)((char *)begin - offsetof(rbk_call, begin));
}

static void on_lost(rbk_waiter *begin)
{
    rbk_call *c = rbk_call_of(begin);
    c->ticket = NULL;
    rbk_call_drop(c);
    rbk_call_unref(c);
}

void rbk_call_mark(rbk_call *c)
{
    c->begin.dropped = on_lost;
    c->ticket->begins = &c->begin;
    c->ticket->op = RBK_OP_STATE;
    rbk_store_push(c->e->store, c->ticket);
}

bool rbk_call_cut(rbk_call *c)
{
    if (c->ex)
        return rbk_call_fail(c, RBK_E_INTERRUPTED);
    if (!take_answer(c, ANSWERED))
        return false;
    rbk_runs_end(c->e->runs, c->ticket->run_slot);
    rbk_ticket_free(c->ticket);
    c->ticket = NULL;
    return true;
}

void rbk_call_postpone(rbk_call *c)
{
    if (c->started) {
        rbk_call_fail(c, RBK_E_INTERRUPTED);
        return;
    }
    if (!take_answer(c, ANSWERED))
        return;
    rbk_ticket *t = c->ticket;
    c->ticket = NULL;
    park_to_run_again(c->e, t, c->method);
    rbk_store_push(c->e->store, t);
}

int rbk_job_answer_fault(rbk_engine *e, rbk_ticket *t, int err)
{
    return rbk_job_answer_data(e, t, err, RBK_STR_NONE);
}

int rbk_job_answer_data(rbk_engine *e, rbk_ticket *t, int err, rbk_str data)
{
    rbk_job *answer = copy_for_answer(t->job);
    response r = {RBK_BUF(SIZE_MAX / 2), true,
                  err == RBK_E_TIMEOUT ? RBK_EV_EXPIRE : RBK_EV_RESULT};
    rbk_to to = {t->job->rpc_id, (t->job->flags & RBK_JOB_VERSIONED) != 0};
    rbk_write_fault(&r.text, to, err, data);
    if (answer == NULL || r.text.err) {
        rbk_job_free(answer);
        rbk_buf_free(&r.text);
        return RBK_E_NOMEM;
    }
    rbk_job_free(t->job);
    t->job = answer;
    bool silent = (answer->flags & RBK_JOB_NOTIFICATION) != 0;
    if (answer->state == RBK_JOB_QUEUED && (r.why == RBK_EV_RESULT || silent))
        rbk_ticket_move(t, RBK_EV_CLAIM, t->op);
    give_to_store(e, t, t->method, &r);
    return 0;
}

/* --- The public side ------------------------------------------------------------ */

rbk_str rbk_call_method(const rbk_call *c)
{
    return c->name;
}

rbk_str rbk_call_params(const rbk_call *c)
{
    return c->params;
}

const char *rbk_call_job(const rbk_call *c)
{
    return c->request ? c->job_text : NULL;
}

rbk_str rbk_call_id(const rbk_call *c)
{
    if (c->ex == NULL)
        return c->request->rpc_id;
    const rbk_rpc_item *it = rbk_exchange_item(c->ex, c->item);
    return it->notification ? RBK_STR_NONE : it->id;
}

rbk_str rbk_call_headers(const rbk_call *c)
{
    if (c->request)
        return c->request->method_headers;
    return c->headers.n ? rbk_buf_view(&c->headers) : RBK_STR_NONE;
}

rbk_wall_ms rbk_call_deadline(const rbk_call *c)
{
    return atomic_load_explicit(&c->ends, memory_order_relaxed);
}

bool rbk_call_repeatable(const rbk_call *c)
{
    return c->request != NULL && !c->once;
}

unsigned rbk_call_run(const rbk_call *c)
{
    return c->run;
}

bool rbk_call_cancelled(const rbk_call *c)
{
    return atomic_load(&c->state) != OPEN || (c->ex && rbk_exchange_is_gone(c->ex));
}

int rbk_call_broken(rbk_call *c, const char *why)
{
    if (!rbk_call_fail(c, RBK_E_INTERNAL))
        return RBK_E_STATE;
    log_fault(c, why);
    return RBK_E_PARSE;
}

int rbk_call_answer_text(rbk_call *c, rbk_str json, bool checked)
{
    int r = 0;
    if (!checked && json.n <= c->e->conf.max_result)
        r = rbk_json_check(json);
    if (json.n > c->e->conf.max_result)
        r = RBK_E_RESULT_SIZE;
    if (r == RBK_E_PARSE)
        return rbk_call_broken(c, "its result is not one JSON value");
    if (r < 0)
        return rbk_call_fail(c, r) ? r : RBK_E_STATE;
    if (!take_answer(c, ANSWERED))
        return RBK_E_STATE;
    rbk_buf b = make_buf(c, json.n);
    rbk_write_result(&b, to_whom(c), json);
    finish(c, &b, false);
    return 0;
}

int rbk_call_result(rbk_call *c, const char *json, size_t n)
{
    return rbk_call_answer_text(c, (rbk_str){json, n}, false);
}

int rbk_call_error(rbk_call *c, int64_t code, const char *message, const char *data)
{
    rbk_str d = rbk_str_z(data), m = rbk_str_z(message ? message : "");
    if (data && rbk_json_check(d) < 0)
        return rbk_call_broken(c, "its error's data is not one JSON value");
    if (d.n > c->e->conf.max_result || m.n > c->e->conf.max_result)
        return rbk_call_fail(c, RBK_E_RESULT_SIZE) ? RBK_E_RESULT_SIZE : RBK_E_STATE;
    if (!take_answer(c, ANSWERED))
        return RBK_E_STATE;
    rbk_buf b = make_buf(c, d.n + m.n);
    rbk_write_error(&b, to_whom(c), code, m, d);
    finish(c, &b, true);
    return 0;
}

int rbk_call_bad_param(rbk_call *c, const char *member, const char *reason)
{
    rbk_buf b = RBK_BUF(4096);
    rbk_buf_c(&b, '{');
    rbk_buf_json_str(&b, rbk_str_z(member));
    rbk_buf_c(&b, ':');
    rbk_buf_json_str(&b, rbk_str_z(reason));
    rbk_buf_lit(&b, "}\0");
    int r = rbk_call_error(c, rbk_err_rpc_code(RBK_E_PARAMS), rbk_strerror(RBK_E_PARAMS),
                           b.err ? NULL : b.p);
    rbk_buf_free(&b);
    return r;
}
