/* SPDX-License-Identifier: Apache-2.0 */
/* method/worker_line.h - the two kinds of lines between ringback and a worker. Pure; any
 * thread. */
#ifndef RBK_METHOD_WORKER_LINE_H
#define RBK_METHOD_WORKER_LINE_H

#include "base/buf.h"

typedef struct rbk_worker_request {
    uint64_t id;
    rbk_str method, params; /* UTF-8; valid JSON text, or absent */
    const char *job;        /* NULL: a synchronous call */
    unsigned run;
    rbk_wall_ms deadline;   /* 0: none */
} rbk_worker_request;

/* The request as one line with its end. Blanks between the tokens of params are left out, and so
 * every line break; all tokens stay as they are, numbers digit for digit. */
void rbk_worker_write(rbk_buf *b, const rbk_worker_request *rq);

typedef struct rbk_worker_line {
    bool progress;  /* a notification `rpc.progress`: id, value, total and message are of this one */
    uint64_t id;
    rbk_str result; /* JSON text; absent: it is an error */
    int64_t code;
    rbk_str message; /* as it is spelt between its quotes */
    rbk_str data;    /* JSON text, or absent */
    double value, total;
    const char *fault; /* what is wrong with the progress, which is then passed over; static text */
} rbk_worker_line;

/* What a worker wrote: `line` without its end, and a NUL in that place. NULL, or what is wrong
 * with it (static text). */
const char *rbk_worker_read(rbk_str line, rbk_worker_line *ret);

#endif
