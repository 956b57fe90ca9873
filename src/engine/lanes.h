/* SPDX-License-Identifier: Apache-2.0 */
/* engine/lanes.h - how much of each lane is in memory. Store thread only.
 *
 * A lane is what may be slow by itself: "run:<method>", "send:<receiver>". Memory holds
 * at most RBK_LANE_JOBS of a lane, fewer when memory fills, and a bounded number in all.
 * While a lane has jobs in the store alone, new ones of it stay there too, so that
 * nobody overtakes; they are paged in when half of the lane's room is free again. A lane whose
 * receiver is paused or held has next to nothing in memory, so that many of them leave all of it
 * to the others. */
#ifndef RBK_ENGINE_LANES_H
#define RBK_ENGINE_LANES_H

#include "base/str.h"
#include "ringback/store.h"

enum {
    RBK_LANE_JOBS = 256,      /* of one lane */
    RBK_LANE_FLOOR = 8,       /* that a lane may always have */
    RBK_LANE_BEHIND = 2,      /* the same of one whose receiver takes nothing: for probes */
    RBK_LANE_BEHIND_MS = 3000, /* how long that is believed */
    RBK_MEMORY_JOBS = 8192,   /* of all lanes, before the floor */
    RBK_LANES = 4096,         /* lanes with jobs in memory or due in the store */
};

#define RBK_LANE_BYTES ((size_t)2 << 20)    /* of one lane, when it has more than one job */
#define RBK_MEMORY_BYTES ((size_t)24 << 20) /* of all lanes; then one job a lane */
#define RBK_MEMORY_BYTES_MAX ((size_t)96 << 20) /* then none */

typedef struct rbk_lane {
    struct rbk_lane *next_refill;
    rbk_str name;
    size_t jobs, bytes; /* in memory */
    size_t under_way;   /* jobs of it that may run at once, beside those that wait to */
    bool spilled;       /* due jobs of it are in the store alone */
    bool queued;        /* stands in the refill queue */
    rbk_mono_ms behind_until; /* what it has in memory is of no use before */
} rbk_lane;

typedef struct rbk_lanes rbk_lanes;

/* "send:<receiver>" of a callback DSN, NUL-terminated. Any thread. */
void rbk_send_lane(rbk_str callback, char out[RBK_LANE_MAX + 1]);

rbk_lanes *rbk_lanes_new(void);
void rbk_lanes_free(rbk_lanes *l);

/* A place in memory for a job of `bytes`: the lane, or NULL: it goes to the store
 * alone. Say rbk_lanes_spilled() once it is there. */
rbk_lane *rbk_lanes_enter(rbk_lanes *l, rbk_str name, size_t bytes);
/* So many of the lane's jobs may run at once: they have places beside RBK_LANE_JOBS. */
void rbk_lanes_widen(rbk_lanes *l, rbk_lane *lane, size_t under_way);
/* The place is free again. */
void rbk_lanes_leave(rbk_lanes *l, rbk_lane *lane, size_t bytes);
/* The store has due jobs of the lane: it is filled again when it has room. False when that
 * cannot be remembered: the store must be asked again which lanes have work. */
bool rbk_lanes_spilled(rbk_lanes *l, rbk_str name);
/* A place for a job that was in memory before the start, room or not; NULL: not counted. */
rbk_lane *rbk_lanes_force(rbk_lanes *l, rbk_str name, size_t bytes);
/* The next lane that has room and due jobs in the store, and how many it may take;
 * NULL when there is none. Then say what came of it. */
rbk_lane *rbk_lanes_next_refill(rbk_lanes *l, size_t *ret_room);
void rbk_lanes_refilled(rbk_lanes *l, rbk_lane *lane, bool more);
/* The lane of this name, and how many more jobs it may take now; NULL: no room for it. To
 * be told by rbk_lanes_refilled() too. */
rbk_lane *rbk_lanes_room(rbk_lanes *l, rbk_str name, size_t *ret_room);
/* Nothing is taken from the lane now; or no longer so. The time goes on by itself only here. */
void rbk_lanes_behind(rbk_lanes *l, rbk_str name, bool behind);
void rbk_lanes_tick(rbk_lanes *l, rbk_mono_ms now);
bool rbk_lanes_waiting(const rbk_lanes *l); /* is there a next lane to refill? */
/* A claimed job takes its place, room or not. */
void rbk_lanes_take(rbk_lanes *l, rbk_lane *lane, size_t bytes);
/* The store is being asked which lanes have work: lanes that could not be remembered
 * before will be found. */
void rbk_lanes_scanned(rbk_lanes *l);
size_t rbk_lanes_jobs(const rbk_lanes *l); /* in memory */

#endif
