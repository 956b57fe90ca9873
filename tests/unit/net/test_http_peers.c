/* SPDX-License-Identifier: Apache-2.0 */
/* What the HTTP server counts, and how it limits the connections of one address. */
#include "http_rig.h"

#include "net/peers.h"

#define HOST    " HTTP/1.1\r\nHost: h\r\n"

static uint64_t now_of(const atomic_uint_fast64_t *n)
{
    return rbk_count_now(n);
}

static size_t answered; /* bytes that ask() got */

static int ask(const rig *g, inbox *in, const char *path)
{
    char text[128];
    int fd = rig_socket(g);
    snprintf(text, sizeof text, "POST %s" HOST "Connection: close\r\nContent-Length: 2\r\n\r\nhi", path);
    rig_say(fd, text);
    int status = rig_read(fd, in).status;
    answered += in->b.n;
    rig_expect_end(fd, in);
    close(fd);
    return status;
}

static void test_connections_of_one_address(void **state)
{
    (void)state;
    rbk_http_numbers numbers = {0};
    rig g = {.conf.peers = rbk_peers_new(&(rbk_peers_conf){.per_address = 2}),
             .conf.numbers = &numbers};
    inbox in = {0};
    rig_start(&g);
    int a = rig_socket(&g), b = rig_socket(&g);
    rig_await(&g.connections, 2);
    int c = rig_socket(&g);
    answer busy = rig_read(c, &in);
    assert_true(busy.status == 503 && busy.close && rig_header(&busy, "Retry-After").n > 0);
    assert_non_null(memmem(busy.body.p, busy.body.n, "from one address", 16));
    rig_expect_end(c, &in);
    close(c);
    assert_int_equal(g.n_shed[RBK_HTTP_SHED_ADDRESS], 1);
    assert_int_equal(now_of(&numbers.shed[RBK_HTTP_SHED_ADDRESS]), 1);
    assert_int_equal(g.connections, 2); /* it took no place */
    close(b);
    rig_await_closed(&g, 1);
    for (int i = 0; i < 20; i++) { /* a place comes free as often as a connection goes */
        assert_int_equal(ask(&g, &in, "/rpc"), 200);
        rig_await_closed(&g, 1);
    }
    close(a);
    assert_int_equal(g.n_shed[RBK_HTTP_SHED_ALL], 0);
    assert_int_equal(now_of(&numbers.accepted), 22);
    rbk_buf_free(&in.b);
    rig_stop(&g);
    rbk_peers_free(g.conf.peers);
}

static void test_exempt_address(void **state)
{
    (void)state;
    rbk_cidr local = {RBK_HOST_IPV4, 8, {127}};
    rig g = {.conf.peers = rbk_peers_new(&(rbk_peers_conf){
                 .per_address = 1, .exempt = &(rbk_cidrs){&local, 1}})};
    rig_start(&g);
    int fds[8];
    for (int i = 0; i < 8; i++)
        fds[i] = rig_socket(&g);
    rig_await(&g.connections, 8);
    assert_int_equal(g.n_shed[RBK_HTTP_SHED_ADDRESS], 0);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    rig_stop(&g);
    rbk_peers_free(g.conf.peers);
}

static void test_too_often(void **state)
{
    (void)state;
    rig g = {0};
    inbox in = {0};
    rig_start(&g);
    int fd = rig_socket(&g);
    rig_say(fd, "POST /often" HOST "Content-Length: 900000\r\n\r\n"); /* the body need not come */
    answer a = rig_read(fd, &in);
    assert_int_equal(a.status, 429);
    assert_true(rbk_str_eqz(rig_header(&a, "Retry-After"), "17"));
    assert_non_null(memmem(a.body.p, a.body.n, "-32009", 6));
    assert_int_equal(g.n_refused, 1);
    assert_int_equal(g.n_requests, 0);
    close(fd);
    rbk_buf_free(&in.b);
    rig_stop(&g);
}

static void test_numbers(void **state)
{
    (void)state;
    rbk_http_numbers numbers = {0};
    rig g = {.conf.numbers = &numbers};
    inbox in = {0};
    rig_start(&g);
    answered = 0;
    assert_int_equal(ask(&g, &in, "/rpc"), 200);
    assert_int_equal(ask(&g, &in, "/rpc"), 200);
    assert_int_equal(ask(&g, &in, "/empty"), 204);
    assert_int_equal(ask(&g, &in, "/none"), 404);
    assert_int_equal(g.n_refused, 1);
    rig_await_closed(&g, 0);
    assert_int_equal(now_of(&numbers.answers[RBK_HTTP_STATUS_200]), 2);
    assert_int_equal(now_of(&numbers.answers[RBK_HTTP_STATUS_204]), 1);
    assert_int_equal(now_of(&numbers.answers[RBK_HTTP_STATUS_404]), 1);
    assert_int_equal(now_of(&numbers.answers[RBK_HTTP_STATUS_OTHER]), 0);
    assert_int_equal(now_of(&numbers.bytes_out), answered);
    static const char request[] = "POST /rpc" HOST "Connection: close\r\nContent-Length: 2\r\n\r\nhi";
    assert_int_equal(now_of(&numbers.bytes_in), 4 * (sizeof request - 1) + 2 + 1);
    assert_int_equal(rbk_http_status_at_of(505), RBK_HTTP_STATUS_505);
    assert_int_equal(rbk_http_status_at_of(599), RBK_HTTP_STATUS_OTHER);
    rbk_buf_free(&in.b);
    rig_stop(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_of_one_address),
        cmocka_unit_test(test_exempt_address),
        cmocka_unit_test(test_too_often),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
