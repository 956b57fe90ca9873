/* SPDX-License-Identifier: Apache-2.0 */
/* Lack of memory in a running server: the n-th allocation of any thread fails, once, for
 * each n that a job meets from its request to its delivery at the second attempt. A job
 * that was acknowledged ends all the same; a request that was refused was told so.
 *
 * The program is linked with --wrap for malloc, calloc and realloc, so that the calls of
 * the static floors are seen, those of shared libraries are not. */
#include "engine_rig.h"

static atomic_int fail_in; /* 1: the next allocation fails; 0: none does */

static bool fails_now(void)
{
    int n = fail_in;
    while (n > 0)
        if (atomic_compare_exchange_weak(&fail_in, &n, n - 1))
            return n == 1;
    return false;
}

#define RBK_FAILS_NOW
#include "../../support/failing_alloc.h"

/* --- The session --------------------------------------------------------------------------- */

enum { LAST = 400 };

/* Another host each time, so that it is looked up anew where that is on. */
static const char *method = "quick";

static void submit(rbk_server *s, const char *more, answer *a)
{
    static int host;
    char body[256];
    *a = (answer){.lock = PTHREAD_MUTEX_INITIALIZER};
    snprintf(body, sizeof body,
             "{\"id\":1,\"method\":\"%s\",\"params\":{\"p\":[1],\"$rpc.callback\":"
             "\"https://h%d.example.com/x\"%s}}", method, host++, more);
    if (rbk_server_handle(s, &(rbk_request){.body = rbk_str_z(body)}, on_reply, a) == 0)
        WAIT_FOR(a->count);
}

static bool all_ended(rbk_server *s)
{
    rbk_stats stats = stats_of(s);
    return stats.delivered == stats.accepted && stats.pending == 0;
}

/* A job whose first delivery fails. What was acknowledged is in the store, and what is in
 * the store ends. (Without memory for the acknowledgement itself, the caller gets a 503,
 * and may send the request again.) */
static void play_session(rbk_server *s, const char *more)
{
    answer a;
    uint64_t before = stats_of(s).accepted;
    int attempts = far_end.attempts;
    far_end.status = 500;
    submit(s, more, &a);
    assert_true(a.count <= 1);
    if (a.count && a.status == 200)
        assert_int_equal(stats_of(s).accepted, before + 1);
    else if (a.count)
        assert_int_equal(a.status, 503);
    if (stats_of(s).accepted > before)
        WAIT_FOR(far_end.attempts > attempts);
    receiver_says(200);
    WAIT_FOR(all_ended(s));
}

/* Nobody answers at the name server's port. */
static void fail_each(const char *more, const char *resolve)
{
    rbk_server *s = make_server();
    int n = 1;
    set(s, "callback.resolve", resolve);
    set(s, "callback.name_servers", "127.0.0.1:1");
    set(s, "delivery.schedule", "10ms,10ms,1s,1s,1s,1s,1s,1s,1s");
    start(s);
    WAIT_FOR(disk.scans > 0);
    for (bool quiet = false; n < LAST && !quiet; n++) {
        fail_in = n;
        play_session(s, more);
        quiet = atomic_exchange(&fail_in, 0) > 0; /* the session needs fewer than n */
    }
    assert_in_range(n, 30, LAST - 1);
    uint64_t before = stats_of(s).accepted;
    play_session(s, more); /* all is as before */
    assert_int_equal(stats_of(s).accepted, before + 1);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
    assert_int_equal(disk_stats().dead, 0);
}

static void test_each_allocation_of_a_job(void **state)
{
    (void)state;
    fail_each("", "no");
}

static void test_each_allocation_of_a_job_that_tells_of_its_progress(void **state)
{
    (void)state;
    method = "tell";
    fail_each(",\"$rpc.events\":[\"progress\"]", "no");
    method = "quick";
    assert_int_equal(tell_got, 0);
    assert_int_equal(tell_got_late, RBK_E_STATE);
}

/* It waits in the store: there is its claim too. */
static void test_each_allocation_of_a_delayed_job(void **state)
{
    (void)state;
    fail_each(",\"$rpc.delay\":0.02", "no");
}

static void test_each_allocation_of_a_job_that_waits_for_a_name(void **state)
{
    (void)state;
    fail_each("", "yes");
}

/* Two jobs of one order key, each with an idempotency key of its own: the second is blocked, released,
 * and in the end both are through. */
static void play_pair(rbk_server *s)
{
    static int pair;
    answer a = {.lock = PTHREAD_MUTEX_INITIALIZER};
    char body[512], one[200];
    snprintf(one, sizeof one, "\"method\":\"quick\",\"params\":{" CALLBACK ",\"$rpc.key\":\"k\","
             "\"$rpc.idempotencyKey\":\"%d", pair++);
    snprintf(body, sizeof body, "[{\"id\":1,%sa\"}},{\"id\":2,%sb\"}}]", one, one);
    if (rbk_server_handle(s, &(rbk_request){.body = rbk_str_z(body)}, on_reply, &a) == 0)
        WAIT_FOR(a.count);
    WAIT_FOR(all_ended(s));
}

static void test_each_allocation_of_jobs_of_one_key(void **state)
{
    (void)state;
    rbk_server *s = make_server();
    int n = 1;
    start(s);
    WAIT_FOR(disk.scans > 0);
    for (bool quiet = false; n < LAST && !quiet; n++) {
        fail_in = n;
        play_pair(s);
        quiet = atomic_exchange(&fail_in, 0) > 0;
    }
    assert_in_range(n, 60, LAST - 1);
    uint64_t before = stats_of(s).accepted;
    play_pair(s);
    assert_int_equal(stats_of(s).accepted, before + 2);
    WAIT_FOR(stats_of(s).in_memory == 0);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
    assert_int_equal(disk_stats().held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_each_allocation_of_a_job),
        RIG_TEST(test_each_allocation_of_a_job_that_tells_of_its_progress),
        RIG_TEST(test_each_allocation_of_a_delayed_job),
        RIG_TEST(test_each_allocation_of_a_job_that_waits_for_a_name),
        RIG_TEST(test_each_allocation_of_jobs_of_one_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
