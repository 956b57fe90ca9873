/* SPDX-License-Identifier: Apache-2.0 */
/* Job ids: the text form, the order, what is no id. Text helpers and wall time too. */
#include "base/clock.h"
#include "base/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void test_text_form(void **state)
{
    (void)state;
    /* RFC 9562, appendix A.6 */
    rbk_id id;
    assert_int_equal(rbk_id_parse(RBK_STR("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), &id), 0);
    assert_true(id.seq == (UINT64_C(0x017F22E279B0) << 12 | 0xCC3));
    assert_true(id.rnd == UINT64_C(0x18C4DC0C0C07398F));
    char text[RBK_ID_TEXT + 1];
    rbk_id_format(id, text);
    assert_string_equal(text, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
}

static void test_no_ids(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398ff",
        "017f22e2-79b0-4cc3-98c4-dc0c0c07398f", /* version 4 */
        "017f22e2-79b0-7cc3-c8c4-dc0c0c07398f", /* variant */
        "017f22e2-79b0-7cc3-08c4-dc0c0c07398f",
        "017f22e2+79b0-7cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
        "{17f22e2-79b0-7cc3-98c4-dc0c0c07398}",
        "017f22e2-79b0-7cc398-c4-dc0c0c07398f",
    };
    rbk_id id;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rbk_id_parse(rbk_str_z(bad[i]), &id), RBK_E_INVAL);
}

static void test_order_and_round_trip(void **state)
{
    (void)state;
    rbk_id_gen g;
    rbk_id_gen_init(&g, 0);
    uint64_t last = 0;
    rbk_wall_ms now = 1700000000000;
    for (int i = 0; i < 20000; i++) { /* the clock stands, jumps back, goes on */
        rbk_id id = rbk_id_next(&g, i < 10000 ? now : i < 15000 ? now - 86400000 : now + i), back;
        assert_true(id.seq > last);
        last = id.seq;
        char text[RBK_ID_TEXT + 1];
        rbk_id_format(id, text);
        assert_int_equal(rbk_id_parse(rbk_str_z(text), &back), 0);
        assert_true(back.seq == id.seq && back.rnd == id.rnd);
    }
    assert_true(last >> 12 == (uint64_t)now + 19999);
}

static void test_resumes_behind_the_store(void **state)
{
    (void)state;
    rbk_id_gen g;
    uint64_t stored = (UINT64_C(1900000000000) << 12) + 4095;
    rbk_id_gen_init(&g, stored);
    assert_true(rbk_id_next(&g, 1700000000000).seq == stored + 1);
    assert_true(rbk_id_next(&g, -5).seq == stored + 2);
}

static void test_str_u64(void **state)
{
    (void)state;
    uint64_t v = 0;
    assert_int_equal(rbk_str_u64(RBK_STR("18446744073709551615"), UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(rbk_str_u64(RBK_STR("007"), 7, &v), 0);
    assert_true(v == 7);
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "1.0", "18446744073709551616", "99999999999999999999", "8x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rbk_str_u64(rbk_str_z(bad[i]), UINT64_MAX, &v), RBK_E_INVAL);
    assert_int_equal(rbk_str_u64(RBK_STR("8"), 7, &v), RBK_E_INVAL);
}

static void test_wall_format(void **state)
{
    (void)state;
    char t[25];
    rbk_wall_format(0, t);
    assert_string_equal(t, "1970-01-01T00:00:00.000Z");
    rbk_wall_format(INT64_C(1795467845678), t);
    assert_string_equal(t, "2026-11-23T21:04:05.678Z");
    rbk_wall_format(-1, t);
    assert_string_equal(t, "1969-12-31T23:59:59.999Z");
    rbk_wall_format(INT64_MAX, t);
    assert_string_equal(t, "-");
    rbk_mono_ms a = rbk_mono_now(), b = rbk_mono_now();
    assert_true(b >= a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_form),
        cmocka_unit_test(test_no_ids),
        cmocka_unit_test(test_order_and_round_trip),
        cmocka_unit_test(test_resumes_behind_the_store),
        cmocka_unit_test(test_str_u64),
        cmocka_unit_test(test_wall_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
