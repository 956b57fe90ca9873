/* SPDX-License-Identifier: Apache-2.0 */
/* engine/quotas.c - see quotas.h. One lock guards all; it is taken once for a new job, once for a
 * commit, and for each caller that a commit changed. Jobs without a caller do not come here. */
#include "engine/quotas.h"

#include "base/map.h"
#include "engine/engine_impl.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* What one caller has: as the store has it, on its way there, and as the store told since the last
 * commit that was settled. */
struct rbk_quota {
    rbk_quotas *of;
    rbk_str name; /* the map's */
    int64_t jobs, bytes, arriving, arriving_bytes, told_jobs, told_bytes;
    struct rbk_quota *next; /* of those that were told of */
    bool told;
};

struct rbk_quotas {
    pthread_mutex_t lock;
    rbk_map *by_name;
    rbk_quota *told;
};

rbk_quotas *rbk_quotas_new(void)
{
    rbk_quotas *q = calloc(1, sizeof *q);
    if (q == NULL || (q->by_name = rbk_map_new()) == NULL) {
        free(q);
        return NULL;
    }
    pthread_mutex_init(&q->lock, NULL);
    return q;
}

static void free_one(rbk_str name, void *value, void *user)
{
    (void)name;
    (void)user;
    free(value);
}

void rbk_quotas_free(rbk_quotas *q)
{
    if (q == NULL)
        return;
    rbk_map_each(q->by_name, free_one, NULL);
    rbk_map_free(q->by_name);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

/* --- With the lock held ------------------------------------------------------------------------ */

static rbk_quota *find(rbk_quotas *q, rbk_str name)
{
    rbk_quota *c = rbk_map_get(q->by_name, name);
    if (c || (c = calloc(1, sizeof *c)) == NULL)
        return c;
    c->of = q;
    if (rbk_map_put(q->by_name, name, c, &c->name) == 0)
        return c;
    free(c);
    return NULL;
}

static void forget_if_idle(rbk_quotas *q, rbk_quota *c)
{
    if (c->jobs == 0 && c->arriving == 0 && !c->told)
        free(rbk_map_remove(q->by_name, c->name));
}

static void tell(rbk_quotas *q, rbk_quota *c, int64_t jobs, int64_t bytes)
{
    c->told_jobs = jobs;
    c->told_bytes = bytes;
    if (c->told)
        return;
    c->told = true;
    c->next = q->told;
    q->told = c;
}

static void leave(rbk_ticket *t)
{
    rbk_quota *c = t->quota;
    t->quota = NULL;
    c->arriving--;
    c->arriving_bytes -= t->quota_bytes;
}

static rbk_quota_verdict judge(const rbk_quota *c, const rbk_caller *caller)
{
    if (caller && caller->max_pending && c->jobs + c->arriving >= caller->max_pending)
        return RBK_QUOTA_JOBS;
    if (caller && caller->max_pending_bytes && c->bytes + c->arriving_bytes >= caller->max_pending_bytes)
        return RBK_QUOTA_BYTES;
    return RBK_QUOTA_FINE;
}

/* --- Places ------------------------------------------------------------------------------------ */

rbk_quota_verdict rbk_quotas_enter(rbk_quotas *q, rbk_ticket *t, const rbk_caller *caller)
{
    rbk_quota_verdict v = RBK_QUOTA_NOMEM;
    if (t->job->caller.n == 0)
        return RBK_QUOTA_FINE;
    pthread_mutex_lock(&q->lock);
    rbk_quota *c = find(q, t->job->caller);
    if (c && (v = judge(c, caller)) == RBK_QUOTA_FINE) {
        t->quota = c;
        t->quota_bytes = (int64_t)(rbk_job_bytes(t->job) - sizeof *t->job);
        c->arriving++;
        c->arriving_bytes += t->quota_bytes;
    }
    pthread_mutex_unlock(&q->lock);
    return v;
}

void rbk_quotas_leave(rbk_ticket *t)
{
    rbk_quota *c = t->quota;
    rbk_quotas *q = c->of;
    pthread_mutex_lock(&q->lock);
    leave(t);
    forget_if_idle(q, c);
    pthread_mutex_unlock(&q->lock);
}

/* --- The store thread --------------------------------------------------------------------------- */

/* Without memory for a caller that is not known: it is told of again with its next change, and all are
 * at the next start. */
void rbk_quotas_counted(rbk_quotas *q, rbk_str caller, int64_t jobs, int64_t bytes)
{
    pthread_mutex_lock(&q->lock);
    rbk_quota *c = find(q, caller);
    if (c)
        tell(q, c, jobs, bytes);
    pthread_mutex_unlock(&q->lock);
}

static void tell_none(rbk_str name, void *value, void *user)
{
    (void)name;
    tell(user, value, 0, 0);
}

void rbk_quotas_begin(rbk_quotas *q)
{
    pthread_mutex_lock(&q->lock);
    rbk_map_each(q->by_name, tell_none, q);
    pthread_mutex_unlock(&q->lock);
}

void rbk_quotas_settle(rbk_quotas *q, const rbk_store_op *ops, rbk_ticket *const *tickets, size_t n)
{
    pthread_mutex_lock(&q->lock);
    for (size_t i = 0; i < n; i++)
        if (ops[i].kind == RBK_OP_PUT && tickets[i]->quota) {
            rbk_quota *c = tickets[i]->quota;
            leave(tickets[i]);
            if (!c->told) /* nothing came of it; it may have to be forgotten */
                tell(q, c, c->jobs, c->bytes);
        }
    while (q->told) {
        rbk_quota *c = q->told;
        q->told = c->next;
        c->told = false;
        c->jobs = c->told_jobs;
        c->bytes = c->told_bytes;
        forget_if_idle(q, c);
    }
    pthread_mutex_unlock(&q->lock);
}

/* --- Who has most --------------------------------------------------------------------------------- */

typedef struct top {
    rbk_quota_use *list;
    size_t n, max;
} top;

static void rank(rbk_str name, void *value, void *user)
{
    const rbk_quota *c = value;
    top *t = user;
    rbk_quota_use use = {.jobs = c->jobs + c->arriving, .bytes = c->bytes + c->arriving_bytes};
    size_t at = t->n;
    if (use.jobs == 0 || (t->n == t->max && use.jobs <= t->list[t->max - 1].jobs))
        return;
    snprintf(use.caller, sizeof use.caller, "%.*s", RBK_FMT(name));
    if (t->n < t->max)
        t->n++;
    else
        at--;
    for (; at > 0 && t->list[at - 1].jobs < use.jobs; at--)
        t->list[at] = t->list[at - 1];
    t->list[at] = use;
}

size_t rbk_engine_quotas(rbk_engine *e, rbk_quota_use *ret, size_t max)
{
    rbk_quotas *q = e->quotas;
    top t = {.list = ret, .max = max};
    pthread_mutex_lock(&q->lock);
    rbk_map_each(q->by_name, rank, &t);
    pthread_mutex_unlock(&q->lock);
    return t.n;
}
