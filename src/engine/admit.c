/* SPDX-License-Identifier: Apache-2.0 */
/* engine/admit.c - step 2 of 5: rpc -> ADMIT -> store -> execute -> deliver
 *
 * Decides what becomes of each member: an error, a synchronous call, or a job. What needs
 * no I/O is checked first, so that a refused call costs no commit. Runs on a front loop
 * (or the embedder's thread); never blocks. A job is acknowledged when, and only when,
 * the store has it (rbk_flow_settle). The jobs of one body go to the store together; where
 * the addresses of a host are not known yet, they wait for them first (engine/held.c). */
#include "base/clock.h"
#include "core/header.h"
#include "core/ws_session.h"
#include "engine/builtin.h"
#include "engine/call.h"
#include "engine/dedup.h"
#include "engine/exchange.h"
#include "engine/execute.h"
#include "engine/held.h"
#include "engine/keys.h"
#include "engine/links.h"
#include "engine/quotas.h"
#include "engine/store_thread.h"

enum { FORWARD_MAX = 4096, CHAIN_MAX = 65536 };

typedef struct admission {
    rbk_engine *e;
    rbk_exchange *ex;
    const rbk_request *rq;
    rbk_links *links; /* what the members have to do with each other; NULL: nothing */
    rbk_buf forward; /* the headers that go along; made for the first job */
    bool forward_made;
    rbk_netpolicy *policy; /* a reference; taken for the first job */
    rbk_callers *callers;  /* a reference; NULL: tokens are not in use */
    const rbk_caller *caller; /* NULL: everything is allowed */
    rbk_quota_verdict whole; /* may it have the job of a whole batch? Else it gets no member's */
    rbk_list jobs;
    rbk_held *held; /* those of them that wait for the addresses of their hosts */
} admission;

/* --- Headers that go along ------------------------------------------------------------- */

/* Does the comma-separated list hold `name`? */
static bool in_list(rbk_str list, rbk_str name)
{
    rbk_str item;
    while (rbk_list_next(&list, &item))
        if (item.n == name.n && strncasecmp(item.p, name.p, name.n) == 0)
            return true;
    return false;
}

static void add_line(rbk_buf *b, rbk_str name, rbk_str value)
{
    if (!rbk_header_is_value(name) || !rbk_header_is_value(value) || b->n + name.n + value.n + 4 > FORWARD_MAX)
        return;
    rbk_buf_str(b, name);
    rbk_buf_lit(b, ": ");
    rbk_buf_str(b, value);
    rbk_buf_lit(b, "\r\n");
}

/* A header of `list`, the first of its name. */
static bool is_wanted(const admission *a, rbk_str list, size_t at)
{
    const rbk_header *h = a->rq->headers;
    if (!in_list(list, h[at].name))
        return false;
    for (size_t i = 0; i < at; i++)
        if (h[i].name.n == h[at].name.n && strncasecmp(h[i].name.p, h[at].name.p, h[i].name.n) == 0)
            return false;
    return true;
}

static rbk_str forwarded(admission *a)
{
    if (a->forward_made)
        return rbk_buf_view(&a->forward);
    a->forward_made = true;
    for (size_t i = 0; i < a->rq->n_headers; i++) {
        const rbk_header *h = &a->rq->headers[i];
        if (is_wanted(a, a->e->conf.forward_headers, i))
            add_line(&a->forward, h->name, h->value);
    }
    return rbk_buf_view(&a->forward);
}

static void add_wanted(admission *a, rbk_str list, bool ray, rbk_buf *b)
{
    for (size_t i = 0; i < a->rq->n_headers; i++) {
        const rbk_header *h = &a->rq->headers[i];
        if (!(ray && rbk_str_ieqz(h->name, "x-request-id")) && is_wanted(a, list, i))
            add_line(b, h->name, h->value);
    }
}

/* Those that a delivery carries: rayId is in the place of the request's own X-Request-Id. */
static void headers_of(admission *a, const rbk_rpc_item *it, rbk_buf *b)
{
    if (it->svc.ray_id.p == NULL) {
        rbk_buf_str(b, forwarded(a));
        return;
    }
    add_line(b, RBK_STR("X-Request-Id"), it->svc.ray_id);
    add_wanted(a, a->e->conf.forward_headers, true, b);
}

/* Those that the method is told. */
static void method_headers_of(admission *a, const rbk_rpc_item *it, const rbk_method_entry *method,
                              rbk_buf *b)
{
    rbk_str list = rbk_str_z(atomic_load(&method->forward));
    bool ray = it->svc.ray_id.p != NULL;
    if (list.n == 0)
        return;
    if (ray && in_list(list, RBK_STR("x-request-id")))
        add_line(b, RBK_STR("X-Request-Id"), it->svc.ray_id);
    add_wanted(a, list, ray, b);
}

/* --- A job -------------------------------------------------------------------------------- */

/* What is stored of it. */
static rbk_str stored_callback(const admission *a, rbk_str callback)
{
    return rbk_session_is_asked(callback) ? rbk_exchange_session(a->ex) : callback;
}

static rbk_ticket *make_ticket(admission *a, uint32_t item, const rbk_rpc_item *it,
                               const rbk_method_entry *method)
{
    rbk_buf headers = RBK_BUF(FORWARD_MAX), told = RBK_BUF(FORWARD_MAX), chain = RBK_BUF(CHAIN_MAX);
    rbk_wall_ms now = rbk_engine_now(a->e);
    headers_of(a, it, &headers);
    method_headers_of(a, it, method, &told);
    rbk_job view = {
        .state = RBK_JOB_QUEUED,
        .flags = (uint8_t)((it->versioned ? RBK_JOB_VERSIONED : 0) |
                           (it->notification ? RBK_JOB_NOTIFICATION : 0) |
                           (it->svc.progress ? RBK_JOB_PROGRESS : 0)),
        .timeout_ms = it->svc.timeout_ms,
        .created = now,
        .deadline = it->svc.deadline,
        .due = it->svc.delay_ms ? now + it->svc.delay_ms + 1 : 0, /* `now` has begun already */
        .lane = method->lane,
        .method = it->method,
        .rpc_id = it->notification ? RBK_STR_NONE : it->id,
        .params = it->params,
        .callback = stored_callback(a, it->svc.callback),
        .failure_callback = stored_callback(a, it->svc.failure_callback),
        .caller = a->rq->caller,
        .ray_id = it->svc.ray_id,
        .headers = headers.n ? rbk_buf_view(&headers) : RBK_STR_NONE,
        .idem_key = it->svc.idem_key,
        .method_headers = told.n ? rbk_buf_view(&told) : RBK_STR_NONE,
        .order_key = it->svc.order_key,
    };
    if (a->links)
        rbk_links_describe(a->links, item, &view, &chain);
    rbk_job *job = chain.err ? NULL : rbk_job_copy(&view);
    rbk_ticket *t = job ? rbk_ticket_new(job) : NULL;
    rbk_buf_free(&headers);
    rbk_buf_free(&told);
    rbk_buf_free(&chain);
    if (t == NULL) {
        rbk_job_free(job);
        return NULL;
    }
    t->op = RBK_OP_PUT;
    t->method = method;
    t->item = item;
    if (!rbk_dedup_prepare(t) || !rbk_keys_prepare(t)) {
        rbk_ticket_free(t);
        return NULL;
    }
    t->ex = rbk_exchange_ref(a->ex);
    return t;
}

static bool has_room(rbk_engine *e)
{
    return !atomic_load(&e->refusing) && !atomic_load(&e->full) && !atomic_load(&e->health) &&
           rbk_engine_pending(e) < e->conf.max_pending &&
           atomic_load(&e->pending_bytes) < e->conf.max_pending_bytes;
}

void rbk_admit_refuse(rbk_exchange *ex, uint32_t item, const rbk_netpolicy *policy,
                      const rbk_admit_fault *f)
{
    char reason[160];
    const rbk_service *svc = &rbk_exchange_item(ex, item)->svc;
    rbk_dsn_reason(f->fault, f->failure ? svc->failure_callback : svc->callback,
                   rbk_netpolicy_schemes(policy), reason);
    rbk_exchange_refuse(ex, item, f->failure ? "$rpc.failureCallback" : "$rpc.callback", reason);
}

/* One of the two addresses that a job may go to. */
typedef struct address {
    rbk_dsn dsn;
    rbk_name_verdict verdict;
} address;

/* What a caller has no right to. It can be asked for as often as one likes. */
static void log_denied(admission *a, const char *reason, rbk_str method)
{
    uint64_t more;
    if (rbk_seldom_now(&a->e->denied_lines, &more))
        rbk_event(RBK_LOG(a->e), RBK_WARN, "auth.denied", RBK_FZ("caller", a->caller->name),
                  RBK_FS("peer", a->rq->peer), RBK_FZ("reason", reason), RBK_FS("method", method),
                  RBK_F("more", more));
}

static const rbk_hosts *hosts_of(const admission *a)
{
    return a->caller ? &a->caller->hosts : NULL;
}

/* The caller's own websocket, which is the one that it asks on. Who was kept back was asked before. */
static rbk_dsn_fault check_socket(const admission *a, address *ret)
{
    ret->verdict = RBK_NAME_FINE;
    return a->rq == NULL || rbk_exchange_session(a->ex).n ? RBK_DSN_OK : RBK_DSN_SOCKET;
}

static rbk_dsn_fault check_address(admission *a, rbk_str text, address *ret)
{
    if (rbk_session_is_asked(text))
        return check_socket(a, ret);
    rbk_dsn_fault fault = rbk_netpolicy_check_for(a->policy, hosts_of(a), text, &ret->dsn);
    if (fault == RBK_DSN_HOST && a->caller)
        log_denied(a, "host", RBK_STR_NONE);
    ret->verdict = fault ? RBK_NAME_FINE : rbk_held_look(a->e, a->policy, &ret->dsn);
    return ret->verdict == RBK_NAME_REFUSED ? RBK_DSN_NO_ADDRESS : fault;
}

/* False: one of them is refused, and the member has its answer. */
static bool check_addresses(admission *a, uint32_t item, const rbk_service *svc, address to[2])
{
    to[0].verdict = to[1].verdict = RBK_NAME_FINE;
    if (a->policy == NULL)
        a->policy = rbk_engine_policy(a->e);
    rbk_admit_fault f = {.fault = check_address(a, svc->callback, &to[0])};
    if (f.fault == RBK_DSN_OK && svc->failure_callback.p) {
        f.failure = true;
        f.fault = check_address(a, svc->failure_callback, &to[1]);
    }
    if (f.fault == RBK_DSN_OK)
        return true;
    atomic_fetch_add_explicit(&a->e->refused, 1, memory_order_relaxed);
    rbk_admit_refuse(a->ex, item, a->policy, &f);
    return false;
}

static void push_job(admission *a, rbk_ticket *t, const address to[2])
{
    rbk_list_push(&a->jobs, &t->node);
    for (int i = 0; i < 2; i++)
        if (to[i].verdict == RBK_NAME_ASK)
            rbk_held_add(&a->held, &(rbk_held_name){&to[i].dsn, i == 1}, t);
}

/* The caller has as much pending as it may. It can be tried as often as one likes. */
static void refuse_quota(admission *a, uint32_t item, rbk_quota_verdict v)
{
    uint64_t more;
    rbk_engine *e = a->e;
    atomic_fetch_add_explicit(&e->over_quota, 1, memory_order_relaxed);
    if (rbk_seldom_now(&e->quota_lines, &more))
        rbk_event(RBK_LOG(e), RBK_WARN, "caller.full", RBK_FS("caller", a->rq->caller),
                  RBK_FZ("limit", v == RBK_QUOTA_JOBS ? "max_pending" : "max_pending_bytes"),
                  RBK_F("more", more));
    rbk_exchange_refuse_quota(a->ex, item, v == RBK_QUOTA_JOBS
                                               ? RBK_STR("\"too many pending jobs of this caller\"")
                                               : RBK_STR("\"too many pending bytes of this caller\""));
}

/* NULL: there is no room for the job, and the member has its answer. */
static rbk_ticket *take_room(admission *a, uint32_t item, const rbk_rpc_item *it,
                             const rbk_method_entry *method)
{
    rbk_quota_verdict v = a->whole;
    rbk_ticket *t = has_room(a->e) ? make_ticket(a, item, it, method) : NULL;
    if (t && v == RBK_QUOTA_FINE)
        v = rbk_quotas_enter(a->e->quotas, t, a->caller);
    if (t && v == RBK_QUOTA_FINE)
        return t;
    atomic_fetch_add_explicit(&a->e->refused, 1, memory_order_relaxed);
    if (t && v != RBK_QUOTA_NOMEM)
        refuse_quota(a, item, v);
    else
        rbk_exchange_fault(a->ex, item, RBK_E_BUSY, RBK_STR_NONE);
    if (t)
        rbk_links_drop(t);
    return NULL;
}

static void admit_job(admission *a, uint32_t item, const rbk_rpc_item *it,
                      const rbk_method_entry *method)
{
    address to[2];
    if (!check_addresses(a, item, &it->svc, to))
        return;
    rbk_ticket *t = take_room(a, item, it, method);
    if (t == NULL)
        return;
    if (a->links && rbk_links_keep_job(a->links, item, t))
        return; /* rbk_admit_late() looks its host up */
    push_job(a, t, to);
}

/* --- Each member ----------------------------------------------------------------------------- */

static void admit_sync(admission *a, uint32_t item, const rbk_rpc_item *it,
                       const rbk_method_entry *method)
{
    rbk_call *c = atomic_load(&a->e->refusing)
                      ? NULL
                      : rbk_call_new_sync(a->e, a->ex, item, method);
    if (c == NULL) {
        rbk_exchange_fault(a->ex, item, RBK_E_BUSY, RBK_STR_NONE);
        return;
    }
    c->headers = RBK_BUF(FORWARD_MAX);
    method_headers_of(a, it, method, &c->headers);
    if (a->links && rbk_links_keep_call(a->links, item, c))
        return;
    if (rbk_call_in_time(c)) {
        rbk_execute_sync(a->e->execute, c);
    } else {
        rbk_call_expire(c);
        rbk_call_unref(c);
    }
}

/* The faults of notifications are never answered. */
void rbk_admit_log_refused(rbk_engine *e, const rbk_rpc_item *it, int err)
{
    uint64_t more;
    if (it->notification && rbk_seldom_now(&e->refused_lines, &more))
        rbk_event(RBK_LOG(e), RBK_WARN, "notification.refused", RBK_FS("method", it->method),
                  RBK_FZ("error", rbk_err_name(err)), RBK_F("more", more));
}

/* What the caller may not call is not there, so that nobody learns what is. */
static const rbk_method_entry *find_method(admission *a, rbk_str name)
{
    if (rbk_caller_may_call(a->caller, name))
        return rbk_methods_find(a->e->conf.methods, name);
    log_denied(a, "method", name);
    return NULL;
}

static void admit_item(admission *a, uint32_t i, const rbk_rpc_item *it)
{
    rbk_schema_fault wrong;
    rbk_str fault = it->err || !a->links ? it->err_data : rbk_links_fault(a->links, i);
    if (!it->err && !fault.p && rbk_builtin(a->e, a->ex, i, &(rbk_asker){a->rq->caller, a->caller, rbk_exchange_session(a->ex)}))
        return;
    const rbk_method_entry *method = it->err ? NULL : find_method(a, it->method);
    if (it->err || method == NULL || fault.p) {
        int err = it->err ? it->err : fault.p ? RBK_E_PARAMS : RBK_E_METHOD;
        rbk_admit_log_refused(a->e, it, err);
        rbk_exchange_fault(a->ex, i, err, fault);
    } else if (!(a->links && rbk_links_names(a->links, i)) &&
               !rbk_methods_fit(a->e->conf.methods, it->method, it->params, &wrong)) {
        rbk_admit_log_refused(a->e, it, RBK_E_PARAMS);
        rbk_exchange_refuse(a->ex, i, wrong.name, wrong.reason);
    } else if (it->svc.set & RBK_SVC_BIT(callback)) {
        admit_job(a, i, it, method);
    } else {
        admit_sync(a, i, it, method);
    }
}

static size_t bytes_of(const rbk_list *jobs)
{
    size_t bytes = 0;
    for (const rbk_node *node = jobs->head; node; node = node->next)
        bytes += rbk_job_bytes(((const rbk_ticket *)(const void *)node)->job);
    return bytes;
}

static void refuse_busy(rbk_engine *e, rbk_exchange *ex, rbk_list *jobs)
{
    atomic_fetch_add_explicit(&e->refused, jobs->n, memory_order_relaxed);
    for (rbk_node *node; (node = rbk_list_pop(jobs));) {
        rbk_ticket *t = (rbk_ticket *)(void *)node;
        rbk_exchange_fault(ex, t->item, RBK_E_BUSY, RBK_STR_NONE);
        rbk_exchange_unref(ex);
        rbk_ticket_free(t);
    }
}

void rbk_admit_hand_over(rbk_engine *e, rbk_exchange *ex, rbk_list *jobs)
{
    int64_t n = (int64_t)jobs->n;
    size_t bytes = bytes_of(jobs);
    if (n == 0)
        return;
    if (!has_room(e)) { /* it was there before the look-up */
        refuse_busy(e, ex, jobs);
        return;
    }
    atomic_fetch_add(&e->arriving, n);
    atomic_fetch_add(&e->pending_bytes, (int64_t)bytes);
    if (rbk_store_admit(e->store, jobs, bytes))
        return;
    atomic_fetch_sub(&e->arriving, n);
    atomic_fetch_sub(&e->pending_bytes, (int64_t)bytes);
    refuse_busy(e, ex, jobs);
}

/* --- A callback for the whole ------------------------------------------------------------------- */

static void refuse_whole(admission *a, rbk_str callback, rbk_dsn_fault fault)
{
    char reason[160];
    rbk_dsn_reason(fault, callback, rbk_netpolicy_schemes(a->policy), reason);
    atomic_fetch_add_explicit(&a->e->refused, 1, memory_order_relaxed);
    rbk_exchange_refuse_body(a->ex, RBK_BATCH_HEADER, reason);
}

/* False: the body is refused. */
static bool admit_whole(admission *a)
{
    rbk_dsn dsn;
    rbk_str callback = rbk_links_callback(a->links);
    a->policy = rbk_engine_policy(a->e);
    rbk_dsn_fault fault = rbk_session_is_asked(callback)
                              ? RBK_DSN_SOCKET /* the header is HTTP's */
                              : rbk_netpolicy_check_for(a->policy, hosts_of(a), callback, &dsn);
    rbk_name_verdict verdict = fault ? RBK_NAME_FINE : rbk_held_look(a->e, a->policy, &dsn);
    if (fault || verdict == RBK_NAME_REFUSED) {
        refuse_whole(a, callback, fault ? fault : RBK_DSN_NO_ADDRESS);
        return false;
    }
    rbk_ticket *t = rbk_links_whole(a->links, a->rq, forwarded(a));
    if (t == NULL) {
        rbk_exchange_refuse_body(a->ex, RBK_BATCH_HEADER, "out of memory");
        return false;
    }
    a->whole = rbk_quotas_enter(a->e->quotas, t, a->caller);
    rbk_list_push(&a->jobs, &t->node);
    if (verdict == RBK_NAME_ASK)
        rbk_held_add(&a->held, &(rbk_held_name){&dsn, false}, t);
    return true;
}

/* False: whoever is named as the caller is not known, or no longer; the body is refused. Who embeds
 * the server and names nobody may do all. */
static bool find_caller(admission *a)
{
    a->callers = rbk_engine_callers(a->e);
    if (a->callers == NULL || a->rq->caller.n == 0)
        return true;
    a->caller = rbk_callers_find(a->callers, a->rq->caller);
    if (a->caller == NULL)
        rbk_exchange_refuse_caller(a->ex);
    return a->caller != NULL;
}

void rbk_admit(rbk_engine *e, rbk_exchange *ex, const rbk_rpc_doc *doc, const rbk_request *rq)
{
    admission a = {.e = e, .ex = ex, .rq = rq, .links = rbk_exchange_links(ex),
                   .forward = RBK_BUF(FORWARD_MAX)};
    bool refused = !find_caller(&a) ||
                   (a.links && rbk_links_callback(a.links).p && !admit_whole(&a));
    for (size_t i = 0; i < doc->n; i++) {
        if (refused)
            rbk_exchange_silent(ex, (uint32_t)i);
        else
            admit_item(&a, (uint32_t)i, &doc->items[i]);
    }
    if (a.links)
        rbk_links_group(a.links, &a.jobs);
    if (a.held)
        rbk_held_ask(a.held, &(rbk_held_call){.e = e, .ex = ex, .policy = a.policy,
                                              .jobs = &a.jobs, .caller = rq->caller});
    else
        rbk_admit_hand_over(e, ex, &a.jobs);
    if (a.links && !refused)
        rbk_links_start(a.links);
    rbk_netpolicy_unref(a.policy);
    rbk_callers_unref(a.callers);
    rbk_buf_free(&a.forward);
}

void rbk_admit_late(rbk_engine *e, rbk_ticket *t)
{
    address to[2];
    rbk_exchange *ex = rbk_exchange_ref(t->ex);
    admission a = {.e = e, .ex = ex};
    if (!check_addresses(&a, t->item, &rbk_exchange_item(ex, t->item)->svc, to)) {
        rbk_links_drop(t);
    } else {
        push_job(&a, t, to);
        if (a.held)
            rbk_held_ask(a.held, &(rbk_held_call){.e = e, .ex = ex, .policy = a.policy, .jobs = &a.jobs,
                                                  .caller = t->job->caller, .late = true});
        else
            rbk_admit_hand_over(e, ex, &a.jobs);
    }
    rbk_netpolicy_unref(a.policy);
    rbk_exchange_unref(ex);
}
