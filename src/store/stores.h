/* SPDX-License-Identifier: Apache-2.0 */
/* store/stores.h - the backends of this folder. */
#ifndef RBK_STORE_STORES_H
#define RBK_STORE_STORES_H

#include "ringback/store.h"

extern const rbk_store_ops rbk_store_memory; /* memory:  for tests, nothing survives */
extern const rbk_store_ops rbk_store_sqlite; /* sqlite:PATH */

#endif
