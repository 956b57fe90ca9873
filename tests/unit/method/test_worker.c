/* SPDX-License-Identifier: Apache-2.0 */
/* Workers that behave: calls, jobs, several processes, what they are born with, and how they
 * end. */
#include "worker_rig.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* A kernel without pidfd_open and close_range. */
static atomic_bool old_kernel;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (old_kernel && (number == 434 || number == 436)) {
        errno = ENOSYS;
        return -1;
    }
    return __real_syscall(number, a, b, c, d, e, f);
}

static void test_calls(void **state)
{
    rig *g = start_rig((rbk_workers_conf){0}, "");
    answer a;
    (void)state;
    assert_string_equal(ask(g, "params", "{\"a\" : [1.50,\n\t\"x \\\" y\"] }", &a),
                        "{\"id\":1,\"result\":{\"a\":[1.50,\"x \\\" y\"]}}");
    assert_string_equal(ask(g, "params", NULL, &a), "{\"id\":1,\"result\":null}");
    assert_string_equal(ask(g, "error", NULL, &a),
                        "{\"id\":1,\"error\":{\"code\":-7,\"message\":\"no \xc3\xa4pfel\",\"data\":[1.0]}}");
    assert_string_equal(ask(g, "progress", NULL, &a), "{\"id\":1,\"result\":\"done\"}");
    const char *echo = ask(g, "echo", "[1]", &a);
    assert_non_null(strstr(echo, "\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"echo\",\"params\":[1],"
                                 "\"ringback\":{\"run\":1,\"deadline\":"));
    double deadline = strtod(strstr(echo, "\"deadline\":") + 11, NULL);
    double left = deadline - (double)rbk_wall_now() / 1000;
    assert_true(left > 20 && left <= 60);
    ask_body(g, "{\"method\":\"slow\"}", &a); /* a notification has an answer too, for us alone */
    assert_int_equal(a.status, 204);
    assert_string_equal(ask(g, "OrderService.processOrder", NULL, &a), "{\"id\":1,\"result\":null}");
    assert_int_equal(count_log(g, "worker.started"), 1);
    end_rig(g);
}

static void test_a_job(void **state)
{
    rig *g = start_rig((rbk_workers_conf){0}, "");
    char id[40], response[4096], part[128];
    (void)state;
    start_job(g, "echo", "\"x\":1.0", id);
    wait_job(g, id, response);
    snprintf(part, sizeof part, "\"ringback\":{\"job\":\"%s\",\"run\":1,\"deadline\":", id);
    assert_non_null(strstr(response, part));
    assert_non_null(strstr(response, "\"params\":{\"x\":1.0},"));
    end_rig(g);
}

/* All are answered with their own, two processes take part, and none of it is lost. */
static void test_many_calls(size_t workers, size_t pipelining, int n)
{
    rig *g = start_rig((rbk_workers_conf){.workers = workers, .pipelining = pipelining}, "");
    answer *a = calloc((size_t)n, sizeof *a);
    for (int i = 0; i < n; i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"id\":%d,\"method\":\"params\",\"params\":[%d]}", i, i);
        send_body(g, body, &a[i]);
    }
    for (int i = 0; i < n; i++) {
        char expect[128];
        snprintf(expect, sizeof expect, "{\"id\":%d,\"result\":[%d]}", i, i);
        assert_string_equal(await(&a[i]), expect);
    }
    free(a);
    assert_int_equal(count_log(g, "worker.started"), workers);
    end_rig(g);
}

static void test_a_thousand_calls(void **state)
{
    (void)state;
    test_many_calls(2, 1, 1000);
    test_many_calls(2, 16, 1000);
}

static void test_processes_share_the_calls(void **state)
{
    rig *g = start_rig((rbk_workers_conf){.workers = 2}, "");
    (void)state;
    long one = ask_number(g, "pid"), other = ask_number(g, "pid");
    assert_true(one != other);
    assert_int_equal(ask_number(g, "pid"), one);
    end_rig(g);
    assert_true(is_gone(one) && is_gone(other));
}

static void test_what_it_is_born_with(void **state)
{
    answer a;
    sigset_t set, old;
    (void)state;
    int open_fd = open("/dev/null", O_RDONLY); /* as an embedder may have it: inherited by an exec */
    assert_true(open_fd > 2);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    setenv("RINGBACK_ADMIN_TOKEN", "secret", 1);
    setenv("PLAY_KEPT", "kept", 1);
    rig *g = start_rig((rbk_workers_conf){.workers = 3}, "");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(ask(g, "files", NULL, &a), "{\"id\":1,\"result\":[0,1,2]}");
        assert_string_equal(ask(g, "signals", NULL, &a), "{\"id\":1,\"result\":[0,0,1]}");
        assert_string_equal(ask(g, "env", NULL, &a), "{\"id\":1,\"result\":\"none kept\"}");
    }
    end_rig(g);
    unsetenv("RINGBACK_ADMIN_TOKEN");
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(open_fd);
}

static void expect_life_and_death(void)
{
    answer a;
    rig *g = start_rig((rbk_workers_conf){0}, "");
    assert_string_equal(ask(g, "files", NULL, &a), "{\"id\":1,\"result\":[0,1,2]}");
    long pid = ask_number(g, "pid");
    assert_string_equal(ask(g, "exit", NULL, &a), INTERNAL);
    wait_gone(pid);
    pid = ask_number(g, "pid");
    assert_non_null(strstr(ask(g, "hang", "{\"$rpc.timeout\":0.2}", &a), "-32002"));
    wait_gone(pid);
    pid = ask_number(g, "pid");
    rbk_workers_stop(g->w, 10000);
    assert_true(is_gone(pid));
    end_rig(g);
}

static void test_on_an_old_kernel(void **state)
{
    (void)state;
    int open_fd = open("/dev/null", O_RDONLY);
    old_kernel = true;
    expect_life_and_death();
    old_kernel = false;
    close(open_fd);
}

/* A program may be started so, and then its children are reaped by nobody. */
static void test_where_sigchld_is_ignored(void **state)
{
    (void)state;
    signal(SIGCHLD, SIG_IGN);
    expect_life_and_death();
    old_kernel = true;
    expect_life_and_death();
    old_kernel = false;
    signal(SIGCHLD, SIG_DFL);
}

static void test_limits(void **state)
{
    answer a;
    rbk_workers_conf conf = {.memory = 1000 << 20, .cpu_s = 77, .files = 55,
        .command = "sh -c \"i=0; while read -r l; do i=$((i+1)); printf '{\\\"id\\\":%d,\\\"result\\\":"
                   "[%s,%s,%s]}\\\\n' $i $(ulimit -v) $(ulimit -t) $(ulimit -n); done\""};
    (void)state;
    rig *g = start_rig(conf, "");
    assert_string_equal(ask(g, "echo", NULL, &a), "{\"id\":1,\"result\":[1024000,77,55]}");
    end_rig(g);
}

static void expect_no_start(const char *command, const char *name, const char *why)
{
    rig *g = new_rig();
    rbk_error err = {0};
    rbk_workers_conf conf = {.command = command};
    assert_int_equal(rbk_workers_new(&conf, &g->log, &g->w, &err), RBK_E_CONFIG);
    if (!strstr(err.detail, name) || !strstr(err.detail, why))
        fail_msg("%s: %s", command, err.detail);
    end_rig(g);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_programs_that_cannot_be_run(void **state)
{
    char dir[] = "/tmp/rbk-worker-XXXXXX", path[64];
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/w", dir);
    expect_no_start("", "command", "without a program");
    expect_no_start("./not/there.py --x", "./not/there.py", "No such file");
    expect_no_start("rbk-not-in-path", "rbk-not-in-path", "./rbk-not-in-path");
    expect_no_start("/tmp", "/tmp", "not an executable file");
    write_file(path, "#!/bin/sh\n", 0600);
    expect_no_start(path, path, "not an executable file");
    write_file(path, "#!/not/there/sh\n", 0700);
    expect_no_start(path, path, "cannot be started: No such file");
    write_file(path, "read x\n", 0700);
    expect_no_start(path, path, "begins with #!");
    unlink(path);
    rmdir(dir);
}

/* --- The stop --- */

static int64_t stop_ms(rig *g, int64_t grace_ms)
{
    rbk_mono_ms from = rbk_mono_now();
    rbk_workers_stop(g->w, grace_ms);
    return rbk_mono_now() - from;
}

static void expect_end(const char *mode, const char *how, int64_t at_least)
{
    rig *g = start_rig((rbk_workers_conf){.workers = 2, .eof_ms = 1200, .term_ms = 1200}, mode);
    long one = ask_number(g, "pid"), other = ask_number(g, "pid");
    assert_true(stop_ms(g, 10000) >= at_least);
    assert_true(is_gone(one) && is_gone(other));
    if (count_log(g, how) != 2)
        fail_msg("%s: %s", mode, g->text);
    assert_int_equal(count_log(g, "level=warn"), 0);
    stop_ms(g, 10000); /* again: legal */
    end_rig(g);
}

static void test_orderly_ends(void **state)
{
    (void)state;
    expect_end("", "status=0 signal=0", 0);
    expect_end("lingering", "signal=15", 1200);
    expect_end("stubborn", "signal=9", 2400);
}

static void test_a_stop_waits_for_calls(void **state)
{
    answer a[4], late;
    rig *g = start_rig((rbk_workers_conf){.workers = 1}, "");
    (void)state;
    for (int i = 0; i < 4; i++)
        send_body(g, "{\"id\":1,\"method\":\"slow\"}", &a[i]);
    ask(g, "slow", NULL, &late); /* the others are in hand */
    stop_ms(g, PATIENCE_MS);
    for (int i = 0; i < 4; i++)
        assert_string_equal(await(&a[i]), "{\"id\":1,\"result\":\"slow\"}");
    assert_non_null(strstr(ask(g, "slow", NULL, &late), "-32009"));
    end_rig(g);
}

static void test_a_stop_lets_go_of_calls(void **state)
{
    answer a[2];
    rig *g = start_rig((rbk_workers_conf){.workers = 1, .eof_ms = 10000, .term_ms = 10000}, "");
    (void)state;
    send_body(g, "{\"id\":1,\"method\":\"hang\"}", &a[0]);
    wait_log(g, "hanging", 1);
    send_body(g, "{\"id\":1,\"method\":\"pid\"}", &a[1]); /* waits for the other */
    int64_t took = stop_ms(g, 300);
    assert_true(took >= 300 && took < 9000);
    assert_string_equal(await(&a[0]), INTERNAL);
    assert_true(strcmp(await(&a[1]), INTERNAL) == 0 || strstr(a[1].body, "-32009"));
    assert_int_equal(count_log(g, "signal=15"), 1);
    end_rig(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_a_job),
        cmocka_unit_test(test_a_thousand_calls),
        cmocka_unit_test(test_processes_share_the_calls),
        cmocka_unit_test(test_what_it_is_born_with),
        cmocka_unit_test(test_on_an_old_kernel),
        cmocka_unit_test(test_where_sigchld_is_ignored),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_programs_that_cannot_be_run),
        cmocka_unit_test(test_orderly_ends),
        cmocka_unit_test(test_a_stop_waits_for_calls),
        cmocka_unit_test(test_a_stop_lets_go_of_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
