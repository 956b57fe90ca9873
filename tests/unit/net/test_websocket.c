/* SPDX-License-Identifier: Apache-2.0 */
/* Websocket frames: RFC 6455's own examples, every split of the bytes, and peers that send
 * what no decent one does. The bytes are made here by hand. */
#include "net/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { IN_MAX = 64 * 1024 };

typedef struct end {
    rbk_ws *ws;
    char said[256];
    size_t said_n;
    int n_messages;
} end;

static void on_message(rbk_ws *ws, rbk_str text, void *user)
{
    end *e = user;
    (void)ws;
    e->n_messages++;
    e->said_n = text.n;
    memcpy(e->said, text.p, text.n < sizeof e->said ? text.n : sizeof e->said);
}

static void open_end(end *e, bool server)
{
    memset(e, 0, sizeof *e);
    rbk_ws_conf conf = {.server = server, .max_in = IN_MAX, .message = on_message, .user = e};
    assert_int_equal(rbk_ws_new(&conf, &e->ws), 0);
}

/* In pieces of `piece` bytes. The first error, or 0. */
static int feed(end *e, const void *p, size_t n, size_t piece)
{
    int r = 0;
    for (size_t at = 0; at < n && r == 0; at += piece) {
        /* Bytes of its own, so that a sanitizer sees who reads past them. */
        size_t m = n - at < piece ? n - at : piece;
        char *copy = malloc(m);
        assert_non_null(copy);
        memcpy(copy, (const char *)p + at, m);
        r = rbk_ws_feed(e->ws, (rbk_str){copy, m});
        free(copy);
    }
    return r;
}

/* --- arithmetic of the handshake --- */

static void test_keys(void **state)
{
    char accept[RBK_WS_ACCEPT_MAX], a[RBK_WS_KEY_MAX], b[RBK_WS_KEY_MAX];
    (void)state;
    rbk_ws_accept(RBK_STR("dGhlIHNhbXBsZSBub25jZQ=="), accept); /* RFC 6455 section 1.3 */
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    rbk_ws_key(a);
    rbk_ws_key(b);
    assert_string_not_equal(a, b);
    assert_true(rbk_ws_key_ok(rbk_str_z(a)));
    assert_true(rbk_ws_key_ok(RBK_STR("dGhlIHNhbXBsZSBub25jZQ==")));
    assert_false(rbk_ws_key_ok(RBK_STR("dGhlIHNhbXBsZSBub25jZR=="))); /* bits behind the end */
    assert_false(rbk_ws_key_ok(RBK_STR("dGhlIHNhbXBsZSBub25jZQ=")));
    assert_false(rbk_ws_key_ok(RBK_STR("dGhlIHNhbXBsZSBub25jZQAA")));
    assert_false(rbk_ws_key_ok(RBK_STR("dGhlIHNhbXBs SBub25jZQ==")));
    assert_false(rbk_ws_key_ok(RBK_STR("")));
    assert_false(rbk_ws_key_ok(RBK_STR_NONE));
}

/* --- what is sent --- */

/* A client's text and close: masked, by other masks each time, whole in one frame. */
static void test_client_sends_masked(void **state)
{
    static const size_t sizes[] = {0, 1, 125, 126, 127, 65535, 65536, 200000};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i], head = n < 126 ? 2 : n < 65536 ? 4 : 10;
        end e;
        char *text = malloc(n + 1);
        assert_non_null(text);
        memset(text, 'a', n);
        open_end(&e, false);
        assert_int_equal(rbk_ws_send_text(e.ws, (rbk_str){text, n}), 0);
        assert_int_equal(rbk_ws_send_close(e.ws, 1000), 0);
        rbk_str out = rbk_buf_view(rbk_ws_out(e.ws));
        const uint8_t *p = (const uint8_t *)out.p, *mask = p + head, *body = mask + 4;
        assert_int_equal(out.n, head + 4 + n + 2 + 4 + 2);
        assert_int_equal(p[0], 0x81);
        assert_int_equal(p[1], 0x80 | (n < 126 ? (int)n : n < 65536 ? 126 : 127));
        for (size_t k = 0; k < n; k++)
            assert_int_equal(body[k] ^ mask[k % 4], 'a');
        const uint8_t *end_frame = body + n;
        assert_int_equal(end_frame[0], 0x88);
        assert_int_equal(end_frame[1], 0x82);
        assert_int_equal(end_frame[6] ^ end_frame[2], 1000 >> 8);
        assert_int_equal(end_frame[7] ^ end_frame[3], 1000 & 0xff);
        assert_memory_not_equal(mask, end_frame + 2, 4);
        assert_int_equal(rbk_ws_send_text(e.ws, RBK_STR("x")), RBK_E_STATE); /* it is closed */
        rbk_ws_free(e.ws);
        free(text);
    }
}

/* Both ends against each other, byte by byte: the message arrives, both are closed. */
static void test_exchange(void **state)
{
    (void)state;
    for (size_t piece = 1; piece < 64; piece++) {
        end client, server;
        open_end(&client, false);
        open_end(&server, true);
        rbk_ws_send_text(client.ws, RBK_STR("{\"id\":1,\"result\":\"\xc3\xa4\"}"));
        rbk_ws_send_close(client.ws, 1000);
        rbk_str out = rbk_buf_view(rbk_ws_out(client.ws));
        assert_int_equal(feed(&server, out.p, out.n, piece), 0);
        assert_int_equal(server.n_messages, 1);
        assert_int_equal(server.said_n, 22);
        assert_memory_equal(server.said, "{\"id\":1,\"result\":\"\xc3\xa4\"}", 22);
        assert_int_equal(rbk_ws_closed_by(server.ws), 1000);
        out = rbk_buf_view(rbk_ws_out(server.ws));
        assert_int_equal(out.n, 4);
        assert_memory_equal(out.p, "\x88\x02\x03\xe8", 4);
        assert_int_equal(feed(&client, out.p, out.n, piece), 0);
        assert_int_equal(rbk_ws_closed_by(client.ws), 1000);
        rbk_ws_free(client.ws);
        rbk_ws_free(server.ws);
    }
}

/* --- what a client hears --- */

typedef struct row {
    const char *name, *bytes;
    size_t n;
    int err, code; /* of feed(); of the close */
} row;

#define ROW(name, text, err, code) {name, text, sizeof(text) - 1, err, code}
#define BAD                        RBK_E_PROTOCOL

static const row heard[] = {
    ROW("close 1000", "\x88\x02\x03\xe8", 0, 1000),
    ROW("close with a reason", "\x88\x06\x03\xe8 \xc3\xa4!", 0, 1000),
    ROW("close without a code", "\x88\x00", 0, RBK_WS_NO_CODE),
    ROW("going away", "\x88\x02\x03\xe9", 0, 1001),
    ROW("internal error", "\x88\x02\x03\xf3", 0, 1011),
    ROW("service restart", "\x88\x02\x03\xf4", 0, 1012),
    ROW("try again later", "\x88\x05\x03\xf5 no", 0, 1013),
    ROW("bad gateway", "\x88\x02\x03\xf6", 0, 1014),
    ROW("a code of its own", "\x88\x02\x13\x87", 0, 4999),
    ROW("text before", "\x81\x02ok\x88\x02\x03\xe8", 0, 1000),
    ROW("binary before", "\x82\x02\x00\xff\x88\x02\x03\xe8", 0, 1000),
    ROW("fragments with a ping among them", "\x01\x01o\x89\x01p\x80\x01k\x88\x02\x03\xe8", 0, 1000),
    ROW("pong nobody asked for", "\x8a\x00\x88\x02\x03\xe8", 0, 1000),
    ROW("bytes behind the close", "\x88\x02\x03\xe8\xff\xff\xff", 0, 1000),
    ROW("nothing yet", "\x81\x02o", 0, 0),
    ROW("half a close", "\x88\x02\x03", 0, 0),

    ROW("masked", "\x81\x82\x01\x02\x03\x04nn", BAD, 0),
    ROW("masked close", "\x88\x82\x00\x00\x00\x00\x03\xe8", BAD, 0),
    ROW("masked restart", "\x88\x82\x00\x00\x00\x00\x03\xf4", BAD, 0),
    ROW("reserved bit 1", "\xc1\x02ok", BAD, 0),
    ROW("reserved bit 2", "\xa1\x02ok", BAD, 0),
    ROW("reserved bit 3", "\x91\x02ok", BAD, 0),
    ROW("reserved bit of a close", "\xc8\x02\x03\xe8", BAD, 0),
    ROW("unknown opcode 3", "\x83\x00", BAD, 0),
    ROW("unknown opcode 11", "\x8b\x00", BAD, 0),
    ROW("close in fragments", "\x08\x01\x03\x80\x01\xe8", BAD, 0),
    ROW("long close", "\x88\x7e\x00\x7e", BAD, 0),
    ROW("long ping", "\x89\x7e\x00\x7e", BAD, 0),
    ROW("length in more bytes than needed", "\x81\x7e\x00\x02ok", BAD, 0),
    ROW("the same, 64 bits", "\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x02ok", BAD, 0),
    ROW("negative length", "\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", BAD, 0),
    ROW("too large by its head", "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x01x", BAD, 0),
    ROW("continuation of nothing", "\x80\x02ok", BAD, 0),
    ROW("text within text", "\x01\x01o\x81\x01k", BAD, 0),
    ROW("text not UTF-8", "\x81\x02\xc3\x28", BAD, 0),
    ROW("text cut within a character", "\x81\x01\xc3", BAD, 0),
    ROW("surrogate", "\x81\x03\xed\xa0\x80", BAD, 0),
    ROW("close of one byte", "\x88\x01\x03", BAD, 0),
    ROW("reason not UTF-8", "\x88\x04\x03\xe8\xc3\x28", BAD, 0),
    ROW("code 0", "\x88\x02\x00\x00", BAD, 0),
    ROW("code 999", "\x88\x02\x03\xe7", BAD, 0),
    ROW("code 1004", "\x88\x02\x03\xec", BAD, 0),
    ROW("code 1005", "\x88\x02\x03\xed", BAD, 0),
    ROW("code 1006", "\x88\x02\x03\xee", BAD, 0),
    ROW("code 1015", "\x88\x02\x03\xf7", BAD, 0),
    ROW("code 2999", "\x88\x02\x0b\xb7", BAD, 0),
    ROW("code 5000", "\x88\x02\x13\x88", BAD, 0),
    ROW("HTTP", "HTTP/1.1 200 OK\r\n\r\n", BAD, 0),
};

static void hear(const row *r, size_t piece, bool said)
{
    end e;
    open_end(&e, false);
    if (said) { /* as a delivery does: message and close are sent before anything is heard */
        rbk_ws_send_text(e.ws, RBK_STR("{}"));
        rbk_ws_send_close(e.ws, 1000);
    }
    int err = feed(&e, r->bytes, r->n, piece);
    if (err != r->err || rbk_ws_closed_by(e.ws) != r->code)
        fail_msg("%s, pieces of %zu, %d: %d, code %d", r->name, piece, said, err,
                 rbk_ws_closed_by(e.ws));
    assert_int_equal(rbk_ws_fault(e.ws)[0] != 0, r->err != 0);
    rbk_ws_free(e.ws);
}

static void test_heard(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof heard / sizeof *heard; i++)
        for (size_t piece = 1; piece <= heard[i].n; piece++)
            for (int said = 0; said < 2; said++)
                hear(&heard[i], piece, said);
}

/* The peer closes first: it gets its own code back, also one that wslay does not know. */
static void test_echo(void **state)
{
    static const int codes[] = {1000, 1001, 1011, 1012, 1013, 1014, 4999};
    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        const char bytes[] = {(char)0x88, 2, (char)(codes[i] >> 8), (char)codes[i]};
        end e;
        open_end(&e, false);
        rbk_ws_send_text(e.ws, RBK_STR("{}"));
        rbk_buf *out = rbk_ws_out(e.ws);
        rbk_buf_free(out);
        assert_int_equal(feed(&e, bytes, sizeof bytes, sizeof bytes), 0);
        assert_int_equal(out->n, 8);
        const uint8_t *p = (const uint8_t *)out->p;
        assert_int_equal(p[0], 0x88);
        assert_int_equal(p[1], 0x82);
        assert_int_equal((p[6] ^ p[2]) << 8 | (p[7] ^ p[3]), codes[i]);
        rbk_ws_free(e.ws);
    }
}

/* A server refuses what is not masked. */
static void test_server_wants_masks(void **state)
{
    end e;
    (void)state;
    open_end(&e, true);
    assert_int_equal(feed(&e, "\x81\x02ok", 4, 4), RBK_E_PROTOCOL);
    assert_int_equal(e.n_messages, 0);
    rbk_ws_free(e.ws);
}

/* --- bounds --- */

static void test_pings(void **state)
{
    end e;
    (void)state;
    open_end(&e, false);
    for (int i = 0; i < RBK_WS_PINGS_MAX; i++)
        assert_int_equal(feed(&e, "\x89\x01p", 3, 3), 0);
    rbk_buf *out = rbk_ws_out(e.ws);
    assert_int_equal(out->n, RBK_WS_PINGS_MAX * 7); /* each is answered by a masked pong */
    assert_int_equal((uint8_t)out->p[0], 0x8a);
    assert_int_equal(feed(&e, "\x89\x01p", 3, 3), RBK_E_PROTOCOL);
    assert_string_equal(rbk_ws_fault(e.ws), "too many pings");
    rbk_ws_free(e.ws);
}

static void test_bytes(void **state)
{
    static char piece[2 + 100] = "\x82\x64";
    end e;
    int r = 0, n = 0;
    (void)state;
    open_end(&e, false);
    while ((r = feed(&e, piece, sizeof piece, sizeof piece)) == 0)
        n++;
    assert_int_equal(r, RBK_E_PROTOCOL);
    assert_int_equal(n, IN_MAX / (int)sizeof piece);
    rbk_ws_free(e.ws);
}

/* --- one that lasts --- */

static void on_each(rbk_ws *ws, rbk_str text, void *user)
{
    on_message(ws, text, user);
    rbk_ws_hold(ws);
}

static void open_lasting(end *e)
{
    memset(e, 0, sizeof *e);
    rbk_ws_conf conf = {.server = true, .lasting = true, .text_only = true, .max_in = 8,
                        .message = on_each, .user = e};
    assert_int_equal(rbk_ws_new(&conf, &e->ws), 0);
}

#define MASK "\0\0\0\0"

/* Reading stops behind each message, and what is left is told; without end, and with any number of
 * pings. */
static void test_held(void **state)
{
    static const char bytes[] = "\x81\x81" MASK "a"
                                "\x89\x80" MASK "\x81\x88" MASK "12345678"
                                "\x01\x81" MASK "x";
    bool begun;
    end e;
    (void)state;
    open_lasting(&e);
    for (int turn = 0; turn < 100; turn++) {
        rbk_str in = {bytes, sizeof bytes - 1};
        assert_int_equal(rbk_ws_feed_some(e.ws, &in), 0);
        assert_int_equal(in.n, sizeof bytes - 1 - 7);
        assert_int_equal(rbk_ws_partial(e.ws, &begun), 0);
        assert_false(begun);
        assert_int_equal(rbk_ws_feed_some(e.ws, &in), 0);
        assert_int_equal(in.n, 7);
        assert_int_equal(e.n_messages, 2 + 3 * turn);
        assert_int_equal(rbk_ws_feed_some(e.ws, &in), 0);
        assert_int_equal(in.n, 0);
        assert_in_range(rbk_ws_partial(e.ws, &begun), 2, 256); /* a byte, and what a piece costs */
        assert_true(begun);
        assert_int_equal(feed(&e, "\x80\x81" MASK "y", 7, 1), 0);
        assert_int_equal(e.n_messages, 3 + 3 * turn);
        assert_memory_equal(e.said, "xy", 2);
    }
    rbk_ws_free(e.ws);
}

/* A byte in a piece of its own costs far more than a byte. */
static void test_what_pieces_cost(void **state)
{
    enum { PIECES = 7 };
    bool begun;
    end e;
    (void)state;
    open_lasting(&e);
    assert_int_equal(feed(&e, "\x01\x81" MASK "x", 7, 7), 0);
    for (int i = 1; i < PIECES; i++)
        assert_int_equal(feed(&e, "\x00\x81" MASK "y", 7, 7), 0);
    assert_in_range(rbk_ws_partial(e.ws, &begun), 64 * PIECES, 256 * PIECES);
    assert_true(begun);
    assert_int_equal(feed(&e, "\x80\x80" MASK, 6, 6), 0);
    assert_int_equal(rbk_ws_partial(e.ws, &begun), 0);
    assert_int_equal(e.n_messages, 1);
    rbk_ws_free(e.ws);
}

/* What is refused by the head of a frame, before anything of its payload is there. */
static void test_refused_by_the_head(void **state)
{
    static const struct {
        const char *p;
        size_t n;
        int code;
    } rows[] = {
        {"\x82\x81" MASK "x", 7, RBK_WS_NOT_TEXT},
        {"\x81\x89" MASK, 6, RBK_WS_TOO_BIG},
        {"\x01\x88" MASK "12345678\x80\x81" MASK, 20, RBK_WS_TOO_BIG},
        {"\x81\xff\0\0\1\0\0\0\0\0" MASK, 14, RBK_WS_TOO_BIG},
        {"\x81\xff\x80\0\0\0\0\0\0\0" MASK, 14, 1002},
        {"\x89\xfe\0\x7e" MASK, 8, 1002},
        {"\x09\x80" MASK, 6, 1002},
        {"\x88\x81" MASK "x", 7, 1002},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t piece = 1; piece <= rows[i].n; piece += rows[i].n - 1) {
            end e;
            open_lasting(&e);
            assert_int_equal(feed(&e, rows[i].p, rows[i].n, piece), RBK_E_PROTOCOL);
            rbk_str out = rbk_buf_view(rbk_ws_out(e.ws));
            assert_int_equal(out.n, 4);
            assert_int_equal((uint8_t)out.p[2] << 8 | (uint8_t)out.p[3], rows[i].code);
            assert_true(rbk_ws_is_closing(e.ws));
            assert_int_equal(e.n_messages, 0);
            rbk_ws_free(e.ws);
        }
}

static void test_ping(void **state)
{
    end e;
    (void)state;
    open_lasting(&e);
    assert_int_equal(rbk_ws_send_ping(e.ws), 0);
    assert_int_equal(rbk_ws_out(e.ws)->n, 2);
    assert_memory_equal(rbk_ws_out(e.ws)->p, "\x89\0", 2);
    rbk_ws_free(e.ws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_client_sends_masked),
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_heard),
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_server_wants_masks),
        cmocka_unit_test(test_pings),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_what_pieces_cost),
        cmocka_unit_test(test_refused_by_the_head),
        cmocka_unit_test(test_ping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
