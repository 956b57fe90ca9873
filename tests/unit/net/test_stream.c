/* SPDX-License-Identifier: Apache-2.0 */
/* Streams over loopback, plain and under TLS: what is sent arrives, whole and in order,
 * whoever reads slowly; and connections that are not made. */
#include "stream_rig.h"

/* --- what is sent arrives --- */

static void exchange(const pair *p)
{
    rig r;
    set_up(&r, p->server);
    r.server.echo = true;
    go(&r, p->client, p->client ? "good.example" : NULL);
    rbk_stream_write(r.client.s, "hel", 3); /* before it is open: kept */
    until(&r, r.client.opened && r.server.opened);
    rbk_stream_write(r.client.s, "", 0);
    assert_int_equal(rbk_stream_write(r.client.s, "lo", 2), 0);
    until(&r, r.client.got == 5);
    assert_true(rbk_stream_fd(r.client.s) >= 0);
    assert_memory_equal(rbk_stream_peer(r.server.s), "127.0.0.1:", 10);
    char text[32];
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(r.addr.sin_port));
    assert_string_equal(rbk_stream_peer(r.client.s), text);
    assert_int_equal(rbk_stream_unsent(r.client.s), 0);
    rbk_stream_write(r.client.s, "last", 4);
    rbk_stream_close(r.client.s, false);
    assert_int_equal(rbk_stream_write(r.client.s, "x", 1), RBK_E_CLOSED);
    assert_int_equal(r.client.closed, 0); /* never from within */
    until(&r, r.server.ended);
    assert_int_equal(r.server.got, 9); /* sent before the end */
    assert_string_equal(r.server.last, "last");
    close_both(&r);
    assert_int_equal(r.client.err, 0);
    assert_int_equal(r.server.err, 0);
    assert_string_equal(r.client.detail, "");
    assert_int_equal(r.client.opened, 1);
    assert_int_equal(r.server.opened, 1);
    assert_true(r.client.drained >= 1);
    tear_down(&r);
}

static void test_exchange(void **state)
{
    (void)state;
    pair t = tls_pair();
    exchange(&plain);
    exchange(&t);
    free_pair(&t);
}

/* Many writes of a turn are one packet. */
static void test_one_write_a_turn(void **state)
{
    (void)state;
    pair t = tls_pair();
    for (int tls = 0; tls < 2; tls++) {
        rig r;
        open_both(&r, tls ? &t : &plain);
        for (int i = 0; i < 100; i++)
            rbk_stream_write(r.client.s, "0123456789", 10);
        until(&r, r.server.got == 1000);
        assert_int_equal(r.server.n_data, 1);
        assert_int_equal(r.client.drained, 1);
        close_both(&r);
        tear_down(&r);
    }
    free_pair(&t);
}

static void transfer(const pair *p, bool pausing)
{
    rig r;
    set_up(&r, p->server);
    r.client.to_send = r.server.to_send = BIG;
    r.client.pause_each = pausing;
    go(&r, p->client, "127.0.0.1");
    while (r.client.got < BIG && !r.late) {
        uv_run(rbk_loop_uv(r.l), pausing ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        if (pausing && r.client.opened && r.client.closed == 0 && r.client.s->paused) {
            turn(&r, 1);
            rbk_stream_resume(r.client.s);
        }
    }
    until(&r, r.client.got == BIG && r.server.got == BIG);
    assert_int_equal(r.client.bad + r.server.bad, 0);
    assert_false(r.client.resumed_early);
    assert_true(r.client.drained > 10);
    r.client.pause_each = false;
    rbk_stream_resume(r.client.s);
    close_both(&r);
    assert_int_equal(r.client.err, 0);
    assert_int_equal(r.server.err, 0);
    tear_down(&r);
}

static void test_big_both_ways(void **state)
{
    (void)state;
    pair t = tls_pair();
    for (int pausing = 0; pausing < 2; pausing++) {
        transfer(&plain, pausing);
        transfer(&t, pausing);
    }
    free_pair(&t);
}

/* A peer that does not read: what is written stays, and is counted, and goes later. */
static void test_unsent(void **state)
{
    (void)state;
    pair t = tls_pair();
    for (int tls = 0; tls < 2; tls++) {
        rig r;
        char *big = calloc(1, 3 * BIG);
        open_both(&r, tls ? &t : &plain);
        rbk_stream_pause(r.server.s);
        for (size_t i = 0; i < 3 * BIG; i++)
            big[i] = (char)pattern(i);
        rbk_stream_write(r.client.s, big, 3 * BIG);
        assert_int_equal(rbk_stream_unsent(r.client.s), 3 * BIG);
        turn(&r, 200);
        assert_true(rbk_stream_unsent(r.client.s) > 0);
        assert_true(rbk_stream_unsent(r.client.s) < 3 * BIG);
        assert_int_equal(r.client.drained, 0);
        assert_int_equal(r.server.got, 0);
        rbk_stream_resume(r.server.s);
        rbk_stream_close(r.client.s, false); /* sends it all first */
        until(&r, r.server.ended);
        assert_int_equal(r.server.got, 3 * BIG);
        assert_int_equal(r.server.bad, 0);
        close_both(&r);
        tear_down(&r);
        free(big);
    }
    free_pair(&t);
}

/* The server answers and closes while the client's bytes lie unread: the client gets the
 * whole answer all the same. */
static void test_answer_survives_close(void **state)
{
    (void)state;
    pair t = tls_pair();
    for (int tls = 0; tls < 2; tls++) {
        rig r;
        char *big = calloc(1, 500000);
        open_both(&r, tls ? &t : &plain);
        rbk_stream_pause(r.server.s);
        rbk_stream_pause(r.client.s);
        rbk_stream_write(r.client.s, big, 500000);
        turn(&r, 20);
        r.server.to_send = BIG / 4;
        while (r.server.to_send > 0)
            send_more(&r.server);
        rbk_stream_close(r.server.s, false);
        turn(&r, 20);
        rbk_stream_resume(r.client.s);
        until(&r, r.client.ended);
        assert_int_equal(r.client.got, BIG / 4);
        assert_int_equal(r.client.bad, 0);
        rbk_stream_close(r.client.s, false);
        until(&r, r.client.closed && r.server.closed);
        tear_down(&r);
        free(big);
    }
    free_pair(&t);
}

/* --- connecting --- */

static bool refuse(const struct sockaddr *addr, void *user)
{
    *(uint16_t *)user = ((const struct sockaddr_in *)(const void *)addr)->sin_port;
    return false;
}

static void test_not_allowed(void **state)
{
    (void)state;
    rig r;
    uint16_t asked = 0;
    set_up(&r, NULL);
    rbk_connect c = {.addr = (struct sockaddr *)&r.addr, .allow = refuse, .allow_user = &asked};
    assert_int_equal(rbk_stream_connect(r.l, &c, &callbacks, &r.client, &r.client.s), 0);
    assert_int_equal(asked, r.addr.sin_port);
    assert_int_equal(rbk_stream_fd(r.client.s), -1); /* not even a socket */
    assert_int_equal(r.client.closed, 0);
    until(&r, r.client.closed);
    assert_int_equal(r.client.err, RBK_E_ADDRESS);
    turn(&r, 10);
    assert_int_equal(r.connections, 0);
    assert_int_equal(r.client.opened, 0);
    tear_down(&r);
}

static void test_refused(void **state)
{
    (void)state;
    rig r;
    set_up(&r, NULL);
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound, and does not listen */
    socklen_t n = sizeof r.addr;
    r.addr.sin_port = 0;
    assert_int_equal(bind(fd, (struct sockaddr *)&r.addr, sizeof r.addr), 0);
    getsockname(fd, (struct sockaddr *)&r.addr, &n);
    go(&r, NULL, NULL);
    until(&r, r.client.closed);
    assert_int_equal(r.client.err, RBK_E_CONNECT);
    assert_string_equal(r.client.detail, "connection refused");
    assert_int_equal(r.client.opened, 0);
    close(fd);
    tear_down(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_one_write_a_turn),
        cmocka_unit_test(test_big_both_ways),
        cmocka_unit_test(test_unsent),
        cmocka_unit_test(test_answer_survives_close),
        cmocka_unit_test(test_not_allowed),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
