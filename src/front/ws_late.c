/* SPDX-License-Identifier: Apache-2.0 */
/* front/ws_late.c - see ws_late.h. */
#include "front/ws_late.h"

#include "base/id.h"

#include <stdlib.h>

static const char header[] = "Ringback-Resume";

/* --- Texts ------------------------------------------------------------------------------------- */

/* A text that was written: what became of it is known when the connection may have gone. */
typedef struct on_its_way {
    rbk_socket_text *text;
    rbk_ws_late *late; /* NULL: it has gone */
    rbk_link link;
    size_t n;
} on_its_way;

static void write_some(rbk_ws_late *late);

static void on_written(bool all, void *user)
{
    on_its_way *w = user;
    rbk_ws_late *late = w->late;
    rbk_link_remove(&w->link);
    if (late)
        late->unsent -= w->n;
    rbk_socket_sent(w->text);
    free(w);
    if (late && all)
        write_some(late);
}

static bool write_one(rbk_ws_late *late, rbk_socket_text *text)
{
    on_its_way *w = malloc(sizeof *w);
    if (w == NULL)
        return false;
    *w = (on_its_way){.text = text, .late = late, .n = text->text.n};
    rbk_link_init(&w->link);
    rbk_link_append(&late->going, &w->link);
    late->unsent += w->n;
    if (late->put(late->user, rbk_buf_view(&text->text), on_written, w))
        return true;
    late->unsent -= w->n;
    rbk_link_remove(&w->link);
    free(w);
    return false;
}

/* One that cannot be written is not lost: nobody acknowledges it, and it is sent again. */
static void write_some(rbk_ws_late *late)
{
    if (late->writing)
        return; /* from within, as it was written at once */
    late->writing = true;
    while (late->waiting.head && late->unsent < RBK_WS_LATE_UNSENT) {
        rbk_socket_text *text = (rbk_socket_text *)(void *)rbk_list_pop(&late->waiting);
        if (!write_one(late, text))
            rbk_socket_sent(text);
    }
    late->writing = false;
}

static void on_text(void *user, rbk_socket_text *text)
{
    rbk_ws_late *late = user;
    rbk_list_push(&late->waiting, &text->task.node);
    write_some(late);
}

/* --- The session -------------------------------------------------------------------------------- */

static void on_replaced(void *user)
{
    rbk_ws_late *late = user;
    late->replaced(late->user);
}

static void on_quiet(void *user)
{
    rbk_ws_late *late = user;
    late->quiet = true;
    late->drained(late->user);
}

int rbk_ws_late_begin(rbk_ws_late *late, const rbk_http_request *rq, rbk_str caller, bool *ret_resumed)
{
    uint8_t random[RBK_SESSION_RANDOM];
    rbk_str found = RBK_STR_NONE;
    for (size_t i = 0; i < rq->n_headers; i++) {
        if (!rbk_str_ieqz(rq->headers[i].name, header))
            continue;
        if (found.p || !rbk_session_is_token(rq->headers[i].value))
            return RBK_E_INVAL;
        found = rq->headers[i].value;
    }
    rbk_random(random, sizeof random);
    if (found.p)
        memcpy(late->token, found.p, RBK_SESSION_TOKEN);
    else
        rbk_session_token(random, late->token);
    rbk_link_init(&late->going);
    late->caller = strndup(caller.n ? caller.p : "", caller.n);
    *ret_resumed = found.p != NULL;
    return late->caller ? 0 : RBK_E_NOMEM;
}

int rbk_ws_late_open(rbk_ws_late *late, rbk_engine *e, rbk_loop *loop, bool resumed)
{
    char session[RBK_SESSION_NAME + 1];
    if (!rbk_session_name(rbk_str_z(late->caller), rbk_str_z(late->token), session))
        return RBK_E_NOMEM;
    return rbk_socket_open(e, &(rbk_socket_conf){.loop = loop,
                                                 .session = rbk_str_z(session),
                                                 .resumed = resumed,
                                                 .text = on_text,
                                                 .replaced = on_replaced,
                                                 .quiet = on_quiet,
                                                 .user = late},
                           &late->socket);
}

bool rbk_ws_late_is_of(const rbk_ws_late *late, rbk_str caller)
{
    return rbk_str_eqz(caller, late->caller);
}

rbk_str rbk_ws_late_session(const rbk_ws_late *late)
{
    return rbk_socket_session(late->socket);
}

bool rbk_ws_late_drain(rbk_ws_late *late)
{
    late->draining = true;
    late->quiet = late->quiet || late->socket == NULL || !rbk_socket_drain(late->socket);
    return late->quiet;
}

void rbk_ws_late_close(rbk_ws_late *late)
{
    while (late->going.next && !rbk_link_empty(&late->going)) {
        on_its_way *w = RBK_OF_LINK(late->going.next, on_its_way, link);
        rbk_link_remove(&w->link);
        w->late = NULL;
    }
    for (rbk_node *n; (n = rbk_list_pop(&late->waiting));)
        rbk_socket_sent((rbk_socket_text *)(void *)n);
    rbk_socket_close(late->socket);
    late->socket = NULL;
    free(late->caller);
    late->caller = NULL;
}
