/* SPDX-License-Identifier: Apache-2.0 */
/* contract/store_kit.h - what the store tests share: a folder of their own, an open
 * store, jobs and operations in one line. One thread unless said otherwise. */
#ifndef RBK_TEST_STORE_KIT_H
#define RBK_TEST_STORE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "core/job_state.h"
#include "store/stores.h"

enum { QUEUED = RBK_JOB_QUEUED, DUE = RBK_JOB_DUE, KIT_CALLERS = 16 };

typedef struct kit {
    const rbk_store_ops *ops;
    rbk_store *st;
    rbk_error err;
    char dir[64];
    char dsn[160];
    int warnings;
    char released[400]; /* lanes, "a b " */
    struct kit_count {
        char name[300];
        int64_t jobs, bytes;
    } counts[KIT_CALLERS]; /* of callers, as they were told last */
    int n_counts, told;
} kit;

static inline void count_warning(void *user, const char *line)
{
    assert_true(strlen(line) > 0);
    ((kit *)user)->warnings++;
}

static inline void note_released(void *user, rbk_str lane)
{
    kit *k = user;
    size_t n = strlen(k->released);
    snprintf(k->released + n, sizeof k->released - n, "%.*s ", (int)lane.n, lane.p);
}

/* The place of a caller; the name ends where a copy of it would. */
static inline struct kit_count *kit_count_of(kit *k, rbk_str caller)
{
    int i = 0;
    while (i < k->n_counts && !rbk_str_eqz(caller, k->counts[i].name))
        i++;
    if (i == k->n_counts) {
        assert_true(i < KIT_CALLERS && caller.n > 0 && caller.n < sizeof k->counts[i].name);
        snprintf(k->counts[i].name, sizeof k->counts[i].name, "%.*s", (int)caller.n, caller.p);
        k->n_counts++;
    }
    return &k->counts[i];
}

static inline void note_counted(void *user, rbk_str caller, int64_t jobs, int64_t bytes)
{
    kit *k = user;
    struct kit_count *c = kit_count_of(k, caller);
    assert_true(jobs >= 0 && bytes >= 0);
    c->jobs = jobs;
    c->bytes = bytes;
    k->told++;
}

static inline int kit_open(kit *k, rbk_store **ret)
{
    rbk_store_conf conf = {.dsn = k->dsn, .warn = count_warning,
                           .released = note_released, .counted = note_counted, .user = k};
    return k->ops->open(&conf, ret, &k->err);
}

static inline void kit_make_dir_in(kit *k, const char *root)
{
    snprintf(k->dir, sizeof k->dir, "%s/rbk-store-XXXXXX", root);
    assert_non_null(mkdtemp(k->dir));
}

static inline void kit_make_dir(kit *k)
{
    kit_make_dir_in(k, "/tmp");
}

static inline void kit_empty_dir(const kit *k)
{
    char path[400];
    DIR *d = opendir(k->dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", k->dir, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (d)
        closedir(d);
}

static inline void kit_remove_dir(const kit *k)
{
    kit_empty_dir(k);
    rmdir(k->dir);
}

static inline rbk_job make_job(int64_t seq)
{
    return (rbk_job){.seq = seq,
                     .rnd = seq + 1000000,
                     .state = QUEUED,
                     .flags = RBK_JOB_VERSIONED,
                     .timeout_ms = 5000,
                     .created = 100,
                     .due = 100,
                     .lane = RBK_STR("run:pool"),
                     .method = RBK_STR("Order.run"),
                     .rpc_id = RBK_STR("\"a\""),
                     .params = RBK_STR("{\"n\":1.10}"),
                     .callback = RBK_STR("https://example.com/cb"),
                     .caller = RBK_STR("shop"),
                     .ray_id = RBK_STR("r-1"),
                     .headers = RBK_STR("traceparent: 00-1\r\n"),
                     .deadline = 9000 + seq,
                     .failure_callback = RBK_STR("https://example.com/failed"),
                     .idem_key = RBK_STR("once"),
                     .order_key = RBK_STR("customer-7"),
                     .method_headers = RBK_STR("X-Tenant: 1\r\n")};
}

/* One operation in a transaction of its own. */
static inline rbk_op_outcome do_one(kit *k, rbk_store_op *op)
{
    int r = k->ops->apply(k->st, op, 1, &k->err);
    if (r < 0)
        fail_msg("apply: %d %s", r, k->err.detail);
    return op->outcome;
}

static inline rbk_op_outcome do_op(kit *k, rbk_op_kind kind, uint8_t from, rbk_shelf shelf,
                                   rbk_job *job)
{
    rbk_store_op op = {.kind = kind, .from = from, .shelf = shelf, .job = job};
    return do_one(k, &op);
}

static inline rbk_job *get_job(kit *k, const rbk_job *job)
{
    rbk_job *got = NULL;
    int r = k->ops->get(k->st, job->seq, job->rnd, &got, &k->err);
    return r == 0 ? got : NULL;
}

static inline int free_jobs(rbk_job *job)
{
    int n = 0;
    while (job) {
        rbk_job *next = job->next;
        rbk_job_free(job);
        job = next;
        n++;
    }
    return n;
}

static inline bool same_str(rbk_str a, rbk_str b)
{
    return (a.p == NULL) == (b.p == NULL) && rbk_str_eq(a, b);
}

static inline bool same_job(const rbk_job *a, const rbk_job *b)
{
    return a->seq == b->seq && a->rnd == b->rnd && a->state == b->state && a->flags == b->flags &&
           a->runs == b->runs && a->attempts == b->attempts && a->last_status == b->last_status &&
           a->timeout_ms == b->timeout_ms && a->created == b->created && a->due == b->due &&
           a->first_attempt == b->first_attempt && same_str(a->lane, b->lane) &&
           same_str(a->method, b->method) && same_str(a->rpc_id, b->rpc_id) &&
           same_str(a->params, b->params) && same_str(a->callback, b->callback) &&
           same_str(a->caller, b->caller) && same_str(a->ray_id, b->ray_id) &&
           same_str(a->headers, b->headers) && same_str(a->response, b->response) &&
           same_str(a->reason, b->reason) && a->deadline == b->deadline &&
           same_str(a->failure_callback, b->failure_callback) &&
           same_str(a->idem_key, b->idem_key) && same_str(a->order_key, b->order_key) &&
           same_str(a->method_headers, b->method_headers) && same_str(a->chain, b->chain);
}

/* What stats count of a job. */
static inline int64_t bytes_of(const rbk_job *a)
{
    return (int64_t)(a->method.n + a->rpc_id.n + a->params.n + a->callback.n + a->caller.n +
                     a->ray_id.n + a->headers.n + a->failure_callback.n + a->idem_key.n +
                     a->order_key.n + a->method_headers.n + a->chain.n + a->response.n);
}

static inline void expect_stored(kit *k, const rbk_job *want)
{
    rbk_job *got = get_job(k, want);
    assert_non_null(got);
    assert_true(same_job(got, want));
    rbk_job_free(got);
}

/* On which shelf does the job stand? -1: none. Asked by what the seam shows: recover()
 * gives the job shelf, and the states of the dead and done ones are final. */
static inline int shelf_of(kit *k, const rbk_job *job)
{
    rbk_job *got = get_job(k, job), *jobs = NULL;
    if (got == NULL)
        return -1;
    int ended = got->state == RBK_JOB_DEAD                       ? RBK_SHELF_DEAD
                : rbk_job_is_terminal((rbk_job_state)got->state) ? RBK_SHELF_DONE
                                                                 : -1;
    rbk_job_free(got);
    if (ended >= 0)
        return ended;
    int n = k->ops->recover(k->st, job->seq - 1, 1, &jobs, &k->err);
    bool found = n == 1 && jobs->seq == job->seq;
    free_jobs(n > 0 ? jobs : NULL);
    return found ? RBK_SHELF_JOB : RBK_SHELF_WAIT;
}

/* All jobs in state `state` (0: any) behind `after`; as list(). */
static inline int list_jobs(kit *k, uint8_t state, int64_t after, size_t max, rbk_job **ret_jobs)
{
    rbk_job_filter filter = {.states = state ? 1u << state : 0};
    int64_t next = -1;
    return k->ops->list(k->st, &filter, after, max, ret_jobs, &next, &k->err);
}

static inline rbk_store_stats get_stats(kit *k)
{
    rbk_store_stats s = {0};
    assert_int_equal(k->ops->stats(k->st, &s, &k->err), 0);
    return s;
}

/* --- A suite over every backend ----------------------------------------------------------- */

static const rbk_store_ops *kit_backend; /* the one that is tested */

static inline int kit_set_up(void **state)
{
    const rbk_store_ops *ops = kit_backend;
    kit *k = calloc(1, sizeof *k);
    assert_non_null(k);
    k->ops = ops;
    kit_make_dir(k);
    if (strcmp(ops->scheme, "memory") == 0)
        snprintf(k->dsn, sizeof k->dsn, "memory:");
    else
        snprintf(k->dsn, sizeof k->dsn, "%s:%s/s.db", ops->scheme, k->dir);
    assert_int_equal(kit_open(k, &k->st), 0);
    *state = k;
    return 0;
}

static inline int kit_tear_down(void **state)
{
    kit *k = *state;
    k->ops->close(k->st);
    kit_remove_dir(k);
    free(k);
    return 0;
}

/* A job on this shelf; QUEUED, or as its end has it. */
static inline rbk_job put_on(kit *k, int64_t seq, int shelf)
{
    rbk_job a = make_job(seq);
    do_op(k, RBK_OP_PUT, 0, shelf == RBK_SHELF_WAIT ? RBK_SHELF_WAIT : RBK_SHELF_JOB, &a);
    if (shelf == RBK_SHELF_DEAD) {
        assert_int_equal(do_op(k, RBK_OP_DEAD, QUEUED, 0, &a), RBK_OUTCOME_OK);
        a.state = RBK_JOB_DEAD;
    }
    if (shelf == RBK_SHELF_DONE) {
        a.state = RBK_JOB_DELIVERED;
        rbk_store_op op = {.kind = RBK_OP_DONE, .from = QUEUED, .keep = true, .job = &a};
        assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    }
    assert_int_equal(shelf_of(k, &a), shelf);
    return a;
}

/* Exactly these; frees them. */
static inline void expect_seqs(rbk_job *jobs, int n, const int64_t *seqs, int want)
{
    assert_int_equal(n, want);
    rbk_job *job = jobs;
    for (int i = 0; i < n; i++, job = job->next)
        assert_int_equal(job->seq, seqs[i]);
    free_jobs(jobs);
}

#define KIT_MAIN(name, cases)                                                                      \
    int main(void)                                                                                 \
    {                                                                                              \
        static const rbk_store_ops *const backends[] = {&rbk_store_memory, &rbk_store_sqlite};     \
        const struct CMUnitTest tests[] = {cases};                                                 \
        int failed = 0;                                                                            \
        for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {                        \
            kit_backend = backends[i];                                                             \
            printf("over %s\n", kit_backend->scheme);                                             \
            failed += cmocka_run_group_tests_name(name, tests, NULL, NULL);                        \
        }                                                                                          \
        return failed;                                                                             \
    }

#endif
