/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_written.c - whether an answer has gone, for those who want to know.
 *
 * An answer has gone when the kernel has taken all of it, the peer had not closed its end before it
 * was written, and has not reset the connection since: what is written to a socket that the peer has
 * closed goes nowhere, and the news of that may lie unread in the socket. A peer that reads its
 * answer and closes then has it. Loop thread. */
#include "net/http_server_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

void rbk_http_watch_tell(rbk_http_watch *w, bool all)
{
    rbk_http_watch one = *w;
    *w = (rbk_http_watch){0};
    if (one.fn)
        one.fn(all, one.user);
}

/* The peer has reset the connection; or, with `end`, said that nothing more comes. */
static bool is_closed(const rbk_http_conn *c, bool end)
{
    char byte;
    int fd = rbk_stream_fd(c->st);
    ssize_t n = fd < 0 ? 0 : recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return (n == 0 && (end || fd < 0)) || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* What was written leaves at the end of the turn: until then nobody else asks. Who is told at once may
 * free what the answer was made of, which so was copied before. Without memory to watch it nobody can
 * say that it has gone. */
void rbk_http_watch_add(rbk_http_conn *c, rbk_http_watch w)
{
    if (w.fn == NULL)
        return;
    if (is_closed(c, true)) {
        rbk_http_watch_tell(&w, false);
        return;
    }
    if (c->n_watches == c->room_watches) {
        size_t room = c->room_watches ? c->room_watches * 2 : 2;
        rbk_http_watch *list = realloc(c->watches, room * sizeof *list);
        if (list == NULL) {
            rbk_http_watch_tell(&w, false);
            return;
        }
        c->watches = list;
        c->room_watches = room;
    }
    c->watches[c->n_watches++] = w;
}

static void tell_all(rbk_http_conn *c, bool all)
{
    size_t n = c->n_watches;
    c->n_watches = 0; /* whoever is told gives no answer on this connection from there */
    for (size_t i = 0; i < n; i++)
        rbk_http_watch_tell(&c->watches[i], all);
}

void rbk_http_watches_drained(rbk_http_conn *c)
{
    if (c->n_watches)
        tell_all(c, !is_closed(c, false));
}

void rbk_http_watches_closed(rbk_http_conn *c)
{
    tell_all(c, false);
    free(c->watches);
    c->watches = NULL;
    c->room_watches = 0;
}
