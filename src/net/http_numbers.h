/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_numbers.h - what the HTTP servers of one loop count. The loop alone writes; anybody
 * reads. */
#ifndef RBK_NET_HTTP_NUMBERS_H
#define RBK_NET_HTTP_NUMBERS_H

#include "base/count.h"

/* Statuses that are counted each for itself; any other is the last. */
#define RBK_HTTP_STATUS_MAP(X)                                                                     \
    X(101) X(200) X(204) X(400) X(401) X(403) X(404) X(405) X(408) X(413) X(414) X(415) X(417)     \
    X(426) X(429) X(431) X(501) X(503) X(505)

typedef enum rbk_http_status_at {
#define RBK_HTTP_STATUS_ENUM(status) RBK_HTTP_STATUS_##status,
    RBK_HTTP_STATUS_MAP(RBK_HTTP_STATUS_ENUM)
#undef RBK_HTTP_STATUS_ENUM
    RBK_HTTP_STATUS_OTHER,
    RBK_HTTP_STATUSES
} rbk_http_status_at;

/* Why a connection was turned away. */
typedef enum rbk_http_shed {
    RBK_HTTP_SHED_NOT,
    RBK_HTTP_SHED_ALL,     /* there are max_connections */
    RBK_HTTP_SHED_ADDRESS, /* its address has as many as it may */
    RBK_HTTP_SHEDS
} rbk_http_shed;

typedef struct rbk_http_numbers {
    atomic_uint_fast64_t answers[RBK_HTTP_STATUSES];
    atomic_uint_fast64_t accepted; /* connections that got a place */
    atomic_uint_fast64_t shed[RBK_HTTP_SHEDS];
    atomic_uint_fast64_t bytes_in, bytes_out; /* of HTTP: without TLS */
} rbk_http_numbers;

/* Where `status` is counted. */
rbk_http_status_at rbk_http_status_at_of(int status);

#endif
