/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_listen.c - `ringback listen`: a receiver over https and wss that prints each callback. */
#include "app/app.h"
#include "app/receiver.h"
#include "app/tempdir.h"

#include "base/clock.h"
#include "base/error.h"
#include "server/signing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PRINT_MAX = 64 << 20, DELAY_MAX_MS = 3600000, DEFAULT_PORT = 7643 };

typedef struct listen_conf {
    const char *dir; /* NULL: a temporary one */
    rbk_sign_keys *keys; /* NULL: nothing is verified */
    rbk_receiver_conf receiver;
} listen_conf;

static bool is_of_interest(rbk_str name)
{
    static const char *const dull[] = {"host", "user-agent", "content-length", "accept",
                                       "connection", "upgrade", "sec-websocket-key",
                                       "sec-websocket-version"};
    for (size_t i = 0; i < sizeof dull / sizeof dull[0]; i++)
        if (rbk_str_ieqz(name, dull[i]))
            return false;
    return true;
}

static void add_verdict(rbk_buf *b, const rbk_sign_keys *keys, const rbk_callback *cb)
{
    rbk_error err = {0};
    if (keys == NULL)
        return;
    if (rbk_callback_verify(cb, keys, &err) == 0)
        rbk_buf_lit(b, "  signature: verified\n");
    else
        rbk_buf_addf(b, "  signature: NOT VERIFIED: %s\n", err.detail);
}

static void on_callback(void *user, const rbk_callback *cb)
{
    const listen_conf *conf = user;
    rbk_buf b = RBK_BUF(PRINT_MAX);
    char time[25];
    rbk_wall_format(rbk_wall_now(), time);
    rbk_buf_addf(&b, "\n%s ", time);
    rbk_print_peer(&b, cb->method);
    rbk_buf_c(&b, ' ');
    rbk_print_peer(&b, cb->path);
    rbk_buf_z(&b, cb->query.n ? "?" : "");
    rbk_print_peer(&b, cb->query);
    rbk_buf_addf(&b, " -> %d\n", cb->answer);
    for (size_t i = 0; i < cb->n_headers; i++) {
        if (!is_of_interest(cb->headers[i].name))
            continue;
        rbk_buf_lit(&b, "  ");
        rbk_print_peer(&b, cb->headers[i].name);
        rbk_buf_lit(&b, ": ");
        rbk_print_peer(&b, cb->headers[i].value);
        rbk_buf_c(&b, '\n');
    }
    if (cb->refused)
        rbk_buf_lit(&b, "  refused at the handshake: it has no message");
    else
        add_verdict(&b, conf->keys, cb);
    rbk_print_peer(&b, cb->body);
    rbk_buf_c(&b, '\n');
    rbk_print(rbk_buf_view(&b));
    rbk_buf_free(&b);
}

/* The server may be started in another folder, so its path is absolute. */
static void print_head(const rbk_cert *cert, unsigned port, bool kept)
{
    char *full = realpath(cert->ca, NULL);
    const char *ca = full ? full : cert->ca;
    printf("Listening for callbacks on https://127.0.0.1:%u/ and wss://127.0.0.1:%u/\n"
           "Certificate authority: %s\n%s\n"
           "Start a server that may call it:\n"
           "  ringback serve --set callback.allow=127.0.0.0/8 --set delivery.ca_file=%s\n"
           "or put this into its configuration:\n"
           "  [callback]\n"
           "  allow = 127.0.0.0/8\n"
           "  [delivery]\n"
           "  ca_file = %s\n",
           port, port, ca, kept ? "" : "It goes when this ends; --dir DIR keeps one for the next time.\n", ca,
           ca);
    fflush(stdout);
    free(full);
}

static int listen_in(const char *dir, bool kept, listen_conf *conf)
{
    rbk_cert cert;
    rbk_receiver *receiver = NULL;
    rbk_error err = {0};
    int r = rbk_cert_make(dir, &cert, &err);
    conf->receiver.cert = &cert;
    conf->receiver.fn = on_callback;
    conf->receiver.user = conf;
    if (r == 0)
        r = rbk_receiver_start(&conf->receiver, &receiver, &err);
    if (r < 0)
        return rbk_failed(r, err.detail);
    print_head(&cert, rbk_receiver_port(receiver), kept);
    while (rbk_process_wait(3600000) == 0)
        ;
    rbk_process_end_at_once();
    rbk_receiver_stop(receiver);
    return RBK_EXIT_OK;
}

static int run(listen_conf *conf)
{
    char temp[400];
    rbk_error err = {0};
    if (conf->dir) {
        if (mkdir(conf->dir, 0700) < 0 && errno != EEXIST) {
            rbk_fail(&err, RBK_E_SYS, "%s: cannot be made: %s", conf->dir, strerror(errno));
            return rbk_failed(err.code, err.detail);
        }
        rbk_process_hold(false);
        return listen_in(conf->dir, true, conf);
    }
    rbk_process_hold(false);
    if (rbk_tempdir_make(temp, &err) < 0)
        return rbk_failed(err.code, err.detail);
    int code = listen_in(temp, false, conf);
    rbk_tempdir_remove(temp);
    return code;
}

/* 0, or told to stderr and an exit code. */
static int add_keys(listen_conf *conf, const char *file, const char *public_key)
{
    rbk_error err = {0};
    if (conf->keys == NULL)
        conf->keys = rbk_sign_keys_new();
    if (conf->keys == NULL)
        return rbk_failed(RBK_E_NOMEM, "out of memory");
    if (file && rbk_signing_read(file, RBK_SIGN_HMAC | RBK_SIGN_ED25519 | RBK_SIGN_TO_VERIFY,
                                 conf->keys, &err) < 0)
        return rbk_failed(err.code, err.detail);
    if (public_key && (strncmp(public_key, "whpk_", 5) != 0 ||
                       rbk_sign_keys_read(conf->keys, rbk_str_z(public_key), RBK_SIGN_TO_VERIFY,
                                          NULL) < 0))
        return rbk_usage("--public-key wants a whpk_ key of 32 bytes");
    return RBK_EXIT_OK;
}

int rbk_cmd_listen(int argc, char **argv)
{
    static const rbk_flag flags[] = {{"port", 'p', true},   {"dir", 'd', true},
                                     {"status", 0, true},   {"delay", 0, true},
                                     {"secret-file", 0, true}, {"public-key", 0, true},
                                     {NULL, 0, false}};
    enum { PORT, DIR, STATUS, DELAY, SECRET_FILE, PUBLIC_KEY };
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    listen_conf conf = {0};
    uint64_t port = DEFAULT_PORT, status = 200, delay = 0;
    int code = RBK_EXIT_USAGE;
    for (int i; (i = rbk_args_next(&a)) != RBK_ARG_END;) {
        if (i == RBK_ARG_BAD || (i == PORT && !rbk_args_number(&a, 65535, &port)) ||
            (i == STATUS && !rbk_args_number(&a, 599, &status)) ||
            (i == DELAY && !rbk_args_number(&a, DELAY_MAX_MS, &delay)))
            goto out;
        if (i == RBK_ARG_WORD) {
            rbk_usage("'%s' is too much: listen takes options only", a.value);
            goto out;
        }
        if (i == DIR)
            conf.dir = a.value;
        if ((i == SECRET_FILE && (code = add_keys(&conf, a.value, NULL)) != RBK_EXIT_OK) ||
            (i == PUBLIC_KEY && (code = add_keys(&conf, NULL, a.value)) != RBK_EXIT_OK))
            goto out;
        code = RBK_EXIT_USAGE;
    }
    if (status < 200) {
        rbk_usage("--status wants an HTTP status from 200 to 599");
        goto out;
    }
    conf.receiver = (rbk_receiver_conf){
        .port = (uint16_t)port, .status = (int)status, .delay_ms = (int64_t)delay};
    code = run(&conf);
out:
    rbk_sign_keys_unref(conf.keys);
    return code;
}
