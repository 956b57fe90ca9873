/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator is told when the disk has moods: never that something was done that was not,
 * and always something. */
#include "admin_rig.h"

/* The next commit with such an operation is made, and nobody can say so. */
static void doubt_once(rbk_op_kind kind)
{
    disk_set(&disk.apply, (fault){.err = RBK_E_UNKNOWN, .left = 1, .kinds = OP_BIT(kind),
                                  .after = true});
}

static void make_dead(rbk_server *s, char id[40])
{
    uint64_t dead = stats_of(s).dead;
    far_end.status = 410;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).dead == dead + 1);
    far_end.status = 200;
}

static void test_changes_in_doubt_are_made_once(void **state)
{
    rbk_server *s = run_server();
    char id[40], delayed[40];
    (void)state;
    make_dead(s, id);
    doubt_once(RBK_OP_REDRIVE);
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), 0);
    WAIT_FOR(stats_of(s).delivered == 1);
    doubt_once(RBK_OP_RESULT);
    make_job(s, "quick", ",\"$rpc.delay\":3600", delayed);
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, delayed), 0);
    WAIT_FOR(stats_of(s).delivered == 2);
    doubt_once(RBK_OP_PURGE);
    assert_int_equal(change_one(s, RBK_CHANGE_PURGE, id), 0);
    assert_false(look_at(s, id).found);
    WAIT_FOR(stats_of(s).in_memory == 0);
    assert_int_equal(stats_of(s).pending, 0);
    assert_int_equal(far_end.delivered, 2);
    rbk_server_free(s);
}

static void test_a_cancel_in_doubt_counts_once(void **state)
{
    rbk_server *s = make_server();
    char id[40];
    (void)state;
    set(s, "delivery.schedule", "1h");
    start(s);
    far_end.status = 500;
    make_job(s, "quick", "", id);
    WAIT_FOR(look_at(s, id).attempts == 1);
    doubt_once(RBK_OP_DONE);
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, id), 0);
    assert_int_equal(state_of(s, id), RBK_JOB_CANCELLED);
    assert_int_equal(stats_of(s).pending, 0);
    assert_int_equal(metrics_of(s).cancelled, 1);
    rbk_server_free(s);
}

/* Two operators at once: both have read the job before either change is made. */
static void change_twice(rbk_server *s, rbk_change_kind kind, const char *id, change_answer a[2])
{
    rbk_change change = {.kind = kind, .id = rbk_str_z(id)};
    answer other;
    disk_gate(OP_BIT(RBK_OP_PUT));
    post_job(s, "quick", ",\"$rpc.delay\":3600", &other);
    WAIT_FOR(disk_at_gate());
    begin_change(s, change, &a[0]);
    begin_change(s, change, &a[1]);
    look_at(s, id); /* read behind them */
    disk_gate(0);
    WAIT_FOR(other.count && a[0].count && a[1].count);
}

static void test_a_cancel_that_is_asked_for_twice_counts_once(void **state)
{
    rbk_server *s = make_server();
    change_answer a[2];
    char id[40];
    (void)state;
    set(s, "delivery.schedule", "1h");
    start(s);
    far_end.status = 500;
    make_job(s, "quick", "", id);
    WAIT_FOR(look_at(s, id).attempts == 1);
    change_twice(s, RBK_CHANGE_CANCEL, id, a);
    assert_int_equal(a[0].got.changed + a[1].got.changed, 1);
    assert_int_equal(a[0].got.err + a[1].got.err, RBK_E_STATE);
    assert_int_equal(metrics_of(s).cancelled, 1);
    assert_int_equal(stats_of(s).pending, 1); /* the other job */
    rbk_server_free(s);
}

static void test_a_retry_that_is_asked_for_twice_counts_once(void **state)
{
    rbk_server *s = run_server();
    change_answer a[2];
    char id[40];
    (void)state;
    make_dead(s, id);
    change_twice(s, RBK_CHANGE_RETRY, id, a);
    WAIT_FOR(stats_of(s).delivered == 1 && stats_of(s).in_memory == 0);
    assert_int_equal(stats_of(s).pending, 1); /* the other job */
    assert_int_equal(far_end.delivered, 1);
    rbk_server_free(s);
}

static void make_delivered(rbk_server *s, char id[40])
{
    uint64_t n = stats_of(s).delivered;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).delivered == n + 1);
}

/* Both have read that it was delivered; the job that the first sends once more is delivered
 * before the second comes to the store. */
static void test_a_retry_that_was_read_before_another_sends_nothing(void **state)
{
    rbk_server *s = run_server();
    change_answer a[2];
    answer other;
    char id[40];
    (void)state;
    make_delivered(s, id);
    disk_gate(OP_BIT(RBK_OP_PUT));
    post_job(s, "quick", ",\"$rpc.delay\":3600", &other);
    WAIT_FOR(disk_at_gate());
    begin_change(s, (rbk_change){.kind = RBK_CHANGE_RETRY, .id = rbk_str_z(id)}, &a[0]);
    look_at(s, id); /* read behind it */
    disk_get_gate(GET_AFTER);
    begin_change(s, (rbk_change){.kind = RBK_CHANGE_RETRY, .id = rbk_str_z(id)}, &a[1]);
    WAIT_FOR(disk_at_get_gate());
    disk_gate(0);
    WAIT_FOR(a[0].count && stats_of(s).delivered == 2);
    disk_get_gate(0);
    WAIT_FOR(a[1].count);
    assert_int_equal(a[0].got.err, 0);
    assert_int_equal(a[1].got.err, 0); /* it was sent since it was asked for */
    assert_int_equal(state_of(s, id), RBK_JOB_DELIVERED);
    WAIT_FOR(stats_of(s).in_memory == 0);
    assert_int_equal(far_end.delivered, 2);
    rbk_server_free(s);
}

/* Both are in one commit; the second reads the job again when it is delivered once more. */
static void retry_twice(rbk_server *s, const char *id, bool to, change_answer a[2])
{
    rbk_change change = {.kind = RBK_CHANGE_RETRY, .id = rbk_str_z(id)};
    int attempts = far_end.attempts;
    answer other;
    disk_gate(OP_BIT(RBK_OP_PUT));
    post_job(s, "quick", ",\"$rpc.delay\":3600", &other);
    WAIT_FOR(disk_at_gate());
    begin_change(s, change, &a[0]);
    if (to)
        change.to = RBK_STR("https://other.example/x");
    begin_change(s, change, &a[1]);
    look_at(s, id); /* read behind them */
    disk_get_gate(GET_BEFORE);
    disk_gate(0);
    WAIT_FOR(a[0].count && far_end.attempts == attempts + 1 && stats_of(s).in_memory == 0);
    disk_get_gate(0);
    WAIT_FOR(a[1].count);
    assert_int_equal(a[0].got.err, 0);
    assert_int_equal(far_end.attempts, attempts + 1);
}

static void test_a_retry_beside_one_that_was_delivered(void **state)
{
    rbk_server *s = run_server();
    change_answer a[2];
    char id[40];
    (void)state;
    make_delivered(s, id);
    retry_twice(s, id, false, a);
    assert_int_equal(a[1].got.err, 0);
    retry_twice(s, id, true, a); /* to somebody else it was not sent */
    assert_int_equal(a[1].got.err, RBK_E_STATE);
    assert_int_equal(state_of(s, id), RBK_JOB_DELIVERED);
    assert_int_equal(far_end.delivered, 3);
    rbk_server_free(s);
}

static void test_a_retry_beside_one_that_was_in_vain(void **state)
{
    rbk_server *s = run_server();
    change_answer a[2];
    char id[40];
    (void)state;
    make_dead(s, id);
    far_end.status = 410;
    retry_twice(s, id, false, a);
    assert_int_equal(a[1].got.err, RBK_E_STATE);
    assert_int_equal(state_of(s, id), RBK_JOB_DEAD);
    rbk_server_free(s);
}

static void on_job(void *user, const rbk_job *job, const rbk_attempt_note *notes, size_t n)
{
    atomic_int *found = user;
    (void)notes;
    (void)n;
    *found += job != NULL;
}

/* Every job of a page is to be read again: others who want to read are not refused. */
static void test_a_page_that_moves_keeps_nobody_from_reading(void **state)
{
    enum { JOBS = 1000 };
    rbk_server *s = run_server();
    change_answer a;
    char id[40];
    atomic_int found = 0;
    (void)state;
    make_job(s, "quick", ",\"$rpc.delay\":3600", id);
    for (int i = 1; i < JOBS; i++)
        assert_int_equal(ask_job(s, "quick", ",\"$rpc.delay\":3600"), 200);
    disk.elsewhere = true;
    disk_get_gate(GET_BEFORE);
    begin_change(s, (rbk_change){.kind = RBK_CHANGE_CANCEL}, &a);
    WAIT_FOR(disk.n_elsewhere == JOBS && disk_at_get_gate());
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(rbk_engine_get(rbk_server_engine(s), rbk_str_z(id), on_job, &found), 0);
    disk.elsewhere = false;
    disk_get_gate(0);
    WAIT_FOR(found == JOBS && a.count);
    assert_int_equal(a.got.changed, JOBS);
    WAIT_FOR(stats_of(s).delivered == JOBS && stats_of(s).in_memory == 0);
    rbk_server_free(s);
}

/* The reader has ended while they wait for it. */
static void test_a_stop_answers_a_page_that_moves(void **state)
{
    enum { JOBS = 50 };
    rbk_server *s = run_server();
    change_answer a;
    (void)state;
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(ask_job(s, "quick", ",\"$rpc.delay\":3600"), 200);
    disk.elsewhere = true;
    begin_change(s, (rbk_change){.kind = RBK_CHANGE_CANCEL}, &a);
    WAIT_FOR(disk.n_elsewhere >= JOBS);
    rbk_server_stop(s);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.got.changed, 0);
    rbk_server_free(s);
}

/* Its result comes while the operator cancels what has none. */
static void test_a_filter_does_not_mean_what_has_changed(void **state)
{
    rbk_server *s = run_server();
    rbk_job_filter queued = {.states = 1u << RBK_JOB_QUEUED};
    change_answer a;
    char id[40];
    (void)state;
    hold_receiver(s, true);
    make_job(s, "keep", "", id);
    WAIT_FOR(n_kept() == 1);
    disk_gate(OP_BIT(RBK_OP_RESULT));
    answer_kept(1);
    WAIT_FOR(disk_at_gate());
    begin_change(s, (rbk_change){.kind = RBK_CHANGE_CANCEL, .filter = &queued}, &a);
    assert_int_equal(state_of(s, id), RBK_JOB_QUEUED); /* read behind it */
    disk_gate(0);
    WAIT_FOR(a.count);
    assert_int_equal(a.got.changed, 0);
    assert_int_equal(a.got.skipped, 1);
    assert_int_equal(state_of(s, id), RBK_JOB_DUE);
    hold_receiver(s, false);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
}

static void test_without_room_there_is_only_less(void **state)
{
    rbk_server *s = run_server();
    char id[40], other[40];
    (void)state;
    make_dead(s, id);
    make_dead(s, other);
    disk_fail(&disk.apply, RBK_E_DISK_FULL, UNTIL_TOLD,
              OP_BIT(RBK_OP_PUT) | OP_BIT(RBK_OP_REDRIVE));
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), RBK_E_BUSY);
    assert_int_equal(state_of(s, id), RBK_JOB_DEAD);
    assert_int_equal(change_one(s, RBK_CHANGE_PURGE, other), 0);
    assert_int_equal(rbk_engine_ready(rbk_server_engine(s)), RBK_E_BUSY);
    disk_heal(&disk.apply);
    WAIT_FOR(rbk_engine_ready(rbk_server_engine(s)) == 0);
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), 0);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
}

static void test_without_a_disk_nothing_is_changed(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    change_answer a = {0};
    (void)state;
    make_dead(s, id);
    disk_fail(&disk.apply, RBK_E_IO, UNTIL_TOLD, ANY_OP);
    disk_fail(&disk.open, RBK_E_IO, UNTIL_TOLD, ANY_OP);
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), RBK_E_BUSY);
    assert_int_equal(rbk_engine_ready(rbk_server_engine(s)), RBK_E_IO);
    assert_false(look_at(s, id).found);
    assert_int_equal(rbk_engine_hold_receiver(rbk_server_engine(s), RBK_STR(RECEIVER), true,
                                              on_changed, &a), 0);
    WAIT_FOR(a.count);
    assert_int_equal(a.got.err, RBK_E_IO);
    rbk_server_free(s);
}

static void test_a_hold_that_is_not_durable_is_none(void **state)
{
    rbk_server *s = run_server();
    change_answer a = {0};
    (void)state;
    disk_fail(&disk.hold, RBK_E_DISK_FULL, 1, ANY_OP);
    assert_int_equal(rbk_engine_hold_receiver(rbk_server_engine(s), RBK_STR(RECEIVER), true,
                                              on_changed, &a), 0);
    WAIT_FOR(a.count);
    assert_int_equal(a.got.err, RBK_E_DISK_FULL);
    assert_int_equal(receivers_of(s, "").n, 0);
    assert_int_equal(ask_job(s, "quick", ""), 200);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
}

/* A sweep that fails is tried again, and holds nobody up. */
static void test_a_sweep_is_tried_again(void **state)
{
    rbk_server *s = make_server();
    char id[40];
    (void)state;
    set(s, "store.retention", "10ms");
    disk_fail(&disk.sweep, RBK_E_BUSY, 2, ANY_OP);
    start(s);
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).delivered == 1);
    WAIT_FOR(!look_at(s, id).found);
    assert_int_equal(disk.sweep.left, 0);
    rbk_server_free(s);
}

/* The same of jobs that grow too old in the store: most of these never came into memory. */
static void test_old_jobs_are_given_up_after_all(void **state)
{
    enum { JOBS = 1000 };
    rbk_server *s = make_server();
    (void)state;
    set(s, "delivery.max_age", "1s");
    disk_fail(&disk.aged, RBK_E_BUSY, 2, ANY_OP);
    start(s);
    hold_receiver(s, true);
    assert_int_equal(ask_jobs(s, "quick", JOBS, false), 200);
    WAIT_FOR(stats_of(s).dead == JOBS);
    assert_int_equal(disk.aged.left, 0);
    assert_int_equal(stats_of(s).pending, 0);
    assert_int_equal(far_end.attempts, 0);
    rbk_store_stats stats = disk_stats();
    assert_int_equal(stats.dead, JOBS);
    assert_int_equal(stats.pending, 0);
    rbk_server_free(s);
}

/* Jobs of a held receiver give their memory back as they are, and are sent when it is resumed. */
static void test_held_jobs_leave_memory(void **state)
{
    enum { JOBS = 500, FEW = 2 };
    rbk_server *s = make_server();
    (void)state;
    set(s, "delivery.max_age", "1h");
    start(s);
    hold_receiver(s, true);
    assert_int_equal(ask_jobs(s, "quick", JOBS, false), 200);
    WAIT_FOR(disk_stats().due == JOBS);
    WAIT_FOR(stats_of(s).in_memory <= FEW);
    assert_int_equal(disk_stats().due, JOBS);
    assert_int_equal(far_end.attempts, 0);
    int applies = disk.applies;
    watch_for(1500);
    assert_int_equal(disk.applies, applies); /* and stay where they are */
    hold_receiver(s, false);
    WAIT_FOR(stats_of(s).delivered == JOBS);
    assert_int_equal(far_end.attempts, JOBS);
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_changes_in_doubt_are_made_once),
        RIG_TEST(test_a_cancel_in_doubt_counts_once),
        RIG_TEST(test_a_cancel_that_is_asked_for_twice_counts_once),
        RIG_TEST(test_a_retry_that_is_asked_for_twice_counts_once),
        RIG_TEST(test_a_retry_that_was_read_before_another_sends_nothing),
        RIG_TEST(test_a_retry_beside_one_that_was_delivered),
        RIG_TEST(test_a_retry_beside_one_that_was_in_vain),
        RIG_TEST(test_a_page_that_moves_keeps_nobody_from_reading),
        RIG_TEST(test_a_stop_answers_a_page_that_moves),
        RIG_TEST(test_a_filter_does_not_mean_what_has_changed),
        RIG_TEST(test_without_room_there_is_only_less),
        RIG_TEST(test_without_a_disk_nothing_is_changed),
        RIG_TEST(test_a_hold_that_is_not_durable_is_none),
        RIG_TEST(test_a_sweep_is_tried_again),
        RIG_TEST(test_old_jobs_are_given_up_after_all),
        RIG_TEST(test_held_jobs_leave_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
