/* SPDX-License-Identifier: Apache-2.0 */
/* Method threads: who gets one, when there are not enough for all. */
#include "engine_rig.h"

/* --- Streams of synchronous calls ------------------------------------------------------ */

enum { STREAM = 16, POOLS = 3, JOBS_A_POOL = 60 };

static struct stream {
    rbk_server *s;
    atomic_bool ending;
    atomic_int open, answered;
} stream;

static void ask_again(void *user, const rbk_reply *reply)
{
    rbk_request rq = {.body = rbk_str_z(user)};
    stream.answered += reply != NULL;
    if (stream.ending || rbk_server_handle(stream.s, &rq, ask_again, user) < 0)
        stream.open--;
}

/* Two methods: together they would take both threads. */
static void start_stream(rbk_server *s)
{
    static char even[] = "{\"id\":1,\"method\":\"even\"}", odd[] = "{\"id\":1,\"method\":\"odd\"}";
    stream.s = s;
    stream.ending = false;
    stream.open = STREAM;
    stream.answered = 0;
    for (int i = 0; i < STREAM; i++)
        ask_again(i % 2 ? odd : even, NULL);
    WAIT_FOR(stream.answered > STREAM);
}

/* The work of the method: a thread is held for a while. */
static void work(rbk_call *call, void *user)
{
    atomic_int *runs = user;
    ++*runs;
    watch_for(2);
    rbk_call_result(call, "1", 1);
}

static void test_jobs_of_all_pools_go_on_beside_a_stream(void **state)
{
    enum { MANY = JOBS_A_POOL / 2, SOME = JOBS_A_POOL / 6 };
    static const char *const names[] = {"a", "b", "c", "even", "odd"};
    atomic_int runs[5] = {0};
    rbk_server *s = make_server();
    (void)state;
    set(s, "method.threads", "2");
    for (int i = 0; i < 5; i++) {
        const rbk_method m = {.name = names[i], .fn = work, .user = &runs[i]};
        assert_int_equal(rbk_server_method(s, &m), 0);
    }
    start(s);
    start_stream(s);
    for (int i = 0; i < POOLS; i++)
        assert_int_equal(ask_jobs(s, names[i], JOBS_A_POOL, true), 204);
    WAIT_FOR(runs[0] >= MANY || runs[1] >= MANY || runs[2] >= MANY);
    for (int i = 0; i < POOLS; i++)
        assert_true(runs[i] >= SOME); /* they take turns */
    int answered = stream.answered;
    for (int i = 0; i < POOLS; i++)
        WAIT_FOR(runs[i] == JOBS_A_POOL);
    assert_true(stream.answered > answered); /* the stream goes on all the while */
    stream.ending = true;
    WAIT_FOR(stream.open == 0);
    rbk_server_free(s);
}

/* --- A slow pool ---------------------------------------------------------------------------- */

static atomic_bool gate_is_open;
static atomic_int at_gate;

static void wait_at_gate(rbk_call *call, void *user)
{
    (void)user;
    at_gate++;
    while (!gate_is_open)
        usleep(1000);
    at_gate--;
    rbk_call_result(call, "1", 1);
}

static void test_a_slow_pool_leaves_threads(void **state)
{
    rbk_server *s = make_server();
    (void)state;
    gate_is_open = false;
    set(s, "method.threads", "8");
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "slow", .fn = wait_at_gate}), 0);
    start(s);
    assert_int_equal(ask_jobs(s, "slow", 100, true), 204);
    WAIT_FOR(at_gate > 0);
    answer a;
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(s, "{\"id\":1,\"method\":\"quick\"}", &a), 200);
    assert_int_equal(ask_jobs(s, "quick", 100, true), 204);
    WAIT_FOR(quick_runs == 120);
    assert_in_range(at_gate, 1, 4);
    gate_is_open = true;
    WAIT_FOR(stats_of(s).pending == 0);
    rbk_server_free(s);
}

static atomic_int kept_before;

/* A synchronous call: how many jobs had begun before it. */
static void look_at_jobs(rbk_call *call, void *user)
{
    (void)user;
    kept_before = (int)n_kept();
    rbk_call_result(call, "1", 1);
}

/* With one thread, a synchronous call that came last is next. */
static void test_synchronous_calls_go_first(void **state)
{
    rbk_server *s = make_server();
    answer first, second;
    (void)state;
    gate_is_open = false;
    set(s, "method.threads", "1");
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "look", .fn = look_at_jobs}), 0);
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "slow", .fn = wait_at_gate}), 0);
    start(s);
    post(s, "{\"id\":1,\"method\":\"slow\"}", &first);
    WAIT_FOR(at_gate == 1);
    assert_int_equal(ask_jobs(s, "keep", 5, true), 204);
    post(s, "{\"id\":2,\"method\":\"look\"}", &second);
    kept_before = -1;
    gate_is_open = true;
    WAIT_FOR(first.count && second.count);
    assert_int_equal(kept_before, 0);
    WAIT_FOR(n_kept() == 5);
    answer_kept(5);
    WAIT_FOR(stats_of(s).pending == 0);
    rbk_server_free(s);
}

/* A call whose time is up before it begins is not run. */
static void test_a_call_that_waited_too_long_is_not_run(void **state)
{
    rbk_server *s = make_server();
    answer first, second;
    (void)state;
    gate_is_open = false;
    set(s, "method.threads", "1");
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "slow", .fn = wait_at_gate}), 0);
    start(s);
    post(s, "{\"id\":1,\"method\":\"slow\"}", &first);
    WAIT_FOR(at_gate == 1);
    ask(s, "{\"id\":2,\"method\":\"quick\",\"params\":{\"$rpc.timeout\":0.1}}", &second);
    assert_non_null(strstr(second.body, "-32002"));
    gate_is_open = true;
    WAIT_FOR(first.count);
    rbk_server_free(s);
    assert_int_equal(quick_runs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_jobs_of_all_pools_go_on_beside_a_stream),
        RIG_TEST(test_a_slow_pool_leaves_threads),
        RIG_TEST(test_synchronous_calls_go_first),
        RIG_TEST(test_a_call_that_waited_too_long_is_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
