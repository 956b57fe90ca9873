/* SPDX-License-Identifier: Apache-2.0 */
/* net/tls_impl.h - what stream_tls.c uses of tls.c. Any thread; an SSL belongs to one. */
#ifndef RBK_NET_TLS_IMPL_H
#define RBK_NET_TLS_IMPL_H

#include <openssl/ssl.h>

#include "net/tls.h"

enum { RBK_TLS_DETAIL = 320 };

/* An SSL ready for its handshake; the caller's. For client settings `name` (a host name
 * or an address literal, never NULL) is what the certificate must be for, and `key` is
 * where its sessions are kept: it must live as long as the SSL. For server settings
 * both are NULL. NULL on failure: the error queue of OpenSSL says why. */
SSL *rbk_tls_ssl_new(rbk_tls *t, const char *name, const char *key);

/* Empty the error queue of OpenSSL into one line that begins with `what`. `ssl` may be
 * NULL. */
void rbk_tls_explain(SSL *ssl, const char *what, char out[RBK_TLS_DETAIL]);

#endif
