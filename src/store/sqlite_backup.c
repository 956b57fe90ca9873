/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_backup.c - a copy of the whole store while a server uses it.
 *
 * A connection of its own, read only, takes one snapshot: in WAL mode writers go on beside
 * it, and what they write is not in the copy. As long as it takes, checkpoints cannot finish,
 * and the WAL grows. The copy is made under another name, without a journal, and is synced;
 * only then it gets its name, so whatever has that name is whole. The lock file is left alone:
 * a server may hold it. Any thread. */
#include "store/sqlite_impl.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct copy {
    rbk_sqlite_options options;
    char *dsn;  /* the options point into it */
    char *path; /* of the store */
    char *temp; /* what is being made; NULL: nothing yet */
    sqlite3 *from, *to;
} copy;

static int fail_sql(sqlite3 *db, int rc, const char *path, rbk_error *err)
{
    int code = (rc & 0xff) == SQLITE_NOTADB ? RBK_E_CONFIG : rbk_sqlite_classify(db, rc);
    return rbk_fail_text(err, code, "%s: %s", path, db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

/* Is it a store? SQLITE_ROW: yes; SQLITE_DONE: no. */
static int ask_owner(sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA application_id", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW && sqlite3_column_int64(s, 0) != RBK_SQLITE_APPLICATION_ID)
        rc = SQLITE_DONE;
    int end = sqlite3_finalize(s);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? rc : end ? end : rc;
}

static int open_store(copy *c, rbk_error *err)
{
    int r = rbk_sqlite_resolve(c->options.path, &c->path, err);
    if (r < 0)
        return r;
    if (access(c->path, R_OK) != 0)
        return rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: %s: %s", c->path, strerror(errno));
    int rc = sqlite3_open_v2(c->path, &c->from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                             c->options.vfs);
    if (rc != SQLITE_OK)
        return fail_sql(c->from, rc, c->path, err);
    sqlite3_extended_result_codes(c->from, 1);
    sqlite3_busy_timeout(c->from, RBK_SQLITE_BUSY_MS);
    rc = ask_owner(c->from);
    if (rc == SQLITE_DONE)
        return rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: %s is a database of something else",
                             c->path);
    return rc == SQLITE_ROW ? 0 : fail_sql(c->from, rc, c->path, err);
}

static int fail_path(rbk_error *err, const char *path)
{
    int code = errno == ENOSPC || errno == EDQUOT ? RBK_E_DISK_FULL
             : errno == EIO                       ? RBK_E_IO
                                                  : RBK_E_CONFIG;
    return rbk_fail_text(err, code, "%s: %s", path, strerror(errno));
}

static int make_temp(copy *c, const char *path, rbk_error *err)
{
    char *temp = NULL;
    if (asprintf(&temp, "%s.XXXXXX", path) < 0)
        return rbk_fail(err, RBK_E_NOMEM, "a path");
    int fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 */
    if (fd < 0) {
        int r = fail_path(err, path);
        free(temp);
        return r;
    }
    close(fd);
    c->temp = temp;
    return 0;
}

static int copy_pages(copy *c, rbk_error *err)
{
    int rc = sqlite3_open_v2(c->temp, &c->to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                             c->options.vfs);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(c->to, "PRAGMA journal_mode=OFF;PRAGMA synchronous=OFF", NULL, NULL,
                          NULL);
    if (rc != SQLITE_OK)
        return fail_sql(c->to, rc, c->temp, err);
    sqlite3_extended_result_codes(c->to, 1);
    sqlite3_backup *b = sqlite3_backup_init(c->to, "main", c->from, "main");
    if (b == NULL)
        return fail_sql(c->to, sqlite3_errcode(c->to), c->temp, err);
    do
        rc = sqlite3_backup_step(b, -1);
    while (rc == SQLITE_OK);
    int end = sqlite3_backup_finish(b);
    if (rc != SQLITE_DONE)
        return fail_sql(c->to, end ? end : rc, c->temp, err);
    rc = sqlite3_close(c->to);
    c->to = NULL;
    return rc == SQLITE_OK ? 0 : fail_sql(NULL, rc, c->temp, err);
}

static int sync_file(const char *path, int flags, rbk_error *err)
{
    int fd = open(path, flags | O_CLOEXEC);
    int r = fd < 0 || fsync(fd) != 0 ? fail_path(err, path) : 0;
    if (fd >= 0)
        close(fd);
    return r;
}

static int sync_folder(const char *path, rbk_error *err)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? strdup(".")
              : slash == path ? strdup("/")
                              : strndup(path, (size_t)(slash - path));
    int r = dir ? sync_file(dir, O_RDONLY | O_DIRECTORY, err)
                : rbk_fail(err, RBK_E_NOMEM, "a path");
    free(dir);
    return r;
}

static int refuse(rbk_error *err, const char *path)
{
    return rbk_fail_text(err, RBK_E_CONFIG, "%s is there already", path);
}

/* A link, unlike a rename, does not take the place of a file that came meanwhile. */
static int give_name(copy *c, const char *path, rbk_error *err)
{
    int r = sync_file(c->temp, O_RDWR, err);
    if (r < 0)
        return r;
    if (link(c->temp, path) == 0)
        unlink(c->temp);
    else if (errno == EEXIST)
        return refuse(err, path);
    else if ((errno != EPERM && errno != ENOTSUP) || rename(c->temp, path) != 0)
        return fail_path(err, path);
    free(c->temp);
    c->temp = NULL;
    return sync_folder(path, err);
}

int rbk_sqlite_backup(const rbk_store_conf *conf, const char *path, rbk_error *err)
{
    copy c = {.dsn = strdup(conf->dsn)};
    struct stat sb;
    int r = c.dsn ? rbk_sqlite_parse_dsn(c.dsn, &c.options, err)
                  : rbk_fail(err, RBK_E_NOMEM, "a dsn");
    if (r == 0 && lstat(path, &sb) == 0)
        r = refuse(err, path);
    if (r == 0)
        r = open_store(&c, err);
    if (r == 0)
        r = make_temp(&c, path, err);
    if (r == 0)
        r = copy_pages(&c, err);
    if (r == 0)
        r = give_name(&c, path, err);
    sqlite3_close(c.to);
    sqlite3_close(c.from);
    if (c.temp)
        unlink(c.temp);
    free(c.temp);
    free(c.path);
    free(c.dsn);
    return r;
}
