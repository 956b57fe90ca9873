/* SPDX-License-Identifier: Apache-2.0 */
/* engine/holds.c - receivers as an operator sees them: which there are, and which of them are
 * held. A hold is made durable by the store thread, then takes effect on the receiver's courier
 * loop, then is answered. At the start holds go to the loops before the first job does.
 *
 * A list goes from loop to loop; each gives its first names, and the last one sorts them. */
#include "engine/holds.h"

#include "engine/admin.h"
#include "engine/courier.h"
#include "engine/store_thread.h"

#include "base/error.h"
#include "core/dsn.h"

#include <stdio.h>
#include <stdlib.h>

static const char send_prefix[] = "send:";

/* --- Hold and resume -------------------------------------------------------------------- */

typedef struct hold_order {
    rbk_store_order order; /* first */
    rbk_engine *e;
    rbk_block *block;
} hold_order;

/* The same, once it is durable. */
typedef struct told_block {
    rbk_block b; /* first */
    rbk_changed_fn fn;
    void *user;
} told_block;

static void answer(rbk_changed_fn fn, void *user, int err)
{
    fn(user, &(rbk_changed){.err = err, .changed = err == 0});
}

static void on_told(rbk_block *b, int err)
{
    told_block *t = (told_block *)(void *)b;
    answer(t->fn, t->user, err);
    free(t);
}

static void run_hold(rbk_store_order *order, const rbk_store_ops *ops, rbk_store *st)
{
    hold_order *o = (hold_order *)(void *)order;
    rbk_block *b = o->block;
    rbk_error err = {0};
    rbk_str name = rbk_str_z(b->lane + sizeof send_prefix - 1);
    int r = st ? ops->hold(st, name, b->block, &err) : RBK_E_IO;
    if (r < 0) {
        rbk_event(RBK_LOG(o->e), RBK_WARN, "receiver.hold_failed", RBK_FZ("detail", err.detail));
        b->done(b, r);
    } else {
        rbk_couriers_block(o->e->couriers, b);
    }
    free(o);
}

/* "https://host:port", as it is written by core/dsn.c, and nothing else. */
static bool is_receiver(rbk_str name)
{
    rbk_dsn dsn;
    return rbk_dsn_parse(name, RBK_STR("https,wss"), &dsn) == RBK_DSN_OK &&
           rbk_str_eqz(name, dsn.receiver);
}

int rbk_engine_hold_receiver(rbk_engine *e, rbk_str receiver, bool hold, rbk_changed_fn fn,
                             void *user)
{
    if (!is_receiver(receiver))
        return RBK_E_INVAL;
    hold_order *o = calloc(1, sizeof *o);
    told_block *t = calloc(1, sizeof *t);
    int r = o && t ? 0 : RBK_E_NOMEM;
    if (r == 0) {
        *t = (told_block){.b = {.block = hold, .done = on_told}, .fn = fn, .user = user};
        snprintf(t->b.lane, sizeof t->b.lane, "%s%.*s", send_prefix, RBK_FMT(receiver));
        *o = (hold_order){.order = {.run = run_hold}, .e = e, .block = &t->b};
        r = rbk_store_order_push(e->store, &o->order);
    }
    if (r < 0) {
        free(o);
        free(t);
    }
    return r;
}

static void on_recovered(rbk_block *b, int err)
{
    (void)err;
    free(b);
}

int rbk_holds_recover(rbk_engine *e, const rbk_store_ops *ops, rbk_store *st, rbk_error *err)
{
    enum { PAGE = 32 };
    rbk_lane_due found[PAGE] = {0};
    char after[RBK_LANE_MAX + 1] = "";
    int n = PAGE;
    while (n == PAGE) {
        n = ops->holds(st, rbk_str_z(after), PAGE, found, err);
        for (int i = 0; i < n; i++) {
            rbk_block *b = calloc(1, sizeof *b);
            if (b == NULL)
                return rbk_fail(err, RBK_E_NOMEM, "held receivers");
            b->block = true;
            b->done = on_recovered;
            snprintf(b->lane, sizeof b->lane, "%s%.300s", send_prefix, found[i].lane);
            rbk_couriers_block(e->couriers, b);
        }
        if (n > 0)
            memcpy(after, found[n - 1].lane, sizeof after);
    }
    return n < 0 ? n : 0;
}

/* --- Which there are -------------------------------------------------------------------- */

typedef struct survey {
    rbk_tour tour; /* first */
    char after[RBK_LANE_MAX + 1];
    size_t max, n, cap;
    rbk_receiver_info *list;
    rbk_mono_ms now;
    rbk_receivers_fn fn;
    void *user;
} survey;

static int by_name(const void *a, const void *b)
{
    const rbk_receiver_info *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The first `max` names are kept. */
static void cut(survey *s)
{
    if (s->n > 1)
        qsort(s->list, s->n, sizeof *s->list, by_name);
    if (s->n > s->max)
        s->n = s->max;
}

static void add(const rbk_receiver *r, void *user)
{
    survey *s = user;
    if (r->name.n <= sizeof send_prefix - 1)
        return;
    rbk_receiver_info info = {.paused = r->paused, .held = r->blocked, .fails = r->fails,
                              .queued = r->queue.n, .in_flight = r->in_flight};
    snprintf(info.name, sizeof info.name, "%.*s", (int)(r->name.n - (sizeof send_prefix - 1)),
             r->name.p + sizeof send_prefix - 1);
    if (strcmp(info.name, s->after) <= 0)
        return;
    snprintf(info.why, sizeof info.why, "%s", r->fails ? r->why : "");
    if (r->paused && r->probe_at > s->now && !r->may_probe)
        info.probe_in_ms = r->probe_at - s->now;
    if (s->n == s->cap)
        cut(s); /* of twice as many at most */
    s->list[s->n++] = info;
}

static void on_loop(rbk_tour *t, rbk_receivers *receivers)
{
    survey *s = (survey *)(void *)t;
    s->now = rbk_mono_now();
    rbk_receivers_each(receivers, add, s);
}

static void on_last(rbk_tour *t)
{
    survey *s = (survey *)(void *)t;
    cut(s);
    s->fn(s->user, s->list, s->n);
    free(s->list);
    free(s);
}

int rbk_engine_receivers(rbk_engine *e, rbk_str after, size_t max, rbk_receivers_fn fn, void *user)
{
    survey *s = calloc(1, sizeof *s);
    if (s == NULL)
        return RBK_E_NOMEM;
    s->max = max && max < RBK_ADMIN_PAGE_MAX ? max : RBK_ADMIN_PAGE_MAX;
    s->cap = 2 * s->max;
    s->list = calloc(s->cap, sizeof *s->list);
    if (s->list == NULL || after.n > RBK_LANE_MAX) {
        int r = s->list ? RBK_E_INVAL : RBK_E_NOMEM;
        free(s->list);
        free(s);
        return r;
    }
    if (after.n)
        memcpy(s->after, after.p, after.n);
    s->tour.fn = on_loop;
    s->tour.last = on_last;
    s->fn = fn;
    s->user = user;
    rbk_couriers_tour(e->couriers, &s->tour);
    return 0;
}
