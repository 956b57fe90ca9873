/* SPDX-License-Identifier: Apache-2.0 */
/* fault/test_store_fault.c - a session of the SQLite store in which every call of the
 * disk fails in turn, and one that a power cut ends at every call. A run takes a sample of the
 * calls, each run another; tests/fault/soak takes all of them.
 *
 * The session is a script of transactions. A store in memory that has done the first n
 * of them says what must be there when n are confirmed: exactly that, or one more, since
 * the step that was under way may have been committed. */
#include "../contract/store_kit.h"
#include "fault_vfs.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum { STEPS = 20, STEP_OPS = 6, CUT_SEEDS = 2, TRIES = 4, BODY = 5000, NOTES = 8 };

static char body[BODY];
static const char *root; /* in memory where there is such a place: syncs are simulated */
static kit k;           /* the store under test */
static int confirmed;   /* steps that returned 0 */
static int cut_confirmed;
static rbk_store *models[STEPS + 1];
static int stride = 13; /* one call of so many; RBK_FAULT_STRIDE=1: each */
static unsigned turn;   /* which: another at each start, or RBK_SEED */

/* --- The script ---------------------------------------------------------------------------- */

typedef struct step {
    rbk_job jobs[STEP_OPS];
    rbk_store_op ops[STEP_OPS];
    int n;
} step;

static void add_op(step *s, rbk_op_kind kind, int64_t seq, uint8_t from, rbk_shelf shelf)
{
    rbk_job *job = &s->jobs[s->n];
    *job = make_job(seq);
    job->due = 10 + seq;
    if (seq % 3 == 0)
        job->params = (rbk_str){body, BODY};
    if (kind == RBK_OP_RESULT || kind == RBK_OP_REDRIVE) {
        job->state = DUE;
        job->response = (rbk_str){body, seq % 2 ? BODY / 2 : 20};
        job->lane = RBK_STR("send:r");
    }
    if (kind == RBK_OP_REDRIVE)
        job->callback = RBK_STR("https://other.example/callback");
    if (kind == RBK_OP_RETRY || kind == RBK_OP_DEAD) {
        job->attempts = (uint32_t)seq;
        job->reason = RBK_STR("status 500");
    }
    if (kind == RBK_OP_DONE)
        job->state = RBK_JOB_DELIVERED;
    rbk_store_op *op = &s->ops[s->n++];
    *op = (rbk_store_op){.kind = kind, .from = from, .shelf = shelf, .now = 100 + seq, .job = job};
    if (kind == RBK_OP_RETRY || kind == RBK_OP_DEAD)
        op->note = (rbk_attempt_note){.number = (uint32_t)kind, .status = 500, .at = seq, .ms = 3,
                                      .reason = "STATUS", .host = "192.0.2.1"};
}

/* How a job of the script ends, and what comes after it. */
static bool is_dead(int64_t seq)
{
    return seq % 5 == 2;
}

static bool is_kept(int64_t seq)
{
    return seq >= 10 && (is_dead(seq) || seq % 2 == 0);
}

static uint8_t end_of(int64_t seq)
{
    return is_dead(seq) ? RBK_JOB_DEAD : RBK_JOB_DELIVERED;
}

/* Steps that are no transaction of operations: a receiver is held, old jobs are swept. */
static bool is_hold(int n)
{
    return n == 6 || n == 16;
}

static bool is_sweep(int n)
{
    return n == 11 || n == 18;
}

/* The seq of the job that step `n` puts. */
static int64_t seq_of(int n)
{
    int64_t seq = 10;
    for (int i = 0; i < n; i++)
        seq += !is_hold(i) && !is_sweep(i);
    return seq;
}

/* Lives that overlap: each step puts a job, and moves those of the steps before. */
static void make_step(step *s, int n)
{
    int64_t seq = seq_of(n);
    s->n = 0;
    add_op(s, RBK_OP_PUT, seq, 0, seq % 2 ? RBK_SHELF_WAIT : RBK_SHELF_JOB);
    add_op(s, RBK_OP_RESULT, seq - 1, QUEUED, seq % 4 < 2 ? RBK_SHELF_WAIT : RBK_SHELF_JOB);
    add_op(s, RBK_OP_RETRY, seq - 2, DUE, RBK_SHELF_WAIT);
    add_op(s, is_dead(seq - 3) ? RBK_OP_DEAD : RBK_OP_DONE, seq - 3, DUE, 0);
    s->ops[s->n - 1].keep = is_kept(seq - 3);
    if (is_kept(seq - 4) && (seq - 4) % 3 == 0)
        add_op(s, RBK_OP_REDRIVE, seq - 4, end_of(seq - 4), 0);
    if (is_kept(seq - 5) && (seq - 5) % 3 == 1)
        add_op(s, RBK_OP_PURGE, seq - 5, end_of(seq - 5), 0);
}

/* A claim shows in no list, so it needs no model: it goes before a transaction. */
static bool is_claim(int n)
{
    return n % 8 == 5;
}

/* What no step to come speaks of any more. */
static int sweep_some(const rbk_store_ops *ops, rbk_store *st, int n, rbk_error *err)
{
    rbk_store_keep keep = {.done_bytes = INT64_MAX};
    int r = ops->sweep(st, &keep, 100 + seq_of(n) - 6, 100, err);
    return r < 0 ? r : 0;
}

/* Nothing is changed, whatever happens. */
static int look_for_old(const rbk_store_ops *ops, rbk_store *st, rbk_error *err)
{
    rbk_aged a = {.lane = RBK_STR("send:r"), .before = INT64_MAX, .look = 9, .at_due = INT64_MIN,
                  .at_seq = INT64_MIN};
    int r = ops->aged(st, &a, err);
    if (r >= 0)
        free_jobs(a.jobs);
    return r < 0 ? r : 0;
}

static int do_step(const rbk_store_ops *ops, rbk_store *st, int n, rbk_error *err)
{
    if (is_hold(n))
        return ops->hold(st, n < 10 ? RBK_STR("https://a:443") : RBK_STR("https://b:443"), true,
                         err);
    if (is_sweep(n))
        return sweep_some(ops, st, n, err);
    if (is_claim(n)) {
        rbk_job *jobs = NULL;
        rbk_wall_ms next;
        int r = look_for_old(ops, st, err);
        if (r == 0)
            r = ops->claim(st, RBK_STR("send:r"), 1000, 2, &jobs, &next, err);
        if (r < 0)
            return r;
        free_jobs(jobs);
    }
    step s;
    make_step(&s, n);
    int r = ops->apply(st, s.ops, (size_t)s.n, err);
    for (int i = 0; r == 0 && i < s.n; i++) /* but for jobs from before the script */
        assert_true(s.ops[i].outcome == RBK_OUTCOME_OK || s.ops[i].job->seq < 10);
    return r;
}

/* --- What is there ---------------------------------------------------------------------------- */

static bool same_notes(const rbk_store_ops *ops, rbk_store *st, rbk_store *model, int64_t seq)
{
    rbk_attempt_note a[NOTES] = {{0}}, b[NOTES] = {{0}};
    rbk_error err;
    int n = ops->attempts(st, seq, NOTES, a, &err);
    bool same = n == rbk_store_memory.attempts(model, seq, NOTES, b, &err);
    for (int i = 0; same && i < n; i++)
        same = a[i].number == b[i].number && a[i].at == b[i].at;
    return same;
}

static bool same_holds(const rbk_store_ops *ops, rbk_store *st, rbk_store *model)
{
    rbk_lane_due a[4], b[4];
    rbk_error err;
    int n = ops->holds(st, RBK_STR_NONE, 4, a, &err);
    bool same = n == rbk_store_memory.holds(model, RBK_STR_NONE, 4, b, &err);
    for (int i = 0; same && i < n; i++)
        same = strcmp(a[i].lane, b[i].lane) == 0;
    return same;
}

/* All jobs of the script are one caller's. */
static bool same_counts(kit *of, const rbk_store_stats *s)
{
    of->n_counts = 0;
    memset(of->counts, 0, sizeof of->counts);
    if (of->ops->count_callers(of->st, &of->err) < 0 || of->n_counts > 1)
        return false;
    const struct kit_count *c = kit_count_of(of, RBK_STR("shop"));
    return c->jobs == s->pending && c->bytes == s->pending_bytes;
}

/* False also when the store cannot say what it holds. */
static bool same_as_model(kit *of, int n)
{
    const rbk_store_ops *ops = of->ops;
    rbk_store *st = of->st;
    rbk_job *a = NULL, *b = NULL;
    rbk_store_stats sa = {0}, sb = {0};
    rbk_error err;
    const rbk_job_filter any = {0};
    int64_t next;
    bool same = ops->stats(st, &sa, &err) == 0 &&
                ops->list(st, &any, 0, 1000, &a, &next, &err) >= 0;
    assert_int_equal(rbk_store_memory.stats(models[n], &sb, &err), 0);
    assert_true(rbk_store_memory.list(models[n], &any, 0, 1000, &b, &next, &err) >= 0);
    rbk_job *i = a, *j = b;
    for (; same && i && j; i = i->next, j = j->next)
        same = same_job(i, j);
    same = same && i == NULL && j == NULL && memcmp(&sa, &sb, sizeof sa) == 0 &&
           same_counts(of, &sa) && same_holds(ops, st, models[n]);
    for (int64_t seq = 10; same && seq < 10 + STEPS; seq++)
        same = same_notes(ops, st, models[n], seq);
    free_jobs(a);
    free_jobs(b);
    return same;
}

/* What a store may hold when `n` steps were confirmed. A sweep is not synced: a power cut
 * may undo it until the next step is. */
static bool is_right(kit *of, int n)
{
    return same_as_model(of, n) || (n < STEPS && same_as_model(of, n + 1)) ||
           (n > 0 && is_sweep(n - 1) && same_as_model(of, n - 1));
}

/* The script has to show what it is there for. */
static void expect_varied_script(void)
{
    rbk_error err;
    rbk_store_stats s = {0};
    int64_t ended = 0;
    for (int n = 0; n <= STEPS; n++) {
        assert_int_equal(rbk_store_memory.stats(models[n], &s, &err), 0);
        if (n && is_sweep(n - 1))
            assert_true(s.dead + s.done < ended);
        ended = s.dead + s.done;
    }
    assert_true(s.dead > 0 && s.done > 0 && s.due > 2);
}

static int make_models(void **state)
{
    (void)state;
    rbk_error err;
    rbk_store_conf conf = {.dsn = "memory:"};
    const char *every = getenv("RBK_FAULT_STRIDE"), *seed = getenv("RBK_SEED");
    stride = every && atoi(every) > 0 ? atoi(every) : stride;
    turn = seed ? (unsigned)atoi(seed) : (unsigned)time(NULL);
    print_message("RBK_SEED=%u RBK_FAULT_STRIDE=%d\n", turn, stride);
    for (int i = 0; i < BODY; i++)
        body[i] = (char)('a' + i % 23);
    root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    fault_vfs_register();
    for (int n = 0; n <= STEPS; n++) {
        assert_int_equal(rbk_store_memory.open(&conf, &models[n], &err), 0);
        for (int i = 0; i < n; i++)
            assert_int_equal(do_step(&rbk_store_memory, models[n], i, &err), 0);
    }
    expect_varied_script();
    return 0;
}

static int free_models(void **state)
{
    (void)state;
    for (int n = 0; n <= STEPS; n++)
        rbk_store_memory.close(models[n]);
    return 0;
}

/* --- A session ----------------------------------------------------------------------------------- */

static int first_call(void)
{
    return 1 + (int)(turn % (unsigned)stride);
}

static void begin(const char *options)
{
    memset(&k, 0, sizeof k);
    k.ops = &rbk_store_sqlite;
    kit_make_dir_in(&k, root);
    snprintf(k.dsn, sizeof k.dsn, "sqlite:%s/s.db?vfs=fault%s", k.dir, options);
    confirmed = 0;
    cut_confirmed = -1;
}

static void close_store(void)
{
    k.ops->close(k.st);
    k.st = NULL;
}

static bool open_store(void)
{
    for (int i = 0; k.st == NULL && i < TRIES; i++) {
        int r = kit_open(&k, &k.st);
        assert_true(r == 0 || r == RBK_E_IO || r == RBK_E_DISK_FULL || r == RBK_E_BUSY);
    }
    return k.st != NULL;
}

/* As the engine does it: after IO close, open, and the same again. */
static bool step_until_done(int n)
{
    for (int i = 0; i < TRIES; i++) {
        if (!open_store())
            return false;
        int r = do_step(k.ops, k.st, n, &k.err);
        if (r == 0)
            return true;
        assert_true(r == RBK_E_IO || r == RBK_E_DISK_FULL);
        if (r == RBK_E_IO) {
            rbk_store_stats s;
            assert_int_equal(k.ops->stats(k.st, &s, &k.err), RBK_E_IO);
            assert_int_equal(do_step(k.ops, k.st, n, &k.err), RBK_E_IO);
            close_store();
        }
    }
    return false;
}

static void run_session(void)
{
    if (!open_store())
        return;
    for (int n = 0; n < STEPS; n++) {
        if (!step_until_done(n))
            return;
        confirmed = n + 1;
        /* checkpoints take part too, as they would after thousands of pages */
        if (n % 8 == 7) {
            close_store();
            if (!open_store())
                return;
        }
    }
}

static void expect_right_after(void)
{
    close_store();
    fault_vfs_plan(&(fault_plan){0});
    if (!open_store())
        fail_msg("open after the faults: %s", k.err.detail);
    if (!is_right(&k, confirmed))
        fail_msg("%d steps were confirmed, and are not there", confirmed);
    close_store();
    kit_remove_dir(&k);
}

static void fail_each_call(int error, bool for_ever)
{
    int at = first_call(), finished = 0;
    for (; !finished; at += stride) {
        begin("");
        fault_vfs_plan(&(fault_plan){.fail_at = at, .error = error, .for_ever = for_ever});
        run_session();
        close_store();
        bool fired = fault_vfs_fired();
        if (!for_ever || !fired)
            assert_int_equal(confirmed, STEPS);
        finished = !fired;
        expect_right_after();
    }
    assert_true(at > 100);
    print_message("one of %d calls failed, up to call %d\n", stride, at);
}

static void test_eio_once(void **state)
{
    (void)state;
    fail_each_call(EIO, false);
}

static void test_eio_for_ever(void **state)
{
    (void)state;
    fail_each_call(EIO, true);
}

static void test_full_once(void **state)
{
    (void)state;
    fail_each_call(ENOSPC, false);
}

static void test_full_for_ever(void **state)
{
    (void)state;
    fail_each_call(ENOSPC, true);
}

static void test_quota_once(void **state)
{
    (void)state;
    fail_each_call(EDQUOT, false);
}

/* --- The power cut -------------------------------------------------------------------------------- */

static void note_cut(void)
{
    cut_confirmed = confirmed;
}

/* A session that is cut at call `at`. False: it ended before. *ret_right tells whether
 * all that was confirmed then is in what the cut left. */
static bool cut_session(int at, uint32_t seed, const char *options, bool *ret_right)
{
    kit after = {.ops = &rbk_store_sqlite};
    kit_make_dir_in(&after, root);
    snprintf(after.dsn, sizeof after.dsn, "sqlite:%s/s.db", after.dir);
    begin(options);
    fault_vfs_plan(&(fault_plan){.cut_at = at, .seed = seed, .cut_dir = after.dir,
                                 .on_cut = note_cut});
    run_session();
    close_store();
    bool fired = fault_vfs_fired();
    assert_int_equal(confirmed, STEPS);
    kit_remove_dir(&k);
    *ret_right = true;
    if (fired) {
        *ret_right = kit_open(&after, &after.st) == 0 &&
                     is_right(&after, cut_confirmed);
        after.ops->close(after.st);
    }
    kit_remove_dir(&after);
    return fired;
}

static int count_losses(const char *options, int *ret_cuts)
{
    int losses = 0, cuts = 0;
    bool more = true;
    for (int at = first_call(); more; at += stride)
        for (uint32_t seed = 1; more && seed <= CUT_SEEDS; seed++) {
            bool right = true;
            more = cut_session(at, seed * 7919u + (uint32_t)at, options, &right);
            cuts += more;
            losses += !right;
            if (!right && options[0] == 0)
                print_message("lost: call %d, seed %u, %d steps\n", at, seed, cut_confirmed);
        }
    *ret_cuts = cuts;
    return losses;
}

static void test_power_cut(void **state)
{
    (void)state;
    int cuts = 0;
    assert_int_equal(count_losses("", &cuts), 0);
    assert_true(cuts * stride > 400);
    print_message("%d power cuts\n", cuts);
}

/* The test can find a loss: without syncs it does. */
static void test_power_cut_finds_losses(void **state)
{
    (void)state;
    int cuts = 0;
    assert_true(count_losses("&synchronous=off", &cuts) * stride > 20);
}

/* --- The backup ------------------------------------------------------------------------------------ */

static int count_copies(void)
{
    int n = 0;
    DIR *d = opendir(k.dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strncmp(e->d_name, "copy", 4) == 0;
    closedir(d);
    return n;
}

/* One backup whose call `at` fails: either the copy is whole, or nothing of it is left. */
static bool back_up(int at, int error)
{
    kit copy = {.ops = &rbk_store_sqlite};
    char path[128];
    rbk_store_conf conf = {.dsn = k.dsn};
    snprintf(path, sizeof path, "%s/copy", k.dir);
    snprintf(copy.dsn, sizeof copy.dsn, "sqlite:%s", path);
    fault_vfs_plan(&(fault_plan){.fail_at = at, .error = error});
    int r = k.ops->backup(&conf, path, &k.err);
    bool fired = fault_vfs_fired();
    fault_vfs_plan(&(fault_plan){0});
    if (r < 0) {
        assert_true(fired && (r == RBK_E_IO || r == RBK_E_DISK_FULL));
        assert_int_equal(count_copies(), 0);
        return fired;
    }
    assert_int_equal(count_copies(), 1);
    assert_int_equal(kit_open(&copy, &copy.st), 0);
    assert_true(same_as_model(&copy, STEPS));
    copy.ops->close(copy.st);
    return fired;
}

static void test_backup(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    begin("");
    fault_vfs_plan(&(fault_plan){0});
    run_session();
    assert_int_equal(confirmed, STEPS);
    close_store(); /* a plan must not change under open files */
    for (int i = 0; i < 2; i++) {
        int at = 1;
        while (back_up(at, errors[i]))
            at++;
        assert_true(at > 3);
        char path[128];
        for (const char *const *end = (const char *const[]){"", "-wal", "-shm", ".lock", NULL};
             *end; end++) {
            snprintf(path, sizeof path, "%s/copy%s", k.dir, *end);
            unlink(path);
        }
    }
    kit_remove_dir(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eio_once),       cmocka_unit_test(test_eio_for_ever),
        cmocka_unit_test(test_full_once),      cmocka_unit_test(test_full_for_ever),
        cmocka_unit_test(test_quota_once),     cmocka_unit_test(test_power_cut),
        cmocka_unit_test(test_power_cut_finds_losses), cmocka_unit_test(test_backup),
    };
    return cmocka_run_group_tests_name("store faults", tests, make_models, free_models);
}
