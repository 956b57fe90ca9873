/* SPDX-License-Identifier: Apache-2.0 */
/* store/memory_feed.c - jobs that wait for others of their batch (core/chain.h) in the store
 * `memory:`. Who gets a part, or is let go, gets a new version of its row. Under the store's
 * lock. */
#include "store/memory_impl.h"

#include "base/str.h"
#include "core/job_state.h"

#include <stdlib.h>

typedef struct rbk_part_text {
    size_t refs, n;
    char p[];
} rbk_part_text;

/* --- Parts ------------------------------------------------------------------------------------ */

void rbk_memory_free_parts(rbk_row *r)
{
    for (size_t i = 0; i < r->n_parts; i++)
        if (--r->parts[i].text->refs == 0)
            free(r->parts[i].text);
    free(r->parts);
    r->parts = NULL;
    r->n_parts = 0;
}

bool rbk_memory_take_parts(rbk_row *r, const rbk_row *old)
{
    size_t n = old && r->job->state == RBK_JOB_HELD ? old->n_parts : 0;
    if (n == 0)
        return true;
    r->parts = malloc(n * sizeof *r->parts);
    if (r->parts == NULL)
        return false;
    memcpy(r->parts, old->parts, n * sizeof *r->parts);
    r->n_parts = n;
    for (size_t i = 0; i < n; i++)
        r->parts[i].text->refs++;
    return true;
}

int64_t rbk_memory_part_bytes(const rbk_row *r)
{
    int64_t n = 0;
    for (size_t i = 0; i < r->n_parts; i++)
        n += (int64_t)r->parts[i].text->n;
    return n;
}

static bool add_part(rbk_row *r, uint32_t n, rbk_str response)
{
    rbk_part *parts = realloc(r->parts, (r->n_parts + 1) * sizeof *parts);
    if (parts)
        r->parts = parts;
    rbk_part_text *text = malloc(sizeof *text + response.n + 1);
    if (parts == NULL || text == NULL) {
        free(text);
        return false;
    }
    text->refs = 1;
    text->n = response.n;
    memcpy(text->p, response.p, response.n);
    text->p[response.n] = 0;
    r->parts[r->n_parts++] = (rbk_part){n, text};
    return true;
}

static bool has_part(const rbk_row *r, uint32_t n)
{
    for (size_t i = 0; i < r->n_parts; i++)
        if (r->parts[i].n == n)
            return true;
    return false;
}

typedef struct parts {
    const rbk_row *row;
    rbk_feed last;
    rbk_str response;
} parts;

/* A rbk_part_fn. */
static int read_part(void *user, uint32_t n, rbk_str *ret)
{
    const parts *p = user;
    *ret = n == p->last.part ? p->response : RBK_STR_NONE;
    for (size_t i = 0; i < p->row->n_parts; i++)
        if (p->row->parts[i].n == n)
            *ret = (rbk_str){p->row->parts[i].text->p, p->row->parts[i].text->n};
    return ret->p ? 0 : RBK_E_NOMEM;
}

/* --- One that waits ----------------------------------------------------------------------------- */

static int replace(rbk_store *st, rbk_row *old, const rbk_job *job, rbk_row_change *c)
{
    rbk_row *r = rbk_row_new(st, job, old, NULL, &old->turn);
    if (r == NULL)
        return RBK_E_NOMEM;
    r->shelf = old->shelf;
    r->ended = old->ended;
    *c = (rbk_row_change){old, r};
    return 0;
}

static int let_go(rbk_store *st, const parts *p, bool fails, rbk_wall_ms now, rbk_row_change *c)
{
    rbk_row *old = rbk_rows_find(st, p->last.to);
    rbk_composed made;
    rbk_job fed;
    int r = fails ? rbk_chain_fail(old->job, p->last.part, &made)
                  : rbk_chain_compose(old->job, read_part, (void *)(uintptr_t)p, &made);
    if (r < 0)
        return RBK_E_NOMEM;
    rbk_store_release(old->job, &made, now, &fed);
    r = replace(st, old, &fed, c);
    rbk_composed_free(&made);
    if (r == 0 && st->released)
        st->released(st->user, c->new->job->lane);
    return r;
}

static int feed(rbk_store *st, const rbk_store_op *op, const rbk_feed *to, rbk_row_change *c)
{
    rbk_row *row = to->to ? rbk_rows_find(st, to->to) : NULL;
    size_t max;
    if (row == NULL || row->shelf != RBK_SHELF_WAIT || row->job->state != RBK_JOB_HELD)
        return 0;
    const parts p = {row, *to, op->job->response};
    uint32_t needs = rbk_chain_needs(row->job->chain, &max);
    bool fails = !(row->job->flags & RBK_JOB_BATCH) && rbk_response_result(p.response).p == NULL;
    if (needs == 0 || (!fails && has_part(row, to->part)))
        return 0;
    int r = fails || row->n_parts + 1 >= needs ? let_go(st, &p, fails, op->now, c)
                                               : replace(st, row, row->job, c);
    if (r == 0 && c->new->job->state == RBK_JOB_HELD && !add_part(c->new, to->part, p.response)) {
        rbk_row_free(c->new);
        *c = (rbk_row_change){0};
        r = RBK_E_NOMEM;
    }
    if (r < 0)
        return r;
    rbk_rows_unlink(st, c->old);
    rbk_rows_link(st, c->new);
    return 0;
}

int rbk_memory_feed(rbk_store *st, const rbk_store_op *op, rbk_row_change **ret_c, size_t *ret_n)
{
    rbk_str at = op->job->chain;
    rbk_feed to;
    size_t n = 0;
    while (rbk_chain_next_feed(&at, &to))
        n++;
    *ret_c = calloc(n ? n : 1, sizeof **ret_c);
    if (*ret_c == NULL)
        return RBK_E_NOMEM;
    int r = 0;
    at = op->job->chain;
    while (r == 0 && rbk_chain_next_feed(&at, &to))
        r = feed(st, op, &to, &(*ret_c)[(*ret_n)++]);
    return r;
}
