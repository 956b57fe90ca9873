/* SPDX-License-Identifier: Apache-2.0 */
/* How descriptors are shared out: all parts together always fit the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "net/connect.h"
#include "server/files.h"

static rbk_options *options(void)
{
    rbk_options *o = rbk_options_new();
    assert_non_null(o);
    return o;
}

static void test_enough(void **state)
{
    (void)state;
    rbk_options *o = options();
    rbk_files f = {0};
    rbk_error err = {0};
    assert_int_equal(rbk_files_share(1 << 20, 10, o, 4, 2, &f, &err), 0);
    assert_false(f.few);
    assert_int_equal(f.connections, o->max_connections);
    assert_int_equal(f.in_flight, o->in_flight);
    assert_int_equal(f.shed, 4 * RBK_FILES_SHED);
    assert_int_equal(f.dial_sockets, RBK_DIAL_MAX);
    assert_int_equal(rbk_files_share(f.wanted, 10, o, 4, 2, &f, &err), 0);
    assert_false(f.few);
    assert_int_equal(f.dial_sockets, 2); /* addresses race, but not all at one time */
    assert_int_equal(rbk_files_share(f.wanted - 1, 10, o, 4, 2, &f, &err), 0);
    assert_true(f.few);
    rbk_options_free(o);
}

static void test_fits_any_limit(void **state)
{
    (void)state;
    rbk_options *o = options();
    bool started = false;
    for (int64_t limit = 1; limit < 30000; limit++) {
        rbk_files f = {0};
        rbk_error err = {0};
        int r = rbk_files_share(limit, 10, o, 2, 1, &f, &err);
        assert_true(r == 0 || !started); /* more is never too little */
        if (r < 0) {
            assert_int_equal(r, RBK_E_SYS);
            assert_non_null(strstr(err.detail, "RLIMIT_NOFILE"));
            continue;
        }
        started = true;
        assert_true(f.connections >= 4 && f.shed >= 2 && f.in_flight >= RBK_FILES_LEAST);
        assert_true(f.held >= 2 * f.in_flight);
        assert_true(f.dial_sockets >= 2 && f.dial_sockets <= RBK_DIAL_MAX);
        assert_true(10 + RBK_FILES_OTHER + f.connections + f.shed + f.held +
                        (int64_t)f.in_flight * (f.dial_sockets - 1) < limit);
    }
    assert_true(started);
    rbk_options_free(o);
}

/* What one side does not need the other one gets. */
static void test_one_side_is_small(void **state)
{
    (void)state;
    rbk_options *o = options();
    rbk_files f = {0};
    rbk_error err = {0};
    o->in_flight = 16;
    assert_int_equal(rbk_files_share(4096, 10, o, 2, 1, &f, &err), 0);
    assert_int_equal(f.in_flight, 16);
    assert_true(f.few && f.connections + f.shed > 3900);
    o->in_flight = 4096;
    o->max_connections = 20;
    assert_int_equal(rbk_files_share(4096, 10, o, 2, 1, &f, &err), 0);
    assert_int_equal(f.connections, 20);
    assert_true(f.few && f.in_flight > 1200);
    assert_int_equal(f.dial_sockets, 2);
    rbk_options_free(o);
}

static void test_upstreams(void **state)
{
    (void)state;
    rbk_error err = {0};
    bool started = false;
    for (int64_t limit = 100; limit < 60000; limit += 7) {
        rbk_options *o = options();
        rbk_files f = {0};
        assert_int_equal(rbk_options_set(o, RBK_STR("method.\"a.*\".upstream"), RBK_STR("http://h/"),
                                         &err), 0);
        assert_int_equal(rbk_options_set(o, RBK_STR("method.\"b.*\".upstream"), RBK_STR("http://h/"),
                                         &err), 0);
        assert_int_equal(rbk_options_set(o, RBK_STR("method.\"b.*\".upstream_connections"),
                                         RBK_STR("100"), &err), 0);
        int r = rbk_files_share(limit, 10, o, 2, 1, &f, &err);
        assert_true(r == 0 || !started);
        if (r == 0) {
            rbk_files_bound_calls(&f, o);
            int64_t a = o->rules[0].upstream_connections, b = o->rules[1].upstream_connections;
            assert_true(a >= RBK_FILES_LEAST && b >= RBK_FILES_LEAST && a + b <= f.calls);
            assert_true(f.few || (a == 4096 && b == 100));
            assert_true(10 + RBK_FILES_OTHER + f.connections + f.shed + f.held + a + b +
                            (int64_t)f.in_flight * (f.dial_sockets - 1) < limit);
        }
        started = r == 0;
        rbk_options_free(o);
    }
    assert_true(started);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enough),
        cmocka_unit_test(test_fits_any_limit),
        cmocka_unit_test(test_one_side_is_small),
        cmocka_unit_test(test_upstreams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
