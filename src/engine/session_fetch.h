/* SPDX-License-Identifier: Apache-2.0 */
/* engine/session_fetch.h - the store thread's half of session_fetch.c. */
#ifndef RBK_ENGINE_SESSION_FETCH_H
#define RBK_ENGINE_SESSION_FETCH_H

#include "engine/engine_impl.h"
#include "net/loop.h"

struct rbk_courier;

typedef struct rbk_fetching {
    rbk_node node; /* first: on its way to the store thread */
    rbk_task back;
    struct rbk_courier *c;
    bool more; /* the lane has jobs still */
    bool now;  /* the store could be asked */
    char lane[RBK_LANE_MAX + 1];
} rbk_fetching;

/* A job of the lane went to the store, to wait. Store thread. */
void rbk_fetch_waits(rbk_engine *e, rbk_str lane);
/* Back to their loops; behind the jobs that were found. Store thread. */
void rbk_fetched(rbk_list *done);

#endif
