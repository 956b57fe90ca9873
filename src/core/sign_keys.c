/* SPDX-License-Identifier: Apache-2.0 */
/* core/sign_keys.c - keys of signatures: read from text, made, published.
 *
 * OpenSSL's key objects are made once, when a key is added. Secrets that pass through our
 * own memory are wiped. */
#include "core/sign_impl.h"

#include "base/error.h"

#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>

enum { ED25519_BYTES = 32, HMAC_MIN = 24, HMAC_MAX = 64 };

/* --- Base64 ------------------------------------------------------------------------------- */

size_t rbk_base64(const uint8_t *p, size_t n, char out[RBK_SIGN_TEXT_MAX])
{
    return (size_t)EVP_EncodeBlock((unsigned char *)out, p, (int)n);
}

/* OpenSSL's reader forgives blanks and stray bits; what is not written back the same is
 * refused. */
int rbk_base64_read(rbk_str text, uint8_t out[RBK_SIGN_SECRET_MAX])
{
    uint8_t bytes[RBK_SIGN_TEXT_MAX];
    char back[RBK_SIGN_TEXT_MAX];
    int n = -1;
    if (text.n == 0 || text.n % 4 || text.n >= RBK_SIGN_TEXT_MAX)
        return -1;
    int got = EVP_DecodeBlock(bytes, (const unsigned char *)text.p, (int)text.n);
    if (got > 0) {
        got -= (text.p[text.n - 1] == '=') + (text.p[text.n - 2] == '=');
        if (got <= RBK_SIGN_SECRET_MAX && rbk_base64(bytes, (size_t)got, back) == text.n &&
            memcmp(back, text.p, text.n) == 0) {
            memcpy(out, bytes, (size_t)got);
            n = got;
        }
    }
    OPENSSL_cleanse(bytes, sizeof bytes);
    OPENSSL_cleanse(back, sizeof back);
    return n;
}

/* Without padding, and with the alphabet of URLs. */
static void add_base64url(rbk_buf *b, const uint8_t *p, size_t n)
{
    char text[RBK_SIGN_TEXT_MAX];
    size_t len = rbk_base64(p, n, text);
    for (size_t i = 0; i < len && text[i] != '='; i++)
        rbk_buf_c(b, text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
}

/* --- The set -------------------------------------------------------------------------------- */

rbk_sign_keys *rbk_sign_keys_new(void)
{
    rbk_sign_keys *k = calloc(1, sizeof *k);
    if (k)
        atomic_init(&k->refs, 1);
    return k;
}

rbk_sign_keys *rbk_sign_keys_ref(rbk_sign_keys *k)
{
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void rbk_sign_keys_unref(rbk_sign_keys *k)
{
    if (k == NULL || atomic_fetch_sub(&k->refs, 1) != 1)
        return;
    for (size_t i = 0; i < k->n; i++) {
        EVP_MAC_CTX_free(k->list[i].mac);
        EVP_PKEY_free(k->list[i].pkey);
    }
    free(k);
}

size_t rbk_sign_keys_count(const rbk_sign_keys *k, rbk_sign_kinds kind)
{
    size_t n = 0;
    for (size_t i = 0; i < k->n; i++) {
        const rbk_sign_key *key = &k->list[i];
        n += kind == RBK_SIGN_HMAC ? key->mac != NULL
                                   : key->pkey && key->can_sign == (kind == RBK_SIGN_ED25519);
    }
    return n;
}

bool rbk_sign_keys_empty(const rbk_sign_keys *k)
{
    return k->n == 0;
}

/* --- Adding: what is wrong with a key, or NULL --------------------------------------------- */

static const char no_memory[] = "out of memory";

static const char *add_hmac(rbk_sign_keys *k, const uint8_t *secret, size_t n)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_END};
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac);
    if (ctx == NULL || EVP_MAC_init(ctx, secret, n, params) != 1) {
        EVP_MAC_CTX_free(ctx);
        return no_memory;
    }
    k->list[k->n++] = (rbk_sign_key){.mac = ctx, .can_sign = true};
    return NULL;
}

/* Takes `pkey`. A public key gives way to the private one of the same pair. */
static void add_pkey(rbk_sign_keys *k, EVP_PKEY *pkey, const uint8_t *pub, bool can_sign)
{
    rbk_sign_key *key = &k->list[k->n];
    for (size_t i = 0; i < k->n; i++)
        if (k->list[i].pkey && memcmp(k->list[i].pub, pub, ED25519_BYTES) == 0)
            key = &k->list[i];
    if (key == &k->list[k->n]) {
        k->n++;
    } else if (key->can_sign || !can_sign) {
        EVP_PKEY_free(pkey);
        return;
    }
    EVP_PKEY_free(key->pkey);
    *key = (rbk_sign_key){.pkey = pkey, .can_sign = can_sign};
    memcpy(key->pub, pub, ED25519_BYTES);
}

static const char *add_private(rbk_sign_keys *k, const uint8_t *secret, size_t n)
{
    uint8_t pub[ED25519_BYTES];
    size_t len = sizeof pub;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, ED25519_BYTES);
    if (pkey == NULL || EVP_PKEY_get_raw_public_key(pkey, pub, &len) != 1) {
        EVP_PKEY_free(pkey);
        return no_memory;
    }
    if (n > ED25519_BYTES && memcmp(pub, secret + ED25519_BYTES, ED25519_BYTES) != 0) {
        EVP_PKEY_free(pkey);
        return "the two halves of the whsk_ key are no pair";
    }
    add_pkey(k, pkey, pub, true);
    return NULL;
}

static const char *add_public(rbk_sign_keys *k, const uint8_t *pub)
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pub, ED25519_BYTES);
    if (pkey == NULL)
        return no_memory;
    add_pkey(k, pkey, pub, false);
    return NULL;
}

static bool take_prefix(rbk_str *word, const char *prefix)
{
    rbk_str p = rbk_str_z(prefix);
    if (!rbk_str_starts(*word, p))
        return false;
    *word = (rbk_str){word->p + p.n, word->n - p.n};
    return true;
}

static const char *add_bytes(rbk_sign_keys *k, rbk_sign_kinds kind, const uint8_t *p, int n)
{
    if (n < 0)
        return "a key is not base64, or too long";
    if (kind == RBK_SIGN_HMAC)
        return n < HMAC_MIN || n > HMAC_MAX ? "a whsec_ key has 24 to 64 bytes"
                                            : add_hmac(k, p, (size_t)n);
    if (kind == RBK_SIGN_TO_VERIFY)
        return n != ED25519_BYTES ? "a whpk_ key has 32 bytes" : add_public(k, p);
    return n != ED25519_BYTES && n != 2 * ED25519_BYTES ? "a whsk_ key has 32 or 64 bytes"
                                                        : add_private(k, p, (size_t)n);
}

static const char *add_word(rbk_sign_keys *k, rbk_str word, unsigned kinds)
{
    uint8_t bytes[RBK_SIGN_SECRET_MAX];
    rbk_sign_kinds kind;
    if (k->n == RBK_SIGN_KEYS_MAX)
        return "more than 16 keys";
    if (take_prefix(&word, "whsk_"))
        kind = RBK_SIGN_ED25519;
    else if (take_prefix(&word, "whpk_"))
        kind = RBK_SIGN_TO_VERIFY;
    else if (take_prefix(&word, "whsec_") || kinds & RBK_SIGN_TO_VERIFY)
        kind = RBK_SIGN_HMAC;
    else
        return "not a key that begins with whsec_ or whsk_";
    if (!(kinds & kind))
        return kind == RBK_SIGN_TO_VERIFY ? "a whpk_ key cannot sign"
               : kind == RBK_SIGN_HMAC    ? "a whsec_ key is not for this place"
                                          : "a whsk_ key is not for this place";
    const char *why = add_bytes(k, kind, bytes, rbk_base64_read(word, bytes));
    OPENSSL_cleanse(bytes, sizeof bytes);
    return why;
}

int rbk_sign_keys_add(rbk_sign_keys *k, rbk_str word, unsigned kinds, rbk_error *err)
{
    const char *why = add_word(k, word, kinds);
    if (why == NULL)
        return 0;
    return rbk_fail(err, why == no_memory ? RBK_E_NOMEM : RBK_E_CONFIG, "%s", why);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of a line, behind comments; false at its end. */
static bool next_word(rbk_str *line, rbk_str *ret)
{
    size_t n = 0;
    while (line->n && is_blank(line->p[0]))
        line->p++, line->n--;
    if (line->n == 0 || line->p[0] == '#')
        return false;
    while (n < line->n && !is_blank(line->p[n]))
        n++;
    *ret = (rbk_str){line->p, n};
    *line = (rbk_str){line->p + n, line->n - n};
    return true;
}

int rbk_sign_keys_read(rbk_sign_keys *k, rbk_str text, unsigned kinds, rbk_error *err)
{
    rbk_error why = {0};
    for (unsigned number = 1; text.n; number++) {
        const char *end = memchr(text.p, '\n', text.n);
        rbk_str line = {text.p, end ? (size_t)(end - text.p) : text.n}, word;
        text = end ? (rbk_str){end + 1, text.n - line.n - 1} : RBK_STR_NONE;
        while (next_word(&line, &word)) {
            int r = rbk_sign_keys_add(k, word, kinds, &why);
            if (r < 0)
                return rbk_fail(err, r, "line %u: %s", number, why.detail);
        }
    }
    return 0;
}

/* --- Making and publishing ------------------------------------------------------------------ */

int rbk_sign_new_key(bool ed25519, const uint8_t seed[RBK_SIGN_SEED], rbk_buf *out)
{
    uint8_t pair[2 * ED25519_BYTES];
    char text[RBK_SIGN_TEXT_MAX];
    size_t len = ED25519_BYTES;
    if (!ed25519) {
        rbk_base64(seed, RBK_SIGN_SEED, text);
        rbk_buf_addf(out, "whsec_%s\n", text);
        OPENSSL_cleanse(text, sizeof text);
        return rbk_buf_err(out);
    }
    memcpy(pair, seed, ED25519_BYTES);
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, ED25519_BYTES);
    bool ok = pkey && EVP_PKEY_get_raw_public_key(pkey, pair + ED25519_BYTES, &len) == 1;
    EVP_PKEY_free(pkey);
    if (ok) {
        rbk_base64(pair + ED25519_BYTES, ED25519_BYTES, text);
        rbk_buf_addf(out, "# whpk_%s\n", text);
        rbk_base64(pair, sizeof pair, text);
        rbk_buf_addf(out, "whsk_%s\n", text);
    }
    OPENSSL_cleanse(pair, sizeof pair);
    OPENSSL_cleanse(text, sizeof text);
    return ok ? rbk_buf_err(out) : RBK_E_NOMEM;
}

static int add_jwk(const rbk_sign_key *key, rbk_buf *out)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    rbk_buf canonical = RBK_BUF(256);
    rbk_buf_lit(&canonical, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"");
    add_base64url(&canonical, key->pub, ED25519_BYTES);
    rbk_buf_lit(&canonical, "\"}");
    int r = rbk_buf_err(&canonical);
    if (r == 0 && EVP_Digest(canonical.p, canonical.n, digest, &n, EVP_sha256(), NULL) != 1)
        r = RBK_E_NOMEM;
    rbk_buf_free(&canonical);
    if (r < 0)
        return r;
    rbk_buf_lit(out, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
    add_base64url(out, key->pub, ED25519_BYTES);
    rbk_buf_lit(out, "\",\"kid\":\"");
    add_base64url(out, digest, n);
    rbk_buf_lit(out, "\",\"use\":\"sig\"}");
    return 0;
}

int rbk_sign_jwks(const rbk_sign_keys *k, rbk_buf *out)
{
    bool first = true;
    int r = 0;
    rbk_buf_lit(out, "{\"keys\":[");
    for (size_t i = 0; r == 0 && i < k->n; i++) {
        if (k->list[i].pkey == NULL)
            continue;
        rbk_buf_z(out, first ? "" : ",");
        r = add_jwk(&k->list[i], out);
        first = false;
    }
    rbk_buf_lit(out, "]}");
    return r < 0 ? r : rbk_buf_err(out);
}
