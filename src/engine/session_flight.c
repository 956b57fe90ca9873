/* SPDX-License-Identifier: Apache-2.0 */
/* engine/session_flight.c - responses that are with a client, and not acknowledged.
 *
 * A ticket is in flight (SENDING) from when it was sent. Its time begins when the front says that
 * it was written, so that a client that reads slowly is not sent everything twice. Each ticket that
 * leaves the session goes to the store with what became of it. Loop thread. */
#include "engine/sessions_impl.h"

#include "base/clock.h"
#include "base/id.h"
#include "core/ws_session.h"
#include "engine/store_thread.h"

#include <stdio.h>
#include <stdlib.h>

static void write_id(const rbk_job *job, char out[RBK_ID_TEXT + 1])
{
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, out);
}

/* --- Tickets that leave ----------------------------------------------------------------------- */

/* The store is told what its ticket says, or it goes elsewhere. */
void rbk_late_let_go(rbk_courier *c)
{
    atomic_fetch_sub(&c->all->late, 1);
}

/* When it is given up: so long after its response. Where ended jobs are not kept, as long as any
 * callback is tried. */
static rbk_retry_conf schedule_of(const rbk_engine *e)
{
    rbk_retry_conf conf = e->conf.retry;
    if (e->conf.keep.done_ms > 0)
        conf.max_age_ms = e->conf.keep.done_ms;
    return conf;
}

static rbk_wall_ms end_of(const rbk_engine *e, const rbk_job *job)
{
    rbk_retry_conf conf = schedule_of(e);
    return rbk_retry_end(&conf, job->first_attempt ? job->first_attempt : job->created);
}

static void give_up(rbk_courier *c, rbk_ticket *t)
{
    char id[RBK_ID_TEXT + 1];
    rbk_job *job = t->job;
    write_id(job, id);
    rbk_event(RBK_LOG(c->e), RBK_ERROR, "job.expired", RBK_FZ("job", id), RBK_FZ("host", "ws:"),
              RBK_F("attempts", job->attempts));
    job->reason = RBK_STR("unacknowledged");
    rbk_ticket_move(t, RBK_EV_GIVE_UP, RBK_OP_DEAD);
}

/* Nobody is there: it waits in the store, until somebody is, or for its end. */
void rbk_late_put_away(rbk_courier *c, rbk_ticket *t)
{
    rbk_wall_ms end = end_of(c->e, t->job);
    if (t->job->state == RBK_JOB_SENDING)
        rbk_ticket_move(t, RBK_EV_LEASE_LOST, RBK_OP_PARK);
    if (t->waiter)
        rbk_ticket_move(t, RBK_EV_CANCEL, RBK_OP_DONE); /* that was meant */
    else if (end <= rbk_engine_now(c->e))
        give_up(c, t);
    else
        rbk_ticket_park(t, end);
}

/* --- The flight --------------------------------------------------------------------------------- */

/* Its ticket is the caller's. */
rbk_ticket *rbk_late_end(rbk_courier *c, rbk_late *l)
{
    rbk_ticket *t = l->t;
    rbk_link_remove(&l->turn);
    rbk_link_remove(&l->timed);
    l->s->in_flight--;
    l->s->crowded = false;
    atomic_fetch_sub_explicit(&c->all->unacknowledged, 1, memory_order_relaxed);
    free(l);
    return t;
}

rbk_late *rbk_late_find(const rbk_session *s, int64_t seq)
{
    for (rbk_link *l = s->flight.next; l != &s->flight; l = l->next) {
        rbk_late *found = RBK_OF_LINK(l, rbk_late, turn);
        if (found->t->job->seq == seq)
            return found;
    }
    return NULL;
}

static void log_outcome(const rbk_courier *c, const rbk_ticket *t, rbk_level level, const char *event,
                        const char *why, int64_t ms)
{
    char id[RBK_ID_TEXT + 1];
    if (RBK_LOG(c->e)->level > level)
        return;
    write_id(t->job, id);
    rbk_event(RBK_LOG(c->e), level, event, RBK_FZ("job", id), RBK_FZ("host", "ws:"),
              RBK_F("attempt", t->job->attempts), RBK_F("status", 0), RBK_FZ("error", why),
              RBK_FZ("detail", ""), RBK_F("ms", ms));
}

static void count_attempt(rbk_courier *c, rbk_job *job, rbk_attempt_outcome outcome)
{
    job->attempts++;
    job->last_status = 0;
    atomic_fetch_add_explicit(&c->e->attempts, 1, memory_order_relaxed);
    rbk_numbers_attempt(&c->numbers, outcome);
}

/* A ticket that was in flight, or in the queue and sent before. */
void rbk_late_deliver(rbk_courier *c, rbk_ticket *t, int64_t ms)
{
    if (t->job->state == RBK_JOB_DUE)
        rbk_ticket_move(t, RBK_EV_SEND, RBK_OP_DONE);
    else
        count_attempt(c, t->job, RBK_ATTEMPT_DELIVERED);
    rbk_numbers_latency(&c->numbers, rbk_engine_now(c->e) - t->job->created);
    rbk_ticket_move(t, RBK_EV_ACK, RBK_OP_DONE);
    log_outcome(c, t, RBK_DEBUG, "job.delivered", "OK", ms);
    rbk_late_let_go(c);
    rbk_store_push(c->e->store, t);
}

/* For the operator who asks what became of it. Without memory there is none. */
static rbk_attempt_note *make_note(const rbk_courier *c, const rbk_ticket *t, rbk_mono_ms began)
{
    rbk_attempt_note *note = calloc(1, sizeof *note);
    if (note == NULL)
        return NULL;
    note->number = t->job->attempts;
    note->at = rbk_sched_at(c->e->clock, began);
    note->ms = rbk_mono_now() - began;
    snprintf(note->reason, sizeof note->reason, "TIMEOUT");
    return note;
}

/* It was not acknowledged in time. */
void rbk_late_fail(rbk_courier *c, rbk_late *l)
{
    rbk_session *s = l->s;
    rbk_mono_ms began = l->began;
    rbk_ticket *t = rbk_late_end(c, l);
    rbk_job *job = t->job;
    rbk_retry_conf conf = schedule_of(c->e);
    uint64_t random;
    s->failing = true;
    count_attempt(c, job, RBK_ATTEMPT_TIMEOUT);
    job->reason = RBK_STR("TIMEOUT");
    rbk_random(&random, sizeof random);
    if (t->waiter) {
        rbk_ticket_move(t, RBK_EV_CANCEL, RBK_OP_DONE); /* now that it is over */
        rbk_ticket_move(t, RBK_EV_ACK_CANCELLED, RBK_OP_DONE);
    } else {
        free(t->note);
        t->note = make_note(c, t, began);
        rbk_wall_ms first = job->first_attempt ? job->first_attempt : job->created;
        bool again = rbk_retry_next(&conf, job->attempts, first, rbk_engine_now(c->e), random, &job->due);
        rbk_ticket_move(t, again ? RBK_EV_RETRY : RBK_EV_GIVE_UP, again ? RBK_OP_RETRY : RBK_OP_DEAD);
        log_outcome(c, t, again ? RBK_WARN : RBK_ERROR, again ? "delivery.failed" : "job.dead",
                    "TIMEOUT", rbk_mono_now() - began);
    }
    rbk_late_let_go(c);
    rbk_store_push(c->e->store, t);
}

/* --- Sending -------------------------------------------------------------------------------------- */

/* Is its caller known still? */
static bool may_have_it(rbk_engine *e, rbk_str caller)
{
    rbk_callers *callers = caller.n ? rbk_engine_callers(e) : NULL;
    bool ok = callers == NULL || rbk_callers_find(callers, caller) != NULL;
    rbk_callers_unref(callers);
    return ok;
}

static int write_text(const rbk_job *job, rbk_buf *b)
{
    char id[RBK_ID_TEXT + 1];
    write_id(job, id);
    rbk_session_write(b, job->response, rbk_str_z(id), job->attempts + 1);
    return b->err;
}

void rbk_late_send(rbk_courier *c, rbk_session *s, rbk_ticket *t)
{
    rbk_buf text = RBK_BUF(SIZE_MAX / 2);
    s->crowded = false;
    if (!may_have_it(c->e, t->job->caller)) {
        rbk_late_let_go(c);
        rbk_delivery_refuse(c, t, "its caller is gone");
        return;
    }
    rbk_late *l = calloc(1, sizeof *l);
    if (l == NULL || write_text(t->job, &text) < 0 || !rbk_socket_send(s->socket, t->job->seq, &text)) {
        rbk_buf_free(&text);
        free(l);
        rbk_late_let_go(c);
        rbk_delivery_park(c, t);
        return;
    }
    rbk_ticket_move(t, RBK_EV_SEND, RBK_OP_DONE);
    *l = (rbk_late){.s = s, .t = t, .began = rbk_mono_now(), .until = INT64_MAX};
    rbk_link_init(&l->turn);
    rbk_link_init(&l->timed);
    rbk_link_append(&s->flight, &l->turn);
    s->in_flight++;
    atomic_fetch_add_explicit(&c->all->unacknowledged, 1, memory_order_relaxed);
}
