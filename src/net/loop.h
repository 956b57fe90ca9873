/* SPDX-License-Identifier: Apache-2.0 */
/* net/loop.h - one event loop on one thread, and the door into it.
 *
 * Everything of a loop (streams, servers, clients, timers) is used on its thread
 * only. From other threads come tasks: rbk_loop_post() queues one and wakes the loop
 * once for a burst. */
#ifndef RBK_NET_LOOP_H
#define RBK_NET_LOOP_H

#include <uv.h>

#include "base/queue.h"

typedef struct rbk_loop rbk_loop;

/* A task: `fn` runs once on the loop's thread; what holds the task is then its own. */
typedef struct rbk_task {
    rbk_node node; /* first */
    void (*fn)(struct rbk_task *task);
} rbk_task;

/* Make the loop; no thread runs it yet, so setting up on it is legal meanwhile. */
int rbk_loop_new(const char *thread_name, rbk_loop **ret, rbk_error *err);
int rbk_loop_start(rbk_loop *l, rbk_error *err); /* start its thread */
/* Ask the thread to end, once every handle is closed, and join it. What is still
 * posted runs first. Any thread but the loop's own. Never started: the calling thread
 * runs the loop to its end. Closing is the owners' duty: where one forgot a handle the
 * thread ends after 5 s all the same, and rbk_loop_free() leaves the memory behind. */
void rbk_loop_stop(rbk_loop *l);
/* Stops it where that was not done, and frees. Nobody may post any more (between stop
 * and free a post is legal, and is never run). NULL is legal. */
void rbk_loop_free(rbk_loop *l);

uv_loop_t *rbk_loop_uv(rbk_loop *l);
bool rbk_loop_is_current(const rbk_loop *l);
rbk_mono_ms rbk_loop_now(const rbk_loop *l); /* rbk_mono_now(), read once a turn; loop thread */

void rbk_loop_post(rbk_loop *l, rbk_task *task);      /* any thread */
void rbk_loop_post_list(rbk_loop *l, rbk_list *list); /* any thread; `list` is emptied */

/* Run `fn` once on the loop thread and wait for it. The loop is started. Any thread but
 * the loop's own. */
void rbk_loop_call(rbk_loop *l, void (*fn)(void *arg), void *arg);

#endif
