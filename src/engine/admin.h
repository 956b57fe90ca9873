/* SPDX-License-Identifier: Apache-2.0 */
/* engine/admin.h - what an operator may ask of the engine: jobs, receivers, numbers.
 *
 * Every answer comes by a function that is called exactly once, when the call has returned 0;
 * on a thread of the engine, perhaps before the call returns. It must not block. What it is
 * given is valid in the call alone. Any thread, between start and stop. */
#ifndef RBK_ENGINE_ADMIN_H
#define RBK_ENGINE_ADMIN_H

#include "engine/engine.h"
#include "engine/metrics.h"
#include "ringback/store.h"

enum { RBK_ADMIN_PAGE_MAX = 1000 };

/* Jobs of a page, a chain by `next`, oldest first. `next` is where the next page begins, 0 at the
 * end; a page may be short, even empty, before the end. `err` < 0: no jobs. */
typedef void (*rbk_jobs_fn)(void *user, int err, const rbk_job *jobs, int64_t next);
/* RBK_E_BUSY when too many wait, RBK_E_NOMEM, RBK_E_STATE: `fn` is not called. The filter's
 * strings are copied. */
int rbk_engine_list(rbk_engine *e, const rbk_job_filter *filter, int64_t after, size_t max,
                    rbk_jobs_fn fn, void *user);

/* One job with its failed attempts, oldest first; `job` is NULL when there is none. */
typedef void (*rbk_job_detail_fn)(void *user, const rbk_job *job, const rbk_attempt_note *notes,
                                  size_t n);
/* As rbk_engine_list(); RBK_E_INVAL for a text that is no job id. */
int rbk_engine_get(rbk_engine *e, rbk_str id, rbk_job_detail_fn fn, void *user);

typedef enum rbk_change_kind {
    RBK_CHANGE_RETRY,  /* dead and delivered jobs are sent again; those that wait for a retry,
                          or for a paused receiver, now */
    RBK_CHANGE_CANCEL, /* unfinished jobs: DESIGN's CANCEL by state */
    RBK_CHANGE_PURGE,  /* dead, delivered and cancelled jobs go from the store */
    RBK_CHANGE_ACK,    /* the client of a websocket has the response: by rbk_engine_ack() alone */
} rbk_change_kind;

typedef struct rbk_change {
    rbk_change_kind kind;
    rbk_str id;                   /* one job; absent: those of the filter */
    const rbk_job_filter *filter; /* copied */
    int64_t after;                /* where to go on with a filter */
    size_t max;                   /* jobs looked at, at most RBK_ADMIN_PAGE_MAX */
    rbk_str to;                   /* RETRY: another callback; absent: the job's own */
    bool owned;                   /* a caller asks: another's job is RBK_E_NOTFOUND. With an id alone */
    rbk_str owner;                /* which one; copied; absent: anonymous */
} rbk_change;

/* A cancel that meets an attempt under way is answered when that has ended: changed, unless it
 * was a 2xx. What is left at a stop is answered RBK_E_BUSY.
 *
 * `changed` jobs were changed, durably; `skipped` were in a state that the change does not know,
 * or are busy. `next` as for lists. With an id: err is RBK_E_NOTFOUND when it is unknown,
 * RBK_E_STATE when its state does not allow the change, RBK_E_BUSY when the store has no room or
 * the job does not stand still. */
typedef struct rbk_changed {
    int err;
    size_t changed, skipped;
    uint8_t state; /* with an id, changed: what the job is now */
    int64_t next;
} rbk_changed;
typedef void (*rbk_changed_fn)(void *user, const rbk_changed *changed);
/* As rbk_engine_list(); at most 16 requests at one time, and 256 of
 * callers, then RBK_E_BUSY. RBK_E_INVAL: no job id,
 * or `to` with another change than RETRY. RBK_E_PARAMS with err->text = the reason when `to` is
 * refused by the callback policy: it is checked like any callback. */
int rbk_engine_change(rbk_engine *e, const rbk_change *change, rbk_changed_fn fn, void *user,
                      rbk_error *err);

/* A receiver that is remembered: it has work, is held or paused, or failed a while ago. */
typedef struct rbk_receiver_info {
    char name[RBK_LANE_MAX + 1]; /* "https://host:port" */
    bool paused;                 /* by failures; a probe goes out now and then */
    bool held;                   /* by an operator, until resumed */
    unsigned fails;              /* in a row, that speak of the host */
    char why[48];                /* the last of them: "STATUS 503", "CONNECT"; empty: none */
    size_t queued, in_flight;    /* in memory; more may wait in the store */
    int64_t probe_in_ms;         /* paused: until the next probe */
} rbk_receiver_info;
typedef void (*rbk_receivers_fn)(void *user, const rbk_receiver_info *list, size_t n);
/* Those whose name is greater than `after`, by name, at most `max`. */
int rbk_engine_receivers(rbk_engine *e, rbk_str after, size_t max, rbk_receivers_fn fn, void *user);

/* Nothing is sent to "https://host:port" until it is resumed; kept over restarts. What is in
 * flight is finished. Resuming also ends a pause by failures. RBK_E_INVAL: no such form of a
 * receiver. `fn` tells when it is done and durable. */
int rbk_engine_hold_receiver(rbk_engine *e, rbk_str receiver, bool hold, rbk_changed_fn fn,
                             void *user);

/* 0 when the store commits and new jobs would be taken; else RBK_E_BUSY (draining, full) or
 * RBK_E_IO. */
int rbk_engine_ready(const rbk_engine *e);

/* The numbers of /metrics at this moment. */
void rbk_engine_metrics(const rbk_engine *e, rbk_metrics *ret);

#endif
