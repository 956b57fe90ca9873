/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store_idem.c - idempotency keys, over every backend: who has a key, how long, and
 * that a PUT which is repeated is no duplicate of itself. */
#include "store_kit.h"

enum { NOW = 1000, UNTIL = 5000 };

/* A PUT at NOW with the key of make_job(), and the print of request `who`. */
typedef struct put {
    rbk_job job;
    rbk_idem idem;
    rbk_store_op op;
} put;

static void make_put(put *p, int64_t seq, char who)
{
    *p = (put){.job = make_job(seq), .idem = {.until = UNTIL}};
    memset(p->idem.print, who, sizeof p->idem.print);
    p->op = (rbk_store_op){.kind = RBK_OP_PUT, .shelf = RBK_SHELF_JOB, .now = NOW,
                           .idem = &p->idem, .job = &p->job};
}

static rbk_op_outcome do_put(kit *k, put *p)
{
    rbk_op_outcome first = do_one(k, &p->op);
    rbk_idem told = p->idem;
    assert_int_equal(do_one(k, &p->op), first); /* once more, nobody knowing */
    assert_memory_equal(&told, &p->idem, sizeof told);
    return first;
}

static void expect_ok(kit *k, int64_t seq, rbk_wall_ms now)
{
    put p;
    make_put(&p, seq, 'a');
    p.op.now = now;
    assert_int_equal(do_put(k, &p), RBK_OUTCOME_OK);
    expect_stored(k, &p.job);
}

static void expect_duplicate(kit *k, int64_t seq, int64_t of, rbk_wall_ms now)
{
    put p;
    rbk_store_stats before = get_stats(k), after;
    make_put(&p, seq, 'a');
    p.op.now = now;
    assert_int_equal(do_put(k, &p), RBK_OUTCOME_DUPLICATE);
    assert_int_equal(p.idem.seq, of);
    assert_int_equal(p.idem.rnd, make_job(of).rnd);
    assert_true(p.idem.same);
    assert_null(get_job(k, &p.job));
    after = get_stats(k);
    assert_memory_equal(&before, &after, sizeof after);
}

static void end_job(kit *k, int64_t seq, rbk_op_kind kind)
{
    rbk_job a = make_job(seq);
    a.state = kind == RBK_OP_DEAD ? RBK_JOB_DEAD : RBK_JOB_DELIVERED;
    rbk_store_op op = {.kind = kind, .from = QUEUED, .now = NOW, .job = &a};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
}

static void test_one_job_a_key(void **state)
{
    kit *k = *state;
    put other;
    expect_ok(k, 10, NOW);
    expect_duplicate(k, 11, 10, NOW);
    make_put(&other, 12, 'b');
    assert_int_equal(do_put(k, &other), RBK_OUTCOME_DUPLICATE);
    assert_int_equal(other.idem.seq, 10);
    assert_false(other.idem.same);
    expect_duplicate(k, 13, 10, NOW); /* the other request has changed nothing */
}

static void test_key_is_of_its_caller(void **state)
{
    kit *k = *state;
    const rbk_str callers[] = {RBK_STR("shop"), RBK_STR("shop2"), RBK_STR("sho"), RBK_STR_NONE};
    const rbk_str keys[] = {RBK_STR("once"), RBK_STR("Once"), RBK_STR("ponce"), RBK_STR("o\0ce"),
                            RBK_STR("\xc3\xa4")};
    int64_t seq = 10;
    for (int again = 0; again < 2; again++)
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 5; j++) {
                put p;
                make_put(&p, seq++, 'a');
                p.job.caller = callers[i];
                p.job.idem_key = keys[j];
                assert_int_equal(do_put(k, &p), again ? RBK_OUTCOME_DUPLICATE : RBK_OUTCOME_OK);
                if (again)
                    assert_int_equal(p.idem.seq, 10 + i * 5 + j);
            }
    put none; /* a job that asks for no key */
    make_put(&none, seq, 'a');
    none.op.idem = NULL;
    assert_int_equal(do_put(k, &none), RBK_OUTCOME_OK);
}

/* The first may be of the same transaction; so may all else. */
static void test_within_one_commit(void **state)
{
    kit *k = *state;
    put p[4];
    rbk_store_op ops[4];
    for (int i = 0; i < 4; i++)
        make_put(&p[i], 20 + i, i == 2 ? 'b' : 'a');
    p[3].job.idem_key = RBK_STR("twice");
    for (int again = 0; again < 2; again++) {
        for (int i = 0; i < 4; i++)
            ops[i] = p[i].op;
        assert_int_equal(k->ops->apply(k->st, ops, 4, &k->err), 0);
        assert_int_equal(ops[0].outcome, RBK_OUTCOME_OK);
        assert_int_equal(ops[1].outcome, RBK_OUTCOME_DUPLICATE);
        assert_int_equal(ops[2].outcome, RBK_OUTCOME_DUPLICATE);
        assert_int_equal(ops[3].outcome, RBK_OUTCOME_OK);
        assert_int_equal(p[1].idem.seq, 20);
        assert_true(p[1].idem.same);
        assert_int_equal(p[2].idem.seq, 20);
        assert_false(p[2].idem.same);
        assert_int_equal(get_stats(k).pending, 2);
    }
}

static void test_until_or_the_end(void **state)
{
    kit *k = *state;
    expect_ok(k, 10, NOW);
    expect_duplicate(k, 11, 10, UNTIL + 1); /* the job is pending */
    end_job(k, 10, RBK_OP_DONE);
    assert_int_equal(shelf_of(k, &(rbk_job){.seq = 10, .rnd = make_job(10).rnd}), -1);
    expect_duplicate(k, 12, 10, UNTIL - 1); /* it has gone, its time has not */
    expect_ok(k, 13, UNTIL);
    put p;
    make_put(&p, 14, 'a');
    assert_int_equal(do_put(k, &p), RBK_OUTCOME_DUPLICATE);
    assert_int_equal(p.idem.seq, 13); /* it has the key now */
}

static void test_dead_is_an_end(void **state)
{
    kit *k = *state;
    rbk_job back = make_job(10);
    expect_ok(k, 10, NOW);
    end_job(k, 10, RBK_OP_DEAD);
    expect_duplicate(k, 11, 10, UNTIL - 1);
    back.state = DUE;
    rbk_store_op op = {.kind = RBK_OP_REDRIVE, .from = RBK_JOB_DEAD, .now = NOW, .job = &back};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    expect_duplicate(k, 12, 10, UNTIL); /* pending again */
    back.state = RBK_JOB_DEAD;
    assert_int_equal(do_op(k, RBK_OP_DEAD, DUE, 0, &back), RBK_OUTCOME_OK);
    expect_ok(k, 13, UNTIL);
}

static int sweep(kit *k, rbk_wall_ms now, size_t max)
{
    rbk_store_keep keep = {.done_ms = INT64_MAX / 2, .dead_ms = INT64_MAX / 2,
                           .done_bytes = INT64_MAX, .idem_ms = 600000};
    int n = k->ops->sweep(k->st, &keep, now, max, &k->err);
    assert_true(n >= 0);
    return n;
}

static void test_key_outlives_its_job(void **state)
{
    kit *k = *state;
    expect_ok(k, 10, NOW);
    end_job(k, 10, RBK_OP_DEAD);
    rbk_job a = make_job(10);
    assert_int_equal(do_op(k, RBK_OP_PURGE, RBK_JOB_DEAD, 0, &a), RBK_OUTCOME_OK);
    assert_int_equal(sweep(k, UNTIL - 1, 100), 0);
    expect_duplicate(k, 11, 10, UNTIL - 1);
}

static void test_sweep(void **state)
{
    kit *k = *state;
    enum { KEYS = 1100, PENDING = 100 };
    char name[16];
    for (int i = 0; i < KEYS; i++) {
        put p;
        snprintf(name, sizeof name, "key-%d", i);
        make_put(&p, 10 + i, 'a');
        p.job.idem_key = rbk_str_z(name);
        p.idem.until = UNTIL + i % 7;
        assert_int_equal(do_one(k, &p.op), RBK_OUTCOME_OK);
        if (i >= PENDING)
            end_job(k, 10 + i, RBK_OP_DONE);
    }
    assert_int_equal(sweep(k, UNTIL - 1, 500), 0);
    assert_in_range(sweep(k, UNTIL, 500), 1, 200); /* one in seven */
    assert_int_equal(sweep(k, UNTIL + 10, 500), 500);
    assert_in_range(sweep(k, UNTIL + 10, 500), 400, 499);
    assert_int_equal(sweep(k, UNTIL + 10, 500), 0); /* pending ones were put off */
    for (int i = 0; i < PENDING; i++) {
        put p;
        snprintf(name, sizeof name, "key-%d", i);
        make_put(&p, 5000 + i, 'a');
        p.job.idem_key = rbk_str_z(name);
        p.op.now = UNTIL + 10;
        assert_int_equal(do_one(k, &p.op), RBK_OUTCOME_DUPLICATE);
        assert_int_equal(p.idem.seq, 10 + i);
    }
    assert_int_equal(sweep(k, UNTIL + 600020, 500), PENDING);
    end_job(k, 10, RBK_OP_DONE);
    assert_int_equal(sweep(k, UNTIL + 1200040, 500), PENDING);
    assert_int_equal(sweep(k, UNTIL + 1800060, 500), PENDING - 1);
}

static void test_survives_a_reopen(void **state)
{
    kit *k = *state;
    if (strcmp(k->ops->scheme, "memory") == 0)
        skip();
    expect_ok(k, 10, NOW);
    k->ops->close(k->st);
    k->st = NULL;
    assert_int_equal(kit_open(k, &k->st), 0);
    expect_duplicate(k, 11, 10, NOW);
    end_job(k, 10, RBK_OP_DONE);
    k->ops->close(k->st);
    k->st = NULL;
    assert_int_equal(kit_open(k, &k->st), 0);
    expect_duplicate(k, 12, 10, NOW);
    expect_ok(k, 13, UNTIL);
}

#define CASES(X)                                                                                   \
    X(test_one_job_a_key) X(test_key_is_of_its_caller) X(test_within_one_commit)                   \
    X(test_until_or_the_end) X(test_dead_is_an_end) X(test_key_outlives_its_job) X(test_sweep)     \
    X(test_survives_a_reopen)

#define X(t) {#t, t, kit_set_up, kit_tear_down, NULL},
KIT_MAIN("store idempotency keys", CASES(X))
