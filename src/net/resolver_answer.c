/* SPDX-License-Identifier: Apache-2.0 */
/* net/resolver_answer.c - see resolver_answer.h. */
#include "net/resolver_answer.h"

#include <arpa/inet.h>
#include <string.h>

enum { TTL_MIN_S = 5, TTL_MAX_S = 300 };

int rbk_answer_error(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_ENOMEM:
        return RBK_E_NOMEM;
    case ARES_ETIMEOUT:
        return RBK_E_TIMEOUT;
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED:
        return RBK_E_CLOSED;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
        return RBK_E_RESOLVE;
    default:
        return RBK_E_CONNECT;
    }
}

static bool read_addr(const struct ares_addrinfo_node *node, rbk_addr *ret)
{
    *ret = (rbk_addr){.v6 = node->ai_family == AF_INET6};
    if (node->ai_family == AF_INET)
        memcpy(ret->ip, &((const struct sockaddr_in *)(const void *)node->ai_addr)->sin_addr, 4);
    else if (node->ai_family == AF_INET6)
        memcpy(ret->ip, &((const struct sockaddr_in6 *)(const void *)node->ai_addr)->sin6_addr, 16);
    else
        return false;
    return true;
}

static const struct ares_addrinfo_node *next_of(const struct ares_addrinfo_node *node, int family)
{
    while (node && node->ai_family != family)
        node = node->ai_next;
    return node;
}

size_t rbk_answer_addrs(const struct ares_addrinfo *ai, rbk_addr out[RBK_ADDRS_MAX])
{
    const struct ares_addrinfo_node *v4 = next_of(ai->nodes, AF_INET);
    const struct ares_addrinfo_node *v6 = next_of(ai->nodes, AF_INET6);
    size_t n = 0;
    while (n < RBK_ADDRS_MAX && (v4 || v6)) {
        const struct ares_addrinfo_node **from = v4 && (n % 2 == 0 || v6 == NULL) ? &v4 : &v6;
        if (read_addr(*from, &out[n]))
            n++;
        *from = next_of((*from)->ai_next, (*from)->ai_family);
    }
    return v4 || v6 ? 0 : n;
}

int rbk_answer_ttl(const struct ares_addrinfo *ai)
{
    int ttl = TTL_MAX_S;
    for (const struct ares_addrinfo_node *node = ai->nodes; node; node = node->ai_next)
        if (node->ai_ttl < ttl)
            ttl = node->ai_ttl;
    for (const struct ares_addrinfo_cname *c = ai->cnames; c; c = c->next)
        if (c->ttl < ttl)
            ttl = c->ttl;
    return ttl < TTL_MIN_S ? TTL_MIN_S : ttl;
}

void rbk_addr_to_sockaddr(const rbk_addr *a, uint16_t port, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof *ret);
    if (a->v6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)ret;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        memcpy(&v6->sin6_addr, a->ip, 16);
    } else {
        struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)ret;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        memcpy(&v4->sin_addr, a->ip, 4);
    }
}
