/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_response.h - the answer to one request, bit by bit.
 *
 * llhttp's strict grammar with the bounds and refusals of a deliverer on top. Does no
 * I/O, and keeps the body only where it is asked to. The same status comes out however
 * the bytes are split. */
#ifndef RBK_NET_HTTP_RESPONSE_H
#define RBK_NET_HTTP_RESPONSE_H

#include <llhttp.h>

#include "base/buf.h"

enum {
    RBK_RESPONSE_HEAD_MAX = 32 * 1024, /* all heads of one answer, interim ones included */
    RBK_RESPONSE_BODY_MAX = 64 * 1024, /* as on the wire, chunk framing included */
    RBK_RESPONSE_INTERIM_MAX = 16,
    RBK_RESPONSE_FIELD_MAX = 64 /* of a header value that is kept */
};

/* What a 101 says, where it was asked for. */
typedef struct rbk_response_upgrade {
    char upgrade[RBK_RESPONSE_FIELD_MAX], connection[RBK_RESPONSE_FIELD_MAX],
        accept[RBK_RESPONSE_FIELD_MAX]; /* Sec-WebSocket-Accept */
    size_t upgrade_n, connection_n, accept_n;
    unsigned n_upgrade, n_connection, n_accept, n_unasked; /* how often: extensions, protocol */
    rbk_str rest; /* what follows the head; valid until feed's bytes go */
} rbk_response_upgrade;

/* Headers that are of interest to those who want a body. */
typedef struct rbk_response_extra {
    char location[512], keep_alive[RBK_RESPONSE_FIELD_MAX];
    size_t location_n, keep_alive_n;
    unsigned n_location, n_keep_alive; /* how often */
} rbk_response_extra;

typedef struct rbk_response {
    llhttp_t parser;
    int status;        /* the final one, once `head_done` */
    bool head_done;    /* final status line and headers were read */
    bool done;         /* the whole answer was read, or as much as is ever read */
    bool clean;        /* with `done`: framed so that the connection may serve again */
    bool request_open; /* set by the caller before feed: the request is still being written */
    bool early;        /* the final status line began while `request_open` */
    const char *fault; /* what is wrong with it, NULL while nothing is; after a good head it
                          changes nothing but that the connection is to be closed */

    rbk_buf *body; /* NULL: the body is dropped; else it is added here; set by the caller */

    rbk_response_extra *extra; /* NULL: they are skipped; else they go there; set by the caller,
                                  who clears it */

    rbk_response_upgrade *upgrade; /* NULL: a 101 is refused; else it is a final answer and fills
                                      this; set by the caller, who clears it */

    size_t head_n, body_n; /* bytes */
    unsigned n_interim;
    unsigned n_retry_after, n_encoding; /* how often the header came */
    char field[24];                     /* name of the header being read, lower case */
    size_t field_n;
    char *value; /* where the value goes, or NULL: it is skipped */
    size_t *value_n, value_max;
    char retry_after[RBK_RESPONSE_FIELD_MAX], encoding[RBK_RESPONSE_FIELD_MAX];
    size_t retry_after_n, encoding_n;
} rbk_response;

void rbk_response_init(rbk_response *r);
/* The next bytes; none after `done`. 0; or RBK_E_PROTOCOL, and `fault` says why: then the
 * status still counts where `head_done` is set, and the connection is to be closed. */
int rbk_response_feed(rbk_response *r, const char *p, size_t n);
/* The peer has ended: true when that is the end of the answer too, which is `done` then. */
bool rbk_response_end(rbk_response *r);
/* True once a byte of an answer came. */
bool rbk_response_begun(const rbk_response *r);
/* "timeout=5" of the peer's Keep-Alive in ms, or -1: it says nothing. */
int64_t rbk_response_keep_alive_ms(const rbk_response *r);
/* The value of Location, absent unless exactly one came that fits. Points into `extra`. */
rbk_str rbk_response_location(const rbk_response *r);
/* The value of Retry-After, absent unless exactly one of a sane size came. Points into `r`. */
rbk_str rbk_response_retry_after(const rbk_response *r);

#endif
