/* SPDX-License-Identifier: Apache-2.0 */
/* core/sign.h - signatures of deliveries (Standard Webhooks 1.0).
 *
 * What is signed is "<id>.<timestamp>.<body>". A key is `whsec_` (HMAC-SHA256, 24 to 64
 * bytes), `whsk_` (ed25519: a seed of 32 bytes, or seed and public key) or `whpk_`
 * (ed25519, to verify alone), each with its bytes in base64. A set of keys is filled by
 * one thread and then never changes: any number of threads may sign and verify with it,
 * each with a reference. Pure: no clock, no random source. Faults never quote a secret. */
#ifndef RBK_CORE_SIGN_H
#define RBK_CORE_SIGN_H

#include "base/buf.h"

typedef struct rbk_sign_keys rbk_sign_keys;

enum {
    RBK_SIGN_KEYS_MAX = 16,       /* of one set */
    RBK_SIGN_SIGNATURES_MAX = 32, /* of one header: more are refused unread */
    RBK_SIGN_TOLERANCE_S = 300,   /* a timestamp may be this far off, both ways */
    RBK_SIGN_SEED = 32            /* random bytes of a new key */
};

/* Which keys a text may hold. */
typedef enum rbk_sign_kinds {
    RBK_SIGN_ED25519 = 1, /* whsk_ */
    RBK_SIGN_HMAC = 2,    /* whsec_ */
    RBK_SIGN_TO_VERIFY = 4 /* whpk_, and base64 without a prefix, which is taken for whsec_ */
} rbk_sign_kinds;

rbk_sign_keys *rbk_sign_keys_new(void); /* empty, one reference; NULL when memory is out */
rbk_sign_keys *rbk_sign_keys_ref(rbk_sign_keys *k);
void rbk_sign_keys_unref(rbk_sign_keys *k); /* NULL is legal; forgets the secrets at the last */

/* Add the keys of `text`: divided by blanks or line ends, `#` begins a comment. `kinds`
 * is a sum of rbk_sign_kinds. An ed25519 key that is there already is not added again.
 * 0; RBK_E_CONFIG with "line 3: …", or RBK_E_NOMEM. */
int rbk_sign_keys_read(rbk_sign_keys *k, rbk_str text, unsigned kinds, rbk_error *err);
/* One key, without blanks. 0; RBK_E_CONFIG with what is wrong, or RBK_E_NOMEM. */
int rbk_sign_keys_add(rbk_sign_keys *k, rbk_str word, unsigned kinds, rbk_error *err);
/* How many keys of a kind; of ed25519 those that can sign. */
size_t rbk_sign_keys_count(const rbk_sign_keys *k, rbk_sign_kinds kind);
bool rbk_sign_keys_empty(const rbk_sign_keys *k);

/* The text of a new key from 32 random bytes, as rbk_sign_keys_read() takes it: one line,
 * before it for ed25519 a comment with the public key. */
int rbk_sign_new_key(bool ed25519, const uint8_t seed[RBK_SIGN_SEED], rbk_buf *out);

/* The ed25519 public keys as a JWK Set (RFC 7517, 8037); kid is the thumbprint of RFC 7638. */
int rbk_sign_jwks(const rbk_sign_keys *k, rbk_buf *out);

/* Append the value of `webhook-signature`: for each key one "v1,…" or "v1a,…", divided by
 * blanks, in the order of adding. `id` is not empty and holds neither a full stop, which
 * would make the signed text ambiguous, nor a blank. 0, RBK_E_INVAL, RBK_E_STATE (no key
 * can sign), RBK_E_NOMEM, RBK_E_INTERNAL. */
typedef struct rbk_sign_message {
    rbk_str id, body;
    int64_t seconds; /* webhook-timestamp */
} rbk_sign_message;
int rbk_sign(const rbk_sign_keys *k, const rbk_sign_message *m, rbk_buf *out);
/* The same with the keys of `kinds` alone. */
int rbk_sign_by(const rbk_sign_keys *k, unsigned kinds, const rbk_sign_message *m, rbk_buf *out);

/* Is one of the signatures of one of the keys? Values as they came. 0; RBK_E_PARAMS (a
 * value is absent or malformed), RBK_E_TIMEOUT (too old or in the future),
 * RBK_E_UNAUTHORIZED (no signature fits), RBK_E_TOO_LARGE, RBK_E_NOMEM, with the reason
 * in `err`. */
typedef struct rbk_sign_check {
    rbk_str id, timestamp, signature, body;
    int64_t now; /* unix seconds */
} rbk_sign_check;
int rbk_sign_verify(const rbk_sign_keys *k, const rbk_sign_check *c, rbk_error *err);

#endif
