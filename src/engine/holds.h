/* SPDX-License-Identifier: Apache-2.0 */
/* engine/holds.h - receivers that an operator holds, at the start. */
#ifndef RBK_ENGINE_HOLDS_H
#define RBK_ENGINE_HOLDS_H

#include "engine/engine_impl.h"

/* Those that the store knows are held before anything is sent. Before the store thread starts;
 * the couriers have started. Errors as rbk_store_ops.holds, RBK_E_NOMEM. */
int rbk_holds_recover(rbk_engine *e, const rbk_store_ops *ops, rbk_store *st, rbk_error *err);

#endif
