/* SPDX-License-Identifier: Apache-2.0 */
/* core/service.h - the service parameters ($rpc.*) of one request, taken out of
 * `params` and out of the request object. Pure.
 *
 * Values are checked for type and range here; whether a callback may be used is for
 * core/netpolicy.h. */
#ifndef RBK_CORE_SERVICE_H
#define RBK_CORE_SERVICE_H

#include "base/arena.h"

/* name, bit, "needs a callback" */
#define RBK_SVC_MAP(X)                                                                             \
    X(callback, 0, 0)                                                                              \
    X(timeout, 1, 0)                                                                               \
    X(delay, 2, 1)                                                                                 \
    X(receipt, 3, 1)                                                                               \
    X(rayId, 4, 0)                                                                                 \
    X(ignoreCache, 5, 0)                                                                           \
    X(failureCallback, 6, 1)                                                                       \
    X(wait, 7, 1)                                                                                  \
    X(deadline, 8, 0)                                                                              \
    X(idempotencyKey, 9, 1)                                                                        \
    X(key, 10, 1)                                                                                  \
    X(events, 11, 1)

typedef struct rbk_service {
    uint32_t set;         /* bits of RBK_SVC_MAP */
    rbk_str callback;     /* as written, unescaped; checked to be a string only */
    int64_t timeout_ms;   /* 0 when not given */
    int64_t delay_ms;
    bool receipt;
    rbk_str ray_id;       /* text form, integers as their digits */
    rbk_str failure_callback; /* as callback */
    int64_t wait_ms;
    rbk_wall_ms deadline; /* 0 when not given; one before 1970 is 1 */
    rbk_str idem_key, order_key;
    bool progress;        /* the callback gets notifications of progress too */
} rbk_service;

#define RBK_SVC_RAY_MAX 128
#define RBK_SVC_KEY_MAX 255
#define RBK_SVC_WAIT_MAX_MS 30000
#define RBK_SVC_DELAY_MAX_MS (INT64_C(30) * 86400 * 1000)
#define RBK_SVC_TIMEOUT_MIN_MS 100

#define RBK_SVC_BIT(name) (1u << RBK_SVC_##name)
enum {
#define X(name, bit, needs) RBK_SVC_##name = bit,
    RBK_SVC_MAP(X)
#undef X
};

/* Reads the service parameters of one request, wherever they stand. After the first
 * fault nothing more is looked at. */
typedef struct rbk_svc_reader {
    rbk_arena *arena;       /* for the strings of `svc` and for `err_data` */
    int64_t max_timeout_ms; /* greatest `timeout` */
    rbk_service *svc;
    bool nested;      /* the object at hand has had its "$rpc"; the caller resets it */
    bool has_callback; /* from elsewhere */
    uint32_t seen;    /* bits of the names met, valid or not */
    int err;          /* 0, RBK_E_PARAMS, or RBK_E_NOMEM */
    rbk_str err_data; /* JSON text: {"$rpc.<name>":"<reason>"} */
} rbk_svc_reader;

/* Is this member one of ours: "$rpc.<name>" or "$rpc"? */
bool rbk_svc_is_ours(rbk_str member);

/* One member that is ours, its name without escapes, and its value: JSON text inside
 * NUL-terminated text. Both may change afterwards. */
void rbk_svc_take(rbk_svc_reader *r, rbk_str member, rbk_str value);

/* For what is not seen here: the parameter `name` is at fault. */
void rbk_svc_refuse(rbk_svc_reader *r, const char *name, const char *reason);

/* After the last member: `err`. Parameters that need a callback are refused without. */
int rbk_svc_finish(rbk_svc_reader *r);

#endif
