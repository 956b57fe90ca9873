/* SPDX-License-Identifier: Apache-2.0 */
/* core/sign.c - see sign.h: signing and verifying with a set of keys.
 *
 * HMAC signatures are compared as text and in constant time, so there is one spelling of
 * each. Work is bounded by the limits of keys and signatures. Any thread. */
#include "core/sign_impl.h"

#include "base/error.h"

#include <limits.h>

#include <openssl/crypto.h>

enum { HMAC_BYTES = 32, HMAC_TEXT = 44, ED25519_SIGNATURE = 64, SIGNED_MAX = 1 << 30 };

/* "<id>.<timestamp>.<body>" */
static void add_signed(rbk_buf *b, rbk_str id, rbk_str timestamp, rbk_str body)
{
    rbk_buf_reserve(b, id.n + timestamp.n + body.n + 2);
    rbk_buf_str(b, id);
    rbk_buf_c(b, '.');
    rbk_buf_str(b, timestamp);
    rbk_buf_c(b, '.');
    rbk_buf_str(b, body);
}

static bool hmac(const rbk_sign_key *key, rbk_str text, char out[RBK_SIGN_TEXT_MAX])
{
    uint8_t mac[HMAC_BYTES];
    size_t n = 0;
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(key->mac);
    bool ok = ctx && EVP_MAC_update(ctx, (const unsigned char *)text.p, text.n) == 1 &&
              EVP_MAC_final(ctx, mac, &n, sizeof mac) == 1 && n == sizeof mac;
    EVP_MAC_CTX_free(ctx);
    if (ok)
        rbk_base64(mac, sizeof mac, out);
    return ok;
}

static bool ed25519(const rbk_sign_key *key, rbk_str text, char out[RBK_SIGN_TEXT_MAX])
{
    uint8_t signature[ED25519_SIGNATURE];
    size_t n = sizeof signature;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key->pkey) == 1 &&
              EVP_DigestSign(ctx, signature, &n, (const unsigned char *)text.p, text.n) == 1 &&
              n == sizeof signature;
    EVP_MD_CTX_free(ctx);
    if (ok)
        rbk_base64(signature, sizeof signature, out);
    return ok;
}

static bool is_id(rbk_str id)
{
    for (size_t i = 0; i < id.n; i++)
        if ((unsigned char)id.p[i] <= ' ' || id.p[i] == '.' || id.p[i] == 0x7f)
            return false;
    return id.n > 0;
}

int rbk_sign_by(const rbk_sign_keys *k, unsigned kinds, const rbk_sign_message *m, rbk_buf *out)
{
    rbk_buf text = RBK_BUF(SIGNED_MAX), time = RBK_BUF(32);
    char signature[RBK_SIGN_TEXT_MAX];
    bool first = true;
    if (!is_id(m->id) || m->seconds < 0)
        return RBK_E_INVAL;
    rbk_buf_add_u64(&time, (uint64_t)m->seconds);
    add_signed(&text, m->id, rbk_buf_view(&time), m->body);
    int r = rbk_buf_err(&time) < 0 ? rbk_buf_err(&time) : rbk_buf_err(&text);
    for (size_t i = 0; r == 0 && i < k->n; i++) {
        const rbk_sign_key *key = &k->list[i];
        if (!key->can_sign || !(kinds & (key->mac ? RBK_SIGN_HMAC : RBK_SIGN_ED25519)))
            continue;
        if (!(key->mac ? hmac : ed25519)(key, rbk_buf_view(&text), signature))
            r = RBK_E_INTERNAL;
        rbk_buf_addf(out, "%s%s,%s", first ? "" : " ", key->mac ? "v1" : "v1a", signature);
        first = false;
    }
    rbk_buf_free(&text);
    rbk_buf_free(&time);
    if (r == 0 && first)
        r = RBK_E_STATE;
    return r < 0 ? r : rbk_buf_err(out);
}

int rbk_sign(const rbk_sign_keys *k, const rbk_sign_message *m, rbk_buf *out)
{
    return rbk_sign_by(k, RBK_SIGN_ED25519 | RBK_SIGN_HMAC, m, out);
}

/* --- Verifying ------------------------------------------------------------------------------ */

/* What our own keys make of the text, once for all signatures of the header. */
typedef struct expected {
    rbk_str text;
    char hmac[RBK_SIGN_KEYS_MAX][RBK_SIGN_TEXT_MAX];
} expected;

static bool fits_hmac(const rbk_sign_keys *k, const expected *e, rbk_str value)
{
    bool fits = false;
    if (value.n != HMAC_TEXT)
        return false;
    for (size_t i = 0; i < k->n; i++)
        if (k->list[i].mac)
            fits |= CRYPTO_memcmp(e->hmac[i], value.p, HMAC_TEXT) == 0;
    return fits;
}

static bool fits_key(const rbk_sign_key *key, rbk_str text, const uint8_t *signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key->pkey) == 1 &&
              EVP_DigestVerify(ctx, signature, ED25519_SIGNATURE, (const unsigned char *)text.p,
                               text.n) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static bool fits_ed25519(const rbk_sign_keys *k, const expected *e, rbk_str value)
{
    uint8_t signature[RBK_SIGN_SECRET_MAX];
    if (rbk_base64_read(value, signature) != ED25519_SIGNATURE)
        return false;
    for (size_t i = 0; i < k->n; i++)
        if (k->list[i].pkey && fits_key(&k->list[i], e->text, signature))
            return true;
    return false;
}

static bool fits(const rbk_sign_keys *k, const expected *e, rbk_str word)
{
    rbk_str v1 = RBK_STR("v1,"), v1a = RBK_STR("v1a,");
    if (rbk_str_starts(word, v1))
        return fits_hmac(k, e, (rbk_str){word.p + v1.n, word.n - v1.n});
    if (rbk_str_starts(word, v1a))
        return fits_ed25519(k, e, (rbk_str){word.p + v1a.n, word.n - v1a.n});
    return false;
}

/* The next signature of a list divided by blanks. */
static bool next_signature(rbk_str *list, rbk_str *ret)
{
    size_t n = 0;
    *list = rbk_str_trim(*list);
    while (n < list->n && list->p[n] != ' ')
        n++;
    *ret = (rbk_str){list->p, n};
    *list = (rbk_str){list->p + n, list->n - n};
    return n > 0;
}

static int check_signatures(const rbk_sign_keys *k, const expected *e, rbk_str list, rbk_error *err)
{
    rbk_str rest = list, word;
    size_t n = 0;
    while (next_signature(&rest, &word))
        if (++n > RBK_SIGN_SIGNATURES_MAX)
            return rbk_fail_text(err, RBK_E_TOO_LARGE, "more than %d signatures",
                                 RBK_SIGN_SIGNATURES_MAX);
    while (next_signature(&list, &word))
        if (fits(k, e, word))
            return 0;
    return rbk_fail_text(err, RBK_E_UNAUTHORIZED, "no signature is of a known key");
}

static int check_values(const rbk_sign_check *c, rbk_error *err)
{
    uint64_t time;
    if (!is_id(c->id))
        return rbk_fail_text(err, RBK_E_PARAMS, "webhook-id is absent or malformed");
    if (rbk_str_u64(c->timestamp, INT64_MAX / 2, &time) < 0)
        return rbk_fail_text(err, RBK_E_PARAMS, "webhook-timestamp is absent or malformed");
    if (rbk_str_trim(c->signature).n == 0)
        return rbk_fail_text(err, RBK_E_PARAMS, "webhook-signature is absent");
    if (c->now > INT64_MAX / 2 || c->now < 0)
        return rbk_fail_text(err, RBK_E_INVAL, "the time of day is none");
    if (c->now - (int64_t)time > RBK_SIGN_TOLERANCE_S)
        return rbk_fail_text(err, RBK_E_TIMEOUT, "webhook-timestamp is more than %d s old",
                             RBK_SIGN_TOLERANCE_S);
    if ((int64_t)time - c->now > RBK_SIGN_TOLERANCE_S)
        return rbk_fail_text(err, RBK_E_TIMEOUT, "webhook-timestamp is more than %d s ahead",
                             RBK_SIGN_TOLERANCE_S);
    return 0;
}

int rbk_sign_verify(const rbk_sign_keys *k, const rbk_sign_check *c, rbk_error *err)
{
    expected e;
    rbk_buf text = RBK_BUF(SIGNED_MAX);
    int r = check_values(c, err);
    if (r < 0)
        return r;
    add_signed(&text, c->id, c->timestamp, c->body);
    if (rbk_buf_err(&text) < 0)
        r = rbk_fail(err, rbk_buf_err(&text), "the body is too large");
    e.text = rbk_buf_view(&text);
    for (size_t i = 0; r == 0 && i < k->n; i++)
        if (k->list[i].mac && !hmac(&k->list[i], e.text, e.hmac[i]))
            r = rbk_fail(err, RBK_E_NOMEM, "out of memory");
    if (r == 0)
        r = check_signatures(k, &e, c->signature, err);
    OPENSSL_cleanse(e.hmac, sizeof e.hmac);
    rbk_buf_free(&text);
    return r;
}
