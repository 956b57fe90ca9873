/* SPDX-License-Identifier: Apache-2.0 */
/* engine/quotas.h - what each caller has pending, and the bound on it (max_pending and
 * max_pending_bytes of its token).
 *
 * A caller's jobs are those that the store has, which tells of them in each commit that changes
 * them, and those on their way there. A ticket takes its place when it is made, and gives it back
 * when its commit is through, in the same moment as what the store told takes effect: so a job is
 * counted once at every time, and a bound is never passed, whoever asks at once. A ticket that is
 * freed before gives its place back by itself. A caller is remembered as long as it has jobs. */
#ifndef RBK_ENGINE_QUOTAS_H
#define RBK_ENGINE_QUOTAS_H

#include "engine/callers.h"
#include "engine/engine.h"
#include "engine/ticket.h"

typedef struct rbk_quotas rbk_quotas;

typedef enum rbk_quota_verdict {
    RBK_QUOTA_FINE,
    RBK_QUOTA_JOBS, /* as many jobs as it may have */
    RBK_QUOTA_BYTES,
    RBK_QUOTA_NOMEM
} rbk_quota_verdict;

/* What one caller has. */
typedef struct rbk_quota_use {
    char caller[RBK_CALLER_NAME_MAX + 1]; /* cut, where an embedder names longer ones */
    int64_t jobs, bytes;
} rbk_quota_use;

rbk_quotas *rbk_quotas_new(void); /* NULL when memory is out */
void rbk_quotas_free(rbk_quotas *q);

/* The ticket of a new job takes its place, or its caller has too much. Any thread. */
rbk_quota_verdict rbk_quotas_enter(rbk_quotas *q, rbk_ticket *t, const rbk_caller *caller);
/* It gives its place back; for engine/ticket.c. Any thread. */
void rbk_quotas_leave(rbk_ticket *t);

/* Those who have most jobs, most first. Returns how many. Any thread. */
size_t rbk_engine_quotas(rbk_engine *e, rbk_quota_use *ret, size_t max);

/* Store thread: what the store tells (rbk_store_conf.counted); it will tell of all anew; and a commit
 * of these, or of nothing, is through: now it holds. Only a PUT needs to have its ticket. */
void rbk_quotas_counted(rbk_quotas *q, rbk_str caller, int64_t jobs, int64_t bytes);
void rbk_quotas_begin(rbk_quotas *q);
void rbk_quotas_settle(rbk_quotas *q, const rbk_store_op *ops, rbk_ticket *const *tickets, size_t n);

#endif
