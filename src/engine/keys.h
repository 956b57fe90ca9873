/* SPDX-License-Identifier: Apache-2.0 */
/* engine/keys.h - jobs of one order key go one behind the other; see keys.c. */
#ifndef RBK_ENGINE_KEYS_H
#define RBK_ENGINE_KEYS_H

#include "engine/flow.h"

/* Behind all lanes "key:…" in byte order: what waits there is not looked for. */
#define RBK_BEHIND_KEYS "key;"

/* A new job takes the lane of its caller's order key with it, where it has one. False: memory is out.
 * Any thread. */
bool rbk_keys_prepare(rbk_ticket *t);

/* The store says, within a commit, that a job which waited for another one stands in this lane now.
 * Store thread. */
void rbk_keys_released(rbk_flow *f, rbk_str lane);

#endif
