/* SPDX-License-Identifier: Apache-2.0 */
/* engine/session_fetch.c - what waits in the store for a client that has come back. The courier loop
 * asks for a lane, the store thread claims some of its jobs whatever their time, and says, behind
 * them, whether there are more. In the other direction the store thread says that a job has gone there to
 * wait: a client who came back meanwhile would not know. */
#include "engine/session_fetch.h"

#include "engine/sessions.h"
#include "engine/flow_impl.h"
#include "engine/store_thread.h"

#include <stdlib.h>

static void on_fetched(rbk_task *task)
{
    rbk_fetching *f = (rbk_fetching *)(void *)((char *)task - offsetof(rbk_fetching, back));
    rbk_sessions_fetched(f->c, rbk_str_z(f->lane), f->more, f->now);
    free(f);
}

static rbk_fetching *make(rbk_courier *c, rbk_str lane)
{
    rbk_fetching *f = lane.n <= RBK_LANE_MAX ? calloc(1, sizeof *f) : NULL;
    if (f) {
        f->c = c;
        memcpy(f->lane, lane.p, lane.n);
    }
    return f;
}

bool rbk_fetch(rbk_courier *c, rbk_str lane)
{
    rbk_fetching *f = make(c, lane);
    if (f == NULL)
        return false;
    f->back.fn = on_fetched;
    rbk_store_fetch(c->e->store, f);
    return true;
}

static void on_waits(rbk_task *task)
{
    rbk_fetching *f = (rbk_fetching *)(void *)((char *)task - offsetof(rbk_fetching, back));
    rbk_sessions_waits(f->c, rbk_str_z(f->lane));
    free(f);
}

void rbk_fetch_waits(rbk_engine *e, rbk_str lane)
{
    rbk_fetching *f = make(rbk_couriers_of(e->couriers, lane), lane);
    if (f == NULL)
        return; /* it goes out when the client comes back the next time */
    f->back.fn = on_waits;
    rbk_loop_post(f->c->loop, &f->back);
}

void rbk_fetched(rbk_list *done)
{
    for (rbk_node *n; (n = rbk_list_pop(done));) {
        rbk_fetching *f = (rbk_fetching *)(void *)n;
        rbk_loop_post(f->c->loop, &f->back);
    }
}
