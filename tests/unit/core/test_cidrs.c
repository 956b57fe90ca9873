/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of address blocks: text, membership, and what is refused. (The callback policy's tests ask
 * the same of `callback.allow` and `callback.deny`.) */
#include "core/cidrs.h"

#include "base/error.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static bool has(const rbk_cidrs *l, const char *text)
{
    uint8_t addr[16];
    rbk_host_kind kind = strchr(text, ':') ? RBK_HOST_IPV6 : RBK_HOST_IPV4;
    assert_int_equal(inet_pton(kind == RBK_HOST_IPV6 ? AF_INET6 : AF_INET, text, addr), 1);
    return rbk_cidrs_have(l->v, l->n, kind, addr);
}

static void test_have(void **state)
{
    (void)state;
    rbk_cidrs l;
    rbk_error err;
    assert_int_equal(rbk_cidrs_read("k", RBK_STR("127.0.0.0/8, ::1,10.1.2.3, 2001:db8:8000::/33"), &l,
                                    &err), 0);
    assert_int_equal(l.n, 4);
    assert_true(has(&l, "127.255.0.1") && has(&l, "::1") && has(&l, "10.1.2.3"));
    assert_true(has(&l, "2001:db8:8000::") && has(&l, "2001:db8:ffff::1"));
    assert_false(has(&l, "128.0.0.1") || has(&l, "::2") || has(&l, "10.1.2.4"));
    assert_false(has(&l, "2001:db8:7fff::"));
    rbk_cidrs_free(&l);
    assert_int_equal(rbk_cidrs_read("k", RBK_STR_NONE, &l, &err), 0);
    assert_true(l.n == 0 && !has(&l, "127.0.0.1"));
    rbk_cidrs_free(&l);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0.1/8", "x", "::/129", "::ffff:1.2.3.4",
                                      "10.0.0.0/", "10.0.0/8"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rbk_cidrs l;
        rbk_error err;
        assert_int_equal(rbk_cidrs_read("the.key", rbk_str_z(bad[i]), &l, &err), RBK_E_CONFIG);
        assert_non_null(strstr(err.detail, "the.key"));
        assert_non_null(strstr(err.detail, bad[i]));
        rbk_cidrs_free(&l);
    }
}

static void test_unmap(void **state)
{
    (void)state;
    uint8_t mapped[16] = {[10] = 0xff, 0xff, 1, 2, 3, 4}, other[16] = {[9] = 0xff, 0xff, 0xff};
    const uint8_t *p = mapped;
    rbk_host_kind kind = RBK_HOST_IPV6;
    assert_true(rbk_addr_unmap(&kind, &p));
    assert_true(kind == RBK_HOST_IPV4 && p == mapped + 12);
    assert_false(rbk_addr_unmap(&kind, &p));
    kind = RBK_HOST_IPV6;
    p = other;
    assert_false(rbk_addr_unmap(&kind, &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_have),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_unmap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
