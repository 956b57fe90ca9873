/* SPDX-License-Identifier: Apache-2.0 */
/* front/listeners.h - the places of one option, server.listen or admin.listen. One thread. */
#ifndef RBK_FRONT_LISTENERS_H
#define RBK_FRONT_LISTENERS_H

#include "base/error.h"
#include "core/netpolicy.h"
#include "net/listen.h"

enum { RBK_LISTENERS_MAX = 16, RBK_LISTENER_TEXT = 160 };

/* All zero: none. */
typedef struct rbk_listeners {
    rbk_listening v[RBK_LISTENERS_MAX];
    rbk_own_listener own[RBK_LISTENERS_MAX]; /* of TCP: the address */
    size_t n;
} rbk_listeners;

/* Of a comma-separated list; `key` is the option's. RBK_E_CONFIG, RBK_E_SYS, RBK_E_NOMEM with key and
 * place in `err`; then it is for rbk_listeners_close(). */
int rbk_listeners_open(rbk_listeners *ls, const char *key, rbk_str list,
                       const rbk_listen_conf *conf, rbk_error *err);
/* Those that a callback could reach: TCP. Returns how many. */
size_t rbk_listeners_own(const rbk_listeners *ls, rbk_own_listener *ret, size_t max);
/* "127.0.0.1", "::1", "unix:/run/ringback.sock". */
void rbk_listener_text(const rbk_listeners *ls, size_t i, char out[RBK_LISTENER_TEXT]);
/* Does only this machine reach it? */
bool rbk_listener_is_loopback(const rbk_listeners *ls, size_t i);
/* No file leads new clients here any more. */
void rbk_listeners_unlink(rbk_listeners *ls);
void rbk_listeners_close(rbk_listeners *ls);

#endif
