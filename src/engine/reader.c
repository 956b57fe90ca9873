/* SPDX-License-Identifier: Apache-2.0 */
/* engine/reader.c - see reader.h. A bounded queue and one thread. */
#include "engine/reader.h"

#include "base/error.h"
#include "engine/store_thread.h"

#include <stdlib.h>

enum { WAITING_MAX = 1024 };

typedef struct question {
    rbk_node node; /* first */
    rbk_id id;
    rbk_job *job; /* what was found */
    rbk_job_fn fn;
    void *user;
} question;

struct rbk_reader {
    rbk_engine *e;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    rbk_list list;
    bool started, ending;
};

int rbk_reader_new(rbk_engine *e, rbk_reader **ret, rbk_error *err)
{
    rbk_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "reader");
    r->e = e;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    *ret = r;
    return 0;
}

static void look_up(const rbk_store_ops *ops, rbk_store *st, void *arg)
{
    question *q = arg;
    rbk_error err = {0};
    if (st == NULL || ops->get(st, (int64_t)q->id.seq, (int64_t)q->id.rnd, &q->job, &err) < 0)
        q->job = NULL;
}

/* The embedder's function runs without a lock: it may take its time. */
static void tell(question *q)
{
    const rbk_job *job = q->job;
    if (job == NULL) {
        q->fn(q->user, NULL);
        return;
    }
    char id[RBK_ID_TEXT + 1];
    rbk_id_format(q->id, id);
    q->fn(q->user, &(rbk_job_info){
                       .id = id,
                       .state = rbk_job_state_name((rbk_job_state)job->state),
                       .runs = job->runs,
                       .attempts = job->attempts,
                       .last_status = job->last_status,
                       .created = job->created,
                       .due = job->due,
                       .method = job->method,
                       .callback = job->callback,
                       .response = job->response,
                       .reason = job->reason,
                   });
    rbk_job_free(q->job);
}

static void *run_reader(void *arg)
{
    rbk_reader *r = arg;
    pthread_setname_np(pthread_self(), "rbk-reader");
    pthread_mutex_lock(&r->lock);
    for (;;) {
        question *q = (question *)(void *)rbk_list_pop(&r->list);
        if (q == NULL) {
            if (r->ending)
                break;
            pthread_cond_wait(&r->wake, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        rbk_store_read(r->e->store, look_up, q);
        tell(q);
        free(q);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

int rbk_reader_start(rbk_reader *r, rbk_error *err)
{
    if (pthread_create(&r->thread, NULL, run_reader, r) != 0)
        return rbk_fail(err, RBK_E_SYS, "cannot start the reader thread");
    r->started = true;
    return 0;
}

int rbk_reader_job(rbk_reader *r, rbk_id id, rbk_job_fn fn, void *user)
{
    question *q = calloc(1, sizeof *q);
    if (q == NULL)
        return RBK_E_NOMEM;
    *q = (question){.id = id, .fn = fn, .user = user};
    pthread_mutex_lock(&r->lock);
    bool full = r->list.n >= WAITING_MAX || r->ending;
    if (!full)
        rbk_list_push(&r->list, &q->node);
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    if (full)
        free(q);
    return full ? RBK_E_BUSY : 0;
}

void rbk_reader_free(rbk_reader *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->ending = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        pthread_join(r->thread, NULL);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    free(r);
}
