/* SPDX-License-Identifier: Apache-2.0 */
/* Order keys through a server at work: jobs of one key run and are sent one behind the other, others
 * go by, and memory holds none that waits. */
#include "engine_rig.h"

#include "base/id.h"

#define KEY ",\"$rpc.key\":\"a\""

/* A job of key `key`; its id goes to `ret`. */
static void put_job(rbk_server *s, const char *method, const char *key, char ret[40])
{
    answer a;
    char more[64];
    snprintf(more, sizeof more, ",\"$rpc.key\":\"%s\"", key);
    post_job(s, method, more, &a);
    WAIT_FOR(a.count);
    assert_int_equal(a.status, 200);
    assert_true(a.job[0]);
    strcpy(ret, a.job);
}

static void expect_seen(int n, char jobs[][40])
{
    assert_int_equal(far_end.attempts, n);
    for (int i = 0; i < n; i++)
        assert_string_equal(receiver_saw((size_t)i).job, jobs[i]);
}

/* Those that are held get a 200, the next ones are held again. Loop thread. */
static void take_held(void *transport)
{
    far_end.status = 200;
    answer_all(transport);
    far_end.status = 0;
}

static void test_one_runs_behind_the_other(void **state)
{
    rbk_server *s = run_server();
    char jobs[3][40];
    (void)state;
    far_end.status = 0; /* each attempt waits for its answer */
    for (int i = 0; i < 3; i++)
        put_job(s, "keep", "a", jobs[i]);
    WAIT_FOR(n_kept() == 1);
    watch_for(50);
    assert_int_equal(n_kept(), 1);
    assert_int_equal(disk_stats().held, 2);
    WAIT_FOR(stats_of(s).in_memory == 1);
    for (size_t i = 1; i <= 3; i++) {
        answer_kept(1);
        WAIT_FOR(n_kept() == (i < 3 ? i + 1 : 3));
    }
    WAIT_FOR(disk_stats().due == 3);
    watch_for(50);
    expect_seen(1, jobs); /* all have run; the first is on its way */
    for (int i = 1; i <= 3; i++) {
        WAIT_FOR(far_end.in_flight == 1);
        expect_seen(i, jobs);
        rbk_loop_call(far_end.transport.loop, take_held, &far_end.transport);
        WAIT_FOR(stats_of(s).delivered == (uint64_t)i);
    }
    WAIT_FOR(stats_of(s).in_memory == 0 && stats_of(s).pending == 0);
    rbk_server_free(s);
}

/* While the delivery of the first is tried again, the next runs, and is not sent. */
static void test_next_waits_for_the_retries(void **state)
{
    rbk_server *s = make_server();
    char jobs[2][40], other[40];
    (void)state;
    set(s, "delivery.schedule", "50ms,50ms,50ms,50ms,50ms,50ms,50ms,50ms,50ms");
    set(s, "delivery.breaker", "0");
    start(s);
    far_end.status = 503;
    put_job(s, "quick", "a", jobs[0]);
    put_job(s, "quick", "a", jobs[1]);
    WAIT_FOR(quick_runs == 2);
    WAIT_FOR(far_end.attempts >= 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(receiver_saw(i).job, jobs[0]);
    put_job(s, "quick", "b", other); /* the same receiver */
    WAIT_FOR(quick_runs == 3);
    far_end.status = 200;
    WAIT_FOR(stats_of(s).delivered == 3);
    int first = 0, second = 0;
    for (int i = 0; i < far_end.attempts; i++) {
        first = strcmp(receiver_saw((size_t)i).job, jobs[0]) == 0 ? i : first;
        second = strcmp(receiver_saw((size_t)i).job, jobs[1]) == 0 ? i : second;
    }
    assert_true(first < second);
    rbk_server_free(s);
}

static void test_dead_is_through(void **state)
{
    rbk_server *s = run_server();
    char jobs[2][40];
    (void)state;
    far_end.status = 410;
    put_job(s, "quick", "a", jobs[0]);
    WAIT_FOR(stats_of(s).dead == 1);
    put_job(s, "quick", "a", jobs[1]);
    WAIT_FOR(stats_of(s).dead == 2);
    expect_seen(2, jobs);
    rbk_server_free(s);
}

/* Neither a key's neighbours nor its backlog takes memory. */
static void test_backlog_of_one_key(void **state)
{
    enum { MANY = 1500 };
    rbk_server *s = run_server();
    answer a;
    char other[40];
    (void)state;
    char *body = malloc(MANY * 128), *p = body;
    for (int i = 0; i < MANY / 2; i++)
        p += sprintf(p, "%c{\"id\":1,\"method\":\"keep\",\"params\":{" CALLBACK KEY "}}", i ? ',' : '[');
    strcpy(p, "]");
    for (int i = 0; i < 2; i++)
        assert_int_equal(ask(s, body, &a), 200);
    free(body);
    WAIT_FOR(n_kept() == 1);
    WAIT_FOR(disk_stats().held == MANY - 1 && stats_of(s).in_memory == 1);
    put_job(s, "quick", "b", other);
    WAIT_FOR(stats_of(s).delivered == 1);
    for (size_t i = 1; i <= MANY; i++) {
        answer_kept(1);
        WAIT_FOR(n_kept() == (i < MANY ? i + 1 : MANY));
    }
    WAIT_FOR(stats_of(s).delivered == MANY + 1);
    char last[40] = "";
    for (int i = 0; i < SEEN_MAX; i++) {
        char *job = receiver_saw((size_t)i).job;
        if (strcmp(job, other) == 0)
            continue;
        assert_true(strcmp(last, job) < 0); /* ids rise with commits */
        strcpy(last, job);
    }
    rbk_server_free(s);
}

static void test_across_a_restart(void **state)
{
    char jobs[4][40];
    (void)state;
    rbk_server *s = make_server();
    set(s, "server.drain", "0");
    start(s);
    far_end.status = 0;
    for (int i = 0; i < 4; i++)
        put_job(s, i < 2 ? "quick" : "keep", "a", jobs[i]);
    WAIT_FOR(n_kept() == 1 && far_end.in_flight == 1 && disk_stats().due == 2);
    rbk_server_free(s); /* one is sent, one waits for that, one runs, one is held */
    far_end.attempts = 0;
    far_end.status = 200;
    s = run_server();
    WAIT_FOR(stats_of(s).delivered == 2);
    WAIT_FOR(n_kept() == 2);
    expect_seen(2, jobs);
    answer_kept(2);
    WAIT_FOR(n_kept() == 3);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 4);
    expect_seen(4, jobs);
    rbk_server_free(s);
}

/* Nobody knows whether the commit was made that released the next; it was, or it was not. */
static void test_commit_in_doubt(void **state)
{
    static const rbk_op_kind kinds[] = {RBK_OP_PUT, RBK_OP_RESULT, RBK_OP_DONE};
    static const int errors[] = {RBK_E_UNKNOWN, RBK_E_IO};
    (void)state;
    for (int i = 0; i < 12; i++) {
        char jobs[3][40];
        rig_set_up(NULL);
        rbk_server *s = run_server();
        far_end.status = 0;
        put_job(s, "keep", "a", jobs[0]);
        WAIT_FOR(n_kept() == 1);
        disk_set(&disk.apply, (fault){.err = errors[i / 6], .left = 1, .after = i % 2,
                                      .kinds = OP_BIT(kinds[i % 6 / 2])});
        put_job(s, "keep", "a", jobs[1]);
        put_job(s, "keep", "a", jobs[2]);
        for (size_t n = 1; n <= 3; n++) {
            answer_kept(1);
            WAIT_FOR(n_kept() == (n < 3 ? n + 1 : 3));
        }
        WAIT_FOR(disk_stats().due == 3 && far_end.in_flight == 1);
        receiver_says(200);
        WAIT_FOR(stats_of(s).delivered == 3);
        expect_seen(3, jobs);
        assert_int_equal(disk.apply.left, 0); /* the fault was met */
        WAIT_FOR(stats_of(s).in_memory == 0 && stats_of(s).pending == 0);
        rbk_server_free(s);
        rig_tear_down(NULL);
    }
}

static void test_notifications_have_their_place(void **state)
{
    rbk_server *s = run_server();
    answer a;
    char jobs[2][40];
    (void)state;
    far_end.status = 0;
    put_job(s, "keep", "a", jobs[0]);
    assert_int_equal(ask(s, "{\"method\":\"keep\",\"params\":{" CALLBACK KEY "}}", &a), 204);
    put_job(s, "keep", "a", jobs[1]);
    for (size_t n = 1; n <= 3; n++) {
        WAIT_FOR(n_kept() == n);
        answer_kept(1);
    }
    WAIT_FOR(disk_stats().due == 2 && far_end.in_flight == 1);
    receiver_says(200);
    WAIT_FOR(stats_of(s).delivered == 2);
    expect_seen(2, jobs);
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_one_runs_behind_the_other),
        RIG_TEST(test_next_waits_for_the_retries),
        RIG_TEST(test_dead_is_through),
        RIG_TEST(test_backlog_of_one_key),
        RIG_TEST(test_across_a_restart),
        RIG_TEST(test_commit_in_doubt),
        RIG_TEST(test_notifications_have_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
