/* SPDX-License-Identifier: Apache-2.0 */
/* Workers where memory runs out: each allocation of their making, and of their loop, fails in turn.
 * A start says so, a call has some answer, and the next one a good one. */
#include "worker_rig.h"

static _Thread_local int fail_in;   /* 1: the next allocation of this thread fails */
static atomic_int loop_fail_in;     /* the same for the worker's loop */
static _Thread_local int is_loop;   /* 0: not known yet; 1: yes; -1: no */

static bool fails_now(void)
{
    if (fail_in > 0)
        return --fail_in == 0;
    if (atomic_load(&loop_fail_in) <= 0)
        return false;
    if (is_loop == 0) {
        char name[16] = "";
        pthread_getname_np(pthread_self(), name, sizeof name);
        is_loop = strcmp(name, "worker") == 0 ? 1 : -1;
    }
    return is_loop > 0 && atomic_fetch_sub(&loop_fail_in, 1) == 1;
}

#define RBK_FAILS_NOW
#include "../../support/failing_alloc.h"

static void test_starts(void **state)
{
    rig *g = new_rig();
    const rbk_workers_conf conf = {.command = g->program, .workers = 2};
    bool failed = true;
    int n = 0;
    (void)state;
    while (failed) {
        rbk_error err = {0};
        fail_in = ++n;
        int r = rbk_workers_new(&conf, &g->log, &g->w, &err);
        failed = fail_in == 0;
        fail_in = 0;
        if (!failed)
            break;
        assert_int_equal(r, RBK_E_NOMEM);
        assert_int_equal(err.code, r);
        assert_null(g->w);
    }
    assert_true(n > 5);
    start_server(g);
    assert_true(ask_number(g, "pid") > 0);
    end_rig(g);
}

/* A request and an answer that are longer than a pipe, and an error with all that it may have. */
static void test_calls(void **state)
{
    enum { BIG = 100000, MORE = 200 };
    rig *g = start_rig((rbk_workers_conf){.pipelining = 2}, "");
    char *params = calloc(1, BIG + MORE);
    answer a;
    int n = 0, left;
    (void)state;
    sprintf(params, "{\"id\":1,\"method\":\"params\",\"params\":[\"%0*d\"]}", BIG, 0);
    do {
        atomic_store(&loop_fail_in, ++n);
        ask_body(g, params, &a);
        ask(g, "error", NULL, &a);
        left = atomic_exchange(&loop_fail_in, 0);
        assert_non_null(strstr(ask(g, "error", NULL, &a), "\"code\":-7"));
        assert_non_null(strstr(ask_body(g, params, &a), "\"result\":[\"0000"));
    } while (left <= 0 && n < 100);
    assert_true(n > 4 && n < 100);
    free(params);
    end_rig(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
