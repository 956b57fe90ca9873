/* SPDX-License-Identifier: Apache-2.0 */
/* transport/wss.c - the transport `wss`: one attempt is one websocket (RFC 6455).
 *
 * Connect, handshake with the header lines of the attempt, the response object as one text
 * message, close 1000; the peer's close 1000 is success (net/websocket_client.h). The lines
 * are those of `https` but for Content-Type: the handshake is a GET without content.
 * Addresses and header lines are made in attempt.c. */
#include "transport/transports.h"

#include "net/websocket_client.h"
#include "transport/attempt.h"

static int client_open(const rbk_transport_env *env, void **ret, rbk_error *err)
{
    /* A quarter of the connections may be those that are over but for the peer. */
    rbk_ws_client_conf conf = {.tls = env->tls,
                               .dial_sockets = env->dial_sockets,
                               .ending_max = env->connections ? env->connections / 4 + 1 : 0};
    rbk_ws_client *client = NULL;
    if (env->proxy)
        conf.proxy = *env->proxy;
    int r = rbk_ws_client_new(env->loop, &conf, &client, err);
    *ret = client;
    return r;
}

static void client_close(void *client)
{
    rbk_ws_client_free(client);
}

static int client_send(void *client, rbk_http_post *post)
{
    return rbk_ws_client_send(client, post);
}

static const rbk_attempt_client sockets = {
    .head = "",
    .open = client_open,
    .close = client_close,
    .send = client_send,
};

static int wss_open(const rbk_transport_env *env, rbk_transport **ret, rbk_error *err)
{
    return rbk_attempt_open(&sockets, env, ret, err);
}

const rbk_transport_ops rbk_transport_wss = {
    .abi = RBK_TRANSPORT_ABI,
    .scheme = "wss",
    .open = wss_open,
    .close = rbk_attempt_close,
    .send = rbk_attempt_send,
};
