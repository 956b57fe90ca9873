/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_http2.c - bytes of a receiver into the client's end of an HTTP/2 connection.
 *
 * The first byte says how many requests are under way and what is done meanwhile (abandoned, aged,
 * pulled after each piece), the second how the rest is cut. Beyond the sanitizers: each request is
 * answered at most once, with a status that is one, what is kept is bounded, and without pulling
 * in between the answers do not depend on the cuts; but nghttp2 counts the pieces of a CONTINUATION
 * frame as frames, of which it takes few. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "net/http2_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { REQUESTS = 7, ABANDONS = 8, AGES = 16, PULLS = 32, LARGE = 64 };

typedef struct asked {
    unsigned answers;
    bool gone; /* its owner has left */
    int err, status;
    bool complete;
} asked;

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void on_answered(void *owner, const rbk_http2_answer *a)
{
    asked *q = owner;
    q->answers++;
    q->err = a->err;
    q->status = a->status;
    q->complete = a->complete;
    require(a->detail != NULL);
    require(a->err < 0 ? a->status == 0 : a->status >= 200 && a->status <= 599);
    require(a->retry_after.n <= RBK_HTTP2_FIELD_MAX);
    require(!a->unseen || a->err < 0);
}

static void pull(rbk_http2_session *h)
{
    rbk_buf out = RBK_BUF(1 << 20);
    rbk_http2_pull(h, &out);
    require(out.n <= RBK_HTTP2_BATCH + (64 << 10));
    rbk_buf_free(&out);
    rbk_http2_flushed(h);
}

static void ask(rbk_http2_session *h, unsigned what, asked *q, rbk_http2_stream **streams)
{
    static char body[40000];
    for (unsigned i = 0; i < (what & REQUESTS) + 1; i++) {
        rbk_http2_request req = {
            .authority = RBK_STR("a.example"),
            .target = RBK_STR("/cb"),
            .head = RBK_STR("Content-Type: application/json\r\nwebhook-id: 1\r\n"),
            .body = {body, what & LARGE ? sizeof body : 2},
        };
        if (rbk_http2_submit(h, &req, &q[i], &streams[i]) < 0)
            q[i].gone = true;
    }
}

/* False: the cuts have a say in what came of it. */
static bool run(const uint8_t *p, size_t n, unsigned what, size_t step, asked *q)
{
    rbk_http2_stream *streams[REQUESTS + 1] = {0};
    rbk_http2_session *h;
    require(rbk_http2_session_new(on_answered, &h) == 0);
    ask(h, what, q, streams);
    pull(h);
    for (size_t at = 0, i = 0; at < n; at += step, i++) {
        size_t m = step < n - at ? step : n - at;
        char *copy = malloc(m);
        require(copy != NULL);
        memcpy(copy, p + at, m);
        int r = rbk_http2_feed(h, copy, m);
        free(copy);
        if (what & PULLS)
            pull(h);
        if (r < 0) {
            require(rbk_http2_fault(h)[0] != 0);
            break;
        }
        if ((what & ABANDONS) && i == 1 && q[0].answers == 0 && !q[0].gone) {
            rbk_http2_abandon(streams[0]);
            q[0].gone = true;
        }
        if (what & AGES)
            rbk_http2_age(h);
        require(rbk_http2_streams(h) <= REQUESTS + 1 && rbk_http2_room(h) <= RBK_HTTP2_STREAMS_MAX);
    }
    pull(h);
    rbk_http2_say_goodbye(h);
    pull(h);
    for (unsigned i = 0; i <= REQUESTS; i++)
        require(q[i].answers <= 1 && !(q[i].gone && q[i].answers));
    bool uncut = strstr(rbk_http2_fault(h), "Too many CONTINUATION") == NULL;
    rbk_http2_session_free(h);
    return uncut;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3)
        return 0;
    unsigned what = data[0];
    asked whole[REQUESTS + 1] = {0}, cut[REQUESTS + 1] = {0};
    bool same = run(data + 2, n - 2, what, n - 2, whole);
    same = run(data + 2, n - 2, what, 1 + data[1] % 31, cut) && same;
    for (unsigned i = 0; i <= REQUESTS && same && !(what & (ABANDONS | AGES | PULLS)); i++)
        require(whole[i].answers == cut[i].answers && whole[i].err == cut[i].err &&
                whole[i].status == cut[i].status && whole[i].complete == cut[i].complete);
    return 0;
}
