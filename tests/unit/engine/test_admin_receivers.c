/* SPDX-License-Identifier: Apache-2.0 */
/* Receivers as an operator sees and holds them, and the numbers of an engine. */
#include "admin_rig.h"

static void test_a_held_receiver_gets_nothing(void **state)
{
    rbk_server *s = make_server();
    char id[40];
    (void)state;
    set(s, "delivery.schedule", "1h");
    start(s);
    hold_receiver(s, true);
    make_job(s, "quick", "", id);
    WAIT_FOR(receivers_of(s, "").first.queued == 1);
    receivers_answer held = receivers_of(s, "");
    assert_string_equal(held.first.name, RECEIVER);
    assert_true(held.first.held);
    assert_false(held.first.paused);
    watch_for(100);
    assert_int_equal(far_end.attempts, 0);
    hold_receiver(s, false);
    WAIT_FOR(stats_of(s).delivered == 1);
    WAIT_FOR(receivers_of(s, "").n == 0);
    rbk_server_free(s);
}

static rbk_server *run_patient(void)
{
    rbk_server *s = make_server();
    set(s, "delivery.schedule", "1h");
    start(s);
    return s;
}

static void test_a_hold_survives_a_restart(void **state)
{
    rbk_server *s = run_patient();
    (void)state;
    hold_receiver(s, true);
    assert_int_equal(ask_jobs(s, "quick", 300, false), 200); /* more than memory takes */
    WAIT_FOR(quick_runs == 300);
    rbk_server_free(s);
    assert_int_equal(far_end.attempts, 0);
    s = run_patient();
    WAIT_FOR(receivers_of(s, "").first.queued > 100);
    assert_true(receivers_of(s, "").first.held);
    assert_int_equal(receivers_of(s, RECEIVER).n, 0);
    watch_for(50);
    assert_int_equal(far_end.attempts, 0);
    hold_receiver(s, false);
    WAIT_FOR(stats_of(s).delivered == 300);
    rbk_server_free(s);
    s = run_patient();
    assert_int_equal(receivers_of(s, "").n, 0);
    rbk_server_free(s);
}

static void test_what_is_in_flight_is_finished(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    (void)state;
    far_end.status = 0;
    make_job(s, "quick", "", id);
    WAIT_FOR(far_end.in_flight == 1);
    hold_receiver(s, true);
    receiver_says(200);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
}

static void test_the_age_of_held_jobs_has_its_end(void **state)
{
    rbk_server *s = make_server();
    char id[40];
    (void)state;
    set(s, "delivery.max_age", "1s");
    start(s);
    hold_receiver(s, true);
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).dead == 1);
    assert_int_equal(state_of(s, id), RBK_JOB_DEAD);
    assert_int_equal(far_end.attempts, 0);
    rbk_server_free(s);
}

/* A retry by hand of a job is one thing, a receiver that is held another. */
static void test_a_retry_does_not_pass_a_hold(void **state)
{
    rbk_server *s = make_server();
    char id[40];
    (void)state;
    set(s, "delivery.schedule", "1h");
    start(s);
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).delivered == 1);
    hold_receiver(s, true);
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), 0);
    WAIT_FOR(receivers_of(s, "").first.queued == 1);
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, id), 0);
    assert_int_equal(state_of(s, id), RBK_JOB_CANCELLED);
    assert_int_equal(far_end.attempts, 1);
    rbk_server_free(s);
}

static void test_resuming_ends_a_pause(void **state)
{
    rbk_server *s = make_server();
    char id[40];
    (void)state;
    set(s, "delivery.schedule", "1h");
    set(s, "delivery.breaker", "2");
    start(s);
    far_end.status = 503;
    make_job(s, "quick", "", id);
    make_job(s, "quick", "", id);
    WAIT_FOR(receivers_of(s, "").first.paused);
    receivers_answer a = receivers_of(s, "");
    assert_int_equal(a.first.fails, 2);
    assert_string_equal(a.first.why, "STATUS 503");
    assert_in_range(a.first.probe_in_ms, 1, 30000);
    far_end.status = 200;
    hold_receiver(s, false);
    WAIT_FOR(stats_of(s).delivered == 2); /* what waits in the store is pulled forward too */
    rbk_server_free(s);
}

static void test_only_receivers_are_held(void **state)
{
    static const char *const names[] = {"", "example.com", "https://example.com",
                                        "https://example.com:443/x", "ftp://example.com:21",
                                        "https://EXAMPLE.com:443"};
    rbk_server *s = run_server();
    change_answer a = {0};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(rbk_engine_hold_receiver(rbk_server_engine(s), rbk_str_z(names[i]), true,
                                                  on_changed, &a), RBK_E_INVAL);
    assert_int_equal(a.count, 0);
    rbk_server_free(s);
}

/* --- Numbers ------------------------------------------------------------------------- */

static void test_numbers_of_deliveries(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    (void)state;
    far_end.status = 503;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).dead == 1);
    uint64_t failed = look_at(s, id).attempts;
    assert_true(failed > 1);
    far_end.status = 200;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).delivered == 1);
    answer a;
    ask(s, "{\"id\":1,\"method\":\"quick\","
           "\"params\":{\"$rpc.callback\":\"https://localhost/\"}}", &a);
    rbk_metrics m = metrics_of(s);
    assert_int_equal(m.attempts[RBK_ATTEMPT_SERVER_ERROR], failed);
    assert_int_equal(m.attempts[RBK_ATTEMPT_DELIVERED], 1);
    uint64_t n = 0;
    for (int i = 0; i < RBK_LATENCY_BUCKETS; i++)
        n += m.latency[i];
    assert_int_equal(n, 1);
    assert_int_equal(m.accepted, 2);
    assert_int_equal(m.refused, 1);
    WAIT_FOR(metrics_of(s).kept_done == 1 && metrics_of(s).kept_dead == 1);
    WAIT_FOR(metrics_of(s).oldest_due_ms == 0);
    assert_int_equal(metrics_of(s).stalled_ms, 0);
    rbk_server_free(s);
}

static void test_what_waits_grows_old(void **state)
{
    rbk_server *s = make_server();
    char id[40];
    (void)state;
    set(s, "delivery.schedule", "1h");
    start(s);
    hold_receiver(s, true);
    make_job(s, "quick", "", id);
    WAIT_FOR(metrics_of(s).oldest_due_ms > 200);
    WAIT_FOR(metrics_of(s).stalled_ms > 200);
    WAIT_FOR(metrics_of(s).due == 1 && metrics_of(s).receivers == 1);
    hold_receiver(s, false);
    WAIT_FOR(metrics_of(s).oldest_due_ms == 0);
    assert_int_equal(metrics_of(s).stalled_ms, 0);
    rbk_server_free(s);
}

static void test_readiness(void **state)
{
    rbk_server *s = make_server();
    (void)state;
    set(s, "store.max_pending", "1");
    start(s);
    assert_int_equal(rbk_engine_ready(rbk_server_engine(s)), 0);
    assert_int_equal(ask_job(s, "keep", ""), 200);
    assert_int_equal(rbk_engine_ready(rbk_server_engine(s)), RBK_E_BUSY);
    WAIT_FOR(n_kept() == 1);
    answer_kept(1);
    WAIT_FOR(rbk_engine_ready(rbk_server_engine(s)) == 0);
    rbk_engine_refuse(rbk_server_engine(s));
    assert_int_equal(rbk_engine_ready(rbk_server_engine(s)), RBK_E_BUSY);
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_a_held_receiver_gets_nothing),
        RIG_TEST(test_a_hold_survives_a_restart),
        RIG_TEST(test_what_is_in_flight_is_finished),
        RIG_TEST(test_the_age_of_held_jobs_has_its_end),
        RIG_TEST(test_a_retry_does_not_pass_a_hold),
        RIG_TEST(test_resuming_ends_a_pause),
        RIG_TEST(test_only_receivers_are_held),
        RIG_TEST(test_numbers_of_deliveries),
        RIG_TEST(test_what_waits_grows_old),
        RIG_TEST(test_readiness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
