/* SPDX-License-Identifier: Apache-2.0 */
/* engine/delivery.c - one attempt to deliver, and what comes of it.
 *
 * Before each attempt the callback is checked by the policy of the day, and the transport
 * asks again for the very socket address, and says when it takes it: attempts at one address
 * are counted over all loops. The outcome goes to the store; what is tried again later
 * leaves memory and comes back when it is due. When a pause ends, the store is asked to bring
 * what waits for the receiver before its time. Loop thread. */
#include "engine/courier_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "engine/progress.h"
#include "engine/signer.h"
#include "engine/store_thread.h"
#include "seam/transports.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

enum { SPARE_MAX = 256, LINES_MAX = 32 << 10 };

struct rbk_delivery {
    rbk_attempt a; /* first */
    struct rbk_delivery *next_spare;
    rbk_link flight; /* among those of its receiver */
    rbk_courier *c;
    rbk_receiver *to;
    rbk_ticket *t;
    rbk_dsn dsn;
    rbk_netpolicy *policy; /* one for the whole attempt */
    char id[RBK_ID_TEXT + 24]; /* webhook-id: the job's, or <job>-p<n> of a report */
    rbk_buf lines; /* header lines of the attempt, its signature among them */
    rbk_mono_ms began;
    rbk_addr_key address; /* counted in the addresses' shares */
    rbk_addr_key used;    /* where the attempt went */
    bool caller;          /* counted in the callers' */
};

/* --- Outcomes --------------------------------------------------------------------------- */

static void log_outcome(const rbk_delivery *d, rbk_level level, const char *event,
                        const rbk_attempt_result *res, const char *why)
{
    rbk_event(RBK_LOG(d->c->e), level, event, RBK_FZ("job", d->id),
              RBK_FZ("host", d->dsn.host_lower), RBK_F("attempt", d->t->job->attempts),
              RBK_F("status", res->status), RBK_FZ("error", why), RBK_FZ("detail", res->detail),
              RBK_F("ms", rbk_mono_now() - d->began));
}

/* Along the schedule, or when the receiver wants it; false: never. */
static bool find_next(const rbk_delivery *d, const rbk_attempt_result *res, rbk_wall_ms *ret_due)
{
    const rbk_job *job = d->t->job;
    const rbk_retry_conf *conf = &d->c->e->conf.retry;
    rbk_wall_ms now = rbk_engine_now(d->c->e);
    int64_t after = res->err ? 0 : rbk_retry_after(res->status, res->retry_after, rbk_wall_now());
    uint64_t random;
    if (after)
        return rbk_retry_next_after(conf, job->first_attempt, now, after, ret_due);
    rbk_random(&random, sizeof random);
    return rbk_retry_next(conf, job->attempts, job->first_attempt, now, random, ret_due);
}

static void write_host(const rbk_addr_key *k, char out[64])
{
    if (k->n)
        rbk_format_addr(k->n < 16 ? RBK_HOST_IPV4 : RBK_HOST_IPV6, (const uint8_t *)k->bytes, out);
}

/* For the operator who asks what became of it. Without memory there is none. */
static rbk_attempt_note *make_note(const rbk_delivery *d, const rbk_attempt_result *res,
                                   const char *why)
{
    rbk_attempt_note *note = calloc(1, sizeof *note);
    if (note == NULL)
        return NULL;
    note->number = d->t->job->attempts;
    note->status = res->status;
    note->at = rbk_sched_at(d->c->e->clock, d->began);
    note->ms = rbk_mono_now() - d->began;
    snprintf(note->reason, sizeof note->reason, "%s", why);
    write_host(&d->used, note->host);
    return note;
}

/* Tried again, or dead. */
static void settle_failure(rbk_delivery *d, const rbk_attempt_result *res, bool gone)
{
    rbk_ticket *t = d->t;
    rbk_job *job = t->job;
    const char *why = gone ? "GONE" : res->err ? rbk_err_name(res->err) : "STATUS";
    rbk_wall_ms due = 0;
    job->reason = rbk_str_z(why);
    free(t->note);
    t->note = make_note(d, res, why);
    if (!gone && find_next(d, res, &due)) {
        job->due = due;
        rbk_ticket_move(t, RBK_EV_RETRY, RBK_OP_RETRY);
        log_outcome(d, RBK_WARN, "delivery.failed", res, why);
    } else {
        rbk_ticket_move(t, RBK_EV_GIVE_UP, RBK_OP_DEAD);
        log_outcome(d, RBK_ERROR, "job.dead", res, why);
    }
}

static void settle(rbk_delivery *d, const rbk_attempt_result *res)
{
    rbk_job *job = d->t->job;
    rbk_outcome_kind kind = rbk_outcome_of(res->err ? 0 : res->status, res->complete);
    if (job->attempts++ == 0)
        job->first_attempt = rbk_sched_at(d->c->e->clock, d->began);
    job->last_status = res->status;
    atomic_fetch_add_explicit(&d->c->e->attempts, 1, memory_order_relaxed);
    rbk_numbers_attempt(&d->c->numbers, rbk_attempt_outcome_of(res->err, res->status,
                                                               kind == RBK_OUT_DELIVERED));
    if (kind == RBK_OUT_DELIVERED) {
        rbk_numbers_latency(&d->c->numbers, rbk_engine_now(d->c->e) - job->created);
        rbk_ticket_move(d->t, RBK_EV_ACK, RBK_OP_DONE);
        if (RBK_LOG(d->c->e)->level <= RBK_DEBUG)
            log_outcome(d, RBK_DEBUG, "job.delivered", res, "OK");
    } else if (d->t->waiter) {
        rbk_ticket_move(d->t, RBK_EV_CANCEL, RBK_OP_DONE); /* now that it is over */
        rbk_ticket_move(d->t, RBK_EV_ACK_CANCELLED, RBK_OP_DONE);
    } else {
        settle_failure(d, res, kind == RBK_OUT_GONE);
    }
}

static rbk_host_news news_of(const rbk_attempt_result *res)
{
    if (rbk_retry_blames_host(res->err, res->status))
        return RBK_HOST_FAILS;
    return res->err ? RBK_HOST_SILENT : RBK_HOST_ANSWERS;
}

static rbk_delivery *get_delivery(rbk_courier *c)
{
    rbk_delivery *d = c->spare;
    if (d == NULL)
        return calloc(1, sizeof *d);
    c->spare = d->next_spare;
    c->n_spare--;
    return d;
}

static void put_delivery(rbk_courier *c, rbk_delivery *d)
{
    rbk_buf_free(&d->lines);
    rbk_netpolicy_unref(d->policy);
    d->policy = NULL;
    if (c->n_spare >= SPARE_MAX) {
        free(d);
        return;
    }
    d->next_spare = c->spare;
    c->spare = d;
    c->n_spare++;
}

void rbk_delivery_park(rbk_courier *c, rbk_ticket *t)
{
    enum { AGAIN_MS = 1000 };
    rbk_ticket_park(t, rbk_engine_now(c->e) + AGAIN_MS);
    rbk_store_push(c->e->store, t);
}

/* The delivery's places at its address and for its caller. */
static void leave_shares(rbk_delivery *d)
{
    if (d->address.n)
        rbk_shares_leave(d->c->all->addresses, (rbk_str){d->address.bytes, d->address.n});
    if (d->caller)
        rbk_shares_leave(d->c->all->callers, d->t->job->caller);
    d->address.n = 0;
    d->caller = false;
}

rbk_ticket *rbk_delivery_find(const rbk_receiver *r, int64_t seq)
{
    for (rbk_link *l = r->flight.next; l != &r->flight; l = l->next) {
        rbk_delivery *d = RBK_OF_LINK(l, rbk_delivery, flight);
        if (d->t->job->seq == seq)
            return d->t;
    }
    return NULL;
}

void rbk_delivery_cancel(rbk_courier *c, rbk_ticket *t)
{
    rbk_ticket_move(t, RBK_EV_CANCEL, RBK_OP_DONE);
    rbk_store_push(c->e->store, t);
}

/* For the operator who lists receivers. */
static void note_why(rbk_receiver *r, const rbk_attempt_result *res)
{
    if (res->err)
        snprintf(r->why, sizeof r->why, "%s", rbk_err_name(res->err));
    else
        snprintf(r->why, sizeof r->why, "STATUS %d", res->status);
}

/* The receiver is as good as its last answers. */
static void tell_receiver(rbk_delivery *d, const rbk_attempt_result *res, rbk_str lane)
{
    rbk_courier *c = d->c;
    if (news_of(res) == RBK_HOST_FAILS)
        note_why(d->to, res);
    switch (rbk_receivers_done(c->receivers, d->to, news_of(res), rbk_loop_now(c->loop))) {
    case RBK_PAUSE_BEGINS:
        rbk_event(RBK_LOG(c->e), RBK_WARN, "receiver.paused", RBK_FZ("host", d->dsn.host_lower),
                  RBK_F("port", d->dsn.port), RBK_F("failures", c->e->conf.breaker));
        break;
    case RBK_PAUSE_ENDS:
        rbk_event(RBK_LOG(c->e), RBK_INFO, "receiver.resumed", RBK_FZ("host", d->dsn.host_lower),
                  RBK_F("port", d->dsn.port));
        rbk_store_pull(c->e->store, lane);
        break;
    case RBK_PAUSE_SAME:
        break;
    }
}

/* A report's attempt: nothing is stored, nothing is tried again. */
static void settle_report(rbk_delivery *d, const rbk_attempt_result *res)
{
    rbk_courier *c = d->c;
    bool sent = rbk_outcome_of(res->err ? 0 : res->status, res->complete) == RBK_OUT_DELIVERED;
    atomic_fetch_add_explicit(sent ? &c->e->progress_sent : &c->e->progress_lost, 1,
                              memory_order_relaxed);
    if (!sent && RBK_LOG(c->e)->level <= RBK_DEBUG)
        log_outcome(d, RBK_DEBUG, "progress.lost", res, res->err ? rbk_err_name(res->err) : "STATUS");
    if (c->closing || res->err == RBK_E_BUSY || res->err == RBK_E_NOMEM)
        rbk_receivers_skip(c->receivers, d->to, rbk_loop_now(c->loop));
    else
        tell_receiver(d, res, d->t->job->lane);
    rbk_report_back(c, d->t->report);
}

static void on_done(rbk_attempt *a, const rbk_attempt_result *res)
{
    rbk_delivery *d = (rbk_delivery *)(void *)a;
    rbk_courier *c = d->c;
    leave_shares(d);
    rbk_link_remove(&d->flight);
    if (d->t->report) {
        settle_report(d, res);
    } else if (c->closing) {
        rbk_receivers_skip(c->receivers, d->to, rbk_loop_now(c->loop));
        rbk_ticket_free(d->t); /* ended by the stop: the store still has it as DUE */
    } else if (d->t->waiter && (res->err == RBK_E_BUSY || res->err == RBK_E_NOMEM)) {
        rbk_receivers_skip(c->receivers, d->to, rbk_loop_now(c->loop));
        rbk_ticket_move(d->t, RBK_EV_LEASE_LOST, RBK_OP_PARK);
        rbk_delivery_cancel(c, d->t);
    } else if (res->err == RBK_E_BUSY) {
        /* Nothing was done: too many attempts at the address, or too many look-ups. */
        rbk_ticket_move(d->t, RBK_EV_LEASE_LOST, RBK_OP_PARK);
        rbk_receivers_hold(c->receivers, d->to, d->t, rbk_loop_now(c->loop));
    } else if (res->err == RBK_E_NOMEM) {
        rbk_receivers_skip(c->receivers, d->to, rbk_loop_now(c->loop));
        rbk_delivery_park(c, d->t);
    } else {
        settle(d, res);
        tell_receiver(d, res, d->t->job->lane);
        rbk_store_push(c->e->store, d->t);
    }
    put_delivery(c, d);
    atomic_fetch_sub(&c->all->in_flight, 1);
    rbk_courier_pump(c);
}

/* --- An attempt ----------------------------------------------------------------------------- */

/* An address of the host. */
static bool is_allowed(const struct sockaddr *addr, void *user)
{
    const rbk_netpolicy *p = ((const rbk_delivery *)user)->policy;
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

static rbk_addr_key key_of(const struct sockaddr *addr)
{
    rbk_addr_key k = {0};
    if (addr->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof in);
        memcpy(k.bytes, &in.sin_addr, 4);
        memcpy(k.bytes + 4, &in.sin_port, 2);
        k.n = 6;
    } else if (addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, addr, sizeof in);
        memcpy(k.bytes, &in.sin6_addr, 16);
        memcpy(k.bytes + 16, &in.sin6_port, 2);
        k.n = 18;
    }
    return k;
}

/* Take a place at the address, in exchange for the one that the delivery has. */
static bool enter_address(rbk_delivery *d, const rbk_addr_key *k)
{
    rbk_couriers *all = d->c->all;
    if (k->n == d->address.n && memcmp(k->bytes, d->address.bytes, k->n) == 0)
        return true;
    if (d->address.n)
        rbk_shares_leave(all->addresses, (rbk_str){d->address.bytes, d->address.n});
    d->to->address = *k;
    d->address = *k;
    if (!rbk_shares_enter(all->addresses, (rbk_str){k->bytes, k->n}, atomic_load(&all->in_flight)))
        d->address.n = 0;
    return d->address.n > 0;
}

/* The very address that is about to be used. */
static bool on_enter(const struct sockaddr *addr, void *user)
{
    rbk_addr_key k = key_of(addr);
    ((rbk_delivery *)user)->used = k;
    return enter_address(user, &k);
}

/* Places for the caller, and at the address that the receiver had last: it is most often the
 * same again, and so nothing is begun in vain. */
static bool enter_shares(rbk_delivery *d)
{
    rbk_couriers *all = d->c->all;
    rbk_addr_key last = d->to->address;
    rbk_str caller = d->t->job->caller;
    d->caller = caller.n && rbk_shares_enter(all->callers, caller, atomic_load(&all->in_flight));
    if (caller.n && !d->caller)
        return false;
    return last.n == 0 || enter_address(d, &last);
}

/* The place of a scheme's transport, or RBK_TRANSPORTS_MAX. */
static size_t transport_at(const char *scheme)
{
    const rbk_transport_ops *ops;
    for (size_t i = 0; i < RBK_TRANSPORTS_MAX && (ops = rbk_transports_at(i)); i++)
        if (strcmp(ops->scheme, scheme) == 0)
            return i;
    return RBK_TRANSPORTS_MAX;
}

/* A stored job that must not go out today goes dead with the reason. */
void rbk_delivery_refuse(rbk_courier *c, rbk_ticket *t, const char *reason)
{
    char id[RBK_ID_TEXT + 1];
    rbk_job *job = t->job;
    free(job->mem[2]);
    job->mem[2] = strdup(reason);
    job->reason = job->mem[2] ? rbk_str_z(job->mem[2]) : RBK_STR("refused");
    job->lane = RBK_STR_NONE; /* it lay in mem[2]; a dead job waits for nothing */
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, id);
    rbk_event(RBK_LOG(c->e), RBK_ERROR, "job.refused", RBK_FS("method", job->method),
              RBK_FZ("reason", reason), RBK_FZ("job", id),
              RBK_FS("caller", job->caller));
    rbk_ticket_move(t, RBK_EV_REFUSE, RBK_OP_DEAD);
    rbk_store_push(c->e->store, t);
}

/* 0, or nothing can be sent now: an attempt without its signature is none. */
static int prepare_attempt(rbk_courier *c, rbk_delivery *d, const rbk_caller *who)
{
    const rbk_job *job = d->t->job;
    d->began = rbk_mono_now();
    if (d->t->report)
        rbk_report_id(d->t->report, d->id, sizeof d->id);
    else
        rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, d->id);
    d->a = (rbk_attempt){
        .dsn = job->callback,
        .parsed = &d->dsn,
        .receiver = d->dsn.receiver,
        .job = rbk_str_z(d->id),
        .number = job->attempts + 1,
        .now = rbk_wall_now(),
        .headers = job->headers,
        .body = job->response,
        .allow = is_allowed,
        .enter = on_enter,
        .allow_user = d,
        .done = on_done,
    };
    d->lines = RBK_BUF(LINES_MAX);
    int e = rbk_signer_add(c->e, d->t, who, &d->a, &d->lines);
    d->a.headers = rbk_buf_view(&d->lines);
    if (e < 0)
        rbk_event(RBK_LOG(c->e), RBK_ERROR, "delivery.unsigned", RBK_FZ("error", rbk_err_name(e)));
    return e;
}

static void begin_attempt(rbk_courier *c, rbk_delivery *d)
{
    size_t at = transport_at(d->dsn.scheme_lower);
    rbk_link_init(&d->flight);
    rbk_link_append(&d->to->flight, &d->flight);
    atomic_fetch_add(&c->all->in_flight, 1);
    rbk_transports_at(at)->send(c->transports[at], &d->a);
}

/* May it go out today? Else `reason` is filled. */
static bool is_permitted(rbk_delivery *d, const rbk_caller *who, char reason[160])
{
    const rbk_job *job = d->t->job;
    rbk_dsn_fault fault = rbk_netpolicy_check_for(d->policy, who ? &who->hosts : NULL, job->callback,
                                                  &d->dsn);
    if (fault == RBK_DSN_OK && transport_at(d->dsn.scheme_lower) == RBK_TRANSPORTS_MAX)
        fault = RBK_DSN_PROTOCOL;
    if (fault != RBK_DSN_OK)
        rbk_dsn_reason(fault, job->callback, rbk_netpolicy_schemes(d->policy), reason);
    return fault == RBK_DSN_OK;
}

/* Checks, places, signature: 0, or nothing may begin: RBK_E_ADDRESS and `reason`, _BUSY, _NOMEM. */
static int make_ready(rbk_courier *c, rbk_delivery *d, char reason[160])
{
    rbk_str name = d->t->job->caller;
    rbk_callers *callers = name.n ? rbk_engine_callers(c->e) : NULL;
    const rbk_caller *who = callers ? rbk_callers_find(callers, name) : NULL;
    int r = 0;
    d->policy = rbk_engine_policy(c->e);
    snprintf(reason, 160, "its caller is gone");
    if ((callers && who == NULL) || !is_permitted(d, who, reason))
        r = RBK_E_ADDRESS;
    else if (!enter_shares(d))
        r = RBK_E_BUSY;
    else if (prepare_attempt(c, d, who) < 0)
        r = RBK_E_NOMEM;
    if (r < 0)
        leave_shares(d);
    rbk_callers_unref(callers);
    return r;
}

static rbk_delivery *new_delivery(rbk_courier *c, rbk_receiver *r, rbk_ticket *t)
{
    rbk_delivery *d = get_delivery(c);
    if (d == NULL)
        return NULL;
    d->c = c;
    d->t = t;
    d->to = r;
    d->address.n = d->used.n = 0;
    d->caller = false;
    d->policy = NULL;
    return d;
}

/* Its slot is counted already. */
void rbk_delivery_start(rbk_courier *c, rbk_receiver *r, rbk_ticket *t)
{
    char reason[160];
    rbk_mono_ms now = rbk_loop_now(c->loop);
    rbk_delivery *d = new_delivery(c, r, t);
    int e = d ? make_ready(c, d, reason) : RBK_E_NOMEM;
    if (e == 0) {
        rbk_ticket_move(t, RBK_EV_SEND, RBK_OP_DONE);
        begin_attempt(c, d);
        return;
    }
    if (e == RBK_E_ADDRESS)
        rbk_delivery_refuse(c, t, reason);
    if (d)
        put_delivery(c, d);
    if (e == RBK_E_BUSY) {
        rbk_receivers_hold(c->receivers, r, t, now);
        return;
    }
    if (e == RBK_E_NOMEM)
        rbk_delivery_park(c, t);
    rbk_receivers_skip(c->receivers, r, now);
}

bool rbk_delivery_report(rbk_courier *c, rbk_receiver *r, rbk_ticket *t)
{
    char reason[160];
    rbk_delivery *d = new_delivery(c, r, t);
    if (d && make_ready(c, d, reason) == 0) {
        begin_attempt(c, d);
        return true;
    }
    if (d)
        put_delivery(c, d);
    rbk_receivers_skip(c->receivers, r, rbk_loop_now(c->loop));
    return false;
}

void rbk_delivery_expire(rbk_courier *c, rbk_ticket *t)
{
    char id[RBK_ID_TEXT + 1];
    rbk_dsn dsn;
    rbk_job *job = t->job;
    rbk_netpolicy *policy = rbk_engine_policy(c->e);
    bool ok = rbk_netpolicy_check(policy, job->callback, &dsn) == RBK_DSN_OK;
    rbk_netpolicy_unref(policy);
    rbk_id_format((rbk_id){(uint64_t)job->seq, (uint64_t)job->rnd}, id);
    rbk_event(RBK_LOG(c->e), RBK_ERROR, "job.expired", RBK_FZ("job", id),
              RBK_FZ("host", ok ? dsn.host_lower : ""), RBK_F("attempts", job->attempts));
    if (job->attempts == 0)
        job->reason = RBK_STR("paused");
    rbk_ticket_move(t, RBK_EV_GIVE_UP, RBK_OP_DEAD);
    rbk_store_push(c->e->store, t);
}

void rbk_delivery_free_spare(rbk_courier *c)
{
    while (c->spare) {
        rbk_delivery *d = c->spare;
        c->spare = d->next_spare;
        free(d);
    }
}
