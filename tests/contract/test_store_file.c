/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store_file.c - what a store with a file must do besides test_store.c:
 * keep all over close and open, one server at a time, modes, schema, bounded files. */
#include "store_kit.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"

static int set_up(void **state)
{
    kit *k = calloc(1, sizeof *k);
    assert_non_null(k);
    k->ops = &rbk_store_sqlite;
    kit_make_dir(k);
    snprintf(k->dsn, sizeof k->dsn, "sqlite:%s/s.db", k->dir);
    *state = k;
    return 0;
}

static int tear_down(void **state)
{
    kit *k = *state;
    k->ops->close(k->st);
    kit_remove_dir(k);
    free(k);
    return 0;
}

static void reopen(kit *k)
{
    k->ops->close(k->st);
    k->st = NULL;
    int r = kit_open(k, &k->st);
    if (r < 0)
        fail_msg("open: %d %s", r, k->err.detail);
}

static void name_of(const kit *k, const char *suffix, char out[128])
{
    snprintf(out, 128, "%s/s.db%s", k->dir, suffix);
}

static void test_reopen_keeps_all(void **state)
{
    kit *k = *state;
    char *body = malloc(100000);
    assert_non_null(body);
    memset(body, 'x', 100000);
    reopen(k);
    rbk_job a = make_job(1), b = make_job(2), c = make_job(3), d = make_job(900);
    b.params = (rbk_str){body, 100000};
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &b);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &c);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &d);
    do_op(k, RBK_OP_DEAD, QUEUED, 0, &c);
    do_op(k, RBK_OP_DONE, QUEUED, 0, &d);
    rbk_store_stats before = get_stats(k);
    reopen(k);
    rbk_store_stats after = get_stats(k);
    c.state = RBK_JOB_DEAD;
    expect_stored(k, &a);
    expect_stored(k, &b);
    expect_stored(k, &c);
    assert_int_equal(shelf_of(k, &b), RBK_SHELF_WAIT);
    assert_int_equal(after.max_seq, 900); /* of a job that is gone */
    assert_int_equal(after.pending, before.pending);
    assert_int_equal(after.pending_bytes, before.pending_bytes);
    assert_int_equal(after.dead, 1);
    free(body);
}

/* A claim goes without a sync, but not without a trace: it survives a plain close. */
static void test_claim_survives(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(1), *jobs = NULL;
    rbk_wall_ms next;
    reopen(k);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &a);
    assert_int_equal(k->ops->claim(k->st, a.lane, 1000, 5, &jobs, &next, &k->err), 1);
    free_jobs(jobs);
    reopen(k);
    assert_int_equal(shelf_of(k, &a), RBK_SHELF_JOB);
}

static void expect_refused(kit *k, int want, const char *word)
{
    rbk_store *st = NULL;
    rbk_mono_ms begin = rbk_mono_now();
    memset(&k->err, 0, sizeof k->err);
    assert_int_equal(kit_open(k, &st), want);
    assert_null(st);
    assert_true(rbk_mono_now() - begin < 1000);
    assert_non_null(strstr(k->err.detail, word));
}

static void test_second_server(void **state)
{
    kit *k = *state;
    char dsn[160];
    reopen(k);
    expect_refused(k, RBK_E_LOCKED, "another server");
    pid_t pid = fork();
    if (pid == 0) {
        rbk_store *st = NULL;
        _exit(kit_open(k, &st) == RBK_E_LOCKED ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    /* another name of the same file */
    char link[128], path[128];
    name_of(k, "", path);
    name_of(k, ".link", link);
    assert_int_equal(symlink(path, link), 0);
    memcpy(dsn, k->dsn, sizeof dsn);
    snprintf(k->dsn, sizeof k->dsn, "sqlite:%s", link);
    expect_refused(k, RBK_E_LOCKED, "another server");
    memcpy(k->dsn, dsn, sizeof dsn);
    /* the first one is as good as before */
    rbk_job a = make_job(1);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a), RBK_OUTCOME_OK);
    reopen(k);
}

static void exec_file(const kit *k, const char *sql)
{
    char path[128];
    sqlite3 *db = NULL;
    name_of(k, "", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_newer_schema(void **state)
{
    kit *k = *state;
    reopen(k);
    k->ops->close(k->st);
    k->st = NULL;
    exec_file(k, "PRAGMA user_version=3");
    expect_refused(k, RBK_E_SCHEMA, "newer ringback");
    exec_file(k, "PRAGMA user_version=2");
    reopen(k);
}

static void test_foreign_file(void **state)
{
    kit *k = *state;
    exec_file(k, "CREATE TABLE t(x)");
    expect_refused(k, RBK_E_CONFIG, "something else");
}

static void test_damaged_file(void **state)
{
    kit *k = *state;
    char path[128], text[4096];
    name_of(k, "", path);
    memset(text, 'z', sizeof text);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, sizeof text, f), sizeof text);
    fclose(f);
    expect_refused(k, RBK_E_CONFIG, "is not an SQLite database");
}

/* An empty file is what a power cut leaves of a store that was just being made. */
static void test_interrupted_creation(void **state)
{
    kit *k = *state;
    exec_file(k, "PRAGMA journal_mode=WAL");
    reopen(k);
    rbk_job a = make_job(1);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a), RBK_OUTCOME_OK);
}

static void expect_mode(const kit *k, const char *suffix)
{
    char path[128];
    struct stat sb;
    name_of(k, suffix, path);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 07777, 0600);
}

static void test_modes(void **state)
{
    kit *k = *state;
    mode_t old = umask(0);
    reopen(k);
    rbk_job a = make_job(1);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a);
    umask(old);
    expect_mode(k, "");
    expect_mode(k, "-wal");
    expect_mode(k, "-shm");
    expect_mode(k, ".lock");
    assert_int_equal(k->warnings, 0);
    char path[128];
    name_of(k, "", path);
    assert_int_equal(chmod(path, 0644), 0);
    reopen(k);
    assert_int_equal(k->warnings, 1);
}

static void test_dsn(void **state)
{
    kit *k = *state;
    static const char *const bad[] = {"sqlite:", "sqlite:%s/s.db?x=1", "sqlite:%s/s.db?synchronous",
                                      "sqlite:%s/s.db?vfs=none", "sqlite:%s/none/s.db",
                                      "sqlite:%s/", "sqlite:%s"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *at = strstr(bad[i], "%s");
        size_t head = at ? (size_t)(at - bad[i]) : strlen(bad[i]);
        snprintf(k->dsn, sizeof k->dsn, "%.*s%s%s", (int)head, bad[i], at ? k->dir : "",
                 at ? at + 2 : "");
        expect_refused(k, RBK_E_CONFIG, "store.dsn");
    }
    snprintf(k->dsn, sizeof k->dsn, "sqlite:%s/s.db?synchronous=off&check=full", k->dir);
    reopen(k);
    assert_int_equal(k->warnings, 1);
    assert_non_null(strstr(k->ops->path(k->st), "/s.db"));
    assert_null(strchr(k->ops->path(k->st), '?'));
}

/* With idle() called the WAL starts again, and after the close nothing of it is left. */
static void test_wal_is_bounded(void **state)
{
    kit *k = *state;
    char path[128], *body = malloc(1 << 20);
    struct stat sb;
    assert_non_null(body);
    memset(body, 'b', 1 << 20);
    reopen(k);
    name_of(k, "-wal", path);
    for (int64_t seq = 1; seq <= 80; seq++) {
        rbk_job a = make_job(seq);
        a.params = (rbk_str){body, 1 << 20};
        do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a);
        do_op(k, RBK_OP_DONE, QUEUED, 0, &a);
        k->ops->idle(k->st);
        assert_int_equal(stat(path, &sb), 0);
        assert_true(sb.st_size < 24 << 20);
    }
    free(body);
    k->ops->close(k->st);
    k->st = NULL;
    assert_true(stat(path, &sb) != 0 || sb.st_size == 0);
}

/* Somebody looks at the file while the server runs. */
static void test_open_beside(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(1);
    reopen(k);
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a);
    exec_file(k, "SELECT * FROM job");
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &a), RBK_OUTCOME_OK);
}

int main(void)
{
#define CASE(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_reopen_keeps_all), CASE(test_claim_survives),  CASE(test_second_server),
        CASE(test_newer_schema),     CASE(test_foreign_file),    CASE(test_damaged_file),
        CASE(test_interrupted_creation), CASE(test_modes),       CASE(test_dsn),
        CASE(test_wal_is_bounded),   CASE(test_open_beside),
    };
#undef CASE
    return cmocka_run_group_tests_name("store file", tests, NULL, NULL);
}
