/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite.c - the store `sqlite:PATH`: open, close, checkpoints.
 *
 *   sqlite:PATH[?option=value[&…]]
 *     synchronous=off   no sync: a power cut loses jobs. For tests only
 *     check=full        an integrity check of the whole file at open
 *     vfs=NAME          another SQLite VFS. For tests only
 *
 * One file in WAL mode with synchronous=FULL: a commit is one append to the WAL and one
 * sync of it. Checkpoints are ours, in idle(), when acknowledgements have gone out. The
 * users of the file may open it while the server runs.
 *
 * After RBK_E_IO a handle answers RBK_E_IO to everything and is closed without a
 * checkpoint, so that nothing doubtful reaches the main file; the next open in this
 * process checks the file first. Store thread. */
#include "store/stores.h"

#include "base/error.h"
#include "base/str.h"
#include "store/sqlite_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* --- The dsn ------------------------------------------------------------------------- */

static int parse_option(char *name, rbk_sqlite_options *o, rbk_error *err)
{
    char *value = strchr(name, '=');
    if (value)
        *value++ = 0;
    if (value && strcmp(name, "synchronous") == 0 && strcmp(value, "off") == 0)
        o->durable = false;
    else if (value && strcmp(name, "synchronous") == 0 && strcmp(value, "full") == 0)
        o->durable = true;
    else if (value && strcmp(name, "check") == 0 && strcmp(value, "full") == 0)
        o->check = true;
    else if (value && strcmp(name, "vfs") == 0 && sqlite3_vfs_find(value))
        o->vfs = value;
    else
        return rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: bad option '%s'", name);
    return 0;
}

int rbk_sqlite_parse_dsn(char *text, rbk_sqlite_options *o, rbk_error *err)
{
    char *save = NULL, *query = strchr(text, '?');
    *o = (rbk_sqlite_options){.durable = true};
    if (query)
        *query++ = 0;
    if (strncmp(text, "sqlite:", 7) != 0 || text[7] == 0)
        return rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: expected sqlite:PATH");
    o->path = text + 7;
    for (char *name = query ? strtok_r(query, "&", &save) : NULL; name;
         name = strtok_r(NULL, "&", &save)) {
        int r = parse_option(name, o, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- Open and close ------------------------------------------------------------------ */

static int note_wal(void *user, sqlite3 *db, const char *name, int pages)
{
    rbk_store *st = user;
    (void)db;
    (void)name;
    st->wal_pages = pages;
    return SQLITE_OK;
}

static void finalize_all(sqlite3_stmt **s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sqlite3_finalize(s[i]);
}

static void sqlite_close(rbk_store *st)
{
    if (st == NULL)
        return;
    finalize_all(st->read, RBK_Q_READERS);
    finalize_all(st->sql, RBK_Q_WRITERS);
    if (st->reader)
        sqlite3_close(st->reader);
    if (st->db) {
        if (atomic_load(&st->broken))
            sqlite3_db_config(st->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        else if (st->wal_pages)
            sqlite3_wal_checkpoint_v2(st->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        sqlite3_close(st->db);
    }
    rbk_sqlite_vfs_drop(&st->vfs);
    if (st->lock_fd >= 0)
        close(st->lock_fd);
    rbk_sqlite_free_callers(st);
    free(st->path);
    free(st);
}

static int open_files(rbk_store *st, const rbk_sqlite_options *o, const rbk_store_conf *conf,
                      rbk_error *err)
{
    rbk_store_stats stats = {0};
    int r = rbk_sqlite_resolve(o->path, &st->path, err);
    if (r == 0)
        r = rbk_sqlite_lock(st->path, &st->lock_fd, err);
    if (r == 0)
        r = rbk_sqlite_create(st->path, conf, err);
    if (r == 0)
        r = rbk_sqlite_connect(st, o, conf->page_cache, err);
    if (r == 0)
        r = rbk_sqlite_prepare(st, err);
    if (r == 0)
        r = rbk_sqlite_stats(st, &stats, err);
    if (r < 0)
        return r;
    st->max_seq = stats.max_seq;
    sqlite3_wal_hook(st->db, note_wal, st);
    return 0;
}

static int sqlite_open(const rbk_store_conf *conf, rbk_store **ret, rbk_error *err)
{
    rbk_sqlite_options o;
    char *dsn = strdup(conf->dsn);
    rbk_store *st = calloc(1, sizeof *st);
    int r = dsn && st ? 0 : rbk_fail(err, RBK_E_NOMEM, "a store");
    if (st) {
        st->lock_fd = -1;
        st->checkpoint_at = RBK_SQLITE_CHECKPOINT;
    }
    if (r == 0)
        r = rbk_sqlite_parse_dsn(dsn, &o, err);
    if (r == 0) {
        st->durable = o.durable;
        st->released = conf->released;
        st->counted = conf->counted;
        st->user = conf->user;
        if (!o.durable && conf->warn)
            conf->warn(conf->user, "store.dsn has synchronous=off: a power cut loses accepted jobs");
        r = open_files(st, &o, conf, err);
    }
    free(dsn);
    if (r < 0) {
        sqlite_close(st);
        return r;
    }
    *ret = st;
    return 0;
}

/* --- The rest ------------------------------------------------------------------------ */

static const char *sqlite_path(rbk_store *st)
{
    return st->path;
}

static int sqlite_free_bytes(rbk_store *st, int64_t *ret, rbk_error *err)
{
    struct statvfs v;
    if (statvfs(st->path, &v) != 0)
        return rbk_fail(err, RBK_E_SYS, "%s: statvfs: %s", st->path, strerror(errno));
    *ret = (int64_t)v.f_bavail * (int64_t)v.f_frsize;
    return 0;
}

/* PASSIVE never waits. The WAL starts again from its beginning when all of it is in the
 * main file and nobody reads it. While somebody does, it grows; then every so many pages
 * RESTART waits a moment for the short reads of our own reader to end. */
static void sqlite_idle(rbk_store *st)
{
    if (st->wal_pages < st->checkpoint_at || atomic_load(&st->broken))
        return;
    bool grown = st->wal_pages >= 4 * RBK_SQLITE_CHECKPOINT;
    int pages = 0, done = 0;
    if (grown)
        sqlite3_busy_timeout(st->db, 2 * RBK_SQLITE_READ_MS);
    int rc = sqlite3_wal_checkpoint_v2(
        st->db, NULL, grown ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, &pages, &done);
    sqlite3_busy_timeout(st->db, RBK_SQLITE_BUSY_MS);
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY) {
        rbk_error err;
        rbk_sqlite_fail(st, st->db, rc, "checkpoint", &err);
    }
    bool through = rc == SQLITE_OK && done >= pages;
    st->checkpoint_at = through ? RBK_SQLITE_CHECKPOINT : st->wal_pages + RBK_SQLITE_CHECKPOINT;
    if (through)
        st->wal_pages = 0;
}

const rbk_store_ops rbk_store_sqlite = {
    .abi = RBK_STORE_ABI,
    .scheme = "sqlite",
    .help = "sqlite:PATH  one file, synced at every commit",
    .open = sqlite_open,
    .close = sqlite_close,
    .apply = rbk_sqlite_apply,
    .claim = rbk_sqlite_claim,
    .aged = rbk_sqlite_aged,
    .expired = rbk_sqlite_expired,
    .lanes = rbk_sqlite_lanes,
    .recover = rbk_sqlite_recover,
    .stats = rbk_sqlite_stats,
    .count_callers = rbk_sqlite_count_callers,
    .free_bytes = sqlite_free_bytes,
    .get = rbk_sqlite_get,
    .list = rbk_sqlite_list,
    .attempts = rbk_sqlite_attempts,
    .sweep = rbk_sqlite_sweep,
    .hold = rbk_sqlite_hold,
    .holds = rbk_sqlite_holds,
    .backup = rbk_sqlite_backup,
    .path = sqlite_path,
    .idle = sqlite_idle,
};
