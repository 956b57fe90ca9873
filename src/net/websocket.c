/* SPDX-License-Identifier: Apache-2.0 */
/* net/websocket.c - see websocket.h. Bounds around wslay's event interface.
 *
 * wslay refuses the close codes 1012 to 1014, which were registered after RFC 6455 and are
 * what a proxy says while its receiver restarts. So the code of a close frame is also read
 * here, from the frame's own bytes, and those three count; the close by which wslay complains of
 * them becomes their echo.
 *
 * wslay also takes the second byte of a code for text where the bytes of a close come in two
 * pieces (1.1.1 does). So frames are measured here, and it gets heads, and closes,
 * whole. What is wrong with them is still wslay's to say, where it says it with a code. */
#include "net/websocket.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <wslay/wslay.h>

#include "base/id.h"

enum {
    OUT_MAX = 256 << 20,
    NONCE = 16,
    HEAD_MAX = 2 + 8 + 4,
    CONTROL_MAX = 125,
    PIECE = 96 /* bytes that wslay and the allocator spend on a fragment */
};

static const char MALFORMED[] = "the peer's websocket frames are malformed";
static const char TOO_LARGE[] = "the peer's websocket message is too large";

struct rbk_ws {
    rbk_ws_conf conf;
    wslay_event_context_ptr w;
    rbk_str in; /* during a call of wslay */
    uint8_t head[HEAD_MAX + CONTROL_MAX]; /* of the frame that begins */
    size_t head_n;
    uint64_t left; /* bytes of its payload that have not come */
    size_t total;
    size_t partial;     /* bytes of a message that is not whole */
    unsigned fragments; /* of it, so far */
    unsigned pings;
    bool held;
    uint8_t opcode; /* of the frame being read */
    uint8_t code[2];
    size_t code_n;
    bool close_whole; /* a close frame was read to its end */
    int closed_by;
    const char *fault;
    rbk_buf out;
};

/* --- what wslay asks for --- */

static ssize_t on_recv(wslay_event_context_ptr w, uint8_t *buf, size_t n, int flags, void *user)
{
    rbk_ws *ws = user;
    (void)flags;
    if (ws->in.n == 0) {
        wslay_event_set_error(w, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (n > ws->in.n)
        n = ws->in.n;
    memcpy(buf, ws->in.p, n);
    ws->in = (rbk_str){ws->in.p + n, ws->in.n - n};
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr w, const uint8_t *p, size_t n, int flags, void *user)
{
    rbk_ws *ws = user;
    (void)flags;
    rbk_buf_add(&ws->out, p, n);
    if (rbk_buf_err(&ws->out) < 0) {
        wslay_event_set_error(w, WSLAY_ERR_NOMEM);
        return -1;
    }
    return (ssize_t)n;
}

static int on_mask(wslay_event_context_ptr w, uint8_t *buf, size_t n, void *user)
{
    (void)w, (void)user;
    rbk_random(buf, n);
    return 0;
}

/* Nothing more is read; the peer is told why. */
static void refuse(rbk_ws *ws, int code, const char *why)
{
    ws->fault = why;
    wslay_event_shutdown_read(ws->w);
    (void)wslay_event_queue_close(ws->w, (uint16_t)code, NULL, 0);
}

static void on_frame(wslay_event_context_ptr w,
                     const struct wslay_event_on_frame_recv_start_arg *arg, void *user)
{
    rbk_ws *ws = user;
    ws->opcode = arg->opcode;
    ws->code_n = 0;
    if (arg->opcode == WSLAY_PING && !ws->conf.lasting && ++ws->pings > RBK_WS_PINGS_MAX) {
        ws->fault = "too many pings";
        wslay_event_shutdown_read(w);
    }
    if (wslay_is_ctrl_frame(arg->opcode))
        return;
    if (arg->opcode == WSLAY_BINARY_FRAME && ws->conf.text_only)
        refuse(ws, RBK_WS_NOT_TEXT, "the peer's websocket message is not text");
    else if (++ws->fragments > RBK_WS_FRAGMENTS_MAX)
        refuse(ws, RBK_WS_POLICY, "the peer's websocket message is in too many pieces");
}

static void on_chunk(wslay_event_context_ptr w,
                     const struct wslay_event_on_frame_recv_chunk_arg *arg, void *user)
{
    rbk_ws *ws = user;
    (void)w;
    if (!wslay_is_ctrl_frame(ws->opcode))
        ws->partial += arg->data_length;
    for (size_t i = 0; i < arg->data_length && ws->code_n < sizeof ws->code; i++)
        ws->code[ws->code_n++] = arg->data[i];
}

static void on_frame_end(wslay_event_context_ptr w, void *user)
{
    rbk_ws *ws = user;
    (void)w;
    ws->close_whole = ws->close_whole || ws->opcode == WSLAY_CONNECTION_CLOSE;
}

static void on_message(wslay_event_context_ptr w, const struct wslay_event_on_msg_recv_arg *arg,
                       void *user)
{
    rbk_ws *ws = user;
    (void)w;
    if (wslay_is_ctrl_frame(arg->opcode))
        return;
    ws->partial = 0;
    ws->fragments = 0;
    if (ws->conf.message == NULL || ws->fault[0])
        return;
    ws->conf.message(ws, (rbk_str){(const char *)arg->msg, arg->msg_length}, ws->conf.user);
}

/* --- life --- */

int rbk_ws_new(const rbk_ws_conf *conf, rbk_ws **ret)
{
    static const struct wslay_event_callbacks cb = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .genmask_callback = on_mask,
        .on_frame_recv_start_callback = on_frame,
        .on_frame_recv_chunk_callback = on_chunk,
        .on_frame_recv_end_callback = on_frame_end,
        .on_msg_recv_callback = on_message,
    };
    rbk_ws *ws = calloc(1, sizeof *ws);
    if (ws == NULL)
        return RBK_E_NOMEM;
    ws->conf = *conf;
    ws->out = RBK_BUF(OUT_MAX);
    ws->fault = "";
    int r = conf->server ? wslay_event_context_server_init(&ws->w, &cb, ws)
                         : wslay_event_context_client_init(&ws->w, &cb, ws);
    if (r != 0) {
        free(ws);
        return RBK_E_NOMEM;
    }
    wslay_event_config_set_max_recv_msg_length(ws->w, conf->max_in);
    *ret = ws;
    return 0;
}

void rbk_ws_free(rbk_ws *ws)
{
    if (ws == NULL)
        return;
    wslay_event_context_free(ws->w);
    rbk_buf_free(&ws->out);
    free(ws);
}

rbk_buf *rbk_ws_out(rbk_ws *ws)
{
    return &ws->out;
}

const char *rbk_ws_fault(const rbk_ws *ws)
{
    return ws->fault;
}

int rbk_ws_closed_by(const rbk_ws *ws)
{
    return ws->closed_by;
}

/* --- sending --- */

/* What wslay holds goes to `out`; `r` is what queueing it said. */
static int flush(rbk_ws *ws, int r)
{
    if (r == WSLAY_ERR_NO_MORE_MSG)
        return RBK_E_STATE;
    if (r == 0)
        r = wslay_event_send(ws->w);
    return r == 0 ? 0 : RBK_E_NOMEM;
}

int rbk_ws_send_text(rbk_ws *ws, rbk_str text)
{
    struct wslay_event_msg msg = {
        .opcode = WSLAY_TEXT_FRAME, .msg = (const uint8_t *)text.p, .msg_length = text.n};
    rbk_buf_reserve(&ws->out, text.n + 32);
    return flush(ws, wslay_event_queue_msg(ws->w, &msg));
}

int rbk_ws_send_close(rbk_ws *ws, int code)
{
    return flush(ws, wslay_event_queue_close(ws->w, (uint16_t)code, NULL, 0));
}

int rbk_ws_send_ping(rbk_ws *ws)
{
    struct wslay_event_msg msg = {.opcode = WSLAY_PING};
    return flush(ws, wslay_event_queue_msg(ws->w, &msg));
}

bool rbk_ws_is_closing(const rbk_ws *ws)
{
    return wslay_event_get_close_sent(ws->w) != 0;
}

/* --- receiving --- */

static const char *fault_of(const rbk_ws *ws)
{
    switch (wslay_event_get_status_code_sent(ws->w)) {
    case WSLAY_CODE_MESSAGE_TOO_BIG:
        return TOO_LARGE;
    case WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA:
        return "the peer's websocket text is not UTF-8";
    default:
        return MALFORMED;
    }
}

/* The last thing in `out` is wslay's close with 1002, unless ours went before. The mask stays. */
static void make_echo(rbk_ws *ws, int code)
{
    int change = code ^ WSLAY_CODE_PROTOCOL_ERROR;
    if (wslay_event_get_status_code_sent(ws->w) != WSLAY_CODE_PROTOCOL_ERROR || ws->out.n < 4)
        return;
    ws->out.p[ws->out.n - 2] ^= (char)(change >> 8);
    ws->out.p[ws->out.n - 1] ^= (char)(change & 0xff);
}

/* Reading has ended without a close that wslay accepts. */
static int judge_end(rbk_ws *ws)
{
    int code = ws->code_n == 2 ? ws->code[0] << 8 | ws->code[1] : 0;
    if (ws->close_whole && code >= 1012 && code <= 1014) {
        ws->closed_by = code;
        make_echo(ws, code);
        return 0;
    }
    if (ws->fault[0] == 0)
        ws->fault = fault_of(ws);
    return RBK_E_PROTOCOL;
}

static int give(rbk_ws *ws, const void *p, size_t n)
{
    ws->in = (rbk_str){p, n};
    int r = wslay_event_recv(ws->w);
    ws->in = RBK_STR_NONE;
    return r;
}

static bool is_close(const rbk_ws *ws)
{
    return ws->head[0] == (0x80 | WSLAY_CONNECTION_CLOSE);
}

/* How many bytes of `head` belong together: the frame's head, of a close all of it. */
static size_t measure(const rbk_ws *ws)
{
    const uint8_t *h = ws->head;
    size_t n7 = h[1] & 0x7f, n = 2 + (h[1] & 0x80 ? 4 : 0);
    if (n7 <= CONTROL_MAX)
        return n + (is_close(ws) ? n7 : 0);
    return n + (n7 == 126 ? 2 : 8);
}

static uint64_t payload_of(const rbk_ws *ws)
{
    uint64_t n = ws->head[1] & 0x7f;
    if (n <= CONTROL_MAX)
        return is_close(ws) ? 0 : n;
    size_t bytes = n == 126 ? 2 : 8;
    n = 0;
    for (size_t i = 0; i < bytes; i++)
        n = n << 8 | ws->head[2 + i];
    return n;
}

/* What wslay would answer with a close that does not say why, or only when the payload has begun. */
static void check_head(rbk_ws *ws)
{
    const uint8_t *h = ws->head;
    bool control = (h[0] & 0x08) != 0;
    size_t n7 = h[1] & 0x7f;
    if (control && (!(h[0] & 0x80) || n7 > CONTROL_MAX || (is_close(ws) && n7 == 1)))
        refuse(ws, WSLAY_CODE_PROTOCOL_ERROR, MALFORMED);
    else if (ws->left > INT64_MAX)
        refuse(ws, WSLAY_CODE_PROTOCOL_ERROR, MALFORMED);
    else if (!control && ws->conf.lasting && ws->left > ws->conf.max_in - ws->partial)
        refuse(ws, RBK_WS_TOO_BIG, TOO_LARGE);
}

/* One byte of a frame that begins. */
static int take_head(rbk_ws *ws, char c)
{
    ws->head[ws->head_n++] = (uint8_t)c;
    if (ws->head_n < 2 || ws->head_n < measure(ws))
        return 0;
    size_t n = ws->head_n;
    ws->left = payload_of(ws);
    ws->head_n = 0;
    check_head(ws);
    if (ws->fault[0])
        return 0;
    return give(ws, ws->head, n);
}

static int take_all(rbk_ws *ws, rbk_str *bytes)
{
    int r = 0;
    rbk_str in = *bytes;
    ws->held = false;
    while (in.n && r == 0 && !ws->held && wslay_event_get_read_enabled(ws->w)) {
        size_t n = ws->left < in.n ? (size_t)ws->left : in.n;
        if (n == 0) {
            n = 1;
            r = take_head(ws, in.p[0]);
        } else {
            ws->left -= n;
            r = give(ws, in.p, n);
        }
        in = (rbk_str){in.p + n, in.n - n};
    }
    *bytes = in;
    return r;
}

void rbk_ws_hold(rbk_ws *ws)
{
    ws->held = true;
}

size_t rbk_ws_partial(const rbk_ws *ws, bool *ret_begun)
{
    *ret_begun = ws->fragments > 0 || ws->head_n > 0 || ws->left > 0;
    return ws->partial + (size_t)ws->fragments * PIECE;
}

int rbk_ws_feed(rbk_ws *ws, rbk_str bytes)
{
    int r;
    do {
        r = rbk_ws_feed_some(ws, &bytes);
    } while (r == 0 && ws->held && bytes.n);
    return r;
}

/* Of what comes behind a close, or a fault, nothing is left to be read. */
static int drop_rest(rbk_str *bytes, int r)
{
    *bytes = (rbk_str){bytes->p + bytes->n, 0};
    return r;
}

int rbk_ws_feed_some(rbk_ws *ws, rbk_str *bytes)
{
    if (ws->closed_by)
        return drop_rest(bytes, 0);
    if (!ws->conf.lasting && bytes->n > ws->conf.max_in - ws->total) {
        ws->fault = "the peer sends too much";
        return RBK_E_PROTOCOL;
    }
    size_t given = bytes->n;
    int r = take_all(ws, bytes);
    ws->total += ws->conf.lasting ? 0 : given - bytes->n;
    int sent = wslay_event_send(ws->w);
    if (r == WSLAY_ERR_NOMEM || sent != 0) {
        ws->fault = "out of memory";
        return RBK_E_NOMEM;
    }
    if (wslay_event_get_close_received(ws->w) && ws->code_n != 1) {
        ws->closed_by = wslay_event_get_status_code_received(ws->w);
        return drop_rest(bytes, 0);
    }
    return r == 0 && wslay_event_get_read_enabled(ws->w) ? 0 : judge_end(ws);
}

/* --- the handshake's arithmetic --- */

void rbk_ws_key(char out[RBK_WS_KEY_MAX])
{
    unsigned char nonce[NONCE];
    rbk_random(nonce, sizeof nonce);
    EVP_EncodeBlock((unsigned char *)out, nonce, sizeof nonce);
}

bool rbk_ws_key_ok(rbk_str key)
{
    unsigned char bytes[NONCE + 2], again[RBK_WS_KEY_MAX];
    if (key.n != RBK_WS_KEY_MAX - 1 || key.p[key.n - 1] != '=' || key.p[key.n - 2] != '=')
        return false;
    if (EVP_DecodeBlock(bytes, (const unsigned char *)key.p, (int)key.n) != NONCE + 2)
        return false;
    EVP_EncodeBlock(again, bytes, NONCE);
    return memcmp(again, key.p, key.n) == 0;
}

/* SHA-1 is the protocol's, and protects nothing here: it only tells a websocket server from
 * another one. */
void rbk_ws_accept(rbk_str key, char out[RBK_WS_ACCEPT_MAX])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[RBK_WS_KEY_MAX - 1 + sizeof guid - 1];
    unsigned char hash[SHA_DIGEST_LENGTH];
    size_t n = key.n < RBK_WS_KEY_MAX - 1 ? key.n : RBK_WS_KEY_MAX - 1;
    memcpy(text, key.p, n);
    memcpy(text + n, guid, sizeof guid - 1);
    SHA1((const unsigned char *)text, n + sizeof guid - 1, hash);
    EVP_EncodeBlock((unsigned char *)out, hash, sizeof hash);
}
