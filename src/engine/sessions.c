/* SPDX-License-Identifier: Apache-2.0 */
/* engine/sessions.c - see sessions.h: connections that come and go, and what is sent when.
 *
 * A ticket is in the queue (DUE), or in flight (SENDING, session_flight.c). How many texts the
 * front has is bounded by itself: whoever acknowledges what it cannot have read does not get more of
 * them under way. */
#include "engine/sessions_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/map.h"
#include "engine/change.h"
#include "engine/session_fetch.h"
#include "engine/store_thread.h"

#include <stdlib.h>

enum { AGAIN_MS = 100 };

struct rbk_sessions {
    rbk_map *map;
    rbk_link timed; /* in the order of `until`: all have the same time */
    rbk_link again;
};

rbk_sessions *rbk_sessions_new(void)
{
    rbk_sessions *all = calloc(1, sizeof *all);
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

static rbk_session *find(const rbk_courier *c, rbk_str lane)
{
    return rbk_map_get(c->sessions->map, lane);
}

/* --- Sending -------------------------------------------------------------------------------------- */

static void ask_again_later(rbk_courier *c, rbk_session *s)
{
    s->ask_at = rbk_loop_now(c->loop) + AGAIN_MS;
    rbk_link_append(&c->sessions->again, &s->turn);
    rbk_courier_arm(c);
}

/* More of what waits, as the client takes it: nothing while it does not. */
static void ask_store(rbk_courier *c, rbk_session *s)
{
    bool takes = s->first || (s->queue.n < c->e->conf.per_receiver && !s->failing);
    bool later = s->crowded || !rbk_link_empty(&s->turn);
    if (!s->more || s->asking || !takes || later || c->draining)
        return;
    s->asking = rbk_fetch(c, s->name);
    if (!s->asking)
        ask_again_later(c, s);
}

static void pump(rbk_courier *c, rbk_session *s)
{
    size_t most = c->e->conf.per_receiver;
    while (!s->first && s->in_flight < most && s->socket->held < most && s->queue.head)
        rbk_late_send(c, s, (rbk_ticket *)(void *)rbk_list_pop(&s->queue));
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
    rbk_session *s = find(c, t->job->lane);
    if (s == NULL) {
        rbk_late_put_away(c, t);
        rbk_store_push(c->e->store, t);
        return;
    }
    atomic_fetch_add(&c->all->late, 1);
    insert(&s->queue, t);
    pump(c, s);
}

bool rbk_sessions_report(rbk_courier *c, rbk_str lane, rbk_str text)
{
    rbk_session *s = find(c, lane);
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
static void take_back(rbk_courier *c, rbk_session *s)
{
    rbk_list back = {0};
    while (!rbk_link_empty(&s->flight)) {
        rbk_ticket *t = rbk_late_end(c, RBK_OF_LINK(s->flight.next, rbk_late, turn));
        rbk_ticket_move(t, RBK_EV_LEASE_LOST, RBK_OP_PARK);
        if (t->waiter) {
            rbk_late_let_go(c);
            rbk_delivery_cancel(c, t);
        } else {
            rbk_list_push(&back, &t->node);
        }
    }
    rbk_list_join(&back, &s->queue);
    s->queue = back;
}

static rbk_session *make_session(rbk_courier *c, rbk_str lane)
{
    rbk_session *s = calloc(1, sizeof *s);
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
    rbk_session *s = c->closing ? NULL : find(c, lane);
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

static void forget(rbk_courier *c, rbk_session *s)
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
    rbk_session *s = socket->session;
    rbk_list away = {0};
    if (s == NULL)
        return;
    take_back(c, s);
    for (rbk_node *n; (n = rbk_list_pop(&s->queue));) {
        rbk_late_let_go(c);
        rbk_late_put_away(c, (rbk_ticket *)(void *)n);
        rbk_list_push(&away, n);
    }
    forget(c, s);
    if (away.head)
        rbk_store_push_list(c->e->store, &away);
}

void rbk_sessions_drain(rbk_courier *c, rbk_socket *socket)
{
    rbk_session *s = socket->session;
    if (s == NULL) {
        rbk_socket_tell_quiet(socket);
        return;
    }
    s->draining = true;
    pump(c, s);
}

void rbk_sessions_written(rbk_courier *c, const rbk_socket_text *text)
{
    rbk_session *s = text->to->session;
    rbk_late *l = s && text->seq ? rbk_late_find(s, text->seq) : NULL;
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
    rbk_session *s = find(c, lane);
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
    rbk_session *s = find(c, lane);
    if (s == NULL)
        return;
    s->more = true;
    pump(c, s);
}

/* --- Changes ---------------------------------------------------------------------------------------------- */

static rbk_ticket *take_queued(rbk_session *s, int64_t seq)
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

static void acknowledge(rbk_courier *c, rbk_session *s, rbk_ticket *change)
{
    rbk_late *l = rbk_late_find(s, change->job->seq);
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
        rbk_late_end(c, l);
    if (free_to_wait && !rbk_changing_of(change)->quick)
        hand_over(change, t);
    else if (free_to_wait)
        tell(change, 0);
    rbk_late_deliver(c, t, ms);
    if (!free_to_wait)
        rbk_change_again(change); /* somebody wants it cancelled: what became of it is in the store */
}

static void cancel(rbk_courier *c, rbk_session *s, rbk_ticket *change)
{
    rbk_ticket *queued = take_queued(s, change->job->seq);
    rbk_late *l = queued ? NULL : rbk_late_find(s, change->job->seq);
    if (queued) {
        hand_over(change, queued);
        rbk_late_let_go(c);
        rbk_delivery_cancel(c, queued);
    } else if (l && l->t->waiter == NULL) {
        hand_over(change, l->t); /* it is remembered */
    } else if (l) {
        rbk_ticket_free(change); /* somebody else cancels it: busy */
    } else {
        rbk_change_again(change);
    }
}

static void retry(rbk_session *s, rbk_ticket *change)
{
    int64_t seq = change->job->seq;
    rbk_ticket *queued = take_queued(s, seq);
    if (queued)
        insert(&s->queue, queued);
    if (queued == NULL && rbk_late_find(s, seq) == NULL)
        rbk_change_again(change);
    else
        tell(change, queued ? 0 : RBK_E_STATE);
}

void rbk_sessions_change(rbk_courier *c, rbk_ticket *change)
{
    rbk_session *s = find(c, change->job->lane);
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
        wake = RBK_OF_LINK(all->timed.next, rbk_late, timed)->until;
    if (!rbk_link_empty(&all->again)) {
        rbk_mono_ms ask = RBK_OF_LINK(all->again.next, rbk_session, turn)->ask_at;
        wake = ask < wake ? ask : wake;
    }
    return wake;
}

void rbk_sessions_tick(rbk_courier *c)
{
    rbk_sessions *all = c->sessions;
    rbk_mono_ms now = rbk_loop_now(c->loop);
    while (!rbk_link_empty(&all->timed)) {
        rbk_late *l = RBK_OF_LINK(all->timed.next, rbk_late, timed);
        rbk_session *s = l->s;
        if (l->until > now)
            break;
        rbk_late_fail(c, l);
        pump(c, s);
    }
    while (!rbk_link_empty(&all->again)) {
        rbk_session *s = RBK_OF_LINK(all->again.next, rbk_session, turn);
        if (s->ask_at > now)
            break;
        rbk_link_remove(&s->turn);
        ask_store(c, s);
    }
}

static void list_session(rbk_str name, void *value, void *user)
{
    (void)name;
    rbk_link_append(user, &((rbk_session *)value)->turn);
}

void rbk_sessions_close(rbk_courier *c)
{
    rbk_link all;
    rbk_link_init(&all);
    rbk_map_each(c->sessions->map, list_session, &all);
    while (!rbk_link_empty(&all)) {
        rbk_session *s = RBK_OF_LINK(all.next, rbk_session, turn);
        while (!rbk_link_empty(&s->flight))
            rbk_ticket_free(rbk_late_end(c, RBK_OF_LINK(s->flight.next, rbk_late, turn)));
        for (rbk_node *n; (n = rbk_list_pop(&s->queue));)
            rbk_ticket_free((rbk_ticket *)(void *)n);
        rbk_socket_tell_quiet(s->socket);
        forget(c, s);
    }
}
