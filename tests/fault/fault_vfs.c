/* SPDX-License-Identifier: Apache-2.0 */
/* fault/fault_vfs.c - see fault_vfs.h.
 *
 * For the power cut each file has, beside the real one, an image of what was synced and
 * a list of the writes and truncations since. A sync folds the list into the image. At
 * the cut every entry of the list is kept, lost, or torn at a sector, in a random order,
 * as a disk with a cache may do. */
#include "fault_vfs.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES = 8, SECTOR = 512 };

typedef struct pending {
    struct pending *next;
    int64_t offset; /* or the new size */
    int size;       /* -1: a truncation */
    unsigned char data[];
} pending;

/* Of one path, over all its openings. */
typedef struct image {
    char path[512];
    unsigned char *data;
    int64_t size;
    int64_t room; /* allocated */
    pending *first, **last;
    bool used;
} image;

typedef struct fault_file {
    sqlite3_file base;
    image *image; /* NULL: a temporary file */
    sqlite3_file *real;
} fault_file;

static sqlite3_vfs vfs, *real_vfs;
static fault_plan plan;
static int calls, last_error;
static bool fired;
/* Also where assertions are compiled out. */
#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

static uint32_t dice;
static image images[FILES];

static uint32_t roll(uint32_t sides)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 10) % sides;
}

/* --- Images ------------------------------------------------------------------------------ */

static void resize(image *im, int64_t size)
{
    if (size > im->size) {
        if (size > im->room) {
            im->room = 2 * size;
            im->data = realloc(im->data, (size_t)im->room);
        }
        MUST(im->data);
        memset(im->data + im->size, 0, (size_t)(size - im->size));
    }
    im->size = size;
}

static void apply_pending(image *im, const pending *p, int size)
{
    if (p->size < 0) {
        resize(im, p->offset);
        return;
    }
    if (p->offset + size > im->size)
        resize(im, p->offset + size);
    memcpy(im->data + p->offset, p->data, (size_t)size);
}

static void drop_pending(image *im)
{
    for (pending *p = im->first; p;) {
        pending *next = p->next;
        free(p);
        p = next;
    }
    im->first = NULL;
    im->last = &im->first;
}

static void fold(image *im)
{
    for (const pending *p = im->first; p; p = p->next)
        apply_pending(im, p, p->size);
    drop_pending(im);
}

static void remember(image *im, const void *data, int size, int64_t offset)
{
    if (im == NULL)
        return;
    pending *p = malloc(sizeof *p + (size_t)(size > 0 ? size : 0));
    MUST(p);
    *p = (pending){.offset = offset, .size = size};
    if (size > 0)
        memcpy(p->data, data, (size_t)size);
    *im->last = p;
    im->last = &p->next;
}

/* A file that stands there already is taken as synced. */
static image *find_image(const char *path)
{
    image *empty = NULL;
    for (int i = 0; i < FILES; i++) {
        if (images[i].used && strcmp(images[i].path, path) == 0)
            return &images[i];
        if (!images[i].used && empty == NULL)
            empty = &images[i];
    }
    MUST(empty);
    *empty = (image){.used = true};
    empty->last = &empty->first;
    snprintf(empty->path, sizeof empty->path, "%s", path);
    FILE *f = fopen(path, "rb");
    unsigned char block[4096];
    for (size_t n; f && (n = fread(block, 1, sizeof block, f)) > 0;) {
        resize(empty, empty->size + (int64_t)n);
        memcpy(empty->data + empty->size - n, block, n);
    }
    if (f)
        fclose(f);
    return empty;
}

static void forget_images(void)
{
    for (int i = 0; i < FILES; i++) {
        if (images[i].used)
            drop_pending(&images[i]);
        free(images[i].data);
        images[i] = (image){0};
    }
}

/* The list in a random order, each entry whole, lost or torn. */
static void scatter(image *im)
{
    size_t n = 0;
    for (const pending *p = im->first; p; p = p->next)
        n++;
    const pending **list = malloc((n + 1) * sizeof *list);
    MUST(list);
    n = 0;
    for (const pending *p = im->first; p; p = p->next)
        list[n++] = p;
    bool lose_all = roll(4) == 0, keep_order = roll(2) == 0;
    for (size_t i = n; i > 1 && !keep_order; i--) {
        size_t j = roll((uint32_t)i);
        const pending *swap = list[i - 1];
        list[i - 1] = list[j];
        list[j] = swap;
    }
    for (size_t i = 0; i < n && !lose_all; i++) {
        uint32_t fate = roll(3);
        int sectors = list[i]->size > SECTOR ? list[i]->size / SECTOR : 0;
        if (fate == 0)
            apply_pending(im, list[i], list[i]->size);
        else if (fate == 1 && sectors)
            apply_pending(im, list[i], SECTOR * (int)roll((uint32_t)sectors));
    }
    free(list);
}

static void write_image(const image *im)
{
    char path[600];
    const char *name = strrchr(im->path, '/');
    snprintf(path, sizeof path, "%s%s", plan.cut_dir, name);
    FILE *f = fopen(path, "wb");
    MUST(f && fwrite(im->data ? (const void *)im->data : "", 1, (size_t)im->size, f) ==
                    (size_t)im->size);
    fclose(f);
}

static void cut(void)
{
    fired = true;
    dice = plan.seed;
    plan.on_cut();
    for (int i = 0; i < FILES; i++)
        if (images[i].used) {
            image copy = images[i];
            copy.data = NULL;
            copy.size = copy.room = 0;
            resize(&copy, images[i].size);
            if (images[i].size)
                memcpy(copy.data, images[i].data, (size_t)images[i].size);
            scatter(&copy);
            write_image(&copy);
            free(copy.data);
        }
}

/* Count one call: 0 when it goes on, or the errno to fail with. */
static int count_call(void)
{
    calls++;
    if (calls == plan.cut_at)
        cut();
    if (plan.fail_at == 0 || calls < plan.fail_at || (calls > plan.fail_at && !plan.for_ever))
        return 0;
    fired = true;
    last_error = plan.error;
    return plan.error;
}

/* --- Files -------------------------------------------------------------------------------- */

#define REAL(f) (((fault_file *)(f))->real)

static int file_close(sqlite3_file *f)
{
    int rc = REAL(f)->pMethods ? REAL(f)->pMethods->xClose(REAL(f)) : SQLITE_OK;
    free(REAL(f));
    return rc;
}

static int file_read(sqlite3_file *f, void *to, int n, sqlite3_int64 offset)
{
    return REAL(f)->pMethods->xRead(REAL(f), to, n, offset);
}

static int file_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 offset)
{
    int e = count_call();
    if (e) /* half of it may be there, as with a real disk */
        REAL(f)->pMethods->xWrite(REAL(f), from, n / 2, offset);
    if (e == 0)
        remember(((fault_file *)f)->image, from, n, offset);
    if (e)
        return e == ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    return REAL(f)->pMethods->xWrite(REAL(f), from, n, offset);
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    if (count_call())
        return SQLITE_IOERR_TRUNCATE;
    remember(((fault_file *)f)->image, NULL, -1, size);
    return REAL(f)->pMethods->xTruncate(REAL(f), size);
}

static int file_sync(sqlite3_file *f, int flags)
{
    (void)flags; /* nothing real is synced: the image is what counts */
    if (count_call())
        return SQLITE_IOERR_FSYNC;
    if (((fault_file *)f)->image)
        fold(((fault_file *)f)->image);
    return SQLITE_OK;
}

static int file_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return REAL(f)->pMethods->xFileSize(REAL(f), size);
}

static int file_lock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xLock(REAL(f), level);
}

static int file_unlock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xUnlock(REAL(f), level);
}

static int file_check_lock(sqlite3_file *f, int *ret)
{
    return REAL(f)->pMethods->xCheckReservedLock(REAL(f), ret);
}

static int file_control(sqlite3_file *f, int op, void *arg)
{
    return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}

static int file_sector(sqlite3_file *f)
{
    return REAL(f)->pMethods->xSectorSize(REAL(f));
}

/* No promise of the real disk is passed on. */
static int file_character(sqlite3_file *f)
{
    (void)f;
    return 0;
}

static int file_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
    return REAL(f)->pMethods->xShmMap(REAL(f), page, size, extend, ret);
}

static int file_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return REAL(f)->pMethods->xShmLock(REAL(f), offset, n, flags);
}

static void file_shm_barrier(sqlite3_file *f)
{
    REAL(f)->pMethods->xShmBarrier(REAL(f));
}

static int file_shm_unmap(sqlite3_file *f, int remove)
{
    return REAL(f)->pMethods->xShmUnmap(REAL(f), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_character,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

/* --- The VFS ------------------------------------------------------------------------------- */

static int vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    (void)v;
    fault_file *f = (fault_file *)file;
    *f = (fault_file){0};
    if (count_call())
        return SQLITE_CANTOPEN;
    f->real = calloc(1, (size_t)real_vfs->szOsFile);
    if (f->real == NULL)
        return SQLITE_NOMEM;
    /* the image first: opening a second descriptor later would drop SQLite's locks */
    f->image = name ? find_image(name) : NULL;
    int rc = real_vfs->xOpen(real_vfs, name, f->real, flags, ret_flags);
    if (rc == SQLITE_OK)
        f->base.pMethods = &methods;
    else
        free(f->real);
    return rc;
}

/* A file that goes away is not brought back by the cut: the WAL is removed only when all
 * of it is synced in the main file. */
static int vfs_delete(sqlite3_vfs *v, const char *name, int sync_dir)
{
    (void)v;
    image *im = find_image(name);
    drop_pending(im);
    resize(im, 0);
    return real_vfs->xDelete(real_vfs, name, sync_dir);
}

static int vfs_last_error(sqlite3_vfs *v, int n, char *text)
{
    (void)v;
    (void)n;
    (void)text;
    return last_error;
}

void fault_vfs_register(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    vfs = *real_vfs;
    vfs.zName = "fault";
    vfs.szOsFile = sizeof(fault_file);
    vfs.xOpen = vfs_open;
    vfs.xDelete = vfs_delete;
    vfs.xGetLastError = vfs_last_error;
    vfs.pNext = NULL;
    sqlite3_vfs_register(&vfs, 0);
}

void fault_vfs_plan(const fault_plan *p)
{
    plan = *p;
    calls = 0;
    last_error = 0;
    fired = false;
    forget_images();
}

int fault_vfs_calls(void)
{
    return calls;
}

bool fault_vfs_fired(void)
{
    return fired;
}
