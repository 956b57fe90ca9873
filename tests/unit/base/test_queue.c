/* SPDX-License-Identifier: Apache-2.0 */
/* The queue between threads: order, one wake-up a burst, nothing lost. */
#include "base/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

typedef struct thing {
    rbk_node node;
    int from, number;
} thing;

static void test_list(void **state)
{
    (void)state;
    thing t[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    rbk_list a = {0}, b = {0};
    assert_null(rbk_list_pop(&a));
    rbk_list_join(&a, &b);
    assert_int_equal(a.n, 0);
    rbk_list_push(&b, &t[0].node);
    rbk_list_push(&b, &t[1].node);
    rbk_list_join(&a, &b); /* into an empty one */
    assert_int_equal(b.n, 0);
    assert_null(b.head);
    rbk_list_push(&b, &t[2].node);
    rbk_list_join(&a, &b);
    rbk_list_push(&a, &t[3].node);
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(rbk_list_pop(&a), &t[i]);
    assert_null(rbk_list_pop(&a));
    assert_int_equal(a.n, 0);
}

static void test_wake_only_when_empty(void **state)
{
    (void)state;
    thing t[3] = {0};
    rbk_queue q;
    rbk_queue_init(&q);
    rbk_list none = {0};
    assert_false(rbk_queue_push_list(&q, &none));
    assert_true(rbk_queue_push(&q, &t[0].node));
    assert_false(rbk_queue_push(&q, &t[1].node));
    rbk_list l = rbk_queue_take(&q);
    assert_int_equal(l.n, 2);
    assert_int_equal(rbk_queue_take(&q).n, 0);
    assert_true(rbk_queue_push(&q, &t[2].node));
    rbk_queue_fini(&q);
}

enum { THREADS = 4, EACH = 20000 };

typedef struct pusher {
    rbk_queue *q;
    int id;
    thing *things;
    int wakes;
} pusher;

static void *push_all(void *arg)
{
    pusher *p = arg;
    for (int i = 0; i < EACH; i++) {
        p->things[i] = (thing){.from = p->id, .number = i};
        p->wakes += rbk_queue_push(p->q, &p->things[i].node);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    rbk_queue q;
    rbk_queue_init(&q);
    pusher p[THREADS];
    pthread_t t[THREADS];
    int next[THREADS] = {0}, got = 0, takes = 0, wakes = 0;
    for (int i = 0; i < THREADS; i++) {
        p[i] = (pusher){.q = &q, .id = i, .things = calloc(EACH, sizeof(thing))};
        assert_non_null(p[i].things);
        assert_int_equal(pthread_create(&t[i], NULL, push_all, &p[i]), 0);
    }
    while (got < THREADS * EACH) {
        rbk_list l = rbk_queue_take(&q);
        takes += l.n > 0;
        for (thing *x; (x = (thing *)rbk_list_pop(&l)) != NULL; got++)
            assert_int_equal(x->number, next[x->from]++); /* in order for each pusher */
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        wakes += p[i].wakes;
        free(p[i].things);
    }
    assert_int_equal(wakes, takes); /* each filled queue was announced once */
    rbk_queue_fini(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_wake_only_when_empty),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
