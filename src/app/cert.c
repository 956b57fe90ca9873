/* SPDX-License-Identifier: Apache-2.0 */
/* app/cert.c - see cert.h. ECDSA on P-256, X.509 version 3, one year. */
#include "app/cert.h"

#include "base/error.h"
#include "base/id.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { LIFE_SECONDS = 365 * 86400, HOUR_SECONDS = 3600 };

static int fail_ssl(rbk_error *err, const char *what)
{
    const char *why = ERR_reason_error_string(ERR_get_error());
    return rbk_fail(err, RBK_E_TLS, "%s: %s", what, why ? why : "unknown reason");
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[16];
    rbk_random(bytes, sizeof bytes);
    bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and 16 bytes long */
    BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
    BN_free(n);
    return ok;
}

/* Unsigned yet; `issuer` NULL: its own. */
static X509 *make_body(EVP_PKEY *key, const char *common_name, X509 *issuer)
{
    X509 *cert = X509_new();
    if (cert == NULL)
        return NULL;
    X509_NAME *name = X509_get_subject_name(cert);
    bool ok = X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
              X509_gmtime_adj(X509_getm_notBefore(cert), -HOUR_SECONDS) &&
              X509_gmtime_adj(X509_getm_notAfter(cert), LIFE_SECONDS) &&
              X509_set_pubkey(cert, key) == 1 &&
              X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                         (const unsigned char *)common_name, -1, -1, 0) == 1 &&
              X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : name) == 1 &&
              add_extension(cert, issuer ? issuer : cert, NID_subject_key_identifier, "hash");
    if (ok)
        return cert;
    X509_free(cert);
    return NULL;
}

static bool sign_ca(X509 *ca, EVP_PKEY *key)
{
    return add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_extension(ca, ca, NID_key_usage, "critical,keyCertSign") &&
           X509_sign(ca, key, EVP_sha256()) > 0;
}

static bool sign_leaf(X509 *leaf, X509 *ca, EVP_PKEY *ca_key)
{
    return add_extension(leaf, ca, NID_authority_key_identifier, "keyid") &&
           add_extension(leaf, ca, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(leaf, ca, NID_key_usage, "critical,digitalSignature") &&
           add_extension(leaf, ca, NID_ext_key_usage, "serverAuth") &&
           add_extension(leaf, ca, NID_subject_alt_name,
                         "DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1") &&
           X509_sign(leaf, ca_key, EVP_sha256()) > 0;
}

/* The file holds `cert`, or else `key`; readable by its owner alone. */
static int write_pem(const char *path, X509 *cert, EVP_PKEY *key, rbk_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (f == NULL) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return rbk_fail(err, RBK_E_SYS, "%s: %s", path, strerror(why));
    }
    int ok = cert ? PEM_write_X509(f, cert)
                  : PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    if (fclose(f) != 0 || !ok)
        return rbk_fail(err, RBK_E_SYS, "%s: cannot be written", path);
    return 0;
}

static int make_files(const rbk_cert *c, rbk_error *err)
{
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    X509 *ca = ca_key ? make_body(ca_key, "ringback development CA", NULL) : NULL;
    X509 *leaf = ca && key ? make_body(key, "localhost", ca) : NULL;
    int r = 0;
    if (leaf == NULL || !sign_ca(ca, ca_key) || !sign_leaf(leaf, ca, ca_key))
        r = fail_ssl(err, "cannot make a certificate");
    if (r == 0)
        r = write_pem(c->key, NULL, key, err);
    if (r == 0)
        r = write_pem(c->chain, leaf, NULL, err);
    if (r == 0)
        r = write_pem(c->ca, ca, NULL, err);
    X509_free(leaf);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return r;
}

static bool set_path(char out[512], const char *dir, const char *name)
{
    int n = snprintf(out, 512, "%s/%s", dir, name);
    return n > 0 && n < 512;
}

int rbk_cert_make(const char *dir, rbk_cert *ret, rbk_error *err)
{
    if (!set_path(ret->ca, dir, "ca.pem") || !set_path(ret->chain, dir, "receiver.pem") ||
        !set_path(ret->key, dir, "receiver.key"))
        return rbk_fail(err, RBK_E_SYS, "the path of the folder is too long");
    if (access(ret->ca, R_OK) == 0 && access(ret->chain, R_OK) == 0 && access(ret->key, R_OK) == 0)
        return 0;
    return make_files(ret, err);
}
