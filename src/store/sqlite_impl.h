/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_impl.h - what the files of the SQLite store share.
 *
 * sqlite.c         open, close, checkpoints, the table of functions
 * sqlite_schema.c  settings of a connection, schema steps
 * sqlite_wal.c     the WAL file with few write calls
 * sqlite_lock.c    paths, the lock file, modes
 * sqlite_row.c     a job to and from a row, errors
 * sqlite_apply.c   apply()
 * sqlite_end.c     the end of a job and what comes after: done, dead, redrive, purge, sweep()
 * sqlite_idem.c    idempotency keys
 * sqlite_turn.c    order keys
 * sqlite_caller.c  what each caller has pending
 * sqlite_feed.c    jobs that wait for others of their batch
 * sqlite_claim.c   claim(), expired(), aged(), lanes(), recover(), stats()
 * sqlite_hold.c    hold(), holds()
 * sqlite_read.c    get(), list(), attempts(): the reader thread, on a connection of its own
 * sqlite_backup.c  backup(): any thread, on connections of its own
 * All others run on the store thread. */
#ifndef RBK_STORE_SQLITE_IMPL_H
#define RBK_STORE_SQLITE_IMPL_H

#include "ringback/store.h"
#include "store/rules.h"
#include "store/sqlite_sql.h"

#include <sqlite3.h>
#include <stdatomic.h>

enum rbk_sql {
#define X(name, text) RBK_Q_##name,
    RBK_SQL_WRITER_MAP(X) RBK_Q_WRITERS,
#undef X
};
enum rbk_sql_reader {
#define X(name, text) RBK_Q_##name,
    RBK_SQL_READER_MAP(X) RBK_Q_READERS,
#undef X
};

enum {
    RBK_SQLITE_APPLICATION_ID = 0x52424b31, /* "RBK1", in the file's head */
    RBK_SQLITE_BODY_INLINE = 2048,   /* larger bodies lie in the table blob */
    RBK_SQLITE_BIG_PARAMS = 1,
    RBK_SQLITE_BIG_RESPONSE = 2,
    RBK_SQLITE_HAS_NOTES = 4,        /* rows in the table attempt */
    RBK_SQLITE_HAS_TURN = 8,         /* a row in the table turn, unless it has ended */
    RBK_SQLITE_CHECKPOINT = 4000,    /* pages of the WAL */
    RBK_SQLITE_BUSY_MS = 10000,      /* how long somebody else may hold the write lock */
    RBK_SQLITE_READ_MS = 50,         /* of one read transaction of the reader */
    RBK_SQLITE_LIST_MS = 1000,       /* of the looking of one list() */
};

/* sqlite_wal.c */
typedef struct rbk_sqlite_vfs {
    sqlite3_vfs base; /* first */
    sqlite3_vfs *real;
    char name[32];
    bool added;
} rbk_sqlite_vfs;

typedef struct rbk_sqlite_caller rbk_sqlite_caller;

struct rbk_store {
    rbk_sqlite_vfs vfs; /* of `db` alone */
    char *path;        /* absolute, links resolved */
    int lock_fd;       /* path + ".lock" */
    sqlite3 *db;       /* the store thread's */
    sqlite3 *reader;   /* the reader thread's */
    sqlite3_stmt *sql[RBK_Q_WRITERS];
    sqlite3_stmt *read[RBK_Q_READERS];
    int64_t max_seq;   /* as stat has it; a greater seq is new for certain */
    bool durable;      /* false: ?synchronous=off */
    atomic_bool broken; /* RBK_E_IO was returned: nothing is trusted any more */
    int wal_pages;     /* after the last commit */
    int checkpoint_at; /* pages of the WAL at which idle() works again */
    struct rbk_map *callers; /* that were met of late, by name */
    rbk_sqlite_caller *last_caller, *changed_callers;
    void (*released)(void *user, rbk_str lane);
    void (*counted)(void *user, rbk_str caller, int64_t jobs, int64_t bytes);
    void *user;
};

typedef struct rbk_sqlite_options {
    char *path;
    const char *vfs; /* NULL: SQLite's own */
    bool durable;
    bool check; /* a full integrity check at open */
} rbk_sqlite_options;

/* The row of a job and what only this backend knows of it. */
typedef struct rbk_sqlite_row {
    rbk_store_row row;
    int64_t size, rsize;
    int big;
    rbk_sqlite_caller *caller; /* NULL: it has none */
} rbk_sqlite_row;

typedef struct rbk_sqlite_lane {
    size_t n;
    char text[RBK_LANE_MAX];
} rbk_sqlite_lane;

/* The place of a job in the order of its key. */
typedef struct rbk_sqlite_turn {
    bool has, blocked;
    rbk_sqlite_lane key;
} rbk_sqlite_turn;

static inline sqlite3_stmt *rbk_sqlite_pick(rbk_store *st, enum rbk_sql first, int shelf)
{
    return st->sql[(int)first + shelf];
}

/* sqlite.c. `text` is cut to pieces; the options point into it. */
int rbk_sqlite_parse_dsn(char *text, rbk_sqlite_options *o, rbk_error *err);

/* sqlite_lock.c. 0 or an error of open(). `ret_fd` holds the lock until closed. */
int rbk_sqlite_resolve(const char *path, char **ret_path, rbk_error *err);
int rbk_sqlite_lock(const char *path, int *ret_fd, rbk_error *err);
int rbk_sqlite_create(const char *path, const rbk_store_conf *conf, rbk_error *err);

/* sqlite_wal.c. The name of a VFS over `over` (NULL: SQLite's own), or NULL. */
const char *rbk_sqlite_vfs_add(rbk_sqlite_vfs *v, const char *over);
void rbk_sqlite_vfs_drop(rbk_sqlite_vfs *v); /* its files are closed */

/* sqlite_schema.c. */
int rbk_sqlite_connect(rbk_store *st, const rbk_sqlite_options *o, int64_t cache, rbk_error *err);
int rbk_sqlite_prepare(rbk_store *st, rbk_error *err);

/* sqlite_row.c. Set `err` from what `db` says about `rc`; the negative error. After
 * RBK_E_IO the store is broken. */
int rbk_sqlite_fail(rbk_store *st, sqlite3 *db, int rc, const char *what, rbk_error *err);
int rbk_sqlite_broken(rbk_store *st, rbk_error *err); /* 0 or RBK_E_IO */
/* An IO error was seen in this process since the last integrity check. */
extern atomic_bool rbk_sqlite_suspect;
/* Run a statement that returns no rows. An SQLite result, SQLITE_OK when done. */
int rbk_sqlite_run(sqlite3_stmt *s);
void rbk_sqlite_bind_str(sqlite3_stmt *s, int i, rbk_str v);
void rbk_sqlite_bind_job(sqlite3_stmt *s, const rbk_job *job, int big);
/* An empty text has a pointer, an absent one has none; no memory shows as the latter,
 * with the connection's error set: false. */
bool rbk_sqlite_read_str(sqlite3_stmt *s, int i, rbk_str *ret);
rbk_job *rbk_sqlite_load(sqlite3_stmt *s); /* the row that `s` stands on; NULL: no memory */
void rbk_sqlite_free_chain(rbk_job *job);
int rbk_sqlite_begin(rbk_store *st);
void rbk_sqlite_rollback(rbk_store *st);
/* Do commits sync from now on? Not in a transaction. An SQLite result. */
int rbk_sqlite_sync(rbk_store *st, bool full);
int rbk_sqlite_classify(sqlite3 *db, int rc); /* the rbk_err */

/* sqlite_apply.c and sqlite_end.c, in a transaction. SQLite results; `t` takes what changed
 * in numbers. */
int rbk_sqlite_find(rbk_store *st, int64_t seq, rbk_sqlite_row *ret);
int rbk_sqlite_put_blob(rbk_store *st, int64_t id, rbk_str body);
int rbk_sqlite_delete_blob(rbk_store *st, int64_t id);
int rbk_sqlite_delete_row(rbk_store *st, int64_t seq, int shelf);
int rbk_sqlite_write_tally(rbk_store *st, const rbk_store_stats *t);
int rbk_sqlite_write_note(rbk_store *st, int64_t seq, const rbk_attempt_note *note);
int rbk_sqlite_write_end(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                         rbk_store_stats *t);
int rbk_sqlite_write_redrive(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                             rbk_store_stats *t);

/* sqlite_idem.c, in a transaction. The job of a PUT takes its key, or the outcome is DUPLICATE. */
int rbk_sqlite_take_key(rbk_store *st, rbk_store_op *op);
/* Keys that are free again go; as sweep(), of which *ret_n counts up. The first: are there any? */
int rbk_sqlite_keys_due(rbk_store *st, rbk_wall_ms now, bool *ret);
int rbk_sqlite_sweep_keys(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now, int max,
                          int *ret_n);

/* sqlite_turn.c, in a transaction. What an operation means for a job that has an order key: whether
 * it is blocked, before it is written; and after that, who is released. For any other job they do
 * nothing. */
int rbk_sqlite_take_turn(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                         rbk_sqlite_turn *ret);
int rbk_sqlite_pass_turn(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                         rbk_store_stats *t);

/* sqlite_caller.c. The caller of this name, valid to the end of the transaction; *ret NULL: the
 * name is absent or empty. SQLITE_OK or SQLITE_NOMEM. */
int rbk_sqlite_find_caller(rbk_store *st, rbk_str name, rbk_sqlite_caller **ret);
/* It has so many more. NULL is legal. */
void rbk_sqlite_count_caller(rbk_store *st, rbk_sqlite_caller *c, int64_t jobs, int64_t bytes);
/* In the transaction, at its end: what was counted is written. An SQLite result. */
int rbk_sqlite_write_callers(rbk_store *st);
/* Behind it: `counted` is told, or all is forgotten. */
void rbk_sqlite_end_callers(rbk_store *st, bool committed);
void rbk_sqlite_free_callers(rbk_store *st);

/* sqlite_feed.c: the operation is written. What the row waited for goes with it when it is HELD
 * no longer; and jobs that wait for its response get it. */
int rbk_sqlite_feed(rbk_store *st, const rbk_store_op *op, const rbk_sqlite_row *f,
                    rbk_store_stats *t);

/* Slots. */
int rbk_sqlite_apply(rbk_store *st, rbk_store_op *ops, size_t n, rbk_error *err);
int rbk_sqlite_claim(rbk_store *st, rbk_str lane, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                     rbk_wall_ms *ret_next, rbk_error *err);
int rbk_sqlite_aged(rbk_store *st, rbk_aged *a, rbk_error *err);
int rbk_sqlite_expired(rbk_store *st, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                       rbk_wall_ms *ret_next, rbk_error *err);
int rbk_sqlite_lanes(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret, rbk_error *err);
int rbk_sqlite_recover(rbk_store *st, int64_t after, size_t max, rbk_job **ret_jobs,
                       rbk_error *err);
int rbk_sqlite_stats(rbk_store *st, rbk_store_stats *ret, rbk_error *err);
int rbk_sqlite_count_callers(rbk_store *st, rbk_error *err);
int rbk_sqlite_get(rbk_store *st, int64_t seq, int64_t rnd, rbk_job **ret_job, rbk_error *err);
int rbk_sqlite_list(rbk_store *st, const rbk_job_filter *filter, int64_t after, size_t max,
                    rbk_job **ret_jobs, int64_t *ret_next, rbk_error *err);
int rbk_sqlite_attempts(rbk_store *st, int64_t seq, size_t max, rbk_attempt_note *ret,
                        rbk_error *err);
int rbk_sqlite_sweep(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now, size_t max,
                     rbk_error *err);
int rbk_sqlite_hold(rbk_store *st, rbk_str receiver, bool hold, rbk_error *err);
int rbk_sqlite_holds(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret, rbk_error *err);
int rbk_sqlite_backup(const rbk_store_conf *conf, const char *path, rbk_error *err);

#endif
