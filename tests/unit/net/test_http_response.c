/* SPDX-License-Identifier: Apache-2.0 */
/* Answers as receivers send them, good and bad: whole, and one byte at a time. */
#include "net/http_response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct answer {
    const char *name, *text;
    int status;       /* 0: none is accepted */
    bool done, clean; /* after all of `text` */
} answer;

#define OK    "HTTP/1.1 200 OK\r\n"
#define EMPTY OK "Content-Length: 0\r\n\r\n"
#define FOUR_100                                                                                   \
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"                  \
    "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"

static const answer answers[] = {
    {"empty", EMPTY, 200, true, true},
    {"body", OK "Content-Length: 2\r\n\r\nok", 200, true, true},
    {"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, true, true},
    {"chunked", OK "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, true, true},
    {"chunked, capitals", OK "transfer-encoding: CHUNKED \r\n\r\n0\r\n\r\n", 200, true, true},
    {"trailers", OK "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", 200, true, true},
    {"gzip stays as it is", OK "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", 200,
     true, true},
    {"201", "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, true, true},
    {"202", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 202, true, true},
    {"204", "HTTP/1.1 204 No Content\r\n\r\n", 204, true, true},
    {"206", "HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n", 206, true, true},
    {"226", "HTTP/1.1 226 IM Used\r\nContent-Length: 0\r\n\r\n", 226, true, true},
    {"299", "HTTP/1.1 299 X\r\nContent-Length: 0\r\n\r\n", 299, true, true},
    {"302", "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302, true, true},
    {"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, true, true},
    {"410", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", 410, true, true},
    {"599", "HTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n", 599, true, true},
    {"interim ones", FOUR_100 EMPTY, 200, true, true},
    {"16 interim", FOUR_100 FOUR_100 FOUR_100 FOUR_100 EMPTY, 200, true, true},
    {"interim with a length", "HTTP/1.1 100 C\r\nContent-Length: 5\r\n\r\n" EMPTY, 200, true, true},

    {"close", OK "Connection: close\r\nContent-Length: 0\r\n\r\n", 200, true, false},
    {"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, true, false},
    {"HTTP/1.0 keep-alive",
     "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 200, true, false},
    {"to the end of the connection", OK "\r\nabc", 200, false, false},
    {"body too short", OK "Content-Length: 9\r\n\r\nok", 200, false, false},
    {"extra bytes", OK "Content-Length: 2\r\n\r\nok!", 200, true, false},
    {"two answers", EMPTY EMPTY, 200, true, false},
    {"204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204, true, false},
    {"bad chunk size", OK "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 200, false, false},
    {"chunk without end", OK "Transfer-Encoding: chunked\r\n\r\n2\r\nokk", 200, false, false},
    {"gzip, chunked", OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 200, true, false},

    {"CL and TE", OK "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 0, false, false},
    {"TE and CL", OK "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n", 0, false, false},
    {"two CLs", OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 0, false, false},
    {"CL list", OK "Content-Length: 2, 2\r\n\r\nok", 0, false, false},
    {"CL sign", OK "Content-Length: +2\r\n\r\nok", 0, false, false},
    {"CL overflow", OK "Content-Length: 99999999999999999999999\r\n\r\n", 0, false, false},
    {"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 0,
     false, false},
    {"17 interim", FOUR_100 FOUR_100 FOUR_100 FOUR_100 "HTTP/1.1 199 X\r\n\r\n" EMPTY, 0, false,
     false},
    {"status 0", "HTTP/1.1 000 X\r\n\r\n", 0, false, false},
    {"status 99", "HTTP/1.1 99 X\r\n\r\n", 0, false, false},
    {"status 099", "HTTP/1.1 099 X\r\n\r\n", 0, false, false},
    {"status 600", "HTTP/1.1 600 X\r\n\r\n", 0, false, false},
    {"status 2000", "HTTP/1.1 2000 X\r\n\r\n", 0, false, false},
    {"status 20x", "HTTP/1.1 20x X\r\n\r\n", 0, false, false},
    {"status -1", "HTTP/1.1 -01 X\r\n\r\n", 0, false, false},
    {"HTTP/0.9", "HTTP/0.9 200 OK\r\n\r\n", 0, false, false},
    {"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", 0, false, false},
    {"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", 0, false, false},
    {"HTTP/2 settings", "\x01\x01\x12\x04\x01\x01", 0, false, false},
    {"garbage", "<html>hello</html>", 0, false, false},
    {"SSH", "SSH-2.0-OpenSSH_9.2\r\n", 0, false, false},
    {"blank line first", "\r\n" EMPTY, 0, false, false},
    {"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", 0, false, false},
    {"bare CR", OK "A: b\rc\r\nContent-Length: 0\r\n\r\n", 0, false, false},
    {"folded line", OK "A: b\r\n c\r\nContent-Length: 0\r\n\r\n", 0, false, false},
    {"blank before colon", OK "Content-Length : 0\r\n\r\n", 0, false, false},
    {"no colon", OK "Content-Length\r\n\r\n", 0, false, false},
    {"not finished", OK "Content-Length: 0\r\n", 0, false, false},
};

static void feed_split(rbk_response *r, const char *text, size_t n, size_t step)
{
    rbk_response_init(r);
    for (size_t i = 0; i < n; i += step) {
        if (r->done) {
            r->clean = false; /* what the client makes of it: bytes that nobody asked for */
            return;
        }
        if (rbk_response_feed(r, text + i, step < n - i ? step : n - i) < 0)
            return;
    }
}

static void test_answers(void **state)
{
    (void)state;
    static const size_t steps[] = {1 << 20, 1, 2, 7};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const answer *a = &answers[i];
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++) {
            rbk_response r;
            feed_split(&r, a->text, strlen(a->text), steps[k]);
            bool good = r.status == a->status && r.head_done == (a->status != 0) &&
                        r.done == a->done && r.clean == a->clean;
            if (!good)
                print_error("%s, step %zu: status %d done %d clean %d fault %s\n", a->name,
                            steps[k], r.status, r.done, r.clean, r.fault ? r.fault : "-");
            assert_true(good);
        }
    }
}

/* Where an upgrade was asked for: the 101 is the answer, its lines are kept, and not a byte
 * behind it is taken for HTTP, however the bytes are split. */
static void test_upgrade(void **state)
{
    static const char text[] =
        "HTTP/1.1 103 Early Hints\r\nUpgrade: wrong\r\n\r\n"
        "HTTP/1.1 101 Switching Protocols\r\nUPGRADE:  websocket\r\nConnection: x, Upgrade\r\n"
        "Content-Length: 3\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        "Sec-WebSocket-Extensions: a\r\nSec-WebSocket-Protocol: b\r\n\r\n\x88\x02\x03\xe8";
    (void)state;
    for (size_t step = 1; step < sizeof text; step++) {
        rbk_response r;
        rbk_response_upgrade up = {0};
        size_t rest = 0;
        rbk_response_init(&r);
        r.upgrade = &up;
        for (size_t i = 0; i < sizeof text - 1; i += step) {
            size_t n = step < sizeof text - 1 - i ? step : sizeof text - 1 - i;
            if (r.done) {
                rest += n; /* the owner's from now on */
                continue;
            }
            assert_int_equal(rbk_response_feed(&r, text + i, n), 0);
            if (r.done && up.rest.n)
                assert_memory_equal(up.rest.p, "\x88\x02\x03\xe8", up.rest.n);
            rest += r.done ? up.rest.n : 0;
        }
        assert_int_equal(r.status, 101);
        assert_int_equal(rest, 4);
        assert_int_equal(up.n_upgrade, 1);
        assert_int_equal(up.upgrade_n, 9);
        assert_memory_equal(up.upgrade, "websocket", 9);
        assert_int_equal(up.n_connection, 1);
        assert_memory_equal(up.connection, "x, Upgrade", 10);
        assert_int_equal(up.n_accept, 1);
        assert_int_equal(up.accept_n, 28);
        assert_int_equal(up.n_unasked, 2);
    }
}

static void test_upgrade_of_http10(void **state)
{
    static const char text[] = "HTTP/1.0 101 X\r\nUpgrade: websocket\r\n\r\n";
    rbk_response r;
    rbk_response_upgrade up = {0};
    (void)state;
    rbk_response_init(&r);
    r.upgrade = &up;
    assert_int_equal(rbk_response_feed(&r, text, sizeof text - 1), RBK_E_PROTOCOL);
    assert_false(r.head_done);
}

/* NUL has no place in a C string, so it is not in the table. */
static void test_nul(void **state)
{
    (void)state;
    static const char text[] = OK "A: b\0c\r\nContent-Length: 0\r\n\r\n";
    rbk_response r;
    feed_split(&r, text, sizeof text - 1, 1 << 20);
    assert_false(r.head_done);
    assert_non_null(r.fault);
}

static int feed_head_of(size_t total, rbk_response *r)
{
    static const char line[] = "X: 0123456789012345678901234\r\n"; /* 30 bytes */
    static char text[RBK_RESPONSE_HEAD_MAX + 64];
    size_t n = (size_t)sprintf(text, OK);
    while (n + sizeof line - 1 + 8 <= total - 2) {
        memcpy(text + n, line, sizeof line - 1);
        n += sizeof line - 1;
    }
    n += (size_t)sprintf(text + n, "Y: %0*d\r\n\r\n", (int)(total - 2 - n - 5), 0);
    assert_int_equal(n, total);
    rbk_response_init(r);
    return rbk_response_feed(r, text, n);
}

static void test_head_limit(void **state)
{
    (void)state;
    rbk_response r;
    assert_int_equal(feed_head_of(RBK_RESPONSE_HEAD_MAX, &r), 0);
    assert_int_equal(r.status, 200);
    assert_int_equal(feed_head_of(RBK_RESPONSE_HEAD_MAX + 1, &r), RBK_E_PROTOCOL);
    assert_false(r.head_done);
}

static void test_body_limit(void **state)
{
    (void)state;
    static char block[4096];
    rbk_response r;
    const char *head = OK "Content-Length: 10737418240\r\n\r\n";
    size_t fed = 0;
    memset(block, 'x', sizeof block);
    rbk_response_init(&r);
    assert_int_equal(rbk_response_feed(&r, head, strlen(head)), 0);
    while (!r.done && fed < 1 << 20) {
        assert_int_equal(rbk_response_feed(&r, block, sizeof block), 0);
        fed += sizeof block;
    }
    assert_int_equal(r.status, 200);
    assert_false(r.clean);
    assert_in_range(fed, RBK_RESPONSE_BODY_MAX - 4096, RBK_RESPONSE_BODY_MAX + 4096);
}

static void check_retry(const char *headers, const char *want)
{
    char text[512];
    rbk_response r;
    snprintf(text, sizeof text, "HTTP/1.1 429 X\r\n%sContent-Length: 0\r\n\r\n", headers);
    for (size_t step = 1; step < 1000; step += 998) {
        feed_split(&r, text, strlen(text), step);
        assert_int_equal(r.status, 429);
        rbk_str got = rbk_response_retry_after(&r);
        if (want == NULL) {
            assert_null(got.p);
        } else {
            assert_non_null(got.p);
            assert_true(rbk_str_eqz(got, want));
        }
    }
}

static void test_retry_after(void **state)
{
    (void)state;
    check_retry("", NULL);
    check_retry("Retry-After: 120\r\n", "120");
    check_retry("RETRY-AFTER:  Wed, 21 Oct 2015 07:28:00 GMT \r\n",
                "Wed, 21 Oct 2015 07:28:00 GMT");
    check_retry("Retry-After:\r\n", "");
    check_retry("Retry-After: 1\r\nRetry-After: 1\r\n", NULL);
    check_retry(
        "Retry-After: 99999999999999999999999999999999999999999999999999999999999999999\r\n", NULL);
    check_retry("X-Retry-After: 5\r\nRetry-After-X-And-Some-More: 6\r\nRetry-After: 7\r\n", "7");
}

/* One in an interim answer or in a trailer is not the answer's. */
static void test_retry_after_elsewhere(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 103 X\r\nRetry-After: 9\r\n\r\n"
                               "HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "0\r\nRetry-After: 8\r\n\r\n";
    rbk_response r;
    feed_split(&r, text, sizeof text - 1, 1 << 20);
    assert_int_equal(r.status, 503);
    assert_true(r.done);
    assert_null(rbk_response_retry_after(&r).p);
}

/* The final status must begin after the request ended; an interim one may come before. */
static void test_early(void **state)
{
    (void)state;
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n", empty[] = EMPTY;
    rbk_response r;
    rbk_response_init(&r);
    r.request_open = true;
    assert_int_equal(rbk_response_feed(&r, interim, sizeof interim - 1), 0);
    r.request_open = false;
    assert_int_equal(rbk_response_feed(&r, empty, sizeof empty - 1), 0);
    assert_true(r.done);
    assert_false(r.early);

    rbk_response_init(&r);
    r.request_open = true;
    assert_int_equal(rbk_response_feed(&r, empty, 5), 0);
    r.request_open = false;
    assert_int_equal(rbk_response_feed(&r, empty + 5, sizeof empty - 6), 0);
    assert_true(r.done);
    assert_true(r.early);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_upgrade_of_http10),     cmocka_unit_test(test_nul),
        cmocka_unit_test(test_head_limit),  cmocka_unit_test(test_body_limit),
        cmocka_unit_test(test_retry_after), cmocka_unit_test(test_retry_after_elsewhere),
        cmocka_unit_test(test_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
