/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_wal.c - the WAL file with few write calls.
 *
 * SQLite writes a WAL frame by frame, and each frame as a header of 24 bytes and a page: two
 * calls a page, about two a job. A thin VFS over the real one collects frames that follow each
 * other and writes them as one. Every other file is opened by the real VFS alone.
 *
 * What SQLite relies on stays true: frames are in the file before they are synced, read or
 * measured, and before a commit shows in the WAL's index, for the last frame of a commit (its
 * header says so) ends the collecting. So nobody ever sees an index of frames that are not
 * there, whatever `synchronous` is. Anything but the next frame is written at once. An error
 * of a late write comes from the call that ends the collecting, in the same transaction.
 *
 * The VFS belongs to one store and serves its writing connection alone. Store thread. */
#include "store/sqlite_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* SQLite's VFS for Unix takes less than 128 KiB a call. */
enum { FRAME_HEAD = 24, COMMIT_AT = 4, ROOM = 120 << 10 };

typedef struct wal_file {
    sqlite3_file base;      /* first */
    sqlite3_file *real;     /* behind this */
    char *p;                /* frames that are not in the file yet */
    int n;
    sqlite3_int64 at;       /* where they belong */
    sqlite3_int64 tail;     /* behind the last whole frame, where the next one goes; -1: not known */
    sqlite3_int64 headed;   /* behind a frame's header that has no page yet; -1: none */
    bool commit;            /* that header is of the last frame of a commit */
} wal_file;

/* All that was collected goes to the file; what fails is gone, and so is its transaction. */
static int flush(wal_file *f)
{
    int n = f->n;
    if (n == 0)
        return SQLITE_OK;
    f->n = 0;
    int rc = f->real->pMethods->xWrite(f->real, f->p, n, f->at);
    if (rc != SQLITE_OK)
        f->tail = f->headed = -1;
    return rc;
}

/* May these bytes be kept back? The header of the next frame, or the page behind it. */
static bool may_collect(wal_file *f, int n, sqlite3_int64 at)
{
    bool head = n == FRAME_HEAD && at == f->tail, page = n > FRAME_HEAD && at == f->headed;
    if ((!head && !page) || n > ROOM)
        return false;
    if (f->p == NULL)
        f->p = malloc(ROOM);
    return f->p != NULL;
}

static int collect(wal_file *f, const void *p, int n, sqlite3_int64 at)
{
    int rc = SQLITE_OK;
    if (f->n && (f->at + f->n != at || n > ROOM - f->n))
        rc = flush(f);
    if (rc != SQLITE_OK)
        return rc;
    if (f->n == 0)
        f->at = at;
    memcpy(f->p + f->n, p, (size_t)n);
    f->n += n;
    return rc;
}

/* What this write makes of the place where the next frame goes. True: a commit is complete. */
static bool note(wal_file *f, const void *p, int n, sqlite3_int64 at)
{
    static const char none[4];
    bool complete = false;
    if (n == FRAME_HEAD) {
        f->commit = memcmp((const char *)p + COMMIT_AT, none, sizeof none) != 0;
        f->headed = at + n;
    } else {
        complete = at == f->headed && f->commit;
        f->tail = at == f->headed ? at + n : f->tail;
        f->headed = -1;
    }
    return complete;
}

static int wal_write(sqlite3_file *file, const void *p, int n, sqlite3_int64 at)
{
    wal_file *f = (wal_file *)file;
    int rc;
    if (may_collect(f, n, at)) {
        rc = collect(f, p, n, at);
    } else {
        rc = flush(f);
        if (rc == SQLITE_OK)
            rc = f->real->pMethods->xWrite(f->real, p, n, at);
    }
    if (rc == SQLITE_OK && note(f, p, n, at))
        rc = flush(f);
    return rc;
}

static int wal_read(sqlite3_file *file, void *p, int n, sqlite3_int64 at)
{
    wal_file *f = (wal_file *)file;
    int rc = flush(f);
    return rc == SQLITE_OK ? f->real->pMethods->xRead(f->real, p, n, at) : rc;
}

static int wal_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    wal_file *f = (wal_file *)file;
    int rc = flush(f);
    f->tail = f->headed = -1;
    return rc == SQLITE_OK ? f->real->pMethods->xTruncate(f->real, size) : rc;
}

static int wal_sync(sqlite3_file *file, int flags)
{
    wal_file *f = (wal_file *)file;
    int rc = flush(f);
    return rc == SQLITE_OK ? f->real->pMethods->xSync(f->real, flags) : rc;
}

static int wal_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    wal_file *f = (wal_file *)file;
    int rc = flush(f);
    return rc == SQLITE_OK ? f->real->pMethods->xFileSize(f->real, ret) : rc;
}

static int wal_close(sqlite3_file *file)
{
    wal_file *f = (wal_file *)file;
    int rc = flush(f), closed = f->real->pMethods->xClose(f->real);
    free(f->p);
    return rc == SQLITE_OK ? closed : rc;
}

static int wal_lock(sqlite3_file *file, int level)
{
    sqlite3_file *real = ((wal_file *)file)->real;
    return real->pMethods->xLock(real, level);
}

static int wal_unlock(sqlite3_file *file, int level)
{
    sqlite3_file *real = ((wal_file *)file)->real;
    return real->pMethods->xUnlock(real, level);
}

static int wal_reserved(sqlite3_file *file, int *ret)
{
    sqlite3_file *real = ((wal_file *)file)->real;
    return real->pMethods->xCheckReservedLock(real, ret);
}

static int wal_control(sqlite3_file *file, int op, void *arg)
{
    sqlite3_file *real = ((wal_file *)file)->real;
    return real->pMethods->xFileControl(real, op, arg);
}

static int wal_sector(sqlite3_file *file)
{
    sqlite3_file *real = ((wal_file *)file)->real;
    return real->pMethods->xSectorSize(real);
}

static int wal_device(sqlite3_file *file)
{
    sqlite3_file *real = ((wal_file *)file)->real;
    return real->pMethods->xDeviceCharacteristics(real);
}

/* Version 1: a WAL has neither shared memory nor pages that are mapped. */
static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = wal_close,
    .xRead = wal_read,
    .xWrite = wal_write,
    .xTruncate = wal_truncate,
    .xSync = wal_sync,
    .xFileSize = wal_size,
    .xLock = wal_lock,
    .xUnlock = wal_unlock,
    .xCheckReservedLock = wal_reserved,
    .xFileControl = wal_control,
    .xSectorSize = wal_sector,
    .xDeviceCharacteristics = wal_device,
};

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    rbk_sqlite_vfs *v = (rbk_sqlite_vfs *)vfs;
    wal_file *f = (wal_file *)file;
    if (!(flags & SQLITE_OPEN_WAL))
        return v->real->xOpen(v->real, name, file, flags, ret_flags);
    *f = (wal_file){.real = (sqlite3_file *)(f + 1), .tail = -1, .headed = -1};
    int rc = v->real->xOpen(v->real, name, f->real, flags, ret_flags);
    if (rc == SQLITE_OK)
        f->base.pMethods = &methods;
    return rc;
}

const char *rbk_sqlite_vfs_add(rbk_sqlite_vfs *v, const char *over)
{
    v->real = sqlite3_vfs_find(over);
    if (v->real == NULL)
        return NULL;
    v->base = *v->real;
    v->base.pNext = NULL;
    v->base.szOsFile = (int)sizeof(wal_file) + v->real->szOsFile;
    v->base.zName = v->name;
    v->base.xOpen = open_file;
    snprintf(v->name, sizeof v->name, "ringback-%p", (void *)v);
    v->added = sqlite3_vfs_register(&v->base, 0) == SQLITE_OK;
    return v->added ? v->name : NULL;
}

void rbk_sqlite_vfs_drop(rbk_sqlite_vfs *v)
{
    if (v->added)
        sqlite3_vfs_unregister(&v->base);
    v->added = false;
}
