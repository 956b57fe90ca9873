/* SPDX-License-Identifier: Apache-2.0 */
/* engine/courier.c - see courier.h. The loops: parcels of tickets come in from the store thread,
 * engine/receiver.h says whose turn it is, engine/delivery.c makes the attempt. One timer a
 * loop serves holds, probes and ages. */
#include "engine/courier_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/map.h"
#include "engine/lanes.h"
#include "engine/progress.h"
#include "core/ws_session.h"
#include "engine/sessions.h"
#include "engine/store_thread.h"
#include "seam/transports.h"

#include <stdio.h>
#include <stdlib.h>

enum { LOOK_EVERY_MS = 250 };

/* Tickets for one loop, posted as one task. */
typedef struct parcel {
    rbk_task task; /* first */
    rbk_courier *c;
    rbk_list tickets;
} parcel;

/* --- Whose turn it is ------------------------------------------------------------------- */

static void look(rbk_courier *c, rbk_mono_ms now)
{
    if (c->look_at > now)
        return;
    c->look_at = INT64_MAX;
    atomic_store_explicit(&c->numbers.receivers, (int64_t)rbk_receivers_count(c->receivers),
                          memory_order_relaxed);
    atomic_store_explicit(&c->numbers.paused, (int64_t)rbk_receivers_paused(c->receivers),
                          memory_order_relaxed);
    atomic_store_explicit(&c->numbers.oldest_due, rbk_receivers_oldest(c->receivers),
                          memory_order_relaxed);
}

/* The timer. */
static void on_timer(uv_timer_t *timer);

void rbk_courier_arm(rbk_courier *c)
{
    rbk_mono_ms now = rbk_loop_now(c->loop), wake = rbk_receivers_wake(c->receivers, now);
    rbk_mono_ms report = rbk_reports_wake(c), late = rbk_sessions_wake(c);
    wake = c->look_at < wake ? c->look_at : wake;
    wake = report < wake ? report : wake;
    wake = late < wake ? late : wake;
    if (wake >= c->armed || c->draining)
        return;
    c->armed = wake;
    uv_timer_start(&c->timer, on_timer, wake > now ? (uint64_t)(wake - now) : 0, 0);
}

/* Something has happened: the gauges are no longer so. */
static void touch(rbk_courier *c)
{
    if (c->look_at == INT64_MAX)
        c->look_at = rbk_loop_now(c->loop) + LOOK_EVERY_MS;
}

/* Until no slot is free or nobody may be sent to. */
static void pump(rbk_courier *c)
{
    rbk_receiver *r;
    rbk_ticket *t;
    if (c->pumping)
        return;
    c->pumping = true;
    while (!c->draining &&
           (t = rbk_receivers_next(c->receivers, rbk_loop_now(c->loop), &r)) != NULL) {
        touch(c);
        rbk_delivery_start(c, r, t);
    }
    c->pumping = false;
    rbk_courier_arm(c);
}

void rbk_courier_pump(rbk_courier *c)
{
    touch(c);
    pump(c);
}

static void add_name(rbk_str lane, void *user)
{
    rbk_store_name_lane(user, lane);
}

/* Memory is for those who may be sent to: what waits for others goes back to the store, as it
 * is, but for the next probes. What waits there grows old too. */
static void tell_store(rbk_courier *c, rbk_mono_ms now)
{
    rbk_list lanes = {0}, shed = {0}, parked = {0};
    if (now < c->tell_at || c->draining)
        return;
    c->tell_at = now + RBK_EXPIRE_EVERY_MS;
    rbk_receivers_behind(c->receivers, add_name, &lanes);
    if (lanes.head)
        rbk_store_behind(c->e->store, &lanes);
    rbk_receivers_shed(c->receivers, RBK_LANE_BEHIND, &shed);
    for (rbk_node *n; (n = rbk_list_pop(&shed));) {
        rbk_ticket *t = (rbk_ticket *)(void *)n;
        rbk_ticket_park(t, t->job->due);
        rbk_list_push(&parked, n);
    }
    if (parked.head)
        rbk_store_push_list(c->e->store, &parked);
}

static void on_timer(uv_timer_t *timer)
{
    rbk_courier *c = timer->data;
    rbk_list old = {0};
    c->armed = INT64_MAX;
    if (!c->draining)
        rbk_receivers_expire(c->receivers, rbk_engine_now(c->e), &old);
    if (old.head)
        touch(c);
    for (rbk_node *n; (n = rbk_list_pop(&old));)
        rbk_delivery_expire(c, (rbk_ticket *)(void *)n);
    rbk_receivers_tick(c->receivers, rbk_loop_now(c->loop));
    rbk_sessions_tick(c);
    tell_store(c, rbk_loop_now(c->loop));
    look(c, rbk_loop_now(c->loop));
    rbk_reports_tick(c);
    pump(c);
}

/* --- In ---------------------------------------------------------------------------------------- */

static void on_parcel(rbk_task *task)
{
    parcel *p = (parcel *)(void *)task;
    rbk_courier *c = p->c;
    for (rbk_node *n; (n = rbk_list_pop(&p->tickets));) {
        rbk_ticket *t = (rbk_ticket *)(void *)n;
        if (c->draining)
            rbk_ticket_free(t); /* the store has it as DUE */
        else if (rbk_session_is_lane(t->job->lane))
            rbk_sessions_add(c, t);
        else if (rbk_receivers_add(c->receivers, t, rbk_loop_now(c->loop)) < 0)
            rbk_delivery_park(c, t);
    }
    free(p);
    rbk_courier_pump(c);
}

bool rbk_courier_post(rbk_courier *c, rbk_task *task)
{
    pthread_mutex_lock(&c->all->gate);
    bool open = !c->all->shut;
    if (open)
        rbk_loop_post(c->loop, task);
    pthread_mutex_unlock(&c->all->gate);
    return open;
}

rbk_courier *rbk_couriers_of(rbk_couriers *all, rbk_str lane)
{
    return &all->list[rbk_hash(lane) % all->n];
}

void rbk_couriers_send(rbk_couriers *all, rbk_ticket *t)
{
    rbk_courier *c = rbk_couriers_of(all, t->job->lane);
    rbk_list_push(&c->out, &t->node);
}

void rbk_couriers_flush(rbk_couriers *all)
{
    for (size_t i = 0; i < all->n; i++) {
        rbk_courier *c = &all->list[i];
        if (c->out.head == NULL)
            continue;
        parcel *p = calloc(1, sizeof *p);
        if (p == NULL)
            continue; /* they go with the next flush */
        p->task.fn = on_parcel;
        p->c = c;
        rbk_list_join(&p->tickets, &c->out);
        rbk_loop_post(c->loop, &p->task);
    }
}

/* --- Start and stop ------------------------------------------------------------------------------ */

/* An attempt always has room for its own. */
static unsigned held_by_one(const rbk_couriers *all)
{
    const rbk_engine_conf *conf = &all->e->conf;
    unsigned n = conf->held / (unsigned)all->n;
    return conf->held && n == 0 ? 1 : n;
}

static int open_transports(rbk_courier *c, rbk_error *err)
{
    rbk_transport_env env = {
        .loop = c->loop,
        .tls = c->all->tls,
        .connect_ms = c->e->conf.connect_ms,
        .total_ms = c->e->conf.delivery_ms,
        .resolve_ms = c->e->conf.connect_ms, /* a look-up is a part of connecting */
        .name_servers = c->e->conf.name_servers,
        .connections = held_by_one(c->all),
        .dial_sockets = c->e->conf.dial_sockets,
        .http2 = c->e->conf.http2,
        .proxy = c->e->conf.proxy.ss_family != AF_UNSPEC ? &c->e->conf.proxy : NULL,
    };
    const rbk_transport_ops *ops;
    for (size_t i = 0; i < RBK_TRANSPORTS_MAX && (ops = rbk_transports_at(i)); i++) {
        int r = ops->open(&env, &c->transports[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int make_courier(rbk_couriers *all, rbk_courier *c, size_t i, rbk_error *err)
{
    char name[16];
    const rbk_engine_conf *conf = &all->e->conf;
    c->e = all->e;
    c->all = all;
    rbk_link_init(&c->reports);
    c->armed = c->look_at = INT64_MAX;
    atomic_init(&c->numbers.oldest_due, INT64_MAX);
    c->receivers = rbk_receivers_new(&(rbk_receivers_conf){
        .slots = conf->in_flight > all->n ? conf->in_flight / all->n : 1,
        .per_receiver = conf->per_receiver,
        .breaker = conf->breaker,
        .probe_ms = RBK_PROBE_MS,
        .retry = &conf->retry,
    });
    c->sessions = rbk_sessions_new();
    if (c->receivers == NULL || c->sessions == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "courier");
    snprintf(name, sizeof name, "rbk-courier-%zu", i % 1000);
    int r = rbk_loop_new(name, &c->loop, err);
    if (r < 0)
        return r;
    uv_timer_init(rbk_loop_uv(c->loop), &c->timer);
    c->timer.data = c;
    c->has_timer = true;
    return open_transports(c, err);
}

int rbk_couriers_new(rbk_engine *e, rbk_couriers **ret, rbk_error *err)
{
    rbk_couriers *all = calloc(1, sizeof *all);
    if (all == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "couriers");
    all->e = e;
    all->n = e->conf.couriers;
    pthread_mutex_init(&all->gate, NULL);
    all->list = calloc(all->n, sizeof *all->list);
    all->addresses = rbk_shares_new(e->conf.in_flight, e->conf.per_address);
    all->callers = rbk_shares_new(e->conf.in_flight, e->conf.in_flight);
    bool ok = all->list && all->addresses && all->callers;
    int r = ok ? rbk_tls_client_new(&e->conf.tls, &all->tls, err)
                      : rbk_fail(err, RBK_E_NOMEM, "couriers");
    for (size_t i = 0; r == 0 && i < all->n; i++)
        r = make_courier(all, &all->list[i], i, err);
    if (r < 0) {
        rbk_couriers_end(all);
        rbk_couriers_stop(all);
        rbk_couriers_free(all);
        return r;
    }
    *ret = all;
    return 0;
}

int rbk_couriers_start(rbk_couriers *all, rbk_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < all->n; i++) {
        r = rbk_loop_start(all->list[i].loop, err);
        all->list[i].started = r == 0;
    }
    return r;
}

static void drain_one(void *arg)
{
    ((rbk_courier *)arg)->draining = true;
}

void rbk_couriers_drain(rbk_couriers *all)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->list[i].started)
            rbk_loop_call(all->list[i].loop, drain_one, &all->list[i]);
}

size_t rbk_couriers_in_flight(const rbk_couriers *all)
{
    return atomic_load(&all->in_flight);
}

size_t rbk_couriers_late(const rbk_couriers *all)
{
    return atomic_load(&all->late);
}

void rbk_couriers_numbers(const rbk_couriers *all, rbk_metrics *ret, rbk_wall_ms *due)
{
    for (size_t i = 0; i < all->n; i++)
        rbk_numbers_sum(&all->list[i].numbers, ret, due);
    ret->sessions = (int64_t)atomic_load(&all->sessions);
    ret->unacknowledged = (int64_t)atomic_load(&all->unacknowledged);
}

static void close_one(void *arg)
{
    rbk_courier *c = arg;
    const rbk_transport_ops *ops;
    c->draining = c->closing = true;
    if (c->has_timer)
        uv_close((uv_handle_t *)&c->timer, NULL);
    c->has_timer = false;
    for (size_t i = 0; i < RBK_TRANSPORTS_MAX && (ops = rbk_transports_at(i)); i++)
        if (c->transports[i]) {
            ops->close(c->transports[i]);
            c->transports[i] = NULL;
        }
    rbk_reports_close(c);
    if (c->sessions)
        rbk_sessions_close(c);
}

void rbk_couriers_end(rbk_couriers *all)
{
    for (size_t i = 0; all->list && i < all->n; i++) {
        rbk_courier *c = &all->list[i];
        if (c->started)
            rbk_loop_call(c->loop, close_one, c);
        else if (c->loop)
            close_one(c);
    }
}

void rbk_couriers_stop(rbk_couriers *all)
{
    pthread_mutex_lock(&all->gate);
    all->shut = true;
    pthread_mutex_unlock(&all->gate);
    for (size_t i = 0; all->list && i < all->n; i++) {
        rbk_courier *c = &all->list[i];
        if (c->loop == NULL)
            continue;
        rbk_loop_stop(c->loop);
        rbk_loop_free(c->loop);
        c->loop = NULL;
        c->started = false;
    }
}

static void free_courier(rbk_courier *c)
{
    rbk_receivers_free(c->receivers);
    rbk_sessions_free(c->sessions);
    for (rbk_node *n; (n = rbk_list_pop(&c->out));)
        rbk_ticket_free((rbk_ticket *)(void *)n);
    rbk_delivery_free_spare(c);
}

void rbk_couriers_free(rbk_couriers *all)
{
    if (all == NULL)
        return;
    for (size_t i = 0; all->list && i < all->n; i++)
        free_courier(&all->list[i]);
    free(all->list);
    rbk_shares_free(all->addresses);
    rbk_shares_free(all->callers);
    rbk_tls_free(all->tls);
    pthread_mutex_destroy(&all->gate);
    free(all);
}
