/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator may do with jobs: look at them, send them again, cancel them in every state,
 * purge them; and how long ended ones are kept. */
#include "admin_rig.h"

#define ONCE "1h" /* a schedule: what fails once waits */

static rbk_server *run_with(const char *key, const char *value)
{
    rbk_server *s = make_server();
    set(s, key, value);
    start(s);
    WAIT_FOR(disk.scans > 0);
    return s;
}

/* A job whose first attempt has failed, and that waits for its second. */
static void make_waiting(rbk_server *s, char id[40])
{
    int attempts = far_end.attempts;
    far_end.status = 500;
    make_job(s, "quick", "", id);
    WAIT_FOR(far_end.attempts > attempts && look_at(s, id).attempts == 1);
}

/* --- Retry --------------------------------------------------------------------------- */

static void test_a_dead_job_is_sent_again_with_its_id(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    (void)state;
    far_end.status = 500;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).dead == 1);
    look dead = look_at(s, id);
    assert_int_equal(dead.state, RBK_JOB_DEAD);
    assert_int_equal(dead.n_notes, dead.attempts);
    assert_int_equal(dead.notes[0].number, 1);
    assert_int_equal(dead.notes[0].status, 500);
    assert_string_equal(dead.notes[0].reason, "STATUS");
    assert_true(dead.notes[0].at > 0 && dead.notes[0].ms >= 0);
    far_end.status = 200;
    int before = far_end.attempts;
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), 0);
    WAIT_FOR(stats_of(s).delivered == 1);
    seen again = receiver_saw((size_t)before);
    assert_string_equal(again.job, id);
    assert_int_equal(again.number, 1);
    assert_int_equal(state_of(s, id), RBK_JOB_DELIVERED);
    WAIT_FOR(stats_of(s).pending == 0 && stats_of(s).in_memory == 0);
    rbk_server_free(s);
}

static void test_a_delivered_job_is_sent_elsewhere(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    (void)state;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_changed got = change_all(s, (rbk_change){.kind = RBK_CHANGE_RETRY, .id = rbk_str_z(id),
                                                 .to = RBK_STR("https://example.org/y")});
    assert_int_equal(got.err, 0);
    WAIT_FOR(stats_of(s).delivered == 2);
    assert_string_equal(receiver_saw(1).job, id);
    assert_string_equal(look_at(s, id).callback, "https://example.org/y");
    assert_int_equal(stats_of(s).pending, 0);
    rbk_server_free(s);
}

static void test_elsewhere_is_checked_like_a_callback(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    (void)state;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_change change = {.kind = RBK_CHANGE_RETRY, .id = rbk_str_z(id),
                         .to = RBK_STR("https://127.0.0.1/")};
    rbk_error err = {0};
    change_answer a = {0};
    assert_int_equal(rbk_engine_change(rbk_server_engine(s), &change, on_changed, &a, &err),
                     RBK_E_PARAMS);
    assert_string_equal(err.text, "address not allowed");
    assert_int_equal(a.count, 0);
    change.id = RBK_STR("no id");
    change.to = RBK_STR_NONE;
    assert_int_equal(rbk_engine_change(rbk_server_engine(s), &change, on_changed, &a, &err),
                     RBK_E_INVAL);
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, "01900000-0000-7000-8000-000000000000"),
                     RBK_E_NOTFOUND);
    rbk_server_free(s);
}

static void test_what_waits_for_a_retry_is_sent_now(void **state)
{
    rbk_server *s = run_with("delivery.schedule", ONCE);
    char id[40];
    (void)state;
    make_waiting(s, id);
    far_end.status = 200;
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), 0);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(receiver_saw(1).number, 2);
    rbk_server_free(s);
}

static void test_what_waits_behind_a_pause_is_sent_now(void **state)
{
    rbk_server *s = make_server();
    char id[40];
    (void)state;
    set(s, "delivery.schedule", ONCE);
    set(s, "delivery.breaker", "1");
    start(s);
    far_end.status = 503;
    make_job(s, "quick", "", id);
    WAIT_FOR(receivers_of(s, "").first.paused);
    make_job(s, "quick", "", id);
    WAIT_FOR(receivers_of(s, "").first.queued == 1);
    far_end.status = 200;
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), 0);
    WAIT_FOR(state_of(s, id) == RBK_JOB_DELIVERED);
    rbk_server_free(s);
}

static void test_what_has_nothing_to_send_is_not_retried(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    (void)state;
    make_job(s, "keep", "", id);
    WAIT_FOR(n_kept() == 1);
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), RBK_E_STATE);
    assert_int_equal(change_one(s, RBK_CHANGE_PURGE, id), RBK_E_STATE);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == 1);
    rbk_server_free(s);
}

/* --- Cancel -------------------------------------------------------------------------- */

static void test_cancel_of_a_delayed_job(void **state)
{
    rbk_server *s = run_server();
    char id[40];
    (void)state;
    make_job(s, "quick", ",\"$rpc.delay\":3600", id);
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, id), 0);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_string_equal(look_at(s, id).response,
                        "{\"id\":1,\"error\":{\"code\":-32005,\"message\":\"Cancelled\"}}");
    assert_int_equal(quick_runs, 0);
    assert_int_equal(stats_of(s).pending, 0);
    rbk_server_free(s);
}

static void test_cancel_of_a_running_job(void **state)
{
    rbk_server *s = run_server();
    answer a;
    int lines = log_lines;
    (void)state;
    ask(s, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"keep\",\"params\":{" CALLBACK "}}", &a);
    WAIT_FOR(n_kept() == 1);
    assert_false(rbk_call_cancelled(keeper.calls[0]));
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, a.job), 0);
    assert_true(rbk_call_cancelled(keeper.calls[0]));
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_string_equal(look_at(s, a.job).response,
                        "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"error\":"
                        "{\"code\":-32005,\"message\":\"Cancelled\"}}");
    assert_int_equal(answer_kept(1), RBK_E_STATE);
    WAIT_FOR(stats_of(s).in_memory == 0);
    assert_int_equal(log_lines, lines); /* and nothing went wrong */
    assert_int_equal(far_end.delivered, 1);
    rbk_server_free(s);
}

static atomic_bool gate_open, at_gate;

static void wait_at_gate(rbk_call *call, void *user)
{
    (void)user;
    at_gate = true;
    WAIT_FOR(gate_open);
    rbk_call_result(call, "3", 1);
}

static void test_cancel_of_a_job_that_waits_for_a_thread(void **state)
{
    rbk_server *s = make_server();
    char first[40], id[40];
    (void)state;
    gate_open = at_gate = false;
    set(s, "method.threads", "1");
    assert_int_equal(rbk_server_method(s, &(rbk_method){.name = "gate", .fn = wait_at_gate}), 0);
    start(s);
    make_job(s, "gate", "", first);
    WAIT_FOR(at_gate); /* the only thread is taken */
    make_job(s, "quick", "", id);
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, id), 0);
    WAIT_FOR(stats_of(s).delivered == 1);
    gate_open = true;
    WAIT_FOR(stats_of(s).delivered == 2);
    assert_int_equal(quick_runs, 0);
    assert_non_null(strstr(look_at(s, id).response, "-32005"));
    WAIT_FOR(stats_of(s).in_memory == 0);
    rbk_server_free(s);
}

static void test_cancel_of_a_job_that_waits_for_a_retry(void **state)
{
    rbk_server *s = run_with("delivery.schedule", ONCE);
    char id[40];
    (void)state;
    make_waiting(s, id);
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, id), 0);
    assert_int_equal(state_of(s, id), RBK_JOB_CANCELLED);
    assert_int_equal(metrics_of(s).cancelled, 1);
    assert_int_equal(stats_of(s).pending, 0);
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, id), RBK_E_STATE);
    assert_int_equal(change_one(s, RBK_CHANGE_RETRY, id), RBK_E_STATE);
    assert_int_equal(far_end.attempts, 1);
    rbk_server_free(s);
}

static void test_cancel_of_a_job_behind_a_pause(void **state)
{
    rbk_server *s = make_server();
    char first[40], id[40];
    (void)state;
    set(s, "delivery.schedule", ONCE);
    set(s, "delivery.breaker", "1");
    start(s);
    far_end.status = 503;
    make_job(s, "quick", "", first);
    WAIT_FOR(receivers_of(s, "").first.paused);
    make_job(s, "quick", "", id);
    WAIT_FOR(receivers_of(s, "").first.queued == 1);
    assert_int_equal(change_one(s, RBK_CHANGE_CANCEL, id), 0);
    assert_int_equal(state_of(s, id), RBK_JOB_CANCELLED);
    assert_int_equal(receivers_of(s, "").first.queued, 0);
    assert_int_equal(far_end.attempts, 1);
    WAIT_FOR(stats_of(s).in_memory == 0);
    assert_int_equal(stats_of(s).pending, 1);
    rbk_server_free(s);
}

static void cancel_while_sending(int status, rbk_job_state end, int err)
{
    rbk_server *s = run_server();
    char id[40];
    change_answer a, second;
    far_end.status = 0;
    make_job(s, "quick", "", id);
    WAIT_FOR(far_end.in_flight == 1);
    begin_change(s, (rbk_change){.kind = RBK_CHANGE_CANCEL, .id = rbk_str_z(id)}, &a);
    begin_change(s, (rbk_change){.kind = RBK_CHANGE_CANCEL, .id = rbk_str_z(id)}, &second);
    WAIT_FOR(second.count || a.count); /* one of them waits for the end, the other does not */
    assert_int_equal((second.count ? second : a).got.err, RBK_E_BUSY);
    receiver_says(status);
    WAIT_FOR(a.count && second.count);
    assert_int_equal(a.got.err == RBK_E_BUSY ? second.got.err : a.got.err, err);
    assert_int_equal(state_of(s, id), end);
    WAIT_FOR(stats_of(s).in_memory == 0);
    assert_int_equal(stats_of(s).pending, 0);
    assert_int_equal(far_end.attempts, 1);
    rbk_server_free(s);
}

static void test_cancel_while_sending_in_vain(void **state)
{
    (void)state;
    cancel_while_sending(500, RBK_JOB_CANCELLED, 0);
}

static void test_cancel_while_sending_too_late(void **state)
{
    (void)state;
    cancel_while_sending(200, RBK_JOB_DELIVERED, RBK_E_STATE);
}

static void test_a_stop_answers_a_cancel_that_waits(void **state)
{
    rbk_server *s = make_server();
    char id[40];
    change_answer a;
    (void)state;
    set(s, "server.drain", "10ms");
    start(s);
    far_end.status = 0;
    make_job(s, "quick", "", id);
    WAIT_FOR(far_end.in_flight == 1);
    begin_change(s, (rbk_change){.kind = RBK_CHANGE_CANCEL, .id = rbk_str_z(id)}, &a);
    rbk_server_stop(s);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.got.err, RBK_E_BUSY);
    rbk_server_free(s);
    assert_int_equal(disk_stats().pending, 1);
}

static void test_cancel_of_a_notification_sends_nothing(void **state)
{
    rbk_server *s = run_server();
    answer a;
    (void)state;
    ask(s, "{\"method\":\"quick\",\"params\":{" CALLBACK ",\"$rpc.delay\":3600}}", &a);
    rbk_changed got = change_all(s, (rbk_change){.kind = RBK_CHANGE_CANCEL});
    assert_int_equal(got.changed, 1);
    assert_int_equal(stats_of(s).pending, 0);
    assert_int_equal(metrics_of(s).cancelled, 1);
    got = change_all(s, (rbk_change){.kind = RBK_CHANGE_RETRY});
    assert_int_equal(got.changed, 0);
    assert_int_equal(got.skipped, 1);
    assert_int_equal(far_end.attempts, 0);
    rbk_server_free(s);
}

/* --- Many ---------------------------------------------------------------------------- */

static void test_pages_of_a_filter(void **state)
{
    enum { JOBS = 250, PAGE = 100 };
    rbk_server *s = run_server();
    char id[40];
    size_t changed = 0;
    int pages = 0;
    (void)state;
    make_job(s, "keep", "", id);
    assert_int_equal(ask_jobs(s, "quick", JOBS, false), 200);
    WAIT_FOR(stats_of(s).delivered == JOBS);
    rbk_job_filter filter = {.states = 1u << RBK_JOB_DELIVERED, .method = RBK_STR("qui*")};
    rbk_changed got = {0};
    do {
        got = change_all(s, (rbk_change){.kind = RBK_CHANGE_PURGE, .filter = &filter,
                                         .after = got.next, .max = PAGE});
        assert_int_equal(got.err, 0);
        assert_true(got.changed <= PAGE);
        changed += got.changed;
        pages++;
    } while (got.next);
    assert_int_equal(changed, JOBS);
    assert_true(pages >= 3);
    assert_int_equal(disk_stats().done, 0);
    assert_int_equal(disk_stats().pending, 1);
    answer_kept(1);
    WAIT_FOR(stats_of(s).delivered == JOBS + 1);
    rbk_server_free(s);
}

typedef struct purge {
    rbk_server *s;
    atomic_int pages, changed;
    atomic_bool done;
} purge;

static void on_purged(void *user, const rbk_changed *got)
{
    purge *p = user;
    rbk_error err = {0};
    p->changed += (int)got->changed;
    p->pages++;
    if (got->next == 0 || got->err ||
        rbk_engine_change(rbk_server_engine(p->s), &(rbk_change){.kind = RBK_CHANGE_PURGE,
                                                                 .after = got->next},
                          on_purged, p, &err) < 0)
        p->done = true;
}

static void test_a_great_purge_holds_nobody_up(void **state)
{
    enum { BATCH = 1000, BATCHES = 20, FEW = 4 };
    rbk_server *s = run_server();
    rbk_error err = {0};
    purge p = {.s = s};
    int worst = 0, asked = 0; /* commits until the job's own: not until this thread hears of it */
    (void)state;
    for (int i = 0; i < BATCHES; i++)
        assert_int_equal(ask_jobs(s, "quick", BATCH, true), 204);
    WAIT_FOR(stats_of(s).pending == 0);
    assert_int_equal(disk_stats().done, BATCH * BATCHES);
    disk.commit_ms = 2;
    disk.most_ended = 0;
    rbk_change first = {.kind = RBK_CHANGE_PURGE};
    assert_int_equal(rbk_engine_change(rbk_server_engine(s), &first, on_purged, &p, &err), 0);
    while (!p.done) {
        int before = disk.applies;
        assert_int_equal(ask_job(s, "keep", ""), 200);
        int took = disk.put_at - before;
        worst = took > worst ? took : worst;
        asked++;
    }
    assert_int_equal(p.changed, BATCH * BATCHES);
    assert_true(asked > 5);
    assert_in_range(worst, 1, FEW);
    assert_in_range(disk.most_ended, 1, 500);
    answer_kept((size_t)asked);
    rbk_server_free(s);
}

/* --- Lists --------------------------------------------------------------------------- */

typedef struct listing {
    atomic_int count;
    int err;
    size_t n;
    int64_t next;
    char method[32];
} listing;

static void on_list(void *user, int err, const rbk_job *jobs, int64_t next)
{
    listing *l = user;
    l->err = err;
    for (; jobs; jobs = jobs->next) {
        l->n++;
        snprintf(l->method, sizeof l->method, "%.*s", (int)jobs->method.n, jobs->method.p);
    }
    l->next = next;
    l->count++;
}

static void test_a_list_goes_on_where_it_ended(void **state)
{
    rbk_server *s = run_server();
    listing a = {0}, b = {0};
    (void)state;
    assert_int_equal(ask_jobs(s, "quick", 5, false), 200);
    assert_int_equal(ask_job(s, "keep", ""), 200);
    WAIT_FOR(stats_of(s).delivered == 5);
    char method[] = "keep";
    rbk_job_filter filter = {.method = rbk_str_z(method)};
    assert_int_equal(rbk_engine_list(rbk_server_engine(s), &filter, 0, 10, on_list, &a), 0);
    memset(method, 'x', 4); /* the filter is the engine's own by now */
    WAIT_FOR(a.count);
    assert_int_equal(a.n, 1);
    assert_string_equal(a.method, "keep");
    assert_int_equal(rbk_engine_list(rbk_server_engine(s), NULL, 0, 4, on_list, &b), 0);
    WAIT_FOR(b.count);
    assert_int_equal(b.n, 4);
    assert_true(b.next > 0);
    assert_int_equal(rbk_engine_list(rbk_server_engine(s), NULL, b.next, 4, on_list, &b), 0);
    WAIT_FOR(b.count == 2);
    assert_int_equal(b.n, 6);
    assert_int_equal(b.next, 0);
    answer_kept(1);
    rbk_server_free(s);
}

/* --- Keeping ------------------------------------------------------------------------- */

static void test_nothing_is_kept_without_retention(void **state)
{
    rbk_server *s = run_with("store.retention", "0");
    char id[40];
    (void)state;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_false(look_at(s, id).found);
    rbk_server_free(s);
}

static void test_ended_jobs_go_by_age(void **state)
{
    rbk_server *s = run_with("store.retention", "300ms");
    char id[40];
    (void)state;
    make_job(s, "quick", "", id);
    WAIT_FOR(stats_of(s).delivered == 1);
    assert_int_equal(state_of(s, id), RBK_JOB_DELIVERED);
    WAIT_FOR(!look_at(s, id).found);
    rbk_server_free(s);
}

static void test_ended_jobs_go_by_bytes(void **state)
{
    rbk_server *s = run_with("store.retention_bytes", "2K");
    (void)state;
    assert_int_equal(ask_jobs(s, "quick", 100, false), 200);
    WAIT_FOR(stats_of(s).delivered == 100);
    WAIT_FOR(disk_stats().done_bytes <= 2048);
    assert_true(disk_stats().done > 0);
    rbk_server_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_a_dead_job_is_sent_again_with_its_id),
        RIG_TEST(test_a_delivered_job_is_sent_elsewhere),
        RIG_TEST(test_elsewhere_is_checked_like_a_callback),
        RIG_TEST(test_what_waits_for_a_retry_is_sent_now),
        RIG_TEST(test_what_waits_behind_a_pause_is_sent_now),
        RIG_TEST(test_what_has_nothing_to_send_is_not_retried),
        RIG_TEST(test_cancel_of_a_delayed_job),
        RIG_TEST(test_cancel_of_a_running_job),
        RIG_TEST(test_cancel_of_a_job_that_waits_for_a_thread),
        RIG_TEST(test_cancel_of_a_job_that_waits_for_a_retry),
        RIG_TEST(test_cancel_of_a_job_behind_a_pause),
        RIG_TEST(test_cancel_while_sending_in_vain),
        RIG_TEST(test_cancel_while_sending_too_late),
        RIG_TEST(test_a_stop_answers_a_cancel_that_waits),
        RIG_TEST(test_cancel_of_a_notification_sends_nothing),
        RIG_TEST(test_pages_of_a_filter),
        RIG_TEST(test_a_great_purge_holds_nobody_up),
        RIG_TEST(test_a_list_goes_on_where_it_ended),
        RIG_TEST(test_nothing_is_kept_without_retention),
        RIG_TEST(test_ended_jobs_go_by_age),
        RIG_TEST(test_ended_jobs_go_by_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
