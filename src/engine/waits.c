/* SPDX-License-Identifier: Apache-2.0 */
/* engine/waits.c - see waits.h. A map by seq, and a binary heap by time, whose places the
 * waiting ones know. */
#include "engine/waits.h"

#include "base/clock.h"
#include "base/map.h"

#include <stdlib.h>

enum { WAITS_MAX = 65536 };

typedef struct waiting {
    rbk_exchange *ex; /* a reference */
    uint32_t item;
    rbk_id job;
    rbk_mono_ms until;
    size_t at; /* its place in the heap */
} waiting;

struct rbk_waits {
    rbk_map *by_seq;
    waiting **heap; /* heap[1] is the first */
    size_t n, cap;
};

rbk_waits *rbk_waits_new(void)
{
    rbk_waits *w = calloc(1, sizeof *w);
    if (w && (w->by_seq = rbk_map_new()) == NULL) {
        free(w);
        w = NULL;
    }
    return w;
}

/* --- The heap --------------------------------------------------------------------------- */

static void place(rbk_waits *w, size_t at, waiting *one)
{
    w->heap[at] = one;
    one->at = at;
}

static void sift_up(rbk_waits *w, size_t at, waiting *one)
{
    for (; at > 1 && w->heap[at / 2]->until > one->until; at /= 2)
        place(w, at, w->heap[at / 2]);
    place(w, at, one);
}

static void sift_down(rbk_waits *w, size_t at, waiting *one)
{
    for (size_t child; (child = at * 2) <= w->n; at = child) {
        if (child < w->n && w->heap[child + 1]->until < w->heap[child]->until)
            child++;
        if (w->heap[child]->until >= one->until)
            break;
        place(w, at, w->heap[child]);
    }
    place(w, at, one);
}

static bool has_room(rbk_waits *w)
{
    if (w->n >= WAITS_MAX)
        return false;
    if (w->n + 2 <= w->cap)
        return true;
    size_t cap = w->cap ? w->cap * 2 : 64;
    waiting **heap = realloc(w->heap, cap * sizeof(waiting *));
    if (heap == NULL)
        return false;
    w->heap = heap;
    w->cap = cap;
    return true;
}

/* --- One -------------------------------------------------------------------------------- */

static rbk_str key_of(const uint64_t *seq)
{
    return (rbk_str){(const char *)seq, sizeof *seq};
}

/* Out of the map and the heap; the caller frees it. */
static void take_out(rbk_waits *w, waiting *one)
{
    waiting *last = w->heap[w->n--];
    size_t at = one->at;
    rbk_map_remove(w->by_seq, key_of(&one->job.seq));
    if (last == one)
        return;
    if (at > 1 && w->heap[at / 2]->until > last->until)
        sift_up(w, at, last);
    else
        sift_down(w, at, last);
}

static void end(waiting *one)
{
    rbk_exchange_unref(one->ex);
    free(one);
}

static void acknowledge(rbk_waits *w, waiting *one)
{
    take_out(w, one);
    rbk_exchange_ack(one->ex, one->item, one->job);
    end(one);
}

bool rbk_waits_add(rbk_waits *w, const rbk_ticket *t)
{
    const rbk_rpc_item *it = rbk_exchange_item(t->ex, t->item);
    if (it->svc.wait_ms == 0 || it->notification || !has_room(w))
        return false;
    waiting *one = calloc(1, sizeof *one);
    if (one == NULL)
        return false;
    one->job = (rbk_id){(uint64_t)t->job->seq, (uint64_t)t->job->rnd};
    if (rbk_map_put(w->by_seq, key_of(&one->job.seq), one, NULL) < 0) {
        free(one);
        return false;
    }
    one->ex = rbk_exchange_ref(t->ex);
    one->item = t->item;
    one->until = rbk_mono_now() + it->svc.wait_ms;
    sift_up(w, ++w->n, one);
    return true;
}

static waiting *find(const rbk_waits *w, int64_t seq)
{
    uint64_t key = (uint64_t)seq;
    return w->n ? rbk_map_get(w->by_seq, key_of(&key)) : NULL;
}

bool rbk_waits_has(const rbk_waits *w, int64_t seq)
{
    return find(w, seq) != NULL;
}

bool rbk_waits_answer(rbk_waits *w, rbk_ticket *t)
{
    waiting *one = find(w, t->job->seq);
    if (one == NULL)
        return false;
    if (rbk_exchange_is_gone(one->ex) || !rbk_exchange_take(one->ex, one->item, t)) {
        acknowledge(w, one);
        return false;
    }
    take_out(w, one);
    end(one);
    return true;
}

void rbk_waits_turn(rbk_waits *w, bool all)
{
    rbk_mono_ms now = w->n ? rbk_mono_now() : 0;
    while (w->n && (all || w->heap[1]->until <= now))
        acknowledge(w, w->heap[1]);
}

int64_t rbk_waits_wait_ms(const rbk_waits *w)
{
    if (w->n == 0)
        return INT64_MAX;
    rbk_mono_ms now = rbk_mono_now();
    return w->heap[1]->until > now ? w->heap[1]->until - now : 0;
}

void rbk_waits_free(rbk_waits *w)
{
    if (w == NULL)
        return;
    rbk_waits_turn(w, true);
    rbk_map_free(w->by_seq);
    free(w->heap);
    free(w);
}
