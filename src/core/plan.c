/* SPDX-License-Identifier: Apache-2.0 */
/* core/plan.c - see plan.h. */
#include "core/plan.h"

#include "base/map.h"

#include <stdlib.h>

enum { FAULT_MAX = 4096 };

typedef struct full_plan {
    rbk_plan pub; /* first */
    rbk_arena arena;
} full_plan;

typedef struct planner {
    const rbk_rpc_doc *doc;
    full_plan *plan;
    rbk_map *ids; /* the member's number, plus one; or TWICE */
    rbk_refs refs; /* of the member at hand */
    size_t *left;  /* children that are not taken off yet */
    bool nomem, cycles;
} planner;

#define TWICE UINTPTR_MAX

/* --- Ids ------------------------------------------------------------------------------- */

static void note_id(planner *p, size_t i)
{
    const rbk_rpc_item *it = &p->doc->items[i];
    rbk_str id = it->notification ? RBK_STR_NONE : rbk_refs_id(&p->plan->arena, it->id);
    if (id.p == NULL) /* none; without memory nobody finds it */
        return;
    uintptr_t value = rbk_map_get(p->ids, id) ? TWICE : i + 1;
    p->nomem |= rbk_map_put(p->ids, id, (void *)value, NULL) < 0;
}

/* --- One member -------------------------------------------------------------------------- */

static void refuse(planner *p, size_t i, const rbk_ref *ref, const char *why)
{
    rbk_buf b = RBK_BUF(FAULT_MAX);
    rbk_ref_fault(&b, ref, why);
    rbk_str text = b.err ? RBK_STR_NONE : rbk_arena_dup(&p->plan->arena, rbk_buf_view(&b));
    rbk_buf_free(&b);
    p->nomem |= text.p == NULL;
    rbk_plan_member *m = &p->plan->pub.members[i];
    *m = (rbk_plan_member){.fault = text, .children = m->children, .n_children = m->n_children};
}

/* The member that `ref` names, or why there is none. */
static const char *look_up(const planner *p, size_t i, const rbk_ref *ref, size_t *ret)
{
    uintptr_t found = (uintptr_t)rbk_map_get(p->ids, ref->id);
    if (found == 0)
        return "no member of the batch has the id %";
    if (found == TWICE)
        return "more than one member of the batch has the id %";
    *ret = found - 1;
    return *ret == i ? "the member % names itself" : NULL;
}

static void read_member(planner *p, size_t i)
{
    rbk_plan_member *m = &p->plan->pub.members[i];
    rbk_refs *refs = &p->refs;
    int err = rbk_refs_find(&p->plan->arena, p->doc->items[i].params, refs);
    p->nomem |= err == RBK_E_NOMEM;
    if (refs->n == 0 || p->nomem)
        return;
    p->plan->pub.any = true;
    if (err == RBK_E_TOO_LARGE) {
        refuse(p, i, &refs->ref[refs->n - 1], "more than 64 references in one member");
        return;
    }
    uint32_t *parents = rbk_arena_zalloc(&p->plan->arena, refs->parts * sizeof *parents);
    if (parents == NULL) {
        p->nomem = true;
        return;
    }
    for (size_t at = 0; at < refs->n; at++) {
        size_t parent;
        const char *why = look_up(p, i, &refs->ref[at], &parent);
        if (why) {
            refuse(p, i, &refs->ref[at], why);
            return;
        }
        parents[refs->ref[at].part] = (uint32_t)parent;
    }
    m->parents = parents;
    m->n_parents = refs->parts;
}

/* --- All together ------------------------------------------------------------------------- */

/* A reference of `i` to `parent`, to name it by. */
static const rbk_ref *ref_to(planner *p, size_t i, size_t parent)
{
    const rbk_plan_member *m = &p->plan->pub.members[i];
    rbk_refs_find(&p->plan->arena, p->doc->items[i].params, &p->refs);
    for (size_t at = 0; at < p->refs.n; at++)
        if (m->parents[p->refs.ref[at].part] == parent)
            return &p->refs.ref[at];
    return &p->refs.ref[0];
}

/* Too many name one member: those that come last are refused. */
static void bound_uses(planner *p)
{
    for (size_t i = 0; i < p->doc->n; i++) {
        const rbk_plan_member *m = &p->plan->pub.members[i];
        for (size_t at = 0; at < m->n_parents; at++) {
            size_t parent = m->parents[at];
            if (++p->left[parent] > RBK_USES_MAX) {
                refuse(p, i, ref_to(p, i, parent), "more than 256 members name the member %");
                break;
            }
        }
    }
}

static void count_children(planner *p)
{
    rbk_plan_member *members = p->plan->pub.members;
    for (size_t i = 0; i < p->doc->n; i++)
        members[i].n_children = 0;
    for (size_t i = 0; i < p->doc->n; i++)
        for (size_t at = 0; at < members[i].n_parents; at++)
            members[members[i].parents[at]].n_children++;
}

static void list_children(planner *p)
{
    rbk_plan_member *members = p->plan->pub.members;
    count_children(p);
    uint32_t **at = rbk_arena_zalloc(&p->plan->arena, p->doc->n * sizeof *at);
    for (size_t i = 0; at && i < p->doc->n; i++) {
        if (members[i].n_children == 0)
            continue;
        at[i] = rbk_arena_alloc(&p->plan->arena, members[i].n_children * sizeof **at);
        members[i].children = at[i];
        p->nomem |= at[i] == NULL;
    }
    p->nomem |= at == NULL;
    for (size_t i = 0; !p->nomem && i < p->doc->n; i++)
        for (size_t k = 0; k < members[i].n_parents; k++)
            *at[members[i].parents[k]]++ = (uint32_t)i;
}

typedef struct peeling {
    const rbk_plan_member *members;
    size_t n, *left, *stack;
    bool down; /* from those that wait for nobody; else from those that nobody waits for */
} peeling;

/* Members are taken off from one end, again and again; those that are left have left[i] > 0. */
static void peel(const peeling *l)
{
    size_t top = 0;
    for (size_t i = 0; i < l->n; i++) {
        l->left[i] = l->down ? l->members[i].n_parents : l->members[i].n_children;
        if (l->left[i] == 0)
            l->stack[top++] = i;
    }
    while (top) {
        const rbk_plan_member *m = &l->members[l->stack[--top]];
        const uint32_t *next = l->down ? m->children : m->parents;
        for (size_t at = 0; at < (l->down ? m->n_children : m->n_parents); at++)
            if (--l->left[next[at]] == 0)
                l->stack[top++] = next[at];
    }
}

/* What is left from both ends waits in a circle, or between two. */
static void find_cycles(planner *p)
{
    rbk_plan_member *members = p->plan->pub.members;
    size_t n = p->doc->n;
    size_t *room = rbk_arena_alloc(&p->plan->arena, 2 * n * sizeof *room);
    if (room == NULL) {
        p->nomem = true;
        return;
    }
    size_t *up = p->left, *down = room;
    peel(&(peeling){members, n, up, room + n, false});
    peel(&(peeling){members, n, down, room + n, true});
    for (size_t i = 0; i < n; i++) {
        size_t parent = n;
        for (size_t at = 0; up[i] && down[i] && at < members[i].n_parents && parent == n; at++)
            if (up[members[i].parents[at]] && down[members[i].parents[at]])
                parent = members[i].parents[at];
        if (parent < n) {
            refuse(p, i, ref_to(p, i, parent), "the member % waits for this one: a cycle");
            p->cycles = true;
        }
    }
}

static int make_plan(planner *p)
{
    size_t n = p->doc->n;
    p->plan->pub.n = n;
    p->plan->pub.members = rbk_arena_zalloc(&p->plan->arena, n * sizeof *p->plan->pub.members);
    p->left = rbk_arena_zalloc(&p->plan->arena, n * sizeof *p->left);
    if (p->left == NULL || p->plan->pub.members == NULL)
        return RBK_E_NOMEM;
    for (size_t i = 0; i < n; i++)
        note_id(p, i);
    for (size_t i = 0; i < n && !p->nomem; i++)
        if (p->doc->items[i].err == 0)
            read_member(p, i);
    if (p->plan->pub.any && !p->nomem) {
        bound_uses(p);
        list_children(p);
        if (!p->nomem)
            find_cycles(p);
        if (p->cycles && !p->nomem)
            list_children(p);
    }
    return p->nomem ? RBK_E_NOMEM : 0;
}

int rbk_plan_new(const rbk_rpc_doc *doc, rbk_plan **ret)
{
    planner *p = calloc(1, sizeof *p);
    if (p == NULL)
        return RBK_E_NOMEM;
    p->doc = doc;
    p->ids = rbk_map_new();
    p->plan = calloc(1, sizeof *p->plan);
    int r = p->ids && p->plan ? 0 : RBK_E_NOMEM;
    if (r == 0) {
        p->plan->arena = RBK_ARENA(SIZE_MAX / 2); /* bounded by the document */
        r = make_plan(p);
    }
    rbk_map_free(p->ids);
    if (r < 0)
        rbk_plan_free(p->plan ? &p->plan->pub : NULL);
    else
        *ret = &p->plan->pub;
    free(p);
    return r;
}

void rbk_plan_free(rbk_plan *plan)
{
    if (plan == NULL)
        return;
    full_plan *f = (full_plan *)(void *)plan;
    rbk_arena_free(&f->arena);
    free(f);
}

void rbk_plan_blame(const rbk_rpc_doc *doc, const rbk_plan *plan, size_t child, size_t parent,
                    rbk_buf *b)
{
    const rbk_plan_member *m = &plan->members[child];
    rbk_arena a = RBK_ARENA(SIZE_MAX / 2);
    rbk_refs refs;
    rbk_refs_find(&a, doc->items[child].params, &refs);
    for (size_t i = 0; i < refs.n; i++)
        if (m->parents[refs.ref[i].part] == parent) {
            rbk_ref_fault(b, &refs.ref[i], RBK_REF_FAILED);
            break;
        }
    rbk_arena_free(&a);
}
