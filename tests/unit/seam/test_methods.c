/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of methods: which rule a name belongs to, and what changes while it is used. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/buf.h"
#include "seam/methods.h"

static void run_a(rbk_call *call, void *user)
{
    (void)call;
    (void)user;
}

static rbk_methods *make(void)
{
    rbk_methods *m = rbk_methods_new();
    assert_non_null(m);
    return m;
}

static int add(rbk_methods *m, const char *name)
{
    return rbk_methods_add(m, &(rbk_method){.name = name, .fn = run_a}, NULL, NULL);
}

static const char *pool_of(rbk_methods *m, const char *name)
{
    const rbk_method_entry *e = rbk_methods_find(m, rbk_str_z(name));
    return e ? e->name.p : "-";
}

/* Which of the handlers made by use() runs it: its number, -1 for a function, -2 for none. */
static int runs(rbk_methods *m, const char *name)
{
    rbk_handler *h = rbk_methods_handler(m, rbk_str_z(name));
    int n = h == NULL ? -2 : h->user ? (int)((char *)h->user - (char *)m) : -1;
    rbk_handler_unref(h);
    return n;
}

/* The rule i has the provider number i, unless its pattern begins with `=`. */
static int use(rbk_methods *m, const char *const *patterns, size_t n)
{
    rbk_method_setup rules[16] = {{0}};
    size_t at = 99;
    for (size_t i = 0; i < n; i++) {
        bool plain = patterns[i][0] == '=';
        rules[i].pattern = patterns[i] + plain;
        rules[i].provider = plain ? NULL : rbk_handler_new(run_a, (char *)m + i);
        rules[i].set.timeout_ms = 1000 + (int64_t)i;
    }
    int r = rbk_methods_use(m, rules, n, &at);
    for (size_t i = 0; i < n; i++)
        rbk_handler_unref(rules[i].provider);
    return r;
}

static int64_t timeout_of(rbk_methods *m, const char *name)
{
    const rbk_method_entry *e = rbk_methods_find(m, rbk_str_z(name));
    assert_non_null(e);
    return atomic_load(&e->timeout_ms);
}

static void test_names(void **state)
{
    rbk_methods *m = make();
    char longest[RBK_METHOD_NAME_MAX + 2];
    (void)state;
    memset(longest, 'x', sizeof longest);
    longest[RBK_METHOD_NAME_MAX + 1] = 0;
    assert_int_equal(add(m, "a"), 0);
    assert_int_equal(add(m, "a"), RBK_E_STATE);
    assert_int_equal(add(m, ""), RBK_E_INVAL);
    assert_int_equal(add(m, "rpc.x"), RBK_E_INVAL);
    assert_int_equal(add(m, longest), RBK_E_INVAL);
    longest[RBK_METHOD_NAME_MAX] = 0;
    assert_int_equal(add(m, longest), 0);
    assert_string_equal(pool_of(m, "a"), "a");
    assert_string_equal(pool_of(m, "b"), "-");
    assert_string_equal(rbk_methods_find(m, RBK_STR("a"))->lane.p, "run:a");
    rbk_methods_free(m);
}

/* Exact name, then longest literal prefix, then order. */
static void test_order(void **state)
{
    static const char *const rules[] = {"*", "Order.*", "Order.s*w", "Order.s*", "Order.slow", "*.x"};
    rbk_methods *m = make();
    (void)state;
    assert_int_equal(use(m, rules, 6), 0);
    assert_int_equal(runs(m, "Order.slow"), 4);
    assert_int_equal(runs(m, "Order.snow"), 2);
    assert_int_equal(runs(m, "Order.sn"), 3);
    assert_int_equal(runs(m, "Order.x"), 1);
    assert_int_equal(runs(m, "Bill.x"), 0);
    assert_int_equal(runs(m, "rpc.x"), -2);
    assert_int_equal(runs(m, "rpc"), 0);
    assert_string_equal(pool_of(m, "Order.y"), "Order.*");
    rbk_methods_free(m);
}

/* A rule of settings alone has a pool of its own, and the provider of the next one that fits. */
static void test_settings_alone(void **state)
{
    static const char *const rules[] = {"Order.*", "=Order.slow", "=Order.s*", "=Bill.*"};
    rbk_methods *m = make();
    (void)state;
    assert_int_equal(use(m, rules, 4), 0);
    assert_int_equal(runs(m, "Order.slow"), 0);
    assert_string_equal(pool_of(m, "Order.slow"), "Order.slow");
    assert_int_equal(timeout_of(m, "Order.slow"), 1001);
    assert_int_equal(runs(m, "Order.sx"), 0);
    assert_string_equal(pool_of(m, "Order.sx"), "Order.s*");
    assert_string_equal(pool_of(m, "Bill.x"), "-");
    assert_int_equal(runs(m, "Bill.x"), -2);
    rbk_methods_free(m);
}

static void test_functions_and_rules(void **state)
{
    static const char *const wide[] = {"=Order.*", "*"}, *const exact[] = {"=Order.a", "Order.b"};
    static const char *const both[] = {"Order.a"};
    rbk_methods *m = make();
    (void)state;
    assert_int_equal(add(m, "Order.a"), 0);
    assert_int_equal(timeout_of(m, "Order.a"), 0);
    assert_int_equal(use(m, wide, 2), 0);
    assert_int_equal(runs(m, "Order.a"), -1); /* its own name is exact */
    assert_int_equal(timeout_of(m, "Order.a"), 1000);
    assert_int_equal(runs(m, "Order.b"), 1);
    assert_int_equal(use(m, exact, 2), 0);
    assert_int_equal(timeout_of(m, "Order.a"), 1000);
    assert_int_equal(runs(m, "Order.a"), -1);
    assert_int_equal(runs(m, "Order.b"), 1);
    assert_int_equal(use(m, both, 1), RBK_E_STATE);
    assert_int_equal(runs(m, "Order.b"), 1); /* as it was */
    rbk_methods_hide(m, 0, true);
    assert_int_equal(runs(m, "Order.a"), -2);
    rbk_methods_hide(m, 0, false);
    assert_int_equal(use(m, NULL, 0), 0);
    assert_int_equal(runs(m, "Order.a"), -1);
    assert_int_equal(timeout_of(m, "Order.a"), 0);
    assert_int_equal(runs(m, "Order.b"), -2);
    rbk_methods_free(m);
}

/* An entry stays where it is, whatever happens to its rule. */
static void test_entries_stay(void **state)
{
    static const char *const one[] = {"a*"}, *const two[] = {"b*", "a*"};
    rbk_methods *m = make();
    (void)state;
    assert_int_equal(use(m, one, 1), 0);
    const rbk_method_entry *e = rbk_methods_find(m, RBK_STR("ab"));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(use(m, NULL, 0), 0);
        assert_null(rbk_methods_find(m, RBK_STR("ab")));
        assert_int_equal(use(m, two, 2), 0);
        assert_ptr_equal(rbk_methods_find(m, RBK_STR("ab")), e);
        assert_int_equal(atomic_load(&e->timeout_ms), 1001);
    }
    assert_int_equal(rbk_methods_count(m), 2);
    rbk_methods_free(m);
}

static atomic_bool ending;

static void *look_all_the_time(void *arg)
{
    rbk_methods *m = arg;
    size_t found = 0;
    while (!atomic_load(&ending)) {
        rbk_handler *h = rbk_methods_handler(m, RBK_STR("always.x"));
        assert_non_null(h);
        rbk_handler_unref(h);
        found += rbk_methods_find(m, RBK_STR("sometimes.x")) != NULL;
    }
    return (void *)found;
}

static void test_change_beside_look_ups(void **state)
{
    static const char *const with[] = {"always.*", "sometimes.*"};
    rbk_methods *m = make();
    pthread_t t[2];
    (void)state;
    assert_int_equal(use(m, with, 1), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&t[i], NULL, look_all_the_time, m), 0);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(use(m, with, 1 + (size_t)i % 2), 0);
    atomic_store(&ending, true);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    rbk_methods_free(m);
}

/* --- What is known of methods --------------------------------------------------------------- */

static rbk_about *about(const char *name, const char *params)
{
    rbk_about *a = NULL;
    rbk_error err = {0};
    rbk_about_spec spec = {.name = rbk_str_z(name), .params = rbk_str_z(params)};
    if (rbk_about_new(&spec, &a, &err) < 0)
        fail_msg("%s", err.detail);
    return a;
}

static int describe(rbk_methods *m, rbk_about **list, size_t n)
{
    int r = rbk_methods_describe(m, list, n);
    for (size_t i = 0; i < n; i++)
        rbk_about_unref(list[i]);
    return r;
}

/* "" or the name of the member that does not fit. */
static const char *misfit(rbk_methods *m, const char *name, const char *params)
{
    static rbk_schema_fault f;
    return rbk_methods_fit(m, rbk_str_z(name), rbk_str_z(params), &f) ? "" : f.name;
}

static void on_shown(void *user, rbk_str name, const rbk_about *about, bool glob)
{
    rbk_buf *b = user;
    rbk_buf_addf(b, "%.*s%s%s ", (int)name.n, name.p, about ? "+" : "", glob ? "?" : "");
}

static void assert_shown(rbk_methods *m, const char *const *wanted, size_t n)
{
    rbk_buf b = RBK_BUF(4096);
    size_t words = 0;
    rbk_methods_show(m, on_shown, &b);
    rbk_buf_c(&b, 0);
    for (const char *p = b.p; *p; p++)
        words += *p == ' ';
    for (size_t i = 0; i < n; i++)
        if (strstr(b.p, wanted[i]) == NULL)
            fail_msg("%s is not in %s", wanted[i], b.p);
    assert_int_equal(words, n);
    rbk_buf_free(&b);
}

#define NEEDS(name) "{\"required\":[\"" name "\"]}"

static void test_descriptions(void **state)
{
    static const char *const globs[] = {"w.*", "=s.*", "exact", "=plain"};
    rbk_methods *m = make();
    (void)state;
    rbk_method f = {.name = "f", .fn = run_a, .description = "F.", .params_schema = NEEDS("a")};
    assert_int_equal(rbk_methods_add(m, &f, NULL, NULL), 0);
    assert_int_equal(add(m, "bare"), 0);
    assert_int_equal(use(m, globs, 4), 0);
    assert_string_equal(misfit(m, "f", "{}"), "a");
    assert_string_equal(misfit(m, "f", "{\"a\":1}"), "");
    assert_string_equal(misfit(m, "w.x", "{}"), "");
    assert_shown(m, (const char *const[]){"f+ ", "bare ", "exact ", "w.*? "}, 4);
    uint64_t version = rbk_methods_version(m);
    rbk_about *list[] = {about("w.x", NEEDS("b")), about("f", NEEDS("c")), about("s.x", NEEDS("d")),
                         about("w.x", NEEDS("e"))};
    assert_int_equal(describe(m, list, 4), 0);
    assert_true(rbk_methods_version(m) > version);
    assert_string_equal(misfit(m, "w.x", "{}"), "e");
    assert_string_equal(misfit(m, "w.y", "{}"), "");
    assert_string_equal(misfit(m, "f", "{}"), "c");
    assert_shown(m, (const char *const[]){"f+ ", "bare ", "exact ", "w.*? ", "w.x+ "}, 5);
    assert_int_equal(describe(m, NULL, 0), 0);
    assert_string_equal(misfit(m, "f", "{}"), "a");
    assert_string_equal(misfit(m, "w.x", "{}"), "");
    rbk_methods_hide(m, 0, true);
    assert_string_equal(misfit(m, "f", "{}"), "");
    assert_shown(m, (const char *const[]){"bare ", "exact ", "w.*? "}, 3);
    rbk_methods_free(m);
}

static void test_malformed_descriptions(void **state)
{
    static char large[RBK_SCHEMA_TEXT_MAX + 2];
    rbk_methods *m = make();
    rbk_error err = {0};
    (void)state;
    memset(large, ' ', sizeof large - 1);
    large[0] = '1';
    const struct {
        rbk_method method;
        const char *detail;
    } rows[] = {
        {{.name = "x", .params_schema = "{"}, "params: it is not JSON"},
        {{.name = "x", .params_schema = large}, "params: it is larger than 64K"},
        {{.name = "x", .result_schema = "{"}, "result: it is no JSON Schema"},
        {{.name = "x", .result_schema = "[]"}, "result: it is no JSON Schema"},
        {{.name = "x", .result_schema = large}, "result: it is larger than 64K"},
        {{.name = "x", .description = large}, "description: it is longer than 4096 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_method method = rows[i].method;
        method.fn = run_a;
        assert_int_equal(rbk_methods_add(m, &method, NULL, &err), RBK_E_CONFIG);
        assert_string_equal(err.detail, rows[i].detail);
    }
    assert_int_equal(rbk_methods_count(m), 0);
    assert_int_equal(add(m, "x"), 0);
    assert_int_equal(rbk_methods_add(m, &(rbk_method){.name = "x", .fn = run_a}, NULL, &err), RBK_E_STATE);
    assert_string_equal(err.detail, "another one has this name");
    rbk_methods_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_settings_alone),
        cmocka_unit_test(test_functions_and_rules),
        cmocka_unit_test(test_entries_stay),
        cmocka_unit_test(test_change_beside_look_ups),
        cmocka_unit_test(test_descriptions),
        cmocka_unit_test(test_malformed_descriptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
