/* SPDX-License-Identifier: Apache-2.0 */
/* The client's end of HTTP/2 without a socket: how many streams there may be, how much is held of
 * what they send, and when the peer had all of a request. Frames are made by hand. */
#include "net/http2_session.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HEADERS = 1, SETTINGS = 4, GOAWAY = 7, WINDOW_UPDATE = 8, MAX_STREAMS = 3, WINDOW = 4 };
enum { FRAME_MAX = 16384 + 9, WIDE = 0x7fffffff };

typedef struct asked {
    unsigned n;
    rbk_http2_answer answer;
} asked;

static void on_answered(void *owner, const rbk_http2_answer *answer)
{
    asked *q = owner;
    q->n++;
    q->answer = *answer;
}

static rbk_http2_session *make_session(void)
{
    rbk_http2_session *h = NULL;
    assert_int_equal(rbk_http2_session_new(on_answered, &h), 0);
    return h;
}

static void feed(rbk_http2_session *h, int type, uint32_t stream, rbk_str payload)
{
    char head[9] = {0, 0, (char)payload.n, (char)type, type == HEADERS ? 5 : 0, 0, 0,
                    (char)(stream >> 8), (char)stream};
    assert_int_equal(rbk_http2_feed(h, head, sizeof head), 0);
    assert_int_equal(rbk_http2_feed(h, payload.p, payload.n), 0);
}

static void feed_setting(rbk_http2_session *h, int id, uint32_t value)
{
    char payload[6] = {0, (char)id, (char)(value >> 24), (char)(value >> 16), (char)(value >> 8),
                       (char)value};
    feed(h, SETTINGS, 0, (rbk_str){payload, sizeof payload});
}

static void feed_200(rbk_http2_session *h, uint32_t stream)
{
    feed(h, HEADERS, stream, RBK_STR("\x88"));
}

static size_t pull(rbk_http2_session *h)
{
    rbk_buf out = RBK_BUF(1 << 20);
    assert_int_equal(rbk_http2_pull(h, &out), 0);
    size_t n = out.n;
    rbk_buf_free(&out);
    return n;
}

static int submit(rbk_http2_session *h, asked *q, rbk_str body)
{
    const rbk_http2_request req = {.authority = RBK_STR("a.example"), .target = RBK_STR("/cb"),
                                   .head = RBK_STR("Content-Type: application/json\r\n"),
                                   .body = body};
    rbk_http2_stream *st;
    return rbk_http2_submit(h, &req, q, &st);
}

static void test_room(void **state)
{
    rbk_http2_session *h = make_session();
    asked q[4] = {0};
    (void)state;
    assert_int_equal(rbk_http2_room(h), 0); /* nobody has said how many */
    feed(h, SETTINGS, 0, RBK_STR(""));
    assert_int_equal(rbk_http2_room(h), RBK_HTTP2_STREAMS_MAX);
    feed_setting(h, MAX_STREAMS, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(rbk_http2_room(h), 3 - i);
        assert_int_equal(submit(h, &q[i], RBK_STR("{}")), 0);
    }
    assert_int_equal(rbk_http2_room(h), 0);
    pull(h);
    feed_200(h, 3);
    assert_int_equal(q[1].n, 1);
    assert_int_equal(q[1].answer.status, 200);
    assert_int_equal(rbk_http2_room(h), 1);
    feed(h, GOAWAY, 0, RBK_STR("\0\0\0\5\0\0\0\0"));
    assert_int_equal(rbk_http2_room(h), 0);
    assert_int_equal(submit(h, &q[3], RBK_STR("{}")), RBK_E_BUSY);
    feed_200(h, 1); /* what is under way goes on */
    assert_int_equal(q[0].answer.status, 200);
    rbk_http2_session_free(h);
    assert_int_equal(q[2].n + q[3].n, 0);
}

/* However wide the peer's windows are, and however many streams there are. */
static void test_pulls_are_bounded(void **state)
{
    enum { N = 8, SIZE = 1 << 20 };
    rbk_http2_session *h = make_session();
    char *body = calloc(1, SIZE);
    asked q[N] = {0};
    size_t all = 0, n;
    (void)state;
    assert_non_null(body);
    feed_setting(h, WINDOW, WIDE);
    feed(h, WINDOW_UPDATE, 0, RBK_STR("\x7f\xff\0\0"));
    for (int i = 0; i < N; i++)
        assert_int_equal(submit(h, &q[i], (rbk_str){body, SIZE}), 0);
    while ((n = pull(h)) > 0) {
        assert_true(n < RBK_HTTP2_BATCH + FRAME_MAX);
        all += n;
    }
    assert_true(all > (size_t)N * SIZE && all < (size_t)N * SIZE + N * SIZE / 100);
    rbk_http2_session_free(h);
    free(body);
}

/* Only what the kernel had taken before the answer came is known to have been sent. */
static void test_complete(void **state)
{
    char body[100000] = {0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        rbk_http2_session *h = make_session();
        asked q = {0};
        feed_setting(h, WINDOW, WIDE);
        feed(h, WINDOW_UPDATE, 0, RBK_STR("\x7f\xff\0\0"));
        assert_int_equal(submit(h, &q, (rbk_str){body, sizeof body}), 0);
        pull(h);
        rbk_http2_flushed(h);
        if (i > 0)
            pull(h);
        if (i > 1)
            rbk_http2_flushed(h);
        feed_200(h, 1);
        assert_int_equal(q.n, 1);
        assert_int_equal(q.answer.status, 200);
        assert_int_equal(q.answer.complete, i == 2);
        rbk_http2_session_free(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_pulls_are_bounded),
        cmocka_unit_test(test_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
