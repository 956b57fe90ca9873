/* SPDX-License-Identifier: Apache-2.0 */
/* engine/exchange.h - one request body and its one answer, inside the engine.
 *
 * Each member of the body has a slot. Slots are filled by whoever finishes the member,
 * on any thread, each once; the last one completes the exchange. */
#ifndef RBK_ENGINE_EXCHANGE_H
#define RBK_ENGINE_EXCHANGE_H

#include "base/buf.h"
#include "base/id.h"
#include "engine/engine_impl.h"

rbk_engine *rbk_exchange_engine(const rbk_exchange *ex);
/* Whose websocket it came over; absent: none. Within rbk_exchange_submit(). */
rbk_str rbk_exchange_session(const rbk_exchange *ex);
/* What its members have to do with each other; NULL: nothing. */
struct rbk_links *rbk_exchange_links(const rbk_exchange *ex);
const rbk_rpc_item *rbk_exchange_item(const rbk_exchange *ex, uint32_t item);
rbk_exchange *rbk_exchange_ref(rbk_exchange *ex);
bool rbk_exchange_is_gone(const rbk_exchange *ex);

/* The member's response object; the buffer becomes the exchange's. */
void rbk_exchange_answer(rbk_exchange *ex, uint32_t item, rbk_buf *text);
/* The member's answer is the error `err`; `data` is JSON text that outlives the exchange
 * (or lies in its document), or absent. */
void rbk_exchange_fault(rbk_exchange *ex, uint32_t item, int err, rbk_str data);
/* The same with {"<name>":"<reason>"} as data; both are copied. */
void rbk_exchange_refuse(rbk_exchange *ex, uint32_t item, const char *name, const char *reason);
/* The body as a whole is answered with RBK_E_PARAMS and that; its members are to be silent. */
void rbk_exchange_refuse_body(rbk_exchange *ex, const char *name, const char *reason);
/* The same with RBK_E_UNAUTHORIZED. */
void rbk_exchange_refuse_caller(rbk_exchange *ex);
/* A member is no job, because its caller has too much pending; `why` is a JSON text that stays. */
void rbk_exchange_refuse_quota(rbk_exchange *ex, uint32_t item, rbk_str why);
/* The error that was the member's answer, as a response object, appended. */
void rbk_exchange_write_fault(const rbk_exchange *ex, uint32_t item, rbk_buf *b);
/* The data of such a refusal, {"<name>":"<reason>"}; a long name is cut. Sets up `b`, which the caller frees. */
void rbk_exchange_write_reason(rbk_buf *b, rbk_str name, const char *reason);
/* As rbk_exchange_refuse(), for a name that the caller chose. */
void rbk_exchange_refuse_member(rbk_exchange *ex, uint32_t item, rbk_str name, const char *reason);
/* The member is acknowledged: its job is in the store under this id. */
void rbk_exchange_ack(rbk_exchange *ex, uint32_t item, rbk_id job);
/* The member's answer is the response of its own job, which is DUE in the store; takes the ticket,
 * until rbk_exchange_written(). False: there is no room for the answer, and nothing happened. */
bool rbk_exchange_take(rbk_exchange *ex, uint32_t item, rbk_ticket *t);
/* The member is through and has no answer (a notification). */
void rbk_exchange_silent(rbk_exchange *ex, uint32_t item);

/* engine/admit.c: the faults of notifications are never answered, but now and then logged. */
void rbk_admit_log_refused(rbk_engine *e, const rbk_rpc_item *it, int err);
/* What rbk_exchange_submit() calls for a parsed document (engine/admit.c). */
void rbk_admit(rbk_engine *e, rbk_exchange *ex, const rbk_rpc_doc *doc, const rbk_request *rq);

#endif
