/* SPDX-License-Identifier: Apache-2.0 */
/* The workers of examples/workers answer the order example, and what is wrong with a call. */
#include "worker_rig.h"

static void expect_orders(const char *program, const char *file)
{
    char command[600];
    answer a;
    char id[40], response[4096], params[] = "\"orderId\":\"12345\"";
    snprintf(command, sizeof command, "%s \"%s/%s\"", program, getenv("RBK_EXAMPLES"), file);
    rig *g = start_rig((rbk_workers_conf){.command = command, .workers = 2}, "");
    for (int i = 0; i < 4; i++) {
        const char *body = ask(g, "OrderService.processOrder", "{\"orderId\":\"12345\"}", &a);
        assert_non_null(strstr(body, "\"result\":{"));
        assert_non_null(strstr(body, "\"12345\""));
        assert_non_null(strstr(body, "99.99"));
        assert_non_null(strstr(body, "\"Your order has been processed successfully.\"}"));
    }
    assert_string_equal(ask(g, "OrderService.processOrder", "[1]", &a),
                        "{\"id\":1,\"error\":{\"code\":-32602,\"message\":\"orderId must be a string\"}}");
    assert_string_equal(ask(g, "echo", NULL, &a),
                        "{\"id\":1,\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}");
    start_job(g, "OrderService.processOrder", params, id);
    wait_job(g, id, response);
    assert_non_null(strstr(response, "completed"));
    assert_int_equal(count_log(g, "worker.started"), 2);
    rbk_workers_stop(g->w, 10000);
    if (count_log(g, "status=0 signal=0") != 2) /* they go by themselves at the end of their input */
        fail_msg("%s", g->text);
    assert_int_equal(count_log(g, "level=warn"), 0);
    end_rig(g);
}

static void test_python(void **state)
{
    (void)state;
    expect_orders("python3", "orders.py");
}

static void test_node(void **state)
{
    (void)state;
    expect_orders("node", "orders.mjs");
}

static void test_shell(void **state)
{
    (void)state;
    expect_orders("sh", "orders.sh");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_python),
        cmocka_unit_test(test_node),
        cmocka_unit_test(test_shell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
