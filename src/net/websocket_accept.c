/* SPDX-License-Identifier: Apache-2.0 */
/* net/websocket_accept.c - see websocket_accept.h. */
#include "net/websocket_accept.h"

#include "core/dsn.h"

enum { OWN_HEADERS = 3, FURTHER_HEADERS = 4 };

rbk_str rbk_ws_offered(const rbk_http_request *rq, const char *name, const char *word)
{
    rbk_str item;
    for (size_t i = 0; i < rq->n_headers; i++) {
        rbk_str list = rq->headers[i].value;
        if (!rbk_str_ieqz(rq->headers[i].name, name))
            continue;
        while (rbk_list_next(&list, &item))
            if (rbk_str_ieqz(rbk_str_trim(item), word))
                return rbk_str_trim(item);
    }
    return RBK_STR_NONE;
}

static bool offers(const rbk_http_request *rq, const char *name, const char *word)
{
    return rbk_ws_offered(rq, name, word).n > 0;
}

/* The value of a header that is there once, or an absent string. */
static rbk_str only(const rbk_http_request *rq, const char *name)
{
    rbk_str found = RBK_STR_NONE;
    for (size_t i = 0; i < rq->n_headers; i++) {
        if (!rbk_str_ieqz(rq->headers[i].name, name))
            continue;
        if (found.p)
            return RBK_STR_NONE;
        found = rq->headers[i].value;
    }
    return found;
}

rbk_ws_asked rbk_ws_look(const rbk_http_request *rq)
{
    if (!rbk_str_eqz(rq->method, "GET") || !offers(rq, "Upgrade", "websocket"))
        return RBK_WS_ASKED_NOT;
    if (!offers(rq, "Connection", "upgrade") || !rbk_ws_key_ok(only(rq, "Sec-WebSocket-Key")))
        return RBK_WS_ASKED_BADLY;
    return rbk_str_eqz(only(rq, "Sec-WebSocket-Version"), "13") ? RBK_WS_ASKED
                                                                : RBK_WS_ASKED_VERSION;
}

int rbk_ws_open(rbk_http_request *rq, const rbk_ws_opening *o)
{
    char accept[RBK_WS_ACCEPT_MAX];
    rbk_ws_accept(only(rq, "Sec-WebSocket-Key"), accept);
    rbk_http_header h[OWN_HEADERS + FURTHER_HEADERS] = {
        {RBK_STR("Upgrade"), RBK_STR("websocket")},
        {RBK_STR("Connection"), RBK_STR("Upgrade")},
        {RBK_STR("Sec-WebSocket-Accept"), rbk_str_z(accept)}};
    size_t n = OWN_HEADERS;
    for (size_t i = 0; i < o->n_headers && i < FURTHER_HEADERS; i++)
        h[n++] = o->headers[i];
    return rbk_http_upgrade(rq, &(rbk_http_reply){.headers = h, .n_headers = n}, o->tunnel, o->user,
                            o->max_ms);
}
