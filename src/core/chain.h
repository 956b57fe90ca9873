/* SPDX-License-Identifier: Apache-2.0 */
/* core/chain.h - what a stored job knows of the other jobs of its batch: the text in
 * job->chain, and what becomes of a job that waits for others (HELD) when it has all.
 *
 * The text is lines:
 *   f <seq> <part>   this job's response goes to that job, as its part of this number
 *   n <parts> <max>  it waits for so many parts; what is made of them has at most so many bytes
 *   c 1              its params were made of what it named: nobody has checked them yet
 *   e <data>         it cannot have what it waits for: instead of a run it is answered with
 *                    RBK_E_PARAMS and this data, JSON text
 * Two kinds of jobs wait. A member that names others: its params have references (core/refs.h),
 * which are replaced. A whole batch (RBK_JOB_BATCH): its params are an array of what is known of
 * each member, null where a part is to come, false for a member that has no entry; its response
 * becomes an array of the responses.
 *
 * The jobs of a batch that name each other, and the job of the whole, are put in one commit, those
 * that wait as HELD, on the wait shelf in the lane that they will be found in, due never: a backlog
 * of them costs disk alone. The commit that stores a job's RESULT feeds it on: a part is kept until
 * all that the waiting job needs are there, then that same commit makes its params (or, of a whole
 * batch, its response) and lets it go. So a crash leaves either the one unfinished or the other
 * fed. A failed part lets it go at once, with a fault that is answered in the place of a run: that
 * answer is a RESULT like any other, which feeds on in turn, a commit a step, after a crash too.
 *
 * Pure; any thread. */
#ifndef RBK_CORE_CHAIN_H
#define RBK_CORE_CHAIN_H

#include "core/refs.h"
#include "ringback/store.h"

typedef struct rbk_feed {
    int64_t to; /* seq; before the jobs have theirs the number of a member */
    uint32_t part;
} rbk_feed;

void rbk_chain_add_feed(rbk_buf *b, const rbk_feed *feed);
void rbk_chain_add_needs(rbk_buf *b, uint32_t parts, size_t max);

/* The next feed of the text; `at` begins as the chain. False: there is none. */
bool rbk_chain_next_feed(rbk_str *at, rbk_feed *ret);
/* How many parts it waits for; 0: it waits for none. */
uint32_t rbk_chain_needs(rbk_str chain, size_t *ret_max);
/* Were its params made of what it named? */
bool rbk_chain_is_composed(rbk_str chain);
/* The data of its error, or absent. */
rbk_str rbk_chain_fault(rbk_str chain);

/* The jobs have their seqs: each number `to` becomes seq_of[to], in the place of the text; 0
 * where there is no such job (any more), and nothing is fed. */
void rbk_chain_resolve(rbk_str chain, const int64_t *seq_of, size_t n);

/* What becomes of a HELD job. */
typedef struct rbk_composed {
    uint8_t state; /* QUEUED, or for a whole batch DUE */
    rbk_buf text;  /* the new params, or the response; empty where there is a fault */
    rbk_buf chain; /* the new chain; empty: none */
} rbk_composed;

/* All parts are there. 0 and `ret`, whose buffers are the caller's; or the error of `part`, or
 * RBK_E_NOMEM: `ret` holds nothing then. */
int rbk_chain_compose(const rbk_job *held, rbk_part_fn part, void *user, rbk_composed *ret);
/* The part of this number is an error, and the job no whole batch: it waits no longer. */
int rbk_chain_fail(const rbk_job *held, uint32_t part, rbk_composed *ret);
void rbk_composed_free(rbk_composed *c);

#endif
