/* SPDX-License-Identifier: Apache-2.0 */
/* app/receiver.h - a receiver of callbacks over https and wss, for development: what
 * `listen` runs and `demo` shows. It has a loop thread of its own, answers every POST, and
 * takes one message of every websocket. */
#ifndef RBK_APP_RECEIVER_H
#define RBK_APP_RECEIVER_H

#include "app/cert.h"
#include "core/sign.h"
#include "net/http.h"

typedef struct rbk_receiver rbk_receiver;

typedef struct rbk_callback {
    rbk_str method, path, query, body;
    const rbk_http_header *headers;
    size_t n_headers;
    int answer;   /* status, or code of a websocket's close, that it gets */
    bool refused; /* a websocket that is refused: there is no body */
} rbk_callback;

/* Is the callback signed by one of the keys? As rbk_webhook_verify(), by the clock. */
int rbk_callback_verify(const rbk_callback *cb, const rbk_sign_keys *keys, rbk_error *err);

typedef struct rbk_receiver_conf {
    const rbk_cert *cert;
    uint16_t port;    /* 0: a free one */
    int status;       /* what is answered, 200 to 599; a websocket is refused with it but
                         for 2xx, which closes it with 1000 after its message */
    int64_t delay_ms; /* how long the answer waits */
    /* A callback came; before it is answered. Valid in the call alone. Loop thread. */
    void (*fn)(void *user, const rbk_callback *cb);
    void *user;
} rbk_receiver_conf;

/* On 127.0.0.1. 0, or an rbk_err with `err`. */
int rbk_receiver_start(const rbk_receiver_conf *conf, rbk_receiver **ret, rbk_error *err);
uint16_t rbk_receiver_port(const rbk_receiver *r);
void rbk_receiver_stop(rbk_receiver *r); /* NULL is legal */

#endif
