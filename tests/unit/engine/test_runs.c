/* SPDX-License-Identifier: Apache-2.0 */
/* The table of running methods: what it says after a process died. */
#include "engine/runs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { ROWS = 65536 };

typedef struct fixture {
    char dir[64], store[80], file[96];
    rbk_log log;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/rbk-runs-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->store, sizeof f->store, "%s/jobs.db", f->dir);
    snprintf(f->file, sizeof f->file, "%s.runs", f->store);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    unlink(f->file);
    rmdir(f->dir);
    free(f);
    return 0;
}

static rbk_runs *open_runs(const fixture *f)
{
    rbk_runs *r = NULL;
    rbk_error err = {0};
    if (rbk_runs_open(&f->log, f->store, &r, &err) < 0)
        fail_msg("%s", err.detail);
    return r;
}

static uint32_t begin(rbk_runs *r, int64_t seq, uint32_t run)
{
    return rbk_runs_start(r, &(rbk_job){.seq = seq, .rnd = -seq}, run);
}

static bool has(const rbk_run_left *left, int n, int64_t seq, uint32_t run)
{
    for (int i = 0; i < n; i++)
        if (left[i].seq == seq)
            return left[i].rnd == -seq && left[i].run == run;
    return false;
}

static int n_left(rbk_runs *r)
{
    rbk_run_left *left = NULL;
    int n = rbk_runs_left(r, &left);
    free(left);
    return n;
}

/* Runs 10, 20 and 30 begin, 20 ends, and the process dies without a word. */
static void die_while_running(const fixture *f)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        rbk_runs *r = NULL;
        rbk_error err = {0};
        if (rbk_runs_open(&f->log, f->store, &r, &err) < 0)
            _exit(1);
        begin(r, 10, 1);
        uint32_t slot = begin(r, 20, 1);
        begin(r, 30, 7);
        rbk_runs_end(r, slot);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_rows_survive_the_process(void **state)
{
    fixture *f = *state;
    rbk_run_left *left = NULL;
    die_while_running(f);
    rbk_runs *r = open_runs(f);
    int n = rbk_runs_left(r, &left);
    assert_int_equal(n, 2);
    assert_true(has(left, n, 10, 1));
    assert_true(has(left, n, 30, 7));
    free(left);
    rbk_runs_clear(r);
    assert_int_equal(n_left(r), 0);
    rbk_runs_close(r);
    r = open_runs(f);
    assert_int_equal(n_left(r), 0);
    rbk_runs_close(r);
}

/* They stay for the next start, and new runs do not write over them. */
static void test_rows_that_are_kept(void **state)
{
    fixture *f = *state;
    rbk_run_left *left = NULL;
    die_while_running(f);
    rbk_runs *r = open_runs(f);
    rbk_runs_keep(r);
    uint32_t slot = begin(r, 40, 1);
    begin(r, 50, 2);
    rbk_runs_end(r, slot);
    rbk_runs_close(r);
    r = open_runs(f);
    int n = rbk_runs_left(r, &left);
    assert_int_equal(n, 3);
    assert_true(has(left, n, 10, 1));
    assert_true(has(left, n, 30, 7));
    assert_true(has(left, n, 50, 2));
    free(left);
    rbk_runs_close(r);
}

static void test_a_full_table(void **state)
{
    fixture *f = *state;
    rbk_runs *r = open_runs(f);
    uint32_t last = 0;
    for (int i = 1; i <= ROWS; i++)
        assert_int_not_equal(last = begin(r, i, 1), RBK_NO_SLOT);
    assert_int_equal(begin(r, ROWS + 1, 1), RBK_NO_SLOT);
    rbk_runs_end(r, RBK_NO_SLOT);
    assert_int_equal(n_left(r), ROWS);
    rbk_runs_end(r, last);
    assert_int_equal(begin(r, ROWS + 2, 1), last);
    assert_int_equal(begin(r, ROWS + 3, 1), RBK_NO_SLOT);
    rbk_runs_close(r);
}

static void test_without_a_file(void **state)
{
    fixture *f = *state;
    rbk_runs *r = NULL;
    rbk_error err = {0};
    assert_int_equal(rbk_runs_open(&f->log, NULL, &r, &err), 0);
    assert_int_equal(n_left(r), 0);
    uint32_t slot = begin(r, 1, 1);
    assert_int_equal(n_left(r), 1);
    rbk_runs_end(r, slot);
    assert_int_equal(n_left(r), 0);
    rbk_runs_close(r);
    rbk_runs_close(NULL);
}

static void write_file(const fixture *f, const char *text, size_t n)
{
    FILE *out = fopen(f->file, "w");
    assert_non_null(out);
    for (size_t i = 0; i < n; i++)
        fputs(text, out);
    fclose(out);
}

static void test_a_file_that_is_not_ours(void **state)
{
    fixture *f = *state;
    write_file(f, "something else ", 10000);
    rbk_runs *r = open_runs(f);
    assert_int_equal(n_left(r), 0);
    begin(r, 1, 1);
    rbk_runs_close(r);
    r = open_runs(f);
    assert_int_equal(n_left(r), 1);
    rbk_runs_close(r);
}

static void test_a_link_is_not_followed(void **state)
{
    fixture *f = *state;
    rbk_runs *r = NULL;
    rbk_error err = {0};
    char target[96];
    snprintf(target, sizeof target, "%s/target", f->dir);
    assert_int_equal(symlink(target, f->file), 0);
    assert_int_equal(rbk_runs_open(&f->log, f->store, &r, &err), RBK_E_SYS);
    assert_int_equal(access(target, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_survive_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rows_that_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_that_is_not_ours, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_link_is_not_followed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
