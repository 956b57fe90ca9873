/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: tasks from other threads, the order of a turn, starting and ending. */
#include "net/loop_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"

enum { POSTERS = 4, POSTS = 5000 };

static rbk_loop *new_loop(const char *name)
{
    rbk_error err = {0};
    rbk_loop *l = NULL;
    assert_int_equal(rbk_loop_new(name, &l, &err), 0);
    return l;
}

static rbk_loop *start_loop(const char *name)
{
    rbk_error err = {0};
    rbk_loop *l = new_loop(name);
    assert_int_equal(rbk_loop_start(l, &err), 0);
    return l;
}

/* --- tasks --- */

typedef struct job {
    rbk_task task;
    struct tally *tally;
    int from, number;
} job;

typedef struct tally {
    rbk_loop *l;
    int next[POSTERS]; /* loop thread */
    int ran;
    bool in_order, on_thread;
} tally;

static void run_job(rbk_task *task)
{
    job *j = (job *)(void *)task;
    tally *t = j->tally;
    if (t->next[j->from]++ != j->number)
        t->in_order = false;
    if (!rbk_loop_is_current(t->l))
        t->on_thread = false;
    t->ran++;
    free(j);
}

static rbk_task *new_job(tally *t, int from, int number)
{
    job *j = calloc(1, sizeof *j);
    j->task.fn = run_job;
    j->tally = t;
    j->from = from;
    j->number = number;
    return &j->task;
}

typedef struct poster {
    tally *tally;
    int from;
} poster;

static void *post_many(void *arg)
{
    poster *p = arg;
    rbk_list list = {0};
    for (int i = 0; i < POSTS; i++) {
        if (i % 100 < 50) {
            rbk_loop_post_list(p->tally->l, &list);
            rbk_loop_post(p->tally->l, new_job(p->tally, p->from, i));
        } else {
            rbk_list_push(&list, &new_job(p->tally, p->from, i)->node);
        }
    }
    rbk_loop_post_list(p->tally->l, &list);
    return NULL;
}

/* Nothing is lost, and each thread's tasks run in its order, on the loop's thread. */
static void test_tasks(void **state)
{
    (void)state;
    tally t = {.in_order = true, .on_thread = true};
    poster p[POSTERS];
    pthread_t thread[POSTERS];
    t.l = start_loop("test-loop-with-a-long-name");
    assert_false(rbk_loop_is_current(t.l));
    for (int i = 0; i < POSTERS; i++) {
        p[i] = (poster){&t, i};
        assert_int_equal(pthread_create(&thread[i], NULL, post_many, &p[i]), 0);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(thread[i], NULL);
    rbk_loop_stop(t.l);
    assert_int_equal(t.ran, POSTERS * POSTS);
    assert_true(t.in_order);
    assert_true(t.on_thread);
    rbk_loop_free(t.l);
}

/* Posted before the start, and before a stop without a start. */
static void test_never_started(void **state)
{
    (void)state;
    tally t = {.in_order = true, .on_thread = true};
    t.l = new_loop("t");
    rbk_loop_post(t.l, new_job(&t, 0, 0));
    rbk_loop_post(t.l, new_job(&t, 0, 1));
    assert_int_equal(t.ran, 0);
    rbk_loop_stop(t.l);
    assert_int_equal(t.ran, 2);
    assert_true(t.in_order);
    rbk_loop_free(t.l);
    rbk_loop_free(NULL);
}

typedef struct repost {
    rbk_task task;
    rbk_loop *l;
    int left;
} repost;

static void run_repost(rbk_task *task)
{
    repost *r = (repost *)(void *)task;
    if (--r->left > 0)
        rbk_loop_post(r->l, task);
}

/* A task that posts itself again is not lost at the stop; one after it does no harm. */
static void test_posted_at_stop(void **state)
{
    (void)state;
    tally t = {.in_order = true};
    repost r = {.task.fn = run_repost, .left = 1000};
    t.l = r.l = start_loop("t");
    rbk_loop_post(r.l, &r.task);
    rbk_loop_stop(r.l);
    assert_int_equal(r.left, 0);
    rbk_task *late = new_job(&t, 0, 0);
    rbk_loop_post(r.l, late);
    rbk_loop_free(r.l);
    assert_int_equal(t.ran, 0);
    free(late);
}

/* --- calls --- */

typedef struct look {
    rbk_loop *l;
    bool current;
    char name[16];
    rbk_mono_ms now;
} look;

static void look_around(void *arg)
{
    look *k = arg;
    k->current = rbk_loop_is_current(k->l);
    k->now = rbk_loop_now(k->l);
    pthread_getname_np(pthread_self(), k->name, sizeof k->name);
}

static void test_call(void **state)
{
    (void)state;
    look k = {.l = start_loop("test-loop-with-a-long-name")};
    rbk_mono_ms before = rbk_mono_now();
    rbk_loop_call(k.l, look_around, &k);
    assert_true(k.current);
    assert_true(k.now >= before && k.now <= rbk_mono_now());
    assert_string_equal(k.name, "test-loop-with-");
    rbk_loop_free(k.l); /* stops it */
}

/* --- turns --- */

typedef struct order {
    rbk_loop *l;
    rbk_turn turn;
    rbk_task task;
    uv_timer_t timer;
    char seen[32];
    int again;
} order;

static void mark(order *o, char c)
{
    size_t n = strlen(o->seen);
    if (n + 1 < sizeof o->seen)
        o->seen[n] = c;
}

static void on_turn(rbk_turn *turn)
{
    order *o = RBK_OF_LINK(turn, order, turn);
    mark(o, 'e');
    if (o->again-- > 0)
        rbk_loop_at_turn_end(o->l, turn);
}

static void on_task(rbk_task *task)
{
    order *o = (order *)(void *)((char *)task - offsetof(order, task));
    mark(o, 't');
    rbk_loop_at_turn_end(o->l, &o->turn);
    rbk_loop_at_turn_end(o->l, &o->turn); /* once */
}

static void on_timer(uv_timer_t *h)
{
    order *o = h->data;
    mark(o, 'T');
    rbk_loop_at_turn_end(o->l, &o->turn);
    uv_close((uv_handle_t *)h, NULL);
}

static void start_timer(void *arg)
{
    order *o = arg;
    uv_timer_init(rbk_loop_uv(o->l), &o->timer);
    o->timer.data = o;
    uv_timer_start(&o->timer, on_timer, 1, 0);
}

static void test_turn_end(void **state)
{
    (void)state;
    order o = {.turn.fn = on_turn, .task.fn = on_task};
    rbk_link_init(&o.turn.link);
    o.l = start_loop("t");
    rbk_loop_post(o.l, &o.task);
    rbk_loop_stop(o.l);
    assert_string_equal(o.seen, "te");
    rbk_loop_free(o.l);
}

/* The ends of turn that a timer asks for come before the loop sleeps; and ever new ones
 * neither sleep nor hang it. */
static void test_turn_end_of_timer(void **state)
{
    (void)state;
    order o = {.turn.fn = on_turn, .again = 25};
    rbk_link_init(&o.turn.link);
    o.l = start_loop("t");
    rbk_loop_call(o.l, start_timer, &o);
    rbk_loop_stop(o.l); /* waits for the timer */
    assert_string_equal(o.seen, "Teeeeeeeeeeeeeeeeeeeeeeeeee");
    rbk_loop_free(o.l);
}

/* --- a forgotten handle --- */

static uv_timer_t *forgotten;
static rbk_loop *left_behind; /* kept reachable: it is left in memory on purpose */

static void on_forgotten(uv_timer_t *h)
{
    (void)h;
}

static void forget(void *arg)
{
    forgotten = calloc(1, sizeof *forgotten);
    uv_timer_init(rbk_loop_uv(arg), forgotten);
    uv_timer_start(forgotten, on_forgotten, 3600 * 1000, 0);
}

static void test_forgotten_handle(void **state)
{
    (void)state;
    left_behind = start_loop("t");
    rbk_loop_call(left_behind, forget, left_behind);
    rbk_mono_ms before = rbk_mono_now();
    rbk_loop_stop(left_behind);
    assert_true(rbk_mono_now() - before >= 4900);
    rbk_loop_free(left_behind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_never_started),
        cmocka_unit_test(test_posted_at_stop),
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_turn_end),
        cmocka_unit_test(test_turn_end_of_timer),
        cmocka_unit_test(test_forgotten_handle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
