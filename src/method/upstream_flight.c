/* SPDX-License-Identifier: Apache-2.0 */
/* method/upstream_flight.c - one call on its way through an upstream.
 *
 * WAITING -> (LOOKUP ->) SENT -> answered, or RESTING -> WAITING again; from each of them OVER when
 * nobody waits for the call any more. A call has a connection, or is about to get one, from LOOKUP to
 * the end of SENT: of these there are at most `connections`, and jobs leave an eighth of them to
 * synchronous calls, which also go first.
 *
 * A call that broke off is sent again if it may run anew (rbk_call_repeatable), or if none of it was
 * sent; for as long as its caller waits. Loop thread. */
#include "method/upstream_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/map.h"
#include "core/retry.h"
#include "method/upstream_answer.h"

#include <stdlib.h>

/* A run ends by its own time-out, which the engine knows; this one only bounds it. */
#define FOR_EVER_MS (INT64_C(8) * 24 * 3600 * 1000)

enum { ENVELOPE_MAX = 16 * 1024 };

static void start_waiting(rbk_upstream *u);

/* --- the end --- */

static void free_flight(rbk_flight *f)
{
    rbk_buf_free(&f->text);
    rbk_buf_free(&f->answer);
    free(f);
}

/* Off its line, and out of its connection. */
static void step_out(rbk_flight *f)
{
    rbk_upstream *u = f->u;
    if (f->state == RBK_FLIGHT_WAITING && !f->job)
        u->n_waiting_sync--;
    if (f->state == RBK_FLIGHT_LOOKUP || f->state == RBK_FLIGHT_SENT) {
        u->busy--;
        u->busy_jobs -= f->job;
    }
    rbk_link_remove(&f->line);
}

/* The call is answered, or let go of. */
static void end(rbk_flight *f)
{
    rbk_upstream *u = f->u;
    step_out(f);
    f->state = RBK_FLIGHT_OVER;
    rbk_link_remove(&f->all);
    rbk_call_unref(f->call);
    f->call = NULL;
    rbk_upstream_ended(u);
}

static void answer_fault(rbk_flight *f, int err)
{
    rbk_call_error(f->call, rbk_err_rpc_code(err), rbk_strerror(err), NULL);
    end(f);
    free_flight(f);
}

static void fault(rbk_flight *f, int status, const char *why)
{
    rbk_upstream_fault(f->u, f->call, status, why);
    answer_fault(f, RBK_E_INTERNAL);
}

/* Nobody waits for it. The client, if it has the post, gives it back at once; a look-up when it
 * ends. */
static void drop(rbk_flight *f)
{
    rbk_flight_state was = f->state;
    end(f);
    if (was == RBK_FLIGHT_SENT)
        rbk_http_post_cancel(f->u->client, &f->post);
    if (was != RBK_FLIGHT_LOOKUP)
        free_flight(f);
}

/* --- once more --- */

static int64_t wait_of(rbk_flight *f)
{
    uint64_t n = f->u->rests++;
    int64_t ms = RBK_UPSTREAM_WAIT_MAX_MS;
    if (f->tries < 6)
        ms = (int64_t)RBK_UPSTREAM_WAIT_MIN_MS << f->tries;
    if (ms > RBK_UPSTREAM_WAIT_MAX_MS)
        ms = RBK_UPSTREAM_WAIT_MAX_MS;
    int64_t spread = (int64_t)(rbk_hash((rbk_str){(const char *)&n, sizeof n}) % 401) - 200;
    return ms + ms * spread / 1000;
}

/* `least_ms`: what the upstream asked for. */
static void rest(rbk_flight *f, int64_t least_ms)
{
    int64_t ms = wait_of(f);
    step_out(f);
    f->tries++;
    f->due = rbk_loop_now(f->u->loop) + (least_ms > ms ? least_ms : ms);
    f->state = RBK_FLIGHT_RESTING;
    rbk_link_append(&f->u->resting, &f->line);
    rbk_buf_free(&f->text);
    rbk_buf_free(&f->answer);
}

static void lost(rbk_flight *f, int err, bool any_sent, const char *detail)
{
    bool answered = err == RBK_E_PROTOCOL;
    if (!answered && err != RBK_E_NOMEM)
        rbk_upstream_lost(f->u, err, 0, detail);
    if (!any_sent || (rbk_call_repeatable(f->call) && !answered))
        rest(f, 0);
    else
        fault(f, 0, answered ? "its answer is not HTTP" : "it broke off");
}

/* --- what came --- */

static void give_answer(rbk_flight *f, int status)
{
    rbk_upstream_answer a;
    rbk_str body = {f->answer.p, f->answer.n - 1}; /* without its NUL */
    rbk_upstream_read(body, rbk_call_id(f->call), &a);
    if (a.kind == RBK_UPSTREAM_ERROR) {
        rbk_call_error(f->call, a.code, a.message, a.data);
    } else if (a.kind == RBK_UPSTREAM_RESULT && status < 300) {
        if (a.result.n > f->u->max_result)
            rbk_call_error(f->call, rbk_err_rpc_code(RBK_E_RESULT_SIZE),
                           rbk_strerror(RBK_E_RESULT_SIZE), NULL);
        else
            rbk_call_result(f->call, a.result.p, a.result.n);
    } else {
        const char *why = a.why && status < 300 ? a.why : "a status that is no answer";
        rbk_upstream_fault(f->u, f->call, status, why);
        rbk_call_error(f->call, rbk_err_rpc_code(RBK_E_INTERNAL), rbk_strerror(RBK_E_INTERNAL),
                       NULL);
    }
    rbk_arena_free(&a.mem);
    end(f);
    free_flight(f);
}

/* A notification has no answer: what counts is that it was taken. */
static void end_notification(rbk_flight *f, int status)
{
    if (status >= 300) {
        fault(f, status, "a status that is no answer");
        return;
    }
    rbk_call_result(f->call, "null", 4);
    end(f);
    free_flight(f);
}

static void answered(rbk_flight *f, const rbk_http_result *r)
{
    bool away = r->status >= 502 && r->status <= 504;
    if (away)
        rbk_upstream_lost(f->u, 0, r->status, "");
    else
        rbk_upstream_found(f->u);
    if (away && rbk_call_repeatable(f->call)) {
        rest(f, rbk_retry_after(r->status, r->retry_after, rbk_wall_now()));
        return;
    }
    if (r->status >= 300 && r->status < 400) {
        rbk_upstream_redirect(f->u, f->call, r->status, rbk_upstream_location_host(r->location));
        answer_fault(f, RBK_E_INTERNAL);
        return;
    }
    rbk_buf_c(&f->answer, 0);
    bool large = rbk_buf_err(&f->answer) == RBK_E_TOO_LARGE;
    if (rbk_call_id(f->call).p == NULL) {
        end_notification(f, r->status);
        return;
    }
    if (large && r->status < 300) {
        answer_fault(f, RBK_E_RESULT_SIZE);
        return;
    }
    if (rbk_buf_err(&f->answer) < 0)
        fault(f, r->status, large ? "its answer is too large" : "out of memory");
    else
        give_answer(f, r->status);
}

static void on_done(rbk_http_post *post, const rbk_http_result *r)
{
    rbk_flight *f = post->user;
    rbk_upstream *u = f->u;
    if (f->state == RBK_FLIGHT_OVER) /* drop() is at it */
        return;
    if (r->err < 0)
        lost(f, r->err, r->any_sent, r->detail);
    else
        answered(f, r);
    start_waiting(u);
}

/* --- sending --- */

static void send_post(rbk_flight *f)
{
    rbk_upstream *u = f->u;
    if (f->state == RBK_FLIGHT_OVER) {
        free_flight(f);
        return;
    }
    f->answer = RBK_BUF(u->max_result + rbk_call_id(f->call).n * 6 + ENVELOPE_MAX);
    f->state = RBK_FLIGHT_SENT;
    rbk_http_post_send(u->client, &f->post);
}

static void on_resolved(void *user, int err, const rbk_addr *addrs, size_t n)
{
    rbk_flight *f = user;
    rbk_upstream *u = f->u;
    if (f->state == RBK_FLIGHT_OVER) {
        free_flight(f);
        return;
    }
    if (err < 0 || n == 0) {
        lost(f, err == RBK_E_NOMEM ? err : RBK_E_RESOLVE, false,
             err == RBK_E_TIMEOUT ? "name look-up timed out" : "no such name");
    } else {
        f->post.n_addrs = n < RBK_ADDRS_MAX ? n : RBK_ADDRS_MAX;
        memcpy(f->post.addrs, addrs, f->post.n_addrs * sizeof *addrs);
        send_post(f);
    }
    start_waiting(u);
}

static void make_post(rbk_flight *f)
{
    rbk_upstream *u = f->u;
    const rbk_dsn *dsn = &u->url.dsn;
    f->post = (rbk_http_post){
        .receiver = u->receiver,
        .tls = u->url.tls,
        .name = dsn->host_lower,
        .authority = rbk_str_z(u->authority),
        .target = dsn->target_slash ? RBK_STR("/") : dsn->target,
        .want_body = &f->answer,
        .once = !rbk_call_repeatable(f->call),
        .path = u->url.path[0] ? u->url.path : NULL,
        .port = u->url.port,
        .connect_ms = u->connect_ms,
        .total_ms = FOR_EVER_MS,
        .done = on_done,
        .user = f,
    };
}

/* It has a place among the busy ones. */
static void begin(rbk_flight *f)
{
    rbk_upstream *u = f->u;
    const rbk_dsn *dsn = &u->url.dsn;
    u->busy++;
    u->busy_jobs += f->job;
    f->state = RBK_FLIGHT_LOOKUP;
    make_post(f);
    if (rbk_upstream_request(f) < 0) {
        lost(f, RBK_E_NOMEM, false, "");
    } else if (f->post.path) {
        send_post(f);
    } else if (dsn->kind == RBK_HOST_NAME) {
        rbk_resolve(u->resolver, rbk_str_z(dsn->host_lower), u->connect_ms, on_resolved, f);
    } else {
        f->post.addrs[0].v6 = dsn->kind == RBK_HOST_IPV6;
        memcpy(f->post.addrs[0].ip, dsn->addr, sizeof dsn->addr);
        f->post.n_addrs = 1;
        send_post(f);
    }
}

static rbk_flight *next_waiting(rbk_upstream *u)
{
    bool job = rbk_link_empty(&u->waiting[0]);
    size_t reserve = job ? u->connections / 8 : 0;
    if (rbk_link_empty(&u->waiting[job]) || u->busy >= u->connections ||
        (job && u->busy_jobs >= u->connections - reserve))
        return NULL;
    return RBK_OF_LINK(u->waiting[job].next, rbk_flight, line);
}

static void start_waiting(rbk_upstream *u)
{
    if (u->starting || u->stopping)
        return;
    u->starting = true; /* what ends at once calls this again */
    for (rbk_flight *f; (f = next_waiting(u)) != NULL;) {
        step_out(f);
        f->state = RBK_FLIGHT_RESTING; /* on no line */
        if (rbk_call_cancelled(f->call))
            drop(f);
        else
            begin(f);
    }
    u->starting = false;
}

static void stand_in_line(rbk_flight *f)
{
    rbk_upstream *u = f->u;
    f->state = RBK_FLIGHT_WAITING;
    rbk_link_append(&u->waiting[f->job], &f->line);
    u->n_waiting_sync += !f->job;
}

void rbk_flight_arrive(rbk_task *task)
{
    rbk_flight *f = (rbk_flight *)(void *)task;
    rbk_upstream *u = f->u;
    rbk_link_append(&u->all, &f->all);
    if (u->stopping) {
        drop(f);
    } else if (!f->job && u->n_waiting_sync >= RBK_UPSTREAM_SYNC_WAITING) {
        answer_fault(f, RBK_E_BUSY);
    } else {
        stand_in_line(f);
        start_waiting(u);
    }
}

/* --- time --- */

void rbk_flights_tick(rbk_upstream *u)
{
    rbk_mono_ms now = rbk_loop_now(u->loop);
    rbk_link *after;
    for (rbk_link *l = u->all.next; l != &u->all; l = after) {
        rbk_flight *f = RBK_OF_LINK(l, rbk_flight, all);
        after = l->next;
        if (rbk_call_cancelled(f->call))
            drop(f);
    }
    for (rbk_link *l = u->resting.next; l != &u->resting; l = after) {
        rbk_flight *f = RBK_OF_LINK(l, rbk_flight, line);
        after = l->next;
        if (f->due <= now)
            stand_in_line(f);
    }
    start_waiting(u);
}

void rbk_flights_drop(rbk_upstream *u)
{
    u->stopping = true;
    while (!rbk_link_empty(&u->all))
        drop(RBK_OF_LINK(u->all.next, rbk_flight, all));
}
