/* SPDX-License-Identifier: Apache-2.0 */
/* engine/lanes.c - see lanes.h. A map of lanes, and a queue of those that could be
 * filled again. A lane is forgotten when it has nothing in memory and nothing due in
 * the store. */
#include "engine/lanes.h"

#include "base/map.h"
#include "core/dsn.h"
#include "core/ws_session.h"

#include <stdio.h>
#include <stdlib.h>

struct rbk_lanes {
    rbk_map *map;
    size_t jobs, bytes;
    rbk_lane *refill_head, *refill_tail;
    rbk_mono_ms now;
    bool overflow; /* lanes that are not in the map may have due jobs in the store */
};

rbk_lanes *rbk_lanes_new(void)
{
    rbk_lanes *l = calloc(1, sizeof *l);
    if (l && (l->map = rbk_map_new()) == NULL) {
        free(l);
        l = NULL;
    }
    return l;
}

void rbk_send_lane(rbk_str callback, char out[RBK_LANE_MAX + 1])
{
    rbk_dsn dsn;
    if (rbk_session_is_name(callback)) {
        snprintf(out, RBK_LANE_MAX + 1, "send:%.*s", RBK_FMT(callback));
        return;
    }
    bool ok = rbk_dsn_parse(callback, RBK_STR("https,wss"), &dsn) == RBK_DSN_OK;
    snprintf(out, RBK_LANE_MAX + 1, "send:%s", ok ? dsn.receiver : "");
}

static void free_lane(rbk_str key, void *lane, void *user)
{
    (void)key;
    (void)user;
    free(lane);
}

void rbk_lanes_free(rbk_lanes *l)
{
    if (l == NULL)
        return;
    rbk_map_each(l->map, free_lane, NULL);
    rbk_map_free(l->map);
    free(l);
}

static rbk_lane *find_or_make(rbk_lanes *l, rbk_str name)
{
    rbk_lane *lane = rbk_map_get(l->map, name);
    if (lane || rbk_map_size(l->map) >= RBK_LANES)
        return lane;
    lane = calloc(1, sizeof *lane);
    if (lane && rbk_map_put(l->map, name, lane, &lane->name) < 0) {
        free(lane);
        lane = NULL;
    }
    /* Jobs of it may have been spilled while it was forgotten. */
    if (lane && l->overflow)
        lane->spilled = true;
    return lane;
}

/* How many jobs the lane may have: its share shrinks as memory fills, so that many
 * stuck lanes leave room for a healthy one. */
static size_t limit_of(const rbk_lanes *l, const rbk_lane *lane)
{
    size_t others = l->jobs - lane->jobs;
    if (l->now < lane->behind_until)
        return RBK_LANE_BEHIND;
    size_t free_jobs = RBK_MEMORY_JOBS > others ? RBK_MEMORY_JOBS - others : 0;
    size_t most = RBK_LANE_JOBS + lane->under_way;
    size_t limit = free_jobs / 4 < most ? free_jobs / 4 : most;
    return limit > RBK_LANE_FLOOR ? limit : RBK_LANE_FLOOR;
}

static bool has_room(const rbk_lanes *l, const rbk_lane *lane, size_t bytes)
{
    if (lane->jobs == 0)
        return l->bytes < RBK_MEMORY_BYTES_MAX;
    return lane->jobs < limit_of(l, lane) && lane->bytes + bytes <= RBK_LANE_BYTES &&
           l->bytes + bytes <= RBK_MEMORY_BYTES;
}

static void queue_refill(rbk_lanes *l, rbk_lane *lane)
{
    if (lane->queued || !lane->spilled)
        return;
    if (lane->jobs > limit_of(l, lane) / 2 || !has_room(l, lane, 0))
        return;
    lane->queued = true;
    lane->next_refill = NULL;
    if (l->refill_tail)
        l->refill_tail->next_refill = lane;
    else
        l->refill_head = lane;
    l->refill_tail = lane;
}

static void forget_if_idle(rbk_lanes *l, rbk_lane *lane)
{
    if (lane->jobs || lane->spilled || lane->queued)
        return;
    rbk_map_remove(l->map, lane->name);
    free(lane);
}

void rbk_lanes_take(rbk_lanes *l, rbk_lane *lane, size_t bytes)
{
    lane->jobs++;
    lane->bytes += bytes;
    l->jobs++;
    l->bytes += bytes;
}

rbk_lane *rbk_lanes_enter(rbk_lanes *l, rbk_str name, size_t bytes)
{
    rbk_lane *lane = find_or_make(l, name);
    if (lane == NULL) {
        l->overflow = true;
        return NULL;
    }
    if (lane->spilled || !has_room(l, lane, bytes)) {
        lane->spilled = true; /* those behind it must not overtake it */
        queue_refill(l, lane);
        if (!lane->queued && lane->jobs == 0) {
            lane->spilled = false;
            l->overflow = true;
            forget_if_idle(l, lane);
        }
        return NULL;
    }
    rbk_lanes_take(l, lane, bytes);
    return lane;
}

void rbk_lanes_widen(rbk_lanes *l, rbk_lane *lane, size_t under_way)
{
    if (lane->under_way == under_way)
        return;
    lane->under_way = under_way;
    queue_refill(l, lane);
}

void rbk_lanes_leave(rbk_lanes *l, rbk_lane *lane, size_t bytes)
{
    lane->jobs--;
    lane->bytes -= bytes;
    l->jobs--;
    l->bytes -= bytes;
    queue_refill(l, lane);
    forget_if_idle(l, lane);
}

bool rbk_lanes_spilled(rbk_lanes *l, rbk_str name)
{
    rbk_lane *lane = find_or_make(l, name);
    if (lane)
        lane->spilled = true;
    if (lane)
        queue_refill(l, lane);
    if (lane && (lane->queued || lane->jobs))
        return true;
    /* No room for the lane, or none for any job of it, and nobody leaves it who would make
     * some: a later scan of the store finds it. */
    l->overflow = true;
    if (lane)
        lane->spilled = false;
    if (lane)
        forget_if_idle(l, lane);
    return false;
}

rbk_lane *rbk_lanes_force(rbk_lanes *l, rbk_str name, size_t bytes)
{
    rbk_lane *lane = find_or_make(l, name);
    if (lane)
        rbk_lanes_take(l, lane, bytes);
    return lane;
}

/* How many jobs of the usual size the lane's bytes, and those of all, have room for. */
static size_t room_of_bytes(const rbk_lanes *l, const rbk_lane *lane)
{
    enum { UNKNOWN_ROOM = 16 };
    if (l->jobs == 0)
        return UNKNOWN_ROOM;
    size_t usual = l->bytes / l->jobs + 1;
    size_t of_lane = RBK_LANE_BYTES > lane->bytes ? (RBK_LANE_BYTES - lane->bytes) / usual : 0;
    size_t of_all = RBK_MEMORY_BYTES > l->bytes ? (RBK_MEMORY_BYTES - l->bytes) / usual : 0;
    size_t n = of_lane < of_all ? of_lane : of_all;
    return n ? n : 1;
}

static size_t room_of(const rbk_lanes *l, const rbk_lane *lane)
{
    size_t limit = limit_of(l, lane), fit = room_of_bytes(l, lane);
    size_t room = limit > lane->jobs ? limit - lane->jobs : 0;
    return room < fit ? room : fit;
}

rbk_lane *rbk_lanes_room(rbk_lanes *l, rbk_str name, size_t *ret_room)
{
    rbk_lane *lane = find_or_make(l, name);
    if (lane)
        *ret_room = has_room(l, lane, 0) ? room_of(l, lane) : 0;
    return lane;
}

rbk_lane *rbk_lanes_next_refill(rbk_lanes *l, size_t *ret_room)
{
    rbk_lane *lane = l->refill_head;
    if (lane == NULL)
        return NULL;
    l->refill_head = lane->next_refill;
    if (l->refill_head == NULL)
        l->refill_tail = NULL;
    lane->queued = false;
    size_t room = room_of(l, lane);
    *ret_room = room ? room : 1;
    return lane;
}

void rbk_lanes_refilled(rbk_lanes *l, rbk_lane *lane, bool more)
{
    lane->spilled = more;
    queue_refill(l, lane);
    forget_if_idle(l, lane);
}

void rbk_lanes_behind(rbk_lanes *l, rbk_str name, bool behind)
{
    rbk_lane *lane = rbk_map_get(l->map, name);
    if (lane == NULL)
        return; /* it has nothing in memory */
    lane->behind_until = behind ? l->now + RBK_LANE_BEHIND_MS : 0;
    queue_refill(l, lane);
}

void rbk_lanes_tick(rbk_lanes *l, rbk_mono_ms now)
{
    l->now = now;
}

bool rbk_lanes_waiting(const rbk_lanes *l)
{
    return l->refill_head != NULL;
}

void rbk_lanes_scanned(rbk_lanes *l)
{
    l->overflow = false;
}

size_t rbk_lanes_jobs(const rbk_lanes *l)
{
    return l->jobs;
}
