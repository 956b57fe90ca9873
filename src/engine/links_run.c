/* SPDX-License-Identifier: Apache-2.0 */
/* engine/links_run.c - see links.h. Members that wait here stand in a queue once they have all that
 * they name, or one of it has failed; one thread at a time takes from it, whichever brought the
 * last part, so that a long chain costs no stack. Any thread. */
#include "engine/links_impl.h"

#include "engine/exchange.h"
#include "engine/execute.h"
#include "engine/held.h"

/* --- What waits here begins ---------------------------------------------------------------------------------- */

/* A rbk_part_fn. */
typedef struct source {
    const rbk_links *l;
    size_t item;
} source;

static int give_part(void *user, uint32_t part, rbk_str *ret)
{
    const source *s = user;
    *ret = s->l->nodes[rbk_links_plan(s->l, s->item)->parents[part]].response;
    return 0;
}

static void fail(rbk_links *l, uint32_t item, int err)
{
    rbk_links_node *n = &l->nodes[item];
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
    rbk_links_drop(t);
}

static void run(rbk_links *l, rbk_links_node *n)
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
    rbk_links_node *n = &l->nodes[item];
    rbk_job view = *n->ticket->job;
    view.params = rbk_buf_view(&n->params);
    rbk_job *job = rbk_job_copy(&view);
    if (job == NULL) {
        fail(l, item, RBK_E_BUSY);
        return;
    }
    rbk_job_free(n->ticket->job);
    n->ticket->job = job;
    rbk_ticket *t = n->ticket;
    n->ticket = NULL;
    rbk_admit_late(l->e, t);
}

/* The params have what they name: do they fit the method's schema? */
static int check(const rbk_links *l, uint32_t item, rbk_buf *fault)
{
    rbk_schema_fault wrong;
    rbk_buf *params = &l->nodes[item].params;
    rbk_buf_c(params, 0);
    if (params->err)
        return RBK_E_NOMEM;
    params->n--;
    if (rbk_methods_fit(l->e->conf.methods, l->doc->items[item].method, rbk_buf_view(params), &wrong))
        return 0;
    rbk_buf_free(fault);
    rbk_exchange_write_reason(fault, rbk_str_z(wrong.name), wrong.reason);
    return RBK_E_PARAMS;
}

/* Its turn in the queue has come. The responses that it names do not change any more. */
static void begin(rbk_links *l, uint32_t item)
{
    rbk_links_node *n = &l->nodes[item];
    source from = {l, item};
    rbk_buf fault = RBK_BUF(RBK_LINKS_FAULT_MAX);
    int r = n->lost ? RBK_E_BUSY : 0;
    if (n->call == NULL && n->ticket == NULL)
        return; /* refused at admission */
    n->params = RBK_BUF(l->e->conf.max_body);
    if (r == 0 && rbk_links_plan(l, item)->n_parents) {
        r = rbk_refs_replace(l->doc->items[item].params, give_part, &from, &n->params, &fault);
        n->params.max++; /* for the end of the text */
        r = r == 0 ? check(l, item, &fault) : r;
    }
    if (r == RBK_E_PARAMS) {
        rbk_buf_free(&n->params);
        n->params = fault;
        n->params.max = RBK_LINKS_FAULT_MAX + 1;
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
    const rbk_plan_member *m = rbk_links_plan(l, item);
    bool failed = rbk_response_result(l->nodes[item].response).p == NULL;
    for (size_t i = 0; i < m->n_children; i++) {
        rbk_links_node *child = &l->nodes[m->children[i]];
        if (child->kind != RBK_NODE_WAITING)
            continue;
        child->lost |= l->nodes[item].lost;
        if (child->missing)
            child->missing--;
        if (failed || child->missing == 0)
            rbk_links_enqueue(l, m->children[i]);
    }
}

/* Those that are kept for other members are bounded together. */
static bool keep_copy(rbk_links *l, rbk_links_node *n, rbk_str response)
{
    l->kept += response.n;
    if (l->kept > l->e->conf.max_result * RBK_RESULTS_OF_LINKS)
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
    rbk_links_node *n = &l->nodes[item];
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
