/* SPDX-License-Identifier: Apache-2.0 */
/* engine/aging.c - see aging.h. Each lane stands in one of two rings, whose turns alternate:
 * `busy` ones had old jobs at their last look, `calm` ones had none. */
#include "engine/aging.h"

#include "base/map.h"
#include "base/ring.h"

#include <stdlib.h>

enum { WALK = 64 }; /* calm lanes passed by in one call */

typedef struct aging_lane {
    rbk_link turn; /* first */
    rbk_str name;
    rbk_mono_ms heard;
    rbk_wall_ms edge_at, deep_at; /* nobody is too old there before */
    bool deep;           /* busy: in its depth */
    rbk_wall_ms at_due;  /* how far the depth was looked at, when that began, and */
    int64_t at_seq;      /* the earliest first attempt that was left */
    rbk_wall_ms began, oldest;
} aging_lane;

struct rbk_aging {
    int64_t max_age;
    rbk_map *map;
    rbk_link calm, busy;
    bool calm_first; /* whose turn it is */
    rbk_mono_ms deep_next;
    aging_lane *now; /* the one that is looked at */
    bool now_deep;
};

rbk_aging *rbk_aging_new(int64_t max_age)
{
    rbk_aging *a = calloc(1, sizeof *a);
    if (a == NULL || (a->map = rbk_map_new()) == NULL) {
        free(a);
        return NULL;
    }
    a->max_age = max_age;
    rbk_link_init(&a->calm);
    rbk_link_init(&a->busy);
    return a;
}

static void free_lane(rbk_str name, void *lane, void *user)
{
    (void)name;
    (void)user;
    free(lane);
}

void rbk_aging_free(rbk_aging *a)
{
    if (a == NULL)
        return;
    rbk_map_each(a->map, free_lane, NULL);
    rbk_map_free(a->map);
    free(a);
}

static void begin_depth(aging_lane *l)
{
    l->at_due = l->at_seq = INT64_MIN;
    l->oldest = INT64_MAX;
}

void rbk_aging_hear(rbk_aging *a, rbk_str lane, rbk_mono_ms mono)
{
    aging_lane *l = rbk_map_get(a->map, lane);
    if (l == NULL && rbk_map_size(a->map) < RBK_AGING_LANES) {
        l = calloc(1, sizeof *l);
        if (l && rbk_map_put(a->map, lane, l, &l->name) < 0) {
            free(l);
            l = NULL;
        }
        if (l) {
            rbk_link_init(&l->turn);
            rbk_link_append(&a->calm, &l->turn);
            begin_depth(l);
        }
    }
    if (l)
        l->heard = mono;
}

static void forget(rbk_aging *a, aging_lane *l)
{
    if (a->now == l)
        a->now = NULL;
    rbk_link_remove(&l->turn);
    rbk_map_remove(a->map, l->name);
    free(l);
}

void rbk_aging_forget(rbk_aging *a, rbk_str lane)
{
    aging_lane *l = rbk_map_get(a->map, lane);
    if (l)
        forget(a, l);
}

static rbk_wall_ms earlier(rbk_wall_ms x, rbk_wall_ms y)
{
    return x < y ? x : y;
}

void rbk_aging_note(rbk_aging *a, rbk_str lane, rbk_wall_ms first)
{
    aging_lane *l = rbk_map_size(a->map) && first ? rbk_map_get(a->map, lane) : NULL;
    if (l == NULL)
        return;
    l->edge_at = earlier(l->edge_at, first + a->max_age);
    l->deep_at = earlier(l->deep_at, first + a->max_age);
    l->oldest = earlier(l->oldest, first);
}

/* --- Whose turn it is ----------------------------------------------------------------------- */

static bool look_at(rbk_aging *a, aging_lane *l, bool deep, size_t look, rbk_wall_ms now,
                    rbk_aged *ret)
{
    a->now = l;
    a->now_deep = deep;
    *ret = (rbk_aged){.lane = l->name,
                      .before = now - a->max_age,
                      .look = look,
                      .at_due = deep ? l->at_due : INT64_MIN,
                      .at_seq = deep ? l->at_seq : INT64_MIN};
    if (deep && l->at_due == INT64_MIN && l->at_seq == INT64_MIN)
        l->began = now;
    return true;
}

/* The next one of the ring, which goes to its end; one that was not heard of is forgotten. */
static aging_lane *take_turn(rbk_aging *a, rbk_link *ring, rbk_mono_ms mono)
{
    while (!rbk_link_empty(ring)) {
        aging_lane *l = RBK_OF_LINK(ring->next, aging_lane, turn);
        rbk_link_append(ring, &l->turn);
        if (mono - l->heard <= RBK_AGING_MS)
            return l;
        forget(a, l);
    }
    return NULL;
}

static bool next_calm(rbk_aging *a, rbk_mono_ms mono, rbk_wall_ms now, size_t max, rbk_aged *ret)
{
    aging_lane *l, *first = NULL;
    for (int i = 0; i < WALK && (l = take_turn(a, &a->calm, mono)) != NULL && l != first; i++) {
        first = first ? first : l;
        if (l->edge_at <= now)
            return look_at(a, l, false, max < RBK_AGING_EDGE ? max : RBK_AGING_EDGE, now, ret);
        if (l->deep_at <= now && a->deep_next <= mono) {
            a->deep_next = mono + RBK_AGING_DEEP_MS;
            return look_at(a, l, true, max, now, ret);
        }
    }
    return false;
}

static bool next_busy(rbk_aging *a, rbk_mono_ms mono, rbk_wall_ms now, size_t max, rbk_aged *ret)
{
    aging_lane *l = take_turn(a, &a->busy, mono);
    return l && look_at(a, l, l->deep, max, now, ret);
}

bool rbk_aging_next(rbk_aging *a, rbk_mono_ms mono, rbk_wall_ms now, size_t max, rbk_aged *ret)
{
    bool calm_first = a->calm_first;
    a->calm_first = !calm_first;
    max = max < RBK_AGING_BITE ? max : RBK_AGING_BITE;
    if (calm_first)
        return next_calm(a, mono, now, max, ret) || next_busy(a, mono, now, max, ret);
    return next_busy(a, mono, now, max, ret) || next_calm(a, mono, now, max, ret);
}

/* --- What was found --------------------------------------------------------------------------- */

/* When somebody can be too old, of whom the first attempt of the oldest was then; who came
 * since `began` is younger. */
static rbk_wall_ms again_at(const rbk_aging *a, rbk_wall_ms oldest, rbk_wall_ms began,
                            rbk_wall_ms now)
{
    rbk_wall_ms at = earlier(oldest, began) + a->max_age;
    return at > now + RBK_AGING_AGAIN_MS ? at : now + RBK_AGING_AGAIN_MS;
}

static void looked_deep(const rbk_aging *a, aging_lane *l, const rbk_aged *look, bool ended,
                        rbk_wall_ms now)
{
    l->oldest = earlier(l->oldest, look->oldest);
    l->at_due = look->at_due;
    l->at_seq = look->at_seq;
    if (ended) {
        l->deep_at = again_at(a, l->oldest, l->began, now);
        begin_depth(l);
    }
}

void rbk_aging_looked(rbk_aging *a, const rbk_aged *look, size_t n, bool old, rbk_wall_ms now)
{
    aging_lane *l = a->now;
    bool ended = n < look->look;
    a->now = NULL;
    if (l == NULL)
        return;
    if (a->now_deep)
        looked_deep(a, l, look, ended, now);
    else if (!old)
        l->edge_at = again_at(a, look->oldest, now, now);
    bool more = old && !(a->now_deep && ended);
    l->deep = a->now_deep;
    rbk_link_append(more ? &a->busy : &a->calm, &l->turn);
}

bool rbk_aging_busy(const rbk_aging *a)
{
    return !rbk_link_empty(&a->busy);
}
