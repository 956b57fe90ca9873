/* SPDX-License-Identifier: Apache-2.0 */
/* net/resolver_channel.h - a channel of c-ares as the resolver wants it: absolute names, no
 * search list, the hosts file first, and a bound on how long a lookup takes that no server
 * answers. Any thread. */
#ifndef RBK_NET_RESOLVER_CHANNEL_H
#define RBK_NET_RESOLVER_CHANNEL_H

#include <ares.h>

enum {
    RBK_LOOKUP_MS = 5000, /* until a lookup that no server answers ends, and frees its place */
    RBK_LOOKUP_TRIES = 2, /* of each server; c-ares waits twice as long in the second round */
};

typedef struct rbk_channel_conf {
    const char *servers; /* "127.0.0.1:5353,[::1]:53"; NULL: those that the system names now */
    ares_sock_state_cb on_sock;
    void *user;
} rbk_channel_conf;

/* ARES_SUCCESS, or another status of c-ares. */
int rbk_channel_open(ares_channel *ret, const rbk_channel_conf *conf);

#endif
