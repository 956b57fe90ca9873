/* SPDX-License-Identifier: Apache-2.0 */
/* server/proxy.c - see proxy.h: the address of the proxy, once, at the start.
 *
 * The proxy is the operator's, and may be where no callback may go: it is looked up by the
 * system, with its hosts file and search list, and not asked of the policy. Of several
 * addresses the first one is taken, in the order of the system. */
#include "server/proxy.h"

#include "core/dsn.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>

int rbk_proxy_find(rbk_str text, struct sockaddr_storage *ret, rbk_error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    rbk_dsn dsn;
    char port[8];
    memset(ret, 0, sizeof *ret);
    if (text.n == 0)
        return 0;
    if (rbk_dsn_parse(text, RBK_STR("http"), &dsn) != RBK_DSN_OK)
        return rbk_fail(err, RBK_E_CONFIG, "delivery.proxy: is not a proxy");
    snprintf(port, sizeof port, "%u", (unsigned)dsn.port);
    int r = getaddrinfo(dsn.host_lower, port, &hints, &found);
    if (r != 0)
        return rbk_fail(err, RBK_E_CONFIG, "delivery.proxy: %s: %s", dsn.host_lower,
                        gai_strerror(r));
    if (found->ai_addrlen <= sizeof *ret)
        memcpy(ret, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}
