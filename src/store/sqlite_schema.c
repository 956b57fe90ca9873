/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_schema.c - settings of the two connections, schema steps, statements.
 *
 * The file says what wrote it: application_id is ours, user_version is the number of
 * schema steps done. A newer number is refused; missing steps are done at open, each in
 * a transaction that also sets the number. Before threads, or store thread. */
#include "store/sqlite_impl.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

enum {
    CACHE_DEFAULT = 16 << 20,
    WAL_KEPT = 64 << 20, /* bytes of the WAL file kept for reuse */
    SETTLE_BUSY_MS = 1000,
};

static const char *const steps[] = {RBK_SQL_STEP_1, RBK_SQL_STEP_2, RBK_SQL_STEP_3,
                                    RBK_SQL_STEP_4, RBK_SQL_STEP_5};
enum { STEPS = sizeof steps / sizeof steps[0] };

static int exec(rbk_store *st, sqlite3 *db, const char *sql, rbk_error *err)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : rbk_sqlite_fail(st, db, rc, "open", err);
}

static int read_number(rbk_store *st, const char *sql, int64_t *ret, rbk_error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(st->db, sql, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        *ret = sqlite3_column_int64(s, 0);
    int end = sqlite3_finalize(s);
    if (rc == SQLITE_ROW)
        return 0;
    return rbk_sqlite_fail(st, st->db, end ? end : rc, sql, err);
}

/* Does the one row that `sql` answers say `want`? 0, 1 or an error. */
static int row_says(rbk_store *st, const char *sql, const char *want, rbk_error *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(st->db, sql, -1, &s, NULL), same = 0;
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        same = text && strcmp(text, want) == 0;
    }
    int end = sqlite3_finalize(s);
    if (rc == SQLITE_ROW)
        return same;
    return rbk_sqlite_fail(st, st->db, end ? end : rc, sql, err);
}

/* Whose file is it, and how old? */
static int check_owner(rbk_store *st, int64_t *ret_version, rbk_error *err)
{
    int64_t id = 0, version = 0, objects = 0;
    int r = read_number(st, "PRAGMA application_id", &id, err);
    if (r == 0)
        r = read_number(st, "PRAGMA user_version", &version, err);
    if (r == 0)
        r = read_number(st, "SELECT count(*) FROM sqlite_schema", &objects, err);
    if (r < 0)
        return r;
    if (id != RBK_SQLITE_APPLICATION_ID && (id != 0 || version != 0 || objects != 0))
        return rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: %s is a database of something else",
                             st->path);
    if (version > STEPS)
        return rbk_fail_text(err, RBK_E_SCHEMA,
                             "store %s has schema %lld, written by a newer ringback; this one "
                             "knows up to %d",
                             st->path, (long long)version, (int)STEPS);
    *ret_version = version;
    return 0;
}

static int do_step(rbk_store *st, int64_t version, rbk_error *err)
{
    char done[96];
    snprintf(done, sizeof done, "PRAGMA application_id=%d;PRAGMA user_version=%lld;COMMIT",
             (int)RBK_SQLITE_APPLICATION_ID, (long long)version + 1);
    int r = exec(st, st->db, "BEGIN IMMEDIATE", err);
    if (r == 0)
        r = exec(st, st->db, steps[version], err);
    if (r == 0)
        r = exec(st, st->db, done, err);
    if (r < 0 && !sqlite3_get_autocommit(st->db))
        sqlite3_exec(st->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

/* Asked for, or due because this process saw an input/output error. */
static int check_file(rbk_store *st, bool asked, rbk_error *err)
{
    if (!asked && !atomic_load(&rbk_sqlite_suspect))
        return 0;
    int r = row_says(st, asked ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)", "ok", err);
    if (r == 0) {
        atomic_store(&rbk_sqlite_suspect, true);
        return rbk_fail(err, RBK_E_IO, "%s is damaged: the integrity check failed", st->path);
    }
    return r > 0 ? 0 : r;
}

/* What the WAL holds at open may be in the page cache alone: its server was killed before
 * the sync, or the sync failed, and then the next one would claim success for pages that
 * never reached the disk. So all of it is written once more, to the main file, and that
 * is synced. Where somebody reads the file at this moment, a commit must do; but not
 * after an input/output error. */
static int settle(rbk_store *st, rbk_error *err)
{
    sqlite3_busy_timeout(st->db, SETTLE_BUSY_MS);
    int rc = sqlite3_wal_checkpoint_v2(st->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(st->db, RBK_SQLITE_BUSY_MS);
    if (rc == SQLITE_OK) {
        atomic_store(&rbk_sqlite_suspect, false);
        return 0;
    }
    if ((rc & 0xff) == SQLITE_BUSY && !atomic_load(&rbk_sqlite_suspect))
        return exec(st, st->db, "UPDATE stat SET pending=pending WHERE id=1", err);
    return rbk_sqlite_fail(st, st->db, rc, "checkpoint at open", err);
}

/* Not in one PRAGMA text: each connection needs its own cache. */
static int set_cache(rbk_store *st, sqlite3 *db, int64_t bytes, rbk_error *err)
{
    char sql[192];
    snprintf(sql, sizeof sql,
             "PRAGMA cache_size=-%lld;PRAGMA mmap_size=0;PRAGMA temp_store=MEMORY;"
             "PRAGMA trusted_schema=OFF;PRAGMA cell_size_check=ON",
             (long long)(bytes / 1024 > 64 ? bytes / 1024 : 64));
    return exec(st, db, sql, err);
}

/* secure_delete: builds of SQLite differ in what they do by default. FAST overwrites deleted rows
 * where that writes no page more; ON would write every page that the end of a job frees. */
static int set_up_writer(rbk_store *st, const rbk_sqlite_options *o, int64_t cache, rbk_error *err)
{
    int64_t version = 0;
    char limit[64];
    sqlite3_extended_result_codes(st->db, 1);
    sqlite3_busy_timeout(st->db, RBK_SQLITE_BUSY_MS);
    int r = set_cache(st, st->db, cache - cache / 8, err);
    if (r == 0)
        r = check_owner(st, &version, err);
    if (r == 0)
        r = row_says(st, "PRAGMA journal_mode=WAL", "wal", err);
    if (r == 0)
        return rbk_fail_text(err, RBK_E_CONFIG, "store.dsn: %s: its file system has no shared "
                             "memory, which the store needs", st->path);
    snprintf(limit, sizeof limit, "PRAGMA journal_size_limit=%d", (int)WAL_KEPT);
    if (r > 0)
        r = exec(st, st->db, limit, err);
    if (r == 0)
        r = exec(st, st->db, "PRAGMA wal_autocheckpoint=0;PRAGMA foreign_keys=OFF;"
                 "PRAGMA locking_mode=NORMAL;PRAGMA secure_delete=FAST", err);
    if (r == 0)
        r = exec(st, st->db, o->durable ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF", err);
    if (r == 0)
        r = check_file(st, o->check, err);
    for (; r == 0 && version < STEPS; version++)
        r = do_step(st, version, err);
    return r == 0 ? settle(st, err) : r;
}

int rbk_sqlite_connect(rbk_store *st, const rbk_sqlite_options *o, int64_t cache, rbk_error *err)
{
    const int common = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    cache = cache ? cache : CACHE_DEFAULT;
    const char *vfs = rbk_sqlite_vfs_add(&st->vfs, o->vfs);
    if (vfs == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "a store");
    int rc = sqlite3_open_v2(st->path, &st->db, SQLITE_OPEN_READWRITE | common, vfs);
    if (rc != SQLITE_OK)
        return rbk_sqlite_fail(st, st->db, rc, "open", err);
    int r = set_up_writer(st, o, cache, err);
    if (r < 0)
        return r;
    rc = sqlite3_open_v2(st->path, &st->reader, SQLITE_OPEN_READONLY | common, o->vfs);
    if (rc != SQLITE_OK)
        return rbk_sqlite_fail(st, st->reader, rc, "open", err);
    sqlite3_extended_result_codes(st->reader, 1);
    sqlite3_busy_timeout(st->reader, RBK_SQLITE_READ_MS);
    return set_cache(st, st->reader, cache / 8, err);
}

static int prepare_all(rbk_store *st, sqlite3 *db, const char *const *text, size_t n,
                       sqlite3_stmt **ret, rbk_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int rc = sqlite3_prepare_v3(db, text[i], -1, SQLITE_PREPARE_PERSISTENT, &ret[i], NULL);
        if (rc != SQLITE_OK)
            return rbk_sqlite_fail(st, db, rc, text[i], err);
    }
    return 0;
}

int rbk_sqlite_prepare(rbk_store *st, rbk_error *err)
{
#define X(name, text) text,
    static const char *const writer[] = {RBK_SQL_WRITER_MAP(X)};
    static const char *const reader[] = {RBK_SQL_READER_MAP(X)};
#undef X
    int r = prepare_all(st, st->db, writer, RBK_Q_WRITERS, st->sql, err);
    return r < 0 ? r : prepare_all(st, st->reader, reader, RBK_Q_READERS, st->read, err);
}
