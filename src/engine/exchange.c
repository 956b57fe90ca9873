/* SPDX-License-Identifier: Apache-2.0 */
/* engine/exchange.c - collects the answers of one request body.
 *
 * The exchange counts the members that are open, plus one while it is being admitted;
 * whoever brings the count to zero calls `done`. Answers are written out once, by the
 * thread that wants the reply. References: the front's, and one for each open member. */
#include "engine/exchange.h"

#include "base/id.h"
#include "core/envelope.h"
#include "core/prefer.h"
#include "core/ws_session.h"
#include "engine/dedup.h"
#include "engine/links.h"
#include "engine/store_thread.h"

#include <stdio.h>
#include <stdlib.h>

enum { JOBS_IN_HEADER = 64, RESULTS_OF_BATCH = 16, SMALL_ANSWER = 65536,
       NAME_SHOWN_MAX = 128 };
#define ANSWERS_MAX ((size_t)256 << 20)

typedef enum slot_kind {
    SLOT_OPEN,
    SLOT_SILENT,
    SLOT_TEXT,
    SLOT_FAULT,
    SLOT_ACK,
    SLOT_JOB /* the job's response in place of the acknowledgement */
} slot_kind;

typedef struct slot {
    slot_kind kind;
    int err;
    rbk_buf text; /* TEXT: the response; FAULT: its data, when it is ours */
    rbk_str data; /* FAULT */
    rbk_id job;   /* ACK, JOB */
    rbk_ticket *ticket; /* JOB: until it is known whether the answer was written */
} slot;

struct rbk_exchange {
    rbk_engine *e;
    rbk_exchange_fn done;
    void *user;
    atomic_uint refs;
    atomic_uint open;
    atomic_bool gone;
    atomic_bool has_jobs; /* among the answers: who sends them must say what came of it */
    atomic_size_t bytes;   /* of all answers */
    atomic_size_t counted; /* of these, in the engine's sum */
    rbk_rpc_doc *doc;
    rbk_links *links; /* what the members have to do with each other; NULL: nothing */
    int err;     /* fault of the body as a whole */
    rbk_buf err_data;
    int status;  /* of the body as a whole, when not 200 */
    rbk_exchange_gate_fn gate;
    void *gate_user;
    rbk_str session; /* the websocket's that it came over */
    char retry_after[12]; /* the header of a 429 */
    slot first;  /* the usual request has one member */
    slot *slots;
    rbk_buf out, jobs;
    char batch_job[RBK_ID_TEXT + 1]; /* of the whole; empty: there is none */
    bool over_quota; /* a member was refused because its caller has too much pending */
    bool waited; /* an acknowledgement in place of the result that was waited for */
    rbk_header headers[4];
};

rbk_exchange *rbk_exchange_new(rbk_engine *e, rbk_exchange_fn done, void *user)
{
    rbk_exchange *ex = calloc(1, sizeof *ex);
    if (ex == NULL)
        return NULL;
    ex->e = e;
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    ex->done = done;
    ex->user = user;
    ex->slots = &ex->first;
    ex->out = RBK_BUF(SIZE_MAX / 2);
    ex->jobs = RBK_BUF(JOBS_IN_HEADER * (RBK_ID_TEXT + 2));
    atomic_init(&ex->refs, 1);
    atomic_init(&ex->open, 1);
    return ex;
}

rbk_exchange *rbk_exchange_ref(rbk_exchange *ex)
{
    atomic_fetch_add_explicit(&ex->refs, 1, memory_order_relaxed);
    return ex;
}

void rbk_exchange_unref(rbk_exchange *ex)
{
    if (ex == NULL || atomic_fetch_sub_explicit(&ex->refs, 1, memory_order_acq_rel) != 1)
        return;
    rbk_links_free(ex->links);
    rbk_buf_free(&ex->err_data);
    for (size_t i = 0; ex->doc && i < ex->doc->n; i++) {
        rbk_buf_free(&ex->slots[i].text);
        rbk_ticket_free(ex->slots[i].ticket);
    }
    if (ex->slots != &ex->first)
        free(ex->slots);
    rbk_buf_free(&ex->out);
    rbk_buf_free(&ex->jobs);
    rbk_rpc_free(ex->doc);
    atomic_fetch_sub(&ex->e->answer_bytes, ex->counted);
    rbk_engine_unref(ex->e);
    free(ex);
}

void rbk_exchange_gone(rbk_exchange *ex)
{
    atomic_store(&ex->gone, true);
}

bool rbk_exchange_is_gone(const rbk_exchange *ex)
{
    return atomic_load(&ex->gone);
}

rbk_engine *rbk_exchange_engine(const rbk_exchange *ex)
{
    return ex->e;
}

rbk_links *rbk_exchange_links(const rbk_exchange *ex)
{
    return ex->links;
}

const rbk_rpc_item *rbk_exchange_item(const rbk_exchange *ex, uint32_t item)
{
    return &ex->doc->items[item];
}

static void close_one(rbk_exchange *ex)
{
    if (atomic_fetch_sub_explicit(&ex->open, 1, memory_order_acq_rel) == 1)
        ex->done(ex, ex->user);
}

/* The answers of one body, and those of all, are bounded: many small requests must not
 * buy many large answers. */
static int take_room(rbk_exchange *ex, size_t n)
{
    if (n > SMALL_ANSWER && atomic_load(&ex->e->answer_bytes) > ANSWERS_MAX)
        return RBK_E_RESULT_SIZE;
    if (atomic_fetch_add(&ex->bytes, n) > ex->e->conf.max_result * RESULTS_OF_BATCH)
        return RBK_E_RESULT_SIZE;
    atomic_fetch_add(&ex->e->answer_bytes, n);
    ex->counted += n;
    return 0;
}

void rbk_exchange_answer(rbk_exchange *ex, uint32_t item, rbk_buf *text)
{
    slot *s = &ex->slots[item];
    int err = text->err == RBK_E_NOMEM ? RBK_E_NOMEM : text->err ? RBK_E_RESULT_SIZE : 0;
    if (err == 0)
        err = take_room(ex, text->n);
    if (err < 0) {
        rbk_buf_free(text);
        rbk_exchange_fault(ex, item, err, RBK_STR_NONE);
        return;
    }
    s->text = *text;
    *text = RBK_BUF(text->max);
    s->kind = SLOT_TEXT;
    if (ex->links)
        rbk_links_done(ex->links, item, rbk_buf_view(&s->text), false);
    close_one(ex);
}

void rbk_exchange_fault(rbk_exchange *ex, uint32_t item, int err, rbk_str data)
{
    slot *s = &ex->slots[item];
    if (item >= ex->doc->n)
        return; /* the whole batch, whose members are told each for itself */
    s->err = err;
    s->data = data;
    /* A notification's faults are never answered; that it could not be stored is. */
    s->kind = rbk_exchange_item(ex, item)->notification && err != RBK_E_BUSY ? SLOT_SILENT
                                                                             : SLOT_FAULT;
    if (ex->links)
        rbk_links_done(ex->links, item, RBK_STR_NONE, false);
    close_one(ex);
}

void rbk_exchange_write_reason(rbk_buf *b, rbk_str name, const char *reason)
{
    if (name.n > NAME_SHOWN_MAX)
        for (name.n = NAME_SHOWN_MAX; name.n && (name.p[name.n] & 0xc0) == 0x80;)
            name.n--;
    *b = RBK_BUF(4096);
    rbk_buf_c(b, '{');
    rbk_buf_json_str(b, name);
    rbk_buf_c(b, ':');
    rbk_buf_json_str(b, rbk_str_z(reason));
    rbk_buf_c(b, '}');
}

void rbk_exchange_refuse(rbk_exchange *ex, uint32_t item, const char *name, const char *reason)
{
    rbk_exchange_refuse_member(ex, item, rbk_str_z(name), reason);
}

void rbk_exchange_refuse_member(rbk_exchange *ex, uint32_t item, rbk_str name, const char *reason)
{
    rbk_buf *b = &ex->slots[item].text;
    rbk_exchange_write_reason(b, name, reason);
    rbk_exchange_fault(ex, item, RBK_E_PARAMS, b->err ? RBK_STR_NONE : rbk_buf_view(b));
}

void rbk_exchange_refuse_quota(rbk_exchange *ex, uint32_t item, rbk_str why)
{
    ex->over_quota = true;
    rbk_exchange_fault(ex, item, RBK_E_BUSY, why);
}

bool rbk_exchange_is_over_quota(const rbk_exchange *ex)
{
    return ex->over_quota;
}

void rbk_exchange_refuse_caller(rbk_exchange *ex)
{
    ex->err = RBK_E_UNAUTHORIZED;
}

void rbk_exchange_refuse_body(rbk_exchange *ex, const char *name, const char *reason)
{
    ex->err = RBK_E_PARAMS;
    rbk_exchange_write_reason(&ex->err_data, rbk_str_z(name), reason);
}

void rbk_exchange_write_fault(const rbk_exchange *ex, uint32_t item, rbk_buf *b)
{
    const rbk_rpc_item *it = rbk_exchange_item(ex, item);
    const slot *s = &ex->slots[item];
    rbk_write_fault(b, (rbk_to){it->id, it->versioned}, s->err ? s->err : RBK_E_BUSY, s->data);
}

void rbk_exchange_ack(rbk_exchange *ex, uint32_t item, rbk_id job)
{
    slot *s = &ex->slots[item];
    if (item >= ex->doc->n) {
        rbk_id_format(job, ex->batch_job);
        return;
    }
    s->job = job;
    s->kind = SLOT_ACK;
    close_one(ex);
}

bool rbk_exchange_take(rbk_exchange *ex, uint32_t item, rbk_ticket *t)
{
    slot *s = &ex->slots[item];
    if (take_room(ex, t->job->response.n) < 0)
        return false;
    s->job = (rbk_id){(uint64_t)t->job->seq, (uint64_t)t->job->rnd};
    s->ticket = t;
    s->kind = SLOT_JOB;
    atomic_fetch_add(&ex->e->answered_jobs, 1);
    atomic_store(&ex->has_jobs, true);
    close_one(ex);
    return true;
}

bool rbk_exchange_has_jobs(const rbk_exchange *ex)
{
    return atomic_load(&ex->has_jobs);
}

void rbk_exchange_written(rbk_exchange *ex, bool all)
{
    for (size_t i = 0; rbk_exchange_has_jobs(ex) && i < ex->doc->n; i++) {
        rbk_ticket *t = ex->slots[i].ticket;
        if (t == NULL)
            continue;
        ex->slots[i].ticket = NULL;
        if (all)
            rbk_ticket_move(t, RBK_EV_ANSWERED, RBK_OP_DONE);
        else
            rbk_ticket_park(t, rbk_engine_now(ex->e)); /* from there it goes to its callback */
        rbk_store_push(ex->e->store, t);
        atomic_fetch_sub(&ex->e->answered_jobs, 1);
    }
}

void rbk_exchange_silent(rbk_exchange *ex, uint32_t item)
{
    ex->slots[item].kind = SLOT_SILENT;
    close_one(ex);
}

/* --- In ---------------------------------------------------------------------- */

static int make_slots(rbk_exchange *ex)
{
    if (ex->doc->n <= 1)
        return 0;
    ex->slots = calloc(ex->doc->n, sizeof *ex->slots);
    if (ex->slots)
        return 0;
    ex->slots = &ex->first;
    rbk_rpc_free(ex->doc);
    ex->doc = NULL;
    return RBK_E_NOMEM;
}

/* The header `Prefer` is as the service parameter `wait`, which goes before it. It is for a single
 * call with a callback of its own: in a batch nobody can say whom it means, and one callback for the
 * whole does not go with it. */
static void apply_prefer(rbk_exchange *ex, const rbk_request *rq)
{
    rbk_service *svc = &ex->doc->items[0].svc;
    rbk_prefer p = {.wait_ms = -1};
    if (ex->doc->batch || ex->links || !(svc->set & RBK_SVC_BIT(callback)) || (svc->set & RBK_SVC_BIT(wait)))
        return;
    for (size_t i = 0; i < rq->n_headers; i++)
        if (rbk_str_ieqz(rq->headers[i].name, "prefer"))
            rbk_prefer_read(&p, rq->headers[i].value);
    if (!p.respond_async && p.wait_ms < 0)
        return;
    svc->set |= RBK_SVC_BIT(wait);
    svc->wait_ms = p.wait_ms < 0 ? 0 : p.wait_ms;
    if (svc->wait_ms > RBK_SVC_WAIT_MAX_MS)
        svc->wait_ms = RBK_SVC_WAIT_MAX_MS;
}

/* What the members have to do with each other. */
static int link_members(rbk_exchange *ex, rbk_str callback)
{
    rbk_str kept = callback.p ? rbk_rpc_dup(ex->doc, callback) : callback;
    if (callback.p && kept.p == NULL)
        return RBK_E_NOMEM;
    int r = rbk_links_new(ex, ex->doc, kept, &ex->links);
    if (r == RBK_E_PARAMS)
        rbk_exchange_refuse_body(ex, callback.p ? RBK_BATCH_HEADER : "@FROM",
                                 "for a batch of at most 1000 members");
    return r;
}

void rbk_exchange_guard(rbk_exchange *ex, rbk_exchange_gate_fn gate, void *user)
{
    ex->gate = gate;
    ex->gate_user = user;
}

void rbk_exchange_over(rbk_exchange *ex, rbk_str session)
{
    ex->session = session;
}

rbk_str rbk_exchange_session(const rbk_exchange *ex)
{
    return ex->session;
}

/* False: too much is asked for now, and the answer is made. */
static bool pass_gate(rbk_exchange *ex)
{
    size_t n = ex->doc && ex->doc->n ? ex->doc->n : 1;
    unsigned seconds = ex->gate ? ex->gate(n, ex->gate_user) : 0;
    if (seconds == 0)
        return true;
    ex->status = 429;
    snprintf(ex->retry_after, sizeof ex->retry_after, "%u", seconds);
    if (ex->err) {
        ex->err = RBK_E_BUSY;
        return false;
    }
    atomic_fetch_add(&ex->open, (unsigned)ex->doc->n);
    for (uint32_t i = 0; i < ex->doc->n; i++)
        rbk_exchange_fault(ex, i, RBK_E_BUSY, RBK_STR("\"too many requests\""));
    return false;
}

void rbk_exchange_submit(rbk_exchange *ex, const rbk_request *rq)
{
    rbk_str callback = rbk_links_header(rq);
    rbk_rpc_limits limits = ex->e->conf.limits;
    limits.callback = callback.p != NULL;
    bool passed = true;
    if (rq->body.n > ex->e->conf.max_body) {
        ex->err = RBK_E_TOO_LARGE;
        ex->status = 413;
    } else {
        ex->err = rbk_rpc_parse(rq->body, &limits, &ex->doc);
        if (ex->err == 0)
            ex->err = rbk_dedup_header(ex->doc, rq);
        if (ex->err == 0)
            ex->err = make_slots(ex);
        passed = pass_gate(ex);
        if (ex->err == 0 && passed)
            ex->err = link_members(ex, callback);
        if (ex->err == RBK_E_NOMEM)
            ex->status = 503;
    }
    if (ex->err == 0 && passed) {
        apply_prefer(ex, rq);
        atomic_fetch_add(&ex->open, (unsigned)ex->doc->n);
        rbk_admit(ex->e, ex, ex->doc, rq);
    }
    close_one(ex);
}

/* --- Out --------------------------------------------------------------------- */

/* Who is answered over a websocket says by the job's id that it has the answer. */
static bool wants_receipt(const rbk_service *svc)
{
    return svc->receipt || rbk_session_is_asked(svc->callback) ||
           rbk_session_is_asked(svc->failure_callback);
}

static void write_ack(rbk_exchange *ex, const rbk_rpc_item *it, const slot *s)
{
    char job[RBK_ID_TEXT + 1];
    rbk_id_format(s->job, job);
    ex->waited |= (it->svc.set & RBK_SVC_BIT(wait)) != 0;
    rbk_write_ack(&ex->out, (rbk_to){it->id, it->versioned}, it->svc.callback,
                  wants_receipt(&it->svc) ? (rbk_str){job, RBK_ID_TEXT} : RBK_STR_NONE);
}

static void name_job(rbk_exchange *ex, const slot *s)
{
    char job[RBK_ID_TEXT + 1];
    if (ex->jobs.n + RBK_ID_TEXT + 2 > ex->jobs.max)
        return;
    rbk_id_format(s->job, job);
    if (ex->jobs.n)
        rbk_buf_lit(&ex->jobs, ", ");
    rbk_buf_add(&ex->jobs, job, RBK_ID_TEXT);
}

/* Writes the answer of one member; false when it has none. */
static bool write_slot(rbk_exchange *ex, size_t i, bool first)
{
    const rbk_rpc_item *it = &ex->doc->items[i];
    slot *s = &ex->slots[i];
    if (s->kind == SLOT_ACK || s->kind == SLOT_JOB)
        name_job(ex, s);
    if (s->kind == SLOT_SILENT || it->notification)
        return false;
    if (!first)
        rbk_buf_c(&ex->out, ',');
    if (s->kind == SLOT_TEXT)
        rbk_buf_str(&ex->out, rbk_buf_view(&s->text));
    else if (s->kind == SLOT_JOB)
        rbk_buf_str(&ex->out, s->ticket->job->response);
    else if (s->kind == SLOT_ACK)
        write_ack(ex, it, s);
    else
        rbk_write_fault(&ex->out, (rbk_to){it->id, it->versioned}, s->err, s->data);
    return true;
}

rbk_exchange_kind rbk_exchange_kind_of(const rbk_exchange *ex)
{
    if (ex->err || ex->doc == NULL)
        return RBK_EXCHANGE_INVALID;
    if (ex->doc->batch)
        return RBK_EXCHANGE_BATCH;
    const rbk_rpc_item *it = &ex->doc->items[0];
    if (it->err)
        return RBK_EXCHANGE_INVALID;
    if (rbk_str_starts(it->method, RBK_STR("rpc.")))
        return RBK_EXCHANGE_BUILTIN;
    return it->svc.set & RBK_SVC_BIT(callback) ? RBK_EXCHANGE_JOB : RBK_EXCHANGE_CALL;
}

/* 503 when nothing of the request was done for want of room. */
static bool all_busy(const rbk_exchange *ex)
{
    for (size_t i = 0; i < ex->doc->n; i++) {
        const slot *s = &ex->slots[i];
        if (s->kind != SLOT_FAULT || rbk_err_rpc_code(s->err) != rbk_err_rpc_code(RBK_E_BUSY))
            return false;
    }
    return true;
}

static void write_members(rbk_exchange *ex)
{
    bool any = false;
    if (ex->doc->batch)
        rbk_buf_c(&ex->out, '[');
    for (size_t i = 0; i < ex->doc->n; i++)
        any |= write_slot(ex, i, !any);
    if (ex->doc->batch)
        rbk_buf_c(&ex->out, ']');
    if (!any)
        rbk_buf_clear(&ex->out);
}

void rbk_exchange_reply(rbk_exchange *ex, rbk_reply *ret)
{
    size_t n = 0;
    *ret = (rbk_reply){.status = ex->status ? ex->status : 200};
    if (ex->err) {
        rbk_write_fault(&ex->out, (rbk_to){RBK_STR("null"), true}, ex->err,
                        ex->err_data.n && !ex->err_data.err ? rbk_buf_view(&ex->err_data) : RBK_STR_NONE);
    } else {
        if (ret->status == 200 && all_busy(ex))
            ret->status = 503;
        if (!ex->doc->batch && ex->first.kind == SLOT_TEXT) {
            ret->body = rbk_buf_view(&ex->first.text);
            return;
        }
        write_members(ex);
    }
    if (ex->out.err) {
        rbk_buf_clear(&ex->out);
        ret->status = 503;
    }
    if (ex->out.n == 0 && ret->status == 200)
        ret->status = 204;
    if (ex->jobs.n)
        ex->headers[n++] = (rbk_header){RBK_STR("Ringback-Job"), rbk_buf_view(&ex->jobs)};
    if (ex->batch_job[0] && ex->err == 0)
        ex->headers[n++] = (rbk_header){RBK_STR("Ringback-Batch-Job"), rbk_str_z(ex->batch_job)};
    if (ex->retry_after[0])
        ex->headers[n++] = (rbk_header){RBK_STR("Retry-After"), rbk_str_z(ex->retry_after)};
    else if (ret->status == 503)
        ex->headers[n++] = (rbk_header){RBK_STR("Retry-After"), RBK_STR("1")};
    if (ex->waited)
        ex->headers[n++] = (rbk_header){RBK_STR("Preference-Applied"), RBK_STR("respond-async")};
    ret->headers = ex->headers;
    ret->n_headers = n;
    ret->body = rbk_buf_view(&ex->out);
}
