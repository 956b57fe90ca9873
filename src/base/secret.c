/* SPDX-License-Identifier: Apache-2.0 */
/* base/secret.c - see secret.h. What is asked of a file is asked of its descriptor, so that
 * nobody changes it between the look and the reading. */
#include "base/secret.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 64 << 10, OTHERS = 077 & ~0111 };

static int check_file(int fd, const char *path, size_t max, struct stat *ret, rbk_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return rbk_fail(err, RBK_E_CONFIG, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return rbk_fail(err, RBK_E_CONFIG, "%s: is no file", path);
    if (st.st_mode & OTHERS)
        return rbk_fail(err, RBK_E_CONFIG,
                        "%s: others than its owner may read or write it (mode %04o); chmod 600 it",
                        path, (unsigned)st.st_mode & 07777);
    if (st.st_size < 0 || (uint64_t)st.st_size > max)
        return rbk_fail(err, RBK_E_CONFIG, "%s: is longer than %zu bytes", path, max);
    *ret = st;
    return 0;
}

/* One that grows meanwhile is read again another time. */
static int read_text(int fd, const char *path, rbk_buf *b, rbk_error *err)
{
    while (b->n < b->max) {
        ssize_t n = read(fd, b->p + b->n, b->max - b->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rbk_fail(err, RBK_E_CONFIG, "%s: %s", path, strerror(errno));
        if (n == 0)
            return 0;
        b->n += (size_t)n;
    }
    return rbk_fail(err, RBK_E_CONFIG, "%s: is being written to", path);
}

int rbk_secret_read_max(const char *path, size_t max, rbk_buf *text, rbk_error *err)
{
    struct stat st = {0};
    *text = RBK_BUF(0);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return rbk_fail(err, RBK_E_CONFIG, "%s: %s", path, strerror(errno));
    int r = check_file(fd, path, max, &st, err);
    if (r == 0) {
        *text = RBK_BUF((size_t)st.st_size + 1);
        if (rbk_buf_reserve(text, text->max) < 0) /* once: a growing buffer leaves copies behind */
            r = rbk_fail(err, RBK_E_NOMEM, "out of memory");
    }
    if (r == 0)
        r = read_text(fd, path, text, err);
    close(fd);
    return r;
}

int rbk_secret_read(const char *path, rbk_buf *text, rbk_error *err)
{
    return rbk_secret_read_max(path, FILE_MAX, text, err);
}

void rbk_secret_free(rbk_buf *text)
{
    if (text->p)
        explicit_bzero(text->p, text->cap);
    rbk_buf_free(text);
}

/* --- Writing ----------------------------------------------------------------------------- */

bool rbk_secret_write(int fd, rbk_str text)
{
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            text = (rbk_str){text.p + n, text.n - (size_t)n};
    }
    return fsync(fd) == 0;
}

void rbk_secret_sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(dir);
}

/* The new file belongs to whom the old one belongs to. */
static bool fill(int fd, const struct stat *old, rbk_str text)
{
    if ((old->st_uid != geteuid() || old->st_gid != getegid()) && fchown(fd, old->st_uid, old->st_gid) < 0)
        return false;
    return fchmod(fd, old->st_mode & 0600) == 0 && rbk_secret_write(fd, text);
}

int rbk_secret_replace(const char *path, rbk_str text, rbk_error *err)
{
    struct stat old;
    char *temp = NULL;
    int r = 0;
    if (stat(path, &old) < 0)
        return rbk_fail(err, RBK_E_SYS, "%s: %s", path, strerror(errno));
    if (asprintf(&temp, "%s.%ld", path, (long)getpid()) < 0)
        return rbk_fail(err, RBK_E_NOMEM, "out of memory");
    unlink(temp); /* of a process that died with this number */
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || !fill(fd, &old, text) || rename(temp, path) < 0) {
        r = rbk_fail(err, RBK_E_SYS, "%s: cannot be written: %s", path, strerror(errno));
        if (fd >= 0)
            unlink(temp);
    }
    if (fd >= 0)
        close(fd);
    if (r == 0)
        rbk_secret_sync_folder(path);
    free(temp);
    return r;
}
