/* SPDX-License-Identifier: Apache-2.0 */
/* tests/perf/store_stage.c - a fixed number of lives of a job in a store, on one thread, for
 * instructions and system calls to be counted: put, result and delivered, each of BATCH jobs
 * in one commit; delivered jobs are kept.
 *
 *   store_stage DSN BATCH ROUNDS */
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "store/stores.h"

enum { BATCH_MAX = 1024, QUEUED = 1, DUE = 3, DELIVERED = 5 };

static rbk_job jobs[BATCH_MAX];
static rbk_store_op ops[BATCH_MAX];
static char params[300], response[300];

static void make_jobs(int64_t first, size_t n)
{
    for (size_t i = 0; i < n; i++)
        jobs[i] = (rbk_job){.seq = first + (int64_t)i,
                            .rnd = first * 7919,
                            .created = first,
                            .due = first,
                            .state = QUEUED,
                            .method = RBK_STR("OrderService.processOrder"),
                            .rpc_id = RBK_STR("\"example_order\""),
                            .callback = RBK_STR("https://example.com/order/callback"),
                            .lane = RBK_STR("run:OrderService.processOrder"),
                            .params = {params, sizeof params}};
}

static void commit(const rbk_store_ops *store, rbk_store *st, rbk_op_kind kind, size_t n)
{
    rbk_error err;
    for (size_t i = 0; i < n; i++) {
        uint8_t from = kind == RBK_OP_PUT ? 0 : kind == RBK_OP_RESULT ? QUEUED : DUE;
        jobs[i].state = kind == RBK_OP_PUT ? QUEUED : kind == RBK_OP_DONE ? DELIVERED : DUE;
        if (kind == RBK_OP_RESULT) {
            jobs[i].response = (rbk_str){response, sizeof response};
            jobs[i].lane = RBK_STR("send:https://example.com:443");
        }
        ops[i] = (rbk_store_op){
            .kind = kind, .from = from, .keep = true, .now = jobs[i].seq, .job = &jobs[i]};
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

int main(int argc, char **argv)
{
    rbk_store *st = NULL;
    rbk_error err;
    if (argc != 4)
        return 2;
    size_t n = (size_t)atoi(argv[2]), rounds = (size_t)atoi(argv[3]);
    rbk_store_conf conf = {.dsn = argv[1]};
    memset(params, 'p', sizeof params);
    memset(response, 'r', sizeof response);
    if (n == 0 || n > BATCH_MAX || rbk_store_sqlite.open(&conf, &st, &err) < 0) {
        fprintf(stderr, "open: %s\n", n ? err.detail : "a batch of 1 to 1024");
        return 1;
    }
    for (size_t i = 0; i < rounds; i++) {
        make_jobs(1 + (int64_t)(i * n), n);
        commit(&rbk_store_sqlite, st, RBK_OP_PUT, n);
        commit(&rbk_store_sqlite, st, RBK_OP_RESULT, n);
        commit(&rbk_store_sqlite, st, RBK_OP_DONE, n);
    }
    rbk_store_sqlite.close(st);
    return 0;
}
