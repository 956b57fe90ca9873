/* SPDX-License-Identifier: Apache-2.0 */
/* front/admin_rpc.c - one body of JSON-RPC for operators.
 *
 * Parsed by the parser of the public side. The members are served one after the other: what
 * the engine answers on a thread of its own is written there, and a task brings the call back
 * to the loop, where the next member begins.
 *
 * One answer is bounded, and so are all together. A member whose result does not fit is told so; for
 * that there is room beyond the bound, so that the other members' results are not lost. */
#include "front/admin_impl.h"

#include "core/envelope.h"

#include <stdlib.h>

rbk_to rbk_admin_to(const rbk_admin_call *c)
{
    const rbk_rpc_item *item = &c->doc->items[c->i];
    rbk_str id = item->id.p ? item->id : RBK_STR("null");
    return (rbk_to){.id = id, .versioned = item->versioned};
}

void rbk_admin_open(rbk_admin_call *c)
{
    rbk_write_result(&c->out, rbk_admin_to(c), RBK_STR_NONE);
    if (rbk_buf_err(&c->out) == 0)
        c->out.n--; /* the value comes first */
}

void rbk_admin_open_long(rbk_admin_call *c)
{
    size_t others = atomic_load(&c->f->answers) - c->counted + atomic_load(&c->f->buffered);
    size_t left = others < RBK_ADMIN_ANSWERS_MAX ? RBK_ADMIN_ANSWERS_MAX - others : 0;
    c->cramped = left < RBK_ADMIN_ANSWER_MAX;
    if (left < RBK_ADMIN_ANSWER_FREE)
        left = RBK_ADMIN_ANSWER_FREE;
    c->out.max = c->cramped ? left : RBK_ADMIN_ANSWER_MAX;
    rbk_admin_open(c);
}

/* What it holds now. Whoever has the call. */
static void count(rbk_admin_call *c)
{
    atomic_fetch_add(&c->f->answers, c->out.cap - c->counted); /* modulo, when it is less */
    c->counted = c->out.cap;
}

void rbk_admin_fault(rbk_admin_call *c, int err)
{
    rbk_write_fault(&c->out, rbk_admin_to(c), err, RBK_STR_NONE);
}

int rbk_admin_refuse(rbk_admin_call *c, rbk_str member, const char *why)
{
    rbk_buf data = RBK_BUF(8192);
    rbk_str name = {member.p, member.n < 200 ? member.n : 200};
    while (name.n && name.n < member.n && ((unsigned char)name.p[name.n] & 0xc0) == 0x80)
        name.n--; /* between characters */
    rbk_buf_c(&data, '{');
    rbk_buf_json_str(&data, name);
    rbk_buf_c(&data, ':');
    rbk_buf_json_str(&data, rbk_str_z(why));
    rbk_buf_c(&data, '}');
    rbk_str text = rbk_buf_err(&data) == 0 ? rbk_buf_view(&data) : RBK_STR_NONE;
    rbk_write_fault(&c->out, rbk_admin_to(c), RBK_E_PARAMS, text);
    rbk_buf_free(&data);
    return RBK_E_PARAMS;
}

static void send_busy(rbk_http_request *rq)
{
    static const rbk_http_header retry = {{"Retry-After", 11}, {"1", 1}};
    rbk_http_reply_send(rq, &(rbk_http_reply){.status = 503, .headers = &retry, .n_headers = 1});
}

static void send_answer(rbk_admin_call *c)
{
    static const rbk_http_header h = {{"Cache-Control", 13}, {"no-store", 8}};
    bool batch = c->doc->batch;
    if (batch && c->out.n > 1)
        rbk_buf_c(&c->out, ']');
    if (c->failed || rbk_buf_err(&c->out) < 0)
        send_busy(c->rq);
    else if (c->out.n <= batch)
        rbk_http_reply_send(c->rq, &(rbk_http_reply){.status = 204});
    else
        rbk_http_reply_send(c->rq, &(rbk_http_reply){.status = 200, .headers = &h, .n_headers = 1,
                                                     .body = rbk_buf_view(&c->out)});
    rbk_rpc_free(c->doc);
    rbk_arena_free(&c->arena);
    rbk_buf_free(&c->out);
    count(c);
    free(c);
}

/* Instead of what did not fit, or found no memory. */
static void write_failure(rbk_admin_call *c, int err)
{
    c->out.n = c->mark;
    c->out.err = 0;
    if (err == RBK_E_TOO_LARGE)
        err = c->cramped ? RBK_E_BUSY : RBK_E_RESULT_SIZE;
    rbk_admin_fault(c, err);
}

/* The answer of the member at hand stands behind `mark`. */
static void end_member(rbk_admin_call *c)
{
    int err = rbk_buf_err(&c->out);
    c->out.max = RBK_ADMIN_ANSWER_MAX + RBK_ADMIN_FAULTS_MAX;
    if (err < 0)
        write_failure(c, err);
    if (c->doc->items[c->i].notification)
        c->out.n = c->mark;
    else if (c->doc->batch)
        rbk_buf_c(&c->out, ',');
    c->failed = rbk_buf_err(&c->out) < 0; /* without its comma it would be no JSON */
    count(c);
    rbk_arena_free(&c->arena);
    c->i++;
}

static void run_members(rbk_admin_call *c)
{
    while (c->i < c->doc->n && !c->failed) {
        c->mark = c->out.n;
        if (rbk_admin_begin(c))
            return;
        end_member(c);
    }
    if (c->doc->batch && c->out.n > 1)
        c->out.n--; /* the last comma */
    send_answer(c);
}

static void on_answered(rbk_task *task)
{
    rbk_admin_call *c = (rbk_admin_call *)(void *)task;
    end_member(c);
    run_members(c);
}

void rbk_admin_answered(rbk_admin_call *c)
{
    count(c);
    c->task.fn = on_answered;
    rbk_loop_post(c->f->loop, &c->task);
}

static void refuse_body(rbk_http_request *rq, int err)
{
    rbk_buf b = RBK_BUF(4096);
    rbk_write_fault(&b, (rbk_to){.id = RBK_STR("null"), .versioned = true}, err, RBK_STR_NONE);
    rbk_http_reply_send(rq, &(rbk_http_reply){.status = 200, .body = rbk_buf_view(&b)});
    rbk_buf_free(&b);
}

void rbk_admin_serve(rbk_admin_front *f, rbk_http_request *rq)
{
    rbk_rpc_limits limits = {.max_batch = RBK_ADMIN_BATCH_MAX, .max_timeout_ms = 3600000};
    rbk_rpc_doc *doc = NULL;
    int r = rbk_rpc_parse(rq->body, &limits, &doc);
    if (r < 0) {
        refuse_body(rq, r);
        return;
    }
    rbk_admin_call *c = calloc(1, sizeof *c);
    if (c == NULL) {
        rbk_rpc_free(doc);
        send_busy(rq);
        return;
    }
    *c = (rbk_admin_call){.f = f, .rq = rq, .doc = doc, .arena = RBK_ARENA(1 << 20),
                          .out = RBK_BUF(RBK_ADMIN_ANSWER_MAX + RBK_ADMIN_FAULTS_MAX)};
    if (doc->batch)
        rbk_buf_c(&c->out, '[');
    run_members(c);
}
