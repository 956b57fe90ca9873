/* SPDX-License-Identifier: Apache-2.0 */
/* engine/links.c - see links.h: admission. Front loop, and where hosts are looked up first the names'
 * thread. */
#include "engine/links_impl.h"

#include "core/chain.h"
#include "engine/exchange.h"
#include "engine/lanes.h"

#include <stdlib.h>

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
            rbk_links_node *n = &l->nodes[i];
            const rbk_plan_member *m = rbk_links_plan(l, i);
            bool waits = n->sync;
            for (size_t at = 0; at < m->n_parents && !waits; at++)
                waits = l->nodes[m->parents[at]].kind == RBK_NODE_WAITING;
            again |= waits && n->kind != RBK_NODE_WAITING;
            n->kind = waits ? RBK_NODE_WAITING : RBK_NODE_STORED;
        }
    }
    for (size_t i = 0; i < l->doc->n; i++) {
        rbk_links_node *n = &l->nodes[i];
        const rbk_plan_member *m = rbk_links_plan(l, i);
        n->missing = n->kind == RBK_NODE_WAITING ? m->n_parents : 0;
        for (size_t at = 0; at < m->n_children; at++)
            n->watched |= !n->sync && l->nodes[m->children[at]].kind == RBK_NODE_WAITING;
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
    return rbk_links_plan(l, item)->n_parents || rbk_links_plan(l, item)->n_children || l->nodes[item].member;
}

rbk_str rbk_links_fault(const rbk_links *l, uint32_t item)
{
    const rbk_service *svc = &l->doc->items[item].svc;
    const rbk_plan_member *m = rbk_links_plan(l, item);
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
    return rbk_links_plan(l, item)->n_parents > 0;
}

void rbk_links_describe(const rbk_links *l, uint32_t item, rbk_job *view, rbk_buf *chain)
{
    const rbk_plan_member *m = rbk_links_plan(l, item);
    const rbk_links_node *n = &l->nodes[item];
    for (size_t i = 0; i < m->n_children; i++) {
        uint32_t child = m->children[i], part = 0;
        if (l->nodes[child].kind == RBK_NODE_WAITING)
            continue;
        while (rbk_links_plan(l, child)->parents[part] != item)
            part++;
        rbk_chain_add_feed(chain, &(rbk_feed){.to = child, .part = part});
    }
    if (n->member) {
        view->flags |= RBK_JOB_MEMBER;
        if (!(view->flags & RBK_JOB_NOTIFICATION))
            rbk_chain_add_feed(chain, &(rbk_feed){.to = (int64_t)l->doc->n, .part = item});
    }
    if (n->kind == RBK_NODE_STORED && m->n_parents) {
        rbk_chain_add_needs(chain, (uint32_t)m->n_parents, l->e->conf.max_body);
        view->state = RBK_JOB_HELD;
        view->due = INT64_MAX;
    }
    view->chain = chain->n ? rbk_buf_view(chain) : RBK_STR_NONE;
}

void rbk_links_enqueue(rbk_links *l, uint32_t item)
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
        rbk_links_enqueue(l, item);
    pthread_mutex_unlock(&l->lock);
}

bool rbk_links_keep_job(rbk_links *l, uint32_t item, rbk_ticket *t)
{
    rbk_links_node *n = &l->nodes[item];
    t->watched = n->watched;
    n->job = n->kind == RBK_NODE_STORED;
    if (n->kind == RBK_NODE_STORED)
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
        const rbk_links_node *n = &l->nodes[i];
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
    rbk_chain_add_needs(&chain, needs, l->e->conf.max_result * RBK_RESULTS_OF_LINKS);
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

void rbk_links_drop(rbk_ticket *t)
{
    rbk_exchange *ex = t->ex;
    rbk_ticket_free(t);
    rbk_exchange_unref(ex);
}

/* A parent that was refused; or n: none was. */
static size_t refused_parent(const rbk_links *l, const rbk_ticket *t)
{
    if (t->item == l->doc->n)
        return l->doc->n;
    const rbk_plan_member *m = rbk_links_plan(l, t->item);
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
        rbk_links_node *n = &l->nodes[t->item];
        n->params = RBK_BUF(RBK_LINKS_FAULT_MAX);
        rbk_plan_blame(l->doc, l->plan, t->item, parent, &n->params);
        rbk_exchange_fault(l->ex, t->item, RBK_E_PARAMS,
                           n->params.err ? RBK_STR_NONE : rbk_buf_view(&n->params));
        rbk_links_drop(t);
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
        rbk_links_drop(t);
    }
}

void rbk_links_group(rbk_links *l, rbk_list *jobs)
{
    bool nomem = false;
    while (prune(l, jobs))
        ;
    rbk_ticket *first = (rbk_ticket *)(void *)jobs->head;
    if (first && first->item == l->doc->n && !complete_whole(l, first, &nomem))
        rbk_links_drop((rbk_ticket *)(void *)rbk_list_pop(jobs));
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
