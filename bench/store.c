/* SPDX-License-Identifier: Apache-2.0 */
/* bench/store.c - how many lives of a job a store takes: put, result, done, each shared
 * by a commit of many jobs, on one thread. Bodies: 400 bytes of request, 300 of response.
 * With KEPT, delivered jobs are kept, so many of them: what is more is swept after each
 * life, as a server in balance would.
 *
 *   store-bench DSN [JOBS_PER_COMMIT [SECONDS [BACKLOG [KEPT]]]] */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/str.h"
#include "store/stores.h"

enum { BATCH_MAX = 4096, QUEUED = 1, DUE = 3, DELIVERED = 5 };

static rbk_job jobs[BATCH_MAX];
static rbk_store_op ops[BATCH_MAX];
static char request[300], response[300];
static bool keep;

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void commit(const rbk_store_ops *store, rbk_store *st, rbk_op_kind kind, size_t n,
                   rbk_shelf shelf)
{
    rbk_error err;
    for (size_t i = 0; i < n; i++) {
        uint8_t from = kind == RBK_OP_PUT ? 0 : kind == RBK_OP_RESULT ? QUEUED : DUE;
        jobs[i].state = kind == RBK_OP_PUT ? QUEUED : kind == RBK_OP_DONE ? DELIVERED : DUE;
        jobs[i].response = kind == RBK_OP_RESULT ? (rbk_str){response, sizeof response}
                                                 : RBK_STR_NONE;
        jobs[i].lane = kind == RBK_OP_RESULT ? RBK_STR("send:https://example.com:443")
                                             : RBK_STR("run:OrderService.processOrder");
        ops[i] = (rbk_store_op){.kind = kind, .from = from, .shelf = shelf, .keep = keep,
                                .now = jobs[i].seq, .job = &jobs[i]};
    }
    if (store->apply(st, ops, n, &err) < 0) {
        fprintf(stderr, "apply: %s\n", err.detail);
        exit(1);
    }
    for (size_t i = 0; i < n; i++)
        if (ops[i].outcome != RBK_OUTCOME_OK) {
            fprintf(stderr, "outcome %d of kind %d\n", (int)ops[i].outcome, (int)kind);
            exit(1);
        }
    if (store->idle)
        store->idle(st);
}

/* What ended more than `kept` jobs ago: `now` is a seq. */
static void sweep(const rbk_store_ops *store, rbk_store *st, int64_t now, int64_t kept)
{
    rbk_error err;
    rbk_store_keep k = {.done_ms = kept, .dead_ms = INT64_MAX, .done_bytes = INT64_MAX};
    int n;
    while ((n = store->sweep(st, &k, now, 500, &err)) == 500)
        ;
    if (n < 0) {
        fprintf(stderr, "sweep: %s\n", err.detail);
        exit(1);
    }
}

static void make_jobs(int64_t first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        jobs[i] = (rbk_job){.seq = first + (int64_t)i,
                            .rnd = first * 7919,
                            .created = first,
                            .due = first,
                            .method = RBK_STR("OrderService.processOrder"),
                            .rpc_id = RBK_STR("\"example_order\""),
                            .params = {request, sizeof request},
                            .callback = RBK_STR("https://example.com/order/callback")};
}

int main(int argc, char **argv)
{
    size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 256;
    double seconds = argc > 3 ? strtod(argv[3], NULL) : 2;
    size_t backlog = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    int64_t kept = argc > 5 ? strtol(argv[5], NULL, 10) : 0;
    keep = kept > 0;
    if (argc < 2 || n == 0 || n > BATCH_MAX) {
        fprintf(stderr, "usage: store-bench DSN [JOBS_PER_COMMIT [SECONDS [BACKLOG [KEPT]]]]\n");
        return 2;
    }
    const rbk_store_ops *store =
        strncmp(argv[1], "memory:", 7) == 0 ? &rbk_store_memory : &rbk_store_sqlite;
    rbk_store_conf conf = {.dsn = argv[1]};
    rbk_store *st = NULL;
    rbk_store_stats stats;
    rbk_error err;
    if (store->open(&conf, &st, &err) < 0 || store->stats(st, &stats, &err) < 0) {
        fprintf(stderr, "open: %s\n", err.detail);
        return 1;
    }
    memset(request, 'r', sizeof request);
    memset(response, 's', sizeof response);
    int64_t seq = stats.max_seq + 1;
    for (size_t i = 0; i < backlog; i += n, seq += (int64_t)n) {
        make_jobs(seq, n);
        commit(store, st, RBK_OP_PUT, n, RBK_SHELF_WAIT);
    }
    uint64_t begin = rbk_mono_us(), end = begin + (uint64_t)(seconds * 1e6), now = begin;
    double cpu = cpu_seconds();
    size_t done = 0;
    for (; now < end; done += n, seq += (int64_t)n, now = rbk_mono_us()) {
        make_jobs(seq, n);
        commit(store, st, RBK_OP_PUT, n, RBK_SHELF_JOB);
        commit(store, st, RBK_OP_RESULT, n, RBK_SHELF_JOB);
        commit(store, st, RBK_OP_DONE, n, RBK_SHELF_JOB);
        if (keep)
            sweep(store, st, seq + (int64_t)n, kept);
    }
    double took = (double)(now - begin) / 1e6;
    printf("%zu jobs a commit: %.0f jobs/s, %.1f us of CPU a job\n", n, (double)done / took,
           (cpu_seconds() - cpu) * 1e6 / (double)done);
    store->close(st);
    return 0;
}
