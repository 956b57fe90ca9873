/* SPDX-License-Identifier: Apache-2.0 */
/* How streams end, plain and under TLS: by the peer, by a reset, in the handshake, at each
 * stage and from within a callback; `closed` comes exactly once. */
#include "stream_rig.h"

/* --- ends --- */

/* A FIN without close_notify is no end. */
static void test_truncated(void **state)
{
    (void)state;
    rig r;
    pair t = tls_pair();
    open_both(&r, &t);
    rbk_stream_write(r.server.s, "half", 4);
    until(&r, r.client.got == 4);
    rbk_stream_close(r.server.s, true);
    until(&r, r.client.closed && r.server.closed);
    assert_int_equal(r.client.err, RBK_E_CLOSED);
    assert_int_equal(r.client.ended, 0);
    assert_int_equal(r.server.err, 0);
    tear_down(&r);
    free_pair(&t);
}

/* After the peer's end one may still write. */
static void test_half_closed(void **state)
{
    (void)state;
    rig r;
    open_both(&r, &plain);
    shutdown(rbk_stream_fd(r.client.s), SHUT_WR);
    until(&r, r.server.ended);
    assert_int_equal(r.server.closed, 0);
    rbk_stream_write(r.server.s, "after", 5);
    until(&r, r.client.got == 5);
    rbk_stream_close(r.server.s, false);
    until(&r, r.client.ended);
    rbk_stream_close(r.client.s, false);
    until(&r, r.client.closed && r.server.closed);
    assert_int_equal(r.server.err + r.client.err, 0);
    tear_down(&r);
}

static int raw_accept(rig *r)
{
    uv_os_fd_t fd;
    uv_fileno((uv_handle_t *)&r->listener, &fd);
    for (int i = 0; i < 1000000; i++) {
        int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (c >= 0)
            return c;
        uv_run(rbk_loop_uv(r->l), UV_RUN_NOWAIT);
    }
    return -1;
}

/* The listener of a rig whose other end the test plays by itself. */
static void set_up_raw(rig *r)
{
    set_up(r, NULL);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    socklen_t n = sizeof r->addr;
    r->addr.sin_port = 0;
    assert_int_equal(bind(fd, (struct sockaddr *)&r->addr, sizeof r->addr), 0);
    assert_int_equal(listen(fd, 4), 0);
    getsockname(fd, (struct sockaddr *)&r->addr, &n);
    uv_close((uv_handle_t *)&r->listener, NULL);
    turn(r, 1);
    uv_tcp_init(rbk_loop_uv(r->l), &r->listener);
    r->listener.data = r;
    uv_tcp_open(&r->listener, fd);
}

static void test_reset(void **state)
{
    (void)state;
    rig r;
    set_up_raw(&r);
    go(&r, NULL, NULL);
    int fd = raw_accept(&r);
    until(&r, r.client.opened);
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    until(&r, r.client.closed);
    assert_int_equal(r.client.err, RBK_E_CLOSED);
    assert_string_equal(r.client.detail, "connection reset by peer");
    assert_int_equal(r.client.ended, 0);
    tear_down(&r);
}

/* What came before a reset is read even though a write met the reset first. */
static void test_last_words(void **state)
{
    (void)state;
    rig r;
    set_up_raw(&r);
    go(&r, NULL, NULL);
    int fd = raw_accept(&r);
    until(&r, r.client.opened);
    assert_int_equal(write(fd, "early", 5), 5);
    close(fd); /* FIN; whatever the client writes is answered by RST */
    rbk_stream_write(r.client.s, "abc", 3);
    rbk_stream_flush_soon(r.client.s);
    until(&r, r.client.ended || r.client.closed);
    assert_int_equal(r.client.got, 5);
    if (r.client.closed == 0)
        rbk_stream_close(r.client.s, false);
    until(&r, r.client.closed);
    tear_down(&r);
}

/* Ends and nonsense in place of a handshake. */
static void test_no_handshake(void **state)
{
    (void)state;
    rbk_tls *ct = client_tls();
    for (int what = 0; what < 3; what++) {
        rig r;
        set_up_raw(&r);
        go(&r, ct, "good.example");
        int fd = raw_accept(&r);
        if (what == 1)
            assert_true(write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28) == 28);
        if (what == 2) /* a handshake record of a length that TLS does not know */
            assert_true(write(fd, "\x16\x03\x03\xff\xff\x02\xff\xff\xff", 9) == 9);
        if (what == 0) {
            char eat[4096];
            ssize_t n = 0;
            until(&r, n > 0 || (n = read(fd, eat, sizeof eat)) > 0);
            close(fd);
        }
        until(&r, r.client.closed);
        assert_int_equal(r.client.err, RBK_E_TLS);
        assert_int_equal(r.client.opened, 0);
        assert_true(strlen(r.client.detail) > 5);
        if (what != 0)
            close(fd);
        tear_down(&r);
    }
    rbk_tls_free(ct);
}

/* --- closing at each stage --- */

static void close_after(const pair *p, int turns, bool now, bool by_server)
{
    rig r;
    set_up(&r, p->server);
    r.client.to_send = r.server.to_send = 200000;
    go(&r, p->client, "good.example");
    turn(&r, turns);
    end *e = by_server && r.server.s ? &r.server : &r.client;
    end *other = e == &r.client ? &r.server : &r.client;
    if (e->closed == 0)
        rbk_stream_close(e->s, now);
    if (e->closed == 0)
        rbk_stream_close(e->s, now); /* again: nothing more */
    turn(&r, 3);
    if (e->closed == 0)
        rbk_stream_close(e->s, true); /* cut short */
    until(&r, e->closed);
    if (other->s && other->closed == 0)
        rbk_stream_close(other->s, false);
    until(&r, other->s == NULL || other->closed);
    turn(&r, 5);
    if (other->s && other->closed == 0) /* it was accepted only now */
        rbk_stream_close(other->s, true);
    until(&r, other->s == NULL || other->closed);
    assert_int_equal(e->closed, 1);
    assert_int_equal(e->err, 0);
    assert_true(other->closed <= 1);
    tear_down(&r);
}

static void test_close_at_each_stage(void **state)
{
    (void)state;
    pair t = tls_pair();
    for (int i = 0; i < 14 * 4; i++) {
        close_after(&plain, i / 4, i & 1, i & 2);
        close_after(&t, i / 4, i & 1, i & 2);
    }
    free_pair(&t);
}

static void test_close_in_callbacks(void **state)
{
    (void)state;
    pair t = tls_pair();
    for (int i = 0; i < 8; i++) {
        bool tls = i & 1;
        rig r;
        set_up(&r, tls ? t.server : NULL);
        r.client.close_now = i & 2;
        r.client.close_at_open = i & 4;
        r.client.close_at_data = !(i & 4);
        r.server.to_send = 300000;
        go(&r, tls ? t.client : NULL, "good.example");
        until(&r, r.client.closed);
        until(&r, r.server.ended || r.server.closed);
        if (r.server.closed == 0)
            rbk_stream_close(r.server.s, true);
        until(&r, r.server.closed);
        turn(&r, 5);
        assert_int_equal(r.client.closed, 1);
        assert_int_equal(r.client.err, 0);
        assert_int_equal(r.client.n_data, i & 4 ? 0 : 1); /* none after the close */
        tear_down(&r);
    }
    free_pair(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_half_closed),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_no_handshake),
        cmocka_unit_test(test_close_at_each_stage),
        cmocka_unit_test(test_close_in_callbacks),
    };
    return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
