/* SPDX-License-Identifier: Apache-2.0 */
/* core/sign_impl.h - the inside of a set of keys, for sign.c and sign_keys.c alone. */
#ifndef RBK_CORE_SIGN_IMPL_H
#define RBK_CORE_SIGN_IMPL_H

#include "core/sign.h"

#include <stdatomic.h>

#include <openssl/evp.h>

enum {
    RBK_SIGN_SECRET_MAX = 64, /* bytes of a key; of a signature as well */
    RBK_SIGN_TEXT_MAX = 89    /* their base64, with NUL */
};

/* One of the two: `mac` has its key set and is copied for each use; `pkey`. */
typedef struct rbk_sign_key {
    EVP_MAC_CTX *mac;
    EVP_PKEY *pkey;
    bool can_sign;
    uint8_t pub[32];
} rbk_sign_key;

struct rbk_sign_keys {
    atomic_uint refs;
    size_t n;
    rbk_sign_key list[RBK_SIGN_KEYS_MAX];
};

/* Base64 with padding. `out` is NUL-terminated; returns its length. */
size_t rbk_base64(const uint8_t *p, size_t n, char out[RBK_SIGN_TEXT_MAX]);
/* How many bytes `text` stands for, at most RBK_SIGN_SECRET_MAX; -1 where it is not the
 * one spelling of these bytes. */
int rbk_base64_read(rbk_str text, uint8_t out[RBK_SIGN_SECRET_MAX]);

#endif
