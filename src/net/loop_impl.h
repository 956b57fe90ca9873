/* SPDX-License-Identifier: Apache-2.0 */
/* net/loop_impl.h - what streams use of their loop: the end of the turn, and a buffer to
 * read into that all streams of the loop share. Loop thread. */
#ifndef RBK_NET_LOOP_IMPL_H
#define RBK_NET_LOOP_IMPL_H

#include "base/ring.h"
#include "net/loop.h"

enum { RBK_LOOP_BUF = 64 * 1024 };

/* Something to do once at the end of this turn. Its link leads to itself when unused. */
typedef struct rbk_turn {
    rbk_link link; /* first */
    void (*fn)(struct rbk_turn *turn);
} rbk_turn;

struct rbk_loop {
    uv_loop_t uv;
    uv_async_t async;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t grace;
    rbk_queue queue;
    pthread_t thread;
    bool started, ended, left;
    bool now_known;
    rbk_mono_ms now;
    rbk_link turns;  /* to do at the end of this turn */
    rbk_task end;    /* of rbk_loop_stop() */
    char *read_buf;  /* RBK_LOOP_BUF bytes, free again when a read callback returns */
    char *plain_buf; /* the same, for what TLS decrypted */
    char name[16];
};

/* Do `turn` at the end of this turn, before the loop sleeps. Queued already: nothing. */
static inline void rbk_loop_at_turn_end(rbk_loop *l, rbk_turn *turn)
{
    if (rbk_link_empty(&turn->link))
        rbk_link_append(&l->turns, &turn->link);
}

#endif
