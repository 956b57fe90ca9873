/* SPDX-License-Identifier: Apache-2.0 */
/* engine/signer.h - the signature of each attempt.
 *
 * The engine has one set of keys at a time. Whoever signs takes a reference, so a set that
 * is replaced goes when the last attempt has signed with it. Any thread. */
#ifndef RBK_ENGINE_SIGNER_H
#define RBK_ENGINE_SIGNER_H

#include "engine/engine_impl.h"
#include "ringback/transport.h"

/* Put `webhook-signature` and the lines of `a->headers` into `lines`, for the attempt's
 * job, time and body. 0, or an error of rbk_sign(): then nothing may be sent. */
int rbk_signer_add(rbk_engine *e, const rbk_attempt *a, rbk_buf *lines);

#endif
