/* SPDX-License-Identifier: Apache-2.0 */
/* The server's own addresses: a listener on any address is one on each of the machine's. */
#include <ifaddrs.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/own.h"

static rbk_netpolicy *policy_of(const char *listen)
{
    rbk_own own = {0};
    rbk_error err = {0};
    rbk_netpolicy *p = NULL;
    const rbk_netpolicy_conf conf = {.schemes = RBK_STR("https"), .allow = RBK_STR("0.0.0.0/0,::/0")};
    assert_int_equal(rbk_own_add_text(&own, RBK_STR("127.0.0.9:9999"), &err), 0);
    assert_int_equal(rbk_own_add_text(&own, rbk_str_z(listen), &err), 0);
    assert_int_equal(rbk_netpolicy_new(&conf, own.list, own.n, &p, &err), 0);
    rbk_own_free(&own);
    return p;
}

static void test_every_address_of_the_machine(void **state)
{
    (void)state;
    static const char *const any[] = {":7600", "0.0.0.0:7600", "[::]:7600"};
    struct ifaddrs *all = NULL;
    assert_int_equal(getifaddrs(&all), 0);
    for (size_t k = 0; k < 3; k++) {
        rbk_netpolicy *p = policy_of(any[k]);
        size_t seen = 0;
        for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
            if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET)
                continue;
            struct sockaddr_in in;
            memcpy(&in, i->ifa_addr, sizeof in);
            const uint8_t *addr = (const uint8_t *)&in.sin_addr;
            assert_false(rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, addr, 7600));
            assert_true(rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, addr, 7601));
            seen++;
        }
        assert_true(seen > 0);
        const uint8_t first[4] = {127, 0, 0, 9}, other[4] = {192, 0, 2, 1};
        assert_false(rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, first, 9999));
        assert_true(rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, other, 7600));
        rbk_netpolicy_unref(p);
    }
    freeifaddrs(all);
}

static void test_one_address(void **state)
{
    (void)state;
    const uint8_t listens[4] = {192, 0, 2, 7}, not[4] = {192, 0, 2, 8};
    rbk_netpolicy *p = policy_of("192.0.2.7:7600");
    assert_false(rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, listens, 7600));
    assert_true(rbk_netpolicy_addr_ok(p, RBK_HOST_IPV4, not, 7600));
    rbk_netpolicy *other = rbk_netpolicy_ref(p);
    rbk_netpolicy_unref(p);
    assert_true(rbk_netpolicy_addr_ok(other, RBK_HOST_IPV4, not, 7600));
    rbk_netpolicy_unref(other);
}

static void test_bounds(void **state)
{
    (void)state;
    rbk_own own = {0};
    rbk_own_listener l = {.kind = RBK_HOST_IPV4, .addr = {127, 0, 0, 1}};
    for (int i = 0; i < RBK_OWN_MAX; i++)
        assert_int_equal(rbk_own_add(&own, &l, NULL), 0);
    assert_int_equal(rbk_own_add(&own, &l, NULL), RBK_E_CONFIG);
    assert_int_equal(own.n, RBK_OWN_MAX);
    rbk_own_free(&own);
    assert_int_equal(rbk_own_add_text(&own, RBK_STR("localhost:1"), NULL), 0);
    assert_int_equal(rbk_own_add_text(&own, RBK_STR("127.0.0.1"), NULL), 0);
    assert_int_equal(own.n, 0);
    rbk_own_free(&own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_address_of_the_machine),
        cmocka_unit_test(test_one_address),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
