/* SPDX-License-Identifier: Apache-2.0 */
/* front/ws_front.c - the other step 1 of 5: FRONT -> admit -> store -> execute -> deliver
 *
 * A socket lives as long as its connection, and longer while exchanges of it are open: each of its
 * messages has one, and goes when it is answered and, where the answer delivers jobs, when that is
 * known to be written. Nothing is read while RBK_WS_OPEN_MAX messages are open or 256 KiB of
 * answers wait; the HTTP server's write deadline and budget hold for the connection as before.
 *
 * One timer a loop looks at all its sockets each second: who is silent is pinged and then
 * dropped, a message must come whole within MESSAGE_MS, a close is answered within CLOSE_MS, and when
 * there are other callers than before each token is asked about again. Who had REFUSED_MAX messages
 * refused by a rate, each of which was parsed all the same, is not read until that timer comes. */
#include "front/ws_front.h"

#include "base/clock.h"
#include "base/ring.h"
#include "core/envelope.h"
#include "front/ws_late.h"
#include "net/websocket_accept.h"

#include <stdlib.h>

enum {
    TICK_MS = 1000,
    MESSAGE_MS = 60000,
    CLOSE_MS = 3000,
    REFUSED_MAX = 16,
    LARGE = 64 << 10,
    FAULT_MAX = 1024,
    REPLACED = 4000 /* the close of one whose session another connection carries now */
};

struct rbk_ws_front {
    rbk_ws_front_conf conf;
    rbk_link sockets;
    uv_timer_t timer;
    bool ticking;
    uint64_t callers_version; /* that all sockets were let in by */
};

typedef struct ws_socket {
    rbk_link link;        /* in the front's list, while it has a connection */
    rbk_ws_front *f;
    rbk_http_request *rq; /* the connection's name; NULL: it has gone */
    rbk_ws *ws;
    rbk_link messages; /* that are not answered */
    unsigned n_open;   /* of them */
    unsigned n_refused; /* by a rate, since the last tick */
    bool large, draining;
    rbk_ws_late late; /* responses that come later, and whose they are */
    rbk_mono_ms heard_at; /* the last time that anything came */
    rbk_mono_ms pinged_at; /* since then; 0: it was not */
    rbk_mono_ms begun_at; /* a message that is not whole; 0: there is none */
    rbk_mono_ms close_by; /* a close was sent; 0: none was */
} ws_socket;

/* A request body under way; then, where the answer delivers jobs, until it is written. */
typedef struct ws_message {
    rbk_task task; /* first */
    rbk_link link;
    ws_socket *s;
    rbk_exchange *ex;
    uint64_t began; /* us */
} ws_message;

static bool is_full(const ws_socket *s)
{
    return s->n_open >= (s->large ? 1 : RBK_WS_OPEN_MAX) || s->n_refused >= REFUSED_MAX;
}

/* --- What goes out ------------------------------------------------------------------------- */

/* What the protocol has to say; with a watch, for who wants to know that it has gone. */
static void send_watched(ws_socket *s, void (*written)(bool all, void *user), void *user)
{
    rbk_buf *out = rbk_ws_out(s->ws);
    rbk_http_tunnel_write_watched(s->rq, rbk_buf_view(out), written, user);
    rbk_buf_free(out);
}

static void send_out(ws_socket *s)
{
    if (rbk_ws_out(s->ws)->n)
        send_watched(s, NULL, NULL);
}

/* Our last word; the peer has a moment for its own. */
static void say_close(ws_socket *s, int code)
{
    if (rbk_ws_is_closing(s->ws))
        return;
    s->close_by = rbk_loop_now(s->f->conf.loop) + CLOSE_MS;
    if (rbk_ws_send_close(s->ws, code) < 0)
        rbk_http_tunnel_close(s->rq, true);
    else
        send_out(s);
}

static void end_if_drained(ws_socket *s)
{
    if (s->rq && s->draining && s->n_open == 0 && s->late.quiet)
        say_close(s, RBK_WS_GOING);
}

/* --- Responses that come later ------------------------------------------------------------- */

static bool put_late(void *user, rbk_str text, void (*written)(bool all, void *user), void *text_user)
{
    ws_socket *s = user;
    if (s->rq == NULL || rbk_ws_send_text(s->ws, text) < 0)
        return false;
    send_watched(s, written, text_user);
    return true;
}

static void on_replaced(void *user)
{
    ws_socket *s = user;
    if (s->rq)
        say_close(s, REPLACED);
}

static void on_late_drained(void *user)
{
    end_if_drained(user);
}

/* --- Answers ------------------------------------------------------------------------------- */

static void free_socket(ws_socket *s)
{
    if (s->rq || s->n_open)
        return;
    rbk_ws_free(s->ws);
    free(s);
}

static void forget(ws_message *m)
{
    rbk_exchange_unref(m->ex);
    free(m);
}

static void on_written(bool all, void *user)
{
    ws_message *m = user;
    rbk_exchange_written(m->ex, all);
    forget(m);
}

/* An error that belongs to no request that could be told. */
static void write_busy(rbk_buf *b)
{
    rbk_write_fault(b, (rbk_to){RBK_STR("null"), true}, RBK_E_BUSY, RBK_STR_NONE);
}

/* False: the text is not on its way. */
static bool put_text(ws_socket *s, rbk_str text)
{
    s->large = s->large || text.n > LARGE;
    int r = rbk_ws_send_text(s->ws, text);
    if (r == RBK_E_NOMEM)
        rbk_http_tunnel_close(s->rq, true);
    return r == 0;
}

/* As far as the socket knows. It has had no head: all tokens of a message are taken together. */
static rbk_limits_who who_asks(const ws_socket *s)
{
    return (rbk_limits_who){.l = s->f->conf.limits, .numbers = s->f->conf.numbers,
                            .from = s->rq->from, .peer = s->rq->peer};
}

static void count_answer(const ws_message *m, int status)
{
    rbk_limits_who who = who_asks(m->s);
    m->s->n_refused += status == 429;
    rbk_front_numbers_answered(who.numbers, rbk_exchange_kind_of(m->ex), rbk_mono_us() - m->began);
    if (status == 503)
        rbk_limits_busy(&who, rbk_exchange_is_over_quota(m->ex));
}

/* What HTTP says by a status alone, a notification that could not be stored or came too soon, is said
 * in words. */
static bool put_answer(ws_socket *s, const ws_message *m)
{
    rbk_reply out;
    rbk_buf busy = RBK_BUF(FAULT_MAX);
    rbk_exchange_reply(m->ex, &out);
    count_answer(m, out.status);
    if (out.body.n == 0 && (out.status == 503 || out.status == 429)) {
        write_busy(&busy);
        out.body = rbk_buf_view(&busy);
    }
    bool put = out.body.n == 0 || put_text(s, out.body);
    rbk_buf_free(&busy);
    return put;
}

static void answer(ws_message *m)
{
    ws_socket *s = m->s;
    bool watched = rbk_exchange_has_jobs(m->ex);
    rbk_link_remove(&m->link);
    s->n_open--;
    if (s->rq && put_answer(s, m) && watched) {
        send_watched(s, on_written, m);
    } else {
        if (watched)
            rbk_exchange_written(m->ex, false);
        if (s->rq)
            send_out(s);
        forget(m);
    }
    end_if_drained(s);
    if (s->rq && !is_full(s))
        rbk_http_tunnel_resume(s->rq);
    free_socket(s);
}

static void on_answer_task(rbk_task *task)
{
    answer((ws_message *)(void *)task);
}

static void on_done(rbk_exchange *ex, void *user)
{
    ws_message *m = user;
    rbk_loop *l = m->s->f->conf.loop;
    (void)ex;
    if (rbk_loop_is_current(l))
        answer(m);
    else
        rbk_loop_post(l, &m->task);
}

/* --- What comes in ------------------------------------------------------------------------- */

static void submit(ws_socket *s, rbk_str text, const rbk_auth_pass *pass)
{
    ws_message *m = calloc(1, sizeof *m);
    rbk_exchange *ex = m ? rbk_exchange_new(s->f->conf.e, on_done, m) : NULL;
    if (ex == NULL) {
        rbk_buf busy = RBK_BUF(FAULT_MAX);
        write_busy(&busy);
        put_text(s, rbk_buf_view(&busy));
        rbk_buf_free(&busy);
        free(m);
        return;
    }
    *m = (ws_message){.task = {.fn = on_answer_task}, .s = s, .ex = ex,
                      .began = rbk_mono_us()};
    rbk_link_init(&m->link);
    rbk_link_append(&s->messages, &m->link);
    s->n_open++;
    rbk_limits_who who = who_asks(s);
    who.caller = pass->caller;
    rbk_exchange_guard(ex, rbk_limits_gate, &who);
    rbk_exchange_over(ex, rbk_ws_late_session(&s->late));
    rbk_exchange_submit(ex, &(rbk_request){.body = text, .peer = rbk_str_z(s->rq->peer),
                                      .caller = rbk_auth_name(pass)});
}

/* False: since the handshake its token was taken away. */
static bool check_caller(ws_socket *s, rbk_auth_pass *ret)
{
    return rbk_auth_check(s->f->conf.auth, s->rq->headers, s->rq->n_headers, s->rq->peer, ret) == 0;
}

static void on_message(rbk_ws *ws, rbk_str text, void *user)
{
    ws_socket *s = user;
    if (rbk_ws_is_closing(ws))
        return;
    rbk_auth_pass pass;
    if (!check_caller(s, &pass)) {
        say_close(s, RBK_WS_POLICY);
        return;
    }
    if (rbk_ws_late_is_of(&s->late, rbk_auth_name(&pass)))
        submit(s, text, &pass);
    else
        say_close(s, RBK_WS_POLICY); /* the token is another caller's now */
    rbk_auth_done(&pass);
    if (is_full(s))
        rbk_ws_hold(ws);
}

/* What has come of a message that is not whole counts, and has its time. */
static void look_at_partial(ws_socket *s)
{
    bool begun;
    size_t n = rbk_ws_partial(s->ws, &begun);
    if (!begun)
        s->begun_at = 0;
    else if (s->begun_at == 0)
        s->begun_at = s->heard_at;
    if (!rbk_http_tunnel_charge(s->rq, n))
        say_close(s, RBK_WS_LATER);
}

static size_t on_data(rbk_http_request *rq, rbk_str bytes, void *user)
{
    ws_socket *s = user;
    size_t given = bytes.n;
    if (is_full(s))
        return 0;
    s->heard_at = rbk_loop_now(s->f->conf.loop);
    s->pinged_at = 0;
    int r = rbk_ws_feed_some(s->ws, &bytes);
    send_out(s);
    if (r == RBK_E_NOMEM) {
        rbk_http_tunnel_close(rq, true);
    } else if (r < 0) {
        rbk_event(s->f->conf.log, RBK_DEBUG, "websocket.fault", RBK_FZ("why", rbk_ws_fault(s->ws)),
                  RBK_FZ("peer", rq->peer));
        rbk_http_tunnel_close(rq, false);
    } else if (rbk_ws_closed_by(s->ws)) {
        rbk_http_tunnel_close(rq, false);
    } else {
        look_at_partial(s);
    }
    return r < 0 ? given : given - bytes.n;
}

static void on_gone(rbk_http_request *rq, void *user)
{
    ws_socket *s = user;
    (void)rq;
    s->rq = NULL;
    rbk_ws_late_close(&s->late);
    rbk_link_remove(&s->link);
    atomic_fetch_sub(s->f->conf.sockets, 1);
    for (rbk_link *l = s->messages.next; l != &s->messages; l = l->next)
        rbk_exchange_gone(RBK_OF_LINK(l, ws_message, link)->ex);
    free_socket(s);
}

static void on_drain(rbk_http_request *rq, void *user)
{
    ws_socket *s = user;
    (void)rq;
    s->draining = true;
    rbk_ws_late_drain(&s->late);
    end_if_drained(s);
}

/* --- Time ---------------------------------------------------------------------------------- */

static void drop(ws_socket *s, const char *why)
{
    rbk_event(s->f->conf.log, RBK_DEBUG, "websocket.fault", RBK_FZ("why", why),
              RBK_FZ("peer", s->rq->peer));
    rbk_http_tunnel_close(s->rq, true);
}

static void look_at(ws_socket *s, rbk_mono_ms now)
{
    int64_t ping = s->f->conf.ping_ms;
    if (s->close_by && now >= s->close_by) {
        rbk_http_tunnel_close(s->rq, true);
    } else if (rbk_http_tunnel_is_stuck(s->rq)) {
        s->heard_at = now; /* it is us who do not listen */
        s->pinged_at = 0;
        s->begun_at = s->begun_at ? now : 0;
    } else if (s->begun_at && now - s->begun_at >= MESSAGE_MS) {
        drop(s, "the message came too slowly");
    } else if (s->pinged_at && now - s->pinged_at >= ping) {
        drop(s, "silent, and no answer to a ping");
    } else if (now - s->heard_at >= ping && s->pinged_at == 0 && s->close_by == 0) {
        s->pinged_at = now;
        if (rbk_ws_send_ping(s->ws) == 0)
            send_out(s);
    }
}

/* It asks again, now that others may come in than before: its late responses are one caller's. */
static void look_at_caller(ws_socket *s)
{
    rbk_auth_pass pass;
    if (rbk_ws_is_closing(s->ws))
        return;
    bool known = check_caller(s, &pass);
    if (!known || !rbk_ws_late_is_of(&s->late, rbk_auth_name(&pass)))
        say_close(s, RBK_WS_POLICY);
    if (known)
        rbk_auth_done(&pass);
}

static void read_on(ws_socket *s)
{
    bool refused = s->n_refused > 0;
    s->n_refused = 0;
    if (refused && !is_full(s))
        rbk_http_tunnel_resume(s->rq);
}

static void on_tick(uv_timer_t *t)
{
    rbk_ws_front *f = t->data;
    rbk_mono_ms now = rbk_loop_now(f->conf.loop);
    uint64_t version = rbk_engine_callers_version(f->conf.e);
    for (rbk_link *l = f->sockets.next, *next; l != &f->sockets; l = next) {
        ws_socket *s = RBK_OF_LINK(l, ws_socket, link);
        next = l->next; /* a socket leaves the list in a later turn */
        look_at(s, now);
        if (version != f->callers_version)
            look_at_caller(s);
        read_on(s);
    }
    f->callers_version = version;
    if (rbk_link_empty(&f->sockets)) {
        f->ticking = false;
        uv_timer_stop(t);
    }
}

/* --- The handshake ------------------------------------------------------------------------- */

static void refuse(rbk_http_request *rq, int status, const char *why)
{
    static const rbk_http_header upgrade[] = {{RBK_STR("Upgrade"), RBK_STR("websocket")},
                                              {RBK_STR("Connection"), RBK_STR("Upgrade")},
                                              {RBK_STR("Sec-WebSocket-Version"), RBK_STR("13")}};
    static const rbk_http_header retry = {RBK_STR("Retry-After"), RBK_STR("1")};
    rbk_buf data = RBK_BUF(FAULT_MAX), body = RBK_BUF(FAULT_MAX);
    rbk_buf_json_str(&data, rbk_str_z(why));
    rbk_write_fault(&body, (rbk_to){RBK_STR("null"), false},
                    status == 503 ? RBK_E_BUSY : RBK_E_REQUEST, rbk_buf_view(&data));
    rbk_http_reply_send(rq, &(rbk_http_reply){
                                .status = status,
                                .headers = status == 426 ? upgrade : &retry,
                                .n_headers = status == 426 ? 3 : status == 503,
                                .body = rbk_buf_view(&body),
                            });
    rbk_buf_free(&data);
    rbk_buf_free(&body);
}

static int make_socket(rbk_ws_front *f, rbk_http_request *rq, ws_socket **ret)
{
    ws_socket *s = calloc(1, sizeof *s);
    if (s == NULL)
        return RBK_E_NOMEM;
    *s = (ws_socket){.f = f, .rq = rq, .heard_at = rbk_loop_now(f->conf.loop)};
    s->late = (rbk_ws_late){.put = put_late, .replaced = on_replaced, .drained = on_late_drained, .user = s};
    rbk_link_init(&s->link);
    rbk_link_init(&s->messages);
    int r = rbk_ws_new(&(rbk_ws_conf){.server = true,
                                      .lasting = true,
                                      .text_only = true,
                                      .max_in = f->conf.max_body,
                                      .message = on_message,
                                      .user = s},
                       &s->ws);
    if (r < 0) {
        free(s);
        return r;
    }
    *ret = s;
    return 0;
}

static void forget_socket(ws_socket *s)
{
    s->rq = NULL;
    rbk_ws_late_close(&s->late);
    free_socket(s);
}

static int upgrade(rbk_ws_front *f, rbk_http_request *rq, rbk_str caller)
{
    static const rbk_http_tunnel tunnel = {.data = on_data, .gone = on_gone, .drain = on_drain};
    rbk_http_header h[2] = {{.name = RBK_STR("Ringback-Resume")},
                            {RBK_STR("Sec-WebSocket-Protocol"),
                             rbk_ws_offered(rq, "Sec-WebSocket-Protocol", "jsonrpc")}};
    ws_socket *s = NULL;
    bool resumed;
    int r = make_socket(f, rq, &s);
    if (r == 0)
        r = rbk_ws_late_begin(&s->late, rq, caller, &resumed);
    if (r == 0)
        r = rbk_ws_late_open(&s->late, f->conf.e, f->conf.loop, resumed); /* requests may come with the head */
    if (r == 0) {
        h[0].value = rbk_str_z(s->late.token);
        r = rbk_ws_open(rq, &(rbk_ws_opening){.tunnel = &tunnel,
                                              .user = s,
                                              .headers = h,
                                              .n_headers = h[1].value.n ? 2 : 1});
    }
    if (r < 0 && s)
        forget_socket(s);
    if (r < 0)
        return r;
    rbk_link_append(&f->sockets, &s->link);
    if (!f->ticking)
        f->ticking = uv_timer_start(&f->timer, on_tick, TICK_MS, TICK_MS) == 0;
    return 0;
}

bool rbk_ws_front_wants(const rbk_ws_front *f, const rbk_http_request *rq)
{
    return f->conf.max_sockets > 0 && rbk_ws_look(rq) != RBK_WS_ASKED_NOT;
}

void rbk_ws_front_open(rbk_ws_front *f, rbk_http_request *rq, rbk_str caller)
{
    rbk_ws_asked asked = rbk_ws_look(rq);
    if (asked != RBK_WS_ASKED) {
        bool version = asked == RBK_WS_ASKED_VERSION;
        refuse(rq, version ? 426 : 400,
               version ? "the websocket version must be 13" : "the websocket handshake is malformed");
        return;
    }
    if (atomic_fetch_add(f->conf.sockets, 1) >= f->conf.max_sockets) {
        atomic_fetch_sub(f->conf.sockets, 1);
        refuse(rq, 503, "too many websockets");
        return;
    }
    int r = upgrade(f, rq, caller);
    if (r == 0)
        return;
    atomic_fetch_sub(f->conf.sockets, 1);
    if (r == RBK_E_INVAL)
        refuse(rq, 400, "Ringback-Resume is malformed");
    else if (r == RBK_E_STATE)
        refuse(rq, 400, "a websocket needs HTTP/1.1, and the connection for itself");
    else
        refuse(rq, 503, "no memory");
}

/* --- Life ---------------------------------------------------------------------------------- */

rbk_ws_front *rbk_ws_front_new(const rbk_ws_front_conf *conf)
{
    rbk_ws_front *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->conf = *conf;
    rbk_link_init(&f->sockets);
    uv_timer_init(rbk_loop_uv(conf->loop), &f->timer);
    f->timer.data = f;
    return f;
}

void rbk_ws_front_close(rbk_ws_front *f)
{
    uv_close((uv_handle_t *)&f->timer, NULL);
}

void rbk_ws_front_free(rbk_ws_front *f)
{
    free(f);
}
