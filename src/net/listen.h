/* SPDX-License-Identifier: Apache-2.0 */
/* net/listen.h - what a server listens on, by the text of an option:
 *
 *   127.0.0.1:7600  [::1]:7600  :7600   TCP; a socket with SO_REUSEPORT for each loop
 *   unix:/run/ringback.sock             a Unix socket, which all loops share
 *   fd:NAME  fd:                        sockets that were passed (passed.h): those of the name, all
 *
 * One thread at a time. */
#ifndef RBK_NET_LISTEN_H
#define RBK_NET_LISTEN_H

#include "base/str.h"

#include <sys/socket.h>

typedef struct rbk_listen_conf {
    size_t loops;  /* so many descriptors are made of each */
    unsigned mode; /* of the file of a Unix socket: 0600 */
} rbk_listen_conf;

typedef struct rbk_listening {
    int *fds; /* one for each loop; -1: rbk_listen_give() gave it away */
    size_t n;
    bool local, passed;            /* a Unix socket; not made by us */
    struct sockaddr_storage addr;  /* as the kernel has it */
    uint16_t port;                 /* of TCP */
    char path[sizeof(struct sockaddr_storage)]; /* of a Unix socket; empty: it has none */
    uint64_t dev, ino;             /* its file, if we made it */
} rbk_listening;

/* NULL, or what is wrong with the text (static). */
const char *rbk_listen_fault(rbk_str text);

/* At most `max` into `list`: how many there are; only passed ones may be more than one. A file that
 * is there already is replaced if it is a socket on which nobody listens. RBK_E_CONFIG, RBK_E_SYS
 * (somebody else is there, it cannot be), RBK_E_NOMEM, with the text in `err`. */
int rbk_listen(rbk_str text, const rbk_listen_conf *conf, rbk_listening *list, size_t max,
               rbk_error *err);
/* The descriptor of loop `i`, which is the caller's from now on. */
int rbk_listen_give(rbk_listening *l, size_t i);
/* New clients find no file any more, unless it is somebody else's by now. */
void rbk_listen_unlink(rbk_listening *l);
/* The same, and what was not given away is closed. All zero is legal. */
void rbk_listen_close(rbk_listening *l);

#endif
