/* SPDX-License-Identifier: Apache-2.0 */
/* engine/change.c - see change.h: requests for changes, and what a change is for a job in each
 * state. The moves are those of core/job_state.c. Any thread. */
#include "engine/change.h"

#include "core/envelope.h"
#include "engine/call.h"
#include "engine/courier.h"
#include "engine/lanes.h"
#include "engine/store_thread.h"
#include "engine/watch.h"

#include <stdio.h>
#include <stdlib.h>

enum { TRIES = 100 };

/* --- Requests --------------------------------------------------------------------------- */

static void dropped(rbk_waiter *w)
{
    rbk_changing_tell((rbk_changing *)(void *)w, RBK_E_BUSY);
}

/* Their number, which is bounded by itself. */
static size_t *count_of(rbk_engine *e, rbk_change_kind kind, bool owned)
{
    return kind == RBK_CHANGE_ACK ? &e->n_acks : owned ? &e->n_owned_changes : &e->n_changes;
}

static size_t most_of(rbk_change_kind kind, bool owned)
{
    return kind == RBK_CHANGE_ACK ? RBK_ACKS_MAX : owned ? RBK_OWNED_CHANGES_MAX : RBK_CHANGES_MAX;
}

int rbk_changing_new(rbk_engine *e, const rbk_change *change, rbk_changed_fn fn, void *user,
                     rbk_changing **ret)
{
    rbk_changing *c = calloc(1, sizeof *c);
    char *to = change->to.p ? strndup(change->to.p, change->to.n) : NULL;
    char *owner = change->owner.n ? strndup(change->owner.p, change->owner.n) : NULL;
    bool made = c && !(change->to.p && to == NULL) && !(change->owner.n && owner == NULL);
    size_t *n = count_of(e, change->kind, change->owned);
    int r = made ? 0 : RBK_E_NOMEM;
    if (r == 0) {
        *c = (rbk_changing){.waiter = {dropped},
                            .e = e,
                            .kind = change->kind,
                            .one = change->id.p != NULL,
                            .states = change->id.p || !change->filter ? 0 : change->filter->states,
                            .to = to,
                            .owned = change->owned,
                            .owner = owner,
                            .fn = fn,
                            .user = user,
                            .left = 1};
        rbk_link_init(&c->link);
        pthread_mutex_lock(&e->changes_lock);
        if (*n >= most_of(change->kind, change->owned)) {
            r = RBK_E_BUSY;
        } else {
            rbk_link_append(&e->changes, &c->link);
            ++*n;
        }
        pthread_mutex_unlock(&e->changes_lock);
    }
    if (r < 0) {
        free(to);
        free(owner);
        free(c);
        return r;
    }
    *ret = c;
    return 0;
}

void rbk_changing_owe(rbk_changing *c)
{
    pthread_mutex_lock(&c->e->changes_lock);
    c->left++;
    pthread_mutex_unlock(&c->e->changes_lock);
}

static const char *name_of(rbk_change_kind kind)
{
    static const char *const names[] = {
        [RBK_CHANGE_RETRY] = "retry", [RBK_CHANGE_CANCEL] = "cancel", [RBK_CHANGE_PURGE] = "purge", [RBK_CHANGE_ACK] = "ack"};
    return names[kind];
}

/* With the lock held, which it lets go. */
static void leave(rbk_changing *c)
{
    rbk_engine *e = c->e;
    bool last = --c->left == 0;
    if (last) {
        rbk_link_remove(&c->link);
        --*count_of(e, c->kind, c->owned);
    }
    pthread_mutex_unlock(&e->changes_lock);
    if (!last)
        return;
    if (c->sum.changed && !c->owned)
        rbk_event(RBK_LOG(e), RBK_INFO, "jobs.changed", RBK_FZ("change", name_of(c->kind)),
                  RBK_F("jobs", c->sum.changed));
    if (!c->told)
        c->fn(c->user, &c->sum);
    free(c->to);
    free(c->owner);
    free(c);
}

void rbk_changing_tell(rbk_changing *c, int err)
{
    pthread_mutex_lock(&c->e->changes_lock);
    if (err == 0)
        c->sum.changed++;
    else
        c->sum.skipped++;
    /* A page goes on over jobs that are not as it takes them. */
    if (err && (c->one || (err != RBK_E_STATE && err != RBK_E_NOTFOUND && err != RBK_E_BUSY)))
        c->sum.err = err;
    leave(c);
}

void rbk_changing_done(rbk_changing *c, uint8_t state)
{
    pthread_mutex_lock(&c->e->changes_lock);
    c->sum.changed++;
    c->sum.state = state;
    leave(c);
}

bool rbk_changing_sees(const rbk_changing *c, const rbk_job *job)
{
    return !c->owned || rbk_job_is_of(job, c->owner ? rbk_str_z(c->owner) : RBK_STR_NONE);
}

void rbk_changing_leave(rbk_changing *c)
{
    pthread_mutex_lock(&c->e->changes_lock);
    leave(c);
}

void rbk_changing_forget(rbk_changing *c)
{
    pthread_mutex_lock(&c->e->changes_lock);
    c->told = true;
    leave(c);
}

/* One that is not told yet; it is marked, and copied. */
static bool next_untold(rbk_engine *e, rbk_changing *ret)
{
    bool found = false;
    pthread_mutex_lock(&e->changes_lock);
    for (rbk_link *l = e->changes.next; !found && l != &e->changes; l = l->next) {
        rbk_changing *c = RBK_OF_LINK(l, rbk_changing, link);
        found = !c->told;
        if (found)
            *ret = *c;
        c->told = true;
    }
    pthread_mutex_unlock(&e->changes_lock);
    return found;
}

void rbk_changes_end(rbk_engine *e)
{
    for (rbk_changing c; next_untold(e, &c);) {
        c.sum.err = RBK_E_BUSY;
        c.fn(c.user, &c.sum);
    }
}

/* --- A job's change ----------------------------------------------------------------------- */

/* A response of nothing but the error. */
static int answer_cancelled(rbk_job *job)
{
    rbk_buf b = RBK_BUF(SIZE_MAX / 2);
    rbk_to to = {job->rpc_id, (job->flags & RBK_JOB_VERSIONED) != 0};
    rbk_write_fault(&b, to, RBK_E_CANCELLED, RBK_STR_NONE);
    if (b.err) {
        rbk_buf_free(&b);
        return RBK_E_NOMEM;
    }
    job->response = rbk_buf_view(&b);
    job->mem[1] = b.p;
    return 0;
}

static int prepare_cancel(rbk_ticket *t)
{
    rbk_job *job = t->job;
    if (job->state == RBK_JOB_DUE)
        return rbk_ticket_move(t, RBK_EV_CANCEL, RBK_OP_DONE);
    int r = rbk_job_is_terminal((rbk_job_state)job->state)
                ? RBK_E_STATE
                : rbk_ticket_move(t, RBK_EV_CANCEL, RBK_OP_RESULT);
    if (r < 0)
        return r;
    if (job->flags & RBK_JOB_NOTIFICATION) { /* nothing is to be sent: it ends at once */
        uint8_t from = t->from;
        r = rbk_ticket_move(t, RBK_EV_CANCEL, RBK_OP_DONE);
        t->from = from;
        return r;
    }
    r = answer_cancelled(job);
    if (r == 0 && (job->flags & RBK_JOB_MEMBER))
        rbk_job_collect(t);
    return r;
}

static int prepare_retry(rbk_ticket *t, const rbk_job *stored)
{
    if ((t->job->flags & RBK_JOB_NOTIFICATION) || stored->response.n == 0)
        return RBK_E_STATE;
    if (t->job->state != RBK_JOB_DUE) {
        t->job->first_attempt = stored->first_attempt;
        return rbk_ticket_move(t, RBK_EV_REDRIVE, RBK_OP_REDRIVE);
    }
    if (rbk_changing_of(t)->to)
        return RBK_E_STATE;
    t->op = RBK_OP_PARK; /* nothing moves but its time */
    t->from = RBK_JOB_DUE;
    return 0;
}

static int prepare_purge(rbk_ticket *t)
{
    uint8_t s = t->job->state;
    if (s != RBK_JOB_DEAD && s != RBK_JOB_DELIVERED && s != RBK_JOB_CANCELLED &&
        s != RBK_JOB_COLLECTED)
        return RBK_E_STATE;
    t->op = RBK_OP_PURGE;
    t->from = s;
    return 0;
}

/* One that waits in the store; it may have been sent before. */
static int prepare_ack(rbk_ticket *t)
{
    if (t->job->state != RBK_JOB_DUE)
        return RBK_E_NOTFOUND;
    rbk_ticket_move(t, RBK_EV_SEND, RBK_OP_DONE);
    return rbk_ticket_move(t, RBK_EV_ACK, RBK_OP_DONE);
}

static int prepare(rbk_ticket *t, const rbk_job *stored)
{
    switch (rbk_changing_of(t)->kind) {
    case RBK_CHANGE_RETRY:
        return prepare_retry(t, stored);
    case RBK_CHANGE_CANCEL:
        return prepare_cancel(t);
    case RBK_CHANGE_PURGE:
        return prepare_purge(t);
    case RBK_CHANGE_ACK:
        return prepare_ack(t);
    }
    return RBK_E_STATE;
}

/* A cancel before there is a response makes one, which is an error. */
static bool is_diverted(const rbk_changing *c, const rbk_job *job)
{
    return c->kind == RBK_CHANGE_CANCEL && job->failure_callback.p &&
           (job->state == RBK_JOB_QUEUED || job->state == RBK_JOB_HELD);
}

/* Of the job, what the change needs: a page of large jobs stays small. */
static rbk_job *copy_for_change(const rbk_changing *c, const rbk_job *job)
{
    char lane[RBK_LANE_MAX + 1];
    rbk_wall_ms now = rbk_engine_now(c->e);
    bool diverted = is_diverted(c, job);
    rbk_str callback = c->to ? rbk_str_z(c->to) : diverted ? job->failure_callback : job->callback;
    rbk_send_lane(callback, lane);
    rbk_job view = {.seq = job->seq, .rnd = job->rnd, .state = job->state, .flags = job->flags,
                    .attempts = job->attempts, .last_status = job->last_status,
                    .created = job->created, .due = now, .first_attempt = now,
                    .lane = rbk_str_z(lane), .rpc_id = job->rpc_id,
                    .callback = c->to || diverted ? callback : RBK_STR_NONE,
                    .chain = job->chain};
    return rbk_job_copy(&view);
}

int rbk_change_ticket(rbk_changing *c, const rbk_job *job, rbk_ticket **ret)
{
    rbk_job *mine = copy_for_change(c, job);
    rbk_ticket *t = mine ? rbk_ticket_new(mine) : NULL;
    if (t == NULL) {
        rbk_job_free(mine);
        return RBK_E_NOMEM;
    }
    t->waiter = &c->waiter;
    t->waiting = true;
    t->divert = is_diverted(c, job);
    t->shelf = RBK_SHELF_WAIT;
    int r = prepare(t, job);
    if (r < 0) {
        t->waiter = NULL;
        rbk_ticket_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

/* --- Once more ------------------------------------------------------------------------------
 *
 * A page of jobs may be on its way all at once. A request asks for one after the other, so that
 * it never has more than one place in the reader's queue, and nobody else is refused for it. */

static rbk_changing *asked_by(rbk_question *q)
{
    return (rbk_changing *)(void *)((char *)q - offsetof(rbk_changing, again));
}

static void look_again(rbk_question *q, const rbk_store_ops *ops, rbk_store *st)
{
    rbk_changing *c = asked_by(q);
    const rbk_job *job = c->asked->job;
    rbk_error err = {0};
    c->found = NULL;
    c->found_err = st ? ops->get(st, job->seq, job->rnd, &c->found, &err) : RBK_E_BUSY;
}

/* Another retry came between, and the job has ended once more. */
static bool was_redriven(const rbk_ticket *t, const rbk_job *found)
{
    return t->op == RBK_OP_REDRIVE && found->state == t->from &&
           found->first_attempt != t->job->first_attempt;
}

/* What was wanted of the job as it stood. A filter that named other states does not mean it
 * any more; and one that was sent meanwhile is not sent twice. */
static int change_found(rbk_changing *c, const rbk_ticket *t, const rbk_job *found,
                        rbk_ticket **ret)
{
    uint8_t state = found->state;
    if (c->kind == RBK_CHANGE_ACK && !rbk_str_eqz(found->callback, c->session))
        return RBK_E_NOTFOUND;
    if (c->kind == RBK_CHANGE_ACK && state == RBK_JOB_DELIVERED)
        return 0; /* acknowledged before */
    bool redriven = was_redriven(t, found);
    bool sent = c->kind == RBK_CHANGE_RETRY && state == RBK_JOB_DELIVERED &&
                (redriven || t->from != state);
    if ((c->states && !(c->states >> state & 1)) || (sent && c->to) || (redriven && !sent))
        return RBK_E_STATE;
    return sent ? 0 : rbk_change_ticket(c, found, ret);
}

static void ask_for_asked(rbk_changing *c);

static void try_again(rbk_question *q)
{
    rbk_changing *c = asked_by(q);
    rbk_ticket *t = c->asked, *next = NULL;
    rbk_job *found = c->found;
    int r = c->found_err;
    pthread_mutex_lock(&c->e->changes_lock);
    c->asked = (rbk_ticket *)(void *)rbk_list_pop(&c->to_ask);
    bool more = c->asked != NULL;
    pthread_mutex_unlock(&c->e->changes_lock);
    if (more)
        ask_for_asked(c); /* `t` owes an answer still: the request is there */
    if (r == 0)
        r = change_found(c, t, found, &next);
    if (next) {
        next->tries = t->tries;
        rbk_store_push_change(c->e->store, next);
    }
    t->waiter = NULL;
    rbk_ticket_free(t);
    rbk_job_free(found);
    if (next == NULL)
        rbk_changing_tell(c, r);
}

/* The reader is full, or ends: all that wait are busy. */
static void ask_for_asked(rbk_changing *c)
{
    rbk_list all = {0};
    c->again = (rbk_question){.look = look_again, .tell = try_again};
    if (rbk_reader_ask(c->e->reader, &c->again) == 0)
        return;
    pthread_mutex_lock(&c->e->changes_lock);
    rbk_list_push(&all, &c->asked->node);
    rbk_list_join(&all, &c->to_ask);
    c->asked = NULL;
    pthread_mutex_unlock(&c->e->changes_lock);
    for (rbk_node *n; (n = rbk_list_pop(&all));)
        rbk_ticket_free((rbk_ticket *)(void *)n);
}

void rbk_change_again(rbk_ticket *t)
{
    rbk_changing *c = rbk_changing_of(t);
    if (t->tries >= TRIES) {
        rbk_ticket_free(t); /* which says that it is busy */
        return;
    }
    t->tries++;
    pthread_mutex_lock(&c->e->changes_lock);
    bool first = c->asked == NULL;
    if (first)
        c->asked = t;
    else
        rbk_list_push(&c->to_ask, &t->node);
    pthread_mutex_unlock(&c->e->changes_lock);
    if (first)
        ask_for_asked(c);
}

int rbk_engine_ack(rbk_engine *e, rbk_str session, rbk_id job, bool quick, rbk_changed_fn fn, void *user)
{
    char lane[RBK_LANE_MAX + 1], id[RBK_ID_TEXT + 1];
    rbk_changing *c = NULL;
    rbk_send_lane(session, lane);
    rbk_id_format(job, id);
    rbk_job *mine = rbk_job_copy(&(rbk_job){.seq = (int64_t)job.seq, .rnd = (int64_t)job.rnd,
                                            .state = RBK_JOB_DUE, .lane = rbk_str_z(lane)});
    rbk_ticket *t = mine ? rbk_ticket_new(mine) : NULL;
    int r = t ? rbk_changing_new(e, &(rbk_change){.kind = RBK_CHANGE_ACK, .id = rbk_str_z(id), .owned = true},
                                 fn, user, &c)
              : RBK_E_NOMEM;
    if (r < 0) {
        if (t == NULL)
            rbk_job_free(mine);
        rbk_ticket_free(t);
        return r;
    }
    c->quick = quick;
    snprintf(c->session, sizeof c->session, "%.*s", RBK_FMT(session));
    t->waiter = &c->waiter; /* its answer is the only one */
    t->waiting = true;
    rbk_couriers_change(e->couriers, t);
    return 0;
}
