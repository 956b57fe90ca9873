/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/engine/admin_rig.h - asking an engine as an operator does, and waiting for the
 * answer. */
#ifndef RBK_TESTS_ADMIN_RIG_H
#define RBK_TESTS_ADMIN_RIG_H

#include "core/job_state.h"
#include "engine/admin.h"
#include "server/server_internal.h"

#include "engine_rig.h"

/* --- Changes ----------------------------------------------------------------------------- */

typedef struct change_answer {
    atomic_int count;
    rbk_changed got;
} change_answer;

static inline void on_changed(void *user, const rbk_changed *changed)
{
    change_answer *a = user;
    a->got = *changed;
    a->count++;
}

/* The answer comes later. */
static inline void begin_change(rbk_server *s, rbk_change change, change_answer *a)
{
    rbk_error err = {0};
    *a = (change_answer){0};
    assert_int_equal(rbk_engine_change(rbk_server_engine(s), &change, on_changed, a, &err), 0);
}

static inline rbk_changed change_all(rbk_server *s, rbk_change change)
{
    change_answer a;
    begin_change(s, change, &a);
    WAIT_FOR(a.count);
    return a.got;
}

/* 0 when the one job was changed, or why not. */
static inline int change_one(rbk_server *s, rbk_change_kind kind, const char *id)
{
    rbk_changed got = change_all(s, (rbk_change){.kind = kind, .id = rbk_str_z(id)});
    assert_int_equal(got.changed, got.err == 0);
    return got.err;
}

/* --- Jobs --------------------------------------------------------------------------------- */

typedef struct look {
    atomic_int count;
    bool found;
    rbk_job_state state;
    uint32_t attempts;
    size_t n_notes;
    rbk_attempt_note notes[RBK_ATTEMPTS_KEPT];
    char response[256], callback[128], reason[64];
} look;

static inline void on_look(void *user, const rbk_job *job, const rbk_attempt_note *notes, size_t n)
{
    look *l = user;
    l->found = job != NULL;
    if (job) {
        l->state = (rbk_job_state)job->state;
        l->attempts = job->attempts;
        snprintf(l->response, sizeof l->response, "%.*s", (int)job->response.n,
                 job->response.n ? job->response.p : "");
        snprintf(l->callback, sizeof l->callback, "%.*s", (int)job->callback.n, job->callback.p);
        snprintf(l->reason, sizeof l->reason, "%.*s", (int)job->reason.n,
                 job->reason.n ? job->reason.p : "");
    }
    l->n_notes = n;
    for (size_t i = 0; i < n; i++)
        l->notes[i] = notes[i];
    l->count++;
}

static inline look look_at(rbk_server *s, const char *id)
{
    look l = {0};
    assert_int_equal(rbk_engine_get(rbk_server_engine(s), rbk_str_z(id), on_look, &l), 0);
    WAIT_FOR(l.count);
    return l;
}

static inline rbk_job_state state_of(rbk_server *s, const char *id)
{
    look l = look_at(s, id);
    return l.found ? l.state : 0;
}

/* A job that is acknowledged; its id into `id`. */
static inline void make_job(rbk_server *s, const char *method, const char *more, char id[40])
{
    answer a;
    post_job(s, method, more, &a);
    WAIT_FOR(a.count);
    assert_int_equal(a.status, 200);
    assert_int_equal(strlen(a.job), 36);
    strcpy(id, a.job);
}

/* --- Receivers ------------------------------------------------------------------------------- */

#define RECEIVER "https://example.com:443"

static inline void hold_receiver(rbk_server *s, bool hold)
{
    change_answer a = {0};
    assert_int_equal(rbk_engine_hold_receiver(rbk_server_engine(s), RBK_STR(RECEIVER), hold,
                                              on_changed, &a), 0);
    WAIT_FOR(a.count);
    assert_int_equal(a.got.err, 0);
}

typedef struct receivers_answer {
    atomic_int count;
    size_t n;
    rbk_receiver_info first;
} receivers_answer;

static inline void on_receivers(void *user, const rbk_receiver_info *list, size_t n)
{
    receivers_answer *a = user;
    a->n = n;
    if (n)
        a->first = list[0];
    a->count++;
}

static inline receivers_answer receivers_of(rbk_server *s, const char *after)
{
    receivers_answer a = {0};
    assert_int_equal(rbk_engine_receivers(rbk_server_engine(s), rbk_str_z(after), 10, on_receivers,
                                          &a), 0);
    WAIT_FOR(a.count);
    return a;
}

static inline rbk_metrics metrics_of(rbk_server *s)
{
    rbk_metrics m;
    rbk_engine_metrics(rbk_server_engine(s), &m);
    return m;
}

#endif
