/* SPDX-License-Identifier: Apache-2.0 */
/* engine/store_thread.h - step 3 of 5: rpc -> admit -> STORE -> execute -> deliver
 *
 * One thread owns the store. It takes what is in its inbox, applies it as one durable
 * transaction, and then sends each job on its way. The inbox has two lanes: admissions,
 * which are refused when it is full, and progress of accepted jobs, which never is. */
#ifndef RBK_ENGINE_STORE_THREAD_H
#define RBK_ENGINE_STORE_THREAD_H

#include <pthread.h>

#include "engine/engine_impl.h"

/* Opens the store. Errors as rbk_store_ops.open. */
int rbk_store_thread_new(rbk_engine *e, rbk_store_thread **ret, rbk_error *err);
/* Recovers stored jobs on the calling thread, then starts the thread. */
int rbk_store_thread_start(rbk_store_thread *s, rbk_error *err);
/* Apply what is in the inbox and end the thread. */
void rbk_store_thread_stop(rbk_store_thread *s);
/* Close the store, keep the rest: for an engine that threads may still touch. */
void rbk_store_thread_close(rbk_store_thread *s);
void rbk_store_thread_free(rbk_store_thread *s); /* closes the store */

/* New jobs, each with its exchange: all are taken, or none (then false). Any thread. */
bool rbk_store_admit(rbk_store_thread *s, rbk_list *tickets, size_t bytes);
/* A change of an accepted job. Any thread. */
void rbk_store_push(rbk_store_thread *s, rbk_ticket *t);
void rbk_store_push_list(rbk_store_thread *s, rbk_list *tickets);

/* A change that an operator wants (engine/change.h). Any thread. */
void rbk_store_push_change(rbk_store_thread *s, rbk_ticket *t);

/* Something for the store thread to do between two commits. */
typedef struct rbk_store_order {
    rbk_node node; /* first */
    /* `st` is NULL when the store cannot be used. The order is then the function's to free. */
    void (*run)(struct rbk_store_order *o, const rbk_store_ops *ops, rbk_store *st);
} rbk_store_order;
/* 0, or RBK_E_BUSY: too many wait, or the thread ends. Any thread. */
int rbk_store_order_push(rbk_store_thread *s, rbk_store_order *o);

/* A lane, by its name. */
typedef struct rbk_lane_name {
    rbk_node node; /* first */
    char lane[RBK_LANE_MAX + 1];
} rbk_lane_name;
/* Adds one to a list; without memory nothing. */
void rbk_store_name_lane(rbk_list *l, rbk_str lane);
/* The receivers of these lanes take nothing now: said again and again while it is so, and what
 * grows too old in the store meanwhile is given up. Takes the names. Any thread. */
void rbk_store_behind(rbk_store_thread *s, rbk_list *lanes);
/* The receiver of this lane takes deliveries again: what waits for it in the store is pulled
 * forward, some at a time. Any thread. */
void rbk_store_pull(rbk_store_thread *s, rbk_str lane);

/* Claim what waits in a lane "send:ws:…", whatever its time, some of it; it goes back as it came
 * (engine/session_fetch.h). Any thread. */
struct rbk_fetching;
void rbk_store_fetch(rbk_store_thread *s, struct rbk_fetching *f);

/* The file beside which small files may stand, or NULL. */
const char *rbk_store_path(const rbk_store_thread *s);

/* Call `fn` with the store for a READER slot; waits while it is being reopened. Reader
 * thread. */
void rbk_store_read(rbk_store_thread *s,
                    void (*fn)(const rbk_store_ops *ops, rbk_store *st, void *arg), void *arg);

#endif
