/* SPDX-License-Identifier: Apache-2.0 */
/* front/admin_impl.h - shared by the admin*.c files; not for anybody else.
 *
 * admin.c          listeners, who may come in, pages
 * admin_rpc.c      one body of JSON-RPC: member after member, each waits for its answer
 * admin_methods.c  the table of methods, and what each asks of the engine
 * admin_params.c   params by name
 * admin_write.c    jobs, receivers and numbers as JSON and as Prometheus text */
#ifndef RBK_FRONT_ADMIN_IMPL_H
#define RBK_FRONT_ADMIN_IMPL_H

#include "base/seldom.h"
#include "core/envelope.h"
#include "engine/admin.h"
#include "front/admin.h"
#include "front/origin.h"
#include "net/http_server.h"

#include <pthread.h>

enum {
    RBK_ADMIN_BODY_MAX = 256 << 10,
    RBK_ADMIN_ANSWER_MAX = 64 << 20,
    RBK_ADMIN_ANSWERS_MAX = 128 << 20, /* of all connections, being written or unsent */
    RBK_ADMIN_ANSWER_FREE = 64 << 10,  /* so long it may be whatever others have */
    /* Beyond all that: what must be said of each member. An id comes from the body. */
    RBK_ADMIN_FAULTS_MAX = 1 << 20,
    RBK_ADMIN_BATCH_MAX = 100
};

typedef struct rbk_admin_port {
    rbk_admin_front *f;
    rbk_http_server *server;
    rbk_origins *own; /* what Host and Origin may be: the address, "localhost", both with the port;
                         NULL on a Unix socket, which no browser reaches */
} rbk_admin_port;

struct rbk_admin_front {
    rbk_admin_front_conf conf;
    rbk_engine *e;
    const rbk_http_front *front; /* NULL: there is none to show */
    rbk_loop *loop;
    atomic_uint connections, shed;
    atomic_size_t answers;  /* bytes of those being written */
    atomic_size_t buffered; /* of what the HTTP server has of them, and of bodies */
    rbk_listeners listeners;
    rbk_admin_port ports[RBK_LISTENERS_MAX];
    bool started, ending; /* loop thread */
    rbk_seldom refusals;
    atomic_bool has_token; /* once set it stays */
    pthread_mutex_t lock;  /* of the token */
    uint8_t token[32];     /* its SHA-256 */
};

/* Params of all methods together. */
typedef struct rbk_admin_params {
    rbk_str job, receiver, url, callback, after;
    rbk_job_filter filter;
    bool filtered, all;
    int64_t cursor;
    size_t limit;
} rbk_admin_params;

/* Which methods a member belongs to. */
enum {
    RBK_ADMIN_LIST = 1, RBK_ADMIN_GET = 2, RBK_ADMIN_RETRY = 4, RBK_ADMIN_CANCEL = 8,
    RBK_ADMIN_PURGE = 16, RBK_ADMIN_RECEIVERS = 32, RBK_ADMIN_HOLD = 64, RBK_ADMIN_CHECK = 128,
    RBK_ADMIN_STATS = 256
};

/* One HTTP request with JSON-RPC. The loop's, but while an engine thread answers. */
typedef struct rbk_admin_call {
    rbk_task task; /* first */
    rbk_admin_front *f;
    rbk_http_request *rq;
    rbk_rpc_doc *doc;
    size_t i;      /* the member at hand */
    rbk_arena arena; /* of its params */
    rbk_admin_params params;
    rbk_buf out;
    size_t mark;   /* where its answer begins */
    size_t counted; /* of `out`, in f->answers */
    bool cramped;  /* others leave it less than RBK_ADMIN_ANSWER_MAX */
    bool failed;   /* not even a fault could be written */
} rbk_admin_call;

/* Answer `rq`'s body, now or later. */
void rbk_admin_serve(rbk_admin_front *f, rbk_http_request *rq);
/* The answer of the member at hand was written: go on, on the loop. Any thread. */
void rbk_admin_answered(rbk_admin_call *c);
rbk_to rbk_admin_to(const rbk_admin_call *c);
/* {"id":…,"result": is written; the caller writes the value, and '}'. */
void rbk_admin_open(rbk_admin_call *c);
/* The same for a value that may be long: its answer gets no more than there is left for it. */
void rbk_admin_open_long(rbk_admin_call *c);
void rbk_admin_fault(rbk_admin_call *c, int err);
/* Invalid params: data is {"<member>":"<why>"}. Returns RBK_E_PARAMS. */
int rbk_admin_refuse(rbk_admin_call *c, rbk_str member, const char *why);

/* Begin the member at hand. True: rbk_admin_answered() follows; false: the answer stands. */
bool rbk_admin_begin(rbk_admin_call *c);

/* Fill c->params from params text that `method` (one of the bits) takes. 0, or the fault was
 * written. */
int rbk_admin_read(rbk_admin_call *c, unsigned method, rbk_str text);

void rbk_admin_write_job(rbk_buf *b, const rbk_job *job, bool whole);
void rbk_admin_write_notes(rbk_buf *b, const rbk_attempt_note *notes, size_t n);
void rbk_admin_write_receiver(rbk_buf *b, const rbk_receiver_info *r);
/* `front` may be NULL, here and below. */
void rbk_admin_write_stats(rbk_buf *b, const rbk_metrics *m, const rbk_front_metrics *front);
void rbk_admin_write_metrics(rbk_buf *b, const rbk_metrics *m, const rbk_front_metrics *front);
void rbk_admin_write_i64(rbk_buf *b, int64_t v);

#endif
