/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store_backup.c - the copy of a store that is in use: whole, of one moment,
 * for its owner's eyes, and never in the place of something else. */
#include "store_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sqlite3.h>
#include <sys/stat.h>

static int set_up(void **state)
{
    kit_backend = &rbk_store_sqlite;
    return kit_set_up(state);
}

static void copy_path(const kit *k, char out[128])
{
    snprintf(out, 128, "%s/copy.db", k->dir);
}

static int back_up(kit *k, const char *path)
{
    rbk_store_conf conf = {.dsn = k->dsn};
    memset(&k->err, 0, sizeof k->err);
    return k->ops->backup(&conf, path, &k->err);
}

/* The copy as a store of its own. */
static void open_copy(const kit *k, kit *c)
{
    char path[128];
    *c = (kit){.ops = k->ops};
    copy_path(k, path);
    snprintf(c->dsn, sizeof c->dsn, "sqlite:%s?check=full", path);
    int r = kit_open(c, &c->st);
    if (r < 0)
        fail_msg("open of the copy: %d %s", r, c->err.detail);
}

static int count_files(const kit *k, const char *part)
{
    int n = 0;
    DIR *d = opendir(k->dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strstr(e->d_name, part) != NULL;
    closedir(d);
    return n;
}

static void test_whole(void **state)
{
    kit *k = *state;
    char path[128], *body = malloc(1 << 20);
    struct stat sb;
    assert_non_null(body);
    memset(body, 'b', 1 << 20);
    copy_path(k, path);
    rbk_job a = put_on(k, 1, RBK_SHELF_JOB), b = put_on(k, 2, RBK_SHELF_WAIT);
    rbk_job c = put_on(k, 3, RBK_SHELF_DEAD), d = put_on(k, 4, RBK_SHELF_DONE), e = make_job(5);
    e.params = (rbk_str){body, 1 << 20};
    do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, &e);
    assert_int_equal(k->ops->hold(k->st, RBK_STR("https://a:443"), true, &k->err), 0);
    mode_t old = umask(0);
    assert_int_equal(back_up(k, path), 0);
    umask(old);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 07777, 0600);
    assert_int_equal(count_files(k, "copy.db"), 1);
    /* what comes later is not in it */
    rbk_job late = put_on(k, 6, RBK_SHELF_JOB);
    kit copy;
    open_copy(k, &copy);
    rbk_lane_due held;
    expect_stored(&copy, &a);
    expect_stored(&copy, &b);
    expect_stored(&copy, &c);
    expect_stored(&copy, &d);
    expect_stored(&copy, &e);
    assert_null(get_job(&copy, &late));
    assert_int_equal(get_stats(&copy).pending, 3);
    assert_int_equal(copy.ops->holds(copy.st, RBK_STR_NONE, 1, &held, &copy.err), 1);
    /* it works as a store, and the first one too */
    assert_int_equal(do_op(&copy, RBK_OP_DONE, QUEUED, 0, &a), RBK_OUTCOME_OK);
    copy.ops->close(copy.st);
    expect_stored(k, &a);
    free(body);
}

/* Nobody has the store open: the copy is the same. */
static void test_of_a_closed_store(void **state)
{
    kit *k = *state;
    char path[128];
    rbk_job a = put_on(k, 1, RBK_SHELF_WAIT);
    copy_path(k, path);
    k->ops->close(k->st);
    k->st = NULL;
    assert_int_equal(back_up(k, path), 0);
    kit copy;
    open_copy(k, &copy);
    expect_stored(&copy, &a);
    copy.ops->close(copy.st);
    assert_int_equal(kit_open(k, &k->st), 0);
    expect_stored(k, &a);
}

static void expect_refused(kit *k, const char *path, const char *word)
{
    assert_int_equal(back_up(k, path), RBK_E_CONFIG);
    if (strstr(k->err.detail, word) == NULL)
        fail_msg("no '%s' in: %s", word, k->err.detail);
    assert_int_equal(count_files(k, "copy.db."), 0);
}

static void test_refusals(void **state)
{
    kit *k = *state;
    char path[128], other[160], text[8] = "";
    copy_path(k, path);
    int fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
    assert_true(fd >= 0 && write(fd, "mine", 4) == 4);
    close(fd);
    expect_refused(k, path, "there already");
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof text), 4);
    close(fd);
    assert_string_equal(text, "mine");
    /* a link that leads nowhere is there too */
    assert_int_equal(unlink(path), 0);
    snprintf(other, sizeof other, "%s/nowhere", k->dir);
    assert_int_equal(symlink(other, path), 0);
    expect_refused(k, path, "there already");
    assert_int_equal(unlink(path), 0);
    snprintf(other, sizeof other, "%s/no-such-folder/copy.db", k->dir);
    expect_refused(k, other, "No such file");
    expect_refused(k, k->dir, "there already");
    snprintf(k->dsn, sizeof k->dsn, "sqlite:%s/other.db", k->dir);
    expect_refused(k, path, "No such file");
    assert_int_equal(count_files(k, "other.db"), 0);
    snprintf(k->dsn, sizeof k->dsn, "sqlite:");
    expect_refused(k, path, "store.dsn");
}

static void test_foreign_stores(void **state)
{
    kit *k = *state;
    char path[128], other[128];
    sqlite3 *db = NULL;
    copy_path(k, path);
    snprintf(other, sizeof other, "%s/other.db", k->dir);
    snprintf(k->dsn, sizeof k->dsn, "sqlite:%s", other);
    FILE *f = fopen(other, "w");
    assert_non_null(f);
    for (int i = 0; i < 1000; i++)
        fputs("no database ", f);
    fclose(f);
    expect_refused(k, path, "not a database");
    assert_int_equal(unlink(other), 0);
    assert_int_equal(sqlite3_open(other, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE stat(x); INSERT INTO stat VALUES(1)", NULL,
                                  NULL, NULL), SQLITE_OK);
    expect_refused(k, path, "something else");
    sqlite3_exec(db, "DROP TABLE stat", NULL, NULL, NULL);
    expect_refused(k, path, "something else");
    sqlite3_close(db);
}

/* --- Beside a server that writes ---------------------------------------------------------- */

typedef struct copier {
    kit *k;
    atomic_bool done;
    int result; /* the thread's until joined */
} copier;

static void *copy_it(void *arg)
{
    copier *c = arg;
    rbk_store_conf conf = {.dsn = c->k->dsn};
    char path[128];
    rbk_error err;
    copy_path(c->k, path);
    c->result = c->k->ops->backup(&conf, path, &err);
    atomic_store(&c->done, true);
    return NULL;
}

static void put_pair(kit *k, int64_t seq, const char *body, size_t n)
{
    rbk_job a = make_job(seq), b = make_job(seq + 1);
    a.params = b.params = (rbk_str){body, n};
    rbk_store_op ops[] = {{.kind = RBK_OP_PUT, .shelf = RBK_SHELF_WAIT, .job = &a},
                          {.kind = RBK_OP_PUT, .shelf = RBK_SHELF_JOB, .job = &b}};
    assert_int_equal(k->ops->apply(k->st, ops, 2, &k->err), 0);
    k->ops->idle(k->st);
}

/* Each commit puts two jobs: a copy of one moment has both or none, of all up to some commit
 * which was not earlier than the copy's beginning. */
static void test_beside_a_writer(void **state)
{
    kit *k = *state;
    enum { BEFORE = 600, BODY = 60000, MOST = 20000 };
    static char body[BODY];
    pthread_t thread;
    copier c = {.k = k};
    memset(body, 'w', sizeof body);
    int64_t seq = 1;
    for (; seq < BEFORE; seq += 2)
        put_pair(k, seq, body, sizeof body);
    assert_int_equal(pthread_create(&thread, NULL, copy_it, &c), 0);
    int64_t begin = seq;
    for (; !atomic_load(&c.done) && seq < MOST; seq += 2)
        put_pair(k, seq, body, 100);
    pthread_join(thread, NULL);
    assert_int_equal(c.result, 0);
    assert_true(seq > begin);
    kit copy;
    open_copy(k, &copy);
    rbk_store_stats s = get_stats(&copy);
    assert_int_equal(s.pending % 2, 0);
    assert_in_range(s.pending, begin - 1, seq - 1);
    assert_int_equal(s.max_seq, s.pending);
    for (int64_t i = 1; i <= s.pending; i += 97) {
        rbk_job want = make_job(i);
        want.params = (rbk_str){body, i < begin ? sizeof body : 100};
        expect_stored(&copy, &want);
    }
    copy.ops->close(copy.st);
    assert_int_equal(get_stats(k).pending, seq - 1);
}

int main(void)
{
#define CASE(t) cmocka_unit_test_setup_teardown(t, set_up, kit_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_whole),         CASE(test_of_a_closed_store), CASE(test_refusals),
        CASE(test_foreign_stores), CASE(test_beside_a_writer),
    };
#undef CASE
    return cmocka_run_group_tests_name("store backup", tests, NULL, NULL);
}
