/* SPDX-License-Identifier: Apache-2.0 */
/* engine/signer.h - the signature of each attempt.
 *
 * The engine has one set of keys at a time. Whoever signs takes a reference, so a set that
 * is replaced goes when the last attempt has signed with it.
 *
 * An ed25519 signature costs more than all else that a courier does for an attempt. So the
 * first attempt of a response is signed ahead, by the thread that made the response, and the
 * courier takes that signature when it gets to send within RBK_SIGNED_AHEAD_MS. Later attempts,
 * and those that had to wait, are signed anew. Any thread. */
#ifndef RBK_ENGINE_SIGNER_H
#define RBK_ENGINE_SIGNER_H

#include "engine/engine_impl.h"
#include "engine/ticket.h"
#include "ringback/transport.h"

enum { RBK_SIGNED_AHEAD_MS = 1000 };

/* Sign the response that the ticket has just got, as if it were sent at once. Without memory
 * nothing is signed ahead. */
void rbk_signer_ahead(rbk_engine *e, rbk_ticket *t);

/* Put `webhook-signature`, the lines of `a->headers` and those that the caller's receivers get into
 * `lines`, for the attempt's job, time and body; the time becomes that of the ticket's signature
 * where that one is fresh. `caller` is the job's, NULL where tokens are not in use or it has none.
 * 0, or an error of rbk_sign(): then nothing may be sent. */
int rbk_signer_add(rbk_engine *e, rbk_ticket *t, const rbk_caller *caller, rbk_attempt *a,
                   rbk_buf *lines);

#endif
