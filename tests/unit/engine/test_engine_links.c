/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a batch that name each other, and callbacks for a whole batch, through a server at
 * work: in memory, in the store, in doubt, and at a stop. */
#include "engine_rig.h"

#define JOB(id, method, more) "{\"id\":\"" id "\",\"method\":\"" method "\",\"params\":{" CALLBACK more "}}"
#define SYNC(id, method, params) "{\"id\":\"" id "\",\"method\":\"" method "\",\"params\":" params "}"

static void post_whole(rbk_server *s, const char *body, answer *a)
{
    static const rbk_header header = {RBK_STR("Ringback-Batch-Callback"), RBK_STR("https://example.com/all")};
    *a = (answer){.lock = PTHREAD_MUTEX_INITIALIZER};
    const rbk_request rq = {.body = {body, strlen(body)}, .headers = &header, .n_headers = 1};
    assert_int_equal(rbk_server_handle(s, &rq, on_reply, a), 0);
}

/* One that waits for nobody at its stop. */
static rbk_server *run_hasty(void)
{
    rbk_server *s = make_server();
    set(s, "server.drain", "10ms");
    start(s);
    return s;
}

static void test_jobs(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    ask(s, "[" JOB("b", "quick", ",\"x\":\"@FROM:a\"") "," JOB("a", "keep", "") "]", &a);
    assert_int_equal(a.status, 200);
    WAIT_FOR(n_kept() == 1);
    assert_int_equal(stats_of(s).accepted, 2);
    WAIT_FOR(stats_of(s).in_memory == 1); /* the one that waits costs none */
    assert_int_equal(quick_runs, 0);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 2);
    assert_int_equal(quick_runs, 1);
    WAIT_FOR(stats_of(s).in_memory == 0);
    assert_int_equal(stats_of(s).pending, 0);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

/* Nobody knows whether the commit of the result was made; it was, and feeds once. */
static void test_result_in_doubt(void **state)
{
    static const int errors[] = {RBK_E_UNKNOWN, RBK_E_IO};
    (void)state;
    for (int i = 0; i < 2; i++) {
        disk_wipe();
        quick_runs = 0;
        rbk_server *s = run_server();
        answer a;
        disk_set(&disk.apply, (fault){.err = errors[i], .left = 1, .kinds = OP_BIT(RBK_OP_RESULT), .after = true});
        ask(s, "[" JOB("a", "demo", "") "," JOB("b", "quick", ",\"x\":\"@FROM:c\"") "," JOB("c", "quick", "") "]", &a);
        WAIT_FOR(stats_of(s).delivered == 2);
        assert_int_equal(quick_runs, 2);
        rbk_server_free(s);
        assert_int_equal(disk_stats().pending, 0);
    }
}

static void test_restart(void **state)
{
    rbk_server *s = run_hasty();
    answer a;
    (void)state;
    ask(s, "[" JOB("a", "keep", "") "," JOB("b", "quick", ",\"x\":\"@FROM:a\"") "]", &a);
    WAIT_FOR(n_kept() == 1);
    rbk_server_stop(s);
    rbk_server_free(s);
    answer_kept(1); /* too late: it runs again */
    assert_int_equal(disk_stats().pending, 2);
    assert_int_equal(disk_stats().held, 1);
    s = run_server();
    WAIT_FOR(n_kept() == 2);
    assert_int_equal(quick_runs, 0);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 2);
    rbk_server_free(s);
}

/* The store has no room for any of them: no answer is owed to anybody. */
static void test_no_room(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    disk_set(&disk.apply, (fault){.err = RBK_E_DISK_FULL, .left = 1, .kinds = OP_BIT(RBK_OP_PUT)});
    ask(s, "[" JOB("a", "quick", "") "," JOB("b", "quick", ",\"x\":\"@FROM:a\"") "]", &a);
    assert_int_equal(a.status, 503);
    assert_int_equal(stats_of(s).pending, 0);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

static void test_call_names_job(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    post(s, "[" JOB("a", "keep", "") "," SYNC("b", "quick", "[\"@FROM:a\"]") "," JOB("c", "quick", ",\"x\":\"@FROM:b\"") "]", &a);
    WAIT_FOR(n_kept() == 1);
    assert_int_equal(quick_runs, 0);
    assert_int_equal(stats_of(s).accepted, 1); /* c is not stored before it has what it names */
    answer_kept(1);
    WAIT_FOR(a.count);
    assert_non_null(strstr(a.body, "{\"id\":\"b\",\"result\":1}"));
    WAIT_FOR(stats_of(s).delivered == 2);
    rbk_server_free(s);
}

/* Whoever waits in memory at the stop is answered. */
static void test_stop(void **state)
{
    rbk_server *s = run_hasty();
    answer a;
    (void)state;
    post(s, "[" JOB("a", "keep", "") "," SYNC("b", "quick", "[\"@FROM:a\"]") "," SYNC("c", "quick", "[\"@FROM:b\"]") "]", &a);
    WAIT_FOR(n_kept() == 1);
    rbk_server_stop(s);
    WAIT_FOR(a.count);
    assert_non_null(strstr(a.body, "-32009"));
    rbk_server_free(s);
    answer_kept(1);
    assert_int_equal(quick_runs, 0);
    assert_int_equal(disk_stats().pending, 1);
}

/* Params are checked when they have what they name: of a call, of a job in the store, and of a job
 * that waited in memory. */
static void test_schema(void **state)
{
    static const rbk_method strict = {
        .name = "strict", .fn = quick,
        .params_schema = "{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"string\"}},\"required\":[\"x\"]}"};
    static const char why[] = "\"data\":{\"x\":\"must be a string\"}";
    rbk_server *s = make_server();
    answer a;
    (void)state;
    assert_int_equal(rbk_server_method(s, &strict), 0);
    start(s);
    ask(s, "[" SYNC("a", "quick", "[]") "," SYNC("b", "strict", "{\"x\":\"@FROM:a\"}") ","
        JOB("c", "strict", ",\"x\":\"@FROM:a\"") "]", &a);
    const char *first = strstr(a.body, why);
    assert_non_null(first);
    assert_non_null(strstr(first + 1, why));
    assert_int_equal(stats_of(s).accepted, 0);
    assert_int_equal(quick_runs, 1);
    ask(s, "[" JOB("a", "quick", "") "," JOB("b", "strict", ",\"x\":\"@FROM:a\"") ","
        SYNC("c", "quick", "[\"@FROM:b\"]") "]", &a);
    assert_non_null(strstr(a.body, "the member b has no result"));
    WAIT_FOR(stats_of(s).delivered == 2);
    assert_int_equal(quick_runs, 2);
    rbk_server_free(s);
}

static void test_whole(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    post_whole(s, "[" SYNC("a", "keep", "{}") "," SYNC("b", "quick", "[\"@FROM:a\"]") "," SYNC("c", "none", "{}") "]", &a);
    WAIT_FOR(a.count);
    assert_int_equal(a.status, 200);
    WAIT_FOR(n_kept() == 1);
    assert_int_equal(stats_of(s).accepted, 3); /* with the whole */
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 1);
    pthread_mutex_lock(&far_end.lock);
    assert_string_equal(far_end.body, "[{\"id\":\"a\",\"result\":2},{\"id\":\"b\",\"result\":1},"
                        "{\"id\":\"c\",\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}]");
    pthread_mutex_unlock(&far_end.lock);
    WAIT_FOR(stats_of(s).pending == 0);
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_jobs),           RIG_TEST(test_result_in_doubt), RIG_TEST(test_restart),
        RIG_TEST(test_no_room),        RIG_TEST(test_call_names_job),  RIG_TEST(test_stop),
        RIG_TEST(test_whole),          RIG_TEST(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
