/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/method/worker_rig.h - a server with one method provider behind all its methods, and
 * a log that can be searched. The workers are real processes. */
#ifndef RBK_TEST_WORKER_RIG_H
#define RBK_TEST_WORKER_RIG_H

#include "method/worker.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"

enum { PATIENCE_MS = 30000, LOG_MAX = 1 << 20 };

typedef struct rig {
    rbk_server *s;
    rbk_workers *w;
    rbk_log log;
    pthread_mutex_t lock;
    char *text; /* all log lines, each with its end */
    size_t n;
    char program[512];
} rig;

static inline void on_log(void *user, rbk_level level, const char *line, size_t n)
{
    rig *g = user;
    (void)level;
    pthread_mutex_lock(&g->lock);
    if (g->n + n + 2 < LOG_MAX) {
        memcpy(g->text + g->n, line, n);
        g->n += n;
        g->text[g->n++] = '\n';
        g->text[g->n] = 0;
    }
    pthread_mutex_unlock(&g->lock);
}

/* How many lines have `word`. */
static inline int count_log(rig *g, const char *word)
{
    int n = 0;
    pthread_mutex_lock(&g->lock);
    for (const char *p = g->text; (p = strstr(p, word)) != NULL; p += strlen(word))
        n++;
    pthread_mutex_unlock(&g->lock);
    return n;
}

static inline void wait_log(rig *g, const char *word, int n)
{
    for (int i = 0; i < PATIENCE_MS && count_log(g, word) < n; i++)
        usleep(1000);
    if (count_log(g, word) < n)
        fail_msg("the log has not %d of %s:\n%s", n, word, g->text);
}

static inline rig *new_rig(void)
{
    rig *g = calloc(1, sizeof *g);
    g->text = calloc(1, LOG_MAX);
    pthread_mutex_init(&g->lock, NULL);
    g->log.write = on_log;
    g->log.user = g;
    const char *program = getenv("RBK_WORKER_PLAY");
    snprintf(g->program, sizeof g->program, "%s", program ? program : "");
    return g;
}

static const char *const play_methods[] = {
    "echo", "params", "pid", "env", "error", "garbage", "half", "huge", "big", "wrong_id", "both",
    "twice", "progress", "exit", "answer_and_exit", "crash", "hang", "close", "fork", "noise",
    "say", "files", "signals", "slow", "die_once", "OrderService.processOrder"};

static inline void start_server(rig *g)
{
    g->s = rbk_server_new();
    assert_int_equal(rbk_server_set(g->s, "server.listen", "127.0.0.1:0"), 0);
    assert_int_equal(rbk_server_set(g->s, "store.dsn", "memory:"), 0);
    assert_int_equal(rbk_server_set(g->s, "callback.allow", "127.0.0.0/8"), 0);
    assert_int_equal(rbk_server_set(g->s, "delivery.schedule", "1h"), 0);
    assert_int_equal(rbk_server_set(g->s, "method.threads", "2"), 0);
    assert_int_equal(rbk_server_set(g->s, "server.drain", "1s"), 0);
    for (size_t i = 0; i < sizeof play_methods / sizeof play_methods[0]; i++)
        assert_int_equal(rbk_server_method(g->s, &(rbk_method){.name = play_methods[i],
                                                               .fn = rbk_workers_call,
                                                               .user = g->w}), 0);
    if (rbk_server_start(g->s) < 0)
        fail_msg("%s", rbk_server_error(g->s));
}

/* `conf.command` NULL: the play, with `mode` as its argument. */
static inline rig *start_rig(rbk_workers_conf conf, const char *mode)
{
    rig *g = new_rig();
    char command[600];
    rbk_error err = {0};
    snprintf(command, sizeof command, "%s %s", g->program, mode);
    if (conf.command == NULL)
        conf.command = command;
    conf.name = "play";
    if (rbk_workers_new(&conf, &g->log, &g->w, &err) < 0)
        fail_msg("%s", err.detail);
    start_server(g);
    return g;
}

static inline void end_rig(rig *g)
{
    rbk_server_free(g->s);
    rbk_workers_free(g->w);
    pthread_mutex_destroy(&g->lock);
    free(g->text);
    free(g);
}

/* --- asking --- */

typedef struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    int count, status;
    char body[4096];
} answer;

static inline void on_reply(void *user, const rbk_reply *reply)
{
    answer *a = user;
    pthread_mutex_lock(&a->lock);
    a->status = reply->status;
    snprintf(a->body, sizeof a->body, "%.*s", (int)reply->body.n, reply->body.n ? reply->body.p : "");
    a->count++;
    pthread_cond_signal(&a->come);
    pthread_mutex_unlock(&a->lock);
}

static inline void send_body(rig *g, const char *body, answer *a)
{
    *a = (answer){.lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER};
    assert_int_equal(rbk_server_handle(g->s, &(rbk_request){.body = {body, strlen(body)}}, on_reply, a),
                     0);
}

static inline const char *await(answer *a)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&a->lock);
    while (a->count == 0)
        assert_int_equal(pthread_cond_timedwait(&a->come, &a->lock, &t), 0);
    pthread_mutex_unlock(&a->lock);
    return a->body;
}

static inline const char *ask_body(rig *g, const char *body, answer *a)
{
    send_body(g, body, a);
    return await(a);
}

/* {"id":1,"method":`method`,"params":`params`} */
static inline const char *ask(rig *g, const char *method, const char *params, answer *a)
{
    char body[2048];
    snprintf(body, sizeof body, "{\"id\":1,\"method\":\"%s\"%s%s}", method, params ? ",\"params\":" : "",
             params ? params : "");
    return ask_body(g, body, a);
}

#define INTERNAL "{\"id\":1,\"error\":{\"code\":-32603,\"message\":\"Internal error\"}}"

static inline long ask_number(rig *g, const char *method)
{
    answer a;
    const char *body = ask(g, method, NULL, &a);
    const char *at = strstr(body, "\"result\":");
    if (at == NULL)
        fail_msg("%s: %s", method, body);
    return strtol(at + 9, NULL, 10);
}

/* Is there no such process any more, or only what nobody has reaped? */
static inline bool is_gone(long pid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return true;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    const char *state = strrchr(text, ')');
    return state == NULL || state[2] == 'Z';
}

static inline void wait_gone(long pid)
{
    for (int i = 0; i < PATIENCE_MS && !is_gone(pid); i++)
        usleep(1000);
    assert_true(is_gone(pid));
}

/* --- jobs: nobody takes their callbacks, so what would be sent stays in the store --- */

#define CALLBACK "\"$rpc.callback\":\"https://127.0.0.1:65533/x\""

typedef struct found {
    pthread_mutex_t lock;
    bool done;
    char response[4096];
} found;

static inline void on_job(void *user, const rbk_job_info *info)
{
    found *f = user;
    pthread_mutex_lock(&f->lock);
    if (info && info->response.p)
        snprintf(f->response, sizeof f->response, "%.*s", (int)info->response.n, info->response.p);
    f->done = true;
    pthread_mutex_unlock(&f->lock);
}

/* A job of `method` with that params member or none; its id. */
static inline void start_job(rig *g, const char *method, const char *member, char id[40])
{
    answer a;
    char body[2048];
    snprintf(body, sizeof body, "{\"id\":1,\"method\":\"%s\",\"params\":{%s%s\"$rpc.receipt\":true," CALLBACK "}}",
             method, member ? member : "", member ? "," : "");
    const char *at = strstr(ask_body(g, body, &a), "\"job\":\"");
    if (at == NULL)
        fail_msg("%s", a.body);
    snprintf(id, 40, "%.36s", at + 7);
}

/* What the job's receiver would get. */
static inline void wait_job(rig *g, const char *id, char response[4096])
{
    for (int i = 0; i < PATIENCE_MS / 5; i++) {
        found f = {.lock = PTHREAD_MUTEX_INITIALIZER};
        assert_int_equal(rbk_server_job(g->s, id, on_job, &f), 0);
        for (bool done = false; !done; usleep(1000)) {
            pthread_mutex_lock(&f.lock);
            done = f.done;
            pthread_mutex_unlock(&f.lock);
        }
        if (f.response[0]) {
            memcpy(response, f.response, sizeof f.response);
            return;
        }
        usleep(4000);
    }
    fail_msg("job %s has no answer; the log:\n%s", id, g->text);
}

#endif
