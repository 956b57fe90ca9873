/* SPDX-License-Identifier: Apache-2.0 */
/* net/listen.c - see listen.h; http_listen.c has the TCP sockets.
 *
 * A Unix socket has no SO_REUSEPORT: each loop gets a copy of one descriptor, and whichever accepts
 * first has the client. Its file outlives a server that crashed, so whether somebody listens there is
 * asked by a connection. Between that look and the bind another server may slip in, and its file
 * be taken from it; the lock of its store stops whoever comes second.
 *
 * The file must not be there for a moment with more rights than it should have, and umask(2) is of
 * the whole process: Linux makes the file with the mode that the socket itself has, less the
 * umask; what the umask took is given back afterwards. */
#include "net/listen.h"

#include "base/error.h"
#include "net/http_server.h"
#include "net/passed.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024, PATH_ROOM = sizeof(((struct sockaddr_un *)NULL)->sun_path), FD_NAME_MAX = 255 };

#define UNIX RBK_STR("unix:")
#define FD   RBK_STR("fd:")

static rbk_str behind(rbk_str text, rbk_str prefix)
{
    return (rbk_str){text.p + prefix.n, text.n - prefix.n};
}

/* What FileDescriptorName= of systemd.socket(5) takes. */
static bool is_fd_name(rbk_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == ':')
            return false;
    return s.n <= FD_NAME_MAX;
}

const char *rbk_listen_fault(rbk_str text)
{
    if (rbk_str_starts(text, UNIX)) {
        rbk_str path = behind(text, UNIX);
        return path.n == 0           ? "has no path"
               : path.n >= PATH_ROOM ? "has a path of more than 107 bytes"
               : path.p[0] == '@'    ? "is no path of a file"
                                     : NULL;
    }
    if (rbk_str_starts(text, FD))
        return is_fd_name(behind(text, FD)) ? NULL : "is not the name of a passed socket";
    return rbk_http_listen_ok(text)
               ? NULL
               : "is not an address like 127.0.0.1:7600, [::1]:7600, :7600, unix:/path or fd:NAME";
}

static int fail(rbk_error *err, rbk_str text, const char *why)
{
    return rbk_fail(err, RBK_E_SYS, "cannot listen on %.*s: %s", RBK_FMT(text), why);
}

/* --- one socket, several loops --- */

static int make_room(rbk_listening *l, size_t n, rbk_error *err)
{
    l->fds = malloc((n ? n : 1) * sizeof *l->fds);
    if (l->fds == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    for (l->n = 0; l->n < n; l->n++)
        l->fds[l->n] = -1;
    return 0;
}

static int copy_to(rbk_listening *l, size_t from, int fd, rbk_str text, rbk_error *err)
{
    for (size_t i = from; i < l->n; i++)
        if ((l->fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
            return fail(err, text, strerror(errno));
    return 0;
}

static int look(rbk_listening *l, int fd, rbk_str text, rbk_error *err)
{
    socklen_t n = sizeof l->addr;
    if (getsockname(fd, (struct sockaddr *)&l->addr, &n) < 0)
        return fail(err, text, strerror(errno));
    const struct sockaddr_in *v4 = (const void *)&l->addr;
    const struct sockaddr_in6 *v6 = (const void *)&l->addr;
    const struct sockaddr_un *un = (const void *)&l->addr;
    l->local = l->addr.ss_family == AF_UNIX;
    if (l->addr.ss_family == AF_INET)
        l->port = ntohs(v4->sin_port);
    else if (l->addr.ss_family == AF_INET6)
        l->port = ntohs(v6->sin6_port);
    else if (!l->local)
        return fail(err, text, "it is neither TCP nor a Unix socket");
    else if (n > offsetof(struct sockaddr_un, sun_path))
        memcpy(l->path, un->sun_path, n - offsetof(struct sockaddr_un, sun_path));
    return 0;
}

/* --- Unix sockets --- */

/* 0: nobody has the place. */
static int make_place(const struct sockaddr_un *un, rbk_str text, rbk_error *err)
{
    struct stat st;
    if (lstat(un->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : fail(err, text, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return fail(err, text, "there is something else than a socket");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail(err, text, strerror(errno));
    int why = connect(fd, (const struct sockaddr *)un, sizeof *un) < 0 ? errno : 0;
    close(fd);
    if (why == 0 || why == EAGAIN)
        return fail(err, text, "another server is there");
    if (why == ENOENT)
        return 0;
    if (why != ECONNREFUSED)
        return fail(err, text, strerror(why));
    return unlink(un->sun_path) < 0 && errno != ENOENT ? fail(err, text, strerror(errno)) : 0;
}

static int bind_file(rbk_listening *l, int fd, const struct sockaddr_un *un, mode_t mode)
{
    struct stat st;
    if (fchmod(fd, mode) < 0 || bind(fd, (const struct sockaddr *)un, sizeof *un) < 0)
        return -1;
    if (lstat(un->sun_path, &st) == 0) {
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    strcpy(l->path, un->sun_path);
    return chmod(un->sun_path, mode) < 0 || listen(fd, BACKLOG) < 0 ? -1 : 0;
}

static int listen_unix(rbk_str text, const rbk_listen_conf *conf, rbk_listening *l, rbk_error *err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    rbk_str path = behind(text, UNIX);
    memcpy(un.sun_path, path.p, path.n);
    int r = make_place(&un, text, err);
    if (r == 0)
        r = make_room(l, conf->loops, err);
    if (r < 0)
        return r;
    l->fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fds[0] < 0 || bind_file(l, l->fds[0], &un, conf->mode) < 0)
        return fail(err, text, errno == EADDRINUSE ? "another server is there" : strerror(errno));
    r = look(l, l->fds[0], text, err);
    return r < 0 ? r : copy_to(l, 1, l->fds[0], text, err);
}

/* --- the others --- */

static int listen_tcp(rbk_str text, const rbk_listen_conf *conf, rbk_listening *l, rbk_error *err)
{
    uint16_t port;
    int r = make_room(l, conf->loops, err);
    if (r == 0)
        r = rbk_http_listen(text, l->n, l->fds, &port, err);
    if (r < 0) /* it closed what it had made */
        l->n = 0;
    return r < 0 ? r : look(l, l->fds[0], text, err);
}

static int take_passed(int fd, rbk_str text, const rbk_listen_conf *conf, rbk_listening *l,
                       rbk_error *err)
{
    int type = 0, listens = 0;
    socklen_t n = sizeof type, m = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &m) < 0 || !listens)
        return fail(err, text, "what was passed is no socket that listens");
    l->passed = true;
    int r = look(l, fd, text, err);
    if (r == 0)
        r = make_room(l, conf->loops, err);
    return r < 0 ? r : copy_to(l, 0, fd, text, err);
}

/* Of the name all, or none. */
static int listen_passed(rbk_str text, const rbk_listen_conf *conf, rbk_listening *list, size_t max,
                         rbk_error *err)
{
    rbk_str name = behind(text, FD);
    size_t n = 0;
    int fd, r = 0;
    while (r == 0 && (fd = rbk_passed_find(name, n)) >= 0) {
        if (n == max)
            r = rbk_fail(err, RBK_E_CONFIG, "%.*s: too many sockets were passed", RBK_FMT(text));
        else
            r = take_passed(fd, text, conf, &list[n++], err);
    }
    if (r == 0 && n == 0)
        r = fail(err, text, "no such socket was passed");
    while (r < 0 && n > 0)
        rbk_listen_close(&list[--n]);
    return r < 0 ? r : (int)n;
}

int rbk_listen(rbk_str text, const rbk_listen_conf *conf, rbk_listening *list, size_t max,
               rbk_error *err)
{
    const char *fault = rbk_listen_fault(text);
    if (fault)
        return rbk_fail(err, RBK_E_CONFIG, "cannot listen on \"%.*s\": it %s", RBK_FMT(text), fault);
    if (max == 0)
        return rbk_fail(err, RBK_E_CONFIG, "%.*s: too many addresses", RBK_FMT(text));
    list[0] = (rbk_listening){0};
    if (rbk_str_starts(text, FD)) {
        memset(list, 0, max * sizeof *list);
        return listen_passed(text, conf, list, max, err);
    }
    int r = rbk_str_starts(text, UNIX) ? listen_unix(text, conf, list, err)
                                       : listen_tcp(text, conf, list, err);
    if (r < 0)
        rbk_listen_close(list);
    return r < 0 ? r : 1;
}

int rbk_listen_give(rbk_listening *l, size_t i)
{
    int fd = l->fds[i];
    l->fds[i] = -1;
    return fd;
}

void rbk_listen_unlink(rbk_listening *l)
{
    struct stat st;
    if (l->ino && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    l->ino = 0;
}

void rbk_listen_close(rbk_listening *l)
{
    rbk_listen_unlink(l);
    for (size_t i = 0; i < l->n; i++)
        if (l->fds[i] >= 0)
            close(l->fds[i]);
    free(l->fds);
    *l = (rbk_listening){0};
}
