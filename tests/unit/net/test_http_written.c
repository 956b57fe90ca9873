/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an answer has gone: said once for each, and never too early. */
#include "http_rig.h"

#define HOLD(n) "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n" #n

typedef struct watch {
    rbk_task task;
    rig *g;
    unsigned i;
    char *body; /* goes when what became of it is told */
    size_t n;
    int hang_up; /* the peer's end, closed right before the answer; 0: it is not */
    atomic_uint told, went;
} watch;

static void on_written(bool all, void *user)
{
    watch *w = user;
    free(w->body);
    w->body = NULL;
    w->went += all;
    w->told++;
}

static void answer_watched(rbk_task *task)
{
    watch *w = (watch *)task;
    w->g->n_answered++;
    if (w->hang_up)
        close(w->hang_up);
    rbk_http_reply_send(w->g->held[w->i], &(rbk_http_reply){.status = 200, .body = {w->body, w->n},
                                                           .written = on_written, .user = w});
}

static void post_watched(rig *g, watch *w, unsigned i, rbk_str body)
{
    int hang_up = w->hang_up;
    *w = (watch){.task.fn = answer_watched, .g = g, .i = i, .n = body.n, .hang_up = hang_up};
    w->body = malloc(body.n);
    memcpy(w->body, body.p, body.n);
    rbk_loop_post(g->loop, &w->task);
}

static void wait_told(watch *w, unsigned went)
{
    rig_await(&w->told, 1);
    assert_int_equal(w->told, 1);
    assert_int_equal(w->went, went);
}

/* In any order they are given; each is told when it has gone. */
static void test_all_went(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0};
    watch w[2] = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0) HOLD(1));
    rig_await(&g.n_held, 2);
    post_watched(&g, &w[1], 1, RBK_STR("second"));
    rig_await(&g.n_answered, 1);
    assert_int_equal(w[1].told, 0);
    post_watched(&g, &w[0], 0, RBK_STR("first"));
    assert_true(rbk_str_eqz(rig_read(fd, &in).body, "first"));
    assert_true(rbk_str_eqz(rig_read(fd, &in).body, "second"));
    wait_told(&w[0], 1);
    wait_told(&w[1], 1);
    close(fd);
    rbk_buf_free(&in.b);
    rig_await_closed(&g, 0);
    rig_stop(&g);
}

/* More than the socket takes: not before the peer has read it. */
static void test_a_large_one(void **state)
{
    (void)state;
    rig g = {.send_buf = 65536};
    inbox in = {0};
    watch w = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0));
    rig_await(&g.n_held, 1);
    post_watched(&g, &w, 0, (rbk_str){g.big, BIG});
    rig_await(&g.n_answered, 1);
    usleep(100000); /* nothing is to happen */
    assert_int_equal(w.told, 0);
    assert_int_equal(rig_read(fd, &in).body.n, BIG);
    wait_told(&w, 1);
    close(fd);
    rbk_buf_free(&in.b);
    rig_await_closed(&g, 0);
    rig_stop(&g);
}

/* The peer goes away in the middle of it; the one behind it never began. */
static void test_cut(void **state)
{
    (void)state;
    rig g = {.send_buf = 65536};
    watch w[2] = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0) HOLD(1));
    rig_await(&g.n_held, 2);
    post_watched(&g, &w[1], 1, RBK_STR("second"));
    post_watched(&g, &w[0], 0, (rbk_str){g.big, BIG});
    rig_await(&g.n_answered, 2);
    close(fd);
    wait_told(&w[0], 0);
    wait_told(&w[1], 0);
    rig_await_closed(&g, 0);
    rig_stop(&g);
}

/* It has gone before the answer: before we know of it, and after. */
static void test_gone_before(void **state)
{
    (void)state;
    for (int late = 0; late < 3; late++) {
        rig g = {0};
        watch w[2] = {0};
        rig_start(&g);
        int fd = rig_socket(&g);
        rig_say(fd, HOLD(0) HOLD(1));
        rig_await(&g.n_held, 2);
        post_watched(&g, &w[1], 1, RBK_STR("waits for its turn"));
        rig_await(&g.n_answered, 1);
        if (late == 2)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        close(fd);
        if (late)
            rig_await(&g.n_gone, 1);
        post_watched(&g, &w[0], 0, RBK_STR("nobody listens"));
        wait_told(&w[0], 0);
        wait_told(&w[1], 0);
        rig_await_closed(&g, 0);
        rig_stop(&g);
    }
}

/* It has gone a moment before the answer, and nobody has looked: the answer may go with the news. */
static void test_gone_unseen(void **state)
{
    (void)state;
    for (int reset = 0; reset < 2; reset++) {
        rig g = {0};
        watch w[2] = {0};
        rig_start(&g);
        w[0].hang_up = rig_socket(&g);
        rig_say(w[0].hang_up, HOLD(0) HOLD(1));
        rig_await(&g.n_held, 2);
        if (reset)
            setsockopt(w[0].hang_up, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        post_watched(&g, &w[1], 1, RBK_STR("waits for its turn"));
        post_watched(&g, &w[0], 0, (rbk_str){g.big, BIG});
        wait_told(&w[0], 0);
        wait_told(&w[1], 0);
        rig_await_closed(&g, 0);
        rig_stop(&g);
    }
}

static void test_server_closes(void **state)
{
    (void)state;
    rig g = {.send_buf = 65536};
    watch w = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, HOLD(0));
    rig_await(&g.n_held, 1);
    post_watched(&g, &w, 0, (rbk_str){g.big, BIG});
    rig_await(&g.n_answered, 1);
    rbk_loop_call(g.loop, rig_close_server, &g);
    wait_told(&w, 0);
    close(fd);
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_went),    cmocka_unit_test(test_a_large_one),
        cmocka_unit_test(test_cut),         cmocka_unit_test(test_gone_before),
        cmocka_unit_test(test_gone_unseen),
        cmocka_unit_test(test_server_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
