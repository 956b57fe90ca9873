/* SPDX-License-Identifier: Apache-2.0 */
/* engine/progress.c - see progress.h: what methods tell. A report is made when a call first tells
 * something. Any thread. */
#include "engine/progress_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "core/envelope.h"
#include "core/json.h"
#include "engine/call.h"
#include "engine/lanes.h"

#include <math.h>
#include <stdlib.h>

int rbk_progress_new(rbk_engine *e, rbk_progress **ret, rbk_error *err)
{
    rbk_progress *p = calloc(1, sizeof *p);
    if (p == NULL || (p->map = rbk_map_new()) == NULL) {
        free(p);
        return rbk_fail(err, RBK_E_NOMEM, "progress");
    }
    p->e = e;
    p->open = true;
    pthread_mutex_init(&p->lock, NULL);
    *ret = p;
    return 0;
}

void rbk_progress_stop(rbk_progress *p)
{
    pthread_mutex_lock(&p->lock);
    p->open = false;
    pthread_mutex_unlock(&p->lock);
}

void rbk_progress_free(rbk_progress *p)
{
    if (p == NULL)
        return;
    rbk_map_free(p->map);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

bool rbk_report_leave(rbk_report *r)
{
    return --r->refs == 0;
}

void rbk_report_free(rbk_report *r)
{
    rbk_buf_free(&r->message);
    rbk_buf_free(&r->body);
    rbk_job_free(r->ticket.job);
    free(r);
}

/* --- A report ------------------------------------------------------------------------------- */

/* What an attempt needs of the job; nothing finds it by its place in the store. */
static rbk_job *copy_for_attempts(const rbk_job *job)
{
    char lane[RBK_LANE_MAX + 1];
    rbk_send_lane(job->callback, lane);
    return rbk_job_copy(&(rbk_job){
        .state = RBK_JOB_DUE,
        .flags = job->flags,
        .created = job->created,
        .lane = rbk_str_z(lane),
        .rpc_id = job->rpc_id,
        .callback = job->callback,
        .caller = job->caller,
        .headers = job->headers,
    });
}

static bool wants_it(const rbk_job *job)
{
    return (job->flags & RBK_JOB_PROGRESS) && !(job->flags & RBK_JOB_NOTIFICATION);
}

static rbk_report *make_report(rbk_progress *p, const rbk_call *c)
{
    rbk_report *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->all = p;
    r->refs = 1;
    r->message.max = SIZE_MAX / 2;
    r->body.max = SIZE_MAX / 2;
    r->ticket.report = r;
    rbk_link_init(&r->turn);
    memcpy(r->job, c->job_text, sizeof r->job);
    if (wants_it(c->request)) {
        r->ticket.job = copy_for_attempts(c->request);
        if (r->ticket.job)
            r->courier = rbk_couriers_of(p->e->couriers, r->ticket.job->lane);
    }
    if ((wants_it(c->request) && r->courier == NULL) ||
        rbk_map_put(p->map, rbk_str_z(r->job), r, NULL) < 0) {
        rbk_report_free(r);
        return NULL;
    }
    return r;
}

static void on_arrival(rbk_task *task)
{
    rbk_report *r = (rbk_report *)(void *)task;
    rbk_report_attend(r->courier, r);
}

/* With the lock held. */
static int tell(rbk_progress *p, rbk_call *c, double value, double total, rbk_buf *message)
{
    rbk_report *r = c->report;
    if (rbk_call_cancelled(c))
        return RBK_E_STATE;
    if (r == NULL && (r = make_report(p, c)) == NULL)
        return RBK_E_NOMEM;
    c->report = r;
    atomic_store(&c->reports, true);
    r->value = value;
    r->total = total;
    rbk_buf_free(&r->message);
    r->message = *message;
    *message = RBK_BUF(0);
    r->at = rbk_wall_now();
    r->fresh = true;
    if (r->courier && !r->armed && p->open) {
        r->armed = true;
        r->refs++;
        r->task.fn = on_arrival;
        rbk_loop_post(r->courier->loop, &r->task);
    }
    return 0;
}

/* As a JSON string, which only UTF-8 makes. */
static int read_message(const char *message, rbk_buf *ret)
{
    rbk_json_top top;
    size_t n = message ? strnlen(message, RBK_PROGRESS_MESSAGE_MAX + 1) : 0;
    if (n > RBK_PROGRESS_MESSAGE_MAX)
        return RBK_E_TOO_LARGE;
    *ret = RBK_BUF(8 * RBK_PROGRESS_MESSAGE_MAX);
    if (n == 0)
        return 0;
    rbk_buf_json_str(ret, (rbk_str){message, n});
    if (ret->err)
        return RBK_E_NOMEM;
    int r = rbk_json_validate(rbk_buf_view(ret), NULL, &top);
    return r == RBK_E_PARSE ? RBK_E_INVAL : r;
}

int rbk_call_progress(rbk_call *c, double value, double total, const char *message)
{
    rbk_progress *p = c->e->progress;
    rbk_buf text = {0};
    if (!isfinite(value) || !isfinite(total))
        return RBK_E_INVAL;
    int r = read_message(message, &text);
    if (r == 0 && c->request) {
        pthread_mutex_lock(&p->lock);
        r = tell(p, c, value, total, &text);
        pthread_mutex_unlock(&p->lock);
        if (rbk_call_cancelled(c))
            rbk_report_end(c); /* the answer came meanwhile, and may not have seen it */
    } else if (r == 0 && rbk_call_cancelled(c)) {
        r = RBK_E_STATE;
    }
    rbk_buf_free(&text);
    return r;
}

void rbk_report_end(rbk_call *c)
{
    rbk_progress *p = c->e->progress;
    if (!atomic_load(&c->reports))
        return;
    pthread_mutex_lock(&p->lock);
    rbk_report *r = c->report;
    bool last = false;
    c->report = NULL;
    if (r) {
        r->ended = true;
        rbk_map_remove(p->map, rbk_str_z(r->job));
        last = rbk_report_leave(r);
    }
    pthread_mutex_unlock(&p->lock);
    if (last)
        rbk_report_free(r);
}

void rbk_progress_write(rbk_engine *e, const char *job, rbk_buf *b)
{
    char at[25];
    pthread_mutex_lock(&e->progress->lock);
    const rbk_report *r = rbk_map_get(e->progress->map, rbk_str_z(job));
    if (r) {
        rbk_buf_lit(b, ",\"progress\":{");
        rbk_write_progress(b, r->value, r->total, rbk_buf_view(&r->message));
        rbk_wall_format(r->at, at);
        rbk_buf_addf(b, ",\"at\":\"%s\"}", at);
    }
    pthread_mutex_unlock(&e->progress->lock);
}
