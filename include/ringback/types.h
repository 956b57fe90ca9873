/* SPDX-License-Identifier: Apache-2.0 */
/* ringback/types.h - the words that all public headers share.
 *
 * Text is `rbk_str`: a pointer and a length, not NUL-terminated unless a function
 * says so. A function that can fail returns 0 or a count, or a negative `rbk_err`. */
#ifndef RINGBACK_TYPES_H
#define RINGBACK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RBK_API __attribute__((visibility("default")))
#define RBK_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define RBK_API
#define RBK_PRINTF(f, a)
#endif

/* Bytes that somebody else owns. `p` may be NULL when `n` is 0; a NULL `p` means
 * "absent" where a function distinguishes that from "empty". */
typedef struct rbk_str {
    const char *p;
    size_t n;
} rbk_str;

typedef int64_t rbk_wall_ms; /* milliseconds since 1970-01-01T00:00:00Z; may be stored */
typedef int64_t rbk_mono_ms; /* milliseconds on a clock that never jumps; never stored */

/* Who is to blame, and so what to do: the caller's fault, worth another try, or
 * a component that must not be trusted again. */
typedef enum rbk_err_class {
    RBK_CLASS_CALLER,
    RBK_CLASS_RETRY,
    RBK_CLASS_FATAL
} rbk_err_class;

/* symbol, number (frozen), JSON-RPC code, class, message */
#define RBK_ERR_MAP(X)                                                                             \
    X(NOMEM, -1, -32009, RETRY, "Out of memory")                                                   \
    X(INVAL, -2, -32602, CALLER, "Invalid argument")                                               \
    X(PARSE, -3, -32700, CALLER, "Parse error")                                                    \
    X(REQUEST, -4, -32600, CALLER, "Invalid Request")                                              \
    X(METHOD, -5, -32601, CALLER, "Method not found")                                              \
    X(PARAMS, -6, -32602, CALLER, "Invalid params")                                                \
    X(INTERNAL, -7, -32603, FATAL, "Internal error")                                               \
    X(UNAUTHORIZED, -8, -32001, CALLER, "Unauthorized")                                            \
    X(TIMEOUT, -9, -32002, RETRY, "Timed out")                                                     \
    X(NOTFOUND, -10, -32003, CALLER, "Job not found")                                              \
    X(INTERRUPTED, -11, -32004, RETRY, "Interrupted")                                              \
    X(CANCELLED, -12, -32005, CALLER, "Cancelled")                                                 \
    X(TOO_LARGE, -13, -32007, CALLER, "Request too large")                                         \
    X(RESULT_SIZE, -14, -32008, CALLER, "Result too large")                                        \
    X(BUSY, -15, -32009, RETRY, "Server is busy")                                                  \
    X(BATCH, -16, -32010, CALLER, "Batch too large")                                               \
    X(IO, -17, -32009, FATAL, "Input/output error")                                                \
    X(DISK_FULL, -18, -32009, RETRY, "No space left in the store")                                 \
    X(UNKNOWN, -19, -32009, RETRY, "Outcome unknown")                                              \
    X(STATE, -20, -32603, CALLER, "Not possible in this state")                                    \
    X(CONFIG, -21, -32603, CALLER, "Bad configuration")                                            \
    X(SYS, -22, -32009, RETRY, "System call failed")                                               \
    X(LOCKED, -23, -32009, CALLER, "Store is in use by another server")                            \
    X(SCHEMA, -24, -32603, FATAL, "Store was written by a newer ringback")                         \
    X(RESOLVE, -25, -32009, RETRY, "Name resolution failed")                                       \
    X(ADDRESS, -26, -32602, CALLER, "Address not allowed")                                         \
    X(CONNECT, -27, -32009, RETRY, "Connection failed")                                            \
    X(TLS, -28, -32009, RETRY, "TLS failed")                                                       \
    X(CLOSED, -29, -32009, RETRY, "Connection closed")                                             \
    X(PROTOCOL, -30, -32009, RETRY, "Protocol error")

typedef enum rbk_err {
    RBK_OK = 0,
#define RBK_ERR_ENUM(sym, num, rpc, cls, text) RBK_E_##sym = num,
    RBK_ERR_MAP(RBK_ERR_ENUM)
#undef RBK_ERR_ENUM
} rbk_err;

/* What went wrong. `text` may be shown to the peer; `detail` is for the operator
 * alone: it may name paths, SQL, addresses. Both are NUL-terminated, cut to fit. */
typedef struct rbk_error {
    int code; /* an rbk_err, 0 when nothing is set */
    char text[128];
    char detail[384];
} rbk_error;

/* The message of `err` ("Parse error"); for an unknown number "Unknown error".
 * Static text. Any thread. */
RBK_API const char *rbk_strerror(int err);

/* The symbol of `err` ("PARSE"), as logs print it. Static text. Any thread. */
RBK_API const char *rbk_err_name(int err);

/* The JSON-RPC error code of `err` (-32700 for RBK_E_PARSE). Any thread. */
RBK_API int rbk_err_rpc_code(int err);

/* The class of `err`; RBK_CLASS_FATAL for an unknown number. Any thread. */
RBK_API rbk_err_class rbk_err_classify(int err);

#ifdef __cplusplus
}
#endif
#endif
