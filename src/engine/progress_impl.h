/* SPDX-License-Identifier: Apache-2.0 */
/* engine/progress_impl.h - a report, shared by progress.c (what methods tell) and
 * progress_send.c (what receivers hear). Not for anybody else. */
#ifndef RBK_ENGINE_PROGRESS_IMPL_H
#define RBK_ENGINE_PROGRESS_IMPL_H

#include "base/id.h"
#include "base/map.h"
#include "engine/courier_impl.h"
#include "engine/progress.h"

struct rbk_progress {
    rbk_engine *e;
    pthread_mutex_t lock; /* of the map and of all reports' first half; never held for long */
    rbk_map *map;         /* of reports, by the job's id */
    bool open;            /* loops take reports */
};

struct rbk_report {
    rbk_task task;     /* first: on its way to the loop */
    rbk_ticket ticket; /* of its attempts. Its job is a part of the call's own, with the lane of its
                          receiver, and has no place in the store */
    rbk_progress *all;
    rbk_courier *courier; /* whose loop sends; NULL: the job did not ask for it */
    char job[RBK_ID_TEXT + 1];
    /* Under the lock. */
    unsigned refs; /* of the call, and of the loop while it is `armed` */
    double value, total;
    rbk_buf message; /* as a JSON string; empty: none */
    rbk_wall_ms at;
    bool fresh; /* not sent yet */
    bool armed; /* the loop has it, or is about to */
    bool ended;
    /* The loop's. */
    rbk_link turn; /* among those that wait */
    rbk_mono_ms next_at;
    int64_t number; /* of the last notification */
    rbk_buf body;
};

/* With the lock held: one reference less; true when it was the last, and rbk_report_free() is to be
 * called without the lock. */
bool rbk_report_leave(rbk_report *r);
void rbk_report_free(rbk_report *r);

#endif
