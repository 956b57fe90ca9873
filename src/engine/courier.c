/* SPDX-License-Identifier: Apache-2.0 */
/* engine/courier.c - see courier.h.
 *
 * Each loop keeps a queue for each receiver that has work, and a ring of receivers that
 * could send: they take turns, so that a receiver with much to get does not hold up
 * one with little. Before each attempt the callback is checked by the policy of the day,
 * and the transport asks again for the very socket address. The outcome goes to the
 * store; what is tried again later leaves memory and comes back when it is due. */
#include "engine/courier.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "base/map.h"
#include "engine/store_thread.h"
#include "net/loop.h"
#include "seam/transports.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRANSPORTS_MAX = 4, SPARE_MAX = 256 };

typedef struct courier courier;

typedef struct receiver {
    struct receiver *next; /* in the ring */
    rbk_str name;
    rbk_list queue;
    size_t in_flight;
    bool in_ring;
} receiver;

typedef struct delivery {
    rbk_attempt a; /* first */
    struct delivery *next_spare;
    courier *c;
    receiver *to;
    rbk_ticket *t;
    rbk_dsn dsn;
    char job[RBK_ID_TEXT + 1];
    rbk_wall_ms began;
} delivery;

/* Tickets for one loop, posted as one task. */
typedef struct parcel {
    rbk_task task; /* first */
    courier *c;
    rbk_list tickets;
} parcel;

struct courier {
    rbk_engine *e;
    rbk_couriers *all;
    rbk_loop *loop;
    rbk_transport *transports[TRANSPORTS_MAX];
    rbk_map *receivers;
    receiver *ring_head, *ring_tail;
    size_t in_flight, limit;
    delivery *spare;
    size_t n_spare;
    bool draining, closing, pumping, started;
    rbk_list out;      /* store thread: tickets for this loop, not yet posted */
};

struct rbk_couriers {
    rbk_engine *e;
    rbk_tls *tls;
    courier *list;
    size_t n;
    atomic_size_t in_flight;
};

static void pump(courier *c);

/* --- Receivers ------------------------------------------------------------------------ */

static receiver *find_or_make(courier *c, rbk_str name)
{
    receiver *r = rbk_map_get(c->receivers, name);
    if (r)
        return r;
    r = calloc(1, sizeof *r);
    if (r && rbk_map_put(c->receivers, name, r, &r->name) < 0) {
        free(r);
        r = NULL;
    }
    return r;
}

static void forget_if_idle(courier *c, receiver *r)
{
    if (r->in_flight || r->queue.head || r->in_ring)
        return;
    rbk_map_remove(c->receivers, r->name);
    free(r);
}

static void enter_ring(courier *c, receiver *r)
{
    if (r->in_ring || r->queue.head == NULL || r->in_flight >= c->e->conf.per_receiver)
        return;
    r->in_ring = true;
    r->next = NULL;
    if (c->ring_tail)
        c->ring_tail->next = r;
    else
        c->ring_head = r;
    c->ring_tail = r;
}

static receiver *leave_ring(courier *c)
{
    receiver *r = c->ring_head;
    c->ring_head = r->next;
    if (c->ring_head == NULL)
        c->ring_tail = NULL;
    r->in_ring = false;
    return r;
}

/* --- Outcomes --------------------------------------------------------------------------- */

static void log_outcome(const delivery *d, rbk_level level, const char *event,
                        const rbk_attempt_result *res, const char *why)
{
    rbk_event(RBK_LOG(d->c->e), level, event, RBK_FS("job", ((rbk_str){d->job, RBK_ID_TEXT})),
              RBK_FZ("host", d->dsn.host_lower), RBK_F("attempt", d->t->job->attempts),
              RBK_F("status", res->status), RBK_FZ("error", why), RBK_FZ("detail", res->detail),
              RBK_F("ms", rbk_wall_now() - d->began));
}

/* Tried again along the schedule, or dead at its end. */
static void settle_failure(delivery *d, const rbk_attempt_result *res, bool gone)
{
    rbk_ticket *t = d->t;
    rbk_job *job = t->job;
    const char *why = gone ? "GONE" : res->err ? rbk_err_name(res->err) : "STATUS";
    uint64_t random;
    rbk_random(&random, sizeof random);
    rbk_wall_ms due = 0;
    job->reason = rbk_str_z(gone ? "gone" : res->err ? rbk_err_name(res->err) : "status");
    if (!gone && rbk_retry_next(&d->c->e->conf.retry, job->attempts, job->first_attempt,
                                rbk_wall_now(), random, &due)) {
        job->due = due;
        rbk_ticket_move(t, RBK_EV_RETRY, RBK_OP_RETRY);
        log_outcome(d, RBK_WARN, "delivery.failed", res, why);
    } else {
        rbk_ticket_move(t, RBK_EV_GIVE_UP, RBK_OP_DEAD);
        log_outcome(d, RBK_ERROR, "job.dead", res, why);
    }
}

static void settle(delivery *d, const rbk_attempt_result *res)
{
    rbk_job *job = d->t->job;
    rbk_outcome_kind kind = rbk_outcome_of(res->err ? 0 : res->status, res->complete);
    job->attempts++;
    job->last_status = res->status;
    if (job->first_attempt == 0)
        job->first_attempt = d->began;
    atomic_fetch_add_explicit(&d->c->e->attempts, 1, memory_order_relaxed);
    if (kind == RBK_OUT_DELIVERED) {
        rbk_ticket_move(d->t, RBK_EV_ACK, RBK_OP_DONE);
        if (RBK_LOG(d->c->e)->level <= RBK_DEBUG)
            log_outcome(d, RBK_DEBUG, "job.delivered", res, "OK");
    } else {
        settle_failure(d, res, kind == RBK_OUT_GONE);
    }
}

static delivery *get_delivery(courier *c)
{
    delivery *d = c->spare;
    if (d == NULL)
        return calloc(1, sizeof *d);
    c->spare = d->next_spare;
    c->n_spare--;
    return d;
}

static void put_delivery(courier *c, delivery *d)
{
    if (c->n_spare >= SPARE_MAX) {
        free(d);
        return;
    }
    d->next_spare = c->spare;
    c->spare = d;
    c->n_spare++;
}

/* Nothing could be tried for want of memory or of name look-ups: the job waits in the store
 * and comes back in a while. */
static void park(courier *c, rbk_ticket *t)
{
    enum { AGAIN_MS = 1000 };
    rbk_ticket_park(t, rbk_wall_now() + AGAIN_MS);
    rbk_store_push(c->e->store, t);
}

static void on_done(rbk_attempt *a, const rbk_attempt_result *res)
{
    delivery *d = (delivery *)(void *)a;
    courier *c = d->c;
    receiver *r = d->to;
    if (c->closing) {
        rbk_ticket_free(d->t); /* ended by the stop: the store still has it as DUE */
    } else if (res->err == RBK_E_BUSY || res->err == RBK_E_NOMEM) {
        park(c, d->t);
    } else {
        settle(d, res);
        rbk_store_push(c->e->store, d->t);
    }
    put_delivery(c, d);
    r->in_flight--;
    c->in_flight--;
    atomic_fetch_sub(&c->all->in_flight, 1);
    enter_ring(c, r);
    forget_if_idle(c, r);
    pump(c);
}

/* --- An attempt ----------------------------------------------------------------------------- */

/* The very address that is about to be connected to. */
static bool is_allowed(const struct sockaddr *addr, void *user)
{
    const rbk_netpolicy *p = ((const courier *)user)->e->conf.policy;
    if (addr->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof in);
        return rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, (const uint8_t *)&in.sin_addr,
                                     ntohs(in.sin_port));
    }
    if (addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, addr, sizeof in);
        return rbk_netpolicy_addr_ok(p, RBK_HOST_IPV6, in.sin6_addr.s6_addr,
                                     ntohs(in.sin6_port));
    }
    return false;
}

/* The place of a scheme's transport, or TRANSPORTS_MAX. */
static size_t transport_at(const char *scheme)
{
    const rbk_transport_ops *ops;
    for (size_t i = 0; i < TRANSPORTS_MAX && (ops = rbk_transports_at(i)); i++)
        if (strcmp(ops->scheme, scheme) == 0)
            return i;
    return TRANSPORTS_MAX;
}

/* A stored job that the policy of the day forbids goes dead with the reason, not out. */
static void refuse(courier *c, delivery *d, rbk_dsn_fault fault)
{
    char reason[160];
    rbk_job *job = d->t->job;
    rbk_dsn_reason(fault, job->callback, rbk_netpolicy_schemes(c->e->conf.policy), reason);
    free(job->mem[2]);
    job->mem[2] = strdup(reason);
    job->reason = job->mem[2] ? rbk_str_z(job->mem[2]) : RBK_STR("refused");
    job->lane = RBK_STR_NONE; /* it lay in mem[2]; a dead job waits for nothing */
    rbk_event(RBK_LOG(c->e), RBK_ERROR, "job.refused", RBK_FS("method", job->method),
              RBK_FZ("reason", reason));
    rbk_ticket_move(d->t, RBK_EV_REFUSE, RBK_OP_DEAD);
    rbk_store_push(c->e->store, d->t);
    put_delivery(c, d);
}

static void begin_attempt(courier *c, receiver *r, delivery *d)
{
    rbk_job *job = d->t->job;
    rbk_ticket_move(d->t, RBK_EV_SEND, RBK_OP_DONE);
    d->to = r;
    d->began = rbk_wall_now();
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, d->job);
    d->a = (rbk_attempt){
        .dsn = job->callback,
        .parsed = &d->dsn,
        .receiver = d->dsn.receiver,
        .job = {d->job, RBK_ID_TEXT},
        .number = job->attempts + 1,
        .now = d->began,
        .headers = job->headers,
        .body = job->response,
        .allow = is_allowed,
        .allow_user = c,
        .done = on_done,
    };
    r->in_flight++;
    c->in_flight++;
    atomic_fetch_add(&c->all->in_flight, 1);
    size_t at = transport_at(d->dsn.scheme_lower);
    rbk_transports_at(at)->send(c->transports[at], &d->a);
}

static void start_one(courier *c, receiver *r, rbk_ticket *t)
{
    delivery *d = get_delivery(c);
    if (d == NULL) {
        park(c, t);
        return;
    }
    d->c = c;
    d->t = t;
    rbk_dsn_fault fault = rbk_netpolicy_check(c->e->conf.policy, t->job->callback, &d->dsn);
    if (fault == RBK_DSN_OK && transport_at(d->dsn.scheme_lower) == TRANSPORTS_MAX)
        fault = RBK_DSN_PROTOCOL;
    if (fault != RBK_DSN_OK)
        refuse(c, d, fault);
    else
        begin_attempt(c, r, d);
}

/* Receivers take turns until no slot is free or nobody has anything to send. */
static void pump(courier *c)
{
    if (c->pumping)
        return;
    c->pumping = true;
    while (!c->draining && c->ring_head && c->in_flight < c->limit) {
        receiver *r = leave_ring(c);
        start_one(c, r, (rbk_ticket *)(void *)rbk_list_pop(&r->queue));
        enter_ring(c, r);
        forget_if_idle(c, r);
    }
    c->pumping = false;
}

/* --- In ---------------------------------------------------------------------------------------- */

static void on_parcel(rbk_task *task)
{
    parcel *p = (parcel *)(void *)task;
    courier *c = p->c;
    for (rbk_node *n; (n = rbk_list_pop(&p->tickets));) {
        rbk_ticket *t = (rbk_ticket *)(void *)n;
        receiver *r = c->draining ? NULL : find_or_make(c, t->job->lane);
        if (c->draining) {
            rbk_ticket_free(t); /* the store has it as DUE */
            continue;
        }
        if (r == NULL) {
            park(c, t);
            continue;
        }
        rbk_list_push(&r->queue, n);
        enter_ring(c, r);
    }
    free(p);
    pump(c);
}

void rbk_couriers_send(rbk_couriers *all, rbk_ticket *t)
{
    courier *c = &all->list[rbk_hash(t->job->lane) % all->n];
    rbk_list_push(&c->out, &t->node);
}

void rbk_couriers_flush(rbk_couriers *all)
{
    for (size_t i = 0; i < all->n; i++) {
        courier *c = &all->list[i];
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

static int open_transports(courier *c, rbk_error *err)
{
    rbk_transport_env env = {
        .loop = c->loop,
        .tls = c->all->tls,
        .connect_ms = c->e->conf.connect_ms,
        .total_ms = c->e->conf.delivery_ms,
        .resolve_ms = c->e->conf.connect_ms, /* a look-up is a part of connecting */
    };
    const rbk_transport_ops *ops;
    for (size_t i = 0; i < TRANSPORTS_MAX && (ops = rbk_transports_at(i)); i++) {
        int r = ops->open(&env, &c->transports[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int make_courier(rbk_couriers *all, courier *c, size_t i, rbk_error *err)
{
    char name[16];
    c->e = all->e;
    c->all = all;
    c->limit = all->e->conf.in_flight / all->n;
    if (c->limit == 0)
        c->limit = 1;
    c->receivers = rbk_map_new();
    if (c->receivers == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "courier");
    snprintf(name, sizeof name, "rbk-courier-%zu", i % 1000);
    int r = rbk_loop_new(name, &c->loop, err);
    return r < 0 ? r : open_transports(c, err);
}

int rbk_couriers_new(rbk_engine *e, rbk_couriers **ret, rbk_error *err)
{
    rbk_couriers *all = calloc(1, sizeof *all);
    if (all == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "couriers");
    all->e = e;
    all->n = e->conf.couriers;
    all->list = calloc(all->n, sizeof *all->list);
    int r = all->list ? rbk_tls_client_new(&e->conf.tls, &all->tls, err)
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
    ((courier *)arg)->draining = true;
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

static void close_one(void *arg)
{
    courier *c = arg;
    const rbk_transport_ops *ops;
    c->draining = c->closing = true;
    for (size_t i = 0; i < TRANSPORTS_MAX && (ops = rbk_transports_at(i)); i++)
        if (c->transports[i]) {
            ops->close(c->transports[i]);
            c->transports[i] = NULL;
        }
}

void rbk_couriers_end(rbk_couriers *all)
{
    for (size_t i = 0; all->list && i < all->n; i++) {
        courier *c = &all->list[i];
        if (c->started)
            rbk_loop_call(c->loop, close_one, c);
        else if (c->loop)
            close_one(c);
    }
}

void rbk_couriers_stop(rbk_couriers *all)
{
    for (size_t i = 0; all->list && i < all->n; i++) {
        courier *c = &all->list[i];
        if (c->loop == NULL)
            continue;
        rbk_loop_stop(c->loop);
        rbk_loop_free(c->loop);
        c->loop = NULL;
        c->started = false;
    }
}

static void free_receiver(rbk_str name, void *value, void *user)
{
    receiver *r = value;
    (void)name;
    (void)user;
    for (rbk_node *n; (n = rbk_list_pop(&r->queue));)
        rbk_ticket_free((rbk_ticket *)(void *)n);
    free(r);
}

static void free_courier(courier *c)
{
    if (c->receivers) {
        rbk_map_each(c->receivers, free_receiver, NULL);
        rbk_map_free(c->receivers);
    }
    for (rbk_node *n; (n = rbk_list_pop(&c->out));)
        rbk_ticket_free((rbk_ticket *)(void *)n);
    while (c->spare) {
        delivery *d = c->spare;
        c->spare = d->next_spare;
        free(d);
    }
}

void rbk_couriers_free(rbk_couriers *all)
{
    if (all == NULL)
        return;
    for (size_t i = 0; all->list && i < all->n; i++)
        free_courier(&all->list[i]);
    free(all->list);
    rbk_tls_free(all->tls);
    free(all);
}
