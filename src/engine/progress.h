/* SPDX-License-Identifier: Apache-2.0 */
/* engine/progress.h - how far methods are, as they tell it.
 *
 * Each run of a job that reports has one report: the last state, in memory alone. rpc.job.get
 * shows it; where the job asked for it, its callback gets it as a notification, through the
 * slots of its receiver but behind every response: whoever has no slot free, is paused or fails
 * does not get this one, and the next comes half a second later. The newest counts, older ones
 * are left out. With the answer of the call all of it ends. */
#ifndef RBK_ENGINE_PROGRESS_H
#define RBK_ENGINE_PROGRESS_H

#include "base/buf.h"
#include "engine/engine_impl.h"

struct rbk_courier;

enum {
    RBK_PROGRESS_EVERY_MS = 500,
    RBK_PROGRESS_MESSAGE_MAX = 1000, /* bytes */
};

/* Public: rbk_call_progress() in ringback.h. */

int rbk_progress_new(rbk_engine *e, rbk_progress **ret, rbk_error *err);
/* From now on no loop hears of a report. The couriers' loops still run. */
void rbk_progress_stop(rbk_progress *p);
void rbk_progress_free(rbk_progress *p); /* no call is left; NULL is legal */

/* The call has its answer, or goes. Any thread; more than once is legal. */
void rbk_report_end(rbk_call *c);

/* Appends `,"progress":{…}` where the job runs and has told. Any thread. */
void rbk_progress_write(rbk_engine *e, const char *job, rbk_buf *b);

/* --- progress_send.c: the loop of the report's receiver --- */

/* The report has something new, or `c` ends; it is no more on its way. */
void rbk_report_attend(struct rbk_courier *c, rbk_report *r);
/* The next notification's webhook-id: <job>-p<n>, never one that there was before. */
void rbk_report_id(rbk_report *r, char *out, size_t n);
/* The attempt that its ticket was for is over. */
void rbk_report_back(struct rbk_courier *c, rbk_report *r);
/* Those whose half second is over. */
void rbk_reports_tick(struct rbk_courier *c);
/* When that is; INT64_MAX: none waits. */
rbk_mono_ms rbk_reports_wake(const struct rbk_courier *c);
/* The loop ends: none waits any more. */
void rbk_reports_close(struct rbk_courier *c);

#endif
