/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_lock.c - paths, the lock file, and the making of the store's file.
 *
 * One server a store: PATH.lock is locked (flock) as long as the store is open. The lock
 * comes before the store's file is touched, because closing a second descriptor of that
 * file would drop SQLite's own locks. The lock file is never removed: a removed one can
 * be locked by two. Before threads, or store thread. */
#include "store/sqlite_impl.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the operator can put right is his configuration; the rest is the disk. */
static int fail_sys(rbk_error *err, const char *path, const char *what)
{
    int e = errno;
    switch (e) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
    case ENAMETOOLONG:
        return rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: %s: %s: %s", path, what, strerror(e));
    case ENOSPC:
    case EDQUOT:
        return rbk_fail(err, RBK_E_DISK_FULL, "%s: %s: %s", path, what, strerror(e));
    case ENOMEM:
        return rbk_fail(err, RBK_E_NOMEM, "%s: %s", path, what);
    default:
        return rbk_fail(err, RBK_E_IO, "%s: %s: %s", path, what, strerror(e));
    }
}

static char *copy_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

int rbk_sqlite_resolve(const char *path, char **ret_path, rbk_error *err)
{
    char *full = realpath(path, NULL), *dir = NULL, *dir_full = NULL;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    int r = 0;
    if (full == NULL && errno != ENOENT) {
        r = fail_sys(err, path, "cannot be reached");
        goto out;
    }
    if (full) {
        struct stat sb;
        if (stat(full, &sb) == 0 && !S_ISREG(sb.st_mode))
            r = rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: %s is not a file", full);
        goto out;
    }
    if (base[0] == 0) {
        r = rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: a file name is missing");
        goto out;
    }
    dir = copy_dir(path);
    dir_full = dir ? realpath(dir, NULL) : NULL;
    if (dir_full == NULL)
        r = fail_sys(err, path, "its directory cannot be reached");
    else if (asprintf(&full, "%s/%s", strcmp(dir_full, "/") == 0 ? "" : dir_full, base) < 0)
        r = rbk_fail(err, RBK_E_NOMEM, "a path");
out:
    free(dir);
    free(dir_full);
    if (r == 0)
        *ret_path = full;
    else
        free(full);
    return r;
}

/* Who holds it, as far as the file tells. */
static int fail_locked(rbk_error *err, int fd, const char *path)
{
    char pid[24] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = 0;
    pid[strspn(pid, "0123456789")] = 0;
    return rbk_fail_text(err, RBK_E_LOCKED, "store %s is in use by another server%s%s", path,
                         pid[0] ? ", process " : "", pid);
}

int rbk_sqlite_lock(const char *path, int *ret_fd, rbk_error *err)
{
    char *lock = NULL, pid[24];
    int r = 0;
    if (asprintf(&lock, "%s.lock", path) < 0)
        return rbk_fail(err, RBK_E_NOMEM, "a path");
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        r = fail_sys(err, lock, "cannot be opened");
        goto out;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        r = errno == EWOULDBLOCK ? fail_locked(err, fd, path) : fail_sys(err, lock, "cannot lock");
        goto out;
    }
    /* The number is a help for the operator only; without it the lock is as good. */
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (fchmod(fd, 0600) != 0 || ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        errno = 0;
    *ret_fd = fd;
    fd = -1;
out:
    if (fd >= 0)
        close(fd);
    free(lock);
    return r;
}

static int sync_dir(const char *path, rbk_error *err)
{
    char *dir = copy_dir(path);
    int r = 0, fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0 || fsync(fd) != 0)
        r = fail_sys(err, path, "its directory cannot be synced");
    if (fd >= 0)
        close(fd);
    free(dir);
    return r;
}

static void warn_mode(const char *path, mode_t mode, const rbk_store_conf *conf)
{
    char line[512];
    if ((mode & 077) == 0 || conf->warn == NULL)
        return;
    snprintf(line, sizeof line, "store %s has mode %04o: others can open it; 0600 is advised", path,
             (unsigned)(mode & 07777));
    conf->warn(conf->user, line);
}

/* SQLite gives -wal and -shm the mode of the store's file, whatever the umask. */
int rbk_sqlite_create(const char *path, const rbk_store_conf *conf, rbk_error *err)
{
    struct stat sb;
    if (stat(path, &sb) == 0) {
        warn_mode(path, sb.st_mode, conf);
        return 0;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_sys(err, path, "cannot be made");
    int r = 0;
    if (fchmod(fd, 0600) != 0 || fsync(fd) != 0)
        r = fail_sys(err, path, "cannot be made");
    close(fd);
    return r < 0 ? r : sync_dir(path, err);
}
