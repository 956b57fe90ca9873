/* SPDX-License-Identifier: Apache-2.0 */
/* engine/waits.h - members of request bodies whose caller waits a while for the result itself
 * ($rpc.wait). Store thread only.
 *
 *     PUT committed -> WAITS -> RESULT committed -> the exchange has the job, as an answer
 *                            -> time is up        -> acknowledged
 *
 * The job goes its usual way meanwhile, in memory or in the store; it is known by its seq. When
 * its result is stored in time, the exchange keeps its ticket until the front says whether
 * the answer was written (rbk_exchange_written): then it is delivered, or it goes to its
 * callback. A crash before that finds it DUE, and sends it. */
#ifndef RBK_ENGINE_WAITS_H
#define RBK_ENGINE_WAITS_H

#include "engine/exchange.h"

typedef struct rbk_waits rbk_waits;

rbk_waits *rbk_waits_new(void); /* NULL when memory is out */
void rbk_waits_free(rbk_waits *w);

/* The new job of `t` is stored, and its member of the exchange waits for the result. False: it
 * does not (it need not, or too many do), and is to be acknowledged now. */
bool rbk_waits_add(rbk_waits *w, const rbk_ticket *t);
/* Does anybody wait for this job? */
bool rbk_waits_has(const rbk_waits *w, int64_t seq);
/* The result of the job is stored. True: it is the answer, and the exchange has the ticket.
 * False: the member is acknowledged, if it still waited; the ticket goes on. */
bool rbk_waits_answer(rbk_waits *w, rbk_ticket *t);
/* Acknowledge those whose time is up; with `all` everybody. */
void rbk_waits_turn(rbk_waits *w, bool all);
/* How long until the first one's time is up; INT64_MAX: nobody waits. */
int64_t rbk_waits_wait_ms(const rbk_waits *w);

#endif
