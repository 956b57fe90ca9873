/* SPDX-License-Identifier: Apache-2.0 */
/* server/own.c - see own.h.
 *
 * A listener on 0.0.0.0 or [::] is reached through each address of the machine, which a
 * policy cannot know; so the interfaces are asked, and each address becomes a listener of
 * its own, of whichever family. An address that comes later is known after a reload. */
#include "server/own.h"

#include "base/error.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>

static int append(rbk_own *own, const rbk_own_listener *l, rbk_error *err)
{
    if (own->n == RBK_OWN_MAX)
        return rbk_fail(err, RBK_E_CONFIG, "more than %d addresses of this machine", RBK_OWN_MAX);
    if ((own->n & (own->n - 1)) == 0) { /* 0, 1, 2, 4 …: the room is used up */
        void *list = realloc(own->list, (own->n ? own->n * 2 : 1) * sizeof *own->list);
        if (list == NULL)
            return rbk_fail(err, RBK_E_NOMEM, "out of memory");
        own->list = list;
    }
    own->list[own->n++] = *l;
    return 0;
}

static bool is_any(const rbk_own_listener *l)
{
    static const uint8_t zero[16];
    return memcmp(l->addr, zero, l->kind == RBK_HOST_IPV4 ? 4 : 16) == 0;
}

static bool read_interface(const struct ifaddrs *i, rbk_own_listener *ret)
{
    if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, i->ifa_addr, sizeof in);
        ret->kind = RBK_HOST_IPV4;
        memcpy(ret->addr, &in.sin_addr, 4);
        return true;
    }
    if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, i->ifa_addr, sizeof in);
        ret->kind = RBK_HOST_IPV6;
        memcpy(ret->addr, &in.sin6_addr, 16);
        return true;
    }
    return false;
}

int rbk_own_add(rbk_own *own, const rbk_own_listener *l, rbk_error *err)
{
    struct ifaddrs *all = NULL;
    int r = append(own, l, err);
    if (r < 0 || !is_any(l))
        return r;
    if (getifaddrs(&all) < 0)
        return rbk_fail(err, RBK_E_SYS, "addresses of this machine: %s", strerror(errno));
    for (const struct ifaddrs *i = all; r == 0 && i; i = i->ifa_next) {
        rbk_own_listener one = {.port = l->port};
        if (read_interface(i, &one))
            r = append(own, &one, err);
    }
    freeifaddrs(all);
    return r;
}

int rbk_own_add_text(rbk_own *own, rbk_str text, rbk_error *err)
{
    rbk_own_listener l = {.kind = RBK_HOST_IPV4};
    const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
    rbk_str host = {text.p, colon ? (size_t)(colon - text.p) : 0};
    uint64_t port = 0;
    if (colon == NULL || rbk_str_u64((rbk_str){colon + 1, text.n - host.n - 1}, 65535, &port) < 0)
        return 0;
    l.port = (uint16_t)port;
    if (host.n > 2 && host.p[0] == '[') {
        l.kind = RBK_HOST_IPV6;
        if (rbk_parse_ipv6((rbk_str){host.p + 1, host.n - 2}, l.addr) < 0)
            return 0;
    } else if (host.n && rbk_parse_ipv4(host, l.addr) < 0) {
        return 0;
    }
    return rbk_own_add(own, &l, err);
}

void rbk_own_free(rbk_own *own)
{
    free(own->list);
    *own = (rbk_own){0};
}
