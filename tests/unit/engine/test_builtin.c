/* SPDX-License-Identifier: Apache-2.0 */
/* rpc.job.get, wait and cancel: whose job it is, who is woken by what, and what a stop and a store
 * that is busy mean for those who wait. */
#include "admin_rig.h"

static void post_as(rbk_server *s, const char *caller, const char *body, answer *a)
{
    *a = (answer){.lock = PTHREAD_MUTEX_INITIALIZER};
    rbk_request rq = {.body = {body, strlen(body)},
                      .caller = caller ? rbk_str_z(caller) : RBK_STR_NONE};
    assert_int_equal(rbk_server_handle(s, &rq, on_reply, a), 0);
}

/* Ask `method` about the job; the answer comes later. */
static void post_about(rbk_server *s, const char *caller, const char *method, const char *id, answer *a)
{
    char body[256];
    snprintf(body, sizeof body, "{\"id\":7,\"method\":\"rpc.job.%s\",\"params\":{\"id\":\"%.100s\"}}", method, id);
    post_as(s, caller, body, a);
}

static const char *ask_about(rbk_server *s, const char *caller, const char *method, const char *id)
{
    static answer a;
    post_about(s, caller, method, id, &a);
    WAIT_FOR(a.count);
    return a.body;
}

static void make_job_as(rbk_server *s, const char *caller, const char *method, const char *more, char id[40])
{
    char body[256];
    answer a;
    snprintf(body, sizeof body, "{\"id\":1,\"method\":\"%s\",\"params\":{" CALLBACK "%s}}", method, more);
    post_as(s, caller, body, &a);
    WAIT_FOR(a.count);
    snprintf(id, 40, "%.36s", a.job);
    assert_int_equal(strlen(id), 36);
}

#define NOT_FOUND "{\"id\":7,\"error\":{\"code\":-32003,\"message\":\"Job not found\"}}"

static void test_a_job_is_there_for_its_caller_alone(void **state)
{
    static const char *const methods[] = {"get", "wait", "cancel"};
    rbk_server *s = run_server();
    char of_alice[40], of_nobody[40];
    (void)state;
    make_job_as(s, "alice", "keep", ",\"$rpc.delay\":600", of_alice);
    make_job_as(s, NULL, "keep", ",\"$rpc.delay\":600", of_nobody);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(ask_about(s, "bob", methods[i], of_alice), NOT_FOUND);
        assert_string_equal(ask_about(s, "alic", methods[i], of_alice), NOT_FOUND);
        assert_string_equal(ask_about(s, NULL, methods[i], of_alice), NOT_FOUND);
        assert_string_equal(ask_about(s, "alice", methods[i], of_nobody), NOT_FOUND);
    }
    assert_non_null(strstr(ask_about(s, "alice", "get", of_alice), "\"state\":\"QUEUED\""));
    assert_non_null(strstr(ask_about(s, NULL, "get", of_nobody), "\"state\":\"QUEUED\""));
    assert_non_null(strstr(ask_about(s, "alice", "cancel", of_alice), "\"state\":\"DUE\""));
    assert_non_null(strstr(ask_about(s, NULL, "cancel", of_nobody), "\"state\":\"DUE\""));
    rbk_server_free(s);
}

/* The id alone is no key: the other half of it must fit too. */
static void test_an_id_with_another_end_is_unknown(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    (void)state;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).delivered == 1);
    id[35] = id[35] == '0' ? '1' : '0';
    assert_string_equal(ask_about(s, NULL, "get", id), NOT_FOUND);
    assert_string_equal(ask_about(s, NULL, "wait", id), NOT_FOUND);
    rbk_server_free(s);
}

static void test_a_cancel_is_told_to_the_method(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    (void)state;
    make_job(s, "keep", "", id);
    WAIT_FOR(n_kept() == 1);
    assert_false(rbk_call_cancelled(keeper.calls[0]));
    assert_non_null(strstr(ask_about(s, NULL, "cancel", id), "\"state\":\"DUE\""));
    assert_true(rbk_call_cancelled(keeper.calls[0]));
    assert_int_equal(answer_kept(1), RBK_E_STATE);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_non_null(strstr(ask_about(s, NULL, "get", id), "\"response\":{\"id\":1,\"error\":{\"code\":-32005"));
    assert_non_null(strstr(ask_about(s, NULL, "cancel", id), "the job has ended"));
    rbk_server_free(s);
}

/* A cancel that meets an attempt waits for its end. */
static void test_a_cancel_while_it_is_sent(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    answer a;
    (void)state;
    for (int status = 200; status <= 500; status += 300) {
        far_end.status = 0;
        make_job(s, "quick", "", id);
        WAIT_FOR(far_end.in_flight == 1);
        post_about(s, NULL, "cancel", id, &a);
        watch_for(50);
        assert_int_equal(a.count, 0);
        receiver_says(status);
        WAIT_FOR(a.count);
        assert_non_null(strstr(a.body, status == 200 ? "the job has ended" : "\"state\":\"CANCELLED\""));
    }
    rbk_server_free(s);
}

/* Some ask before the result, some while it comes, some after: none is forgotten. */
static void test_every_result_wakes_its_waiters(void **state)
{
    enum { JOBS = 150 };
    rbk_server *s = run_server();
    static char ids[JOBS][40];
    static answer first[JOBS], second[JOBS];
    (void)state;
    for (size_t i = 0; i < JOBS; i++)
        make_job(s, "keep", "", ids[i]);
    for (size_t i = 0; i < JOBS; i++)
        post_about(s, NULL, "wait", ids[i], &first[i]);
    for (size_t i = 0; i < JOBS; i++) {
        WAIT_FOR(n_kept() > i);
        answer_kept(1);
        post_about(s, NULL, "wait", ids[i], &second[i]);
    }
    for (size_t i = 0; i < JOBS; i++) {
        WAIT_FOR(first[i].count && second[i].count);
        assert_non_null(strstr(first[i].body, "\"response\":{\"id\":1,\"result\":2}"));
        assert_non_null(strstr(second[i].body, "\"response\":{\"id\":1,\"result\":2}"));
    }
    rbk_server_free(s);
}

/* The result is committed while the waiter's look-up, which saw none, is under way. */
static void test_a_result_that_comes_while_the_job_is_read(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    answer a;
    (void)state;
    make_job(s, "keep", "", id);
    WAIT_FOR(n_kept() == 1);
    disk_get_gate(GET_AFTER);
    post_about(s, NULL, "wait", id, &a);
    WAIT_FOR(disk_at_get_gate());
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(a.count, 0);
    disk_get_gate(0);
    rbk_mono_ms begin = rbk_mono_now();
    WAIT_FOR(a.count);
    assert_true(rbk_mono_now() - begin < 10000);
    assert_non_null(strstr(a.body, "\"result\":2"));
    rbk_server_free(s);
}

static void test_an_operators_cancel_wakes_too(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    answer a;
    (void)state;
    make_job(s, "keep", ",\"$rpc.delay\":600", id);
    post_about(s, NULL, "wait", id, &a);
    watch_for(30);
    assert_int_equal(a.count, 0);
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, id), 0);
    WAIT_FOR(a.count);
    assert_non_null(strstr(a.body, "-32005"));
    rbk_server_free(s);
}

static void test_a_stop_answers_who_waits(void **state)
{
    enum { WAITERS = 300 };
    rbk_server *s = run_server();
    static answer a[WAITERS];
    char id[40];
    (void)state;
    make_job(s, "keep", ",\"$rpc.delay\":600", id);
    for (size_t i = 0; i < WAITERS; i++)
        post_about(s, NULL, "wait", id, &a[i]);
    watch_for(30);
    assert_int_equal(a[0].count + a[WAITERS - 1].count, 0);
    rbk_server_stop(s);
    for (size_t i = 0; i < WAITERS; i++) {
        assert_int_equal(a[i].count, 1);
        assert_non_null(strstr(a[i].body, "\"state\":\"QUEUED\""));
    }
    rbk_server_free(s);
}

/* Not even those who come while it stops, or whose store is gone, are left without an answer. */
static void test_more_than_may_wait(void **state)
{
    rbk_server *s = make_server();
    char id[40], *body = malloc(11000 * 110);
    answer many, one;
    (void)state;
    assert_non_null(body);
    set(s, "server.max_batch", "20000");
    set(s, "server.max_body", "8M");
    start(s);
    WAIT_FOR(disk.scans > 0);
    make_job(s, "keep", ",\"$rpc.delay\":600", id);
    size_t at = 0;
    for (int i = 0; i < 10001; i++)
        at += (size_t)sprintf(body + at, "%c{\"id\":%d,\"method\":\"rpc.job.wait\",\"params\":{\"id\":\"%s\"}}",
                              i ? ',' : '[', i, id);
    strcpy(body + at, "]");
    post(s, body, &many);
    post_about(s, NULL, "get", id, &one);
    WAIT_FOR(one.count);
    assert_int_equal(one.status, 503);
    assert_non_null(strstr(one.body, "-32009"));
    assert_int_equal(many.count, 0);
    assert_non_null(strstr(ask_about(s, NULL, "cancel", id), "\"state\":\"DUE\""));
    WAIT_FOR(many.count);
    assert_int_equal(many.status, 200);
    free(body);
    rbk_server_free(s);
}

/* A program may have any number of methods; the document of them is bounded. */
static void test_a_document_that_is_too_large(void **state)
{
    enum { LARGE = 60000, ENOUGH = 40 };
    rbk_server *s = make_server();
    static char schema[LARGE + 16], name[ENOUGH][8];
    answer a;
    (void)state;
    memset(schema, 'x', LARGE);
    memcpy(schema, "{\"title\":\"", 10);
    strcpy(schema + LARGE, "\"}");
    for (int i = 0; i < ENOUGH; i++) {
        snprintf(name[i], sizeof name[i], "m%d", i);
        rbk_method m = {.name = name[i], .fn = quick, .params_schema = schema, .result_schema = schema};
        assert_int_equal(rbk_server_method(s, &m), 0);
    }
    start(s);
    assert_int_equal(ask(s, "{\"id\":1,\"method\":\"rpc.discover\"}", &a), 200);
    assert_non_null(strstr(a.body, "-32008"));
    rbk_server_free(s);
    s = run_server();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ask(s, "{\"id\":1,\"method\":\"rpc.discover\"}", &a), 200);
        assert_non_null(strstr(a.body, "{\"id\":1,\"result\":{\"openrpc\":\"1.3.2\""));
    }
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_a_job_is_there_for_its_caller_alone),
        RIG_TEST(test_an_id_with_another_end_is_unknown),
        RIG_TEST(test_a_cancel_is_told_to_the_method),
        RIG_TEST(test_a_cancel_while_it_is_sent),
        RIG_TEST(test_every_result_wakes_its_waiters),
        RIG_TEST(test_a_result_that_comes_while_the_job_is_read),
        RIG_TEST(test_an_operators_cancel_wakes_too),
        RIG_TEST(test_a_stop_answers_who_waits),
        RIG_TEST(test_more_than_may_wait),
        RIG_TEST(test_a_document_that_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
