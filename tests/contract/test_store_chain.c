/* SPDX-License-Identifier: Apache-2.0 */
/* contract/test_store_chain.c - jobs of a batch that wait for others, over every backend: the
 * transaction that stores a response feeds it on, once, and lets go who has all. */
#include "store_kit.h"

#include "core/chain.h"

enum { NOW = 1000 };

static const char ok_7[] = "{\"id\":1,\"result\":7}", failure[] = "{\"id\":1,\"error\":{}}";

/* A HELD job of seq 20 that needs what `params` name. */
static rbk_job make_held(const char *params, const char *chain)
{
    rbk_job job = make_job(20);
    job.state = RBK_JOB_HELD;
    job.order_key = job.idem_key = RBK_STR_NONE;
    job.params = rbk_str_z(params);
    job.chain = rbk_str_z(chain);
    job.due = INT64_MAX;
    return job;
}

static rbk_job make_parent(int64_t seq, const char *chain)
{
    rbk_job job = make_job(seq);
    job.order_key = job.idem_key = RBK_STR_NONE;
    job.chain = rbk_str_z(chain);
    return job;
}

static void put(kit *k, rbk_job *jobs, size_t n)
{
    rbk_store_op ops[4];
    for (size_t i = 0; i < n; i++)
        ops[i] = (rbk_store_op){.kind = RBK_OP_PUT, .now = NOW, .job = &jobs[i],
                                .shelf = jobs[i].state == RBK_JOB_HELD ? RBK_SHELF_WAIT : RBK_SHELF_JOB};
    assert_int_equal(k->ops->apply(k->st, ops, n, &k->err), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ops[i].outcome, RBK_OUTCOME_OK);
}

/* The response of `parent` is stored; again, as after an UNKNOWN, nothing more happens. */
static void answer(kit *k, rbk_job *parent, const char *response)
{
    parent->state = DUE;
    parent->response = rbk_str_z(response);
    rbk_store_op op = {.kind = RBK_OP_RESULT, .from = QUEUED, .now = NOW, .job = parent};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    rbk_store_stats before = get_stats(k);
    op.again = true;
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    rbk_store_stats after = get_stats(k);
    assert_memory_equal(&before, &after, sizeof after);
}

static rbk_job *expect_state(kit *k, const rbk_job *job, uint8_t state)
{
    rbk_job *got = get_job(k, job);
    assert_non_null(got);
    assert_int_equal(got->state, state);
    return got;
}

static void expect_held(kit *k, const rbk_job *job)
{
    rbk_job *none = NULL;
    rbk_wall_ms next = 0;
    rbk_job_free(expect_state(k, job, RBK_JOB_HELD));
    assert_int_equal(k->ops->claim(k->st, job->lane, INT64_MAX - 1, 10, &none, &next, &k->err), 0);
}

static rbk_job *claim_one(kit *k, rbk_str lane)
{
    rbk_job *got = NULL;
    rbk_wall_ms next = 0;
    assert_int_equal(k->ops->claim(k->st, lane, NOW, 10, &got, &next, &k->err), 1);
    return got;
}

static void expect_counts(kit *k, int64_t held, int64_t queued, int64_t due)
{
    rbk_store_stats s = get_stats(k);
    assert_int_equal(s.held, held);
    assert_int_equal(s.queued, queued);
    assert_int_equal(s.due, due);
}

static void test_one_parent(void **state)
{
    kit *k = *state;
    rbk_job jobs[] = {make_parent(10, "f 0000000000000014 0\n"),
                      make_held("{\"a\":\"@FROM:x\"}", "f 0000000000000099 3\nn 1 1000\n")};
    put(k, jobs, 2);
    expect_held(k, &jobs[1]);
    expect_counts(k, 1, 1, 0);
    rbk_store_stats before = get_stats(k);
    answer(k, &jobs[0], ok_7);
    expect_counts(k, 0, 1, 1);
    rbk_job *got = claim_one(k, jobs[1].lane);
    assert_true(rbk_str_eqz(got->params, "{\"a\":7}"));
    assert_true(rbk_str_eqz(got->chain, "f 0000000000000099 3\nc 1\n"));
    assert_int_equal(got->state, QUEUED);
    assert_int_equal(get_stats(k).pending_bytes,
                     before.pending_bytes + (int64_t)strlen(ok_7) + bytes_of(got) - bytes_of(&jobs[1]));
    rbk_job_free(got);
}

static void test_two_parents(void **state)
{
    kit *k = *state;
    rbk_job jobs[] = {make_parent(10, "f 0000000000000014 0\n"), make_parent(11, "f 0000000000000014 1\n"),
                      make_held("[\"@FROM:x\",\"@FROM:y\",\"@FROM:x\"]", "n 2 1000\n")};
    put(k, jobs, 3);
    answer(k, &jobs[1], "{\"id\":2,\"result\":{\"b\":2.50}}");
    expect_held(k, &jobs[2]);
    answer(k, &jobs[0], ok_7);
    rbk_job *got = claim_one(k, jobs[2].lane);
    assert_true(rbk_str_eqz(got->params, "[7,{\"b\":2.50},7]"));
    assert_true(rbk_str_eqz(got->chain, "c 1\n"));
    rbk_job_free(got);
}

static void test_failure_does_not_wait(void **state)
{
    kit *k = *state;
    rbk_job jobs[] = {make_parent(10, "f 0000000000000014 0\n"), make_parent(11, "f 0000000000000014 1\n"),
                      make_held("{\"p\":\"@FROM:x\",\"q\":\"@FROM:y\"}", "n 2 1000\n")};
    put(k, jobs, 3);
    answer(k, &jobs[1], failure);
    rbk_job *got = claim_one(k, jobs[2].lane);
    assert_true(rbk_str_eqz(rbk_chain_fault(got->chain), "{\"q\":\"the member y has no result\"}"));
    rbk_job_free(got);
    answer(k, &jobs[0], ok_7); /* too late, and nobody's */
    got = expect_state(k, &jobs[2], QUEUED);
    assert_true(rbk_str_eqz(got->params, "{\"p\":\"@FROM:x\",\"q\":\"@FROM:y\"}"));
    rbk_job_free(got);
}

static void test_large(void **state)
{
    kit *k = *state;
    char big[6000] = "{\"id\":1,\"result\":{\"t\":\"";
    memset(big + strlen(big), 'x', 5000);
    strcat(big, "\"}}");
    rbk_job jobs[] = {make_parent(10, "f 0000000000000014 0\n"), make_parent(11, "f 0000000000000014 1\n"),
                      make_held("[\"@FROM:x(t)\",\"@FROM:y(t)\"]", "n 2 20000\n")};
    put(k, jobs, 3);
    answer(k, &jobs[0], big);
    answer(k, &jobs[1], big);
    rbk_job *got = claim_one(k, jobs[2].lane);
    assert_int_equal(got->params.n, 2 * 5002 + 3);
    rbk_job_free(got);
}

static void test_too_large(void **state)
{
    kit *k = *state;
    rbk_job jobs[] = {make_parent(10, "f 0000000000000014 0\n"),
                      make_held("{\"a\":\"@FROM:x\"}", "n 1 4\n")};
    put(k, jobs, 2);
    answer(k, &jobs[0], ok_7);
    rbk_job *got = claim_one(k, jobs[1].lane);
    assert_true(rbk_chain_fault(got->chain).n > 0);
    rbk_job_free(got);
}

static void test_cancelled_child(void **state)
{
    kit *k = *state;
    rbk_job jobs[] = {make_parent(10, "f 0000000000000014 0\n"), make_parent(11, "f 0000000000000014 1\n"),
                      make_held("[\"@FROM:x\",\"@FROM:y\"]", "n 2 1000\n")};
    put(k, jobs, 3);
    answer(k, &jobs[0], ok_7);
    rbk_job child = jobs[2];
    child.state = DUE;
    child.response = rbk_str_z(failure);
    child.lane = RBK_STR("send:x");
    child.due = NOW;
    rbk_store_op op = {.kind = RBK_OP_RESULT, .from = RBK_JOB_HELD, .shelf = RBK_SHELF_WAIT,
                       .waiting = true, .now = NOW, .job = &child};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    answer(k, &jobs[1], ok_7);
    rbk_job *got = expect_state(k, &child, DUE);
    assert_true(rbk_str_eqz(got->response, failure));
    rbk_job_free(got);
}

static void test_whole_batch(void **state)
{
    kit *k = *state;
    rbk_job jobs[] = {make_parent(10, "f 0000000000000014 0\n"), make_parent(11, "f 0000000000000014 2\n"),
                      make_held("[null,{\"id\":5,\"error\":{}},null]", "n 2 1000\n")};
    jobs[0].flags = jobs[1].flags = RBK_JOB_MEMBER;
    jobs[2].flags = RBK_JOB_BATCH;
    jobs[2].lane = RBK_STR("send:https://x:443");
    put(k, jobs, 3);
    for (int i = 1; i >= 0; i--) { /* the last one first; an error is a part like any other */
        jobs[i].state = RBK_JOB_COLLECTED;
        jobs[i].response = rbk_str_z(i ? failure : ok_7);
        rbk_store_op op = {.kind = RBK_OP_DONE, .from = QUEUED, .keep = i == 1, .now = NOW, .job = &jobs[i]};
        assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
        op.again = true;
        assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
        if (i)
            expect_held(k, &jobs[2]);
    }
    rbk_job *got = claim_one(k, jobs[2].lane);
    assert_int_equal(got->state, DUE);
    assert_int_equal(got->first_attempt, NOW);
    assert_true(rbk_str_eqz(got->response, "[{\"id\":1,\"result\":7},{\"id\":5,\"error\":{}},{\"id\":1,\"error\":{}}]"));
    rbk_job_free(got);
    expect_counts(k, 0, 0, 1);
}

/* Nobody, somebody who does not wait, and delivery, which is no response. */
static void test_nobody(void **state)
{
    kit *k = *state;
    rbk_job jobs[] = {make_parent(10, "f 0000000000000000 0\nf 0000000000000077 0\nf 000000000000000a 0\n"),
                      make_parent(11, "f 0000000000000014 0\n"),
                      make_held("[\"@FROM:x\"]", "n 1 1000\n")};
    put(k, jobs, 3);
    answer(k, &jobs[0], ok_7);
    jobs[1].state = RBK_JOB_CANCELLED;
    rbk_store_op op = {.kind = RBK_OP_DONE, .from = QUEUED, .now = NOW, .job = &jobs[1]};
    assert_int_equal(do_one(k, &op), RBK_OUTCOME_OK);
    expect_held(k, &jobs[2]);
}

#define CASES                                                                                      \
    cmocka_unit_test_setup_teardown(test_one_parent, kit_set_up, kit_tear_down),                   \
        cmocka_unit_test_setup_teardown(test_two_parents, kit_set_up, kit_tear_down),              \
        cmocka_unit_test_setup_teardown(test_failure_does_not_wait, kit_set_up, kit_tear_down),    \
        cmocka_unit_test_setup_teardown(test_large, kit_set_up, kit_tear_down),                    \
        cmocka_unit_test_setup_teardown(test_too_large, kit_set_up, kit_tear_down),                \
        cmocka_unit_test_setup_teardown(test_cancelled_child, kit_set_up, kit_tear_down),          \
        cmocka_unit_test_setup_teardown(test_whole_batch, kit_set_up, kit_tear_down),              \
        cmocka_unit_test_setup_teardown(test_nobody, kit_set_up, kit_tear_down)

KIT_MAIN("store chain", CASES)
