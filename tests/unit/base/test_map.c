/* SPDX-License-Identifier: Apache-2.0 */
/* The hash map against a plain table, through growth and removal. */
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

enum { N = 5000 };
static int values[N];

static rbk_str key_of(int i, char buf[32])
{
    return (rbk_str){buf, (size_t)snprintf(buf, 32, "key-%d", i)};
}

static void sum_up(rbk_str key, void *value, void *user)
{
    assert_true(key.n > 4);
    *(long *)user += *(int *)value;
}

static void test_many(void **state)
{
    (void)state;
    rbk_map *m = rbk_map_new();
    char k[32];
    long want = 0, sum = 0;
    for (int i = 0; i < N; i++) {
        values[i] = i;
        assert_int_equal(rbk_map_put(m, key_of(i, k), &values[i], NULL), 0);
    }
    assert_int_equal(rbk_map_size(m), N);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(rbk_map_get(m, key_of(i, k)), &values[i]);
    for (int i = 0; i < N; i += 3)
        assert_ptr_equal(rbk_map_remove(m, key_of(i, k)), &values[i]);
    for (int i = 0; i < N; i++) {
        assert_ptr_equal(rbk_map_get(m, key_of(i, k)), i % 3 ? &values[i] : NULL);
        want += i % 3 ? i : 0;
    }
    assert_null(rbk_map_remove(m, key_of(0, k)));
    rbk_map_each(m, sum_up, &sum);
    assert_int_equal(sum, want);
    rbk_map_free(m);
}

static void test_replace_and_key_copy(void **state)
{
    (void)state;
    rbk_map *m = rbk_map_new();
    char k[8] = "k";
    rbk_str own;
    assert_int_equal(rbk_map_put(m, rbk_str_z(k), &values[1], &own), 0);
    k[0] = 'x'; /* the map has its own */
    assert_true(rbk_str_eqz(own, "k"));
    assert_int_equal(own.p[own.n], 0);
    assert_int_equal(rbk_map_put(m, RBK_STR("k"), &values[2], NULL), 0);
    assert_int_equal(rbk_map_size(m), 1);
    assert_ptr_equal(rbk_map_get(m, RBK_STR("k")), &values[2]);
    rbk_map_free(m);
}

static void test_odd_keys(void **state)
{
    (void)state;
    rbk_map *m = rbk_map_new();
    assert_int_equal(rbk_map_put(m, RBK_STR(""), &values[0], NULL), 0);
    assert_int_equal(rbk_map_put(m, RBK_STR("\0"), &values[1], NULL), 0);
    assert_int_equal(rbk_map_put(m, RBK_STR("\0\0"), &values[2], NULL), 0);
    assert_ptr_equal(rbk_map_get(m, RBK_STR("")), &values[0]);
    assert_ptr_equal(rbk_map_get(m, RBK_STR("\0")), &values[1]);
    assert_ptr_equal(rbk_map_get(m, RBK_STR("\0\0")), &values[2]);
    assert_null(rbk_map_get(m, RBK_STR("\0\0\0")));
    rbk_map_free(m);
    rbk_map_free(NULL);
}

static void test_hash(void **state)
{
    (void)state;
    char buf[40] = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (size_t n = 1; n < 36; n++) {
        uint64_t h = rbk_hash((rbk_str){buf, n});
        assert_true(h == rbk_hash((rbk_str){buf, n}));
        assert_true(h != rbk_hash((rbk_str){buf, n - 1}));
        buf[n - 1] ^= 1; /* each byte counts */
        assert_true(h != rbk_hash((rbk_str){buf, n}));
        buf[n - 1] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_replace_and_key_copy),
        cmocka_unit_test(test_odd_keys),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
