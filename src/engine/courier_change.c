/* SPDX-License-Identifier: Apache-2.0 */
/* engine/courier_change.c - what operators want of jobs that stand in a receiver's queue, or are
 * just being sent; see change.h. Comes to the loop behind the parcel that brought the job, so a
 * job that is not found has left, or is not here yet. Loop thread, but for the two doors. */
#include "engine/change.h"
#include "engine/courier_impl.h"
#include "engine/sessions.h"
#include "core/ws_session.h"
#include "engine/store_thread.h"

#include <stdlib.h>

typedef struct wish {
    rbk_task task; /* first */
    rbk_courier *c;
    rbk_ticket *t; /* NULL: a probe */
    char lane[];
} wish;

/* Nothing more is sent. One that is being sent is remembered: its ticket tells, in the end. */
static void cancel(rbk_courier *c, rbk_receiver *r, rbk_ticket *t)
{
    rbk_ticket *found = rbk_receivers_take(c->receivers, r, t->job->seq, rbk_loop_now(c->loop));
    if (found) {
        found->waiter = t->waiter;
        t->waiter = NULL;
        rbk_delivery_cancel(c, found);
        rbk_ticket_free(t);
        return;
    }
    found = rbk_delivery_find(r, t->job->seq);
    if (found && found->waiter == NULL) {
        found->waiter = t->waiter;
        t->waiter = NULL;
    }
    if (found)
        rbk_ticket_free(t); /* somebody else cancels it: busy */
    else
        rbk_change_again(t);
}

static void retry(rbk_courier *c, rbk_receiver *r, rbk_ticket *t)
{
    bool waits = rbk_receivers_prefer(r, t->job->seq);
    if (!waits && rbk_delivery_find(r, t->job->seq) == NULL) {
        rbk_change_again(t);
        return;
    }
    if (waits)
        rbk_receivers_hurry(c->receivers, r, rbk_loop_now(c->loop));
    rbk_changing *asked = rbk_changing_of(t);
    t->waiter = NULL;
    rbk_ticket_free(t);
    rbk_changing_tell(asked, waits ? 0 : RBK_E_STATE);
}

static void on_wish(rbk_task *task)
{
    wish *w = (wish *)(void *)task;
    rbk_courier *c = w->c;
    bool session = rbk_session_is_lane(rbk_str_z(w->lane));
    rbk_receiver *r = session ? NULL : rbk_receivers_find(c->receivers, rbk_str_z(w->lane));
    if (w->t && session)
        rbk_sessions_change(c, w->t);
    else if (w->t && r == NULL)
        rbk_change_again(w->t);
    else if (w->t && rbk_changing_of(w->t)->kind == RBK_CHANGE_CANCEL)
        cancel(c, r, w->t);
    else if (w->t)
        retry(c, r, w->t);
    else if (r)
        rbk_receivers_hurry(c->receivers, r, rbk_loop_now(c->loop));
    free(w);
    rbk_courier_pump(c);
}

static bool post_wish(rbk_couriers *all, rbk_str lane, rbk_ticket *t)
{
    wish *w = malloc(sizeof *w + lane.n + 1);
    if (w == NULL)
        return false;
    *w = (wish){.task.fn = on_wish, .c = rbk_couriers_of(all, lane), .t = t};
    memcpy(w->lane, lane.p, lane.n);
    w->lane[lane.n] = 0;
    if (rbk_courier_post(w->c, &w->task))
        return true;
    free(w);
    return false;
}

void rbk_couriers_change(rbk_couriers *all, rbk_ticket *t)
{
    if (!post_wish(all, t->job->lane, t))
        rbk_ticket_free(t);
}

void rbk_couriers_hurry(rbk_couriers *all, rbk_str lane)
{
    post_wish(all, lane, NULL); /* without memory it waits for the probe's time */
}

/* --- Tours, and receivers that are held ----------------------------------------------------- */

static void on_tour(rbk_task *task)
{
    rbk_tour *t = (rbk_tour *)(void *)task;
    t->fn(t, t->all->list[t->at].receivers);
    if (++t->at < t->all->n)
        rbk_loop_post(t->all->list[t->at].loop, &t->task);
    else
        t->last(t);
}

/* Loops end in this order too: the next one is there. */
void rbk_couriers_tour(rbk_couriers *all, rbk_tour *tour)
{
    tour->task.fn = on_tour;
    tour->all = all;
    tour->at = 0;
    rbk_loop_post(all->list[0].loop, &tour->task);
}

static void log_block(const rbk_courier *c, const rbk_block *b)
{
    rbk_dsn dsn;
    rbk_str name = rbk_str_z(b->lane + strlen("send:"));
    if (rbk_dsn_parse(name, RBK_STR("https,wss"), &dsn) == RBK_DSN_OK)
        rbk_event(RBK_LOG(c->e), RBK_INFO, b->block ? "receiver.held" : "receiver.released",
                  RBK_FZ("host", dsn.host_lower), RBK_F("port", dsn.port));
}

static void on_block(rbk_task *task)
{
    rbk_block *b = (rbk_block *)(void *)task;
    rbk_str lane = rbk_str_z(b->lane);
    rbk_courier *c = rbk_couriers_of(b->all, lane);
    int r = rbk_receivers_block(c->receivers, lane, b->block, rbk_loop_now(c->loop));
    if (r > 0)
        log_block(c, b);
    if (r > 0 && !b->block)
        rbk_store_pull(c->e->store, lane);
    b->done(b, r < 0 ? r : 0);
    rbk_courier_pump(c);
}

void rbk_couriers_block(rbk_couriers *all, rbk_block *b)
{
    b->task.fn = on_block;
    b->all = all;
    rbk_loop_post(rbk_couriers_of(all, rbk_str_z(b->lane))->loop, &b->task);
}
