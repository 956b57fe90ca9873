/* SPDX-License-Identifier: Apache-2.0 */
/* Idempotency keys through a server at work: one job, whoever asks, when, and how often. */
#include "engine_rig.h"

#define KEY ",\"$rpc.idempotencyKey\":\"order-1\""

static void expect_ack(const answer *a, const char *job)
{
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(a->body, "\"result\":{\"callback\""));
    if (job)
        assert_string_equal(a->job, job);
}

static void test_one_job(void **state)
{
    rbk_server *s = run_server();
    answer a, b, c;
    (void)state;
    post_job(s, "keep", KEY, &a);
    WAIT_FOR(a.count && n_kept() == 1);
    expect_ack(&a, NULL);
    /* another id, the first one's job, in the receipt too */
    ask(s, "{\"id\":\"mine\",\"method\":\"keep\",\"params\":{" CALLBACK KEY ",\"$rpc.receipt\":true}}", &b);
    expect_ack(&b, a.job);
    assert_non_null(strstr(b.body, "\"id\":\"mine\""));
    assert_non_null(strstr(b.body, a.job));
    ask(s, "{\"id\":2,\"method\":\"quick\",\"params\":{" CALLBACK KEY "}}", &c);
    assert_int_equal(c.status, 200);
    assert_string_equal(c.job, "");
    assert_non_null(strstr(c.body, "-32602"));
    assert_non_null(strstr(c.body, "{\"$rpc.idempotencyKey\":\"taken by another request\"}"));
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 1);
    post_job(s, "keep", KEY, &c);
    WAIT_FOR(c.count);
    expect_ack(&c, a.job);
    assert_int_equal(stats_of(s).accepted, 1);
    assert_int_equal(stats_of(s).pending, 0);
    assert_int_equal(stats_of(s).in_memory, 0);
    assert_int_equal(n_kept(), 1);
    rbk_server_free(s);
}

/* They stand in one inbox, and go into one commit. */
static void test_many_at_once(void **state)
{
    enum { MANY = 50 };
    rbk_server *s = run_server();
    answer gate, a[MANY];
    (void)state;
    disk_gate(OP_BIT(RBK_OP_PUT));
    post_job(s, "quick", "", &gate);
    WAIT_FOR(disk_at_gate());
    int before = disk.applies;
    for (int i = 0; i < MANY; i++)
        post_job(s, "keep", KEY, &a[i]);
    disk_gate(0);
    for (int i = 0; i < MANY; i++)
        WAIT_FOR(a[i].count);
    for (int i = 0; i < MANY; i++)
        expect_ack(&a[i], a[0].job);
    WAIT_FOR(n_kept() == 1);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 2);
    assert_true(disk.applies - before < MANY);
    assert_int_equal(stats_of(s).accepted, 2);
    WAIT_FOR(stats_of(s).in_memory == 0);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 0);
}

static void test_in_one_batch(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    ask(s, "[{\"id\":1,\"method\":\"quick\",\"params\":{" CALLBACK KEY "}},"
           "{\"id\":2,\"method\":\"quick\",\"params\":{" CALLBACK KEY "}},"
           "{\"id\":3,\"method\":\"quick\",\"params\":{\"a\":1," CALLBACK KEY "}},"
           "{\"method\":\"quick\",\"params\":{" CALLBACK KEY "}}]", &a);
    assert_int_equal(a.status, 200);
    assert_non_null(strstr(a.body, "{\"id\":1,\"result\":"));
    assert_non_null(strstr(a.body, "{\"id\":2,\"result\":"));
    assert_non_null(strstr(a.body, "{\"id\":3,\"error\":{\"code\":-32602,"));
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(quick_runs, 1);
    rbk_server_free(s);
}

/* Nobody knows whether the first commit was made; it was. */
static void test_commit_in_doubt(void **state)
{
    static const int errors[] = {RBK_E_UNKNOWN, RBK_E_IO};
    (void)state;
    for (int i = 0; i < 2; i++) {
        disk_wipe();
        quick_runs = 0;
        rbk_server *s = run_server();
        answer a, b;
        disk_set(&disk.apply, (fault){.err = errors[i], .left = 1, .kinds = OP_BIT(RBK_OP_PUT),
                                      .after = true});
        post_job(s, "quick", KEY, &a);
        WAIT_FOR(a.count);
        expect_ack(&a, NULL);
        assert_true(a.job[0]);
        post_job(s, "quick", KEY, &b);
        WAIT_FOR(b.count);
        expect_ack(&b, a.job);
        WAIT_FOR(stats_of(s).delivered == 1);
        assert_int_equal(quick_runs, 1);
        rbk_server_free(s);
    }
}

/* One that was refused has not taken its key. */
static void test_refused_takes_no_key(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    disk_fail(&disk.apply, RBK_E_DISK_FULL, 1, OP_BIT(RBK_OP_PUT));
    post_job(s, "quick", KEY, &a);
    WAIT_FOR(a.count);
    assert_int_equal(a.status, 503);
    WAIT_FOR(ask_job(s, "quick", KEY) == 200);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(stats_of(s).accepted, 1);
    rbk_server_free(s);
}

static void test_across_a_restart(void **state)
{
    (void)state;
    rbk_server *s = run_server();
    answer a, b;
    post_job(s, "quick", KEY, &a);
    WAIT_FOR(a.count);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
    s = run_server();
    post_job(s, "quick", KEY, &b);
    WAIT_FOR(b.count);
    expect_ack(&b, a.job);
    assert_int_equal(quick_runs, 1);
    rbk_server_free(s);
}

static void test_dedup_is_over(void **state)
{
    rbk_server *s = make_server();
    answer a, b;
    (void)state;
    set(s, "store.dedup", "0");
    start(s);
    post_job(s, "keep", KEY, &a);
    WAIT_FOR(n_kept() == 1);
    post_job(s, "keep", KEY, &b);
    WAIT_FOR(b.count);
    expect_ack(&b, a.job); /* until its end, all the same */
    answer_kept(1);
    WAIT_FOR(stats_of(s).pending == 0);
    post_job(s, "keep", KEY, &b);
    WAIT_FOR(n_kept() == 2);
    assert_string_not_equal(a.job, b.job);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 2);
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_one_job),
        RIG_TEST(test_many_at_once),
        RIG_TEST(test_in_one_batch),
        RIG_TEST(test_commit_in_doubt),
        RIG_TEST(test_refused_takes_no_key),
        RIG_TEST(test_across_a_restart),
        RIG_TEST(test_dedup_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
