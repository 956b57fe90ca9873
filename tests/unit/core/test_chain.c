/* SPDX-License-Identifier: Apache-2.0 */
/* What a stored job knows of its batch, and what becomes of one that has waited. */
#include "core/chain.h"
#include "core/job_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static void test_text(void **state)
{
    (void)state;
    rbk_buf b = RBK_BUF(4096);
    rbk_chain_add_feed(&b, &(rbk_feed){.to = 2, .part = 7});
    rbk_chain_add_feed(&b, &(rbk_feed){.to = 9, .part = 0});
    rbk_chain_add_needs(&b, 3, 1048576);
    rbk_str chain = rbk_buf_view(&b), at = chain;
    size_t max = 0;
    assert_int_equal(rbk_chain_needs(chain, &max), 3);
    assert_int_equal(max, 1048576);
    assert_null(rbk_chain_fault(chain).p);
    rbk_chain_resolve(chain, (const int64_t[]){0, 0, INT64_C(0x123456789abcdef)}, 3);
    rbk_feed f;
    assert_true(rbk_chain_next_feed(&at, &f));
    assert_true(f.to == INT64_C(0x123456789abcdef));
    assert_int_equal(f.part, 7);
    assert_true(rbk_chain_next_feed(&at, &f));
    assert_true(f.to == 0);
    assert_false(rbk_chain_next_feed(&at, &f));
    at = RBK_STR_NONE;
    assert_false(rbk_chain_next_feed(&at, &f));
    assert_int_equal(rbk_chain_needs(RBK_STR_NONE, &max), 0);
    rbk_buf_free(&b);
}

static int give(void *user, uint32_t part, rbk_str *ret)
{
    const char *const *parts = user;
    *ret = rbk_str_z(parts[part]);
    return parts[part] ? 0 : RBK_E_NOMEM;
}

static const char feed_line[] = "f 0000000000000005 1\n";

static void test_compose(void **state)
{
    (void)state;
    const char *parts[] = {"{\"id\":1,\"result\":7}"};
    rbk_job held = {.params = RBK_STR("[\"@FROM:a\"]"),
                    .chain = RBK_STR("f 0000000000000005 1\nn 1 100\n")};
    rbk_composed c;
    assert_int_equal(rbk_chain_compose(&held, give, (void *)(uintptr_t)parts, &c), 0);
    assert_int_equal(c.state, RBK_JOB_QUEUED);
    assert_true(rbk_str_eqz(rbk_buf_view(&c.text), "[7]"));
    assert_true(rbk_str_eqz(rbk_buf_view(&c.chain), "f 0000000000000005 1\nc 1\n"));
    assert_true(rbk_chain_is_composed(rbk_buf_view(&c.chain)));
    assert_false(rbk_chain_is_composed(held.chain));
    rbk_composed_free(&c);
    held.params = RBK_STR("[\"@FROM:a(b)\"]");
    assert_int_equal(rbk_chain_compose(&held, give, (void *)(uintptr_t)parts, &c), 0);
    assert_int_equal(c.text.n, 0);
    assert_true(rbk_str_eqz(rbk_chain_fault(rbk_buf_view(&c.chain)),
                            "{\"0\":\"the result of the member a has no such part\"}"));
    assert_true(rbk_str_starts(rbk_buf_view(&c.chain), rbk_str_z(feed_line)));
    rbk_composed_free(&c);
    held.params = RBK_STR("{\"k\":\"@FROM:a\",\"l\":\"@FROM:b\"}");
    assert_int_equal(rbk_chain_fail(&held, 1, &c), 0);
    assert_int_equal(c.state, RBK_JOB_QUEUED);
    assert_true(rbk_str_eqz(rbk_chain_fault(rbk_buf_view(&c.chain)), "{\"l\":\"the member b has no result\"}"));
    rbk_composed_free(&c);
    const char *none[] = {NULL};
    assert_int_equal(rbk_chain_compose(&held, give, (void *)(uintptr_t)none, &c), RBK_E_NOMEM);
}

static void test_batch(void **state)
{
    (void)state;
    const char *parts[] = {"{\"id\":1,\"result\":7}", NULL, NULL,
                           "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":\"0123456789\"}"};
    rbk_job held = {.flags = RBK_JOB_BATCH,
                    .params = RBK_STR("[null,false,{\"id\":2,\"error\":{}},null]"),
                    .chain = RBK_STR("n 2 200\n")};
    rbk_composed c;
    assert_int_equal(rbk_chain_compose(&held, give, (void *)(uintptr_t)parts, &c), 0);
    assert_int_equal(c.state, RBK_JOB_DUE);
    assert_true(rbk_str_eqz(rbk_buf_view(&c.text),
                            "[{\"id\":1,\"result\":7},{\"id\":2,\"error\":{}},"
                            "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":\"0123456789\"}]"));
    assert_int_equal(c.chain.n, 0);
    rbk_composed_free(&c);
    held.chain = RBK_STR("n 2 60\n");
    assert_int_equal(rbk_chain_compose(&held, give, (void *)(uintptr_t)parts, &c), 0);
    assert_true(rbk_str_eqz(rbk_buf_view(&c.text),
                            "[{\"id\":1,\"result\":7},{\"id\":2,\"error\":{}},"
                            "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"error\":{\"code\":-32008,"
                            "\"message\":\"Result too large\"}}]"));
    rbk_composed_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_text), cmocka_unit_test(test_compose),
                                       cmocka_unit_test(test_batch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
