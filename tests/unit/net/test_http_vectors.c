/* SPDX-License-Identifier: Apache-2.0 */
/* The request vectors over real sockets: whole, byte by byte, and cut in two at every byte. Where a request is
 * refused there is one answer and then the end, whatever was smuggled behind it; where
 * it is accepted the connection stays in step. */
#include "http_rig.h"
#include "http_vectors.h"

static const char two[] = "POST /rpc HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nfirst"
                          "POST /rpc HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
                          "Connection: close\r\n\r\n6\r\nsecond\r\n0\r\n\r\n";

enum {
    SHORT_MAX = 1024, /* the longer ones are cut by the parser's own test */
    AT_ONCE = 64      /* connections */
};

typedef struct run {
    rig *g;
    size_t step; /* 0: in two, at every byte */
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

static void look_at_nothing(void *arg)
{
    (void)arg;
}

/* What was sent is in the server's socket. In its first turn the loop wakes up and may still see
 * this call alone; the second one begins when all that woke it was done. */
static void await_read(const rig *g)
{
    rbk_loop_call(g->loop, look_at_nothing, NULL);
    rbk_loop_call(g->loop, look_at_nothing, NULL);
}

/* The bytes behind `cut` in pieces of `step`, then the answers. */
static void finish(const vector *v, rbk_str all, int fd, size_t cut, size_t step)
{
    bool sent = rig_send(fd, (rbk_str){all.p + cut, all.n - cut}, step);
    /* Refused, it need not be taken to its end. */
    assert_true(sent || vector_status(v));
    (vector_status(v) ? expect_refusal : expect_answers)(v, fd);
    close(fd);
}

/* On each connection two pieces: the server has read the first before the second comes. */
static void cut_everywhere(const rig *g, const vector *v, rbk_str all)
{
    int fds[AT_ONCE];
    for (size_t cut = 1, n = 0; cut < all.n; cut += n) {
        n = all.n - cut < AT_ONCE ? all.n - cut : AT_ONCE;
        for (size_t i = 0; i < n; i++) {
            fds[i] = rig_socket(g);
            assert_true(rig_send(fds[i], (rbk_str){all.p, cut + i}, SIZE_MAX));
        }
        await_read(g);
        for (size_t i = 0; i < n; i++)
            finish(v, all, fds[i], cut + i, SIZE_MAX);
    }
}

static void check_vector(const vector *v, void *user)
{
    const run *r = user;
    if (r->step < v->bytes.n && v->bytes.n > (r->step ? 65536 : SHORT_MAX))
        return;
    rbk_buf b = RBK_BUF(32 << 20);
    rbk_buf_str(&b, rbk_buf_view(&v->bytes));
    if (!vector_status(v))
        rbk_buf_z(&b, two);
    if (r->step)
        finish(v, rbk_buf_view(&b), rig_socket(r->g), 0, r->step);
    else
        cut_everywhere(r->g, v, rbk_buf_view(&b));
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

/* The mutations are all of one shape, and the parser's own test cuts them too. */
static void test_cut_at_every_byte(void **state)
{
    (void)state;
    rig g = {0};
    rig_start(&g);
    run r = {&g, 0};
    assert_int_equal(each_vector("ringback-http.json", check_vector, &r), 34);
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_cut_at_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
