/* SPDX-License-Identifier: Apache-2.0 */
/* engine/dedup.h - idempotency keys on their way through the engine: from the request to the commit,
 * where the store decides, and from there to the answer. */
#ifndef RBK_ENGINE_DEDUP_H
#define RBK_ENGINE_DEDUP_H

#include "engine/exchange.h"

/* The header Idempotency-Key says the same as the parameter. 0, or RBK_E_NOMEM. */
int rbk_dedup_header(rbk_rpc_doc *doc, const rbk_request *rq);

/* A new job takes its caller's key with it, where it has one. False: memory is out. Any thread. */
bool rbk_dedup_prepare(rbk_ticket *t);

/* The store has another job under the key: the request is acknowledged with that job's id, or refused
 * when it is another request. Takes the ticket. Store thread. */
void rbk_dedup_settle(rbk_engine *e, rbk_ticket *t);

#endif
