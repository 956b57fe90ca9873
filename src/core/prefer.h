/* SPDX-License-Identifier: Apache-2.0 */
/* core/prefer.h - what a caller would like, as HTTP's Prefer header says it (RFC 7240): for us
 * `respond-async` and `wait=<seconds>`. Pure; any thread. */
#ifndef RBK_CORE_PREFER_H
#define RBK_CORE_PREFER_H

#include "base/str.h"

typedef struct rbk_prefer {
    bool respond_async;
    int64_t wait_ms; /* at most RBK_PREFER_WAIT_MAX_MS; -1: not named */
} rbk_prefer;

#define RBK_PREFER_WAIT_MAX_MS INT64_C(86400000)

/* Add what one header line says; begin with {.wait_ms = -1}. The first of a name counts. A
 * preference that is unknown, or makes no sense, is as if it were not there. */
void rbk_prefer_read(rbk_prefer *p, rbk_str value);

#endif
