/* SPDX-License-Identifier: Apache-2.0 */
/* engine/progress_send.c - see progress.h: what receivers hear. One notification of a job is under
 * way at a time, and half a second passes between them; those that wait for it stand in the order
 * of their times. Loop thread. */
#include "engine/progress_impl.h"

#include "core/envelope.h"
#include "core/ws_session.h"
#include "engine/sessions.h"

#include <inttypes.h>
#include <stdio.h>

/* {"method":"rpc.progress","params":{"id":…,"job":"…","value":…}}; with the lock held. */
static int write_body(rbk_report *r)
{
    const rbk_job *job = r->ticket.job;
    rbk_buf *b = &r->body;
    rbk_buf_clear(b);
    rbk_buf_c(b, '{');
    if (job->flags & RBK_JOB_VERSIONED)
        rbk_buf_lit(b, "\"jsonrpc\":\"2.0\",");
    rbk_buf_lit(b, "\"method\":\"rpc.progress\",\"params\":{\"id\":");
    rbk_buf_str(b, job->rpc_id);
    rbk_buf_addf(b, ",\"job\":\"%s\",", r->job);
    rbk_write_progress(b, r->value, r->total, rbk_buf_view(&r->message));
    rbk_buf_lit(b, "}}");
    return b->err;
}

/* On the client's own websocket it is gone or lost at once. */
static bool tell_socket(rbk_courier *c, rbk_report *r)
{
    bool sent = rbk_sessions_report(c, r->ticket.job->lane, rbk_buf_view(&r->body));
    atomic_fetch_add_explicit(sent ? &c->e->progress_sent : &c->e->progress_lost, 1, memory_order_relaxed);
    rbk_report_back(c, r);
    return true;
}

static bool start(rbk_courier *c, rbk_report *r)
{
    if (rbk_session_is_lane(r->ticket.job->lane))
        return tell_socket(c, r);
    rbk_receiver *to = rbk_receivers_lend(c->receivers, r->ticket.job->lane, rbk_loop_now(c->loop));
    if (to == NULL)
        return false;
    r->ticket.job->response = rbk_buf_view(&r->body);
    return rbk_delivery_report(c, to, &r->ticket);
}

/* Receivers drop an id that they had. So it is the time since the job was accepted, by a clock that
 * never goes back over restarts either: a run that begins anew does not begin to count anew. */
void rbk_report_id(rbk_report *r, char *out, size_t n)
{
    int64_t ms = rbk_engine_now(r->all->e) - r->ticket.job->created + 1;
    r->number = ms > r->number ? ms : r->number + 1;
    snprintf(out, n, "%s-p%" PRId64, r->job, r->number);
}

static void wait_a_while(rbk_courier *c, rbk_report *r)
{
    r->next_at = rbk_loop_now(c->loop) + RBK_PROGRESS_EVERY_MS;
    rbk_link_append(&c->reports, &r->turn);
}

void rbk_report_attend(rbk_courier *c, rbk_report *r)
{
    rbk_progress *p = r->all;
    pthread_mutex_lock(&p->lock);
    bool go = r->fresh && !r->ended && !c->draining, last = false;
    if (go) {
        r->fresh = write_body(r) < 0; /* memory is out: not for ever, it is hoped */
    } else {
        r->armed = false;
        last = rbk_report_leave(r);
    }
    bool lacks = r->fresh;
    pthread_mutex_unlock(&p->lock);
    if (last)
        rbk_report_free(r);
    if (!go)
        return;
    if (!lacks && start(c, r))
        return;
    pthread_mutex_lock(&p->lock);
    r->fresh = true;
    pthread_mutex_unlock(&p->lock);
    rbk_report_back(c, r);
}

void rbk_report_back(rbk_courier *c, rbk_report *r)
{
    wait_a_while(c, r);
    if (c->closing)
        rbk_reports_close(c);
    else
        rbk_courier_arm(c);
}

void rbk_reports_tick(rbk_courier *c)
{
    rbk_mono_ms now = rbk_loop_now(c->loop);
    while (rbk_reports_wake(c) <= now) {
        rbk_report *r = RBK_OF_LINK(c->reports.next, rbk_report, turn);
        rbk_link_remove(&r->turn);
        rbk_report_attend(c, r);
    }
}

rbk_mono_ms rbk_reports_wake(const rbk_courier *c)
{
    if (rbk_link_empty(&c->reports))
        return INT64_MAX;
    return RBK_OF_LINK(c->reports.next, rbk_report, turn)->next_at;
}

void rbk_reports_close(rbk_courier *c)
{
    while (!rbk_link_empty(&c->reports)) {
        rbk_report *r = RBK_OF_LINK(c->reports.next, rbk_report, turn);
        rbk_link_remove(&r->turn);
        rbk_report_attend(c, r);
    }
}
