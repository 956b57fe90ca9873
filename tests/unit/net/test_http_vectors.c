/* SPDX-License-Identifier: Apache-2.0 */
/* The request vectors over real sockets: whole and byte by byte. Where a request is
 * refused there is one answer and then the end, whatever was smuggled behind it; where
 * it is accepted the connection stays in step. */
#include "http_rig.h"
#include "http_vectors.h"

static const char two[] = "POST /rpc HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nfirst"
                          "POST /rpc HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
                          "Connection: close\r\n\r\n6\r\nsecond\r\n0\r\n\r\n";

typedef struct run {
    rig *g;
    size_t step;
} run;

static void expect_refusal(const vector *v, int fd)
{
    inbox in = {0};
    answer a = rig_read(fd, &in);
    if (a.status != vector_status(v) || !a.close)
        fail_msg("%s: status %d, not %d", v->id, a.status, vector_status(v));
    assert_true(rbk_str_starts(a.body, RBK_STR("{\"id\":null,\"error\":{\"code\":-32600,")));
    rig_expect_end(fd, &in);
}

static void expect_answers(const vector *v, int fd)
{
    inbox in = {0};
    size_t n = strcmp(v->want, "100_answers_in_order") == 0 ? 100 : 1;
    bool last = strcmp(v->want, "one_answer_then_close") == 0;
    for (size_t i = 0; i < n; i++) {
        answer a = rig_read(fd, &in);
        if (a.status != 200 || a.close != last)
            fail_msg("%s: status %d", v->id, a.status);
        if (strcmp(v->want, "body_by_content_length") == 0)
            assert_true(rbk_str_eqz(a.body, "0\r\n\r\n"));
    }
    if (!last) {
        answer a = rig_read(fd, &in);
        assert_true(rbk_str_eqz(a.body, "first"));
        a = rig_read(fd, &in);
        assert_true(rbk_str_eqz(a.body, "second") && a.close);
    }
    rig_expect_end(fd, &in);
}

static void check_vector(const vector *v, void *user)
{
    const run *r = user;
    if (r->step < v->bytes.n && v->bytes.n > 65536)
        return; /* the parser's own test cuts the long ones */
    rbk_buf b = RBK_BUF(32 << 20);
    rbk_buf_str(&b, rbk_buf_view(&v->bytes));
    if (!vector_status(v))
        rbk_buf_z(&b, two);
    int fd = rig_socket(r->g);
    /* Refused, it need not be taken to its end. */
    bool sent = rig_send(fd, rbk_buf_view(&b), r->step);
    assert_true(sent || vector_status(v));
    (vector_status(v) ? expect_refusal : expect_answers)(v, fd);
    close(fd);
    rbk_buf_free(&b);
}

static void run_all(size_t step)
{
    rig g = {0};
    rig_start(&g);
    run r = {&g, step};
    assert_int_equal(each_vector("te-mutations.json", check_vector, &r), 67);
    assert_int_equal(each_vector("ringback-http.json", check_vector, &r), 34);
    rig_stop(&g);
}

static void test_whole(void **state)
{
    (void)state;
    run_all(SIZE_MAX);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    run_all(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
