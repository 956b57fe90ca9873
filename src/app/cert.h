/* SPDX-License-Identifier: Apache-2.0 */
/* app/cert.h - a certificate authority for development, thrown away at once.
 *
 * Its key lives only while the one certificate (localhost, 127.0.0.1, ::1) is signed, so
 * whoever trusts ca.pem trusts that certificate and nothing else. One thread. */
#ifndef RBK_APP_CERT_H
#define RBK_APP_CERT_H

#include "ringback/types.h"

typedef struct rbk_cert {
    char ca[512], chain[512], key[512]; /* paths of PEM files */
} rbk_cert;

/* ca.pem, receiver.pem and receiver.key in `dir`, which must be a folder of this user's
 * that nobody else can write to. A set that is there, whole, private and not expired is
 * kept, so that a server that trusts it goes on to do so; else a new one takes its place.
 * 0; RBK_E_SYS or RBK_E_TLS with `err`. */
int rbk_cert_make(const char *dir, rbk_cert *ret, rbk_error *err);

#endif
