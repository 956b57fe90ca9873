/* SPDX-License-Identifier: Apache-2.0 */
/* engine/reader.h - look-ups in the store beside its writer: a thread of its own, so that
 * they never hold up an acknowledgement. */
#ifndef RBK_ENGINE_READER_H
#define RBK_ENGINE_READER_H

#include "base/id.h"
#include "engine/engine_impl.h"

/* The head of a question, the asker's own. Both functions are called once, one after the
 * other, on the reader thread. */
typedef struct rbk_question {
    rbk_node node; /* first */
    /* Ask the store; `st` is NULL when it is closed. Nothing else may be done here. */
    void (*look)(struct rbk_question *q, const rbk_store_ops *ops, rbk_store *st);
    /* Tell what was found; may take its time. The question is then the function's to free. */
    void (*tell)(struct rbk_question *q);
} rbk_question;

int rbk_reader_new(rbk_engine *e, rbk_reader **ret, rbk_error *err);
int rbk_reader_start(rbk_reader *r, rbk_error *err);
/* Answers what waits, takes no more, ends the thread. */
void rbk_reader_stop(rbk_reader *r);
void rbk_reader_free(rbk_reader *r); /* stops it first; NULL is legal */

/* 0 and the question is the reader's, or RBK_E_BUSY: too many wait, or the reader ends. Any
 * thread. */
int rbk_reader_ask(rbk_reader *r, rbk_question *q);

/* What rbk_server_job() asks. RBK_E_BUSY, RBK_E_NOMEM: `fn` is not called. Any thread. */
int rbk_reader_job(rbk_reader *r, rbk_id id, rbk_job_fn fn, void *user);

#endif
