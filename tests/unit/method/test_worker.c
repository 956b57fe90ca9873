/* SPDX-License-Identifier: Apache-2.0 */
/* Workers that behave: calls, jobs, several processes, limits, and how they end. */
#include "worker_rig.h"

static void test_one_call(void **state)
{
    rig *g = start_rig((rbk_workers_conf){0}, "");
    answer a;
    (void)state;
    assert_string_equal(ask(g, "params", "{\"a\" : [1.50,\n\t\"x \\\" y\"] }", &a),
                        "{\"id\":1,\"result\":{\"a\":[1.50,\"x \\\" y\"]}}");
    assert_string_equal(ask(g, "params", NULL, &a), "{\"id\":1,\"result\":null}");
    assert_string_equal(ask(g, "error", NULL, &a),
                        "{\"id\":1,\"error\":{\"code\":-7,\"message\":\"no \xc3\xa4pfel\",\"data\":[1.0]}}");
    assert_string_equal(ask(g, "progress", NULL, &a), "{\"id\":1,\"result\":\"done\"}");
    end_rig(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
