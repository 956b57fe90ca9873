/* SPDX-License-Identifier: Apache-2.0 */
/* Workers that misbehave: it costs the calls that they had, and themselves. */
#include "worker_rig.h"

/* The call is -32603, its process is gone, and the next call is answered by another. */
static void expect_broken(rig *g, const char *method, const char *why)
{
    answer a;
    int n = count_log(g, why);
    long pid = ask_number(g, "pid");
    assert_string_equal(ask(g, method, NULL, &a), INTERNAL);
    wait_gone(pid);
    assert_int_not_equal(ask_number(g, "pid"), pid);
    if (count_log(g, why) <= n)
        fail_msg("%s: the log has no '%s':\n%s", method, why, g->text);
}

static void test_calls_that_break_the_process(void **state)
{
    rig *g = start_rig((rbk_workers_conf){0}, "");
    (void)state;
    expect_broken(g, "garbage", "it is not a JSON object");
    expect_broken(g, "huge", "it is too long");
    expect_broken(g, "wrong_id", "the id of no request");
    expect_broken(g, "both", "exactly one of result and error");
    expect_broken(g, "close", "closed its standard input or output");
    expect_broken(g, "half", "status=3 signal=0 why=\"its process ended in the middle of a line\"");
    expect_broken(g, "exit", "status=5 signal=0 why=\"its process ended\"");
    expect_broken(g, "crash", "status=-1 signal=9 why=\"its process ended\"");
    end_rig(g);
}

static void test_answers_that_count_all_the_same(void **state)
{
    rig *g = start_rig((rbk_workers_conf){0}, "");
    answer a;
    (void)state;
    assert_string_equal(ask(g, "big", NULL, &a),
                        "{\"id\":1,\"error\":{\"code\":-32008,\"message\":\"Result too large\"}}");
    assert_int_equal(count_log(g, "worker.broken"), 0);
    assert_string_equal(ask(g, "twice", NULL, &a), "{\"id\":1,\"result\":1}");
    wait_log(g, "worker.broken", 1); /* the second answer */
    assert_string_equal(ask(g, "answer_and_exit", NULL, &a), "{\"id\":1,\"result\":\"last\"}");
    wait_log(g, "status=0", 1);
    assert_string_equal(ask(g, "params", "[1]", &a), "{\"id\":1,\"result\":[1]}");
    assert_int_equal(count_log(g, "worker.call_failed"), 0);
    end_rig(g);
}

static void test_time_outs(void **state)
{
    rig *g = start_rig((rbk_workers_conf){0}, "");
    answer a;
    (void)state;
    long pid = ask_number(g, "pid"), child = ask_number(g, "fork");
    assert_false(is_gone(child));
    assert_non_null(strstr(ask(g, "hang", "{\"$rpc.timeout\":0.3}", &a), "-32002"));
    wait_gone(pid);
    wait_gone(child);
    assert_int_not_equal(ask_number(g, "pid"), pid);
    assert_int_equal(count_log(g, "worker.broken"), 0);
    /* One that waits for its turn harms nobody. */
    answer hanging;
    send_body(g, "{\"id\":1,\"method\":\"hang\",\"params\":{\"$rpc.timeout\":2}}", &hanging);
    wait_log(g, "hanging", 2);
    assert_non_null(strstr(ask(g, "pid", "{\"$rpc.timeout\":0.2}", &a), "-32002"));
    assert_int_equal(hanging.count, 0);
    assert_non_null(strstr(await(&hanging), "-32002"));
    ask_number(g, "pid");
    end_rig(g);
}

static void test_one_that_never_reads(void **state)
{
    enum { BIG = 300000 };
    rig *g = start_rig((rbk_workers_conf){.eof_ms = 100}, "deaf");
    char *body = malloc(BIG + 200);
    answer a;
    (void)state;
    int n = sprintf(body, "{\"id\":1,\"method\":\"echo\",\"params\":{\"$rpc.timeout\":0.3,\"x\":\"");
    memset(body + n, 'x', BIG);
    memcpy(body + n + BIG, "\"}}", 4);
    for (int i = 0; i < 2; i++) {
        assert_non_null(strstr(ask_body(g, body, &a), "-32002"));
        wait_log(g, "worker.started", i + 2);
    }
    assert_non_null(strstr(ask(g, "echo", "{\"$rpc.timeout\":0.3}", &a), "-32002"));
    free(body);
    end_rig(g);
}

static void test_one_that_exits_at_once(void **state)
{
    rbk_mono_ms from = rbk_mono_now();
    rig *g = start_rig((rbk_workers_conf){.workers = 1}, "exit");
    answer a;
    (void)state;
    wait_log(g, "worker.exited", 4); /* after 100, 200, 400 ms */
    assert_true(rbk_mono_now() - from >= 700);
    assert_non_null(strstr(ask(g, "echo", "{\"$rpc.timeout\":0.2}", &a), "-32002"));
    assert_true(count_log(g, "worker.started") <= 6);
    end_rig(g);
}

/* What it says is not kept, and does not hold it up. */
static void test_noise(void **state)
{
    rig *g = start_rig((rbk_workers_conf){0}, "");
    answer a;
    (void)state;
    assert_string_equal(ask(g, "say", NULL, &a), "{\"id\":1,\"result\":1}");
    wait_log(g, "text=one cut=0", 1);
    wait_log(g, "text=\"two \\\"quoted\\\"\"", 1);
    assert_string_equal(ask(g, "noise", NULL, &a), "{\"id\":1,\"result\":\"said\"}");
    wait_log(g, "text=halfxxx", 1); /* the rest of a line, then 64 KiB of it */
    wait_log(g, "cut=65295", 1);
    assert_true(count_log(g, "worker.stderr") <= 2 + 160);
    assert_string_equal(ask(g, "noise", NULL, &a), "{\"id\":1,\"result\":\"said\"}");
    assert_int_equal(count_log(g, "worker.broken"), 0);
    end_rig(g);
}

/* --- Begun anew --- */

static void test_a_job_is_begun_anew(void **state)
{
    rig *g = start_rig((rbk_workers_conf){.retries = 1}, "");
    char id[40], response[4096], file[] = "/tmp/rbk-worker-XXXXXX", body[512];
    answer a;
    (void)state;
    close(mkstemp(file));
    unlink(file);
    snprintf(body, sizeof body, "{\"id\":1,\"method\":\"die_once\",\"params\":[\"%s\"],\"$rpc.receipt\":true," CALLBACK "}", file);
    const char *at = strstr(ask_body(g, body, &a), "\"job\":\"");
    assert_non_null(at);
    snprintf(id, sizeof id, "%.36s", at + 7);
    wait_job(g, id, response);
    assert_string_equal(response, "{\"id\":1,\"result\":2}"); /* its second run */
    assert_int_equal(count_log(g, "worker.call_failed"), 0);
    unlink(file);
    end_rig(g);
}

static void kill_hanging(rig *g, int nth)
{
    wait_log(g, "hanging", nth);
    pthread_mutex_lock(&g->lock);
    const char *p = g->text;
    for (int i = 0; i < nth; i++)
        p = strstr(p, "worker.started") + 1;
    long pid = strtol(strstr(p, "pid=") + 4, NULL, 10);
    pthread_mutex_unlock(&g->lock);
    assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
}

static void test_kill_9_in_the_middle(void **state)
{
    rig *g = start_rig((rbk_workers_conf){.retries = 1}, "");
    char id[40], response[4096];
    answer a;
    (void)state;
    send_body(g, "{\"id\":1,\"method\":\"hang\"}", &a);
    kill_hanging(g, 1);
    assert_string_equal(await(&a), INTERNAL);
    start_job(g, "hang", NULL, id);
    kill_hanging(g, 2);
    kill_hanging(g, 3);
    wait_job(g, id, response);
    assert_string_equal(response, INTERNAL);
    wait_log(g, "runs=2", 1);
    assert_int_equal(count_log(g, "hanging"), 3);
    end_rig(g);
}

/* Beside a job that kills its process others were under way: they are begun anew, and what kills
 * has the next process for itself. */
static void test_a_poisonous_job_among_others(void **state)
{
    enum { N = 40 };
    rig *g = start_rig((rbk_workers_conf){.retries = 1, .pipelining = 8}, "");
    char id[N][40], response[4096];
    (void)state;
    for (int i = 0; i < N; i++)
        start_job(g, i % 10 == 5 ? "crash" : "slow", NULL, id[i]);
    for (int i = 0; i < N; i++) {
        wait_job(g, id[i], response);
        assert_string_equal(response, i % 10 == 5 ? INTERNAL : "{\"id\":1,\"result\":\"slow\"}");
    }
    assert_int_equal(count_log(g, "worker.call_failed"), N / 10);
    end_rig(g);
}

/* A time-out kills the process: those beside it are begun anew where they may be. */
static void test_a_time_out_among_others(void **state)
{
    enum { N = 3 };
    rig *g = start_rig((rbk_workers_conf){.retries = 0, .pipelining = 8}, "");
    char id[N][40], response[4096];
    answer hanging, beside;
    (void)state;
    send_body(g, "{\"id\":1,\"method\":\"hang\",\"params\":{\"$rpc.timeout\":2}}", &hanging);
    wait_log(g, "hanging", 1);
    for (int i = 0; i < N; i++)
        start_job(g, "pid", NULL, id[i]);
    send_body(g, "{\"id\":1,\"method\":\"pid\"}", &beside);
    assert_non_null(strstr(await(&hanging), "-32002"));
    assert_string_equal(await(&beside), INTERNAL); /* it may have run, and nobody said it may twice */
    for (int i = 0; i < N; i++) {
        wait_job(g, id[i], response);
        assert_non_null(strstr(response, "\"result\":"));
    }
    assert_int_equal(count_log(g, "worker.call_failed"), 1);
    end_rig(g);
}

/* One of two dies all the time; who is not with it never notices. */
static void test_the_other_process_goes_on(void **state)
{
    enum { N = 200 };
    rig *g = start_rig((rbk_workers_conf){.workers = 2}, "");
    answer *a = calloc(N, sizeof *a);
    (void)state;
    for (int i = 0; i < N; i++)
        send_body(g, i % 20 == 7 ? "{\"id\":1,\"method\":\"garbage\"}" : "{\"id\":1,\"method\":\"params\",\"params\":[]}", &a[i]);
    for (int i = 0; i < N; i++)
        assert_string_equal(await(&a[i]), i % 20 == 7 ? INTERNAL : "{\"id\":1,\"result\":[]}");
    free(a);
    end_rig(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_that_break_the_process),
        cmocka_unit_test(test_answers_that_count_all_the_same),
        cmocka_unit_test(test_time_outs),
        cmocka_unit_test(test_one_that_never_reads),
        cmocka_unit_test(test_one_that_exits_at_once),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_a_job_is_begun_anew),
        cmocka_unit_test(test_kill_9_in_the_middle),
        cmocka_unit_test(test_a_poisonous_job_among_others),
        cmocka_unit_test(test_a_time_out_among_others),
        cmocka_unit_test(test_the_other_process_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
