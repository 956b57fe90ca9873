/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for whom in a batch. */
#include "core/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static rbk_rpc_doc *doc;
static rbk_plan *plan;

static void make(const char *body)
{
    const rbk_rpc_limits limits = {.max_batch = 1000, .max_timeout_ms = 1000};
    rbk_plan_free(plan);
    rbk_rpc_free(doc);
    assert_int_equal(rbk_rpc_parse(rbk_str_z(body), &limits, &doc), 0);
    assert_int_equal(rbk_plan_new(doc, &plan), 0);
    assert_int_equal(plan->n, doc->n);
}

static void assert_fault(size_t i, const char *want)
{
    rbk_str got = plan->members[i].fault;
    if (want == NULL)
        assert_null(got.p);
    else if (!rbk_str_eqz(got, want))
        fail_msg("got %.*s, want %s", RBK_FMT(got), want);
}

static void test_order(void **state)
{
    (void)state;
    make("[{\"id\":\"c\",\"method\":\"m\",\"params\":[\"@FROM:b\",\"@FROM:1(x)\",\"@FROM:b(y)\"]},"
         "{\"id\":\"b\",\"method\":\"m\",\"params\":{\"k\":\"@FROM:1\"}},"
         "{\"id\":1,\"method\":\"m\"}]");
    assert_true(plan->any);
    assert_int_equal(plan->members[0].n_parents, 2);
    assert_int_equal(plan->members[0].parents[0], 1);
    assert_int_equal(plan->members[0].parents[1], 2);
    assert_int_equal(plan->members[0].n_children, 0);
    assert_int_equal(plan->members[1].n_children, 1);
    assert_int_equal(plan->members[1].children[0], 0);
    assert_int_equal(plan->members[2].n_children, 2);
    assert_int_equal(plan->members[2].children[0], 0);
    assert_int_equal(plan->members[2].children[1], 1);
    rbk_buf b = RBK_BUF(1000);
    rbk_plan_blame(doc, plan, 0, 2, &b);
    assert_true(rbk_str_eqz(rbk_buf_view(&b), "{\"1\":\"the member 1 has no result\"}"));
    rbk_buf_free(&b);
}

static void test_none(void **state)
{
    (void)state;
    make("[{\"id\":1,\"method\":\"m\"},{\"id\":2,\"method\":\"m\",\"params\":{\"a\":\"FROM:1\"}}]");
    assert_false(plan->any);
}

static void test_faults(void **state)
{
    (void)state;
    make("[{\"id\":1,\"method\":\"m\",\"params\":{\"a\":\"@FROM:9\"}},"
         "{\"id\":2,\"method\":\"m\",\"params\":{\"a\":\"@FROM:2(x)\"}},"
         "{\"id\":\"3\",\"method\":\"m\"},{\"id\":3,\"method\":\"m\",\"params\":[\"@FROM:3\"]},"
         "{\"id\":null,\"method\":\"m\",\"params\":[\"@FROM:1\"]},"
         "{\"method\":\"n\",\"params\":[\"@FROM:null\"]},7]");
    assert_fault(0, "{\"a\":\"no member of the batch has the id 9\"}");
    assert_fault(1, "{\"a\":\"the member 2 names itself\"}");
    assert_fault(2, NULL);
    assert_fault(3, "{\"0\":\"more than one member of the batch has the id 3\"}");
    assert_fault(4, NULL); /* its parent's fault is not its own */
    assert_int_equal(plan->members[4].n_parents, 1);
    assert_fault(5, "{\"0\":\"no member of the batch has the id null\"}");
    assert_fault(6, NULL);
}

static void test_cycles(void **state)
{
    (void)state;
    make("[{\"id\":\"a\",\"method\":\"m\",\"params\":[\"@FROM:b\"]},"
         "{\"id\":\"b\",\"method\":\"m\",\"params\":[\"@FROM:d\",\"@FROM:c\"]},"
         "{\"id\":\"c\",\"method\":\"m\",\"params\":[\"@FROM:a\"]},"
         "{\"id\":\"d\",\"method\":\"m\"},"
         "{\"id\":\"e\",\"method\":\"m\",\"params\":[\"@FROM:c\"]}]");
    assert_fault(0, "{\"0\":\"the member b waits for this one: a cycle\"}");
    assert_fault(1, "{\"1\":\"the member c waits for this one: a cycle\"}");
    assert_fault(2, "{\"0\":\"the member a waits for this one: a cycle\"}");
    assert_fault(3, NULL);
    assert_fault(4, NULL);
    assert_int_equal(plan->members[3].n_children, 0);
    assert_int_equal(plan->members[2].n_children, 1);
}

/* `n` members that name the one before, or all the first. */
static void make_many(size_t n, bool fan)
{
    size_t room = n * 60 + 10, at = 0;
    char *text = malloc(room);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, room - at,
                               "%c{\"id\":%zu,\"method\":\"m\",\"params\":[\"%s%zu\"]}",
                               i ? ',' : '[', i, i ? "@FROM:" : "", fan || !i ? 0 : i - 1);
    snprintf(text + at, room - at, "]");
    make(text);
    free(text);
}

static void test_many(void **state)
{
    (void)state;
    make_many(1000, false);
    for (size_t i = 0; i < 1000; i++)
        assert_fault(i, NULL);
    make_many(300, true);
    assert_int_equal(plan->members[0].n_children, 256);
    assert_fault(256, NULL);
    assert_fault(257, "{\"0\":\"more than 256 members name the member 0\"}");
}

static int teardown(void **state)
{
    (void)state;
    rbk_plan_free(plan);
    rbk_rpc_free(doc);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),  cmocka_unit_test(test_none), cmocka_unit_test(test_faults),
        cmocka_unit_test(test_cycles), cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
