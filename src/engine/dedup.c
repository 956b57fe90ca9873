/* SPDX-License-Identifier: Apache-2.0 */
/* engine/dedup.c - see dedup.h.
 *
 * Nothing is looked up before the commit: two requests at one time, in two bodies or in one, meet
 * in the store alone, which sees them one after the other. So a request under a key that is taken
 * costs what any other costs, but for the job. */
#include "engine/dedup.h"

#include "core/keys.h"

#include <stdlib.h>

/* Several lines of the header are one list (RFC 9110), which is no key. */
int rbk_dedup_header(rbk_rpc_doc *doc, const rbk_request *rq)
{
    const rbk_header *found = NULL;
    size_t n = 0;
    for (size_t i = 0; i < rq->n_headers; i++)
        if (rbk_str_ieqz(rq->headers[i].name, "idempotency-key")) {
            found = &rq->headers[i];
            n++;
        }
    if (n == 0)
        return 0;
    return rbk_rpc_idempotency_key(doc, n == 1 ? found->value : RBK_STR(""));
}

bool rbk_dedup_prepare(rbk_ticket *t)
{
    if (t->job->idem_key.p == NULL)
        return true;
    t->idem = calloc(1, sizeof *t->idem);
    return t->idem && rbk_request_print(t->job, t->idem->print);
}

void rbk_dedup_settle(rbk_engine *e, rbk_ticket *t)
{
    rbk_exchange *ex = t->ex;
    t->ex = NULL;
    atomic_fetch_sub(&e->arriving, 1);
    if (t->idem->same) {
        atomic_fetch_add_explicit(&e->duplicates, 1, memory_order_relaxed);
        rbk_exchange_ack(ex, t->item, (rbk_id){(uint64_t)t->idem->seq, (uint64_t)t->idem->rnd});
    } else {
        atomic_fetch_add_explicit(&e->refused, 1, memory_order_relaxed);
        rbk_admit_log_refused(e, rbk_exchange_item(ex, t->item), RBK_E_PARAMS);
        rbk_exchange_refuse(ex, t->item, "$rpc.idempotencyKey", "taken by another request");
    }
    rbk_exchange_unref(ex);
    rbk_ticket_free(t);
}
