/* SPDX-License-Identifier: Apache-2.0 */
/* method/upstream_answer.h - what the body of an upstream's answer says. Pure. */
#ifndef RBK_METHOD_UPSTREAM_ANSWER_H
#define RBK_METHOD_UPSTREAM_ANSWER_H

#include "base/arena.h"

typedef enum rbk_upstream_kind {
    RBK_UPSTREAM_BROKEN, /* `why` */
    RBK_UPSTREAM_RESULT, /* `result` */
    RBK_UPSTREAM_ERROR   /* `code`, `message`, perhaps `data` */
} rbk_upstream_kind;

typedef struct rbk_upstream_answer {
    rbk_upstream_kind kind;
    rbk_str result;      /* JSON text, a part of the body */
    int64_t code;
    const char *message; /* NUL-terminated UTF-8, in `mem` */
    const char *data;    /* JSON text, NUL-terminated, in `mem`; NULL: absent */
    const char *why;     /* static text */
    rbk_arena mem;
} rbk_upstream_answer;

/* `body` ends in NUL behind its last byte. `id` is the request's as JSON text: the answer's must
 * be the same value. That of an error may be null (JSON-RPC section 5). rbk_arena_free()
 * `ret->mem` whatever comes out. */
void rbk_upstream_read(rbk_str body, rbk_str id, rbk_upstream_answer *ret);

/* The host of a Location, as far as it has one; for a log. */
rbk_str rbk_upstream_location_host(rbk_str location);

#endif
