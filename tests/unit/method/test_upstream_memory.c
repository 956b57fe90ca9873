/* SPDX-License-Identifier: Apache-2.0 */
/* Upstreams when memory is out, at each allocation in turn: making one fails cleanly, and a call is
 * answered all the same, by the upstream or by an error. */
#include "upstream_rig.h"

#include "method/upstream_impl.h"

#include "../../support/failing_alloc.h"

static void test_making(void **state)
{
    rbk_upstream_conf conf = {.url = "https://localhost:1/", .name_servers = "127.0.0.1:1"};
    rbk_upstream *u = NULL;
    int failures = 0;
    (void)state;
    for (int n = 1; u == NULL && n < 200; n++) {
        rbk_error err = {0};
        fail_in = n;
        int r = rbk_upstream_new(&conf, &told_log, &u, &err);
        fail_in = 0;
        failures += r < 0;
        assert_int_equal(r < 0, u == NULL);
        assert_int_equal(r < 0 ? r : 0, err.code);
    }
    assert_true(u != NULL && failures > 5);
    rbk_upstream_free(u);
}

static void do_fail(void *arg)
{
    fail_in = *(int *)arg;
}

static void do_stop(void *arg)
{
    *(int *)arg = fail_in;
    fail_in = 0;
}

static void test_calls(void **state)
{
    rig g;
    answer a;
    int good = 0, left = 0;
    (void)state;
    /* each call on a connection of its own, the next one on the same */
    rig_start(&g, PLAY("!" HTTP_OK("19", "{\"id\":7,\"result\":1}")), NULL);
    for (int n = 1; left == 0 && n < 200; n++) {
        left = n;
        rbk_loop_call(g.u->loop, do_fail, &left);
        up(&g, CALL, &a);
        good += strcmp(a.body, "{\"id\":7,\"result\":1}") == 0;
        /* -32009: the answer is there, and no memory to put it together */
        if (strcmp(a.body, "{\"id\":7,\"result\":1}") != 0 && strcmp(a.body, INTERNAL) != 0 &&
            strstr(a.body, "{\"id\":7,\"error\":{\"code\":-32009") != a.body)
            fail_msg("allocation %d: %s", n, a.body);
        rbk_loop_call(g.u->loop, do_stop, &left);
    }
    assert_true(left > 0);
    assert_true(good > 5); /* what was not sent yet was sent later */
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {RIG_TEST(test_making), RIG_TEST(test_calls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
