/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of name servers: an SOA record is found where it stands, and nothing is read past
 * the end, wherever that is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/dns_reply.h"

/* a.test, type A; CNAME b.test in the answer; SOA of "test" among the authorities. */
static const unsigned char denied[] = {
    0, 1, 0x81, 0x83, 0, 1, 0, 1, 0, 2, 0, 0,
    1, 'a', 4, 't', 'e', 's', 't', 0, 0, 1, 0, 1,
    0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, 'b', 0xc0, 14,
    0xc0, 14, 0, 2, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 14,
    4, 't', 'e', 's', 't', 0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0,
    0, 0, 0, 1, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 60,
};

/* In memory of exactly that size, so that a step too far is seen. */
static bool has_soa(const unsigned char *p, size_t n)
{
    unsigned char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    bool found = rbk_dns_has_soa(copy, n);
    free(copy);
    return found;
}

static void test_found(void **state)
{
    (void)state;
    unsigned char p[sizeof denied];
    assert_true(has_soa(denied, sizeof denied));
    memcpy(p, denied, sizeof p);
    p[9] = 1; /* it stands behind the authorities */
    assert_false(has_soa(p, sizeof p));
    memcpy(p, denied, sizeof p);
    p[7] = 3, p[9] = 0; /* it is an answer */
    assert_false(has_soa(p, sizeof p));
    assert_false(rbk_dns_has_soa(NULL, 0));
}

static void test_cut(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof denied; n++)
        assert_false(has_soa(denied, n));
}

/* Every byte wrong in turn, and counts that promise more than there is. */
static void test_damaged(void **state)
{
    (void)state;
    unsigned char p[sizeof denied];
    for (size_t i = 0; i < sizeof p; i++)
        for (unsigned v = 0; v < 256; v++) {
            memcpy(p, denied, sizeof p);
            p[i] = (unsigned char)v;
            (void)has_soa(p, sizeof p);
        }
    memset(p, 0xff, sizeof p);
    assert_false(has_soa(p, sizeof p));
    memset(p, 0, sizeof p);
    memset(p + 4, 0xff, 8);
    assert_false(has_soa(p, sizeof p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
