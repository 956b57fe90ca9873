/* SPDX-License-Identifier: Apache-2.0 */
/* app/cert.c - see cert.h. ECDSA on P-256, X.509 version 3, one year.
 *
 * The folder is opened once and all files are named from there. A link in it is never
 * followed: what is read must be a plain file of ours, and what is written is a new file
 * that is then renamed. One thread. */
#include "app/cert.h"

#include "base/error.h"
#include "base/id.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { LIFE_SECONDS = 365 * 86400, HOUR_SECONDS = 3600 };

static const char ca_name[] = "ca.pem", chain_name[] = "receiver.pem", key_name[] = "receiver.key";

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

/* --- Files ------------------------------------------------------------------------------------- */

/* The new file `temp` holds `cert`, or else `key`. 0, or an errno. */
static int write_pem(int dir, const char *temp, X509 *cert, EVP_PKEY *key)
{
    int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (f == NULL) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return why;
    }
    int ok = cert ? PEM_write_X509(f, cert)
                  : PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    return fclose(f) == 0 && ok ? 0 : EIO;
}

static int replace_pem(int dir, const char *name, X509 *cert, EVP_PKEY *key, rbk_error *err)
{
    unsigned char bytes[8];
    char temp[40] = ".ringback-";
    rbk_random(bytes, sizeof bytes);
    for (size_t i = 0, at = strlen(temp); i < sizeof bytes; i++, at += 2)
        snprintf(temp + at, 3, "%02x", bytes[i]);
    int why = write_pem(dir, temp, cert, key);
    if (why == 0 && renameat(dir, temp, dir, name) < 0)
        why = errno;
    if (why == 0)
        return 0;
    if (why != EEXIST)
        unlinkat(dir, temp, 0);
    return rbk_fail(err, RBK_E_SYS, "%s: cannot be written: %s", name, strerror(why));
}

static int make_files(int dir, rbk_error *err)
{
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    X509 *ca = ca_key ? make_body(ca_key, "ringback development CA", NULL) : NULL;
    X509 *leaf = ca && key ? make_body(key, "localhost", ca) : NULL;
    int r = 0;
    if (leaf == NULL || !sign_ca(ca, ca_key) || !sign_leaf(leaf, ca, ca_key))
        r = fail_ssl(err, "cannot make a certificate");
    if (r == 0)
        r = replace_pem(dir, key_name, NULL, key, err);
    if (r == 0)
        r = replace_pem(dir, chain_name, leaf, NULL, err);
    if (r == 0)
        r = replace_pem(dir, ca_name, ca, NULL, err);
    X509_free(leaf);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return r;
}

/* A plain file of ours that nobody else may write to, nor read when it is `secret`. */
static FILE *open_pem(int dir, const char *name, bool secret)
{
    struct stat st;
    mode_t wrong = secret ? S_IRWXG | S_IRWXO : S_IWGRP | S_IWOTH;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    FILE *f = NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & wrong))
        f = fdopen(fd, "r");
    if (f == NULL)
        close(fd);
    return f;
}

static X509 *read_cert(int dir, const char *name)
{
    FILE *f = open_pem(dir, name, false);
    X509 *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    if (f)
        fclose(f);
    return cert;
}

static int no_password(char *buf, int size, int rwflag, void *user)
{
    (void)buf, (void)size, (void)rwflag, (void)user;
    return -1; /* not asked for at the terminal */
}

static EVP_PKEY *read_key(int dir)
{
    FILE *f = open_pem(dir, key_name, true);
    EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, no_password, NULL) : NULL;
    if (f)
        fclose(f);
    return key;
}

static bool is_expired(const X509 *cert)
{
    return X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0;
}

/* Is what is there good for a server that trusts ca.pem? */
static bool are_files_good(int dir)
{
    X509 *ca = read_cert(dir, ca_name), *leaf = read_cert(dir, chain_name);
    EVP_PKEY *key = read_key(dir);
    bool good = ca && leaf && key && !is_expired(ca) && !is_expired(leaf) &&
                X509_check_private_key(leaf, key) == 1 &&
                X509_verify(leaf, X509_get0_pubkey(ca)) == 1;
    X509_free(ca);
    X509_free(leaf);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return good;
}

static int open_dir(const char *path, rbk_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return rbk_fail(err, RBK_E_SYS, "%s: %s", path,
                        errno == ENOTDIR || errno == ELOOP ? "is not a folder" : strerror(errno));
    const char *wrong = NULL;
    if (fstat(fd, &st) < 0)
        wrong = strerror(errno);
    else if (st.st_uid != geteuid())
        wrong = "belongs to another user; a private key wants a folder of your own";
    else if (st.st_mode & (S_IWGRP | S_IWOTH))
        wrong = "others may write to it; take that away with chmod go-w";
    if (wrong == NULL)
        return fd;
    close(fd);
    return rbk_fail(err, RBK_E_SYS, "%s: %s", path, wrong);
}

static bool set_path(char out[512], const char *dir, const char *name)
{
    int n = snprintf(out, 512, "%s/%s", dir, name);
    return n > 0 && n < 512;
}

int rbk_cert_make(const char *dir, rbk_cert *ret, rbk_error *err)
{
    if (!set_path(ret->ca, dir, ca_name) || !set_path(ret->chain, dir, chain_name) ||
        !set_path(ret->key, dir, key_name))
        return rbk_fail(err, RBK_E_SYS, "the path of the folder is too long");
    int fd = open_dir(dir, err);
    if (fd < 0)
        return fd;
    rbk_error what = {0};
    int r = are_files_good(fd) ? 0 : make_files(fd, &what);
    close(fd);
    return r < 0 ? rbk_fail(err, r, "%s: %s", dir, what.detail) : 0;
}
