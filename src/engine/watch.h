/* SPDX-License-Identifier: Apache-2.0 */
/* engine/watch.h - callers who ask for their jobs: at once, or when there is a response.
 *
 * A watch owes an exchange the answer of one member. It is looked up on the reader thread; where
 * the job has no response yet, and the watch may wait, it is parked until the store thread says
 * that something became of the job, or its time is up. No watch asks the store again and
 * again. */
#ifndef RBK_ENGINE_WATCH_H
#define RBK_ENGINE_WATCH_H

#include "base/id.h"
#include "engine/engine_impl.h"

enum { RBK_WATCHES_MAX = 10000 };

/* Which job, and for whom. */
typedef struct rbk_watch_spec {
    rbk_exchange *ex; /* a reference is taken */
    uint32_t item;    /* the member that is answered */
    rbk_id id;
    rbk_str caller;  /* copied; a job of another caller is answered like an unknown one */
    int64_t wait_ms; /* how long it may wait for the response; 0: not at all */
    /* Writes the answer's result. Reader thread. */
    void (*write)(rbk_buf *b, rbk_engine *e, const rbk_job *job);
} rbk_watch_spec;

int rbk_watches_new(rbk_engine *e, rbk_watches **ret, rbk_error *err);
int rbk_watches_start(rbk_watches *w, rbk_error *err);
/* All are answered with what the store has, none waits from now on. The reader must still run. */
void rbk_watches_stop(rbk_watches *w);
/* The reader has ended: what is left is answered BUSY. */
void rbk_watches_end(rbk_watches *w);
void rbk_watches_free(rbk_watches *w); /* NULL is legal */

/* 0, and the member will be answered. RBK_E_BUSY: too many; RBK_E_NOMEM. Any thread. */
int rbk_watch(rbk_watches *w, const rbk_watch_spec *spec);
/* Something became of the job, and it is committed. Any thread; costs nothing where nobody
 * watches. */
void rbk_watches_wake(rbk_watches *w, int64_t seq);

/* Does the job belong to the caller? Both may be absent: anonymous. */
bool rbk_job_is_of(const rbk_job *job, rbk_str caller);

#endif
