/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for tests, made in a folder of their own: a CA, one that nobody knows, and
 * leaves of the names and times that a test wants. */
#ifndef RBK_TEST_NET_CERTS_H
#define RBK_TEST_NET_CERTS_H

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct certs {
    char dir[64];
    char ca_file[96];
    EVP_PKEY *key; /* of every certificate here */
    X509 *ca, *stranger;
    char made[64][32];
    size_t n_made;
} certs;

typedef struct leaf {
    const char *file;  /* "<file>.pem" */
    const char *names; /* subjectAltName: "DNS:a.example,IP:127.0.0.1"; NULL: none */
    const char *common;
    long from_s, to_s; /* of its validity, relative to now */
    bool stranger;     /* signed by the unknown CA */
} leaf;

static void certs_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static X509 *certs_new(certs *c, X509 *issuer, const leaf *lf)
{
    static long serial = 1;
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), lf->from_s);
    X509_gmtime_adj(X509_getm_notAfter(x), lf->to_s);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)lf->common, -1, -1,
                               0);
    X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name);
    X509_set_pubkey(x, c->key);
    if (issuer == NULL)
        certs_extend(x, x, NID_basic_constraints, "critical,CA:TRUE");
    if (lf->names)
        certs_extend(x, issuer, NID_subject_alt_name, lf->names);
    X509_sign(x, c->key, EVP_sha256());
    return x;
}

static void certs_path(certs *c, const char *name, char out[96])
{
    snprintf(out, 96, "%s/%s", c->dir, name);
}

static void certs_note(certs *c, const char *name)
{
    for (size_t i = 0; i < c->n_made; i++)
        if (strcmp(c->made[i], name) == 0)
            return;
    if (c->n_made == 64)
        abort();
    snprintf(c->made[c->n_made++], 32, "%s", name);
}

static void certs_write(certs *c, const char *name, X509 *x)
{
    char path[96];
    certs_path(c, name, path);
    FILE *f = fopen(path, "w");
    PEM_write_X509(f, x);
    fclose(f);
    certs_note(c, name);
}

static void certs_init(certs *c)
{
    char path[96];
    *c = (certs){.dir = "/tmp/rbk-certs-XXXXXX"};
    if (mkdtemp(c->dir) == NULL)
        abort();
    c->key = EVP_EC_gen("P-256");
    leaf ca = {.common = "test CA", .from_s = -3600, .to_s = 3600};
    leaf stranger = {.common = "another CA", .from_s = -3600, .to_s = 3600};
    c->ca = certs_new(c, NULL, &ca);
    c->stranger = certs_new(c, NULL, &stranger);
    certs_path(c, "ca.pem", c->ca_file);
    certs_write(c, "ca.pem", c->ca);
    certs_path(c, "key.pem", path);
    FILE *f = fopen(path, "w");
    fchmod(fileno(f), 0600);
    PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    certs_note(c, "key.pem");
}

static void certs_leaf(certs *c, const leaf *lf)
{
    char name[32];
    X509 *x = certs_new(c, lf->stranger ? c->stranger : c->ca, lf);
    snprintf(name, sizeof name, "%s.pem", lf->file);
    certs_write(c, name, x);
    X509_free(x);
}

static void certs_fini(certs *c)
{
    char path[96];
    for (size_t i = 0; i < c->n_made; i++) {
        certs_path(c, c->made[i], path);
        unlink(path);
    }
    rmdir(c->dir);
    X509_free(c->ca);
    X509_free(c->stranger);
    EVP_PKEY_free(c->key);
}

#endif
