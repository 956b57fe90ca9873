/* SPDX-License-Identifier: Apache-2.0 */
/* base/queue.h - how things go from thread to thread: an intrusive FIFO behind a
 * mutex, emptied whole. The node is the first member of what is queued; whoever
 * takes it owns it.
 *
 * The pusher wakes the reader only when the queue was empty: one wake-up for a
 * burst, however long. */
#ifndef RBK_BASE_QUEUE_H
#define RBK_BASE_QUEUE_H

#include <pthread.h>

#include "ringback/types.h"

typedef struct rbk_node {
    struct rbk_node *next;
} rbk_node;

/* A list without a lock: first in, first out, one thread. */
typedef struct rbk_list {
    rbk_node *head, *tail;
    size_t n;
} rbk_list;

static inline void rbk_list_push(rbk_list *l, rbk_node *node)
{
    node->next = NULL;
    if (l->tail)
        l->tail->next = node;
    else
        l->head = node;
    l->tail = node;
    l->n++;
}

static inline rbk_node *rbk_list_pop(rbk_list *l)
{
    rbk_node *node = l->head;
    if (node == NULL)
        return NULL;
    l->head = node->next;
    if (l->head == NULL)
        l->tail = NULL;
    l->n--;
    node->next = NULL;
    return node;
}

/* Move all of `from` behind `to`; `from` is empty then. */
static inline void rbk_list_join(rbk_list *to, rbk_list *from)
{
    if (from->head == NULL)
        return;
    if (to->tail)
        to->tail->next = from->head;
    else
        to->head = from->head;
    to->tail = from->tail;
    to->n += from->n;
    *from = (rbk_list){0};
}

typedef struct rbk_queue {
    pthread_mutex_t lock;
    rbk_list list;
} rbk_queue;

static inline void rbk_queue_init(rbk_queue *q)
{
    pthread_mutex_init(&q->lock, NULL);
    q->list = (rbk_list){0};
}

static inline void rbk_queue_fini(rbk_queue *q)
{
    pthread_mutex_destroy(&q->lock);
}

/* Push `l` (emptied). True when the queue was empty: the reader wants waking. */
static inline bool rbk_queue_push_list(rbk_queue *q, rbk_list *l)
{
    if (l->head == NULL)
        return false;
    pthread_mutex_lock(&q->lock);
    bool was_empty = q->list.head == NULL;
    rbk_list_join(&q->list, l);
    pthread_mutex_unlock(&q->lock);
    return was_empty;
}

static inline bool rbk_queue_push(rbk_queue *q, rbk_node *node)
{
    rbk_list one = {0};
    rbk_list_push(&one, node);
    return rbk_queue_push_list(q, &one);
}

static inline rbk_list rbk_queue_take(rbk_queue *q)
{
    pthread_mutex_lock(&q->lock);
    rbk_list l = q->list;
    q->list = (rbk_list){0};
    pthread_mutex_unlock(&q->lock);
    return l;
}

#endif
