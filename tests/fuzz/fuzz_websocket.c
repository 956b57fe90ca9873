/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_websocket.c - frames of a peer into one end of a websocket.
 *
 * The first byte picks the role and how the rest is cut. Beyond the sanitizers: messages, verdict
 * and close code do not depend on the cuts; as a server the bytes sent back do not either (a
 * client's masks are random); and what is sent back is bounded by what came. */
#include <stdint.h>
#include <stdlib.h>

#include "net/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { IN_MAX = 1 << 20 };

typedef struct outcome {
    int err, closed_by;
    const char *fault;
    size_t messages, bytes;
    uint32_t hash;
    rbk_buf out;
} outcome;

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void on_message(rbk_ws *ws, rbk_str text, void *user)
{
    outcome *o = user;
    (void)ws;
    o->messages++;
    o->bytes += text.n;
    for (size_t i = 0; i < text.n; i++)
        o->hash = (o->hash ^ (unsigned char)text.p[i]) * 16777619u;
    o->hash = (o->hash ^ 0x100) * 16777619u;
}

static outcome run(const uint8_t *p, size_t n, bool server, size_t step)
{
    outcome o = {.out = RBK_BUF(64 << 20)};
    rbk_ws *ws;
    rbk_ws_conf conf = {.server = server, .max_in = IN_MAX, .message = on_message, .user = &o};
    require(rbk_ws_new(&conf, &ws) == 0);
    for (size_t at = 0; at < n && o.err == 0; at += step) {
        size_t m = step < n - at ? step : n - at;
        char *copy = malloc(m);
        require(copy != NULL);
        memcpy(copy, p + at, m);
        o.err = rbk_ws_feed(ws, (rbk_str){copy, m});
        free(copy);
        rbk_buf_str(&o.out, rbk_buf_view(rbk_ws_out(ws)));
        rbk_buf_clear(rbk_ws_out(ws));
    }
    o.closed_by = rbk_ws_closed_by(ws);
    o.fault = rbk_ws_fault(ws); /* static text */
    rbk_ws_free(ws);
    require(o.err == 0 || (o.err == RBK_E_PROTOCOL && o.fault[0] != 0));
    require(o.closed_by == 0 || (o.closed_by >= RBK_WS_NORMAL && o.closed_by <= RBK_WS_CODE_MAX));
    /* Each frame is answered by one at most, with its payload and a mask that it may not have had;
     * and a fault by one close. */
    require(o.bytes <= n && o.out.n <= 3 * n + 64);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2 || n > IN_MAX)
        return 0;
    bool server = data[0] & 1;
    outcome whole = run(data + 1, n - 1, server, n - 1);
    for (int i = 0; i < 2; i++) {
        outcome cut = run(data + 1, n - 1, server, i ? 1 : 1 + data[0] / 2 % 31);
        require(cut.err == whole.err && cut.closed_by == whole.closed_by);
        require(cut.messages == whole.messages && cut.hash == whole.hash);
        require(strcmp(cut.fault, whole.fault) == 0);
        /* Behind a fault or a close a pong that has not left yet is dropped. */
        bool over = cut.err || cut.closed_by;
        require(over || cut.out.n == whole.out.n);
        require(over || !server || rbk_str_eq(rbk_buf_view(&cut.out), rbk_buf_view(&whole.out)));
        rbk_buf_free(&cut.out);
    }
    rbk_buf_free(&whole.out);
    return 0;
}
