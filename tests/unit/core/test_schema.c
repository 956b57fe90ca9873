/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas of params: which are refused when they are made, and which params fit. */
#include "core/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static rbk_schema *make(const char *text)
{
    rbk_schema *s = NULL;
    rbk_error err = {0};
    if (rbk_schema_new(rbk_str_z(text), &s, &err) < 0)
        fail_msg("%s: %s", text, err.detail);
    return s;
}

/* "" when they fit, else "<name>: <reason>". */
static const char *check(const rbk_schema *s, const char *params)
{
    static char out[512];
    rbk_schema_fault f;
    out[0] = 0;
    if (!rbk_schema_fits(s, params ? rbk_str_z(params) : RBK_STR_NONE, &f))
        snprintf(out, sizeof out, "%s: %s", f.name, f.reason);
    return out;
}

typedef struct row {
    const char *params, *want;
} row;

static void check_rows(const char *schema, const row *rows, size_t n)
{
    rbk_schema *s = make(schema);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(check(s, rows[i].params), rows[i].want);
    rbk_schema_free(s);
}

#define CHECK(schema, ...)                                                                         \
    check_rows(schema, (row[]){__VA_ARGS__}, sizeof((row[]){__VA_ARGS__}) / sizeof(row))

static void test_names(void **state)
{
    (void)state;
    CHECK("{\"properties\":{\"a\":{},\"b\":true,\"no\":false},\"required\":[\"b\"],"
          "\"additionalProperties\":false}",
          {"{\"b\":1,\"c\":2}", "c: is not a parameter of this method"}, {"{\"b\":1}", ""},
          {"{\"a\":1}", "b: is required"}, {NULL, "b: is required"}, {"{}", "b: is required"},
          {"{\"b\":1,\"x\":2}", "x: is not a parameter of this method"},
          {"{\"no\":1}", "no: is not allowed"}, {"[1]", ""});
}

static void test_open_schemas(void **state)
{
    (void)state;
    CHECK("true", {NULL, ""}, {"{\"x\":1}", ""}, {"[1]", ""});
    CHECK("{}", {NULL, ""}, {"{\"x\":1}", ""}, {"[1]", ""});
    CHECK("{\"required\":[\"a\"]}", {"{\"a\":1,\"x\":2}", ""}, {"{\"x\":2}", "a: is required"});
    CHECK(" {\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"}}", {"{\"x\":1}", ""},
          {"[]", "params: must be an object"}, {NULL, ""});
}

static void test_names_in_escapes(void **state)
{
    (void)state;
    CHECK("{\"properties\":{\"\\u0061b\":{\"type\":\"string\"},\"\":{\"type\":\"null\"}},"
          "\"required\":[\"ab\"],\"additionalProperties\":false}",
          {"{\"ab\":\"\"}", ""}, {"{\"\\u0061\\u0062\":\"\"}", ""},
          {"{\"a\\u0062\":1}", "ab: must be a string"}, {"{\"ab\":\"\",\"\":null}", ""},
          {"{\"\":0,\"ab\":\"\"}", ": must be null"},
          {"{\"\\u00e4\":1}", "\xc3\xa4: is not a parameter of this method"});
}

static void test_types(void **state)
{
    (void)state;
    CHECK("{\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":\"number\"},"
          "\"b\":{\"type\":\"boolean\"},\"o\":{\"type\":\"object\"},\"a\":{\"type\":\"array\"},"
          "\"z\":{\"type\":\"null\"},\"sz\":{\"title\":\"x\",\"type\":[\"string\",\"null\"]},"
          "\"m\":{\"type\":[\"integer\",\"boolean\",\"array\"]},\"in\":{\"type\":[\"integer\",\"number\"]}}}",
          {"{\"s\":\"x\",\"n\":1,\"b\":true,\"o\":{},\"a\":[],\"z\":null,\"sz\":null}", ""},
          {"{\"n\":1.5e300,\"b\":false,\"o\":{\"s\":1},\"a\":[{}],\"sz\":\"\",\"in\":1.5}", ""},
          {"{\"s\":1}", "s: must be a string"}, {"{\"s\":null}", "s: must be a string"},
          {"{\"n\":\"1\"}", "n: must be a number"}, {"{\"b\":0}", "b: must be true or false"},
          {"{\"o\":[]}", "o: must be an object"}, {"{\"a\":{}}", "a: must be an array"},
          {"{\"z\":false}", "z: must be null"}, {"{\"sz\":1}", "sz: must be a string or null"},
          {"{\"m\":1.5}", "m: must be an integer, true or false or an array"},
          {"{ \"s\" : [ 1 ] , \"n\" : 1 }", "s: must be a string"});
}

static void test_integers(void **state)
{
    static const char *const whole[] = {
        "0", "-0", "1", "-17", "1.0", "1.000", "1e2", "1E+2", "1.5e1", "1.50e1", "100e-2", "0e-5",
        "0.0e-99999999999999999999", "1e99999999999999999999", "120.0e-1",
        "123456789012345678901234567890123456789012345678901234567890",
        "123456789012345678901234567890.0", "1000000000000000000000000000000e-30"};
    static const char *const broken[] = {
        "1.5", "-0.1", "1e-1", "1.05e1", "15e-1", "1e-99999999999999999999", "100e-3",
        "123456789012345678901234567890.1", "0.1e0"};
    char params[256];
    (void)state;
    rbk_schema *s = make("{\"properties\":{\"i\":{\"type\":\"integer\"}}}");
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        snprintf(params, sizeof params, "{\"i\":%s}", whole[i]);
        if (check(s, params)[0])
            fail_msg("%s is an integer", whole[i]);
    }
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        snprintf(params, sizeof params, "{\"i\":%s}", broken[i]);
        if (!check(s, params)[0])
            fail_msg("%s is no integer", broken[i]);
    }
    rbk_schema_free(s);
}

static void test_by_position(void **state)
{
    (void)state;
    CHECK("{\"type\":\"array\",\"prefixItems\":[{\"type\":\"string\"},true],\"items\":false,\"minItems\":1}",
          {"[\"x\"]", ""}, {"[\"x\",1]", ""}, {"[1]", "0: must be a string"},
          {"[\"x\",1,2]", "2: is not a parameter of this method"}, {"[]", "params: has too few values"},
          {NULL, "params: has too few values"}, {"{}", "params: must be an array"});
    CHECK("{\"type\":[\"object\",\"array\"],\"maxItems\":2,\"required\":[\"a\"]}", {"[1,2]", ""},
          {"[1,2,3]", "params: has too many values"}, {"{\"a\":1}", ""}, {NULL, "a: is required"});
}

static void test_a_member_twice_is_judged_twice(void **state)
{
    (void)state;
    CHECK("{\"properties\":{\"a\":{\"type\":\"string\"}}}", {"{\"a\":\"\",\"a\":1}", "a: must be a string"},
          {"{\"a\":\"\",\"a\":\"\"}", ""});
}

static void test_malformed_schemas(void **state)
{
    static const row rows[] = {
        {"", "it is not JSON"}, {"{", "it is not JSON"}, {"1", "it must be an object, or true"},
        {"false", "it must be an object, or true"}, {"[]", "it must be an object, or true"},
        {"{\"type\":\"string\"}", "params are an object or an array"},
        {"{\"type\":\"strnig\"}", NULL}, {"{\"type\":7}", NULL}, {"{\"type\":[]}", "type is an empty list"},
        {"{\"type\":[\"object\",1]}", NULL},
        {"{\"properties\":[]}", "properties must be an object"},
        {"{\"properties\":{\"a\":1}}", "a schema must be an object, true or false"},
        {"{\"properties\":{\"a\":{\"type\":\"int\"}}}", NULL},
        {"{\"required\":{}}", "required must be a list of names"},
        {"{\"required\":[1]}", "required must be a list of names"},
        {"{\"required\":[\"a\"],\"additionalProperties\":false}", "required has a name that is not allowed"},
        {"{\"additionalProperties\":1}", "additionalProperties must be a schema, true or false"},
        {"{\"prefixItems\":{}}", "prefixItems must be a list of schemas"},
        {"{\"prefixItems\":[1]}", "a schema must be an object, true or false"},
        {"{\"items\":[{}]}", "items must be a schema, true or false"},
        {"{\"minItems\":-1}", "minItems and maxItems must be whole numbers"},
        {"{\"maxItems\":\"1\"}", "minItems and maxItems must be whole numbers"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_schema *s = NULL;
        rbk_error err = {0};
        int r = rbk_schema_new(rbk_str_z(rows[i].params), &s, &err);
        if (r != RBK_E_CONFIG)
            fail_msg("%s gives %d", rows[i].params, r);
        assert_null(s);
        assert_string_equal(err.detail, rows[i].want ? rows[i].want
                                                     : "type must be string, number, integer, boolean, "
                                                       "object, array, null, or a list of them");
    }
}

/* `n` properties, or required names. */
static char *many(int n, bool required)
{
    char *text = malloc((size_t)n * 16 + 64), *p = text;
    if (p == NULL)
        abort();
    p += sprintf(p, required ? "{\"required\":[" : "{\"additionalProperties\":false,\"properties\":{");
    for (int i = 0; i < n; i++)
        p += sprintf(p, required ? "%s\"n%d\"" : "%s\"n%d\":true", i ? "," : "", i);
    strcpy(p, required ? "]}" : "}}");
    return text;
}

static void test_bounds(void **state)
{
    (void)state;
    for (int required = 0; required < 2; required++) {
        char *text = many(256, required), *more = many(257, required);
        rbk_schema *s = make(text), *none = NULL;
        rbk_error err = {0};
        assert_string_equal(check(s, "{\"n255\":1,\"n0\":2}"), required ? "n1: is required" : "");
        if (!required)
            assert_string_equal(check(s, "{\"n256\":1}"), "n256: is not a parameter of this method");
        assert_int_equal(rbk_schema_new(rbk_str_z(more), &none, &err), RBK_E_CONFIG);
        rbk_schema_free(s);
        free(text);
        free(more);
    }
    char *large = malloc(RBK_SCHEMA_TEXT_MAX + 2);
    assert_non_null(large);
    memset(large, ' ', RBK_SCHEMA_TEXT_MAX + 1);
    memcpy(large, "true", 4);
    rbk_schema *s = NULL;
    rbk_error err = {0};
    assert_int_equal(rbk_schema_new((rbk_str){large, RBK_SCHEMA_TEXT_MAX + 1}, &s, &err), RBK_E_CONFIG);
    assert_int_equal(rbk_schema_new((rbk_str){large, RBK_SCHEMA_TEXT_MAX}, &s, &err), 0);
    rbk_schema_free(s);
    free(large);
}

/* The names of callers are theirs to choose; a long one is cut between characters. */
static void test_long_names(void **state)
{
    char params[2048], want[512];
    (void)state;
    memset(want, 0, sizeof want);
    for (int i = 0; i < 127; i++)
        strcat(want, "\xc3\xa4");
    snprintf(params, sizeof params, "{\"%s\xc3\xa4\xc3\xa4\":1}", want);
    strcat(want, ": is not a parameter of this method");
    rbk_schema *s = make("{\"additionalProperties\":false}");
    assert_string_equal(check(s, params), want);
    char *p = params + sprintf(params, "{\"");
    for (int i = 0; i < 300; i++)
        p += sprintf(p, "\\n");
    strcpy(p, "\":1}");
    assert_true(check(s, params)[0]);
    rbk_schema_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_open_schemas),
        cmocka_unit_test(test_names_in_escapes),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_by_position),
        cmocka_unit_test(test_a_member_twice_is_judged_twice),
        cmocka_unit_test(test_malformed_schemas),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
