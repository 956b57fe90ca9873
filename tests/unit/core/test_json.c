/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text: the whole of JSONTestSuite, the depth limit, the walkers, escapes. */
#include "base/buf.h"
#include "core/json.h"
#include "core/rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <yyjson.h>

static const rbk_rpc_limits limits = {.max_batch = 1000, .max_timeout_ms = 3600000};

static rbk_buf read_data(const char *command, const char *name)
{
    char line[4096];
    const char *dir = getenv("RBK_TEST_DATA");
    assert_non_null(dir);
    snprintf(line, sizeof line, "%s '%s/%s'", command, dir, name);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    rbk_buf b = RBK_BUF(64 << 20);
    char chunk[65536];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        rbk_buf_add(&b, chunk, n);
    assert_int_equal(pclose(f), 0);
    assert_int_equal(rbk_buf_err(&b), 0);
    return b;
}

/* 'y', 'n', or what i_policy.json says: "reject" is 'n'. */
static char verdict_of(yyjson_val *policy, const char *name)
{
    if (name[0] != 'i')
        return name[0];
    size_t i, max;
    yyjson_val *row;
    yyjson_arr_foreach(
        policy, i, max,
        row) if (yyjson_equals_str(yyjson_obj_get(row, "file"),
                                   name)) return yyjson_equals_str(yyjson_obj_get(row, "ringback"),
                                                                   "accept_syntax")
        ? 'y'
        : 'n';
    fail_msg("%s is not in i_policy.json", name);
    return 0;
}

static int parse_err(rbk_str body)
{
    rbk_rpc_doc *doc = NULL;
    int err = rbk_rpc_parse(body, &limits, &doc);
    rbk_rpc_free(doc);
    return err;
}

static rbk_str wrap(rbk_buf *b, const char *before, rbk_str text, const char *after)
{
    rbk_buf_clear(b);
    rbk_buf_z(b, before);
    rbk_buf_str(b, text);
    rbk_buf_z(b, after);
    return rbk_buf_view(b);
}

static void check_accepted(const char *name, rbk_str text)
{
    if (rbk_json_check(text) != 0 || parse_err(text) == RBK_E_PARSE)
        fail_msg("%s was refused", name);
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_rpc_doc *doc;
    rbk_str body = wrap(&b, "{\"id\":1,\"method\":\"m\",\"params\":[", text, "]}");
    assert_int_equal(rbk_rpc_parse(body, &limits, &doc), 0);
    assert_int_equal(doc->items[0].err, 0);
    /* Params are the caller's own bytes. */
    rbk_str p = doc->items[0].params;
    assert_int_equal(p.n, text.n + 2);
    assert_memory_equal(p.p + 1, text.p, text.n);
    rbk_rpc_free(doc);
    rbk_buf_free(&b);
}

static void check_refused(const char *name, rbk_str text)
{
    if (rbk_json_check(text) != RBK_E_PARSE || parse_err(text) != RBK_E_PARSE)
        fail_msg("%s was accepted", name);
    size_t blanks = 0;
    while (blanks < text.n && strchr(" \t\r\n", text.p[blanks]))
        blanks++;
    if (blanks == text.n)
        return; /* between brackets nothing is an empty list */
    rbk_buf b = RBK_BUF(1 << 20);
    if (parse_err(wrap(&b, "{\"id\":1,\"method\":\"m\",\"params\":[", text, "]}")) != RBK_E_PARSE)
        fail_msg("%s was accepted as a parameter", name);
    rbk_buf_free(&b);
}

/* Each file of test_parsing; the archive is a plain ustar one. */
static void test_suite(void **state)
{
    (void)state;
    rbk_buf tar = read_data("gzip -dc", "jsontestsuite.tar.gz");
    rbk_buf json = read_data("cat", "i_policy.json");
    yyjson_doc *policy = yyjson_read(json.p, json.n, 0);
    yyjson_val *rows = yyjson_obj_get(yyjson_doc_get_root(policy), "files");
    int seen[128] = {0};
    for (size_t at = 0; at + 512 <= tar.n && tar.p[at];) {
        const char *name = tar.p + at;
        size_t size = strtoul(tar.p + at + 124, NULL, 8);
        rbk_str text = {tar.p + at + 512, size};
        at += 512 + (size + 511) / 512 * 512;
        if (strncmp(name, "test_parsing/", 13) != 0 || name[13] == 0)
            continue;
        name += 13;
        seen[(int)*name]++;
        if (verdict_of(rows, name) == 'y')
            check_accepted(name, text);
        else
            check_refused(name, text);
    }
    assert_int_equal(seen['y'], 95);
    assert_int_equal(seen['n'], 188);
    assert_int_equal(seen['i'], 35);
    yyjson_doc_free(policy);
    rbk_buf_free(&json);
    rbk_buf_free(&tar);
}

static rbk_str nest(rbk_buf *b, char open, size_t n)
{
    rbk_buf_clear(b);
    for (size_t i = 0; i < n; i++)
        open == '[' ? rbk_buf_c(b, '[') : rbk_buf_lit(b, "{\"a\":");
    rbk_buf_c(b, '1');
    for (size_t i = 0; i < n; i++)
        rbk_buf_c(b, open == '[' ? ']' : '}');
    return rbk_buf_view(b);
}

static void test_depth(void **state)
{
    (void)state;
    rbk_buf b = RBK_BUF(64 << 20);
    for (const char *open = "[{"; *open; open++) {
        assert_int_equal(rbk_json_check(nest(&b, *open, 64)), 0);
        assert_int_equal(rbk_json_check(nest(&b, *open, 65)), RBK_E_PARSE);
        assert_int_equal(rbk_json_check(nest(&b, *open, 1000000)), RBK_E_PARSE);
    }
    /* Many brackets side by side, and brackets in strings, are not deep. */
    rbk_buf_clear(&b);
    rbk_buf_lit(&b, "[");
    for (int i = 0; i < 500; i++)
        rbk_buf_lit(&b, "[{\"[[[[\\\"{{{\":\"[[[[[\\\\\"}],");
    rbk_buf_lit(&b, "1]");
    assert_int_equal(rbk_json_check(rbk_buf_view(&b)), 0);
    rbk_buf_free(&b);
}

static void *no_malloc(void *ctx, size_t n)
{
    (void)ctx;
    (void)n;
    return NULL;
}

static void *no_realloc(void *ctx, void *p, size_t old, size_t n)
{
    (void)ctx;
    (void)p;
    (void)old;
    (void)n;
    return NULL;
}

static void no_free(void *ctx, void *p)
{
    (void)ctx;
    (void)p;
}

/* 250,000 brackets are refused before anything is allocated. */
static void test_deep_costs_no_memory(void **state)
{
    (void)state;
    yyjson_alc none = {no_malloc, no_realloc, no_free, NULL};
    rbk_json_top top;
    rbk_buf b = RBK_BUF(1 << 20);
    for (int i = 0; i < 250000; i++)
        rbk_buf_c(&b, '[');
    assert_int_equal(rbk_json_validate(rbk_buf_view(&b), &none, &top), RBK_E_PARSE);
    assert_int_equal(rbk_json_validate(RBK_STR("[1]"), &none, &top), RBK_E_NOMEM);
    rbk_buf_free(&b);
}

static void test_top(void **state)
{
    (void)state;
    rbk_json_top top;
    assert_int_equal(rbk_json_validate(RBK_STR(" [1,[2,3],4] "), NULL, &top), 0);
    assert_true(top.array && !top.object && top.n == 3);
    assert_int_equal(rbk_json_validate(RBK_STR("{\"a\":[1]}"), NULL, &top), 0);
    assert_true(top.object && !top.array && top.n == 0);
    assert_int_equal(rbk_json_validate(RBK_STR("-0.0e-0"), NULL, &top), 0);
    assert_true(!top.object && !top.array && top.n == 0);
    static const char *const bad[] = {"",    " ",    "\xef\xbb\xbf{}", "{}\xef\xbb\xbf", "1 2",
                                      "nul", "{}//", "[1,]",           "{\"a\":1,}",     "NaN",
                                      "'a'", "01",   "\"\x80\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(rbk_json_check(rbk_str_z(bad[i])), RBK_E_PARSE);
    assert_int_equal(rbk_json_check(RBK_STR("1\0")), RBK_E_PARSE);
    assert_int_equal(rbk_json_check(RBK_STR_NONE), RBK_E_PARSE);
}

static void test_walk_object(void **state)
{
    (void)state;
    const char *p =
        "{ \"a\" : 1.50 ,\n\"b\\\"}\":{\"x\":[\"]\\\\\",{}]} , \"\":\"\\\\\", \"t\":true}!";
    static const struct {
        const char *name, *value;
    } want[] = {
        {"a", "1.50"}, {"b\\\"}", "{\"x\":[\"]\\\\\",{}]}"}, {"", "\"\\\\\""}, {"t", "true"}};
    rbk_str name;
    for (size_t i = 0; i < 4; i++) {
        assert_true(rbk_json_member(&p, &name));
        assert_true(rbk_str_eqz(name, want[i].name));
        assert_true(rbk_str_eqz(rbk_json_value(&p), want[i].value));
    }
    assert_false(rbk_json_member(&p, &name));
    assert_string_equal(p, "!");
    p = "{ } ";
    assert_false(rbk_json_member(&p, &name));
    assert_string_equal(p, " ");
}

static void test_walk_array(void **state)
{
    (void)state;
    const char *p = "[ null ,[], \"\\u005d\" ,-1e5]";
    static const char *const want[] = {"null", "[]", "\"\\u005d\"", "-1e5"};
    for (size_t i = 0; i < 4; i++) {
        assert_true(rbk_json_element(&p));
        assert_true(rbk_str_eqz(rbk_json_value(&p), want[i]));
    }
    assert_false(rbk_json_element(&p));
    assert_string_equal(p, "");
    p = "[\n]x";
    assert_false(rbk_json_element(&p));
    assert_string_equal(p, "x");
}

static void test_unescape(void **state)
{
    (void)state;
    rbk_arena a = RBK_ARENA(1 << 16);
    rbk_str plain = RBK_STR("caf\xc3\xa9");
    assert_ptr_equal(rbk_json_unescape(&a, plain).p, plain.p); /* nothing to do: no copy */
    static const struct {
        const char *raw;
        rbk_str want;
    } rows[] = {
        {"\\\"\\\\\\/\\b\\f\\n\\r\\t", {"\"\\/\b\f\n\r\t", 8}},
        {"\\u0041\\u00e9\\u20AC", {"A\xc3\xa9\xe2\x82\xac", 6}},
        {"x\\u0000y", {"x\0y", 3}},
        {"\\uD83D\\ude00!", {"\xf0\x9f\x98\x80!", 5}},
        {"\\uFFFF\\u07ff\\u0800", {"\xef\xbf\xbf\xdf\xbf\xe0\xa0\x80", 8}},
        {"\\uDBFF\\uDFFF", {"\xf4\x8f\xbf\xbf", 4}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_true(rbk_str_eq(rbk_json_unescape(&a, rbk_str_z(rows[i].raw)), rows[i].want));
    rbk_arena_free(&a);
    a.max = 0;
    assert_null(rbk_json_unescape(&a, RBK_STR("\\n")).p);
}

/* Every code point, escaped, against yyjson's own reading. */
static void test_unescape_all(void **state)
{
    (void)state;
    for (unsigned u = 0; u < 0x110000; u++) {
        if (u >= 0xd800 && u < 0xe000)
            continue;
        char raw[32];
        unsigned v = u - 0x10000;
        int n = u < 0x10000 ? snprintf(raw, sizeof raw, "\"\\u%04x\"", u)
                            : snprintf(raw, sizeof raw, "\"\\u%04X\\u%04X\"", 0xd800 + (v >> 10),
                                       0xdc00 + (v & 0x3ff));
        rbk_arena a = RBK_ARENA(1 << 12);
        rbk_str got = rbk_json_unescape(&a, rbk_json_unquote((rbk_str){raw, (size_t)n}));
        yyjson_doc *doc = yyjson_read(raw, (size_t)n, 0);
        yyjson_val *s = yyjson_doc_get_root(doc);
        assert_true(rbk_str_eq(got, (rbk_str){yyjson_get_str(s), yyjson_get_len(s)}));
        yyjson_doc_free(doc);
        rbk_arena_free(&a);
        u += u > 0x30000 ? 0xff : u > 0x3000 ? 0x0e : 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suite),       cmocka_unit_test(test_depth),
        cmocka_unit_test(test_top),         cmocka_unit_test(test_deep_costs_no_memory),
        cmocka_unit_test(test_walk_object), cmocka_unit_test(test_walk_array),
        cmocka_unit_test(test_unescape),    cmocka_unit_test(test_unescape_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
