/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store_list.c - which jobs a filter means, pages and their cursors, and held
 * receivers, over every backend. */
#include "store_kit.h"

/* All pages together, `page` jobs each; they must be exactly these. */
static void expect_list(kit *k, const rbk_job_filter *filter, size_t page, const int64_t *seqs,
                        int n)
{
    int64_t after = 0, next = -1;
    int got = 0;
    do {
        rbk_job *jobs = NULL;
        int r = k->ops->list(k->st, filter, after, page, &jobs, &next, &k->err);
        assert_true(r >= 0 && (size_t)r <= page);
        for (rbk_job *j = jobs; j; j = j->next) {
            assert_true(got < n);
            assert_int_equal(j->seq, seqs[got]);
            got++;
        }
        free_jobs(jobs);
        assert_true(next == 0 || next > after);
        after = next;
    } while (next);
    assert_int_equal(got, n);
}

static void put(kit *k, rbk_job *job, int64_t seq)
{
    job->seq = seq;
    job->rnd = seq + 1000000;
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, RBK_SHELF_WAIT, job), RBK_OUTCOME_OK);
}

#define EXPECT(filter_, ...)                                                                       \
    do {                                                                                           \
        rbk_job_filter f_ = filter_;                                                               \
        const int64_t want_[] = {0, ##__VA_ARGS__};                                                \
        int n_ = (int)(sizeof want_ / sizeof want_[0]) - 1;                                        \
        expect_list(k, &f_, 1000, want_ + 1, n_);                                                  \
        expect_list(k, &f_, 1, want_ + 1, n_);                                                     \
        expect_list(k, &f_, 2, want_ + 1, n_);                                                     \
    } while (0)
#define F(...) ((rbk_job_filter){__VA_ARGS__})

static void test_filters(void **state)
{
    kit *k = *state;
    EXPECT(F(0));
    rbk_job a = make_job(0);
    put(k, &a, 1);
    a.method = RBK_STR("Order.cancel");
    a.rpc_id = RBK_STR("7");
    put(k, &a, 2);
    a.method = RBK_STR("Ordering");
    a.caller = RBK_STR_NONE;
    a.rpc_id = RBK_STR_NONE;
    a.created = 200;
    put(k, &a, 3);
    a = make_job(0);
    a.created = 300;
    a.method = RBK_STR("Mail.send");
    put(k, &a, 4);
    put_on(k, 5, RBK_SHELF_DEAD);
    put_on(k, 6, RBK_SHELF_DONE);
    put_on(k, 7, RBK_SHELF_JOB);
    EXPECT(F(0), 1, 2, 3, 4, 5, 6, 7);
    EXPECT(F(.states = 1u << RBK_JOB_DEAD), 5);
    EXPECT(F(.states = 1u << RBK_JOB_DEAD | 1u << RBK_JOB_DELIVERED), 5, 6);
    EXPECT(F(.states = 1u << RBK_JOB_DELIVERED | 1u << RBK_JOB_CANCELLED), 6);
    EXPECT(F(.states = 1u << RBK_JOB_DELIVERED | 1u << QUEUED), 1, 2, 3, 4, 6, 7);
    EXPECT(F(.states = 1u << QUEUED), 1, 2, 3, 4, 7);
    EXPECT(F(.states = 1u << DUE));
    EXPECT(F(.method = RBK_STR("Order.run")), 1, 5, 6, 7);
    EXPECT(F(.method = RBK_STR("Order.*")), 1, 2, 5, 6, 7);
    EXPECT(F(.method = RBK_STR("Order*")), 1, 2, 3, 5, 6, 7);
    EXPECT(F(.method = RBK_STR("order.run")));
    EXPECT(F(.method = RBK_STR("*")), 1, 2, 3, 4, 5, 6, 7);
    EXPECT(F(.method = RBK_STR("Order")));
    EXPECT(F(.method = RBK_STR("")));
    EXPECT(F(.rpc_id = RBK_STR("7")), 2);
    EXPECT(F(.rpc_id = RBK_STR("\"7\"")));
    EXPECT(F(.caller = RBK_STR("shop")), 1, 2, 4, 5, 6, 7);
    EXPECT(F(.caller = RBK_STR("sho")));
    EXPECT(F(.from = 200), 3, 4);
    EXPECT(F(.to = 300), 1, 2, 3, 5, 6, 7);
    EXPECT(F(.from = 200, .to = 300), 3);
    EXPECT(F(.states = 1u << QUEUED, .method = RBK_STR("Order.*"), .caller = RBK_STR("shop"),
             .to = 150, .rpc_id = RBK_STR("\"a\"")), 1, 7);
}

/* By what is in the lane once it is sent, by the callback before. */
static void test_receivers(void **state)
{
    kit *k = *state;
    static const char *const callbacks[] = {"https://example.com/cb", "HTTPS://Example.COM:443/x?y",
                                            "https://example.com:8443/", "https://[2001:DB8::1]/",
                                            "wss://example.com/cb", "no url"};
    for (int64_t i = 0; i < 6; i++) {
        rbk_job a = make_job(0);
        a.callback = rbk_str_z(callbacks[i]);
        put(k, &a, i + 1);
    }
    EXPECT(F(.receiver = RBK_STR("https://example.com:443")), 1, 2);
    EXPECT(F(.receiver = RBK_STR("https://example.com:8443")), 3);
    EXPECT(F(.receiver = RBK_STR("https://[2001:db8::1]:443")), 4);
    EXPECT(F(.receiver = RBK_STR("wss://example.com:443")), 5);
    EXPECT(F(.receiver = RBK_STR("https://example.com")));
    EXPECT(F(.receiver = RBK_STR("")));
    /* redriven to another one, which has the lane; then it ends */
    rbk_job a = make_job(1);
    assert_int_equal(do_op(k, RBK_OP_DEAD, QUEUED, 0, &a), RBK_OUTCOME_OK);
    EXPECT(F(.receiver = RBK_STR("https://example.com:443")), 1, 2);
    a.lane = RBK_STR("send:https://other:443");
    a.callback = RBK_STR("https://other/");
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &a), RBK_OUTCOME_OK);
    EXPECT(F(.receiver = RBK_STR("https://example.com:443")), 2);
    EXPECT(F(.receiver = RBK_STR("https://other:443")), 1);
    assert_int_equal(do_op(k, RBK_OP_DEAD, DUE, 0, &a), RBK_OUTCOME_OK);
    EXPECT(F(.receiver = RBK_STR("https://other:443")), 1);
}

/* Pages of many jobs, of which few are meant; and pages of heavy ones, which are short. */
static void test_pages(void **state)
{
    kit *k = *state;
    enum { MANY = 3000, EVERY = 100, BIG = 3 << 20, HEAVY = 30 };
    static int64_t want[MANY / EVERY], heavy[HEAVY];
    static rbk_job jobs[MANY];
    static rbk_store_op ops[MANY];
    for (int i = 0; i < MANY; i++) {
        jobs[i] = make_job(i + 1);
        if (i % EVERY == 7) {
            want[i / EVERY] = i + 1;
            jobs[i].method = RBK_STR("Rare.one");
        }
        ops[i] = (rbk_store_op){.kind = RBK_OP_PUT, .shelf = RBK_SHELF_JOB, .job = &jobs[i]};
    }
    assert_int_equal(k->ops->apply(k->st, ops, MANY, &k->err), 0);
    rbk_job_filter rare = {.method = RBK_STR("Rare.*")}, fat = {.method = RBK_STR("Fat")};
    expect_list(k, &rare, 7, want, MANY / EVERY);
    expect_list(k, &rare, 5000, want, MANY / EVERY);
    char *body = calloc(1, BIG);
    assert_non_null(body);
    for (int i = 0; i < HEAVY; i++) {
        rbk_job a = make_job(0);
        a.method = RBK_STR("Fat");
        a.params = (rbk_str){body, BIG};
        heavy[i] = MANY + 1 + i;
        put(k, &a, heavy[i]);
    }
    free(body);
    expect_list(k, &fat, 1000, heavy, HEAVY);
    rbk_job *page = NULL;
    int64_t next = 0;
    int n = k->ops->list(k->st, &fat, 0, 1000, &page, &next, &k->err);
    assert_in_range(n, 2, HEAVY - 1); /* not all at once */
    assert_int_equal(next, heavy[n - 1]);
    free_jobs(page);
    n = k->ops->list(k->st, &(rbk_job_filter){0}, 0, 100000, &page, &next, &k->err);
    assert_int_equal(n, 1000); /* the bound of a page */
    assert_int_equal(next, 1000);
    free_jobs(page);
}

/* --- Held receivers ------------------------------------------------------------------------ */

static void expect_holds(kit *k, const char *after, size_t max, const char *const *want, int n)
{
    rbk_lane_due got[8];
    assert_int_equal(k->ops->holds(k->st, rbk_str_z(after), max, got, &k->err), n);
    for (int i = 0; i < n; i++)
        assert_string_equal(got[i].lane, want[i]);
}

static void hold(kit *k, const char *name, bool on)
{
    assert_int_equal(k->ops->hold(k->st, rbk_str_z(name), on, &k->err), 0);
}

static void test_holds(void **state)
{
    kit *k = *state;
    static const char *const all[] = {"https://a:443", "https://a:4430", "https://b:443"};
    char lane[RBK_LANE_MAX + 1];
    expect_holds(k, NULL, 8, NULL, 0);
    hold(k, all[2], true);
    hold(k, all[1], true);
    hold(k, all[0], true);
    hold(k, all[1], true); /* again */
    expect_holds(k, NULL, 8, all, 3);
    expect_holds(k, "", 2, all, 2);
    expect_holds(k, all[0], 8, all + 1, 2);
    expect_holds(k, all[0], 0, NULL, 0);
    expect_holds(k, "https://a:4", 8, all, 3);
    expect_holds(k, all[2], 8, NULL, 0);
    hold(k, all[1], false);
    hold(k, all[1], false);
    hold(k, "https://none:1", false);
    expect_holds(k, all[0], 8, all + 2, 1);
    memset(lane, 'h', sizeof lane);
    rbk_str name = {lane, RBK_LANE_MAX};
    assert_int_equal(k->ops->hold(k->st, name, true, &k->err), 0);
    name.n++;
    assert_int_equal(k->ops->hold(k->st, name, true, &k->err), RBK_E_INVAL);
    assert_int_equal(k->ops->hold(k->st, RBK_STR(""), true, &k->err), RBK_E_INVAL);
    assert_int_equal(k->ops->hold(k->st, RBK_STR("a\0b"), true, &k->err), RBK_E_INVAL);
}

#define CASES(X) X(test_filters) X(test_receivers) X(test_pages) X(test_holds)

#define X(t) {#t, t, kit_set_up, kit_tear_down, NULL},
KIT_MAIN("store list", CASES(X))
