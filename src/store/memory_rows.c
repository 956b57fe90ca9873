/* SPDX-License-Identifier: Apache-2.0 */
/* store/memory_rows.c - the rows of the store `memory:` and the skip lists over them.
 * All but rbk_row_free() under the store's lock. */
#include "store/memory_impl.h"

#include "base/str.h"
#include "core/job_state.h"

#include <stdlib.h>

static int compare_str(rbk_str a, rbk_str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int compare_num(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare(rbk_row_list list, const rbk_row *a, const rbk_row *b)
{
    int c = 0;
    if (list == RBK_ROWS_BY_LANE) {
        c = compare_str(a->job->lane, b->job->lane);
        c = c ? c : compare_num(a->job->due, b->job->due);
    } else if (list == RBK_ROWS_BY_DEADLINE) {
        c = compare_num(a->job->deadline, b->job->deadline);
    } else if (list == RBK_ROWS_BY_END) {
        c = compare_num(a->shelf, b->shelf);
        c = c ? c : compare_num(a->ended, b->ended);
    } else if (list == RBK_ROWS_BY_KEY) {
        c = compare_str(a->turn.key, b->turn.key);
        c = c ? c : a->turn.ran - b->turn.ran;
    }
    return c ? c : compare_num(a->job->seq, b->job->seq);
}

/* `ret_before` gets the row before the one that is found, on each level. */
static rbk_row *seek(rbk_store *st, rbk_row_list list, const rbk_row *key, rbk_row **ret_before)
{
    rbk_row *at = &st->head;
    for (int level = RBK_ROW_LEVELS - 1; level >= 0; level--) {
        while (at->next[list][level] && compare(list, at->next[list][level], key) < 0)
            at = at->next[list][level];
        ret_before[level] = at;
    }
    return at->next[list][0];
}

rbk_row *rbk_rows_seek(rbk_store *st, rbk_row_list list, const rbk_row *key)
{
    rbk_row *before[RBK_ROW_LEVELS];
    return seek(st, list, key, before);
}

rbk_row *rbk_rows_find(rbk_store *st, int64_t seq)
{
    rbk_job job = {.seq = seq};
    rbk_row *r = rbk_rows_seek(st, RBK_ROWS_BY_SEQ, &(rbk_row){.job = &job});
    return r && r->job->seq == seq ? r : NULL;
}

static void link_list(rbk_store *st, rbk_row_list list, rbk_row *r)
{
    rbk_row *before[RBK_ROW_LEVELS];
    seek(st, list, r, before);
    for (int level = 0; level < r->height; level++) {
        r->next[list][level] = before[level]->next[list][level];
        before[level]->next[list][level] = r;
    }
}

static void unlink_list(rbk_store *st, rbk_row_list list, rbk_row *r)
{
    rbk_row *before[RBK_ROW_LEVELS];
    seek(st, list, r, before);
    for (int level = 0; level < r->height; level++)
        before[level]->next[list][level] = r->next[list][level];
}

static bool stands_in(const rbk_row *r, rbk_row_list list)
{
    uint8_t state = r->job->state;
    switch (list) {
    case RBK_ROWS_BY_LANE:
        return r->shelf == RBK_SHELF_WAIT;
    case RBK_ROWS_BY_DEADLINE:
        return r->shelf == RBK_SHELF_WAIT && r->job->deadline > 0 &&
               (state == RBK_JOB_QUEUED || state == RBK_JOB_HELD);
    case RBK_ROWS_BY_KEY:
        return r->turn.key.p && r->shelf <= RBK_SHELF_WAIT;
    case RBK_ROWS_BY_END:
        return r->shelf == RBK_SHELF_DEAD || r->shelf == RBK_SHELF_DONE;
    default:
        return true;
    }
}

static void count_row(rbk_store *st, const rbk_row *r, int sign)
{
    int64_t bytes = rbk_store_request_bytes(r->job) + (int64_t)r->job->response.n;
    bytes += rbk_memory_part_bytes(r);
    if (r->shelf == RBK_SHELF_DEAD) {
        st->stats.dead += sign;
    } else if (r->shelf == RBK_SHELF_DONE) {
        st->stats.done += sign;
        st->stats.done_bytes += sign * bytes;
    } else {
        st->stats.pending += sign;
        st->stats.pending_bytes += sign * bytes;
        *rbk_store_counter(&st->stats, r->job->state) += sign;
        rbk_memory_count_caller(st, r->job->caller, sign, sign * bytes);
    }
}

void rbk_rows_link(rbk_store *st, rbk_row *r)
{
    for (int list = 0; list < RBK_ROW_LISTS; list++)
        if (stands_in(r, (rbk_row_list)list))
            link_list(st, (rbk_row_list)list, r);
    count_row(st, r, 1);
}

void rbk_rows_unlink(rbk_store *st, rbk_row *r)
{
    for (int list = 0; list < RBK_ROW_LISTS; list++)
        if (stands_in(r, (rbk_row_list)list))
            unlink_list(st, (rbk_row_list)list, r);
    count_row(st, r, -1);
}

void rbk_rows_claim(rbk_store *st, rbk_row *r)
{
    unlink_list(st, RBK_ROWS_BY_LANE, r);
    if (stands_in(r, RBK_ROWS_BY_DEADLINE))
        unlink_list(st, RBK_ROWS_BY_DEADLINE, r);
    r->shelf = RBK_SHELF_JOB;
}

/* --- One row ----------------------------------------------------------------------- */

static bool has_note(const rbk_row *r, const rbk_attempt_note *note)
{
    for (size_t i = 0; i < r->n_notes; i++)
        if (r->notes[i].number == note->number && r->notes[i].at == note->at)
            return true;
    return false;
}

/* The last RBK_ATTEMPTS_KEPT of the old notes and the new one. */
static bool take_notes(rbk_row *r, const rbk_row *old, const rbk_attempt_note *note)
{
    size_t n = old ? old->n_notes : 0, skip = 0;
    bool add = note && note->number && !(old && has_note(old, note));
    if (n + add == 0)
        return true;
    r->notes = malloc((n + add) * sizeof *r->notes);
    if (r->notes == NULL)
        return false;
    if (n + add > RBK_ATTEMPTS_KEPT)
        skip = n + add - RBK_ATTEMPTS_KEPT;
    if (n > skip)
        memcpy(r->notes, old->notes + skip, (n - skip) * sizeof *r->notes);
    r->n_notes = n - skip;
    if (add)
        r->notes[r->n_notes++] = *note;
    return true;
}

static bool copy_turn(rbk_row *r, const rbk_turn *turn)
{
    size_t n = turn->key.n + turn->lane.n;
    if (turn->key.p == NULL)
        return true;
    char *p = r->turn_text = malloc(n + 1);
    if (p == NULL)
        return false;
    memcpy(p, turn->key.p, turn->key.n);
    if (turn->lane.n)
        memcpy(p + turn->key.n, turn->lane.p, turn->lane.n);
    r->turn = (rbk_turn){.key = {p, turn->key.n}, .ran = turn->ran};
    if (turn->lane.p)
        r->turn.lane = (rbk_str){p + turn->key.n, turn->lane.n};
    return true;
}

rbk_row *rbk_row_new(rbk_store *st, const rbk_job *job, const rbk_row *old,
                     const rbk_attempt_note *note, const rbk_turn *turn)
{
    rbk_row *r = calloc(1, sizeof *r);
    if (r == NULL || (r->job = rbk_job_copy(job)) == NULL || !take_notes(r, old, note) ||
        !rbk_memory_take_parts(r, old) ||
        !copy_turn(r, turn)) {
        rbk_row_free(r);
        return NULL;
    }
    st->coin = st->coin * 1664525u + 1013904223u;
    r->height = 1;
    for (uint32_t bits = st->coin >> 8; (bits & 3) == 0 && r->height < RBK_ROW_LEVELS; bits >>= 2)
        r->height++;
    return r;
}

void rbk_row_free(rbk_row *r)
{
    if (r == NULL)
        return;
    rbk_job_free(r->job);
    free(r->notes);
    rbk_memory_free_parts(r);
    free(r->turn_text);
    free(r);
}
