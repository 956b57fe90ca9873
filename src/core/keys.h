/* SPDX-License-Identifier: Apache-2.0 */
/* core/keys.h - what the two keys of a caller come to: the print of a request under an
 * idempotency key, and the lane of an order key. Pure; any thread. */
#ifndef RBK_CORE_KEYS_H
#define RBK_CORE_KEYS_H

#include "core/rpc.h"
#include "ringback/store.h"

enum { RBK_KEY_LANE_MAX = 4 + 64 };

/* SHA-256 over the method, the params, both callbacks, and whether it is a notification: texts as
 * they are stored, so that params which mean the same in other words are another request. False:
 * memory is out. */
bool rbk_request_print(const rbk_job *job, uint8_t ret[32]);

/* "key:" and the SHA-256 of caller and key, NUL-terminated: a lane is bounded, whatever they are.
 * False: memory is out. */
bool rbk_key_lane(rbk_str caller, rbk_str key, char ret[RBK_KEY_LANE_MAX + 1]);

/* The HTTP header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header: a quoted string
 * of RFC 8941; a bare word will do) says what $rpc.idempotencyKey says, for a document of one
 * request. What it does not go with is refused: the member's `err` is RBK_E_PARAMS. 0, or
 * RBK_E_NOMEM. */
int rbk_rpc_idempotency_key(rbk_rpc_doc *doc, rbk_str header);

#endif
