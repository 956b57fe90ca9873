/* SPDX-License-Identifier: Apache-2.0 */
/* Deliveries as the courier makes them, to a receiver that is played. */
#include "engine_rig.h"

#include "core/job_state.h"

static void test_a_failed_delivery_is_tried_again(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    far_end.status = 0;
    post_job(s, "quick", "", &a);
    WAIT_FOR(far_end.in_flight == 1);
    receiver_says(500);
    WAIT_FOR(far_end.attempts >= 2);
    receiver_says(204);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
    assert_true(far_end.attempts <= 5);
    for (int i = 0; i < far_end.attempts; i++) {
        seen at = receiver_saw((size_t)i);
        assert_string_equal(at.job, a.job);
        assert_int_equal(at.number, i + 1);
    }
    assert_int_equal(quick_runs, 1);
    assert_int_equal(disk_stats().pending, 0);
}

static void give_up(int status, uint32_t most, const char *reason)
{
    rbk_server *s = run_server();
    far_end.status = status;
    assert_int_equal(ask_job(s, "quick", ""), 200);
    WAIT_FOR(stats_of(s).dead == 1);
    assert_int_equal(stats_of(s).pending, 0);
    rbk_server_free(s);
    assert_in_range(far_end.attempts, most > 1 ? 2 : 1, most);
    rbk_job *job = disk_first_job();
    assert_non_null(job);
    assert_int_equal(job->state, RBK_JOB_DEAD);
    assert_int_equal(job->last_status, status);
    assert_int_equal(job->attempts, far_end.attempts);
    assert_true(rbk_str_eqz(job->reason, reason));
    rbk_job_free(job);
    assert_int_equal(disk_stats().dead, 1);
}

static void test_dead_at_the_end_of_the_schedule(void **state)
{
    (void)state;
    give_up(500, 5, "STATUS");
}

static void test_dead_when_the_receiver_is_gone(void **state)
{
    (void)state;
    give_up(410, 1, "GONE");
}

/* What was accepted under another policy goes dead, not out. */
static void test_the_policy_of_the_day(void **state)
{
    rbk_server *s = make_server();
    (void)state;
    set(s, "server.drain", "0");
    start(s);
    far_end.status = 0;
    assert_int_equal(ask_job(s, "quick", ""), 200);
    WAIT_FOR(far_end.in_flight == 1);
    rbk_server_free(s);
    far_end.status = 200;
    s = make_server();
    set(s, "callback.hosts", "example.org");
    start(s);
    WAIT_FOR(stats_of(s).dead == 1);
    rbk_server_free(s);
    assert_int_equal(far_end.attempts, 1);
    rbk_job *job = disk_first_job();
    assert_non_null(job);
    assert_int_equal(job->state, RBK_JOB_DEAD);
    assert_true(rbk_str_eqz(job->reason, "host not allowed"));
    rbk_job_free(job);
}

/* --- Many at a time ----------------------------------------------------------------------- */

static void post_to(rbk_server *s, const char *host, answer *a)
{
    char body[256];
    snprintf(body, sizeof body,
             "{\"id\":1,\"method\":\"quick\",\"params\":{\"$rpc.callback\":\"https://%s/\"}}", host);
    assert_int_equal(ask(s, body, a), 200);
}

static void test_a_receiver_has_its_share_alone(void **state)
{
    enum { JOBS = 40, SHARE = 3 };
    rbk_server *s = make_server();
    answer a;
    (void)state;
    set(s, "delivery.per_receiver", "3");
    start(s);
    far_end.status = 0;
    for (int i = 0; i < JOBS; i++)
        post_to(s, "slow.example.com", &a);
    WAIT_FOR(quick_runs == JOBS && far_end.in_flight == SHARE);
    post_to(s, "other.example.com", &a);
    WAIT_FOR(far_end.in_flight == SHARE + 1); /* nobody stands in its way */
    assert_string_equal(receiver_saw(SHARE).job, a.job);
    receiver_says(200);
    WAIT_FOR(stats_of(s).delivered == JOBS + 1);
    assert_int_equal(far_end.most_in_flight, SHARE + 1);
    rbk_server_free(s);
}

static void test_slots_in_all_are_bounded(void **state)
{
    enum { RECEIVERS = 20, SLOTS = 5 };
    rbk_server *s = make_server();
    answer a;
    (void)state;
    set(s, "delivery.in_flight", "5");
    set(s, "delivery.per_receiver", "5");
    start(s);
    far_end.status = 0;
    for (int i = 0; i < RECEIVERS; i++) {
        char host[32];
        snprintf(host, sizeof host, "r%d.example.com", i);
        post_to(s, host, &a);
    }
    WAIT_FOR(quick_runs == RECEIVERS && far_end.in_flight == SLOTS);
    receiver_says(200);
    WAIT_FOR(stats_of(s).delivered == RECEIVERS);
    assert_int_equal(far_end.most_in_flight, SLOTS);
    rbk_server_free(s);
}

/* A stop ends what is held; the store has it as due, without an attempt more. */
static void test_a_stop_ends_attempts(void **state)
{
    rbk_server *s = make_server();
    (void)state;
    set(s, "server.drain", "10ms");
    start(s);
    far_end.status = 0;
    assert_int_equal(ask_job(s, "quick", ""), 200);
    WAIT_FOR(far_end.in_flight == 1);
    assert_int_equal(rbk_server_stop(s), 1);
    assert_int_equal(far_end.in_flight, 0);
    rbk_server_free(s);
    rbk_job *job = disk_first_job();
    assert_non_null(job);
    assert_int_equal(job->state, RBK_JOB_DUE);
    assert_int_equal(job->attempts, 0);
    rbk_job_free(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_a_failed_delivery_is_tried_again),
        RIG_TEST(test_dead_at_the_end_of_the_schedule),
        RIG_TEST(test_dead_when_the_receiver_is_gone),
        RIG_TEST(test_the_policy_of_the_day),
        RIG_TEST(test_a_receiver_has_its_share_alone),
        RIG_TEST(test_slots_in_all_are_bounded),
        RIG_TEST(test_a_stop_ends_attempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
