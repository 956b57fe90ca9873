/* SPDX-License-Identifier: Apache-2.0 */
/* transport/attempt.h - what the transports of HTTP's family share: a transport that looks
 * the host up, asks for every address, puts the attempt's header lines together, and
 * leaves the rest to a client. Loop thread. */
#ifndef RBK_TRANSPORT_ATTEMPT_H
#define RBK_TRANSPORT_ATTEMPT_H

#include "net/http_client.h"
#include "ringback/transport.h"

typedef struct rbk_attempt_client {
    const char *head; /* the scheme's own header lines, before those of every attempt */
    int (*open)(const rbk_transport_env *env, void **ret, rbk_error *err);
    void (*close)(void *client); /* ends orders under way with RBK_E_CLOSED */
    /* 0, and the order's `done` comes once and later; or RBK_E_NOMEM, and it never does. */
    int (*send)(void *client, rbk_http_post *post);
} rbk_attempt_client;

/* The slots of a transport, `how` being its client. */
int rbk_attempt_open(const rbk_attempt_client *how, const rbk_transport_env *env,
                     rbk_transport **ret, rbk_error *err);
void rbk_attempt_close(rbk_transport *t);
void rbk_attempt_send(rbk_transport *t, rbk_attempt *a);

#endif
