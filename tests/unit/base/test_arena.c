/* SPDX-License-Identifier: Apache-2.0 */
/* Allocations that die together: alignment, growth, the maximum. */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void test_blocks_are_apart_and_aligned(void **state)
{
    (void)state;
    rbk_arena a = RBK_ARENA(1 << 20);
    unsigned char *p[200];
    for (size_t i = 0; i < 200; i++) {
        size_t n = 1 + i * 7 % 300;
        p[i] = rbk_arena_alloc(&a, n);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % _Alignof(max_align_t), 0);
        memset(p[i], (int)i, n);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < 1 + i * 7 % 300; k++)
            assert_int_equal(p[i][k], (unsigned char)i);
    rbk_arena_free(&a);
}

static void test_bigger_than_a_chunk(void **state)
{
    (void)state;
    rbk_arena a = RBK_ARENA(1 << 20);
    char *small = rbk_arena_alloc(&a, 8);
    char *big = rbk_arena_alloc(&a, 100000);
    assert_non_null(small);
    assert_non_null(big);
    memset(big, 1, 100000);
    memset(small, 2, 8);
    assert_int_equal(big[99999], 1);
    rbk_arena_free(&a);
}

static void test_maximum(void **state)
{
    (void)state;
    rbk_arena a = RBK_ARENA(8192);
    assert_null(rbk_arena_alloc(&a, 8193));
    size_t got = 0;
    while (rbk_arena_alloc(&a, 64))
        got += 64;
    assert_int_equal(got, 8192);
    assert_int_equal(a.sum, 8192);
    rbk_arena_free(&a);
    assert_int_equal(a.max, 8192);
    assert_non_null(rbk_arena_alloc(&a, 64)); /* empty again */
    rbk_arena_free(&a);
}

static void test_sizes_that_overflow(void **state)
{
    (void)state;
    rbk_arena a = RBK_ARENA(SIZE_MAX);
    for (size_t d = 0; d < 64; d++)
        assert_null(rbk_arena_alloc(&a, SIZE_MAX - d));
    assert_null(rbk_arena_alloc(&a, SIZE_MAX / 2 + 1));
    rbk_arena_free(&a);
}

static void test_zero_and_dup(void **state)
{
    (void)state;
    rbk_arena a = RBK_ARENA(1 << 16);
    char *dirty = rbk_arena_alloc(&a, 512);
    memset(dirty, 0xff, 512);
    rbk_arena_free(&a);
    char *z = rbk_arena_zalloc(&a, 512);
    for (size_t i = 0; i < 512; i++)
        assert_int_equal(z[i], 0);
    rbk_str d = rbk_arena_dup(&a, RBK_STR("ab\0c"));
    assert_int_equal(d.n, 4);
    assert_memory_equal(d.p, "ab\0c", 5);
    d = rbk_arena_dup(&a, RBK_STR_NONE);
    assert_non_null(d.p); /* a copy of nothing is empty, not absent */
    assert_int_equal(d.n, 0);
    rbk_arena_free(&a);
    a.max = 16;
    assert_null(rbk_arena_dup(&a, RBK_STR("too big")).p);
    rbk_arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_apart_and_aligned),
        cmocka_unit_test(test_bigger_than_a_chunk),
        cmocka_unit_test(test_maximum),
        cmocka_unit_test(test_sizes_that_overflow),
        cmocka_unit_test(test_zero_and_dup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
