/* SPDX-License-Identifier: Apache-2.0 */
/* engine/sessions.c - see sessions.h.
 *
 * A ticket is in the queue (DUE), or in flight (SENDING): sent, and not acknowledged. Its time
 * begins when the front says that it was written, so that a client that reads slowly is not
 * sent everything twice. How many texts the front has is bounded by itself: whoever acknowledges what it
 * cannot have read does not get more of them under way. */
#include "engine/sessions.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "base/map.h"
#include "core/ws_session.h"
#include "engine/change.h"
#include "engine/session_fetch.h"
#include "engine/store_thread.h"

#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_MS = 100 };

typedef struct rbk_session {
    rbk_str name; /* its lane */
    rbk_socket *socket; /* a reference */
    rbk_list queue;
    rbk_link flight; /* in the order of sending */
    size_t in_flight;
    rbk_link turn;     /* among those that ask the store again, once `ask_at` has come */
    rbk_mono_ms ask_at;
    bool more;    /* the store may have jobs that wait for the client */
    bool asking;
    bool crowded; /* memory had no room for more of them: not before something of it leaves */
    bool first;   /* what waited longest has not come from there yet: nobody goes before it */
    bool failing; /* the last that was heard: a response was not acknowledged in time */
    bool draining;
} session;

typedef struct late {
    rbk_link turn;  /* in its session's flight */
    rbk_link timed; /* among all that were written */
    session *s;
    rbk_ticket *t;
    rbk_mono_ms began, until;
} late;

struct rbk_sessions {
    rbk_map *map;
    rbk_link timed; /* in the order of `until`: all have the same time */
    rbk_link again;
};

rbk_sessions *rbk_sessions_new(rbk_courier *c)
{
    rbk_sessions *all = calloc(1, sizeof *all);
    (void)c;
    if (all == NULL || (all->map = rbk_map_new()) == NULL) {
        free(all);
        return NULL;
    }
    rbk_link_init(&all->timed);
    rbk_link_init(&all->again);
    return all;
}

void rbk_sessions_free(rbk_sessions *all)
{
    if (all == NULL)
        return;
    rbk_map_free(all->map);
    free(all);
}

static session *find(const rbk_courier *c, rbk_str lane)
{
    return rbk_map_get(c->sessions->map, lane);
}

static void write_id(const rbk_job *job, char out[RBK_ID_TEXT + 1])
{
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, out);
}

/* --- Tickets that leave ----------------------------------------------------------------------- */

/* The store is told what its ticket says, or it goes elsewhere. */
static void let_go(rbk_courier *c)
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
static void put_away(rbk_courier *c, rbk_ticket *t)
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
static rbk_ticket *end_late(rbk_courier *c, late *l)
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

static late *find_late(const session *s, int64_t seq)
{
    for (rbk_link *l = s->flight.next; l != &s->flight; l = l->next) {
        late *found = RBK_OF_LINK(l, late, turn);
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
static void deliver(rbk_courier *c, rbk_ticket *t, int64_t ms)
{
    if (t->job->state == RBK_JOB_DUE)
        rbk_ticket_move(t, RBK_EV_SEND, RBK_OP_DONE);
    else
        count_attempt(c, t->job, RBK_ATTEMPT_DELIVERED);
    rbk_numbers_latency(&c->numbers, rbk_engine_now(c->e) - t->job->created);
    rbk_ticket_move(t, RBK_EV_ACK, RBK_OP_DONE);
    log_outcome(c, t, RBK_DEBUG, "job.delivered", "OK", ms);
    let_go(c);
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
static void fail(rbk_courier *c, late *l)
{
    session *s = l->s;
    rbk_mono_ms began = l->began;
    rbk_ticket *t = end_late(c, l);
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
    let_go(c);
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

static void send_one(rbk_courier *c, session *s, rbk_ticket *t)
{
    rbk_buf text = RBK_BUF(SIZE_MAX / 2);
    s->crowded = false;
    if (!may_have_it(c->e, t->job->caller)) {
        let_go(c);
        rbk_delivery_refuse(c, t, "its caller is gone");
        return;
    }
    late *l = calloc(1, sizeof *l);
    if (l == NULL || write_text(t->job, &text) < 0 || !rbk_socket_send(s->socket, t->job->seq, &text)) {
        rbk_buf_free(&text);
        free(l);
        let_go(c);
        rbk_delivery_park(c, t);
        return;
    }
    rbk_ticket_move(t, RBK_EV_SEND, RBK_OP_DONE);
    *l = (late){.s = s, .t = t, .began = rbk_mono_now(), .until = INT64_MAX};
    rbk_link_init(&l->turn);
    rbk_link_init(&l->timed);
    rbk_link_append(&s->flight, &l->turn);
    s->in_flight++;
    atomic_fetch_add_explicit(&c->all->unacknowledged, 1, memory_order_relaxed);
}

static void ask_again_later(rbk_courier *c, session *s)
{
    s->ask_at = rbk_loop_now(c->loop) + AGAIN_MS;
    rbk_link_append(&c->sessions->again, &s->turn);
    rbk_courier_arm(c);
}

/* More of what waits, as the client takes it: nothing while it does not. */
static void ask_store(rbk_courier *c, session *s)
{
    bool takes = s->first || (s->queue.n < c->e->conf.per_receiver && !s->failing);
    bool later = s->crowded || !rbk_link_empty(&s->turn);
    if (!s->more || s->asking || !takes || later || c->draining)
        return;
    s->asking = rbk_fetch(c, s->name);
    if (!s->asking)
        ask_again_later(c, s);
}

static void pump(rbk_courier *c, session *s)
{
    size_t most = c->e->conf.per_receiver;
    while (!s->first && s->in_flight < most && s->socket->held < most && s->queue.head)
        send_one(c, s, (rbk_ticket *)(void *)rbk_list_pop(&s->queue));
    ask_store(c, s);
    if (s->draining && s->in_flight == 0 && s->queue.head == NULL)
        rbk_socket_tell_quiet(s->socket);
}

/* --- In --------------------------------------------------------------------------------------------- */

static bool comes_before(const rbk_ticket *a, const rbk_ticket *b)
{
    const rbk_job *x = a->job, *y = b->job;
    return x->first_attempt != y->first_attempt ? x->first_attempt < y->first_attempt : x->seq < y->seq;
}

/* In the order of the responses; the newest comes last, most often. */
static void insert(rbk_list *queue, rbk_ticket *t)
{
    rbk_list before = {0};
    const rbk_ticket *last = (const rbk_ticket *)(const void *)queue->tail;
    if (last == NULL || !comes_before(t, last))
        rbk_list_join(&before, queue);
    while (queue->head && comes_before((const rbk_ticket *)(const void *)queue->head, t))
        rbk_list_push(&before, rbk_list_pop(queue));
    rbk_list_push(&before, &t->node);
    rbk_list_join(&before, queue);
    *queue = before;
}

void rbk_sessions_add(rbk_courier *c, rbk_ticket *t)
{
    session *s = find(c, t->job->lane);
    if (s == NULL) {
        put_away(c, t);
        rbk_store_push(c->e->store, t);
        return;
    }
    atomic_fetch_add(&c->all->late, 1);
    insert(&s->queue, t);
    pump(c, s);
}

bool rbk_sessions_report(rbk_courier *c, rbk_str lane, rbk_str text)
{
    session *s = find(c, lane);
    rbk_buf copy = RBK_BUF(SIZE_MAX / 2);
    if (s == NULL || s->socket->held >= c->e->conf.per_receiver)
        return false;
    rbk_buf_str(&copy, text);
    bool sent = !copy.err && rbk_socket_send(s->socket, 0, &copy);
    rbk_buf_free(&copy);
    return sent;
}

/* --- Connections -------------------------------------------------------------------------------------- */

/* What was in flight stands before what waits. */
static void take_back(rbk_courier *c, session *s)
{
    rbk_list back = {0};
    while (!rbk_link_empty(&s->flight)) {
        rbk_ticket *t = end_late(c, RBK_OF_LINK(s->flight.next, late, turn));
        rbk_ticket_move(t, RBK_EV_LEASE_LOST, RBK_OP_PARK);
        if (t->waiter) {
            let_go(c);
            rbk_delivery_cancel(c, t);
        } else {
            rbk_list_push(&back, &t->node);
        }
    }
    rbk_list_join(&back, &s->queue);
    s->queue = back;
}

static session *make_session(rbk_courier *c, rbk_str lane)
{
    session *s = calloc(1, sizeof *s);
    if (s && rbk_map_put(c->sessions->map, lane, s, &s->name) < 0) {
        free(s);
        s = NULL;
    }
    if (s) {
        rbk_link_init(&s->flight);
        rbk_link_init(&s->turn);
        atomic_fetch_add_explicit(&c->all->sessions, 1, memory_order_relaxed);
    }
    return s;
}

void rbk_sessions_open(rbk_courier *c, rbk_socket *socket)
{
    rbk_str lane = rbk_str_z(socket->lane);
    session *s = c->closing ? NULL : find(c, lane);
    if (s) {
        s->socket->session = NULL;
        rbk_socket_tell_replaced(s->socket);
        rbk_socket_unref(s->socket);
        take_back(c, s);
    } else if (!c->closing) {
        s = make_session(c, lane);
    }
    if (s == NULL)
        return;
    rbk_socket_ref(socket);
    s->socket = socket;
    s->draining = false;
    s->failing = s->crowded = false;
    s->more = s->first = s->more || socket->conf.resumed;
    socket->session = s;
    pump(c, s);
}

static void forget(rbk_courier *c, session *s)
{
    rbk_link_remove(&s->turn);
    s->socket->session = NULL;
    rbk_socket_unref(s->socket);
    rbk_map_remove(c->sessions->map, s->name);
    atomic_fetch_sub_explicit(&c->all->sessions, 1, memory_order_relaxed);
    free(s);
}

void rbk_sessions_gone(rbk_courier *c, rbk_socket *socket)
{
    session *s = socket->session;
    rbk_list away = {0};
    if (s == NULL)
        return;
    take_back(c, s);
    for (rbk_node *n; (n = rbk_list_pop(&s->queue));) {
        let_go(c);
        put_away(c, (rbk_ticket *)(void *)n);
        rbk_list_push(&away, n);
    }
    forget(c, s);
    if (away.head)
        rbk_store_push_list(c->e->store, &away);
}

void rbk_sessions_drain(rbk_courier *c, rbk_socket *socket)
{
    session *s = socket->session;
    if (s == NULL) {
        rbk_socket_tell_quiet(socket);
        return;
    }
    s->draining = true;
    pump(c, s);
}

void rbk_sessions_written(rbk_courier *c, const rbk_socket_text *text)
{
    session *s = text->to->session;
    late *l = s && text->seq ? find_late(s, text->seq) : NULL;
    if (l && l->until == INT64_MAX) {
        l->until = rbk_loop_now(c->loop) + c->e->conf.delivery_ms;
        rbk_link_append(&c->sessions->timed, &l->timed);
        rbk_courier_arm(c);
    }
    if (s)
        pump(c, s);
}

/* --- What waits in the store ---------------------------------------------------------------------------- */

void rbk_sessions_fetched(rbk_courier *c, rbk_str lane, bool more, bool now)
{
    session *s = find(c, lane);
    if (s == NULL)
        return;
    s->asking = false;
    if (now) {
        s->more = more;
        s->first = false;
    } else {
        /* Where it has in memory as many as it may, those make the room. */
        s->crowded = s->in_flight || s->queue.head;
        s->first = s->first && !s->crowded;
        if (!s->crowded)
            ask_again_later(c, s);
    }
    pump(c, s);
}

void rbk_sessions_waits(rbk_courier *c, rbk_str lane)
{
    session *s = find(c, lane);
    if (s == NULL)
        return;
    s->more = true;
    pump(c, s);
}

/* --- Changes ---------------------------------------------------------------------------------------------- */

static rbk_ticket *take_queued(session *s, int64_t seq)
{
    rbk_list left = {0};
    rbk_ticket *found = NULL;
    for (rbk_node *n; (n = rbk_list_pop(&s->queue));) {
        rbk_ticket *t = (rbk_ticket *)(void *)n;
        if (t->job->seq == seq)
            found = t;
        else
            rbk_list_push(&left, n);
    }
    s->queue = left;
    if (found)
        s->crowded = false;
    return found;
}

static void tell(rbk_ticket *change, int err)
{
    rbk_changing *asked = rbk_changing_of(change);
    change->waiter = NULL;
    rbk_ticket_free(change);
    rbk_changing_tell(asked, err);
}

/* The ticket that is here takes over who waits. */
static void hand_over(rbk_ticket *change, rbk_ticket *t)
{
    t->waiter = change->waiter;
    change->waiter = NULL;
    rbk_ticket_free(change);
}

static void acknowledge(rbk_courier *c, session *s, rbk_ticket *change)
{
    late *l = find_late(s, change->job->seq);
    rbk_ticket *t = l ? l->t : take_queued(s, change->job->seq);
    if (t == NULL) {
        rbk_change_again(change);
        return;
    }
    if (t->job->rnd != change->job->rnd) {
        if (l == NULL)
            insert(&s->queue, t);
        tell(change, RBK_E_NOTFOUND);
        return;
    }
    rbk_mono_ms ms = l ? rbk_mono_now() - l->began : 0;
    bool free_to_wait = t->waiter == NULL;
    s->failing = false;
    if (l)
        end_late(c, l);
    if (free_to_wait && !rbk_changing_of(change)->quick)
        hand_over(change, t);
    else if (free_to_wait)
        tell(change, 0);
    deliver(c, t, ms);
    if (!free_to_wait)
        rbk_change_again(change); /* somebody wants it cancelled: what became of it is in the store */
}

static void cancel(rbk_courier *c, session *s, rbk_ticket *change)
{
    rbk_ticket *queued = take_queued(s, change->job->seq);
    late *l = queued ? NULL : find_late(s, change->job->seq);
    if (queued) {
        hand_over(change, queued);
        let_go(c);
        rbk_delivery_cancel(c, queued);
    } else if (l && l->t->waiter == NULL) {
        hand_over(change, l->t); /* it is remembered */
    } else if (l) {
        rbk_ticket_free(change); /* somebody else cancels it: busy */
    } else {
        rbk_change_again(change);
    }
}

static void retry(session *s, rbk_ticket *change)
{
    int64_t seq = change->job->seq;
    rbk_ticket *queued = take_queued(s, seq);
    if (queued)
        insert(&s->queue, queued);
    if (queued == NULL && find_late(s, seq) == NULL)
        rbk_change_again(change);
    else
        tell(change, queued ? 0 : RBK_E_STATE);
}

void rbk_sessions_change(rbk_courier *c, rbk_ticket *change)
{
    session *s = find(c, change->job->lane);
    if (s == NULL) {
        rbk_change_again(change);
        return;
    }
    switch (rbk_changing_of(change)->kind) {
    case RBK_CHANGE_ACK:
        acknowledge(c, s, change);
        break;
    case RBK_CHANGE_CANCEL:
        cancel(c, s, change);
        break;
    default:
        retry(s, change);
        break;
    }
    pump(c, s);
}

/* --- Time --------------------------------------------------------------------------------------------------- */

rbk_mono_ms rbk_sessions_wake(const rbk_courier *c)
{
    const rbk_sessions *all = c->sessions;
    rbk_mono_ms wake = INT64_MAX;
    if (!rbk_link_empty(&all->timed))
        wake = RBK_OF_LINK(all->timed.next, late, timed)->until;
    if (!rbk_link_empty(&all->again)) {
        rbk_mono_ms ask = RBK_OF_LINK(all->again.next, session, turn)->ask_at;
        wake = ask < wake ? ask : wake;
    }
    return wake;
}

void rbk_sessions_tick(rbk_courier *c)
{
    rbk_sessions *all = c->sessions;
    rbk_mono_ms now = rbk_loop_now(c->loop);
    while (!rbk_link_empty(&all->timed)) {
        late *l = RBK_OF_LINK(all->timed.next, late, timed);
        session *s = l->s;
        if (l->until > now)
            break;
        fail(c, l);
        pump(c, s);
    }
    while (!rbk_link_empty(&all->again)) {
        session *s = RBK_OF_LINK(all->again.next, session, turn);
        if (s->ask_at > now)
            break;
        rbk_link_remove(&s->turn);
        ask_store(c, s);
    }
}

static void list_session(rbk_str name, void *value, void *user)
{
    (void)name;
    rbk_link_append(user, &((session *)value)->turn);
}

void rbk_sessions_close(rbk_courier *c)
{
    rbk_link all;
    rbk_link_init(&all);
    rbk_map_each(c->sessions->map, list_session, &all);
    while (!rbk_link_empty(&all)) {
        session *s = RBK_OF_LINK(all.next, session, turn);
        while (!rbk_link_empty(&s->flight))
            rbk_ticket_free(end_late(c, RBK_OF_LINK(s->flight.next, late, turn)));
        for (rbk_node *n; (n = rbk_list_pop(&s->queue));)
            rbk_ticket_free((rbk_ticket *)(void *)n);
        rbk_socket_tell_quiet(s->socket);
        forget(c, s);
    }
}
