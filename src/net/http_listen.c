/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_listen.c - listening sockets for all loops.
 *
 * With SO_REUSEPORT a second server of the same user could share the port unseen and
 * take half of the connections. So the address is bound without it first: that fails
 * while anybody listens there. Between this look and the real bind a server that
 * starts in the same instant can still slip in; that is accepted, its store lock stops
 * it. One socket alone is simply bound without SO_REUSEPORT. Any thread. */
#include "net/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

enum { BACKLOG = 1024 };

typedef struct address {
    struct sockaddr_storage ss;
    socklen_t len;
    bool any; /* ":port": both families when there are two */
} address;

static void set_port(address *a, uint16_t port)
{
    if (a->ss.ss_family == AF_INET)
        ((struct sockaddr_in *)&a->ss)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)&a->ss)->sin6_port = htons(port);
}

static uint16_t get_port(const address *a)
{
    return ntohs(a->ss.ss_family == AF_INET ? ((const struct sockaddr_in *)&a->ss)->sin_port
                                            : ((const struct sockaddr_in6 *)&a->ss)->sin6_port);
}

static void set_v4(address *a, struct in_addr ip)
{
    *a = (address){.len = sizeof(struct sockaddr_in), .any = a->any};
    struct sockaddr_in *in = (struct sockaddr_in *)&a->ss;
    in->sin_family = AF_INET;
    in->sin_addr = ip;
}

static void set_v6(address *a, struct in6_addr ip)
{
    *a = (address){.len = sizeof(struct sockaddr_in6), .any = a->any};
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)&a->ss;
    in->sin6_family = AF_INET6;
    in->sin6_addr = ip;
}

/* "1.2.3.4:p", "[v6]:p", ":p". Names are not resolved. */
static int parse_address(rbk_str text, address *a)
{
    char host[INET6_ADDRSTRLEN + 2];
    struct in_addr v4;
    struct in6_addr v6;
    uint64_t port;
    const char *colon = text.p ? memrchr(text.p, ':', text.n) : NULL;
    if (colon == NULL)
        return RBK_E_CONFIG;
    rbk_str h = {text.p, (size_t)(colon - text.p)};
    if (h.n >= sizeof host || rbk_str_u64((rbk_str){colon + 1, text.n - h.n - 1}, 65535, &port) < 0)
        return RBK_E_CONFIG;
    *a = (address){.any = h.n == 0};
    bool bracketed = h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']';
    if (bracketed)
        h = (rbk_str){h.p + 1, h.n - 2};
    memcpy(host, h.p, h.n);
    host[h.n] = 0;
    if (h.n == 0)
        set_v6(a, in6addr_any);
    else if (bracketed && inet_pton(AF_INET6, host, &v6) == 1)
        set_v6(a, v6);
    else if (!bracketed && inet_pton(AF_INET, host, &v4) == 1)
        set_v4(a, v4);
    else
        return RBK_E_CONFIG;
    set_port(a, (uint16_t)port);
    return 0;
}

bool rbk_http_listen_ok(rbk_str text)
{
    address a;
    return parse_address(text, &a) == 0;
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

/* A socket bound to `a`, whose port 0 becomes the real one; -1 and errno. */
static int bind_socket(address *a, bool reuse_port)
{
    int family = a->ss.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 ||
        (reuse_port && set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0) ||
        (family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !a->any) < 0) ||
        bind(fd, (struct sockaddr *)&a->ss, a->len) < 0 ||
        getsockname(fd, (struct sockaddr *)&a->ss, &a->len) < 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

/* A machine without IPv6 still listens on every address that it has. */
static int bind_first(address *a)
{
    int fd = bind_socket(a, false);
    if (fd < 0 && a->any && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
        uint16_t port = get_port(a);
        set_v4(a, (struct in_addr){htonl(INADDR_ANY)});
        set_port(a, port);
        fd = bind_socket(a, false);
    }
    /* Two can bind without listening; only listen() tells for sure. */
    if (fd >= 0 && listen(fd, BACKLOG) < 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

/* `n` sockets in place of the first, which is closed. How many were made. */
static size_t bind_more(address *a, size_t n, int *ret_fds)
{
    for (size_t made = 0; made < n; made++) {
        int fd = bind_socket(a, true);
        if (fd < 0)
            return made;
        if (listen(fd, BACKLOG) < 0) {
            int e = errno;
            close(fd);
            errno = e;
            return made;
        }
        ret_fds[made] = fd;
    }
    return n;
}

int rbk_http_listen(rbk_str text, size_t n, int *ret_fds, uint16_t *ret_port, rbk_error *err)
{
    address a;
    if (parse_address(text, &a) < 0)
        return rbk_fail(err, RBK_E_CONFIG,
                        "cannot listen on \"%.*s\": not ADDRESS:PORT, [IPv6]:PORT or :PORT",
                        RBK_FMT(text));
    size_t made = 0;
    int fd = bind_first(&a);
    if (fd >= 0 && n == 1) {
        ret_fds[made++] = fd;
    } else if (fd >= 0) {
        close(fd);
        made = bind_more(&a, n, ret_fds);
    }
    if (fd >= 0 && made == n) {
        *ret_port = get_port(&a);
        return 0;
    }
    int e = errno;
    while (made > 0)
        close(ret_fds[--made]);
    return rbk_fail(err, RBK_E_SYS, "cannot listen on %.*s: %s", RBK_FMT(text),
                    e == EADDRINUSE ? "another server is there" : strerror(e));
}
