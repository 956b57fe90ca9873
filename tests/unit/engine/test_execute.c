/* SPDX-License-Identifier: Apache-2.0 */
/* Method threads: who gets one, when there are not enough for all. */
#include "core/job_state.h"

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

/* --- A limit ------------------------------------------------------------------------------- */

/* Calls that answer later hold no thread, but their place: jobs leave an eighth of the places. */
static void test_a_limit_counts_calls_that_answer_later(void **state)
{
    enum { LIMIT = 16, JOBS = 100, SYNC = 4 };
    rbk_server *s = make_server();
    answer sync[SYNC];
    (void)state;
    set(s, "method.\"keep\".concurrency", "16");
    start(s);
    assert_int_equal(ask_jobs(s, "keep", JOBS, true), 204);
    WAIT_FOR(n_kept() == LIMIT - LIMIT / 8);
    watch_for(30);
    assert_int_equal(n_kept(), LIMIT - LIMIT / 8);
    for (int i = 0; i < SYNC; i++)
        post(s, "{\"id\":1,\"method\":\"keep\"}", &sync[i]);
    WAIT_FOR(n_kept() == LIMIT);
    watch_for(30);
    assert_int_equal(n_kept(), LIMIT);
    for (size_t n = LIMIT, done = 0; n < JOBS + SYNC; n = n_kept()) {
        answer_kept(n - done); /* their places are free again */
        done = n;
        WAIT_FOR(n_kept() > n);
        assert_true(n_kept() <= done + LIMIT);
    }
    answer_kept(JOBS + SYNC);
    for (int i = 0; i < SYNC; i++)
        WAIT_FOR(sync[i].count);
    WAIT_FOR(stats_of(s).pending == 0);
    rbk_server_free(s);
}

/* --- At most once ------------------------------------------------------------------------------ */

static int state_of_one(void)
{
    rbk_job *job = disk_first_job();
    int state = job ? job->state : 0;
    rbk_job_free(job);
    return state;
}

static void *free_server(void *s)
{
    rbk_server_free(s);
    return NULL;
}

static rbk_server *make_careful_server(void)
{
    rbk_server *s = make_server();
    set(s, "method.\"*\".guarantee", "at-most-once");
    set(s, "server.drain", "0");
    set(s, "store.retention", "1h");
    return s;
}

/* The store knows before the method does. */
static void test_at_most_once_is_stored_before_it_runs(void **state)
{
    rbk_server *s = make_careful_server();
    (void)state;
    start(s);
    disk_gate(OP_BIT(RBK_OP_STATE));
    assert_int_equal(ask_jobs(s, "keep", 1, false), 200);
    WAIT_FOR(disk_at_gate());
    watch_for(20);
    assert_int_equal(n_kept(), 0);
    disk_gate(0);
    WAIT_FOR(n_kept() == 1);
    assert_int_equal(state_of_one(), RBK_JOB_RUNNING);
    answer_kept(1);
    WAIT_FOR(stats_of(s).pending == 0);
    assert_int_equal(far_end.delivered, 1);
    rbk_server_free(s);
}

/* A run that was cut off is never begun again: its answer is -32004. */
static void test_at_most_once_does_not_run_again(void **state)
{
    rbk_server *s = make_careful_server();
    (void)state;
    start(s);
    assert_int_equal(ask_jobs(s, "keep", 3, false), 200);
    WAIT_FOR(n_kept() == 3);
    rbk_server_free(s);
    s = make_careful_server();
    start(s);
    WAIT_FOR(stats_of(s).pending == 0);
    assert_int_equal(far_end.delivered, 3);
    assert_int_equal(n_kept(), 3);
    rbk_server_free(s);
}

/* One that has its place but has not begun when the server stops runs at the next start. */
static void test_at_most_once_that_has_not_begun_runs(void **state)
{
    rbk_server *s = make_careful_server();
    (void)state;
    gate_is_open = false;
    set(s, "method.threads", "1");
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "slow", .fn = wait_at_gate}), 0);
    start(s);
    disk_gate(OP_BIT(RBK_OP_STATE));
    assert_int_equal(ask_jobs(s, "keep", 1, false), 200);
    WAIT_FOR(disk_at_gate());
    answer a;
    post(s, "{\"id\":1,\"method\":\"slow\"}", &a);
    WAIT_FOR(at_gate == 1); /* the only thread is busy */
    disk_gate(0);
    WAIT_FOR(state_of_one() == RBK_JOB_RUNNING);
    pthread_t stop;
    assert_int_equal(pthread_create(&stop, NULL, free_server, s), 0);
    watch_for(200);
    gate_is_open = true;
    pthread_join(stop, NULL);
    assert_int_equal(n_kept(), 0);
    assert_int_equal(state_of_one(), RBK_JOB_QUEUED);
    s = make_careful_server();
    start(s);
    WAIT_FOR(n_kept() == 1);
    answer_kept(1);
    WAIT_FOR(stats_of(s).pending == 0);
    rbk_server_free(s);
}

/* The store cannot take it for a while: it waits. */
static void test_at_most_once_waits_for_the_store(void **state)
{
    rbk_server *s = make_careful_server();
    (void)state;
    start(s);
    disk_fail(&disk.apply, RBK_E_BUSY, 3, OP_BIT(RBK_OP_STATE));
    assert_int_equal(ask_jobs(s, "keep", 2, false), 200);
    WAIT_FOR(n_kept() == 2);
    answer_kept(2);
    WAIT_FOR(stats_of(s).pending == 0);
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_jobs_of_all_pools_go_on_beside_a_stream),
        RIG_TEST(test_a_slow_pool_leaves_threads),
        RIG_TEST(test_synchronous_calls_go_first),
        RIG_TEST(test_a_call_that_waited_too_long_is_not_run),
        RIG_TEST(test_a_limit_counts_calls_that_answer_later),
        RIG_TEST(test_at_most_once_is_stored_before_it_runs),
        RIG_TEST(test_at_most_once_does_not_run_again),
        RIG_TEST(test_at_most_once_that_has_not_begun_runs),
        RIG_TEST(test_at_most_once_waits_for_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
