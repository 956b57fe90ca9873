/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_demo.c - `ringback demo`: server, methods and an HTTPS receiver in one process.
 *
 * Sends the order example to itself and prints the three messages as they cross the wire:
 * request, acknowledgement, callback. Then it stays up for the reader's own tries. Its
 * files are in a temporary folder that goes with it. The callback is printed by the
 * receiver's thread, all else by the main thread. */
#include "app/app.h"
#include "app/log_writer.h"
#include "app/post.h"
#include "app/receiver.h"
#include "app/tempdir.h"

#include "base/clock.h"
#include "base/error.h"
#include "server/signing.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { PATH_BYTES = 512, TEXT_MAX = 1 << 20, DEFAULT_PORT = 7600, LIMIT_MS = 30000, POLL_MS = 5 };

typedef struct demo {
    char dir[400], module[PATH_BYTES], url[80], callback[80];
    rbk_cert cert;
    rbk_receiver *receiver;
    rbk_sign_keys *_Atomic keys; /* the server's; NULL until it has them */
    rbk_server *server;
    uint16_t port;
    uint64_t sent_us, acked_us;
    _Atomic uint64_t called_us; /* of the first callback, 0 before */
} demo;

/* Beside the program, where the build puts it, or where it is installed; never in the
 * folder that we happen to be in. */
static int find_module(demo *d)
{
    static const char *const places[] = {"demo.so", "../../examples/demo.so", RBK_MODULE_DIR "/demo.so"};
    char self[PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0 || n == (ssize_t)sizeof self - 1) /* it may be cut there */
        return rbk_failed(RBK_E_SYS, "the program's own path cannot be read from /proc/self/exe");
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (slash == NULL)
        return rbk_failed(RBK_E_SYS, "the program's own path is not absolute");
    slash[1] = 0;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *in = places[i][0] == '/' ? "" : self;
        int len = snprintf(d->module, sizeof d->module, "%s%s", in, places[i]);
        if (len < PATH_BYTES && access(d->module, R_OK) == 0)
            return RBK_EXIT_OK;
    }
    return rbk_failed(RBK_E_NOTFOUND, "demo.so is neither beside the program nor in " RBK_MODULE_DIR);
}

/* One message: its time, what it is, its text, and a note. One write, so that two threads
 * do not mix their lines. */
static void print_message(const char *what, const char *where, rbk_str text, const char *note)
{
    rbk_buf b = RBK_BUF(TEXT_MAX);
    char time[25];
    rbk_wall_format(rbk_wall_now(), time);
    rbk_buf_addf(&b, "\n%.12s  %s %s\n", time + 11, what, where);
    rbk_print_peer(&b, text);
    rbk_buf_addf(&b, "\n%s", note);
    rbk_print(rbk_buf_view(&b));
    rbk_buf_free(&b);
}

static void on_callback(void *user, const rbk_callback *cb)
{
    demo *d = user;
    uint64_t now = rbk_mono_us(), none = 0;
    const rbk_sign_keys *keys = atomic_load(&d->keys);
    bool ok = keys && rbk_callback_verify(cb, keys, NULL) == 0;
    print_message("callback        ->", d->callback, cb->body,
                  ok ? "webhook-signature: verified (v1a, ed25519)\n"
                     : "webhook-signature: NOT VERIFIED\n");
    atomic_compare_exchange_strong(&d->called_us, &none, now);
}

static int start_receiver(demo *d, rbk_error *err)
{
    rbk_receiver_conf conf = {.cert = &d->cert, .status = 200, .fn = on_callback, .user = d};
    int r = rbk_cert_make(d->dir, &d->cert, err);
    if (r == 0)
        r = rbk_receiver_start(&conf, &d->receiver, err);
    if (r == 0)
        snprintf(d->callback, sizeof d->callback, "https://127.0.0.1:%u/order/callback",
                 rbk_receiver_port(d->receiver));
    return r;
}

static int start_server(demo *d, rbk_error *err)
{
    char listen[40], dsn[PATH_BYTES];
    snprintf(listen, sizeof listen, "127.0.0.1:%u", d->port);
    snprintf(dsn, sizeof dsn, "sqlite:%s/ringback.db", d->dir);
    const char *const sets[][2] = {
        {"server.listen", listen},         {"store.dsn", dsn},
        {"callback.allow", "127.0.0.0/8"}, {"delivery.ca_file", d->cert.ca},
        {"delivery.ca_only", "yes"},       {"method.\"*\".module", d->module},
        {"store.min_free", "1M"},          {"server.drain", "3s"},
        {"log.level", "warn"}};
    d->server = rbk_server_new();
    if (d->server == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    rbk_server_log(d->server, rbk_log_writer_line, NULL);
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof sets / sizeof sets[0]; i++)
        r = rbk_server_set(d->server, sets[i][0], sets[i][1]);
    if (r == 0)
        r = rbk_server_start(d->server);
    if (r < 0)
        return rbk_fail(err, r, "%s%s", rbk_server_error(d->server),
                        r == RBK_E_SYS ? "; --port 0 takes a free port" : "");
    d->port = rbk_server_port(d->server, 0);
    snprintf(d->url, sizeof d->url, "http://127.0.0.1:%u/api", d->port);
    return 0;
}

/* What a receiver would take from the server's /.well-known/jwks.json. */
static int read_keys(demo *d, rbk_error *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/ringback.db.key", d->dir);
    rbk_sign_keys *keys = rbk_sign_keys_new();
    int r = keys ? rbk_signing_read(path, RBK_SIGN_ED25519, keys, err)
                 : rbk_fail(err, RBK_E_NOMEM, "out of memory");
    if (r == 0)
        atomic_store(&d->keys, keys);
    else
        rbk_sign_keys_unref(keys);
    return r;
}

static void add_request(const demo *d, const char *id, const char *order, rbk_buf *b)
{
    rbk_buf_addf(b, "{\"id\":\"%s\",\"method\":\"OrderService.processOrder\","
                 "\"params\":{\"orderId\":\"%s\",\"$rpc.callback\":\"%s\"}}",
                 id, order, d->callback);
}

static int exchange(demo *d, rbk_error *err)
{
    rbk_buf request = RBK_BUF(TEXT_MAX), answer = RBK_BUF(TEXT_MAX);
    add_request(d, "example_order", "12345", &request);
    rbk_app_post post = {.url = d->url, .body = rbk_buf_view(&request), .timeout_ms = LIMIT_MS};
    print_message("request         ->", d->url, post.body, "");
    d->sent_us = rbk_mono_us();
    int r = rbk_app_post_run(&post, &answer, err);
    d->acked_us = rbk_mono_us();
    if (r > 0) {
        char status[20];
        snprintf(status, sizeof status, "HTTP %d", r);
        print_message("acknowledgement <-", status, rbk_buf_view(&answer), "");
        r = r == 200 ? 0 : rbk_fail(err, RBK_E_PROTOCOL, "the request was not accepted");
    }
    rbk_buf_free(&request);
    rbk_buf_free(&answer);
    return r;
}

/* Until the first callback came. 0; RBK_E_TIMEOUT; RBK_E_CANCELLED when we are asked to
 * end before. */
static int wait_for_callback(demo *d, rbk_error *err)
{
    rbk_mono_ms end = rbk_mono_now() + LIMIT_MS;
    while (atomic_load(&d->called_us) == 0) {
        if (rbk_process_wait(POLL_MS))
            return rbk_fail(err, RBK_E_CANCELLED, "ended before the callback came");
        if (rbk_mono_now() > end)
            return rbk_fail(err, RBK_E_TIMEOUT, "no callback came within 30 s");
    }
    return 0;
}

static void print_summary(const demo *d)
{
    printf("\nAcknowledged after %.1f ms, called back after %.1f ms.\n",
           (double)(d->acked_us - d->sent_us) / 1e3,
           (double)(atomic_load(&d->called_us) - d->sent_us) / 1e3);
    fflush(stdout);
}

static void print_try(const demo *d)
{
    rbk_buf b = RBK_BUF(TEXT_MAX);
    rbk_buf_addf(&b, "\nThe server stays up; Ctrl-C ends it and removes its files. Try it "
                 "from another terminal:\n\n  curl -s %s -H 'Content-Type: application/json' \\\n    -d '",
                 d->url);
    add_request(d, "my_order", "67890", &b);
    rbk_buf_lit(&b, "'\n");
    rbk_print(rbk_buf_view(&b));
    rbk_buf_free(&b);
}

static int show(demo *d, bool once, rbk_error *err)
{
    int r = start_receiver(d, err);
    if (r == 0)
        r = start_server(d, err);
    if (r == 0)
        r = read_keys(d, err);
    if (r < 0)
        return r;
    printf("Server on %s, receiver of callbacks on https://127.0.0.1:%u\n", d->url,
           rbk_receiver_port(d->receiver));
    fflush(stdout);
    r = exchange(d, err);
    if (r == 0)
        r = wait_for_callback(d, err);
    if (r < 0)
        return r;
    print_summary(d);
    if (once)
        return 0;
    print_try(d);
    while (rbk_process_wait(3600000) == 0)
        ;
    return 0;
}

static int run(uint16_t port, bool once)
{
    demo d = {.port = port};
    rbk_error err = {0};
    int code = find_module(&d);
    if (code != RBK_EXIT_OK)
        return code;
    rbk_process_hold(false);
    if (rbk_log_writer_start(STDERR_FILENO, false) < 0)
        return rbk_failed(RBK_E_SYS, "the log's thread cannot start");
    if (rbk_tempdir_make(d.dir, &err) < 0)
        return rbk_failed(err.code, err.detail);
    int r = show(&d, once, &err);
    rbk_process_end_at_once();
    rbk_server_free(d.server);
    rbk_receiver_stop(d.receiver);
    rbk_log_writer_stop();
    rbk_sign_keys_unref(d.keys);
    rbk_tempdir_remove(d.dir);
    return r < 0 ? rbk_failed(r, err.detail) : RBK_EXIT_OK;
}

int rbk_cmd_demo(int argc, char **argv)
{
    static const rbk_flag flags[] = {{"port", 'p', true}, {"once", 0, false}, {NULL, 0, false}};
    enum { PORT, ONCE };
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    uint64_t port = DEFAULT_PORT;
    bool once = false;
    for (int i; (i = rbk_args_next(&a)) != RBK_ARG_END;) {
        if (i == RBK_ARG_BAD || (i == PORT && !rbk_args_number(&a, 65535, &port)))
            return RBK_EXIT_USAGE;
        if (i == RBK_ARG_WORD)
            return rbk_usage("'%s' is too much: demo takes options only", a.value);
        once = once || i == ONCE;
    }
    return run((uint16_t)port, once);
}
