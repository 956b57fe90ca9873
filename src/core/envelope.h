/* SPDX-License-Identifier: Apache-2.0 */
/* core/envelope.h - writes what goes back: acknowledgements, results, errors. Pure.
 * Member order is id, then result or error, as the contract shows; `jsonrpc` stands
 * first where the request carried it. Appends to `b`; ask rbk_buf_err() once. */
#ifndef RBK_CORE_ENVELOPE_H
#define RBK_CORE_ENVELOPE_H

#include "base/buf.h"

/* Whom a response answers: the request's id as JSON text, and whether it carried
 * "jsonrpc":"2.0". */
typedef struct rbk_to {
    rbk_str id;
    bool versioned;
} rbk_to;

/* `result` is JSON text. */
void rbk_write_result(rbk_buf *b, rbk_to to, rbk_str result);

/* `message` is plain text; `data` is JSON text, or absent. */
void rbk_write_error(rbk_buf *b, rbk_to to, int64_t code, rbk_str message, rbk_str data);

/* The error of `err`, with its standard code and message. */
void rbk_write_fault(rbk_buf *b, rbk_to to, int err, rbk_str data);

/* {"id":…,"result":{"callback":{"url":"<url>","status":true,"data":[]}}}, with
 * [{"job":"<job>"}] as data where `job` is not absent. */
void rbk_write_ack(rbk_buf *b, rbk_to to, rbk_str url, rbk_str job);

/* The members of a report of progress: "value", and "total" (over 0) and "message" (a JSON string)
 * where they are known. */
void rbk_write_progress(rbk_buf *b, double value, double total, rbk_str message);

#endif
