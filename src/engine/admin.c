/* SPDX-License-Identifier: Apache-2.0 */
/* engine/admin.c - see admin.h: lists, single jobs, and the beginning of changes. All of them
 * begin with a question to the reader thread. Any thread. */
#include "engine/admin.h"

#include "engine/change.h"
#include "engine/reader.h"
#include "engine/store_thread.h"

#include "base/error.h"

#include <stdlib.h>

/* --- A filter of one's own ----------------------------------------------------------------- */

static void keep_str(rbk_str *s, char **at)
{
    if (s->p == NULL)
        return;
    if (s->n)
        memcpy(*at, s->p, s->n);
    s->p = *at;
    *at += s->n;
    *(*at)++ = 0;
}

/* Into `ret`; its strings lie in the block that is returned, malloc'ed. NULL: no memory. */
static char *copy_filter(const rbk_job_filter *from, rbk_job_filter *ret)
{
    *ret = from ? *from : (rbk_job_filter){0};
    char *block = malloc(ret->method.n + ret->receiver.n + ret->rpc_id.n + ret->caller.n + 4);
    char *at = block;
    if (block == NULL)
        return NULL;
    keep_str(&ret->method, &at);
    keep_str(&ret->receiver, &at);
    keep_str(&ret->rpc_id, &at);
    keep_str(&ret->caller, &at);
    return block;
}

static size_t page_of(size_t max)
{
    return max && max < RBK_ADMIN_PAGE_MAX ? max : RBK_ADMIN_PAGE_MAX;
}

static void free_chain(rbk_job *jobs)
{
    while (jobs) {
        rbk_job *next = jobs->next;
        rbk_job_free(jobs);
        jobs = next;
    }
}

/* --- Lists, and pages of changes -------------------------------------------------------- */

typedef struct page_question {
    rbk_question q; /* first */
    rbk_job_filter filter;
    char *strings;
    int64_t after;
    size_t max;
    rbk_job *jobs; /* what was found */
    int64_t next;
    int err;
    rbk_jobs_fn fn; /* of a list */
    void *user;
    rbk_changing *change; /* of a change */
} page_question;

static void look_at_page(rbk_question *q, const rbk_store_ops *ops, rbk_store *st)
{
    page_question *p = (page_question *)(void *)q;
    rbk_error err = {0};
    p->err = RBK_E_BUSY;
    if (st)
        p->err = ops->list(st, &p->filter, p->after, p->max, &p->jobs, &p->next, &err);
    if (p->err < 0)
        p->jobs = NULL;
}

static void free_page(page_question *p)
{
    free_chain(p->jobs);
    free(p->strings);
    free(p);
}

static void tell_list(rbk_question *q)
{
    page_question *p = (page_question *)(void *)q;
    p->fn(p->user, p->err < 0 ? p->err : 0, p->jobs, p->err < 0 ? 0 : p->next);
    free_page(p);
}

/* Each job that can be changed goes to the store thread. */
static void change_job(rbk_changing *c, const rbk_job *job)
{
    rbk_ticket *t = NULL;
    rbk_changing_owe(c);
    int r = rbk_change_ticket(c, job, &t);
    if (r < 0)
        rbk_changing_tell(c, r);
    else
        rbk_store_push_change(c->e->store, t);
}

static void tell_change_page(rbk_question *q)
{
    page_question *p = (page_question *)(void *)q;
    if (p->err < 0)
        p->change->sum.err = p->err; /* nobody else has it yet */
    else
        p->change->sum.next = p->next;
    for (const rbk_job *job = p->jobs; job; job = job->next)
        change_job(p->change, job);
    rbk_changing_leave(p->change);
    free_page(p);
}

static page_question *new_page(const rbk_job_filter *filter, int64_t after, size_t max)
{
    page_question *p = calloc(1, sizeof *p);
    if (p && (p->strings = copy_filter(filter, &p->filter)) == NULL) {
        free(p);
        p = NULL;
    }
    if (p) {
        p->q.look = look_at_page;
        p->after = after;
        p->max = page_of(max);
    }
    return p;
}

int rbk_engine_list(rbk_engine *e, const rbk_job_filter *filter, int64_t after, size_t max,
                    rbk_jobs_fn fn, void *user)
{
    page_question *p = new_page(filter, after, max);
    if (p == NULL)
        return RBK_E_NOMEM;
    p->q.tell = tell_list;
    p->fn = fn;
    p->user = user;
    int r = rbk_reader_ask(e->reader, &p->q);
    if (r < 0)
        free_page(p);
    return r;
}

/* --- One job ---------------------------------------------------------------------------- */

typedef struct job_question {
    rbk_question q; /* first */
    rbk_id id;
    rbk_job *job;
    rbk_attempt_note notes[RBK_ATTEMPTS_KEPT];
    int n_notes, err;
    rbk_job_detail_fn fn; /* of a look */
    void *user;
    rbk_changing *change; /* of a change */
} job_question;

static void look_at_job(rbk_question *q, const rbk_store_ops *ops, rbk_store *st)
{
    job_question *j = (job_question *)(void *)q;
    rbk_error err = {0};
    j->err = st ? ops->get(st, (int64_t)j->id.seq, (int64_t)j->id.rnd, &j->job, &err) : RBK_E_BUSY;
    if (j->err < 0)
        j->job = NULL;
    else if (j->fn)
        j->n_notes = ops->attempts(st, (int64_t)j->id.seq, RBK_ATTEMPTS_KEPT, j->notes, &err);
}

static void tell_detail(rbk_question *q)
{
    job_question *j = (job_question *)(void *)q;
    j->fn(j->user, j->job, j->notes, j->n_notes > 0 ? (size_t)j->n_notes : 0);
    rbk_job_free(j->job);
    free(j);
}

static void tell_change_job(rbk_question *q)
{
    job_question *j = (job_question *)(void *)q;
    if (j->job && rbk_changing_sees(j->change, j->job))
        change_job(j->change, j->job);
    else
        j->change->sum.err = j->job ? RBK_E_NOTFOUND : j->err; /* nobody else has it yet */
    rbk_changing_leave(j->change);
    rbk_job_free(j->job);
    free(j);
}

static int ask_job(rbk_engine *e, job_question *like)
{
    job_question *j = malloc(sizeof *j);
    if (j == NULL)
        return RBK_E_NOMEM;
    *j = *like;
    j->q.look = look_at_job;
    int r = rbk_reader_ask(e->reader, &j->q);
    if (r < 0)
        free(j);
    return r;
}

int rbk_engine_get(rbk_engine *e, rbk_str id, rbk_job_detail_fn fn, void *user)
{
    job_question j = {.q.tell = tell_detail, .fn = fn, .user = user};
    int r = rbk_id_parse(id, &j.id);
    return r < 0 ? r : ask_job(e, &j);
}

/* --- Changes ---------------------------------------------------------------------------- */

/* As a callback is checked at its admission. */
static int check_to(rbk_engine *e, rbk_str to, rbk_error *err)
{
    rbk_dsn dsn;
    char reason[160];
    rbk_netpolicy *policy = rbk_engine_policy(e);
    rbk_dsn_fault fault = rbk_netpolicy_check(policy, to, &dsn);
    if (fault != RBK_DSN_OK)
        rbk_dsn_reason(fault, to, rbk_netpolicy_schemes(policy), reason);
    rbk_netpolicy_unref(policy);
    return fault == RBK_DSN_OK ? 0 : rbk_fail_text(err, RBK_E_PARAMS, "%s", reason);
}

static int ask_page(rbk_engine *e, const rbk_change *change, rbk_changing *c)
{
    page_question *p = new_page(change->filter, change->after, change->max);
    if (p == NULL)
        return RBK_E_NOMEM;
    p->q.tell = tell_change_page;
    p->change = c;
    int r = rbk_reader_ask(e->reader, &p->q);
    if (r < 0)
        free_page(p);
    return r;
}

int rbk_engine_change(rbk_engine *e, const rbk_change *change, rbk_changed_fn fn, void *user,
                      rbk_error *err)
{
    job_question j = {.q.tell = tell_change_job};
    rbk_changing *c = NULL;
    int r = change->id.p ? rbk_id_parse(change->id, &j.id) : 0;
    if (r == 0 && change->to.p)
        r = change->kind == RBK_CHANGE_RETRY ? check_to(e, change->to, err) : RBK_E_INVAL;
    if (r == 0)
        r = rbk_changing_new(e, change, fn, user, &c);
    if (r < 0)
        return r;
    j.change = c;
    r = change->id.p ? ask_job(e, &j) : ask_page(e, change, c);
    if (r < 0)
        rbk_changing_forget(c);
    return r;
}
