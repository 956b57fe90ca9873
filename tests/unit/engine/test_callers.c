/* SPDX-License-Identifier: Apache-2.0 */
/* The table of callers: the text of a tokens file, its faults, tokens that are looked up. */
#include "engine/callers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"

#define HASH "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae" /* of "foo" */
#define HASH2 "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9" /* of "bar" */
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define A "[token \"a\"]\n"

static rbk_error err;

static rbk_callers *read_text(const char *text)
{
    rbk_callers *c = NULL;
    err = (rbk_error){0};
    int r = rbk_callers_read("f", rbk_str_z(text), &c, &err);
    if (r < 0)
        assert_null(c);
    return c;
}

static void test_reads_all_of_a_section(void **state)
{
    (void)state;
    rbk_callers *c = read_text("# c\n" A "hash = " HASH "\nhash=" HASH2 "\nsecret = " SECRET "\n"
                               "methods = x.*, y\nmethods = z\nhosts = *.Example.org\n"
                               "headers = X-A: b c\nheaders = \"X-B: # d\"\nrate = 90/m\n"
                               "max_pending = 7\nmax_pending_bytes = 3M\n[token \"B-2.x@y\"]\n");
    assert_non_null(c);
    assert_int_equal(rbk_callers_count(c), 2);
    const rbk_caller *a = rbk_callers_find(c, RBK_STR("a"));
    assert_ptr_equal(a, rbk_callers_at(c, 0));
    assert_int_equal(a->n_hashes, 2);
    assert_int_equal(rbk_sign_keys_count(a->secrets, RBK_SIGN_HMAC), 1);
    assert_int_equal(a->n_methods, 3);
    assert_true(rbk_caller_may_call(a, RBK_STR("x.q")) && rbk_caller_may_call(a, RBK_STR("z")));
    assert_false(rbk_caller_may_call(a, RBK_STR("zz")));
    assert_true(rbk_hosts_fit(&a->hosts, RBK_STR("h.example.org")));
    assert_false(rbk_hosts_fit(&a->hosts, RBK_STR("example.org")));
    assert_true(rbk_str_eqz(a->headers, "X-A: b c\r\nX-B: # d\r\n"));
    assert_int_equal(a->rate.n, 90);
    assert_int_equal(a->rate.ms, 60000);
    assert_int_equal(a->max_pending, 7);
    assert_int_equal(a->max_pending_bytes, 3 << 20);
    const rbk_caller *b = rbk_callers_find(c, RBK_STR("B-2.x@y"));
    assert_true(b && b->secrets == NULL && b->headers.p == NULL && b->rate.n == 0);
    assert_true(rbk_caller_may_call(b, RBK_STR("anything")));
    assert_true(rbk_caller_may_call(NULL, RBK_STR("anything")));
    assert_null(rbk_callers_find(c, RBK_STR("b-2.x@y")));
    assert_ptr_equal(rbk_callers_by_token(c, RBK_STR("foo")), a);
    assert_ptr_equal(rbk_callers_by_token(c, RBK_STR("bar")), a);
    assert_null(rbk_callers_by_token(c, RBK_STR("fo")));
    assert_null(rbk_callers_by_token(c, RBK_STR(HASH)));
    rbk_callers_unref(c);
}

static void test_faults_name_their_line(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"[tokens \"a\"]\n", "f:1: is not a section"},
        {"[token]\n", "f:1: is not a section"},
        {"[token \"\"]\n", "f:1: a name has"},
        {"[token \"a b\"]\n", "f:1: a name has"},
        {"[token \".a\"]\n", "f:1: a name has"},
        {A A, "f:2: token \"a\" stands twice"},
        {A "\n\nhash = " HASH "0\n", "f:4: hash: is not the SHA-256"},
        {A "hash = 2C" "26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n", "f:2: hash: is not"},
        {A "hash = " HASH "\nhash = " HASH2 "\nhash = " HASH2 "\n", "f:4: hash: stands more than 2"},
        {A "hash = " HASH "\n[token \"b\"]\nhash = " HASH "\n", "f: hash: tokens \"a\" and \"b\" have the same one"},
        {A "hash = " HASH "\nhash = " HASH "\n", "f: hash: tokens \"a\" and \"a\""},
        {A "secret = x\n", "f:2: secret: not a key"},
        {A "secret = whsec_AAAA\n", "f:2: secret: a whsec_ key has 24 to 64 bytes"},
        {A "secret = whsk_AAAA\n", "f:2: secret: a whsk_ key is not for this place"},
        {A "methods = a,,b\n", "f:2: methods: an item"},
        {A "hosts = a b\n", "f:2: hosts: \"a b\" is not a host"},
        {A "headers = X\n", "f:2: headers: is not a header"},
        {A "headers = X:\n", "f:2: headers: is not a header"},
        {A "headers = X Y: z\n", "f:2: headers: is not a header"},
        {A "headers = X: \x01\n", "f:2: headers: is not a header"},
        {A "headers = X: a\rY: b\n", "f:2: headers: is not a header"},
        {A "headers = WEBHOOK-Id: z\n", "f:2: headers: 'WEBHOOK-Id' is written by ringback itself"},
        {A "headers = Content-Length: 1\n", "f:2: headers: 'Content-Length' is written"},
        {A "headers = Sec-WebSocket-Key: 1\n", "f:2: headers: 'Sec-WebSocket-Key' is written"},
        {A "headers = A: 1\nheaders = a: 2\n", "f:3: headers: 'a' stands twice"},
        {A "rate = 0\n", "f:2: rate: is not"},
        {A "rate = 5/d\n", "f:2: rate: is not"},
        {A "rate = -5\n", "f:2: rate: is not"},
        {A "rate = 5\nrate = 5\n", "f:3: rate: stands twice"},
        {A "max_pending = 99999999999\n", "f:2: max_pending: is not"},
        {A "max_pending_bytes = 0\n", "f:2: max_pending_bytes: is not a size"},
        {A "max_pending_bytes = M\n", "f:2: max_pending_bytes: is not a size"},
        {A "max_pending_bytes = 1025T\n", "f:2: max_pending_bytes: is not a size"},
        {A "max_pending_bytes = 1.5M\n", "f:2: max_pending_bytes: is not a size"},
        {A "rate =\n", "f:2: rate: is empty"},
        {A "ratte = 5\n", "f:2: ratte: unknown key"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_null(read_text(rows[i].text));
        assert_int_equal(err.code, RBK_E_CONFIG);
        if (strncmp(err.detail, rows[i].says, strlen(rows[i].says)) != 0)
            fail_msg("%zu: '%s' in place of '%s'", i, err.detail, rows[i].says);
        assert_null(strstr(err.detail, HASH));
    }
}

/* So many that buckets have more than one. */
static void test_finds_each_of_many_tokens(void **state)
{
    enum { N = 3000 };
    static char tokens[N][RBK_TOKEN_TEXT + 1];
    char hash[65], name[8];
    rbk_buf b = RBK_BUF(RBK_CALLERS_FILE_MAX);
    (void)state;
    for (size_t i = 0; i < N; i++) {
        rbk_token_new(tokens[i], hash);
        assert_int_equal(strlen(tokens[i]), RBK_TOKEN_TEXT);
        rbk_buf_addf(&b, "[token \"%zu\"]\nhash = %s\n", i, hash);
    }
    rbk_buf_c(&b, 0);
    rbk_callers *c = read_text(b.p);
    assert_non_null(c);
    for (size_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "%zu", i);
        const rbk_caller *one = rbk_callers_by_token(c, rbk_str_z(tokens[i]));
        assert_true(one && strcmp(one->name, name) == 0);
        tokens[i][20] ^= 1;
        assert_null(rbk_callers_by_token(c, rbk_str_z(tokens[i])));
    }
    rbk_callers_unref(c);
    rbk_buf_free(&b);
}

static void test_no_tokens_at_all(void **state)
{
    (void)state;
    rbk_callers *c = read_text("");
    assert_non_null(c);
    assert_null(rbk_callers_by_token(c, RBK_STR("foo")));
    assert_null(rbk_callers_by_token(c, RBK_STR("")));
    rbk_callers_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_all_of_a_section),
        cmocka_unit_test(test_faults_name_their_line),
        cmocka_unit_test(test_finds_each_of_many_tokens),
        cmocka_unit_test(test_no_tokens_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
