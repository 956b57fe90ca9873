/* SPDX-License-Identifier: Apache-2.0 */
/* engine/reader.c - see reader.h. A bounded queue and one thread. */
#include "engine/reader.h"

#include "base/error.h"
#include "engine/store_thread.h"

#include <stdlib.h>

enum { WAITING_MAX = 1024 };

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

static void read_it(const rbk_store_ops *ops, rbk_store *st, void *arg)
{
    rbk_question *q = arg;
    q->look(q, ops, st);
}

static void *run_reader(void *arg)
{
    rbk_reader *r = arg;
    pthread_setname_np(pthread_self(), "rbk-reader");
    pthread_mutex_lock(&r->lock);
    for (;;) {
        rbk_question *q = (rbk_question *)(void *)rbk_list_pop(&r->list);
        if (q == NULL) {
            if (r->ending)
                break;
            pthread_cond_wait(&r->wake, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        rbk_store_read(r->e->store, read_it, q);
        q->tell(q); /* without a lock: it may take its time */
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

int rbk_reader_ask(rbk_reader *r, rbk_question *q)
{
    pthread_mutex_lock(&r->lock);
    bool full = r->list.n >= WAITING_MAX || r->ending;
    if (!full)
        rbk_list_push(&r->list, &q->node);
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    return full ? RBK_E_BUSY : 0;
}

void rbk_reader_stop(rbk_reader *r)
{
    pthread_mutex_lock(&r->lock);
    r->ending = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        pthread_join(r->thread, NULL);
    r->started = false;
}

void rbk_reader_free(rbk_reader *r)
{
    if (r == NULL)
        return;
    rbk_reader_stop(r);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    free(r);
}

/* --- One job, for the public side -------------------------------------------------------- */

typedef struct job_question {
    rbk_question q; /* first */
    rbk_id id;
    rbk_job *job; /* what was found */
    rbk_job_fn fn;
    void *user;
} job_question;

static void look_up(rbk_question *q, const rbk_store_ops *ops, rbk_store *st)
{
    job_question *j = (job_question *)(void *)q;
    rbk_error err = {0};
    if (st == NULL || ops->get(st, (int64_t)j->id.seq, (int64_t)j->id.rnd, &j->job, &err) < 0)
        j->job = NULL;
}

static void tell_info(rbk_question *q)
{
    job_question *j = (job_question *)(void *)q;
    const rbk_job *job = j->job;
    char id[RBK_ID_TEXT + 1];
    rbk_id_format(j->id, id);
    if (job)
        j->fn(j->user, &(rbk_job_info){
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
    else
        j->fn(j->user, NULL);
    rbk_job_free(j->job);
    free(j);
}

int rbk_reader_job(rbk_reader *r, rbk_id id, rbk_job_fn fn, void *user)
{
    job_question *j = calloc(1, sizeof *j);
    if (j == NULL)
        return RBK_E_NOMEM;
    *j = (job_question){
        .q = {.look = look_up, .tell = tell_info}, .id = id, .fn = fn, .user = user};
    int e = rbk_reader_ask(r, &j->q);
    if (e < 0)
        free(j);
    return e;
}
