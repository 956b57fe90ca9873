/* SPDX-License-Identifier: Apache-2.0 */
/* transport/https.c - the transport `https`: one attempt is one POST, over connections that
 * are kept (net/http_client.h). Addresses and header lines are made in attempt.c. */
#include "transport/transports.h"

#include "transport/attempt.h"

static int client_open(const rbk_transport_env *env, void **ret, rbk_error *err)
{
    /* A quarter is for those of the other transport that end. */
    rbk_http_client_conf conf = {.tls = env->tls,
                                 .http2 = env->http2,
                                 .dial_sockets = env->dial_sockets,
                                 .conns_max = env->connections - env->connections / 4};
    rbk_http_client *client = NULL;
    if (env->proxy)
        conf.proxy = *env->proxy;
    int r = rbk_http_client_new(env->loop, &conf, &client, err);
    *ret = client;
    return r;
}

static void client_close(void *client)
{
    rbk_http_client_free(client);
}

static int client_send(void *client, rbk_http_post *post)
{
    rbk_http_post_send(client, post);
    return 0;
}

static const rbk_attempt_client posts = {
    .head = "Content-Type: application/json\r\n",
    .open = client_open,
    .close = client_close,
    .send = client_send,
};

static int https_open(const rbk_transport_env *env, rbk_transport **ret, rbk_error *err)
{
    return rbk_attempt_open(&posts, env, ret, err);
}

const rbk_transport_ops rbk_transport_https = {
    .abi = RBK_TRANSPORT_ABI,
    .scheme = "https",
    .open = https_open,
    .close = rbk_attempt_close,
    .send = rbk_attempt_send,
};
