/* SPDX-License-Identifier: Apache-2.0 */
/* tests/support/receiver.h - a scripted receiver for tests: raw TCP or TLS, one thread
 * a connection, a function of the test as its script. Independent of the net floor, so
 * that it can do what no decent server does. Also certificates made on the spot.
 *
 * Header only; every test program that includes it gets its own copy. */
#ifndef RBK_TESTS_RECEIVER_H
#define RBK_TESTS_RECEIVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline void wait_until_(bool (*cond)(void *), void *arg, const char *what)
{
    for (int i = 0; i < 20000; i++) {
        if (cond(arg))
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fprintf(stderr, "waited in vain: %s\n", what);
    abort();
}

typedef struct at_least {
    atomic_int *v;
    int n;
} at_least;

static inline bool is_at_least(void *arg)
{
    const at_least *a = arg;
    return atomic_load(a->v) >= a->n;
}

/* Wait for a counter, twenty seconds at most. */
#define WAIT_COUNT(counter, least)                                                                 \
    wait_until_(is_at_least, &(at_least){&(counter), (least)}, #counter " >= " #least)

/* --- certificates --- */

typedef struct identity {
    EVP_PKEY *key;
    X509 *cert;
} identity;

typedef struct cert_spec {
    const char *san;        /* "DNS:a.example,IP:127.0.0.1"; NULL: a CA */
    const identity *issuer; /* NULL: self-signed */
    long from_s, to_s;      /* seconds from now; 0, 0: an hour around now */
    bool weak;              /* RSA of 1,024 bits */
} cert_spec;

static inline void add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    MUST(ext);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

static inline identity make_identity(const cert_spec *spec)
{
    static atomic_long serial = 1;
    identity id = {.key = spec->weak ? EVP_RSA_gen(1024) : EVP_EC_gen("P-256"), .cert = X509_new()};
    const char *name = spec->san ? "receiver" : "Test CA";
    bool around = spec->from_s == 0 && spec->to_s == 0;
    MUST(id.key && id.cert);
    X509 *issuer = spec->issuer ? spec->issuer->cert : id.cert;
    X509_set_version(id.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.cert), atomic_fetch_add(&serial, 1));
    X509_gmtime_adj(X509_getm_notBefore(id.cert), around ? -3600 : spec->from_s);
    X509_gmtime_adj(X509_getm_notAfter(id.cert), around ? 3600 : spec->to_s);
    X509_set_pubkey(id.cert, id.key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(id.cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(id.cert, X509_get_subject_name(issuer));
    add_ext(id.cert, issuer, NID_basic_constraints, spec->san ? "CA:FALSE" : "critical,CA:TRUE");
    add_ext(id.cert, issuer, NID_subject_key_identifier, "hash");
    if (spec->san)
        add_ext(id.cert, issuer, NID_subject_alt_name, spec->san);
    else
        add_ext(id.cert, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    MUST(X509_sign(id.cert, spec->issuer ? spec->issuer->key : id.key, EVP_sha256()));
    return id;
}

static inline void free_identity(identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
}

/* Writes the certificate as PEM to a new file, whose name goes into `path` (a template). */
static inline void write_pem(const identity *id, char *path)
{
    int fd = mkstemp(path);
    MUST(fd >= 0);
    FILE *f = fdopen(fd, "w");
    MUST(f && PEM_write_X509(f, id->cert) && fclose(f) == 0);
}

static inline SSL_CTX *make_server_ctx(const identity *id)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    MUST(ctx);
    SSL_CTX_set_security_level(ctx, 0); /* it must be the client that refuses */
    MUST(SSL_CTX_use_certificate(ctx, id->cert) == 1);
    MUST(SSL_CTX_use_PrivateKey(ctx, id->key) == 1);
    return ctx;
}

/* --- the receiver --- */

enum { RECEIVER_PEERS = 512, REQUEST_MAX = 4 << 20 };

struct receiver;

typedef struct peer {
    struct receiver *r;
    int fd, index; /* 0: the first connection */
    SSL *ssl;
    pthread_t thread;
    bool reset, closed; /* how to close; closed already */
    char *request;      /* the last one read, NUL-terminated */
    size_t request_n, head_n;
} peer;

typedef struct receiver {
    int fd;
    uint16_t port;
    SSL_CTX *ctx; /* NULL: plain; the receiver's own reference */
    void (*serve)(peer *p);
    void *user;
    pthread_t thread;
    pthread_mutex_t lock;
    peer *peers[RECEIVER_PEERS];
    int n_peers;
    bool stopping;
    atomic_int accepts, requests, finished, handshakes;
} receiver;

static inline ssize_t peer_recv(peer *p, void *buf, size_t n)
{
    if (p->ssl)
        return SSL_read(p->ssl, buf, (int)n);
    return recv(p->fd, buf, n, 0);
}

static inline bool peer_send(peer *p, const void *buf, size_t n)
{
    const char *at = buf;
    while (n > 0) {
        ssize_t w = p->ssl ? SSL_write(p->ssl, at, (int)n) : send(p->fd, at, n, MSG_NOSIGNAL);
        if (w <= 0)
            return false;
        at += w;
        n -= (size_t)w;
    }
    return true;
}

static inline bool peer_say(peer *p, const char *text)
{
    return peer_send(p, text, strlen(text));
}

static inline size_t content_length(const char *head)
{
    const char *at = strcasestr(head, "\r\ncontent-length:");
    return at ? strtoul(at + 17, NULL, 10) : 0;
}

/* Reads one request with its body. False when the peer went before its end. */
static inline bool peer_request(peer *p)
{
    size_t n = 0, want = 0;
    if (p->request == NULL)
        MUST(p->request = malloc(REQUEST_MAX + 1));
    for (;;) {
        ssize_t r = peer_recv(p, p->request + n, REQUEST_MAX - n);
        if (r <= 0)
            return false;
        n += (size_t)r;
        p->request[n] = 0;
        const char *end = want ? NULL : strstr(p->request, "\r\n\r\n");
        if (end) {
            p->head_n = (size_t)(end - p->request) + 4;
            want = p->head_n + content_length(p->request);
        }
        if (want && n >= want) {
            p->request_n = n;
            atomic_fetch_add(&p->r->requests, 1);
            return n == want;
        }
    }
}

/* Reads until the other end closes. The bytes that came. */
static inline size_t peer_drain(peer *p)
{
    char buf[4096];
    size_t sum = 0;
    ssize_t n;
    while ((n = peer_recv(p, buf, sizeof buf)) > 0)
        sum += (size_t)n;
    return sum;
}

static inline void peer_close(peer *p)
{
    pthread_mutex_lock(&p->r->lock);
    if (!p->closed) {
        p->closed = true;
        struct linger hard = {.l_onoff = 1, .l_linger = 0};
        if (p->reset)
            setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        else if (p->ssl)
            SSL_shutdown(p->ssl);
        close(p->fd);
    }
    pthread_mutex_unlock(&p->r->lock);
}

static inline void *peer_thread(void *arg)
{
    peer *p = arg;
    bool ok = true;
    if (p->ssl) {
        ok = SSL_accept(p->ssl) == 1;
        if (ok)
            atomic_fetch_add(&p->r->handshakes, 1);
    }
    if (ok)
        p->r->serve(p);
    peer_close(p);
    atomic_fetch_add(&p->r->finished, 1);
    return NULL;
}

static inline void add_peer(receiver *r, int fd)
{
    peer *p = calloc(1, sizeof *p);
    MUST(p && r->n_peers < RECEIVER_PEERS);
    p->r = r;
    p->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (r->ctx) {
        MUST(p->ssl = SSL_new(r->ctx));
        SSL_set_fd(p->ssl, fd);
    }
    pthread_mutex_lock(&r->lock);
    p->index = r->n_peers;
    r->peers[r->n_peers++] = p;
    atomic_fetch_add(&r->accepts, 1);
    MUST(pthread_create(&p->thread, NULL, peer_thread, p) == 0);
    pthread_mutex_unlock(&r->lock);
}

static inline void *receiver_thread(void *arg)
{
    receiver *r = arg;
    for (;;) {
        int fd = accept(r->fd, NULL, NULL);
        if (fd < 0)
            return NULL; /* receiver_stop() shut the socket down */
        add_peer(r, fd);
    }
}

/* A socket listening on a free port of 127.0.0.1. */
static inline int listen_on(int backlog, uint16_t *ret_port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, backlog) == 0);
    MUST(getsockname(fd, (struct sockaddr *)&sa, &n) == 0);
    *ret_port = ntohs(sa.sin_port);
    return fd;
}

static inline void receiver_start(receiver *r, SSL_CTX *ctx, void (*serve)(peer *p), void *user)
{
    signal(SIGPIPE, SIG_IGN);
    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    r->ctx = ctx;
    r->serve = serve;
    r->user = user;
    r->fd = listen_on(256, &r->port);
    MUST(pthread_create(&r->thread, NULL, receiver_thread, r) == 0);
}

static inline void receiver_stop(receiver *r)
{
    shutdown(r->fd, SHUT_RDWR);
    pthread_join(r->thread, NULL);
    close(r->fd);
    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < r->n_peers; i++)
        if (!r->peers[i]->closed)
            shutdown(r->peers[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < r->n_peers; i++) {
        peer *p = r->peers[i];
        pthread_join(p->thread, NULL);
        SSL_free(p->ssl);
        free(p->request);
        free(p);
    }
    SSL_CTX_free(r->ctx);
    pthread_mutex_destroy(&r->lock);
}

#endif
