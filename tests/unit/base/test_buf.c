/* SPDX-License-Identifier: Apache-2.0 */
/* The growing buffer: its maximum, its sticky error, JSON strings. */
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void assert_text(const rbk_buf *b, const char *want)
{
    assert_int_equal(rbk_buf_err(b), 0);
    assert_int_equal(b->n, strlen(want));
    assert_memory_equal(b->p, want, b->n);
}

static void test_append(void **state)
{
    (void)state;
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_buf_lit(&b, "a");
    rbk_buf_z(&b, "bc");
    rbk_buf_str(&b, RBK_STR("de"));
    rbk_buf_c(&b, 'f');
    rbk_buf_str(&b, RBK_STR_NONE);
    rbk_buf_addf(&b, "%d-%s", -7, "x");
    assert_text(&b, "abcdef-7-x");
    rbk_buf_free(&b);
    assert_int_equal(b.max, 1 << 20);
}

static void test_u64(void **state)
{
    (void)state;
    rbk_buf b = RBK_BUF(100);
    rbk_buf_add_u64(&b, 0);
    rbk_buf_c(&b, ' ');
    rbk_buf_add_u64(&b, UINT64_MAX);
    assert_text(&b, "0 18446744073709551615");
    rbk_buf_free(&b);
}

static void test_maximum_is_exact(void **state)
{
    (void)state;
    rbk_buf b = RBK_BUF(1000);
    for (int i = 0; i < 1000; i++)
        rbk_buf_c(&b, 'x');
    assert_int_equal(rbk_buf_err(&b), 0);
    rbk_buf_c(&b, 'y');
    assert_int_equal(rbk_buf_err(&b), RBK_E_TOO_LARGE);
    assert_int_equal(b.n, 1000);
    rbk_buf_clear(&b);
    rbk_buf_lit(&b, "again");
    assert_text(&b, "again");
    rbk_buf_free(&b);
}

static void test_error_sticks(void **state)
{
    (void)state;
    rbk_buf b = RBK_BUF(4);
    rbk_buf_lit(&b, "12345");
    rbk_buf_lit(&b, "1"); /* would fit, but text with a hole is worse than none */
    rbk_buf_addf(&b, "%d", 1);
    rbk_buf_add_u64(&b, 1);
    assert_int_equal(b.n, 0);
    assert_int_equal(rbk_buf_err(&b), RBK_E_TOO_LARGE);
    assert_int_equal(rbk_buf_reserve(&b, 1), RBK_E_TOO_LARGE);
    rbk_buf_free(&b);
    assert_int_equal(rbk_buf_reserve(&b, SIZE_MAX), RBK_E_TOO_LARGE);
    rbk_buf_free(&b);
}

static void test_long_format(void **state)
{
    (void)state;
    char big[700];
    memset(big, 'q', sizeof big - 1);
    big[sizeof big - 1] = 0;
    rbk_buf b = RBK_BUF(sizeof big); /* "x" and 699: no room for a NUL */
    rbk_buf_addf(&b, "x%s", big);
    assert_int_equal(rbk_buf_err(&b), 0);
    assert_int_equal(b.n, sizeof big);
    assert_int_equal(b.p[0], 'x');
    assert_memory_equal(b.p + 1, big, sizeof big - 1);
    rbk_buf_addf(&b, "%s", big);
    assert_int_equal(rbk_buf_err(&b), RBK_E_TOO_LARGE);
    rbk_buf_free(&b);
}

static void test_json_string(void **state)
{
    (void)state;
    rbk_buf b = RBK_BUF(1000);
    rbk_buf_json_str(&b, RBK_STR("a\"b\\c\n\r\t\b\f\x01\x1f\0/ \xc3\xa9\x7f"));
    assert_text(&b, "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u001f\\u0000/ \xc3\xa9\x7f\"");
    rbk_buf_clear(&b);
    rbk_buf_json_str(&b, RBK_STR_NONE);
    assert_text(&b, "\"\"");
    rbk_buf_free(&b);
}

static void test_double(void **state)
{
    static const struct {
        double v;
        const char *text;
    } rows[] = {
        {0, "0"}, {-0.0, "-0"}, {1, "1"}, {0.1, "0.1"}, {99.99, "99.99"}, {1e21, "1e+21"},
        {1.0 / 3, "0.3333333333333333"}, {5e-324, "4.94065645841247e-324"}, {9007199254740993.0, "9007199254740992"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_buf b = RBK_BUF(100);
        rbk_buf_add_double(&b, rows[i].v);
        assert_text(&b, rows[i].text);
        rbk_buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),           cmocka_unit_test(test_u64),
        cmocka_unit_test(test_maximum_is_exact), cmocka_unit_test(test_error_sticks),
        cmocka_unit_test(test_long_format),      cmocka_unit_test(test_json_string),
        cmocka_unit_test(test_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
