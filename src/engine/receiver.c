/* SPDX-License-Identifier: Apache-2.0 */
/* engine/receiver.c - see receiver.h.
 *
 * place() is the one function that decides where a receiver stands: every change of a
 * receiver ends with it, and it may forget the receiver. Holds, probes and idle times all have a
 * fixed length, so each of these lists is in the order of its times. */
#include "engine/receiver.h"

#include "base/map.h"
#include "engine/shares.h"

#include <stdlib.h>

struct rbk_receivers {
    rbk_receivers_conf conf;
    rbk_map *map;
    rbk_link ring, held, idle;  /* by `turn` */
    rbk_link paused, probable;  /* by `pause` */
    rbk_link blocked;           /* by `block` */
    size_t in_flight, n_idle, n_paused;
};

rbk_receivers *rbk_receivers_new(const rbk_receivers_conf *conf)
{
    rbk_receivers *s = calloc(1, sizeof *s);
    if (s == NULL || (s->map = rbk_map_new()) == NULL) {
        free(s);
        return NULL;
    }
    s->conf = *conf;
    rbk_link_init(&s->ring);
    rbk_link_init(&s->held);
    rbk_link_init(&s->idle);
    rbk_link_init(&s->paused);
    rbk_link_init(&s->probable);
    rbk_link_init(&s->blocked);
    return s;
}

static void free_receiver(rbk_str name, void *value, void *user)
{
    rbk_receiver *r = value;
    (void)name;
    (void)user;
    for (rbk_node *n; (n = rbk_list_pop(&r->queue));)
        rbk_ticket_free((rbk_ticket *)(void *)n);
    free(r);
}

void rbk_receivers_free(rbk_receivers *s)
{
    if (s == NULL)
        return;
    rbk_map_each(s->map, free_receiver, NULL);
    rbk_map_free(s->map);
    free(s);
}

static rbk_receiver *find_or_make(rbk_receivers *s, rbk_str name)
{
    rbk_receiver *r = rbk_map_get(s->map, name);
    if (r)
        return r;
    r = calloc(1, sizeof *r);
    if (r && rbk_map_put(s->map, name, r, &r->name) < 0) {
        free(r);
        r = NULL;
    }
    if (r) {
        rbk_link_init(&r->turn);
        rbk_link_init(&r->pause);
        rbk_link_init(&r->block);
        rbk_link_init(&r->flight);
        r->window = s->conf.per_receiver;
        r->first_end = INT64_MAX;
    }
    return r;
}

/* --- Where a receiver stands ---------------------------------------------------------- */

static bool has_slot(const rbk_receivers *s, const rbk_receiver *r)
{
    size_t limit = r->window < s->conf.per_receiver ? r->window : s->conf.per_receiver;
    return !r->held && !r->blocked && r->in_flight < limit &&
           r->in_flight < rbk_share_of(s->conf.slots, s->in_flight - r->in_flight);
}

static bool may_start(const rbk_receivers *s, const rbk_receiver *r)
{
    return r->queue.head && (!r->paused || r->may_probe) && has_slot(s, r);
}

static void forget(rbk_receivers *s, rbk_receiver *r)
{
    rbk_link_remove(&r->turn);
    rbk_link_remove(&r->pause);
    rbk_link_remove(&r->block);
    s->n_idle -= r->idle;
    s->n_paused -= r->paused;
    rbk_map_remove(s->map, r->name);
    free(r);
}

/* Nothing waits and nothing is in flight: remembered for a while only if it failed. */
static void rest(rbk_receivers *s, rbk_receiver *r, rbk_mono_ms now)
{
    if (r->fails == 0) {
        forget(s, r);
        return;
    }
    if (r->idle)
        return;
    r->idle = true;
    r->until = now + RBK_RECEIVER_IDLE_MS;
    rbk_link_append(&s->idle, &r->turn);
    if (++s->n_idle > RBK_RECEIVERS_IDLE)
        forget(s, RBK_OF_LINK(s->idle.next, rbk_receiver, turn));
}

static void place(rbk_receivers *s, rbk_receiver *r, rbk_mono_ms now)
{
    bool works = r->queue.head || r->in_flight;
    if (!works && !r->held && !r->blocked) {
        rest(s, r, now);
        return;
    }
    if (r->idle) {
        r->idle = false;
        s->n_idle--;
        rbk_link_remove(&r->turn);
    }
    if (rbk_link_empty(&r->turn) && may_start(s, r))
        rbk_link_append(&s->ring, &r->turn);
}

/* --- In and out ------------------------------------------------------------------------ */

static void push_front(rbk_list *l, rbk_node *node)
{
    rbk_list one = {0};
    rbk_list_push(&one, node);
    rbk_list_join(&one, l);
    *l = one;
}

static rbk_wall_ms end_of(const rbk_receivers *s, const rbk_ticket *t)
{
    rbk_wall_ms first = t->job->first_attempt;
    return first ? rbk_retry_end(s->conf.retry, first) : INT64_MAX;
}

static void note_end(const rbk_receivers *s, rbk_receiver *r, const rbk_ticket *t)
{
    rbk_wall_ms end = end_of(s, t);
    if (end < r->first_end)
        r->first_end = end;
}

int rbk_receivers_add(rbk_receivers *s, rbk_ticket *t, rbk_mono_ms now)
{
    rbk_receiver *r = find_or_make(s, t->job->lane);
    if (r == NULL)
        return RBK_E_NOMEM;
    rbk_list_push(&r->queue, &t->node);
    note_end(s, r, t);
    place(s, r, now);
    return 0;
}

/* The probe's time: it begins now, and the next one is `probe_ms` later. */
static void begin_probe(rbk_receivers *s, rbk_receiver *r, rbk_mono_ms now)
{
    r->may_probe = false;
    r->probe_at = now + s->conf.probe_ms;
    rbk_link_append(&s->paused, &r->pause);
}

static void allow_probe(rbk_receivers *s, rbk_receiver *r)
{
    r->may_probe = true;
    rbk_link_append(&s->probable, &r->pause);
}

rbk_ticket *rbk_receivers_next(rbk_receivers *s, rbk_mono_ms now, rbk_receiver **ret)
{
    while (s->in_flight < s->conf.slots && !rbk_link_empty(&s->ring)) {
        rbk_receiver *r = RBK_OF_LINK(s->ring.next, rbk_receiver, turn);
        rbk_link_remove(&r->turn);
        /* What was so when it entered the ring may be so no more. One whose share is used
         * has attempts in flight, and comes back when one of them ends. */
        if (!may_start(s, r)) {
            place(s, r, now);
            continue;
        }
        rbk_ticket *t = (rbk_ticket *)(void *)rbk_list_pop(&r->queue);
        if (r->paused)
            begin_probe(s, r, now);
        r->in_flight++;
        s->in_flight++;
        place(s, r, now);
        *ret = r;
        return t;
    }
    return NULL;
}

rbk_receiver *rbk_receivers_lend(rbk_receivers *s, rbk_str lane, rbk_mono_ms now)
{
    rbk_receiver *r = s->in_flight < s->conf.slots ? find_or_make(s, lane) : NULL;
    if (r == NULL)
        return NULL;
    bool lent = !r->queue.head && !r->paused && has_slot(s, r);
    r->in_flight += lent;
    s->in_flight += lent;
    place(s, r, now);
    return lent ? r : NULL;
}

static void pause_it(rbk_receivers *s, rbk_receiver *r, rbk_mono_ms now)
{
    r->paused = true;
    s->n_paused++;
    begin_probe(s, r, now);
}

static void resume(rbk_receivers *s, rbk_receiver *r)
{
    r->paused = r->may_probe = false;
    s->n_paused--;
    r->window = 1;
    rbk_link_remove(&r->pause);
}

static rbk_pause_change hear(rbk_receivers *s, rbk_receiver *r, rbk_host_news news, rbk_mono_ms now)
{
    if (news == RBK_HOST_FAILS) {
        r->fails += r->fails < UINT32_MAX;
        if (r->paused || s->conf.breaker == 0 || r->fails < s->conf.breaker)
            return RBK_PAUSE_SAME;
        pause_it(s, r, now);
        return RBK_PAUSE_BEGINS;
    }
    if (news == RBK_HOST_SILENT)
        return RBK_PAUSE_SAME;
    r->fails = 0;
    r->why[0] = 0;
    if (r->paused) {
        resume(s, r);
        return RBK_PAUSE_ENDS;
    }
    if (r->window < s->conf.per_receiver)
        r->window *= 2;
    return RBK_PAUSE_SAME;
}

static void give_back(rbk_receivers *s, rbk_receiver *r)
{
    r->in_flight--;
    s->in_flight--;
}

static void end_hold(rbk_receiver *r)
{
    r->held = false;
    rbk_link_remove(&r->turn);
}

rbk_pause_change rbk_receivers_done(rbk_receivers *s, rbk_receiver *r, rbk_host_news news,
                                    rbk_mono_ms now)
{
    give_back(s, r);
    if (r->held)
        end_hold(r); /* it leaves its place at the address */
    rbk_pause_change change = hear(s, r, news, now);
    place(s, r, now);
    return change;
}

void rbk_receivers_skip(rbk_receivers *s, rbk_receiver *r, rbk_mono_ms now)
{
    give_back(s, r);
    if (r->paused)
        allow_probe(s, r);
    place(s, r, now);
}

void rbk_receivers_hold(rbk_receivers *s, rbk_receiver *r, rbk_ticket *t, rbk_mono_ms now)
{
    give_back(s, r);
    if (r->paused)
        allow_probe(s, r);
    push_front(&r->queue, &t->node);
    note_end(s, r, t);
    r->held = true;
    r->until = now + RBK_RECEIVER_HOLD_MS;
    rbk_link_append(&s->held, &r->turn);
}

/* --- Operators -------------------------------------------------------------------------- */

rbk_receiver *rbk_receivers_find(const rbk_receivers *s, rbk_str lane)
{
    return rbk_map_get(s->map, lane);
}

static rbk_ticket *take_seq(rbk_list *queue, int64_t seq)
{
    rbk_list left = {0};
    rbk_ticket *found = NULL;
    for (rbk_node *n; (n = rbk_list_pop(queue));) {
        rbk_ticket *t = (rbk_ticket *)(void *)n;
        if (t->job->seq == seq)
            found = t;
        else
            rbk_list_push(&left, n);
    }
    *queue = left;
    return found;
}

rbk_ticket *rbk_receivers_take(rbk_receivers *s, rbk_receiver *r, int64_t seq, rbk_mono_ms now)
{
    rbk_ticket *t = take_seq(&r->queue, seq);
    if (t)
        place(s, r, now);
    return t;
}

bool rbk_receivers_prefer(rbk_receiver *r, int64_t seq)
{
    rbk_ticket *t = take_seq(&r->queue, seq);
    if (t)
        push_front(&r->queue, &t->node);
    return t != NULL;
}

void rbk_receivers_hurry(rbk_receivers *s, rbk_receiver *r, rbk_mono_ms now)
{
    if (!r->paused || r->may_probe)
        return;
    allow_probe(s, r);
    place(s, r, now);
}

int rbk_receivers_block(rbk_receivers *s, rbk_str lane, bool block, rbk_mono_ms now)
{
    rbk_receiver *r = block ? find_or_make(s, lane) : rbk_receivers_find(s, lane);
    if (r == NULL)
        return block ? RBK_E_NOMEM : 0;
    bool changes = r->blocked != block || (!block && r->paused);
    r->blocked = block;
    if (block) {
        rbk_link_append(&s->blocked, &r->block);
    } else {
        rbk_link_remove(&r->block);
        r->fails = 0;
        if (r->paused)
            resume(s, r);
    }
    place(s, r, now);
    return changes;
}

typedef struct visit {
    void (*fn)(const rbk_receiver *r, void *user);
    void *user;
} visit;

static void visit_one(rbk_str name, void *value, void *user)
{
    const visit *v = user;
    (void)name;
    v->fn(value, v->user);
}

void rbk_receivers_each(const rbk_receivers *s, void (*fn)(const rbk_receiver *r, void *user),
                        void *user)
{
    visit v = {fn, user};
    rbk_map_each(s->map, visit_one, &v);
}

/* --- Time -------------------------------------------------------------------------------- */

void rbk_receivers_tick(rbk_receivers *s, rbk_mono_ms now)
{
    while (!rbk_link_empty(&s->held)) {
        rbk_receiver *r = RBK_OF_LINK(s->held.next, rbk_receiver, turn);
        if (r->until > now)
            break;
        end_hold(r);
        place(s, r, now);
    }
    while (!rbk_link_empty(&s->paused)) {
        rbk_receiver *r = RBK_OF_LINK(s->paused.next, rbk_receiver, pause);
        if (r->probe_at > now)
            break;
        allow_probe(s, r);
        place(s, r, now);
    }
    while (!rbk_link_empty(&s->idle)) {
        rbk_receiver *r = RBK_OF_LINK(s->idle.next, rbk_receiver, turn);
        if (r->until > now)
            break;
        forget(s, r);
    }
}

static void expire_one(rbk_receivers *s, rbk_receiver *r, rbk_wall_ms wall, rbk_list *ret)
{
    rbk_list left = {0};
    if (r->first_end > wall)
        return;
    r->first_end = INT64_MAX;
    for (rbk_node *n; (n = rbk_list_pop(&r->queue));) {
        rbk_ticket *t = (rbk_ticket *)(void *)n;
        bool over = end_of(s, t) <= wall;
        rbk_list_push(over ? ret : &left, n);
        if (!over)
            note_end(s, r, t);
    }
    r->queue = left;
}

/* One that is left without a job rests when its next one has come and gone. */
static void expire_ring(rbk_receivers *s, rbk_link *ring, rbk_wall_ms wall, rbk_list *ret)
{
    for (rbk_link *l = ring->next; l != ring; l = l->next)
        expire_one(s, RBK_OF_LINK(l, rbk_receiver, pause), wall, ret);
}

void rbk_receivers_expire(rbk_receivers *s, rbk_wall_ms wall, rbk_list *ret)
{
    expire_ring(s, &s->paused, wall, ret);
    expire_ring(s, &s->probable, wall, ret);
    for (rbk_link *l = s->blocked.next; l != &s->blocked; l = l->next)
        expire_one(s, RBK_OF_LINK(l, rbk_receiver, block), wall, ret);
}

static rbk_mono_ms earlier(rbk_mono_ms a, rbk_mono_ms b)
{
    return a < b ? a : b;
}

rbk_mono_ms rbk_receivers_wake(const rbk_receivers *s, rbk_mono_ms now)
{
    bool behind = s->n_paused || !rbk_link_empty(&s->blocked);
    rbk_mono_ms wake = behind ? now + RBK_EXPIRE_EVERY_MS : INT64_MAX;
    if (!rbk_link_empty(&s->held))
        wake = earlier(wake, RBK_OF_LINK(s->held.next, rbk_receiver, turn)->until);
    if (!rbk_link_empty(&s->paused))
        wake = earlier(wake, RBK_OF_LINK(s->paused.next, rbk_receiver, pause)->probe_at);
    if (!rbk_link_empty(&s->idle))
        wake = earlier(wake, RBK_OF_LINK(s->idle.next, rbk_receiver, turn)->until);
    return wake;
}

size_t rbk_receivers_count(const rbk_receivers *s)
{
    return rbk_map_size(s->map);
}

size_t rbk_receivers_paused(const rbk_receivers *s)
{
    return s->n_paused;
}

/* Each queue stands in the order in which its jobs became due, more or less. */
static void note_oldest(rbk_str name, void *value, void *user)
{
    const rbk_receiver *r = value;
    rbk_wall_ms *oldest = user;
    (void)name;
    if (r->queue.head == NULL)
        return;
    const rbk_ticket *t = (const rbk_ticket *)(const void *)r->queue.head;
    if (t->job->due < *oldest)
        *oldest = t->job->due;
}

static void shed_one(rbk_receiver *r, size_t keep, rbk_list *ret)
{
    rbk_list left = {0};
    if (r->queue.n <= keep)
        return;
    for (rbk_node *n; (n = rbk_list_pop(&r->queue));)
        rbk_list_push(left.n < keep || ((rbk_ticket *)(void *)n)->waiter ? &left : ret, n);
    r->queue = left;
}

void rbk_receivers_shed(rbk_receivers *s, size_t keep, rbk_list *ret)
{
    const rbk_link *const rings[] = {&s->paused, &s->probable};
    for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++)
        for (rbk_link *l = rings[i]->next; l != rings[i]; l = l->next)
            shed_one(RBK_OF_LINK(l, rbk_receiver, pause), keep, ret);
    for (rbk_link *l = s->blocked.next; l != &s->blocked; l = l->next)
        shed_one(RBK_OF_LINK(l, rbk_receiver, block), keep, ret);
}

void rbk_receivers_behind(const rbk_receivers *s, void (*fn)(rbk_str lane, void *user), void *user)
{
    const rbk_link *const rings[] = {&s->paused, &s->probable};
    for (size_t i = 0; i < sizeof rings / sizeof rings[0]; i++)
        for (rbk_link *l = rings[i]->next; l != rings[i]; l = l->next)
            fn(RBK_OF_LINK(l, rbk_receiver, pause)->name, user);
    for (rbk_link *l = s->blocked.next; l != &s->blocked; l = l->next)
        fn(RBK_OF_LINK(l, rbk_receiver, block)->name, user);
}

rbk_wall_ms rbk_receivers_oldest(const rbk_receivers *s)
{
    rbk_wall_ms oldest = INT64_MAX;
    rbk_map_each(s->map, note_oldest, &oldest);
    return oldest;
}
