/* SPDX-License-Identifier: Apache-2.0 */
/* net/tls.c - see tls.h: the settings of TLS, names and certificates, kept sessions.
 *
 * The policy is in here alone. Nothing of the environment is read: SSL_CERT_FILE and
 * SSL_CERT_DIR are not asked, so that nobody's shell decides whom we trust.
 *
 * Sessions of receivers are kept by "name:port", at most SESSIONS_MAX of them (the
 * oldest goes), and for at most SESSION_S: a certificate is looked at again after that,
 * though a resumed handshake does not show it. The cache is behind a mutex, because
 * one rbk_tls serves every loop. */
#include "net/tls_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/map.h"
#include "base/ring.h"

enum { SESSIONS_MAX = 512, SESSION_S = 3600, CERTS_MAX = 64 * 1024, DEPTH_MAX = 10 };

#define CIPHERS_12 "ECDHE+AESGCM:ECDHE+CHACHA20"
#define CIPHERS_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS     "X25519:P-256:P-384"

static const unsigned char alpn_http11[] = "\x08http/1.1";
enum { ALPN_N = sizeof alpn_http11 - 1 };

struct rbk_tls {
    atomic_uint refs;
    bool client;
    pthread_mutex_t lock; /* of what follows */
    SSL_CTX *ctx;         /* a client's never changes */
    rbk_map *sessions;
    rbk_link by_age;
};

/* --- what OpenSSL says --- */

static void add_text(char out[RBK_TLS_DETAIL], const char *sep, const char *text)
{
    size_t n = strlen(out);
    snprintf(out + n, RBK_TLS_DETAIL - n, "%s%s", sep, text);
}

void rbk_tls_explain(SSL *ssl, const char *what, char out[RBK_TLS_DETAIL])
{
    const char *sep = ": ", *data;
    unsigned long e;
    int flags;
    snprintf(out, RBK_TLS_DETAIL, "%s", what);
    while ((e = ERR_get_error_all(NULL, NULL, NULL, &data, &flags)) != 0) {
        const char *reason = ERR_reason_error_string(e);
        add_text(out, sep, reason ? reason : "unknown error");
        if ((flags & ERR_TXT_STRING) && data && *data)
            add_text(out, ", ", data);
        sep = "; ";
    }
    long verdict = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
    if (verdict != X509_V_OK)
        add_text(out, sep, X509_verify_cert_error_string(verdict));
}

static int fail_config(rbk_error *err, const char *what)
{
    char detail[RBK_TLS_DETAIL];
    rbk_tls_explain(NULL, what, detail);
    return rbk_fail(err, RBK_E_CONFIG, "%s", detail);
}

/* --- sessions --- */

typedef struct session {
    rbk_link link; /* in by_age */
    rbk_str key;   /* the map's copy */
    SSL_SESSION *s;
} session;

static void drop_session(rbk_tls *t, session *e)
{
    rbk_link_remove(&e->link);
    rbk_map_remove(t->sessions, e->key);
    SSL_SESSION_free(e->s);
    free(e);
}

static session *add_session(rbk_tls *t, rbk_str key)
{
    if (rbk_map_size(t->sessions) >= SESSIONS_MAX)
        drop_session(t, RBK_OF_LINK(t->by_age.next, session, link));
    session *e = calloc(1, sizeof *e);
    if (e == NULL || rbk_map_put(t->sessions, key, e, &e->key) < 0) {
        free(e);
        return NULL;
    }
    rbk_link_init(&e->link);
    return e;
}

/* OpenSSL has a session for us. 0: it stays the connection's. A connection may change its
 * session (one that is cut off makes it useless), so what is kept, and what is given to
 * the next connection, are copies. */
static int on_session(SSL *ssl, SSL_SESSION *s)
{
    rbk_tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    rbk_str key = rbk_str_z(SSL_get_app_data(ssl));
    SSL_SESSION *copy = key.n > 0 && SSL_SESSION_is_resumable(s) ? SSL_SESSION_dup(s) : NULL;
    if (copy == NULL)
        return 0;
    pthread_mutex_lock(&t->lock);
    session *e = rbk_map_get(t->sessions, key);
    if (e == NULL)
        e = add_session(t, key);
    SSL_SESSION *old = copy;
    if (e) {
        old = e->s;
        e->s = copy;
        rbk_link_append(&t->by_age, &e->link);
    }
    pthread_mutex_unlock(&t->lock);
    SSL_SESSION_free(old);
    return 0;
}

/* A copy of the session to resume, or NULL. */
static SSL_SESSION *get_session(rbk_tls *t, const char *key)
{
    SSL_SESSION *s = NULL;
    time_t now = time(NULL);
    pthread_mutex_lock(&t->lock);
    session *e = rbk_map_get(t->sessions, rbk_str_z(key));
    if (e) {
        time_t made = (time_t)SSL_SESSION_get_time(e->s);
        if (made > now || now - made > SESSION_S || !SSL_SESSION_is_resumable(e->s))
            drop_session(t, e);
        else
            s = SSL_SESSION_dup(e->s);
    }
    pthread_mutex_unlock(&t->lock);
    return s;
}

/* --- one connection --- */

/* A literal is verified as an address and not sent as a name (RFC 6066 section 3). Only
 * subjectAltName counts, never the common name (RFC 9525). */
static bool expect_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *vp = SSL_get0_param(ssl);
    unsigned char ip[16];
    if (inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(vp, name) == 1;
    X509_VERIFY_PARAM_set_hostflags(vp, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                            X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return *name && X509_VERIFY_PARAM_set1_host(vp, name, 0) == 1 &&
           SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    (char *)(uintptr_t)name) == 1; /* copied; the macro drops the const */
}

SSL *rbk_tls_ssl_new(rbk_tls *t, const char *name, const char *key)
{
    ERR_clear_error();
    pthread_mutex_lock(&t->lock);
    SSL *ssl = SSL_new(t->ctx);
    pthread_mutex_unlock(&t->lock);
    if (ssl == NULL)
        return NULL;
    if (!t->client) {
        SSL_set_accept_state(ssl);
        return ssl;
    }
    SSL_set_connect_state(ssl);
    if (name == NULL || key == NULL || !expect_name(ssl, name)) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_app_data(ssl, (char *)(uintptr_t)key);
    SSL_SESSION *s = get_session(t, key);
    if (s)
        SSL_set_session(ssl, s); /* at worst the handshake is a full one */
    SSL_SESSION_free(s);
    return ssl;
}

/* --- settings --- */

/* OpenSSL would ask at the terminal. */
static int no_password(char *buf, int size, int rwflag, void *user)
{
    (void)buf, (void)size, (void)rwflag, (void)user;
    return 0;
}

static bool set_policy(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_clear_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_security_level(ctx, 2);
    SSL_CTX_set_max_cert_list(ctx, CERTS_MAX);
    SSL_CTX_set_verify_depth(ctx, DEPTH_MAX);
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, CIPHERS_12) == 1 &&
           SSL_CTX_set_ciphersuites(ctx, CIPHERS_13) == 1 &&
           SSL_CTX_set1_groups_list(ctx, GROUPS) == 1;
}

static rbk_tls *new_tls(bool client)
{
    rbk_tls *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    ERR_clear_error();
    t->client = client;
    atomic_init(&t->refs, 1);
    pthread_mutex_init(&t->lock, NULL);
    rbk_link_init(&t->by_age);
    t->sessions = rbk_map_new();
    t->ctx = SSL_CTX_new(client ? TLS_client_method() : TLS_server_method());
    if (t->sessions == NULL || t->ctx == NULL || !set_policy(t->ctx)) {
        rbk_tls_free(t);
        return NULL;
    }
    SSL_CTX_set_app_data(t->ctx, t);
    return t;
}

/* The system's file and folder of certificates may each be missing. */
static void trust_system(SSL_CTX *ctx)
{
    SSL_CTX_load_verify_file(ctx, X509_get_default_cert_file());
    SSL_CTX_load_verify_dir(ctx, X509_get_default_cert_dir());
    ERR_clear_error();
}

/* A FIFO would hold us. */
static int check_file(const char *path, bool secret, rbk_error *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return rbk_fail(err, RBK_E_CONFIG, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return rbk_fail(err, RBK_E_CONFIG, "%s: is no file", path);
    if (secret && (st.st_mode & (S_IRWXG | S_IRWXO)))
        return rbk_fail(err, RBK_E_CONFIG, "%s: others than its owner may use it; chmod 600 it", path);
    return 0;
}

/* Our own. A key that others may read is no proof of who we are. */
static int load_pair(SSL_CTX *ctx, const char *cert_file, const char *key_file, rbk_error *err)
{
    int r = check_file(cert_file, false, err);
    if (r == 0)
        r = check_file(key_file, true, err);
    if (r < 0)
        return r;
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
        return fail_config(err, cert_file);
    if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ctx) != 1)
        return fail_config(err, key_file);
    return 0;
}

int rbk_tls_client_new(const rbk_tls_client_conf *conf, rbk_tls **ret, rbk_error *err)
{
    rbk_tls *t = new_tls(true);
    if (t == NULL)
        return fail_config(err, "TLS settings");
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(t->ctx, on_session);
    if (SSL_CTX_set_alpn_protos(t->ctx, alpn_http11, ALPN_N) != 0) {
        rbk_tls_free(t);
        return rbk_fail(err, RBK_E_NOMEM, "TLS settings");
    }
    if (!conf->ca_only)
        trust_system(t->ctx);
    if (conf->ca_file && access(conf->ca_file, R_OK) < 0) {
        int why = errno;
        rbk_tls_free(t);
        return rbk_fail(err, RBK_E_CONFIG, "%s: %s", conf->ca_file, strerror(why));
    }
    if (conf->ca_file && SSL_CTX_load_verify_file(t->ctx, conf->ca_file) != 1) {
        int r = fail_config(err, conf->ca_file);
        rbk_tls_free(t);
        return r;
    }
    int r = conf->cert_file && conf->key_file
                ? load_pair(t->ctx, conf->cert_file, conf->key_file, err)
                : 0;
    if (r < 0) {
        rbk_tls_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

/* A client that speaks ALPN and not http/1.1 is refused (RFC 7301 section 3.2). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                   const unsigned char *in, unsigned in_n, void *user)
{
    (void)ssl, (void)user;
    unsigned char *p = NULL;
    if (SSL_select_next_proto(&p, out_n, alpn_http11, ALPN_N, in, in_n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = p;
    return SSL_TLSEXT_ERR_OK;
}

/* Verified is the chain and its purpose; whose certificate it is nobody asks here. */
static int ask_clients(SSL_CTX *ctx, const char *ca_file, rbk_error *err)
{
    int r = check_file(ca_file, false, err);
    if (r < 0)
        return r;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca_file);
    if (names == NULL || SSL_CTX_load_verify_file(ctx, ca_file) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail_config(err, ca_file);
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

int rbk_tls_server_new(const rbk_tls_server_conf *conf, rbk_tls **ret, rbk_error *err)
{
    static const unsigned char context[] = "ringback"; /* without one, no client's is resumed */
    rbk_tls *t = new_tls(false);
    if (t == NULL)
        return fail_config(err, "TLS settings");
    SSL_CTX_set_options(t->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF); /* tickets: no memory here */
    SSL_CTX_set_session_id_context(t->ctx, context, sizeof context - 1);
    SSL_CTX_set_timeout(t->ctx, SESSION_S);
    SSL_CTX_set_num_tickets(t->ctx, 1);
    SSL_CTX_set_alpn_select_cb(t->ctx, on_alpn, NULL);
    int r = load_pair(t->ctx, conf->cert_file, conf->key_file, err);
    if (r == 0 && conf->client_ca)
        r = ask_clients(t->ctx, conf->client_ca, err);
    if (r < 0) {
        rbk_tls_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void rbk_tls_server_take(rbk_tls *t, rbk_tls *fresh)
{
    pthread_mutex_lock(&t->lock);
    SSL_CTX *old = t->ctx;
    t->ctx = fresh->ctx;
    fresh->ctx = old;
    SSL_CTX_set_app_data(t->ctx, t);
    pthread_mutex_unlock(&t->lock);
    rbk_tls_free(fresh);
}

static rbk_wall_ms wall_of(const ASN1_TIME *at)
{
    struct tm tm;
    time_t t = at && ASN1_TIME_to_tm(at, &tm) == 1 ? timegm(&tm) : 0;
    return (rbk_wall_ms)t * 1000;
}

void rbk_tls_server_validity(rbk_tls *t, rbk_wall_ms *ret_from, rbk_wall_ms *ret_until)
{
    pthread_mutex_lock(&t->lock);
    const X509 *own = SSL_CTX_get0_certificate(t->ctx);
    *ret_from = wall_of(own ? X509_get0_notBefore(own) : NULL);
    *ret_until = wall_of(own ? X509_get0_notAfter(own) : NULL);
    pthread_mutex_unlock(&t->lock);
}

rbk_tls *rbk_tls_ref(rbk_tls *t)
{
    atomic_fetch_add(&t->refs, 1);
    return t;
}

void rbk_tls_free(rbk_tls *t)
{
    if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    while (!rbk_link_empty(&t->by_age))
        drop_session(t, RBK_OF_LINK(t->by_age.next, session, link));
    rbk_map_free(t->sessions);
    SSL_CTX_free(t->ctx);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
