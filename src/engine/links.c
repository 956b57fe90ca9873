/* SPDX-License-Identifier: Apache-2.0 */
/* engine/links.c - see links.h. Members that wait here stand in a queue once they have all that
 * they name, or one of it has failed; one thread at a time takes from it, whichever brought the
 * last part, so that a long chain costs no stack. */
#include "engine/links.h"

#include "core/chain.h"
#include "core/plan.h"
#include "engine/call.h"
#include "engine/exchange.h"
#include "engine/execute.h"
#include "engine/held.h"
#include "engine/lanes.h"

#include <stdlib.h>

enum { PARENTS_OF_BATCH = 16, FAULT_MAX = 65536 };

typedef enum node_kind {
    NODE_STORED,  /* a job that goes to the store at once, or a member that is refused */
    NODE_WAITING, /* it waits here: has a call or a ticket */
} node_kind;

typedef struct node {
    node_kind kind;
    bool sync;    /* no callback */
    bool watched; /* a job whose response is wanted here */
    bool member;  /* its response goes to the callback of the whole */
    bool job;     /* it was to become a job of the group */
    bool done, lost, queued;
    size_t missing;
    rbk_str response; /* absent when it is done without one */
    rbk_buf kept;     /* of the response, where nobody else keeps it */
    rbk_buf params;   /* with all references replaced; or the fault */
    rbk_call *call;
    rbk_ticket *ticket;
} node;

struct rbk_links {
    rbk_engine *e;
    rbk_exchange *ex; /* whose this is */
    rbk_rpc_doc *doc;
    rbk_plan *plan;
    rbk_str callback;
    node *nodes;
    pthread_mutex_t lock; /* guards what follows, and the nodes once they may begin */
    uint32_t *queue;
    size_t first, last; /* in the queue, through which a member goes once */
    size_t kept;
    bool busy; /* somebody takes from the queue, or will */
};

static const rbk_plan_member *plan_of(const rbk_links *l, size_t i)
{
    return &l->plan->members[i];
}

/* --- Making --------------------------------------------------------------------------------------- */

rbk_str rbk_links_header(const rbk_request *rq)
{
    for (size_t i = 0; i < rq->n_headers; i++)
        if (rbk_str_ieqz(rq->headers[i].name, RBK_BATCH_HEADER))
            return rq->headers[i].value.p ? rq->headers[i].value : RBK_STR("");
    return RBK_STR_NONE;
}

/* Jobs below a synchronous call wait here too. Each round goes one step down, so there are no
 * more than there are members; most documents take two. */
static void find_kinds(rbk_links *l)
{
    bool again = true;
    while (again) {
        again = false;
        for (size_t i = 0; i < l->doc->n; i++) {
            node *n = &l->nodes[i];
            const rbk_plan_member *m = plan_of(l, i);
            bool waits = n->sync;
            for (size_t at = 0; at < m->n_parents && !waits; at++)
                waits = l->nodes[m->parents[at]].kind == NODE_WAITING;
            again |= waits && n->kind != NODE_WAITING;
            n->kind = waits ? NODE_WAITING : NODE_STORED;
        }
    }
    for (size_t i = 0; i < l->doc->n; i++) {
        node *n = &l->nodes[i];
        const rbk_plan_member *m = plan_of(l, i);
        n->missing = n->kind == NODE_WAITING ? m->n_parents : 0;
        for (size_t at = 0; at < m->n_children; at++)
            n->watched |= !n->sync && l->nodes[m->children[at]].kind == NODE_WAITING;
    }
}

/* Members without a callback of their own have that of the whole. */
static void share_callback(rbk_links *l)
{
    for (size_t i = 0; i < l->doc->n; i++) {
        rbk_service *svc = &l->doc->items[i].svc;
        if (svc->set & RBK_SVC_BIT(callback))
            continue;
        l->nodes[i].member = true;
        svc->callback = l->callback;
        svc->set |= RBK_SVC_BIT(callback);
    }
}

static rbk_links *make_links(rbk_exchange *ex, rbk_rpc_doc *doc, rbk_str callback)
{
    rbk_links *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    *l = (rbk_links){.e = rbk_exchange_engine(ex), .ex = ex, .doc = doc, .callback = callback,
                     .busy = true};
    pthread_mutex_init(&l->lock, NULL);
    l->nodes = calloc(doc->n, sizeof *l->nodes);
    l->queue = calloc(doc->n, sizeof *l->queue);
    if (l->nodes && l->queue)
        return l;
    rbk_links_free(l);
    return NULL;
}

int rbk_links_new(rbk_exchange *ex, rbk_rpc_doc *doc, rbk_str callback, rbk_links **ret)
{
    rbk_plan *plan = NULL;
    *ret = NULL;
    if (!doc->batch && callback.p == NULL)
        return 0;
    int r = rbk_plan_new(doc, &plan);
    if (r < 0)
        return r;
    if (!doc->batch) { /* it names nobody, whatever its params say */
        plan->any = false;
        plan->members[0] = (rbk_plan_member){0};
    }
    if (!plan->any && callback.p == NULL) {
        rbk_plan_free(plan);
        return 0;
    }
    rbk_links *l = doc->n <= RBK_GROUP_MAX ? make_links(ex, doc, callback) : NULL;
    if (l == NULL) {
        rbk_plan_free(plan);
        return doc->n <= RBK_GROUP_MAX ? RBK_E_NOMEM : RBK_E_PARAMS;
    }
    l->plan = plan;
    if (callback.p)
        share_callback(l);
    for (size_t i = 0; i < doc->n; i++)
        l->nodes[i].sync = !doc->items[i].err && !(doc->items[i].svc.set & RBK_SVC_BIT(callback));
    find_kinds(l);
    *ret = l;
    return 0;
}

void rbk_links_free(rbk_links *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; l->nodes && i < l->doc->n; i++) {
        rbk_buf_free(&l->nodes[i].kept);
        rbk_buf_free(&l->nodes[i].params);
    }
    rbk_plan_free(l->plan);
    pthread_mutex_destroy(&l->lock);
    free(l->nodes);
    free(l->queue);
    free(l);
}

/* --- Admission ---------------------------------------------------------------------------------------- */

static bool is_linked(const rbk_links *l, uint32_t item)
{
    return plan_of(l, item)->n_parents || plan_of(l, item)->n_children || l->nodes[item].member;
}

rbk_str rbk_links_fault(const rbk_links *l, uint32_t item)
{
    const rbk_service *svc = &l->doc->items[item].svc;
    const rbk_plan_member *m = plan_of(l, item);
    if (m->fault.p)
        return m->fault;
    if ((m->n_parents || l->nodes[item].member) &&
        rbk_str_starts(l->doc->items[item].method, RBK_STR("rpc.")))
        return RBK_STR("{\"method\":\"takes no results of others, and has no callback\"}");
    if (is_linked(l, item) && (svc->set & RBK_SVC_BIT(wait)))
        return RBK_STR("{\"$rpc.wait\":\"not where members share a callback or results\"}");
    if (l->nodes[item].member && (svc->set & RBK_SVC_BIT(failureCallback)))
        return RBK_STR("{\"$rpc.failureCallback\":\"not where members share a callback\"}");
    if (is_linked(l, item) && (svc->set & RBK_SVC_BIT(idempotencyKey)))
        return RBK_STR("{\"$rpc.idempotencyKey\":\"not where members share a callback or results\"}");
    if (m->n_parents && (svc->set & RBK_SVC_BIT(key)))
        return RBK_STR("{\"$rpc.key\":\"not where params name other members\"}");
    if (m->n_parents && (svc->set & RBK_SVC_BIT(delay)))
        return RBK_STR("{\"$rpc.delay\":\"not where params name other members\"}");
    return RBK_STR_NONE;
}

bool rbk_links_names(const rbk_links *l, uint32_t item)
{
    return plan_of(l, item)->n_parents > 0;
}

void rbk_links_describe(const rbk_links *l, uint32_t item, rbk_job *view, rbk_buf *chain)
{
    const rbk_plan_member *m = plan_of(l, item);
    const node *n = &l->nodes[item];
    for (size_t i = 0; i < m->n_children; i++) {
        uint32_t child = m->children[i], part = 0;
        if (l->nodes[child].kind == NODE_WAITING)
            continue;
        while (plan_of(l, child)->parents[part] != item)
            part++;
        rbk_chain_add_feed(chain, &(rbk_feed){.to = child, .part = part});
    }
    if (n->member) {
        view->flags |= RBK_JOB_MEMBER;
        if (!(view->flags & RBK_JOB_NOTIFICATION))
            rbk_chain_add_feed(chain, &(rbk_feed){.to = (int64_t)l->doc->n, .part = item});
    }
    if (n->kind == NODE_STORED && m->n_parents) {
        rbk_chain_add_needs(chain, (uint32_t)m->n_parents, l->e->conf.max_body);
        view->state = RBK_JOB_HELD;
        view->due = INT64_MAX;
    }
    view->chain = chain->n ? rbk_buf_view(chain) : RBK_STR_NONE;
}

static void enqueue(rbk_links *l, uint32_t item)
{
    if (l->nodes[item].queued)
        return;
    l->nodes[item].queued = true;
    l->queue[l->last++] = item;
}

static void keep(rbk_links *l, uint32_t item)
{
    pthread_mutex_lock(&l->lock);
    if (l->nodes[item].missing == 0)
        enqueue(l, item);
    pthread_mutex_unlock(&l->lock);
}

bool rbk_links_keep_job(rbk_links *l, uint32_t item, rbk_ticket *t)
{
    node *n = &l->nodes[item];
    t->watched = n->watched;
    n->job = n->kind == NODE_STORED;
    if (n->kind == NODE_STORED)
        return false;
    n->ticket = t;
    keep(l, item);
    return true;
}

bool rbk_links_keep_call(rbk_links *l, uint32_t item, rbk_call *c)
{
    c->linked = true;
    l->nodes[item].call = c;
    keep(l, item);
    return true;
}

/* --- The whole ------------------------------------------------------------------------------------------ */

rbk_str rbk_links_callback(const rbk_links *l)
{
    return l->callback;
}

rbk_ticket *rbk_links_whole(rbk_links *l, const rbk_request *rq, rbk_str headers)
{
    char lane[RBK_LANE_MAX + 1];
    rbk_send_lane(l->callback, lane);
    rbk_job view = {.state = RBK_JOB_HELD,
                    .flags = RBK_JOB_BATCH,
                    .created = rbk_engine_now(l->e),
                    .due = INT64_MAX,
                    .lane = rbk_str_z(lane),
                    .method = RBK_STR("rpc.batch"),
                    .rpc_id = RBK_STR("null"),
                    .callback = l->callback,
                    .caller = rq->caller,
                    .headers = headers};
    rbk_job *job = rbk_job_copy(&view);
    rbk_ticket *t = job ? rbk_ticket_new(job) : NULL;
    if (t == NULL) {
        rbk_job_free(job);
        return NULL;
    }
    t->op = RBK_OP_PUT;
    t->item = (uint32_t)l->doc->n;
    t->ex = rbk_exchange_ref(l->ex);
    return t;
}

bool rbk_links_is_whole(const rbk_links *l, const rbk_ticket *t)
{
    return t->item == l->doc->n;
}

/* What is known of each member; how many are to come. */
static uint32_t write_entries(const rbk_links *l, rbk_buf *b)
{
    uint32_t needs = 0;
    rbk_buf_c(b, '[');
    for (uint32_t i = 0; i < l->doc->n; i++) {
        const node *n = &l->nodes[i];
        bool silent = l->doc->items[i].notification || !n->member;
        if (i)
            rbk_buf_c(b, ',');
        if (silent)
            rbk_buf_lit(b, "false");
        else if (n->job && !n->done)
            rbk_buf_lit(b, "null");
        else
            rbk_exchange_write_fault(l->ex, i, b);
        needs += !silent && n->job && !n->done;
    }
    rbk_buf_c(b, ']');
    return needs;
}

/* False: it is not needed, or memory is out, and then nothing of it is to be stored. */
static bool complete_whole(const rbk_links *l, rbk_ticket *t, bool *ret_nomem)
{
    rbk_buf entries = RBK_BUF(SIZE_MAX / 2), chain = RBK_BUF(100);
    uint32_t needs = write_entries(l, &entries);
    rbk_chain_add_needs(&chain, needs, l->e->conf.max_result * PARENTS_OF_BATCH);
    rbk_job view = *t->job, *job = NULL;
    view.params = rbk_buf_view(&entries);
    view.chain = rbk_buf_view(&chain);
    if (!entries.err && !chain.err && needs)
        job = rbk_job_copy(&view);
    *ret_nomem = needs && job == NULL;
    rbk_buf_free(&entries);
    rbk_buf_free(&chain);
    if (job == NULL)
        return false;
    rbk_job_free(t->job);
    t->job = job;
    return true;
}

/* --- The group ------------------------------------------------------------------------------------------- */

static void drop(rbk_links *l, rbk_ticket *t)
{
    rbk_exchange *ex = t->ex;
    rbk_ticket_free(t);
    rbk_exchange_unref(ex);
    (void)l;
}

/* A parent that was refused; or n: none was. */
static size_t refused_parent(const rbk_links *l, const rbk_ticket *t)
{
    if (t->item == l->doc->n)
        return l->doc->n;
    const rbk_plan_member *m = plan_of(l, t->item);
    for (size_t at = 0; at < m->n_parents; at++)
        if (l->nodes[m->parents[at]].done)
            return m->parents[at];
    return l->doc->n;
}

/* One round; false: nobody was refused. */
static bool prune(rbk_links *l, rbk_list *jobs)
{
    rbk_list left = {0};
    bool any = false;
    for (rbk_node *at; (at = rbk_list_pop(jobs));) {
        rbk_ticket *t = (rbk_ticket *)(void *)at;
        size_t parent = refused_parent(l, t);
        if (parent == l->doc->n) {
            rbk_list_push(&left, at);
            continue;
        }
        node *n = &l->nodes[t->item];
        n->params = RBK_BUF(FAULT_MAX);
        rbk_plan_blame(l->doc, l->plan, t->item, parent, &n->params);
        rbk_exchange_fault(l->ex, t->item, RBK_E_PARAMS,
                           n->params.err ? RBK_STR_NONE : rbk_buf_view(&n->params));
        drop(l, t);
        any = true;
    }
    *jobs = left;
    return any;
}

static void refuse_all(rbk_links *l, rbk_list *jobs)
{
    for (rbk_node *at; (at = rbk_list_pop(jobs));) {
        rbk_ticket *t = (rbk_ticket *)(void *)at;
        rbk_exchange_fault(l->ex, t->item, RBK_E_BUSY, RBK_STR_NONE);
        drop(l, t);
    }
}

void rbk_links_group(rbk_links *l, rbk_list *jobs)
{
    bool nomem = false;
    while (prune(l, jobs))
        ;
    rbk_ticket *first = (rbk_ticket *)(void *)jobs->head;
    if (first && first->item == l->doc->n && !complete_whole(l, first, &nomem))
        drop(l, (rbk_ticket *)(void *)rbk_list_pop(jobs));
    if (nomem)
        refuse_all(l, jobs);
    for (rbk_node *at = jobs->head; at; at = at->next)
        ((rbk_ticket *)(void *)at)->more = at->next != NULL;
}

void rbk_links_resolve(rbk_ticket *const *tickets, size_t n)
{
    int64_t seq_of[RBK_GROUP_MAX + 1] = {0};
    for (size_t i = 0; i < n; i++)
        if (tickets[i]->item <= RBK_GROUP_MAX)
            seq_of[tickets[i]->item] = tickets[i]->job->seq;
    for (size_t i = 0; i < n; i++)
        if (tickets[i]->job->chain.n)
            rbk_chain_resolve(tickets[i]->job->chain, seq_of, RBK_GROUP_MAX + 1);
}

/* --- What waits here begins ---------------------------------------------------------------------------------- */

/* A rbk_part_fn. */
typedef struct source {
    const rbk_links *l;
    size_t item;
} source;

static int give_part(void *user, uint32_t part, rbk_str *ret)
{
    const source *s = user;
    *ret = s->l->nodes[plan_of(s->l, s->item)->parents[part]].response;
    return 0;
}

static void fail(rbk_links *l, uint32_t item, int err)
{
    node *n = &l->nodes[item];
    rbk_call *c = n->call;
    rbk_ticket *t = n->ticket;
    n->call = NULL;
    n->ticket = NULL;
    bool told = err == RBK_E_PARAMS && n->params.n && n->params.err == 0;
    if (c) {
        rbk_buf_c(&n->params, 0);
        if (err == RBK_E_PARAMS)
            rbk_call_error(c, rbk_err_rpc_code(err), rbk_strerror(err),
                           told && n->params.err == 0 ? n->params.p : NULL);
        else
            rbk_call_drop(c);
        rbk_call_unref(c);
        return;
    }
    atomic_fetch_add_explicit(&l->e->refused, 1, memory_order_relaxed);
    rbk_exchange_fault(l->ex, item, err, told ? rbk_buf_view(&n->params) : RBK_STR_NONE);
    drop(l, t);
}

static void run(rbk_links *l, node *n)
{
    rbk_call *c = n->call;
    n->call = NULL;
    if (n->params.n)
        c->params = rbk_buf_view(&n->params);
    if (rbk_call_in_time(c)) {
        rbk_execute_sync(l->e->execute, c);
    } else {
        rbk_call_expire(c);
        rbk_call_unref(c);
    }
}

static void store(rbk_links *l, uint32_t item)
{
    node *n = &l->nodes[item];
    rbk_list one = {0};
    rbk_job view = *n->ticket->job;
    view.params = rbk_buf_view(&n->params);
    rbk_job *job = rbk_job_copy(&view);
    if (job == NULL) {
        fail(l, item, RBK_E_BUSY);
        return;
    }
    rbk_job_free(n->ticket->job);
    n->ticket->job = job;
    rbk_list_push(&one, &n->ticket->node);
    n->ticket = NULL;
    rbk_admit_hand_over(l->e, l->ex, &one);
}

/* Its turn in the queue has come. The responses that it names do not change any more. */
static void begin(rbk_links *l, uint32_t item)
{
    node *n = &l->nodes[item];
    source from = {l, item};
    rbk_buf fault = RBK_BUF(FAULT_MAX);
    int r = n->lost ? RBK_E_BUSY : 0;
    if (n->call == NULL && n->ticket == NULL)
        return; /* refused at admission */
    n->params = RBK_BUF(l->e->conf.max_body);
    if (r == 0 && plan_of(l, item)->n_parents)
        r = rbk_refs_replace(l->doc->items[item].params, give_part, &from, &n->params, &fault);
    if (r == RBK_E_PARAMS) {
        rbk_buf_free(&n->params);
        n->params = fault;
        n->params.max = FAULT_MAX + 1;
    } else {
        rbk_buf_free(&fault);
    }
    if (r < 0)
        fail(l, item, r == RBK_E_PARAMS ? r : RBK_E_BUSY);
    else if (n->call)
        run(l, n);
    else
        store(l, item);
}

/* With the lock held, and again when it returns. */
static void take_turns(rbk_links *l)
{
    if (l->busy)
        return;
    l->busy = true;
    while (l->first < l->last) {
        uint32_t item = l->queue[l->first++];
        pthread_mutex_unlock(&l->lock);
        begin(l, item);
        pthread_mutex_lock(&l->lock);
    }
    l->busy = false;
}

/* What runs on other threads may end the exchange meanwhile: it stays until we are through. */
static void unlock_and_leave(rbk_links *l)
{
    rbk_exchange *ex = rbk_exchange_ref(l->ex);
    take_turns(l);
    pthread_mutex_unlock(&l->lock);
    rbk_exchange_unref(ex);
}

void rbk_links_start(rbk_links *l)
{
    pthread_mutex_lock(&l->lock);
    l->busy = false;
    unlock_and_leave(l);
}

/* With the lock held. A failure does not wait for the others. */
static void tell_children(rbk_links *l, uint32_t item)
{
    const rbk_plan_member *m = plan_of(l, item);
    bool failed = rbk_response_result(l->nodes[item].response).p == NULL;
    for (size_t i = 0; i < m->n_children; i++) {
        node *child = &l->nodes[m->children[i]];
        if (child->kind != NODE_WAITING)
            continue;
        child->lost |= l->nodes[item].lost;
        if (child->missing)
            child->missing--;
        if (failed || child->missing == 0)
            enqueue(l, m->children[i]);
    }
}

/* Those that are kept for other members are bounded together. */
static bool keep_copy(rbk_links *l, node *n, rbk_str response)
{
    l->kept += response.n;
    if (l->kept > l->e->conf.max_result * PARENTS_OF_BATCH)
        return false;
    n->kept = RBK_BUF(response.n + 1);
    rbk_buf_str(&n->kept, response);
    rbk_buf_c(&n->kept, 0);
    if (n->kept.err)
        return false;
    n->response = (rbk_str){n->kept.p, response.n};
    return true;
}

void rbk_links_done(rbk_links *l, uint32_t item, rbk_str response, bool copy)
{
    if (item >= l->doc->n)
        return;
    pthread_mutex_lock(&l->lock);
    node *n = &l->nodes[item];
    if (n->done) {
        pthread_mutex_unlock(&l->lock);
        return;
    }
    n->done = true;
    n->response = response;
    if (copy && !keep_copy(l, n, response)) {
        n->response = RBK_STR_NONE;
        n->lost = true;
    }
    tell_children(l, item);
    unlock_and_leave(l);
}

void rbk_links_lost(rbk_links *l, uint32_t item)
{
    pthread_mutex_lock(&l->lock);
    if (!l->nodes[item].done)
        l->nodes[item].lost = true;
    pthread_mutex_unlock(&l->lock);
    rbk_links_done(l, item, RBK_STR_NONE, false);
}
