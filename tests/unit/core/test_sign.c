/* SPDX-License-Identifier: Apache-2.0 */
/* test_sign.c - signatures of Standard Webhooks: the vectors, keys, and the public verifier. */
#include "core/webhook.h"

#include "vectors.h"

#define VECTORS "webhooks/standard-webhooks.json"
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define OTHER "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
#define PRIVATE                                                                                    \
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
#define SEED "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc="
#define PUBLIC "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="

enum { ALL = RBK_SIGN_HMAC | RBK_SIGN_ED25519 | RBK_SIGN_TO_VERIFY, SIGNERS = RBK_SIGN_HMAC | RBK_SIGN_ED25519 };

static rbk_sign_keys *keys_of(const char *text, unsigned kinds)
{
    rbk_error err = {0};
    rbk_sign_keys *k = rbk_sign_keys_new();
    assert_non_null(k);
    if (rbk_sign_keys_read(k, rbk_str_z(text), kinds, &err) < 0)
        fail_msg("%s", err.detail);
    return k;
}

static int read_result(const char *text, unsigned kinds, rbk_error *err)
{
    rbk_sign_keys *k = rbk_sign_keys_new();
    int r = rbk_sign_keys_read(k, rbk_str_z(text), kinds, err);
    if (r == 0 && rbk_sign_keys_empty(k))
        r = RBK_E_CONFIG;
    rbk_sign_keys_unref(k);
    return r;
}

static unsigned digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strchr(digits, c);
    return at ? (unsigned)(at - digits) : 0;
}

/* The body of a row: base64, or a rule. */
static void add_body(rbk_buf *b, yyjson_val *row)
{
    rbk_str text = vectors_str(row, "body_base64");
    if (text.p == NULL) {
        assert_true(rbk_str_eqz(vectors_str(row, "body_rule"), "1048576 times 0x61"));
        for (size_t i = 0; i < 1 << 20; i++)
            rbk_buf_c(b, 'a');
        return;
    }
    for (size_t i = 0; i + 3 < text.n; i += 4) {
        unsigned v = digit_of(text.p[i]) << 18 | digit_of(text.p[i + 1]) << 12 |
                     digit_of(text.p[i + 2]) << 6 | digit_of(text.p[i + 3]);
        rbk_buf_c(b, (char)(v >> 16));
        if (text.p[i + 2] != '=')
            rbk_buf_c(b, (char)(v >> 8));
        if (text.p[i + 3] != '=')
            rbk_buf_c(b, (char)v);
    }
}

static int64_t count_of(yyjson_doc *doc, const char *what)
{
    return yyjson_get_sint(
        yyjson_obj_get(yyjson_obj_get(yyjson_doc_get_root(doc), "count"), what));
}

static void signs_as_the_vectors_do(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open(VECTORS);
    yyjson_val *row, *secret;
    size_t i, max, j, n;
    yyjson_arr_foreach(vectors_list(doc, "sign"), i, max, row) {
        rbk_buf file = RBK_BUF(4096), body = RBK_BUF(2 << 20), out = RBK_BUF(4096);
        uint64_t seconds = 0;
        yyjson_arr_foreach(yyjson_obj_get(row, "secrets"), j, n, secret)
            rbk_buf_addf(&file, "%s\n", yyjson_get_str(secret));
        rbk_buf_c(&file, 0);
        add_body(&body, row);
        assert_int_equal(rbk_str_u64(vectors_str(row, "webhook-timestamp"), INT64_MAX, &seconds), 0);
        rbk_sign_keys *k = keys_of(file.p, SIGNERS);
        rbk_sign_message m = {vectors_str(row, "webhook-id"), rbk_buf_view(&body), (int64_t)seconds};
        assert_int_equal(rbk_sign(k, &m, &out), 0);
        if (!rbk_str_eq(rbk_buf_view(&out), vectors_str(row, "webhook-signature")))
            fail_msg("%s: %.*s", vectors_str(row, "name").p, RBK_FMT(rbk_buf_view(&out)));
        rbk_sign_keys_unref(k);
        rbk_buf_free(&file);
        rbk_buf_free(&body);
        rbk_buf_free(&out);
    }
    assert_int_equal(max, count_of(doc, "sign"));
    yyjson_doc_free(doc);
}

static void add_many(rbk_buf *b)
{
    for (size_t i = 0; i < 10000; i++)
        rbk_buf_lit(b, "v1,AAAA ");
    rbk_buf_lit(b, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void verifies_as_the_vectors_do(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open(VECTORS);
    yyjson_val *row, *name, *value;
    size_t i, max, j, n, good = 0;
    yyjson_arr_foreach(vectors_list(doc, "verify"), i, max, row) {
        rbk_buf many = RBK_BUF(1 << 20);
        rbk_header headers[4];
        rbk_webhook w = {.headers = headers, .body = vectors_str(row, "body"),
                         .keys = vectors_str(row, "secret")};
        w.now = yyjson_get_sint(yyjson_obj_get(row, "now")) * 1000 + 999;
        yyjson_obj_foreach(yyjson_obj_get(row, "headers"), j, n, name, value) {
            rbk_str text = {yyjson_get_str(value), yyjson_get_len(value)};
            if (rbk_str_starts(text, RBK_STR("<10000 times"))) {
                add_many(&many);
                text = rbk_buf_view(&many);
            }
            headers[w.n_headers++] = (rbk_header){rbk_str_z(yyjson_get_str(name)), text};
        }
        bool want = yyjson_is_true(yyjson_obj_get(row, "valid"));
        rbk_error err = {0};
        int r = rbk_webhook_verify(&w, &err);
        if ((r == 0) != want)
            fail_msg("%s: %d %s", vectors_str(row, "name").p, r, err.detail);
        if (many.n)
            assert_int_equal(r, RBK_E_TOO_LARGE);
        good += r == 0;
        rbk_buf_free(&many);
    }
    assert_int_equal(max, count_of(doc, "verify"));
    assert_int_equal(good, 6);
    yyjson_doc_free(doc);
}

static void takes_secrets_as_the_vectors_do(void **state)
{
    (void)state;
    yyjson_doc *doc = vectors_open(VECTORS);
    yyjson_val *row;
    size_t i, max;
    yyjson_arr_foreach(vectors_list(doc, "secret_strings"), i, max, row) {
        const char *text = vectors_str(row, "secret").p;
        yyjson_val *accept = yyjson_obj_get(row, "accept");
        rbk_error err = {0};
        int signer = read_result(text, SIGNERS, &err), any = read_result(text, ALL, NULL);
        assert_int_equal(signer, yyjson_is_true(accept) ? 0 : RBK_E_CONFIG);
        assert_int_equal(any, yyjson_is_false(accept) ? RBK_E_CONFIG : 0);
        if (strlen(text) > 8)
            assert_null(strstr(err.detail, text + 6));
    }
    assert_int_equal(max, count_of(doc, "secret_strings"));
    yyjson_doc_free(doc);
}

static void keeps_two_signed_texts_apart(void **state)
{
    (void)state;
    rbk_sign_keys *k = keys_of(SECRET, SIGNERS);
    rbk_buf out = RBK_BUF(4096);
    rbk_sign_message m = {.body = RBK_STR("{}"), .seconds = 2};
    static const char *const bad[] = {"", "msg.1", "a b", "a\n", "\x7f"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        m.id = rbk_str_z(bad[i]);
        assert_int_equal(rbk_sign(k, &m, &out), RBK_E_INVAL);
    }
    m.id = RBK_STR("msg");
    m.seconds = -1;
    assert_int_equal(rbk_sign(k, &m, &out), RBK_E_INVAL);
    rbk_sign_keys_unref(k);
    rbk_buf_free(&out);
}

static int verify_with(const char *keys, rbk_str signature, rbk_error *err)
{
    const rbk_header h[] = {{RBK_STR("Webhook-Id"), RBK_STR("msg_x")},
                            {RBK_STR("WEBHOOK-TIMESTAMP"), RBK_STR("1700000000")},
                            {RBK_STR("webhook-signature"), signature},
                            {RBK_STR("webhook-signature"), signature}};
    rbk_webhook w = {.headers = h, .n_headers = 3, .body = RBK_STR("{}"), .keys = rbk_str_z(keys),
                     .now = 1700000000000};
    int r = rbk_webhook_verify(&w, err);
    w.n_headers = 4;
    assert_int_equal(rbk_webhook_verify(&w, NULL), keys[0] ? RBK_E_PARAMS : RBK_E_CONFIG);
    return r;
}

static void keys_change_with_an_overlap(void **state)
{
    (void)state;
    rbk_sign_keys *k = keys_of("# both\n" SECRET "\r\n\n" SEED " # new\n" OTHER, SIGNERS);
    rbk_buf out = RBK_BUF(4096);
    rbk_error err = {0};
    rbk_sign_message m = {RBK_STR("msg_x"), RBK_STR("{}"), 1700000000};
    assert_int_equal(rbk_sign_keys_count(k, RBK_SIGN_HMAC), 2);
    assert_int_equal(rbk_sign_keys_count(k, RBK_SIGN_ED25519), 1);
    assert_int_equal(rbk_sign(k, &m, &out), 0);
    rbk_str all = rbk_buf_view(&out);
    static const char *const one[] = {SECRET, OTHER, PUBLIC, PRIVATE, SEED, (SECRET " " OTHER),
                                      ("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n" PUBLIC)};
    for (size_t i = 0; i < sizeof one / sizeof one[0]; i++)
        assert_int_equal(verify_with(one[i], all, &err), 0);
    assert_int_equal(verify_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", all, &err), RBK_E_UNAUTHORIZED);
    assert_int_equal(verify_with("", all, &err), RBK_E_CONFIG);
    /* A signature of one kind is no signature of the other. */
    rbk_str hmac = {all.p, 3 + 44};
    assert_int_equal(verify_with(SECRET, hmac, &err), 0);
    assert_int_equal(verify_with(PUBLIC, hmac, &err), RBK_E_UNAUTHORIZED);
    out.p[out.n - 5] ^= 1;
    assert_int_equal(verify_with(OTHER, all, &err), RBK_E_UNAUTHORIZED);
    rbk_sign_keys_unref(k);
    rbk_buf_free(&out);
}

static void says_what_is_wrong_with_keys(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned kinds;
        const char *why;
    } rows[] = {
        {"\n\nMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SIGNERS, "line 3: not a key that begins with whsec_ or whsk_"},
        {PUBLIC, SIGNERS, "line 1: a whpk_ key cannot sign"},
        {SECRET, RBK_SIGN_ED25519, "line 1: a whsec_ key is not for this place"},
        {SEED, RBK_SIGN_HMAC, "line 1: a whsk_ key is not for this place"},
        {SECRET "=", SIGNERS, "line 1: a key is not base64, or too long"},
        {"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRY=", SIGNERS, "line 1: a whsec_ key has 24 to 64 bytes"},
        {"whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvw==",
         SIGNERS, "line 1: the two halves of the whsk_ key are no pair"},
        {"whpk_AAAA", ALL, "line 1: a whpk_ key has 32 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rbk_error err = {0};
        assert_int_equal(read_result(rows[i].text, rows[i].kinds, &err), RBK_E_CONFIG);
        assert_string_equal(err.detail, rows[i].why);
    }
}

static void takes_no_more_than_its_limit(void **state)
{
    (void)state;
    rbk_sign_keys *k = keys_of("", ALL);
    rbk_error err = {0};
    for (size_t i = 0; i < RBK_SIGN_KEYS_MAX; i++)
        assert_int_equal(rbk_sign_keys_read(k, RBK_STR(SECRET), ALL, &err), 0);
    assert_int_equal(rbk_sign_keys_read(k, RBK_STR(OTHER), ALL, &err), RBK_E_CONFIG);
    assert_string_equal(err.detail, "line 1: more than 16 keys");
    rbk_sign_keys_unref(k);
}

static void without_a_private_key_nothing_is_signed(void **state)
{
    (void)state;
    rbk_sign_keys *k = keys_of(PUBLIC, ALL);
    rbk_buf out = RBK_BUF(4096);
    rbk_sign_message m = {RBK_STR("msg_x"), RBK_STR("{}"), 1};
    assert_int_equal(rbk_sign(k, &m, &out), RBK_E_STATE);
    assert_int_equal(rbk_sign_keys_count(k, RBK_SIGN_TO_VERIFY), 1);
    /* The private key of the same pair takes the place of the public one. */
    assert_int_equal(rbk_sign_keys_read(k, RBK_STR(PRIVATE), ALL, NULL), 0);
    assert_int_equal(rbk_sign_keys_read(k, RBK_STR(SEED "\n" PUBLIC), ALL, NULL), 0);
    assert_int_equal(rbk_sign_keys_count(k, RBK_SIGN_TO_VERIFY), 0);
    assert_int_equal(rbk_sign_keys_count(k, RBK_SIGN_ED25519), 1);
    assert_int_equal(rbk_sign(k, &m, &out), 0);
    assert_null(memchr(out.p, ' ', out.n));
    rbk_sign_keys_unref(k);
    rbk_buf_free(&out);
}

static void makes_keys(void **state)
{
    (void)state;
    uint8_t seed[RBK_SIGN_SEED];
    for (size_t i = 0; i < sizeof seed; i++)
        seed[i] = (uint8_t)i;
    rbk_buf out = RBK_BUF(1024);
    assert_int_equal(rbk_sign_new_key(false, seed, &out), 0);
    assert_true(rbk_str_eqz(rbk_buf_view(&out), "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"));
    rbk_buf_clear(&out);
    assert_int_equal(rbk_sign_new_key(true, seed, &out), 0);
    rbk_buf_c(&out, 0);
    assert_memory_equal(out.p, "# whpk_", 7);
    rbk_sign_keys *k = keys_of(out.p, SIGNERS);
    assert_int_equal(rbk_sign_keys_count(k, RBK_SIGN_ED25519), 1);
    rbk_sign_keys_unref(k);
    rbk_buf_free(&out);
}

/* The key of RFC 8037, appendix A, with its thumbprint. */
static void publishes_public_keys(void **state)
{
    (void)state;
    rbk_sign_keys *k = keys_of("whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n" SECRET, SIGNERS);
    rbk_buf out = RBK_BUF(1024);
    assert_int_equal(rbk_sign_jwks(k, &out), 0);
    assert_true(rbk_str_eqz(rbk_buf_view(&out),
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\","
        "\"kid\":\"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\",\"use\":\"sig\"}]}"));
    rbk_buf_clear(&out);
    assert_int_equal(rbk_sign_keys_read(k, RBK_STR(SEED), SIGNERS, NULL), 0);
    assert_int_equal(rbk_sign_jwks(k, &out), 0);
    yyjson_doc *doc = yyjson_read(out.p, out.n, 0);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "keys")), 2);
    yyjson_doc_free(doc);
    rbk_sign_keys_unref(k);
    rbk_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_as_the_vectors_do),
        cmocka_unit_test(verifies_as_the_vectors_do),
        cmocka_unit_test(takes_secrets_as_the_vectors_do),
        cmocka_unit_test(keeps_two_signed_texts_apart),
        cmocka_unit_test(keys_change_with_an_overlap),
        cmocka_unit_test(says_what_is_wrong_with_keys),
        cmocka_unit_test(takes_no_more_than_its_limit),
        cmocka_unit_test(without_a_private_key_nothing_is_signed),
        cmocka_unit_test(makes_keys),
        cmocka_unit_test(publishes_public_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
