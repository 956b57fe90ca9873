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

/* What is kept of ended jobs, and what an operator holds. */
static void test_reopen_keeps_ends(void **state)
{
    kit *k = *state;
    rbk_lane_due held[2];
    rbk_attempt_note note = {.number = 1, .at = 7, .reason = "CONNECT"}, got[2];
    reopen(k);
    rbk_job a = put_on(k, 1, RBK_SHELF_DONE), b = put_on(k, 2, RBK_SHELF_WAIT);
    b.state = RBK_JOB_DEAD;
    rbk_store_op op = {.kind = RBK_OP_DEAD, .from = QUEUED, .note = note, .job = &b};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    assert_int_equal(k->ops->hold(k->st, RBK_STR("https://a:443"), true, &k->err), 0);
    rbk_store_stats before = get_stats(k);
    reopen(k);
    rbk_store_stats after = get_stats(k);
    assert_memory_equal(&before, &after, sizeof before);
    expect_stored(k, &a);
    expect_stored(k, &b);
    assert_int_equal(k->ops->attempts(k->st, 2, 2, got, &k->err), 1);
    assert_string_equal(got[0].reason, "CONNECT");
    assert_int_equal(k->ops->holds(k->st, RBK_STR_NONE, 2, held, &k->err), 1);
    assert_string_equal(held[0].lane, "https://a:443");
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
    exec_file(k, "PRAGMA user_version=6");
    expect_refused(k, RBK_E_SCHEMA, "newer ringback");
    exec_file(k, "PRAGMA user_version=5");
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

/* --- A store that schema 1 wrote ----------------------------------------------------------- */

/* The first schema as it was released; it stays as it is, whatever the code says today. */
#define COLUMNS_1                                                                                  \
    "seq INTEGER PRIMARY KEY,rnd INTEGER NOT NULL,state INTEGER NOT NULL,"                         \
    "flags INTEGER NOT NULL,runs INTEGER NOT NULL,attempts INTEGER NOT NULL,"                      \
    "last_status INTEGER NOT NULL,timeout_ms INTEGER NOT NULL,created INTEGER NOT NULL,"           \
    "due INTEGER NOT NULL,first_attempt INTEGER NOT NULL,lane TEXT,method TEXT,rpc_id TEXT,"       \
    "callback TEXT,caller TEXT,ray_id TEXT,headers TEXT,reason TEXT,params TEXT,response TEXT,"    \
    "size INTEGER NOT NULL,rsize INTEGER NOT NULL,big INTEGER NOT NULL"
static const char schema_1[] =
    "PRAGMA journal_mode=WAL;"
    "CREATE TABLE job(" COLUMNS_1 ");"
    "CREATE TABLE wait(" COLUMNS_1 ");"
    "CREATE INDEX wait_lane ON wait(lane,due);"
    "CREATE TABLE dead(" COLUMNS_1 ",died INTEGER NOT NULL);"
    "CREATE TABLE blob(id INTEGER PRIMARY KEY,body TEXT);"
    "CREATE TABLE stat(id INTEGER PRIMARY KEY,pending INTEGER NOT NULL,bytes INTEGER NOT NULL,"
    "dead INTEGER NOT NULL,max_seq INTEGER NOT NULL);"
    "INSERT INTO stat VALUES(1,6,60,2,900);"
    "PRAGMA application_id=1380076337;PRAGMA user_version=1;";

/* A row of it; the callback is 10 bytes, and nothing else counts. */
#define ROW_1(table, seq, state, more)                                                             \
    "INSERT INTO " table " VALUES(" #seq "," #seq "+1000000," #state ",1,0,2,500,0,100,300,200,"   \
    "'send:r','M',NULL,'https://cb',NULL,NULL,NULL,'STATUS 500',NULL,NULL,10,0,0" more ");"

static rbk_job row_1(int64_t seq, uint8_t state)
{
    return (rbk_job){.seq = seq, .rnd = seq + 1000000, .state = state, .flags = 1, .attempts = 2,
                     .last_status = 500, .created = 100, .due = 300, .first_attempt = 200,
                     .lane = RBK_STR("send:r"), .method = RBK_STR("M"),
                     .callback = RBK_STR("https://cb"), .reason = RBK_STR("STATUS 500")};
}

static void test_upgrade(void **state)
{
    kit *k = *state;
    static const struct {
        int64_t seq;
        uint8_t state;
        int shelf;
    } rows[] = {{1, QUEUED, RBK_SHELF_JOB},       {2, RBK_JOB_RUNNING, RBK_SHELF_JOB},
                {3, DUE, RBK_SHELF_JOB},          {4, DUE, RBK_SHELF_WAIT},
                {5, RBK_JOB_HELD, RBK_SHELF_WAIT}, {6, QUEUED, RBK_SHELF_WAIT},
                {7, RBK_JOB_DEAD, RBK_SHELF_DEAD}, {8, RBK_JOB_DEAD, RBK_SHELF_DEAD}};
    exec_file(k, schema_1);
    exec_file(k, ROW_1("job", 1, 1, "") ROW_1("job", 2, 2, "") ROW_1("job", 3, 3, "")
                     ROW_1("wait", 4, 3, "") ROW_1("wait", 5, 8, "") ROW_1("wait", 6, 1, "")
                         ROW_1("dead", 7, 6, ",4000") ROW_1("dead", 8, 6, ",2000"));
    for (int again = 0; again < 2; again++) {
        reopen(k);
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            rbk_job want = row_1(rows[i].seq, rows[i].state);
            expect_stored(k, &want);
            assert_int_equal(shelf_of(k, &want), rows[i].shelf);
        }
        rbk_store_stats s = get_stats(k);
        assert_int_equal(s.pending, 6);
        assert_int_equal(s.pending_bytes, 60);
        assert_int_equal(s.held, 1);
        assert_int_equal(s.queued, 3);
        assert_int_equal(s.due, 2);
        assert_int_equal(s.dead, 2);
        assert_int_equal(s.done, 0);
        assert_int_equal(s.max_seq, 900);
    }
    /* when they died is known still */
    rbk_store_keep keep = {.dead_ms = 1000, .done_bytes = INT64_MAX};
    rbk_job eight = row_1(8, RBK_JOB_DEAD);
    assert_int_equal(k->ops->sweep(k->st, &keep, 3500, 9, &k->err), 1);
    assert_int_equal(shelf_of(k, &eight), -1);
    /* and all go on as if they had always been here */
    rbk_job dead = row_1(7, RBK_JOB_DEAD), three = row_1(3, RBK_JOB_DELIVERED);
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &dead), RBK_OUTCOME_OK);
    rbk_store_op op = {.kind = RBK_OP_DONE, .from = DUE, .keep = true, .now = 1, .job = &three};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    assert_int_equal(get_stats(k).due, 2);
    assert_int_equal(get_stats(k).done_bytes, 10);
}

/* Callers are counted from step 5 on, and so is what HELD jobs were fed. */
static void test_upgrade_counts_callers(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(1), b = make_job(2), held = make_job(3);
    a.chain = RBK_STR("f 0000000000000003 0\n");
    b.caller = RBK_STR("b");
    held.state = RBK_JOB_HELD;
    held.chain = RBK_STR("n 2 1000\n");
    a.idem_key = held.idem_key = RBK_STR_NONE;
    reopen(k);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &a), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_JOB, &b), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &held), RBK_OUTCOME_OK);
    a.state = DUE;
    a.response = RBK_STR("{\"id\":1,\"result\":7}");
    assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, RBK_SHELF_JOB, &a), RBK_OUTCOME_OK);
    rbk_store_stats s = get_stats(k);
    struct kit_count shop = *kit_count_of(k, RBK_STR("shop"));
    k->ops->close(k->st);
    k->st = NULL;
    exec_file(k, "DROP TABLE caller;UPDATE stat SET bytes=bytes-(SELECT sum(length(body)) FROM part);"
                 "PRAGMA user_version=4");
    k->n_counts = 0;
    reopen(k);
    rbk_store_stats now = get_stats(k);
    assert_memory_equal(&s, &now, sizeof s);
    assert_int_equal(k->ops->count_callers(k->st, &k->err), 0);
    assert_int_equal(k->n_counts, 2);
    assert_int_equal(kit_count_of(k, RBK_STR("shop"))->jobs, 2);
    assert_int_equal(kit_count_of(k, RBK_STR("shop"))->bytes, shop.bytes);
    assert_int_equal(kit_count_of(k, RBK_STR("b"))->jobs, 1);
    assert_int_equal(kit_count_of(k, RBK_STR("b"))->bytes, bytes_of(&b));
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
        CASE(test_wal_is_bounded),   CASE(test_open_beside),   CASE(test_reopen_keeps_ends),
        CASE(test_upgrade),          CASE(test_upgrade_counts_callers),
    };
#undef CASE
    return cmocka_run_group_tests_name("store file", tests, NULL, NULL);
}
