/* SPDX-License-Identifier: Apache-2.0 */
/* core/webhook.h - a callback as it came, against a set of keys: what the public
 * rbk_webhook_verify() does, for those who keep the set. Pure; any thread. */
#ifndef RBK_CORE_WEBHOOK_H
#define RBK_CORE_WEBHOOK_H

#include "core/sign.h"
#include "ringback.h"

/* As rbk_webhook_verify(), with `keys` in place of w->keys. */
int rbk_webhook_check(const rbk_sign_keys *keys, const rbk_webhook *w, rbk_error *err);

#endif
