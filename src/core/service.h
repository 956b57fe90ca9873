/* SPDX-License-Identifier: Apache-2.0 */
/* core/service.h - the service parameters ($rpc.*) of one request, taken out of
 * `params` and out of the request object. Pure.
 *
 * Values are checked for type and range here; whether a callback may be used is for
 * core/netpolicy.h. */
#ifndef RBK_CORE_SERVICE_H
#define RBK_CORE_SERVICE_H

#include "base/str.h"

/* name, bit, "needs a callback" */
#define RBK_SVC_MAP(X)                                                                             \
    X(callback, 0, 0)                                                                              \
    X(timeout, 1, 0)                                                                               \
    X(delay, 2, 1)                                                                                 \
    X(receipt, 3, 1)                                                                               \
    X(rayId, 4, 0)                                                                                 \
    X(ignoreCache, 5, 0)

/* Names of the contract that this version does not offer: refused by name, so that
 * nobody takes silence for support. */
#define RBK_SVC_LATER_MAP(X)                                                                       \
    X(failureCallback) X(wait) X(deadline) X(idempotencyKey) X(key) X(events)

typedef struct rbk_service {
    uint32_t set;         /* bits of RBK_SVC_MAP */
    rbk_str callback;     /* as written, unescaped; checked to be a string only */
    int64_t timeout_ms;   /* 0 when not given */
    int64_t delay_ms;
    bool receipt;
    rbk_str ray_id;       /* text form, integers as their digits */
} rbk_service;

#define RBK_SVC_BIT(name) (1u << RBK_SVC_##name)
enum {
#define X(name, bit, needs) RBK_SVC_##name = bit,
    RBK_SVC_MAP(X)
#undef X
};

#endif
