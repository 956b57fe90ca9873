/* SPDX-License-Identifier: Apache-2.0 */
/* core/plan.h - who waits for whom in a batch.
 *
 * The plan of a document says for each member which members its params name, and what is wrong
 * with that: an id that no member has or that two have, the member itself, a cycle, too many.
 * Pure: the document owns the texts, the plan owns the rest. */
#ifndef RBK_CORE_PLAN_H
#define RBK_CORE_PLAN_H

#include "core/refs.h"
#include "core/rpc.h"

enum { RBK_USES_MAX = 256 /* members that may name one member */ };

typedef struct rbk_plan_member {
    size_t n_parents, n_children;
    const uint32_t *parents;  /* members that it names, by the number of the part (core/refs.h) */
    const uint32_t *children; /* members that name it, in their order */
    rbk_str fault;            /* JSON text for the data of RBK_E_PARAMS; absent: all is well */
} rbk_plan_member;

typedef struct rbk_plan {
    size_t n;
    bool any; /* a member names another, or tries to */
    rbk_plan_member *members;
} rbk_plan;

/* The plan of a batch. Members that are refused already (`err`) name nobody. A member with a
 * fault has no parents, nor is it a child. Two plans apart: what a failed member means for those
 * that name it is for the caller. 0 or RBK_E_NOMEM. */
int rbk_plan_new(const rbk_rpc_doc *doc, rbk_plan **ret);
void rbk_plan_free(rbk_plan *plan);

/* JSON text for the error of member `child`: its parent `parent` has no result. Appended. */
void rbk_plan_blame(const rbk_rpc_doc *doc, const rbk_plan *plan, size_t child, size_t parent,
                    rbk_buf *b);

#endif
