/* SPDX-License-Identifier: Apache-2.0 */
/* core/rpc.h - JSON-RPC 2.0 requests from bytes (jsonrpc.org specification), with
 * the service parameters split off.
 *
 * Numbers and ids keep their digits; depth, batch and size are bounded. Pure: the
 * document owns all that its items point to, and one thread uses it at a time. */
#ifndef RBK_CORE_RPC_H
#define RBK_CORE_RPC_H

#include "core/service.h"

enum { RBK_RPC_DEPTH_MAX = 64 };

typedef struct rbk_rpc_limits {
    size_t max_batch;       /* more members: the whole document is RBK_E_BATCH */
    int64_t max_timeout_ms; /* greatest $rpc.timeout */
    bool callback;          /* members without a callback of their own have one from elsewhere */
} rbk_rpc_limits;

/* One member of the document. */
typedef struct rbk_rpc_item {
    int err;          /* 0; or RBK_E_REQUEST, RBK_E_PARAMS: to be answered with that error */
    rbk_str err_data; /* JSON text for the error's `data`; absent: none */
    bool notification; /* no id: never answered */
    bool versioned;    /* answers carry "jsonrpc":"2.0": the request did, or it is
                          RBK_E_REQUEST, where nobody can say which version it meant */
    rbk_str id;        /* JSON text to echo; "null" where an invalid request has no usable
                          id; absent for a notification */
    rbk_str method;    /* unescaped UTF-8, may hold NUL bytes */
    rbk_str params;    /* JSON text of params without $rpc members; absent when params was
                          absent or null */
    rbk_service svc;
} rbk_rpc_item;

typedef struct rbk_rpc_doc {
    bool batch;
    size_t n;
    rbk_rpc_item *items;
} rbk_rpc_doc;

/* Parse `body`. 0; or, for the document as a whole, RBK_E_PARSE, RBK_E_REQUEST (an
 * empty batch, or neither object nor array), RBK_E_BATCH, RBK_E_NOMEM. On failure
 * `ret` is not written: answer with that error, id null and the version. `body` may go
 * at once.
 *
 * Faults of single members do not fail the document: each has its `err`. `params`
 * that held nothing but $rpc members are `{}`. `params: null` counts as absent. A
 * params that is neither array nor object is RBK_E_REQUEST (JSON-RPC section 4.2).
 * A member of the request object that stands twice is RBK_E_REQUEST; a service
 * parameter given twice, in whatever spelling, is RBK_E_PARAMS naming it. */
int rbk_rpc_parse(rbk_str body, const rbk_rpc_limits *limits, rbk_rpc_doc **ret);

/* The same from the memory of `alc` (NULL: malloc) for yyjson, and at most `max_mem`
 * bytes in each arena: how the tests make every allocation fail. */
struct yyjson_alc;
int rbk_rpc_parse_within(rbk_str body, const rbk_rpc_limits *limits, const struct yyjson_alc *alc,
                         size_t max_mem, rbk_rpc_doc **ret);
void rbk_rpc_free(rbk_rpc_doc *doc);

/* What stands beside the body may say more of its members. A copy that lives as long as the
 * document; absent when memory is out. */
rbk_str rbk_rpc_dup(rbk_rpc_doc *doc, rbk_str s);
/* The member at `i` is refused, for its service parameter `name`. 0 or RBK_E_NOMEM. */
int rbk_rpc_refuse(rbk_rpc_doc *doc, size_t i, const char *name, const char *reason);

/* Is `text` one JSON value (RFC 8259, UTF-8, depth at most RBK_RPC_DEPTH_MAX)? For
 * results that methods give as text. 0, RBK_E_PARSE or RBK_E_NOMEM. */
int rbk_json_check(rbk_str text);

#endif
