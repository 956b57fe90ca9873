/* SPDX-License-Identifier: Apache-2.0 */
/* net/stream_tls.c - TLS under a stream, without a socket of its own.
 *
 * OpenSSL reads and writes through a BIO over memory: reads come straight from what the
 * socket brought (s->in, during a call alone, so nothing is copied or kept), writes go
 * behind s->out. OpenSSL always eats all of s->in, unless the user pauses or closes in
 * the middle: what is left then waits in s->held.
 *
 * The error queue belongs to the thread: it is emptied before each call. Loop thread. */
#include "net/stream_impl.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/tls_impl.h"

enum {
    OUT_MAX = 1024 * 1024,      /* also bounds what a peer can make us answer */
    ONE_WRITE = 128 * 1024,     /* encrypted at once */
    HANDSHAKE_MAX = 256 * 1024, /* bytes of the peer until the stream is open */
};

/* --- the BIO --- */

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int bio_read(BIO *b, char *p, size_t n, size_t *ret_n)
{
    rbk_stream *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (s->in_n == 0) {
        BIO_set_retry_read(b);
        return 0;
    }
    if (n > s->in_n)
        n = s->in_n;
    memcpy(p, s->in, n);
    s->in += n;
    s->in_n -= n;
    *ret_n = n;
    return 1;
}

static int bio_write(BIO *b, const char *p, size_t n, size_t *ret_n)
{
    rbk_stream *s = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    rbk_buf_add(&s->out, p, n);
    if (rbk_buf_err(&s->out) < 0)
        return 0;
    *ret_n = n;
    return 1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

/* Kept until the process ends. */
static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ringback stream");
    if (method == NULL)
        return;
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

static BIO *new_bio(rbk_stream *s)
{
    pthread_once(&method_once, make_method);
    BIO *b = method ? BIO_new(method) : NULL;
    if (b) {
        BIO_set_data(b, s);
        BIO_set_init(b, 1);
    }
    return b;
}

/* --- failing --- */

/* The alert that OpenSSL wrote goes along, if the kernel takes it at once. */
static void fail_tls(rbk_stream *s, const char *what)
{
    char detail[RBK_TLS_DETAIL];
    int err = rbk_buf_err(&s->out) == RBK_E_NOMEM ? RBK_E_NOMEM : RBK_E_TLS;
    rbk_tls_explain(s->ssl, what, detail);
    if (s->out.n > 0 && s->sending.n == 0) {
        uv_buf_t b = {.base = s->out.p, .len = s->out.n};
        uv_try_write(&s->h.stream, &b, 1);
    }
    rbk_stream_fail(s, err, detail);
}

/* --- reading --- */

static bool alpn_is_ours(rbk_stream *s)
{
    const unsigned char *p;
    unsigned n;
    SSL_get0_alpn_selected(s->ssl, &p, &n);
    s->is_http2 = s->offers_http2 && n == 2 && memcmp(p, "h2", 2) == 0;
    return n == 0 || s->is_http2 || (n == 8 && memcmp(p, "http/1.1", 8) == 0);
}

static void handshake(rbk_stream *s)
{
    ERR_clear_error();
    int r = SSL_do_handshake(s->ssl);
    if (r == 1 && alpn_is_ours(s))
        rbk_stream_opened(s);
    else if (r == 1 || SSL_get_error(s->ssl, r) != SSL_ERROR_WANT_READ)
        fail_tls(s, r == 1 ? "the peer chose another protocol" : "TLS handshake");
    else if (s->greeted > HANDSHAKE_MAX)
        fail_tls(s, "the TLS handshake is too long");
}

/* One record at most. */
static void read_record(rbk_stream *s)
{
    size_t n = 0;
    ERR_clear_error();
    if (SSL_read_ex(s->ssl, s->loop->plain_buf, RBK_LOOP_BUF, &n) == 1) {
        s->cb.data(s, s->loop->plain_buf, n, s->user);
        return;
    }
    int why = SSL_get_error(s->ssl, 0);
    if (why == SSL_ERROR_ZERO_RETURN) {
        s->in_n = 0; /* RFC 8446 section 6.1: what follows close_notify is ignored */
        s->tls_ended = true;
        rbk_stream_peer_ended(s);
    } else if (why != SSL_ERROR_WANT_READ) {
        fail_tls(s, "TLS");
    }
}

void rbk_stream_tls_feed(rbk_stream *s, const char *p, size_t n)
{
    rbk_buf before = s->held;
    if (s->tls_ended)
        return;
    s->held = RBK_BUF(before.max);
    s->in = n ? p : before.p;
    s->in_n = n ? n : before.n;
    if (s->state == RBK_STREAM_HANDSHAKE) {
        s->greeted += n;
        handshake(s);
    }
    while (s->state == RBK_STREAM_OPEN && !s->paused && s->in_n > 0)
        read_record(s);
    if (s->state == RBK_STREAM_OPEN && s->in_n > 0)
        rbk_buf_add(&s->held, s->in, s->in_n);
    if (rbk_buf_err(&s->held) < 0)
        rbk_stream_fail(s, RBK_E_NOMEM, "out of memory");
    s->in = NULL;
    s->in_n = 0;
    rbk_buf_free(&before);
    if (s->state < RBK_STREAM_LINGER && s->out.n + s->plain.n > 0)
        rbk_stream_flush_soon(s);
}

/* --- writing --- */

void rbk_stream_tls_encrypt(rbk_stream *s)
{
    while (s->plain_at < s->plain.n && s->out.n < ONE_WRITE) {
        size_t n = 0;
        ERR_clear_error();
        if (SSL_write_ex(s->ssl, s->plain.p + s->plain_at, s->plain.n - s->plain_at, &n) != 1) {
            /* In the middle of a message of the peer's about keys: later. */
            if (SSL_get_error(s->ssl, 0) != SSL_ERROR_WANT_READ)
                fail_tls(s, "TLS");
            return;
        }
        s->plain_at += n;
    }
    if (s->plain_at == s->plain.n) {
        rbk_buf_free(&s->plain);
        s->plain_at = 0;
    } else if (s->plain_at >= s->plain.n / 2) {
        s->plain.n -= s->plain_at;
        memmove(s->plain.p, s->plain.p + s->plain_at, s->plain.n);
        s->plain_at = 0;
    }
}

void rbk_stream_tls_end(rbk_stream *s)
{
    ERR_clear_error();
    SSL_shutdown(s->ssl); /* at worst the peer takes the end for a cut */
}

/* --- beginning and end --- */

int rbk_stream_tls_name(rbk_stream *s, const char *name, uint16_t port)
{
    if (name == NULL)
        return 0; /* the handshake will not begin */
    s->name = strdup(name);
    s->key = malloc(strlen(name) + sizeof ":65535");
    if (s->name == NULL || s->key == NULL)
        return RBK_E_NOMEM;
    sprintf(s->key, "%s:%u", name, port);
    return 0;
}

static bool offer(rbk_stream *s)
{
    static const unsigned char both[] = "\x02h2\x08http/1.1";
    return !s->offers_http2 || SSL_set_alpn_protos(s->ssl, both, sizeof both - 1) == 0;
}

void rbk_stream_tls_start(rbk_stream *s, bool server)
{
    s->out.max = OUT_MAX;
    if (!server && s->name == NULL) {
        rbk_stream_fail(s, RBK_E_TLS, "there is no name to verify the certificate by");
        return;
    }
    s->ssl = rbk_tls_ssl_new(s->tls, s->name, s->key);
    BIO *b = s->ssl && offer(s) ? new_bio(s) : NULL;
    if (b == NULL) {
        fail_tls(s, "TLS");
        return;
    }
    SSL_set_bio(s->ssl, b, b);
    rbk_stream_tls_feed(s, NULL, 0);
}

void rbk_stream_tls_free(rbk_stream *s)
{
    SSL_free(s->ssl);
    rbk_tls_free(s->tls);
    free(s->name);
    free(s->key);
}
