/* SPDX-License-Identifier: Apache-2.0 */
/* net/tls.h - TLS settings shared by many streams. TLS 1.2 and up, ECDHE and AEAD
 * only, no compression, no renegotiation, no early data. Counted; any thread. */
#ifndef RBK_NET_TLS_H
#define RBK_NET_TLS_H

#include "base/clock.h"
#include "base/str.h"

typedef struct rbk_tls rbk_tls;

typedef struct rbk_tls_client_conf {
    const char *ca_file; /* PEM, added to the system's; NULL: none */
    bool ca_only;        /* `ca_file` alone, without the system's */
    const char *cert_file, *key_file; /* PEM, shown to peers that ask for a certificate; both
                                         or NULL. Others may not read the key's file */
} rbk_tls_client_conf;

/* Certificates and names are always verified; only subjectAltName counts, and a wildcard
 * is a whole label. ALPN offers http/1.1, and what
 * a stream adds to it. Sessions are kept and resumed by name and port,
 * at most 512 of them, each for an hour. SSL_CERT_FILE and SSL_CERT_DIR of the
 * environment are not read. RBK_E_CONFIG names the file in `err`. */
int rbk_tls_client_new(const rbk_tls_client_conf *conf, rbk_tls **ret, rbk_error *err);
typedef struct rbk_tls_server_conf {
    const char *cert_file, *key_file; /* PEM: the chain, our own certificate first; its key, without a
                                         password. Others may not use the key's file */
    const char *client_ca; /* PEM: clients must show a certificate that these authorities issued
                              for clients; NULL: none is asked for */
} rbk_tls_server_conf;

/* ALPN has http/1.1 alone. Sessions are resumed for an hour, by tickets (RFC 5077, RFC 8446
 * section 4.6.1). RBK_E_CONFIG names the file in `err`. */
int rbk_tls_server_new(const rbk_tls_server_conf *conf, rbk_tls **ret, rbk_error *err);
/* Connections to come get the settings of `fresh`, which is freed; those that are there keep
 * theirs. No session from before is resumed. Both are a server's. */
void rbk_tls_server_take(rbk_tls *t, rbk_tls *fresh);
/* When our own certificate is valid. RFC 5280 section 4.1.2.5; a time that cannot be told is 0. */
void rbk_tls_server_validity(rbk_tls *t, rbk_wall_ms *ret_from, rbk_wall_ms *ret_until);
rbk_tls *rbk_tls_ref(rbk_tls *t); /* returns `t` */
void rbk_tls_free(rbk_tls *t); /* streams that use it keep it; NULL is legal */

#endif
