/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store_caller.c - what callers have pending: told when it changes, and at a start.
 * Over every backend; and at random over all of them at once, where what is told must be what SQL
 * finds in the whole file, and the same of each. */
#include "store_kit.h"

#include <sqlite3.h>
#include <time.h>

static void expect_count(kit *k, const char *caller, int64_t jobs, int64_t bytes)
{
    const struct kit_count *c = kit_count_of(k, rbk_str_z(caller));
    assert_int_equal(c->jobs, jobs);
    assert_int_equal(c->bytes, bytes);
}

/* What is told at a start is what was told last. */
static void expect_same_at_start(kit *k)
{
    static struct kit_count before[KIT_CALLERS];
    int n = k->n_counts;
    memcpy(before, k->counts, sizeof before);
    k->n_counts = 0;
    assert_int_equal(k->ops->count_callers(k->st, &k->err), 0);
    for (int i = 0; i < k->n_counts; i++)
        assert_true(k->counts[i].jobs > 0);
    for (int i = 0; i < n; i++)
        expect_count(k, before[i].name, before[i].jobs, before[i].bytes);
}

static void put(kit *k, rbk_job *job, rbk_shelf shelf)
{
    assert_int_equal(do_op(k, RBK_OP_PUT, 0, shelf, job), RBK_OUTCOME_OK);
}

static void test_life(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(1), b = make_job(2), c = make_job(3);
    b.caller = RBK_STR("B");
    put(k, &a, RBK_SHELF_JOB);
    expect_count(k, "shop", 1, bytes_of(&a));
    put(k, &b, RBK_SHELF_WAIT);
    put(k, &c, RBK_SHELF_WAIT);
    expect_count(k, "shop", 2, 2 * bytes_of(&a));
    expect_count(k, "B", 1, bytes_of(&b));
    a.state = DUE;
    a.response = RBK_STR("{\"result\":1}");
    assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, RBK_SHELF_WAIT, &a), RBK_OUTCOME_OK);
    expect_count(k, "shop", 2, bytes_of(&a) + bytes_of(&c));
    expect_same_at_start(k);
    assert_int_equal(do_op(k, RBK_OP_DEAD, DUE, 0, &a), RBK_OUTCOME_OK);
    expect_count(k, "shop", 1, bytes_of(&c));
    a.callback = RBK_STR("https://another.example/with/a/longer/path");
    assert_int_equal(do_op(k, RBK_OP_REDRIVE, RBK_JOB_DEAD, 0, &a), RBK_OUTCOME_OK);
    expect_count(k, "shop", 2, bytes_of(&a) + bytes_of(&c));
    expect_same_at_start(k);
    a.state = RBK_JOB_DELIVERED;
    rbk_store_op done = {.kind = RBK_OP_DONE, .from = DUE, .keep = true, .job = &a};
    assert_int_equal(do_one(k, &done), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &b), RBK_OUTCOME_OK);
    c.state = RBK_JOB_CANCELLED;
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &c), RBK_OUTCOME_OK);
    expect_count(k, "shop", 0, 0);
    expect_count(k, "B", 0, 0);
    expect_same_at_start(k);
}

/* One commit tells of each caller once, and of those alone that it changed. */
static void test_once_a_commit(void **state)
{
    kit *k = *state;
    enum { N = 40 };
    static rbk_job jobs[N];
    rbk_store_op ops[N];
    for (int i = 0; i < N; i++) {
        jobs[i] = make_job(i + 1);
        jobs[i].idem_key = jobs[i].order_key = RBK_STR_NONE;
        jobs[i].caller = i % 4 == 0   ? RBK_STR("a")
                         : i % 4 == 1 ? RBK_STR("b")
                         : i % 4 == 2 ? RBK_STR_NONE
                                      : RBK_STR("");
        ops[i] = (rbk_store_op){.kind = RBK_OP_PUT, .shelf = RBK_SHELF_JOB, .job = &jobs[i]};
    }
    assert_int_equal(k->ops->apply(k->st, ops, N, &k->err), 0);
    assert_int_equal(k->told, 2);
    expect_count(k, "a", N / 4, N / 4 * bytes_of(&jobs[0]));
    /* again, as when nobody knew whether it was done: nothing is new */
    assert_int_equal(k->ops->apply(k->st, ops, N, &k->err), 0);
    assert_int_equal(k->told, 2);
    /* nor when nothing counts differently */
    jobs[0].runs = 1;
    assert_int_equal(do_op(k, RBK_OP_RUNS, QUEUED, 0, &jobs[0]), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_PARK, QUEUED, RBK_SHELF_WAIT, &jobs[0]), RBK_OUTCOME_OK);
    assert_int_equal(k->told, 2);
    assert_int_equal(do_op(k, RBK_OP_DONE, QUEUED, 0, &jobs[1]), RBK_OUTCOME_OK);
    assert_int_equal(k->told, 3);
    expect_count(k, "b", N / 4 - 1, (N / 4 - 1) * bytes_of(&jobs[0]));
    expect_same_at_start(k);
}

static void test_duplicate_counts_nothing(void **state)
{
    kit *k = *state;
    rbk_job a = make_job(1), b = make_job(2);
    rbk_idem one = {.until = 1000}, two = {.until = 1000};
    rbk_store_op op = {.kind = RBK_OP_PUT, .now = 1, .job = &a, .idem = &one};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    op = (rbk_store_op){.kind = RBK_OP_PUT, .now = 2, .job = &b, .idem = &two};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_DUPLICATE);
    expect_count(k, "shop", 1, bytes_of(&a));
    assert_int_equal(do_op(k, RBK_OP_DEAD, QUEUED, 0, &b), RBK_OUTCOME_STALE);
    expect_count(k, "shop", 1, bytes_of(&a));
    assert_int_equal(k->told, 1);
}

/* What a HELD job is fed counts while it waits, and while it does not in what is made of it. */
static void test_fed(void **state)
{
    kit *k = *state;
    rbk_job one = make_job(10), two = make_job(11), held = make_job(20);
    one.idem_key = two.idem_key = held.idem_key = RBK_STR_NONE;
    one.chain = RBK_STR("f 0000000000000014 0\n");
    two.chain = RBK_STR("f 0000000000000014 1\n");
    held.chain = RBK_STR("n 2 1000\n");
    held.params = RBK_STR("[\"@FROM:x\",\"@FROM:y\"]");
    held.state = RBK_JOB_HELD;
    put(k, &one, RBK_SHELF_JOB);
    put(k, &two, RBK_SHELF_JOB);
    put(k, &held, RBK_SHELF_WAIT);
    one.state = two.state = DUE;
    one.response = RBK_STR("{\"id\":1,\"result\":[1,2,3]}");
    two.response = RBK_STR("{\"id\":2,\"result\":\"y\"}");
    assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, 0, &one), RBK_OUTCOME_OK);
    expect_count(k, "shop", 3, bytes_of(&one) + bytes_of(&two) - (int64_t)two.response.n +
                                   bytes_of(&held) + (int64_t)one.response.n);
    assert_int_equal(get_stats(k).pending_bytes, k->counts[0].bytes);
    expect_same_at_start(k);
    assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, 0, &two), RBK_OUTCOME_OK);
    rbk_job *got = get_job(k, &held);
    expect_count(k, "shop", 3, bytes_of(&one) + bytes_of(&two) + bytes_of(got));
    assert_int_equal(get_stats(k).pending_bytes, k->counts[0].bytes);
    rbk_job_free(got);
}

/* It is answered for itself, by a cancel, with a part in hand. */
static void test_fed_and_cancelled(void **state)
{
    kit *k = *state;
    rbk_job one = make_job(10), held = make_job(20);
    one.idem_key = held.idem_key = RBK_STR_NONE;
    one.chain = RBK_STR("f 0000000000000014 0\n");
    held.chain = RBK_STR("n 2 1000\n");
    held.state = RBK_JOB_HELD;
    put(k, &one, RBK_SHELF_JOB);
    put(k, &held, RBK_SHELF_WAIT);
    one.state = held.state = DUE;
    one.response = RBK_STR("{\"id\":1,\"result\":[1,2,3]}");
    held.response = RBK_STR("{\"id\":1,\"error\":{}}");
    assert_int_equal(do_op(k, RBK_OP_RESULT, QUEUED, 0, &one), RBK_OUTCOME_OK);
    assert_int_equal(do_op(k, RBK_OP_RESULT, RBK_JOB_HELD, RBK_SHELF_WAIT, &held), RBK_OUTCOME_OK);
    expect_count(k, "shop", 2, bytes_of(&one) + bytes_of(&held));
    assert_int_equal(get_stats(k).pending_bytes, k->counts[0].bytes);
    expect_same_at_start(k);
}

/* --- At random ------------------------------------------------------------------------------- */

enum { BACKENDS = 2, GROUP = 4, SEQS = 48, OPS = 12, ROUNDS = 500 };

static kit *kits[BACKENDS]; /* the last of them in a file */
static unsigned coin;
static int64_t top; /* the greatest seq of all */
static char big[5000];

static unsigned draw(unsigned n)
{
    coin = coin * 1664525u + 1013904223u;
    return (coin >> 8) % n;
}

static rbk_str draw_body(void)
{
    static const size_t sizes[] = {2, 2, 30, 300, 2048, 2049, 5000};
    return (rbk_str){big, sizes[draw(sizeof sizes / sizeof sizes[0])]};
}

/* A job and all about it follow from its seq: a group of four is a batch, whose last waits for two. */
static rbk_job job_of(int64_t seq)
{
    static const char *const callers[] = {NULL, "", "shop", "b", "c@d.e"};
    static char chains[SEQS][64], long_name[201];
    char *chain = chains[seq % SEQS];
    rbk_job job = make_job(seq);
    unsigned group = (unsigned)seq / GROUP;
    memset(long_name, 'n', 200);
    job.idem_key = job.order_key = RBK_STR_NONE;
    job.caller = group % 6 == 5 ? rbk_str_z(long_name)
                 : callers[group % 6] ? rbk_str_z(callers[group % 6])
                                      : RBK_STR_NONE;
    if (group % 2 == 0)
        return job;
    if (seq % GROUP < 2)
        snprintf(chain, sizeof chains[0], "f %016llx %d\n", (unsigned long long)seq / GROUP * GROUP + 3,
                 (int)(seq % GROUP));
    else if (seq % GROUP == 3)
        snprintf(chain, sizeof chains[0], "n 2 6000\n");
    else
        return job;
    if (seq % GROUP == 3) {
        job.state = RBK_JOB_HELD;
        job.params = RBK_STR("[\"@FROM:x\",\"@FROM:y\"]");
    }
    job.chain = rbk_str_z(chain);
    return job;
}

typedef struct draft {
    rbk_job job;
    rbk_idem idem;
    char key[32];
} draft;

static void draw_put(rbk_store_op *op, draft *d)
{
    op->shelf = d->job.state == RBK_JOB_HELD || draw(2) ? RBK_SHELF_WAIT : RBK_SHELF_JOB;
    if (d->job.chain.n)
        return;
    if (draw(4) == 0)
        d->job.params = draw_body();
    if (draw(4) == 0) {
        d->job.idem_key = draw(2) ? RBK_STR("i1") : RBK_STR("i2");
        d->idem = (rbk_idem){.until = op->now + 20};
        op->idem = &d->idem;
    }
    if (draw(3) == 0) {
        snprintf(d->key, sizeof d->key, "key:%d", (int)d->job.caller.n);
        d->job.order_key = RBK_STR("k");
        op->key = rbk_str_z(d->key);
    }
}

/* What could be next for the job that is stored, and now and then what could not. */
static void draw_change(rbk_store_op *op, draft *d, const rbk_job *stored)
{
    static const rbk_op_kind pending[] = {RBK_OP_RESULT, RBK_OP_RESULT, RBK_OP_RETRY, RBK_OP_PARK,
                                          RBK_OP_RUNS,   RBK_OP_DONE,   RBK_OP_DEAD};
    static const rbk_op_kind ended[] = {RBK_OP_REDRIVE, RBK_OP_PURGE, RBK_OP_DONE};
    bool over = stored->state == RBK_JOB_DEAD || rbk_job_is_terminal((rbk_job_state)stored->state);
    op->from = draw(12) ? stored->state : (uint8_t)(1 + draw(9));
    op->kind = over ? ended[draw(3)] : pending[draw(7)];
    op->shelf = draw(2) ? RBK_SHELF_WAIT : RBK_SHELF_JOB;
    d->job.lane = RBK_STR("send:r");
    d->job.due = 100;
    op->keep = draw(2);
    op->waiting = draw(4) == 0;
    if (op->kind == RBK_OP_RESULT) {
        d->job.state = DUE;
        d->job.response = draw(3) ? RBK_STR("{\"id\":1,\"result\":[7]}") : RBK_STR("{\"id\":1,\"error\":{}}");
        op->divert = draw(3) == 0;
        d->job.first_attempt = 1;
    }
    if (op->kind == RBK_OP_RESULT && d->job.chain.n == 0)
        d->job.response = draw_body();
    if (op->divert || (op->kind == RBK_OP_REDRIVE && draw(2)))
        d->job.callback = RBK_STR("https://another.example/callback/of/another/length");
    else if (op->kind == RBK_OP_REDRIVE)
        d->job.callback = RBK_STR_NONE;
    if (op->kind == RBK_OP_DONE)
        d->job.state = draw(2) ? RBK_JOB_DELIVERED : draw(2) ? RBK_JOB_COLLECTED : RBK_JOB_CANCELLED;
    if (d->job.state == RBK_JOB_COLLECTED)
        d->job.response = RBK_STR("{\"id\":1,\"result\":[8]}");
    if (op->kind == RBK_OP_RETRY || op->kind == RBK_OP_DEAD)
        d->job.attempts = 1 + draw(9);
}

/* A change of one of the last jobs, or a new group. Returns how many. */
static size_t draw_ops(rbk_store_op *op, draft *d, rbk_wall_ms now)
{
    bool new = top == GROUP - 1 || draw(6) == 0;
    for (size_t i = 0; i < (new ? GROUP : 1); i++) {
        int64_t seq = new ? ++top : top - draw(top < SEQS / 2 ? (unsigned)top : SEQS / 2);
        d[i] = (draft){.job = job_of(seq)};
        op[i] = (rbk_store_op){.kind = RBK_OP_PUT, .now = now, .job = &d[i].job};
        rbk_job *stored = new ? NULL : get_job(kits[0], &d[i].job);
        if (stored)
            draw_change(&op[i], &d[i], stored);
        else if (new)
            draw_put(&op[i], &d[i]);
        else
            op[i].kind = RBK_OP_DONE; /* it is gone */
        rbk_job_free(stored);
    }
    return new ? GROUP : 1;
}

/* All of the file, row by row. */
static const char scan[] =
    "SELECT caller,count(*),sum(n) FROM (SELECT caller,size+rsize AS n,1 FROM job UNION ALL "
    "SELECT caller,size+rsize,1 FROM wait) WHERE caller<>'' GROUP BY caller";
static const char scan_parts[] =
    "SELECT caller,sum(length(CAST(body AS BLOB))) FROM part JOIN (SELECT seq,caller FROM job "
    "UNION ALL SELECT seq,caller FROM wait) USING(seq) WHERE caller<>'' GROUP BY caller";

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    return s;
}

static rbk_str text_of(sqlite3_stmt *s)
{
    return (rbk_str){(const char *)sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0)};
}

static void expect_scan(sqlite3 *db, kit *k)
{
    static kit found; /* its counts alone */
    found.n_counts = 0;
    memset(found.counts, 0, sizeof found.counts);
    sqlite3_stmt *s = prepare(db, scan);
    while (sqlite3_step(s) == SQLITE_ROW)
        note_counted(&found, text_of(s), sqlite3_column_int64(s, 1), sqlite3_column_int64(s, 2));
    sqlite3_finalize(s);
    s = prepare(db, scan_parts);
    while (sqlite3_step(s) == SQLITE_ROW)
        kit_count_of(&found, text_of(s))->bytes += sqlite3_column_int64(s, 1);
    sqlite3_finalize(s);
    for (int i = 0; i < k->n_counts; i++) {
        const struct kit_count *c = kit_count_of(&found, rbk_str_z(k->counts[i].name));
        assert_int_equal(c->jobs, k->counts[i].jobs);
        assert_int_equal(c->bytes, k->counts[i].bytes);
    }
    assert_int_equal(found.n_counts, k->n_counts); /* nobody is there who was not told of */
}

static void expect_equal(void)
{
    rbk_store_stats a = get_stats(kits[0]), b = get_stats(kits[1]);
    assert_memory_equal(&a, &b, sizeof a);
    for (int i = 0; i < kits[0]->n_counts; i++) {
        const struct kit_count *c = &kits[0]->counts[i];
        expect_count(kits[1], c->name, c->jobs, c->bytes);
    }
}

/* Both take the same. Their outcomes are the same, so that they go on as one. */
static void apply_both(rbk_wall_ms now)
{
    static draft drafts[OPS];
    static rbk_store_op first[OPS], op[OPS];
    size_t n = 0, most = 1 + draw(OPS - GROUP);
    while (n < most)
        n += draw_ops(&first[n], &drafts[n], now);
    for (int b = 0; b < BACKENDS; b++) {
        memcpy(op, first, sizeof op);
        if (kits[b]->ops->apply(kits[b]->st, op, n, &kits[b]->err) < 0)
            fail_msg("%s: %s", kits[b]->dsn, kits[b]->err.detail);
        for (size_t i = 0; i < n && b; i++)
            assert_int_equal(op[i].outcome, first[i].outcome);
        for (size_t i = 0; i < n && b == 0; i++)
            first[i].outcome = op[i].outcome;
    }
}

static void move_shelves(rbk_wall_ms now)
{
    const rbk_store_keep keep = {.done_ms = 200, .dead_ms = 400, .done_bytes = INT64_MAX, .idem_ms = 50};
    rbk_wall_ms next, before = top - (int64_t)draw(SEQS);
    int n[BACKENDS];
    for (int b = 0; b < BACKENDS; b++) {
        kit *k = kits[b];
        rbk_job *jobs = NULL;
        n[b] = k->ops->claim(k->st, RBK_STR("send:r"), 1000, 2, &jobs, &next, &k->err);
        free_jobs(jobs);
        jobs = NULL;
        n[b] += 100 * k->ops->expired(k->st, 9000 + before, 2, &jobs, &next, &k->err);
        free_jobs(jobs);
        n[b] += 10000 * k->ops->sweep(k->st, &keep, now, 50, &k->err);
    }
    assert_int_equal(n[0], n[1]);
}

static void test_random(void **state)
{
    sqlite3 *db = NULL;
    const char *seed = getenv("RBK_SEED");
    (void)state;
    top = GROUP - 1;
    coin = seed ? (unsigned)strtoul(seed, NULL, 10) : (unsigned)time(NULL);
    printf("RBK_SEED=%u\n", coin);
    memset(big, 'x', sizeof big);
    memcpy(big, "\"", 1);
    const rbk_store_ops *const backends[BACKENDS] = {&rbk_store_memory, &rbk_store_sqlite};
    for (int b = 0; b < BACKENDS; b++) {
        void *one = NULL;
        kit_backend = backends[b];
        kit_set_up(&one);
        kits[b] = one;
    }
    assert_int_equal(sqlite3_open(kits[1]->dsn + strlen("sqlite:"), &db), SQLITE_OK);
    for (int i = 0; i < ROUNDS; i++) {
        apply_both(1000 + i);
        if (draw(8) == 0)
            move_shelves(1000 + i);
        expect_equal();
        if (draw(4) == 0)
            expect_scan(db, kits[1]);
        if (draw(100) == 0) {
            kits[1]->ops->close(kits[1]->st);
            assert_int_equal(kit_open(kits[1], &kits[1]->st), 0);
            expect_same_at_start(kits[1]);
            expect_same_at_start(kits[0]);
        }
    }
    sqlite3_close(db);
    for (int b = 0; b < BACKENDS; b++)
        kit_tear_down((void *[]){kits[b]});
}

/* The last backend's turn is the random one's too. */
static void test_random_once(void **state)
{
    if (kit_backend == &rbk_store_sqlite)
        test_random(state);
}

#define CASES                                                                                      \
    cmocka_unit_test_setup_teardown(test_life, kit_set_up, kit_tear_down),                         \
        cmocka_unit_test_setup_teardown(test_once_a_commit, kit_set_up, kit_tear_down),            \
        cmocka_unit_test_setup_teardown(test_duplicate_counts_nothing, kit_set_up, kit_tear_down), \
        cmocka_unit_test_setup_teardown(test_fed, kit_set_up, kit_tear_down),                      \
        cmocka_unit_test_setup_teardown(test_fed_and_cancelled, kit_set_up, kit_tear_down),        \
        cmocka_unit_test(test_random_once)

KIT_MAIN("store caller", CASES)
