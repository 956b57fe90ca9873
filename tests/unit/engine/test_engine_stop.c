/* SPDX-License-Identifier: Apache-2.0 */
/* Starts that fail halfway, and stops: in the middle of a commit, with calls that answer
 * later, never, or from a method that does not return. */
#include "core/job_state.h"

#include "engine_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* --- Threads that cannot be made -------------------------------------------------------- */

static atomic_int threads_left = INT32_MAX;

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    return threads_left-- > 0 ? __real_pthread_create(t, a, fn, arg) : EAGAIN;
}

static void test_a_start_without_threads_leaves_nothing(void **state)
{
    int n = 0, r = -1;
    (void)state;
    for (; r < 0 && n < 50; n++) {
        rbk_server *s = make_server();
        set(s, "server.threads", "2");
        threads_left = n;
        r = rbk_server_start(s);
        threads_left = INT32_MAX;
        if (r < 0)
            assert_int_equal(rbk_server_handle(s, &(rbk_request){0}, on_reply, NULL), RBK_E_STATE);
        rbk_server_free(s);
        assert_int_equal(disk.handles, 0);
    }
    assert_int_equal(r, 0);
    assert_true(n > 6); /* methods, the reaper, the reader, the store: all failed once */
}

/* --- Starts that fail ----------------------------------------------------------------------- */

static int listen_somewhere(uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static void test_the_second_address_is_taken(void **state)
{
    uint16_t taken;
    char list[64];
    int fd = listen_somewhere(&taken);
    rbk_server *s = make_server();
    (void)state;
    snprintf(list, sizeof list, "127.0.0.1:0,127.0.0.1:%u", taken);
    set(s, "server.listen", list);
    assert_true(rbk_server_start(s) < 0);
    assert_non_null(strstr(rbk_server_error(s), "127.0.0.1"));
    assert_int_equal(disk.handles, 0);
    assert_int_equal(rbk_server_start(s), RBK_E_STATE);
    rbk_server_free(s);
    close(fd);
}

/* Jobs recovered before the failure have begun to run; nothing is lost. */
static void test_a_recovery_that_fails_halfway(void **state)
{
    enum { JOBS = 600 };
    rbk_server *s = make_server();
    (void)state;
    set(s, "server.drain", "0");
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "more", .fn = keep}), 0);
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "most", .fn = keep}), 0);
    start(s);
    assert_int_equal(ask_jobs(s, "keep", JOBS / 3, false), 200);
    assert_int_equal(ask_jobs(s, "more", JOBS / 3, false), 200);
    assert_int_equal(ask_jobs(s, "most", JOBS / 3, false), 200);
    WAIT_FOR(n_kept() == JOBS); /* all of them on the job shelf */
    rbk_server_free(s);
    answer_kept(JOBS);
    disk_fail(&disk.recover, RBK_E_IO, 1, ANY_OP);
    s = make_server();
    assert_int_equal(rbk_server_start(s), RBK_E_IO);
    rbk_server_free(s);
    assert_int_equal(disk.handles, 0);
    assert_true(disk.recoveries > 2);
    assert_int_equal(far_end.attempts, 0);
    assert_int_equal(disk_stats().pending, JOBS);
    answer_kept(JOBS); /* those that had begun */
}

/* --- In the middle of a commit ----------------------------------------------------------------- */

static void *stop_server(void *arg)
{
    return rbk_server_stop(arg) == 0 ? NULL : arg;
}

static void test_a_stop_while_a_result_is_being_stored(void **state)
{
    rbk_server *s = run_server();
    pthread_t stopper;
    void *bad = s;
    (void)state;
    disk_gate(OP_BIT(RBK_OP_RESULT));
    assert_int_equal(ask_job(s, "quick", ""), 200);
    WAIT_FOR(disk_at_gate());
    assert_int_equal(pthread_create(&stopper, NULL, stop_server, s), 0);
    WAIT_FOR(far_end.closes > 0); /* the couriers have ended their attempts */
    disk.commit_ms = 100;         /* and have the time to go altogether */
    disk_gate(0);
    assert_int_equal(pthread_join(stopper, &bad), 0);
    assert_null(bad); /* what was under way, the run, was finished: 0 */
    rbk_server_free(s);
    rbk_job *job = disk_first_job();
    assert_non_null(job);
    assert_int_equal(job->state, RBK_JOB_DUE);
    assert_true(rbk_str_eqz(job->response, "{\"id\":1,\"result\":1}"));
    rbk_job_free(job);
    assert_int_equal(far_end.attempts, 0);
    disk.commit_ms = 0;
    s = run_server(); /* the next server delivers it, and does not run it again */
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
    assert_int_equal(quick_runs, 1);
    assert_int_equal(disk_stats().pending, 0);
}

/* --- Calls that answer later --------------------------------------------------------------------- */

/* Answers when the stop is at it: then requests are refused. */
static void *answer_during_the_stop(void *arg)
{
    answer a = {.lock = PTHREAD_MUTEX_INITIALIZER};
    rbk_request rq = {.body = RBK_STR("{\"id\":1,\"method\":\"none\"}")};
    while (rbk_server_handle(arg, &rq, on_reply, &a) == 0)
        usleep(1000);
    watch_for(50);
    answer_kept(2);
    return NULL;
}

static void test_the_drain_waits_for_late_answers(void **state)
{
    rbk_server *s = run_server();
    pthread_t t;
    answer a;
    (void)state;
    post(s, "{\"id\":1,\"method\":\"keep\"}", &a);
    WAIT_FOR(n_kept() == 1);
    assert_int_equal(ask_job(s, "keep", ""), 200);
    WAIT_FOR(n_kept() == 2);
    assert_int_equal(pthread_create(&t, NULL, answer_during_the_stop, s), 0);
    assert_int_equal(rbk_server_stop(s), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_int_equal(a.count, 1);
    assert_string_equal(a.body, "{\"id\":1,\"result\":2}");
    rbk_server_free(s);
    rbk_job *job = disk_first_job(); /* its result is stored */
    assert_non_null(job);
    assert_int_equal(job->state, RBK_JOB_DUE);
    rbk_job_free(job);
}

static void test_a_call_that_is_never_answered(void **state)
{
    rbk_server *s = make_server();
    answer a;
    (void)state;
    set(s, "server.drain", "100ms");
    start(s);
    post(s, "{\"id\":1,\"method\":\"keep\"}", &a);
    WAIT_FOR(n_kept() == 1);
    assert_int_equal(ask_job(s, "keep", ""), 200);
    WAIT_FOR(n_kept() == 2);
    assert_int_equal(rbk_server_stop(s), 1);
    assert_int_equal(a.count, 1);
    assert_string_equal(a.body, "{\"id\":1,\"error\":{\"code\":-32004,\"message\":\"Interrupted\"}}");
    rbk_server_free(s);
    assert_int_equal(answer_kept(2), RBK_E_STATE);
    assert_int_equal(a.count, 1);
    rbk_job *job = disk_first_job(); /* the job runs again, and that was no death */
    assert_non_null(job);
    assert_int_equal(job->state, RBK_JOB_QUEUED);
    assert_int_equal(job->runs, 0);
    rbk_job_free(job);
}

/* --- A method that does not return ------------------------------------------------------------------ */

static rbk_server *volatile left_behind; /* what it keeps is kept until the process ends */
static atomic_int stuck_may_go, stuck_result;

static void get_stuck(rbk_call *call, void *user)
{
    (void)user;
    rbk_call_ref(call);
    while (!stuck_may_go)
        usleep(1000);
    stuck_result = rbk_call_result(call, "1", 1);
    rbk_call_unref(call);
}

static void test_a_stuck_method(void **state)
{
    rbk_server *s = left_behind = make_server();
    answer a;
    (void)state;
    set(s, "server.drain", "10ms");
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "stuck", .fn = get_stuck}), 0);
    start(s);
    post(s, "{\"id\":1,\"method\":\"stuck\"}", &a);
    assert_int_equal(ask_job(s, "stuck", ""), 200);
    rbk_mono_ms began = rbk_mono_now();
    WAIT_FOR(stats_of(s).sync_calls == 1);
    assert_int_equal(rbk_server_stop(s), 1);
    rbk_server_free(s);
    assert_true(rbk_mono_now() - began < 10000);
    assert_int_equal(a.count, 1);
    assert_non_null(strstr(a.body, "error"));
    assert_int_equal(disk_stats().pending, 1);
    stuck_may_go = 1;
    WAIT_FOR(stuck_result == RBK_E_STATE);
    assert_int_equal(a.count, 1);
    s = run_server(); /* another server in the same process is not concerned */
    assert_int_equal(ask_job(s, "quick", ""), 200);
    WAIT_FOR(quick_runs == 1);
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_a_start_without_threads_leaves_nothing),
        RIG_TEST(test_the_second_address_is_taken),
        RIG_TEST(test_a_recovery_that_fails_halfway),
        RIG_TEST(test_a_stop_while_a_result_is_being_stored),
        RIG_TEST(test_the_drain_waits_for_late_answers),
        RIG_TEST(test_a_call_that_is_never_answered),
        RIG_TEST(test_a_stuck_method),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
