/* SPDX-License-Identifier: Apache-2.0 */
/* The two readers of a request: every vector, whole, cut at every byte, and byte by
 * byte, must give one verdict; every letter of the alphabet in every place; limits at
 * the limit and one past it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "../../support/http_reader.h"
#include "http_vectors.h"

static verdict read_text(const char *text)
{
    return read_whole(rbk_str_z(text));
}

static void assert_same(const char *id, verdict a, verdict b)
{
    if (a.requests != b.requests || a.status != b.status || a.hash != b.hash ||
        a.in_request != b.in_request)
        fail_msg("%s: the verdict depends on how the bytes are split: %zu/%d, %zu/%d", id,
                 a.requests, a.status, b.requests, b.status);
}

static void check_vector(const vector *v, void *user)
{
    (void)user;
    rbk_str in = rbk_buf_view(&v->bytes);
    verdict whole = read_whole(in);
    if (whole.status != vector_status(v))
        fail_msg("%s: status %d, not %d", v->id, whole.status, vector_status(v));
    size_t want = vector_status(v) ? 0 : strcmp(v->want, "100_answers_in_order") == 0 ? 100 : 1;
    if (whole.requests != want)
        fail_msg("%s: %zu requests, not %zu", v->id, whole.requests, want);
    assert_same(v->id, whole, read_all(in, 1, 1));
    for (size_t cut = 1; in.n < 4096 && cut < in.n; cut++)
        assert_same(v->id, whole, read_all(in, cut, in.n));
}

static void check_pipelined(const vector *v, void *user)
{
    (void)user;
    if (vector_status(v) || strcmp(v->want, "one_answer_then_close") == 0)
        return;
    static const char two[] = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1"
                              "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "1\r\n2\r\n0\r\n\r\n";
    rbk_buf b = RBK_BUF(32 << 20);
    rbk_buf_str(&b, rbk_buf_view(&v->bytes));
    size_t before = read_whole(rbk_buf_view(&b)).requests;
    rbk_buf_z(&b, two);
    verdict whole = read_whole(rbk_buf_view(&b));
    assert_int_equal(whole.status, 0);
    assert_int_equal(whole.requests, before + 2);
    assert_false(whole.in_request);
    assert_same(v->id, whole, read_all(rbk_buf_view(&b), 1, 1));
    rbk_buf_free(&b);
}

static void test_vectors(void **state)
{
    (void)state;
    assert_int_equal(each_vector("te-mutations.json", check_vector, NULL), 67);
    assert_int_equal(each_vector("ringback-http.json", check_vector, NULL), 34);
}

static void test_vectors_pipelined(void **state)
{
    (void)state;
    each_vector("te-mutations.json", check_pipelined, NULL);
    each_vector("ringback-http.json", check_pipelined, NULL);
}

/* --- rules, one table ---------------------------------------------------------- */

#define HOST "Host: a.test\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST

static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int status; /* 0: one request and nothing left over */
    } row[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", 0},
        {"GET / HTTP/1.0\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\n\r\n", 400},              /* no Host */
        {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400}, /* two */
        {"GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400},
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 0}, /* a legal reg-name */
        {"GET / HTTP/1.1\r\nHost: a:99\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a:9x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: [::1]:99\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400},
        {"GET http://a.test/x?y HTTP/1.1\r\n" HOST "\r\n", 0},
        {"GET https://A.TEST HTTP/1.1\r\n" HOST "\r\n", 0},
        {"GET http://b.test/ HTTP/1.1\r\n" HOST "\r\n", 400}, /* not the Host */
        {"GET http://u@a.test/ HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET http:///x HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET ftp://a.test/ HTTP/1.1\r\n" HOST "\r\n", 400},
        {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 400},
        {"CONNECT a.test:1 HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /#x HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /\\x HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET  / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET /  HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1 \r\n" HOST "\r\n", 400},
        {" GET / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET\t/ HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET / http/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1x\r\n" HOST "\r\n", 400},
        {"GET / HTTP/01.1\r\n" HOST "\r\n", 400},
        {"GET /\r\n" HOST "\r\n", 400},
        {"GET / HTTP/2.0\r\n" HOST "\r\n", 505},
        {"GET / HTTP/0.9\r\n" HOST "\r\n", 505},
        {"GET / HTTP/1.2\r\n" HOST "\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"FOO / HTTP/1.1\r\n" HOST "\r\n", 501},
        {"post / HTTP/1.1\r\n" HOST "\r\n", 501},
        {"P(ST / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"\x16\x03\x01\r\n", 400},
        {"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 0},
        {"\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"\nGET / HTTP/1.1\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X: y\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X : y\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST " X: y\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n X: y\r\n" HOST "\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X: y\r\n z\r\n\r\n", 400}, /* folded */
        {"GET / HTTP/1.1\r\n" HOST "X: y\r\n\tz\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X:\r\n z\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X: y\rz\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X: y\r\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X:\r\nY:  z  \r\n\r\n", 0},
        {"GET / HTTP/1.1\r\n" HOST ": y\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", 400},
        {POST "Content-Length: 2\r\n\r\n{}", 0},
        {POST "Content-Length: 02\r\n\r\n{}", 0},
        {POST "Content-Length:\r\n\r\n", 400},
        {POST "Content-Length: -1\r\n\r\n", 400},
        {POST "Content-Length: +1\r\n\r\nx", 400},
        {POST "Content-Length: 0x1\r\n\r\nx", 400},
        {POST "Content-Length: 1 1\r\n\r\nx", 400},
        {POST "Content-Length: 1,1\r\n\r\nx", 400},
        {POST "Content-Length: 1, 1\r\n\r\nx", 400},
        {POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400},
        {POST "Content-Length: 1048577\r\n\r\n", 413},
        {POST "Content-Length: 18446744073709551616\r\n\r\n", 400},
        {POST "Content-Length: 36893488147419103233\r\n\r\nx", 400},
        {POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0},
        {POST "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", 0},
        {POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
        {POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400},
        {POST "Transfer-Encoding: gzip,\tchunked\r\n\r\n0\r\n\r\n", 501},
        {POST "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 415},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        verdict v = read_text(row[i].in);
        if (v.status != row[i].status || v.requests != (row[i].status == 0) || v.in_request)
            fail_msg("row %zu: status %d, requests %zu: %s", i, v.status, v.requests, row[i].in);
        assert_same(row[i].in, v, read_all(rbk_str_z(row[i].in), 1, 1));
    }
}

static void test_chunk_rules(void **state)
{
    (void)state;
    static const struct {
        const char *in; /* after the head */
        int status;
        size_t body;
    } row[] = {
        {"2\r\n{}\r\n0\r\n\r\n", 0, 2},
        {"A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n", 0, 20},
        {"0000000000000002\r\n{}\r\n0\r\n\r\n", 0, 2}, /* 16 digits */
        {"00000000000000002\r\n{}\r\n0\r\n\r\n", 400, 0},
        {"ffffffffffffffff\r\n", 413, 0},
        {"10000000000000000\r\n", 400, 0},
        {"100000\r\n", 0, 0}, /* just fits; its data is still to come */
        {"100001\r\n", 413, 0},
        {"\r\n", 400, 0},
        {" 2\r\n", 400, 0},
        {"2 \r\n", 400, 0},
        {"0x2\r\n", 400, 0},
        {"+2\r\n", 400, 0},
        {"2\n{}", 400, 0},
        {"2\r{}", 400, 0},
        {"2\r\n{}\n", 400, 0},
        {"2\r\n{}\rX", 400, 0},
        {"2\r\n{}x", 400, 0},
        {"2;a\r\n{}\r\n0;b=c\r\n\r\n", 0, 2},
        {"2;a;b=\"x;\\\"y\";c=d\r\n{}\r\n0\r\n\r\n", 0, 2},
        {"2;\r\n", 400, 0},
        {"2;=a\r\n", 400, 0},
        {"2;a=\r\n", 400, 0},
        {"2;a=b=c\r\n", 400, 0},
        {"2;a b\r\n", 400, 0},
        {"2;a=\"x\r\n", 400, 0},
        {"2;a=\"x\"y\r\n", 400, 0},
        {"2;a\n{}\r\n", 400, 0},
        {"2;a\rX", 400, 0},
        {"0\r\nX: y\r\nContent-Length: 9\r\n\r\n", 0, 0}, /* trailers are dropped */
        {"0\r\nX:\r\n\r\n", 0, 0},
        {"0\r\nX y\r\n\r\n", 400, 0},
        {"0\r\n: y\r\n\r\n", 400, 0},
        {"0\r\n x\r\n\r\n", 400, 0},
        {"0\r\nX : y\r\n\r\n", 400, 0},
        {"0\r\nX: y\n\r\n", 400, 0},
        {"0\r\nX: \x01\r\n\r\n", 400, 0},
        {"0\r\n\rX", 400, 0},
        {"0\r\n\n", 400, 0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        rbk_buf b = RBK_BUF(4096);
        rbk_buf_lit(&b, POST "Transfer-Encoding: chunked\r\n\r\n");
        rbk_buf_z(&b, row[i].in);
        verdict v = read_whole(rbk_buf_view(&b));
        if (v.status != row[i].status || v.body != row[i].body)
            fail_msg("row %zu: status %d, body %zu: %s", i, v.status, v.body, row[i].in);
        assert_same(row[i].in, v, read_all(rbk_buf_view(&b), 1, 1));
        rbk_buf_free(&b);
    }
}

/* Each of the 256 letters in a name, in a value, in a quoted chunk extension. */
static void test_letters(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        bool token = c && (strchr("!#$%&'*+-.^_`|~", c) || (c >= '0' && c <= '9') ||
                           (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'));
        bool text = c == '\t' || (c >= 0x20 && c != 0x7f);
        assert_int_equal(rbk_http_is_tchar((unsigned char)c), token);
        char name[] = "GET / HTTP/1.1\r\n" HOST "ab: x\r\n\r\n";
        name[sizeof name - 9] = (char)c; /* the b */
        verdict v = read_whole((rbk_str){name, sizeof name - 1});
        if ((v.requests == 1) != (token || c == ':'))
            fail_msg("0x%02x in a name: %d", c, v.status);
        char value[] = "GET / HTTP/1.1\r\n" HOST "a: xyz\r\n\r\n";
        value[sizeof value - 7] = (char)c; /* the y */
        v = read_whole((rbk_str){value, sizeof value - 1});
        if ((v.requests == 1) != text)
            fail_msg("0x%02x in a value: %d", c, v.status);
        char ext[] = POST "Transfer-Encoding: chunked\r\n\r\n0;a=\"xyz\"\r\n\r\n";
        ext[sizeof ext - 8] = (char)c; /* the y */
        v = read_whole((rbk_str){ext, sizeof ext - 1});
        if ((v.requests == 1) != (text && c != '"'))
            fail_msg("0x%02x in an extension: %d", c, v.status);
    }
}

/* --- limits ---------------------------------------------------------------------- */

static void add_many(rbk_buf *b, char c, size_t n)
{
    while (n-- > 0)
        rbk_buf_c(b, c);
}

static int status_of(rbk_buf *b)
{
    verdict v = read_whole(rbk_buf_view(b));
    assert_same("limit", v, read_all(rbk_buf_view(b), 1, 1));
    rbk_buf_free(b);
    return v.status ? v.status : v.requests == 1 && !v.in_request ? 0 : -1;
}

static int with_target(size_t line)
{
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_buf_lit(&b, "GET /");
    add_many(&b, 'x', line - strlen("GET / HTTP/1.1"));
    rbk_buf_lit(&b, " HTTP/1.1\r\n" HOST "\r\n");
    return status_of(&b);
}

static int with_header(size_t line)
{
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_buf_lit(&b, "GET / HTTP/1.1\r\n" HOST "X: ");
    add_many(&b, 'x', line - 3);
    rbk_buf_lit(&b, "\r\n\r\n");
    return status_of(&b);
}

/* Header lines of `bytes` in all, each line's CRLF counted. */
static int with_head(size_t bytes)
{
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_buf_lit(&b, "GET / HTTP/1.1\r\n");
    size_t from = b.n;
    rbk_buf_lit(&b, HOST);
    while (b.n - from < bytes) {
        size_t left = bytes - (b.n - from), n = left > 8000 ? 4000 : left;
        rbk_buf_lit(&b, "X: ");
        add_many(&b, 'x', n - 5);
        rbk_buf_lit(&b, "\r\n");
    }
    rbk_buf_lit(&b, "\r\n");
    return status_of(&b);
}

static int with_fields(size_t n)
{
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_buf_lit(&b, "GET / HTTP/1.1\r\n" HOST);
    for (size_t i = 1; i < n; i++)
        rbk_buf_lit(&b, "X: y\r\n");
    rbk_buf_lit(&b, "\r\n");
    return status_of(&b);
}

static int with_trailers(size_t n, size_t line)
{
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_buf_lit(&b, POST "Transfer-Encoding: chunked\r\n\r\n0\r\n");
    for (size_t i = 0; i < n; i++) {
        rbk_buf_lit(&b, "X: ");
        add_many(&b, 'y', line - 3);
        rbk_buf_lit(&b, "\r\n");
    }
    rbk_buf_lit(&b, "\r\n");
    return status_of(&b);
}

static int with_extensions(size_t bytes)
{
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_buf_lit(&b, POST "Transfer-Encoding: chunked\r\n\r\n0;");
    add_many(&b, 'x', bytes - 1); /* the CR counts */
    rbk_buf_lit(&b, "\r\n\r\n");
    return status_of(&b);
}

static void test_limits(void **state)
{
    (void)state;
    assert_int_equal(with_target(8192), 0);
    assert_int_equal(with_target(8193), 414);
    assert_int_equal(with_target(60000), 414);
    assert_int_equal(with_header(8192), 0);
    assert_int_equal(with_header(8193), 431);
    assert_int_equal(with_head(32768), 0);
    assert_int_equal(with_head(32769), 431);
    assert_int_equal(with_fields(100), 0);
    assert_int_equal(with_fields(101), 431);
    assert_int_equal(with_trailers(98, 10), 0); /* two are in the head */
    assert_int_equal(with_trailers(99, 10), 431);
    assert_int_equal(with_trailers(1, 8192), 0);
    assert_int_equal(with_trailers(1, 8193), 431);
    assert_int_equal(with_trailers(4, 8100), 0);
    assert_int_equal(with_trailers(5, 8100), 431);
    assert_int_equal(with_extensions(4096), 0);
    assert_int_equal(with_extensions(4097), 400);
}

/* --- what is read ---------------------------------------------------------------- */

static void test_fields(void **state)
{
    (void)state;
    rbk_http_head h = {0};
    size_t used;
    rbk_http_head_reset(&h, &conf);
    rbk_str in = RBK_STR("POST /a/b?c=d&e HTTP/1.1\r\nHost: a.test\r\nX-Y: \t z w \r\nEmpty:\r\n"
                         "Expect: 100-Continue\r\nConnection: foo, close\r\n\r\nrest");
    assert_int_equal(rbk_http_head_feed(&h, &conf, in, &used), RBK_HTTP_DONE);
    assert_int_equal(used, in.n - 4);
    assert_true(rbk_str_eqz(h.method, "POST"));
    assert_true(rbk_str_eqz(h.path, "/a/b"));
    assert_true(rbk_str_eqz(h.query, "c=d&e"));
    assert_int_equal(h.n_fields, 5);
    assert_true(rbk_str_eqz(rbk_http_find(h.fields, h.n_fields, "x-y"), "z w"));
    rbk_str empty = rbk_http_find(h.fields, h.n_fields, "empty");
    assert_non_null(empty.p);
    assert_int_equal(empty.n, 0);
    assert_null(rbk_http_find(h.fields, h.n_fields, "none").p);
    assert_int_equal(h.expect, RBK_HTTP_EXPECT_100);
    assert_false(h.keep_alive);

    rbk_http_head_reset(&h, &conf);
    in = RBK_STR("GET http://a.test?q HTTP/1.0\r\nConnection: Keep-Alive\r\nExpect: x\r\n\r\n");
    assert_int_equal(rbk_http_head_feed(&h, &conf, in, &used), RBK_HTTP_DONE);
    assert_true(rbk_str_eqz(h.path, "/"));
    assert_true(rbk_str_eqz(h.query, "q"));
    assert_true(h.keep_alive && h.http10);
    assert_int_equal(h.expect, RBK_HTTP_EXPECT_NONE);
    rbk_http_head_free(&h);
}

static void test_http_words(void **state)
{
    (void)state;
    char date[30];
    rbk_http_date(1795467845678, date);
    assert_string_equal(date, "Mon, 23 Nov 2026 21:04:05 GMT");
    rbk_http_date(784111777000, date);
    assert_string_equal(date, "Sun, 06 Nov 1994 08:49:37 GMT");
    rbk_http_date(0, date);
    assert_string_equal(date, "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_string_equal(rbk_http_reason(200), "OK");
    assert_string_equal(rbk_http_reason(431), "Request Header Fields Too Large");
    assert_string_equal(rbk_http_reason(799), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_vectors_pipelined),
        cmocka_unit_test(test_rules),   cmocka_unit_test(test_chunk_rules),
        cmocka_unit_test(test_letters), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_fields),  cmocka_unit_test(test_http_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
