/* SPDX-License-Identifier: Apache-2.0 */
/* engine/engine.h - the engine as fronts and the server see it.
 *
 * rpc -> ADMIT -> STORE -> EXECUTE -> DELIVER. A front makes an exchange, submits
 * request bytes to it, and is told once when the answer is complete. */
#ifndef RBK_ENGINE_ENGINE_H
#define RBK_ENGINE_ENGINE_H

#include "base/log.h"
#include "core/netpolicy.h"
#include "core/retry.h"
#include "core/rpc.h"
#include "core/sign.h"
#include "engine/callers.h"
#include "net/tls.h"
#include "ringback.h"
#include "ringback/store.h"
#include "seam/methods.h"

#include <sys/socket.h>

typedef struct rbk_engine rbk_engine;
typedef struct rbk_exchange rbk_exchange;

typedef struct rbk_engine_conf {
    rbk_rpc_limits limits;
    size_t max_body, max_result;
    const char *store_dsn;
    int64_t max_pending, max_pending_bytes, min_free;
    int64_t dedup_ms;    /* how long an idempotency key is kept at least */
    rbk_store_keep keep; /* of ended jobs; done_ms or done_bytes 0: delivered ones go at once */
    size_t method_threads;
    size_t max_waiting; /* synchronous calls of one method that wait for a thread; 0: no bound of its own */
    int64_t method_ms, max_timeout_ms, missing_ms;
    uint32_t max_runs;
    rbk_retry_conf retry;
    int64_t connect_ms, delivery_ms;
    size_t in_flight, per_receiver, per_address, couriers;
    unsigned held; /* most connections of all transports; 0: no bound */
    unsigned dial_sockets; /* most that one attempt holds while it connects; 0: no bound */
    unsigned breaker; /* failures in a row that pause a receiver; 0: none do */
    bool http2; /* is offered to receivers */
    rbk_str forward_headers; /* comma-separated names */
    rbk_tls_client_conf tls;
    const char *name_servers;    /* "127.0.0.1:5353,…"; NULL: the system's */
    struct sockaddr_storage proxy; /* that deliveries go through; AF_UNSPEC: none */
    rbk_methods *methods;        /* the caller's, outlive the engine */
    const rbk_log *log;          /* the same */
} rbk_engine_conf;

/* Open the store and make all parts; nothing runs yet. The conf is copied, its strings
 * outlive the engine. Errors as rbk_server_start(). */
int rbk_engine_new(const rbk_engine_conf *conf, rbk_engine **ret, rbk_error *err);
/* Start the threads; stored jobs are recovered and go on. */
int rbk_engine_start(rbk_engine *e, rbk_error *err);
/* Where the store is, to put files beside it; NULL: nowhere. */
const char *rbk_engine_store_path(const rbk_engine *e);
/* Sign attempts with these keys from now on; takes the reference. Before the start, and
 * later as often as wanted. Any thread. */
void rbk_engine_use_keys(rbk_engine *e, rbk_sign_keys *keys);
/* A reference to the keys in use. Any thread. */
rbk_sign_keys *rbk_engine_keys(rbk_engine *e);
/* Let these callers in from now on, and nobody else; takes the reference. Before the start, and
 * later as often as wanted. Any thread. */
void rbk_engine_use_callers(rbk_engine *e, rbk_callers *callers);
/* A reference to the table in use; NULL: there is none, and who calls is not asked. Any thread. */
rbk_callers *rbk_engine_callers(rbk_engine *e);
/* Another number for each table that was put to use: who let somebody in for long looks again. Any
 * thread. */
uint64_t rbk_engine_callers_version(const rbk_engine *e);
/* Judge new calls, and stored jobs at their next attempt, by this policy from now on; takes
 * the reference. Before the start, and later as often as wanted. Any thread. */
void rbk_engine_use_policy(rbk_engine *e, rbk_netpolicy *policy);
/* A reference to the policy in use. Any thread. */
rbk_netpolicy *rbk_engine_policy(rbk_engine *e);
/* From now on nothing is accepted (-32009). Any thread. */
void rbk_engine_refuse(rbk_engine *e);
/* Let what is under way finish within `drain_ms`, then end the threads and close the
 * store. 0 when all was finished, 1 when the rest is left to the store. */
int rbk_engine_stop(rbk_engine *e, int64_t drain_ms);
/* NULL is legal. False: methods did not end at the stop and may still use the engine, its
 * methods and log: all of them must stay until the process ends. */
bool rbk_engine_free(rbk_engine *e);

void rbk_engine_stats(const rbk_engine *e, rbk_stats *ret); /* any thread */
int rbk_engine_health(const rbk_engine *e);                 /* 0 or RBK_E_IO; any thread */
int rbk_engine_job(rbk_engine *e, const char *id, rbk_job_fn fn, void *user);

/* --- Exchanges: one request body and its one answer ----------------------------- */

/* Called exactly once, when the answer can be composed; on the thread that finished it,
 * perhaps within rbk_exchange_submit(). The exchange is then `user`'s to unref. */
typedef void (*rbk_exchange_fn)(rbk_exchange *ex, void *user);

rbk_exchange *rbk_exchange_new(rbk_engine *e, rbk_exchange_fn done, void *user);
/* Asked once within rbk_exchange_submit(), when it is known that the body has `n` requests (1 when it
 * is none at all): may they be begun? 0; or the seconds that the client should wait: then nothing of
 * the body is done, its requests are answered -32009, and the status is 429 with Retry-After. */
typedef unsigned (*rbk_exchange_gate_fn)(size_t n, void *user);
/* Before the submit; `user` is of use until that returns. */
void rbk_exchange_guard(rbk_exchange *ex, rbk_exchange_gate_fn gate, void *user);
/* The body came over a client's own websocket, of this session ("ws:<hash>", engine/sockets.h). Before the
 * submit; of use until that returns. */
void rbk_exchange_over(rbk_exchange *ex, rbk_str session);
/* Parse and admit; `rq` may go when this returns. */
void rbk_exchange_submit(rbk_exchange *ex, const rbk_request *rq);
/* What a body asked for: symbol, label. */
#define RBK_EXCHANGE_KIND_MAP(X)                                                                   \
    X(CALL, "call") X(JOB, "job") X(BUILTIN, "builtin") X(BATCH, "batch") X(INVALID, "invalid")

typedef enum rbk_exchange_kind {
#define RBK_EXCHANGE_KIND_ENUM(sym, label) RBK_EXCHANGE_##sym,
    RBK_EXCHANGE_KIND_MAP(RBK_EXCHANGE_KIND_ENUM)
#undef RBK_EXCHANGE_KIND_ENUM
    RBK_EXCHANGE_KINDS
} rbk_exchange_kind;

/* Once done; whoever the front is. */
rbk_exchange_kind rbk_exchange_kind_of(const rbk_exchange *ex);
/* Was a member refused because its caller has too much pending? */
bool rbk_exchange_is_over_quota(const rbk_exchange *ex);
/* The client has gone: synchronous calls that have not begun need not run. Any thread. */
void rbk_exchange_gone(rbk_exchange *ex);
/* The answer, once done: valid until the unref. */
void rbk_exchange_reply(rbk_exchange *ex, rbk_reply *ret);
/* Does the answer hold responses of jobs, in place of their acknowledgements? Then who sends it
 * says once, after rbk_exchange_reply() and before the unref, whether all of it was written: then
 * these jobs are delivered, else they go to their callbacks. Any thread. */
bool rbk_exchange_has_jobs(const rbk_exchange *ex);
void rbk_exchange_written(rbk_exchange *ex, bool all);
void rbk_exchange_unref(rbk_exchange *ex);

#endif
