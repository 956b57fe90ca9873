/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/engine/engine_rig.h - what the tests of the engine share: a server on a
 * faulty store, whose transport `https` is played by the test, and methods that keep
 * their calls until the test answers them.
 *
 * The played receiver gives each attempt the status that `far_end.status` says; 0 holds it
 * until receiver_says() gives one. It must stand in the registry before the real one. */
#ifndef RBK_TESTS_ENGINE_RIG_H
#define RBK_TESTS_ENGINE_RIG_H

#include "base/clock.h"
#include "net/loop.h"
#include "ringback.h"
#include "seam/transports.h"

#include "faulty_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

enum { PATIENCE_MS = 60000, KEPT_MAX = 8192, SEEN_MAX = 1024 };

#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        rbk_mono_ms rig_end = rbk_mono_now() + PATIENCE_MS;                                        \
        while (!(condition)) {                                                                     \
            if (rbk_mono_now() > rig_end)                                                          \
                fail_msg("in vain: %s", #condition);                                               \
            usleep(1000);                                                                          \
        }                                                                                          \
    } while (0)

/* What happens within a time is the thing that is looked at, not a way to wait. */
static inline void watch_for(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* --- The far end -------------------------------------------------------------------- */

struct rbk_transport {
    rbk_loop *loop;
    rbk_task task;
    rbk_attempt *head, *tail; /* linked by `priv` */
    bool posted;
};

typedef struct seen {
    char job[40];
    unsigned number;
} seen;

static struct far_end {
    rbk_transport transport; /* one courier has one */
    atomic_int status;
    atomic_int attempts, delivered, in_flight, most_in_flight, closes;
    pthread_mutex_t lock; /* of what follows */
    seen seen[SEEN_MAX];
    char body[512]; /* of the last attempt */
} far_end = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void link_attempt(rbk_transport *t, rbk_attempt *a)
{
    a->priv = NULL;
    if (t->tail)
        t->tail->priv = a;
    else
        t->head = a;
    t->tail = a;
}

static inline void end_attempt(rbk_attempt *a, int err, int status)
{
    far_end.in_flight--;
    far_end.delivered += status / 100 == 2;
    a->done(a, &(rbk_attempt_result){
                   .err = err, .status = status, .complete = err == 0, .detail = "played"});
}

/* Loop thread. */
static inline void answer_all(void *arg)
{
    rbk_transport *t = arg;
    rbk_attempt *a = t->head;
    t->head = t->tail = NULL;
    while (a) {
        rbk_attempt *next = a->priv;
        int status = far_end.status;
        if (status)
            end_attempt(a, 0, status);
        else
            link_attempt(t, a);
        a = next;
    }
}

static inline void on_posted(rbk_task *task)
{
    rbk_transport *t = (rbk_transport *)((char *)task - offsetof(rbk_transport, task));
    t->posted = false;
    answer_all(t);
}

static inline int far_open(const rbk_transport_env *env, rbk_transport **ret, rbk_error *err)
{
    (void)err;
    far_end.transport = (rbk_transport){.loop = env->loop, .task.fn = on_posted};
    *ret = &far_end.transport;
    return 0;
}

static inline void far_close(rbk_transport *t)
{
    rbk_attempt *a = t->head;
    t->head = t->tail = NULL;
    while (a) {
        rbk_attempt *next = a->priv;
        end_attempt(a, RBK_E_CLOSED, 0);
        a = next;
    }
    far_end.closes++;
}

static inline void far_send(rbk_transport *t, rbk_attempt *a)
{
    int n = far_end.attempts++, now = ++far_end.in_flight;
    if (now > far_end.most_in_flight)
        far_end.most_in_flight = now;
    pthread_mutex_lock(&far_end.lock);
    snprintf(far_end.body, sizeof far_end.body, "%.*s", (int)a->body.n, a->body.p);
    if (n < SEEN_MAX) {
        snprintf(far_end.seen[n].job, sizeof far_end.seen[n].job, "%.*s", (int)a->job.n, a->job.p);
        far_end.seen[n].number = a->number;
    }
    pthread_mutex_unlock(&far_end.lock);
    link_attempt(t, a);
    if (!t->posted)
        rbk_loop_post(t->loop, &t->task);
    t->posted = true;
}

static const rbk_transport_ops played_https = {
    .abi = RBK_TRANSPORT_ABI,
    .scheme = "https",
    .open = far_open,
    .close = far_close,
    .send = far_send,
};

/* From now on, and to all attempts that are held. The server runs. */
static inline void receiver_says(int status)
{
    far_end.status = status;
    rbk_loop_call(far_end.transport.loop, answer_all, &far_end.transport);
}

static inline seen receiver_saw(size_t i)
{
    pthread_mutex_lock(&far_end.lock);
    seen s = far_end.seen[i];
    pthread_mutex_unlock(&far_end.lock);
    return s;
}

/* --- Asking ------------------------------------------------------------------------------ */

typedef struct answer {
    atomic_int count, status;
    pthread_mutex_t lock;
    char body[512], job[40];
} answer;

static inline void on_reply(void *user, const rbk_reply *reply)
{
    answer *a = user;
    pthread_mutex_lock(&a->lock);
    snprintf(a->body, sizeof a->body, "%.*s", (int)reply->body.n, reply->body.n ? reply->body.p : "");
    a->job[0] = 0;
    for (size_t i = 0; i < reply->n_headers; i++)
        if (rbk_str_eqz(reply->headers[i].name, "Ringback-Job"))
            snprintf(a->job, sizeof a->job, "%.36s", reply->headers[i].value.p);
    a->status = reply->status;
    pthread_mutex_unlock(&a->lock);
    a->count++;
}

/* The answer comes later. */
static inline void post(rbk_server *s, const char *body, answer *a)
{
    *a = (answer){.lock = PTHREAD_MUTEX_INITIALIZER};
    assert_int_equal(rbk_server_handle(s, &(rbk_request){.body = {body, strlen(body)}}, on_reply, a),
                     0);
}

static inline int ask(rbk_server *s, const char *body, answer *a)
{
    post(s, body, a);
    WAIT_FOR(a->count);
    return a->status;
}

#define CALLBACK "\"$rpc.callback\":\"https://example.com/x\""

/* A job of `method` without params; `more` stands behind the callback. */
static inline void post_job(rbk_server *s, const char *method, const char *more, answer *a)
{
    char body[256];
    snprintf(body, sizeof body, "{\"id\":1,\"method\":\"%s\",\"params\":{" CALLBACK "%s}}", method,
             more);
    post(s, body, a);
}

static inline int ask_job(rbk_server *s, const char *method, const char *more)
{
    answer a;
    post_job(s, method, more, &a);
    WAIT_FOR(a.count);
    return a.status;
}

/* A batch of `n` jobs of `method`, notifications or not; `more` as above. */
static inline int ask_jobs(rbk_server *s, const char *method, int n, bool silent)
{
    answer a;
    char *body = malloc((size_t)n * 128 + 8), *p = body;
    assert_non_null(body);
    for (int i = 0; p && i < n; i++)
        p += sprintf(p, "%c{%s\"method\":\"%s\",\"params\":{" CALLBACK "}}", i ? ',' : '[',
                     silent ? "" : "\"id\":1,", method);
    strcpy(p, "]");
    int status = ask(s, body, &a);
    free(body);
    return status;
}

static inline rbk_stats stats_of(const rbk_server *s)
{
    rbk_stats stats;
    rbk_server_stats(s, &stats);
    return stats;
}

/* --- Methods ---------------------------------------------------------------------------------- */

static atomic_int quick_runs;

static inline void quick(rbk_call *call, void *user)
{
    (void)user;
    quick_runs++;
    rbk_call_result(call, "1", 1);
}

/* Tells how far it is, before its answer and after it. */
static atomic_int tell_got, tell_got_late;

static inline void tell(rbk_call *call, void *user)
{
    (void)user;
    tell_got = rbk_call_progress(call, 1, 3, "one");
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); /* its receiver may hear it */
    rbk_call_result(call, "1", 1);
    tell_got_late = rbk_call_progress(call, 2, 3, NULL);
}

static struct keeper {
    pthread_mutex_t lock;
    rbk_call *calls[KEPT_MAX];
    size_t n, answered;
} keeper = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void keep(rbk_call *call, void *user)
{
    (void)user;
    pthread_mutex_lock(&keeper.lock);
    if (keeper.n < KEPT_MAX)
        keeper.calls[keeper.n++] = rbk_call_ref(call);
    pthread_mutex_unlock(&keeper.lock);
}

static inline size_t n_kept(void)
{
    pthread_mutex_lock(&keeper.lock);
    size_t n = keeper.n;
    pthread_mutex_unlock(&keeper.lock);
    return n;
}

/* Answers the next kept calls, the oldest first; says what the last answer came to. */
static inline int answer_kept(size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n; i++) {
        pthread_mutex_lock(&keeper.lock);
        rbk_call *c = keeper.answered < keeper.n ? keeper.calls[keeper.answered++] : NULL;
        pthread_mutex_unlock(&keeper.lock);
        if (c == NULL)
            break;
        r = rbk_call_result(c, "2", 1);
        rbk_call_unref(c);
    }
    return r;
}

/* --- The server --------------------------------------------------------------------------------- */

static atomic_int log_lines;

static inline void count_line(void *user, rbk_log_level level, const char *line)
{
    (void)user;
    (void)line;
    log_lines += level >= RBK_LOG_WARN;
}

static inline void set(rbk_server *s, const char *key, const char *value)
{
    if (rbk_server_set(s, key, value) < 0)
        fail_msg("%s", rbk_server_error(s));
}

/* A server that is not started, on the disk as it is; methods `quick` and `keep`. */
static inline rbk_server *make_server(void)
{
    static bool once;
    if (!once) {
        assert_int_equal(rbk_stores_add(&faulty_store), 0);
        assert_int_equal(rbk_transports_add(&played_https), 0);
    }
    once = true;
    rbk_server *s = rbk_server_new();
    assert_non_null(s);
    set(s, "server.listen", "127.0.0.1:0");
    set(s, "server.threads", "1");
    set(s, "server.drain", "5s");
    set(s, "store.dsn", "memory:");
    set(s, "callback.resolve", "no"); /* no name server is asked */
    set(s, "method.threads", "4");
    set(s, "delivery.schedule", "10ms,10ms,10ms,10ms");
    rbk_server_log(s, count_line, NULL);
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "quick", .fn = quick}), 0);
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "tell", .fn = tell}), 0);
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "keep", .fn = keep}), 0);
    return s;
}

static inline void start(rbk_server *s)
{
    if (rbk_server_start(s) < 0)
        fail_msg("%s", rbk_server_error(s));
}

/* A running server, which has looked through the store once. */
static inline rbk_server *run_server(void)
{
    rbk_server *s = make_server();
    start(s);
    WAIT_FOR(disk.scans > 0);
    return s;
}

/* Before each test. */
static inline int rig_set_up(void **state)
{
    (void)state;
    disk_wipe();
    keeper.n = keeper.answered = 0;
    quick_runs = log_lines = 0;
    far_end.status = 200;
    far_end.attempts = far_end.delivered = far_end.in_flight = far_end.most_in_flight = 0;
    far_end.closes = 0;
    return 0;
}

/* After each test: its server is freed, no handle is open. */
static inline int rig_tear_down(void **state)
{
    (void)state;
    assert_int_equal(disk.handles, 0);
    answer_kept(KEPT_MAX); /* too late: only the references go */
    disk_wipe();
    return 0;
}

#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

#endif
