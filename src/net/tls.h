/* SPDX-License-Identifier: Apache-2.0 */
/* net/tls.h - TLS settings shared by many streams. TLS 1.2 and up, ECDHE and AEAD
 * only, no compression, no renegotiation, no early data. Immutable once made, counted
 * by OpenSSL: any thread. */
#ifndef RBK_NET_TLS_H
#define RBK_NET_TLS_H

#include "base/str.h"

typedef struct rbk_tls rbk_tls;

typedef struct rbk_tls_client_conf {
    const char *ca_file; /* PEM, added to the system's; NULL: none */
    bool ca_only;        /* `ca_file` alone, without the system's */
    const char *cert_file, *key_file; /* PEM, shown to peers that ask for a certificate; both
                                         or NULL. Others may not read the key's file */
} rbk_tls_client_conf;

/* Certificates and names are always verified; only subjectAltName counts, and a wildcard
 * is a whole label. ALPN offers http/1.1. Sessions are kept and resumed by name and port,
 * at most 512 of them, each for an hour. SSL_CERT_FILE and SSL_CERT_DIR of the
 * environment are not read. RBK_E_CONFIG names the file in `err`. */
int rbk_tls_client_new(const rbk_tls_client_conf *conf, rbk_tls **ret, rbk_error *err);
/* PEM files of the chain and the key, which has no password. RBK_E_CONFIG as above. */
int rbk_tls_server_new(const char *cert_file, const char *key_file, rbk_tls **ret, rbk_error *err);
void rbk_tls_free(rbk_tls *t); /* streams that use it keep it; NULL is legal */

#endif
