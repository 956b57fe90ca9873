/* SPDX-License-Identifier: Apache-2.0 */
/* engine/links.h - members of one body that have to do with each other: that name each other's
 * results (core/plan.h), or whose responses go to one callback.
 *
 * Jobs whose ancestors are all jobs wait in the store: their tickets tell it by job->chain
 * (core/chain.h), and go there in one commit. A synchronous call that names others, and a job
 * with a synchronous call among its ancestors, wait here, in memory: their client waits for the
 * answer anyway. Nothing of them is acknowledged before it is in the store, so a crash owes
 * nobody anything. */
#ifndef RBK_ENGINE_LINKS_H
#define RBK_ENGINE_LINKS_H

#include "engine/engine_impl.h"

typedef struct rbk_links rbk_links;
typedef struct rbk_call rbk_call;

#define RBK_BATCH_HEADER "Ringback-Batch-Callback"

/* The header's value; absent: there is none. */
rbk_str rbk_links_header(const rbk_request *rq);

/* *ret is NULL where no member has to do with another. `callback` is absent, or the address of a
 * callback for the whole: members without one of their own then have it. Both outlive the links.
 * 0; RBK_E_PARAMS: more than RBK_GROUP_MAX members would have; RBK_E_NOMEM. */
int rbk_links_new(rbk_exchange *ex, rbk_rpc_doc *doc, rbk_str callback, rbk_links **ret);
void rbk_links_free(rbk_links *l);

/* --- Admission, in this order ------------------------------------------------------------------- */

/* JSON text for the data of RBK_E_PARAMS when the member is refused; absent: it is not. */
rbk_str rbk_links_fault(const rbk_links *l, uint32_t item);
/* Do its params name others? They are not whole before these have their results. */
bool rbk_links_names(const rbk_links *l, uint32_t item);
/* What the new job of this member has to say of others. `chain` must outlive the use of `view`. */
void rbk_links_describe(const rbk_links *l, uint32_t item, rbk_job *view, rbk_buf *chain);
/* Does the member wait here? Then `t` or `c` is taken. */
bool rbk_links_keep_job(rbk_links *l, uint32_t item, rbk_ticket *t);
bool rbk_links_keep_call(rbk_links *l, uint32_t item, rbk_call *c);
/* The callback of the whole; absent: there is none. */
rbk_str rbk_links_callback(const rbk_links *l);
/* The ticket of the whole batch, not complete yet; NULL: memory is out. It is to be the first of
 * the jobs. */
rbk_ticket *rbk_links_whole(rbk_links *l, const rbk_request *rq, rbk_str headers);
bool rbk_links_is_whole(const rbk_links *l, const rbk_ticket *t);
/* All jobs that are to be stored: those that name a refused one are refused, the whole is made
 * complete, and all are one group. Called again when some were refused meanwhile. */
void rbk_links_group(rbk_links *l, rbk_list *jobs);
/* The ticket of a member that becomes no job, with its hold of the exchange. Any thread. */
void rbk_links_drop(rbk_ticket *t);
/* What waits here may begin. */
void rbk_links_start(rbk_links *l);

/* --- Later; any thread ---------------------------------------------------------------------------- */

/* The member has its response, or none: it was refused. The text stays until the exchange's end,
 * or is copied (`copy`). */
void rbk_links_done(rbk_links *l, uint32_t item, rbk_str response, bool copy);
/* What the member's result would have been will not be known. */
void rbk_links_lost(rbk_links *l, uint32_t item);

/* The first `n` tickets are one group: each gets the seqs of those that it feeds. Store thread,
 * when they have theirs. */
void rbk_links_resolve(rbk_ticket *const *tickets, size_t n);

#endif
