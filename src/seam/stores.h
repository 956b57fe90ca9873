/* SPDX-License-Identifier: Apache-2.0 */
/* seam/stores.h - which store backends are built in. The table is filled once, at
 * start, before threads; read by any thread after. */
#ifndef RBK_SEAM_STORES_H
#define RBK_SEAM_STORES_H

#include "ringback/store.h"
#include "base/str.h"

/* 0; RBK_E_STATE when the ABI differs, a MUST slot is missing, the scheme is taken,
 * or the table is full. The table of functions stays the caller's. */
int rbk_stores_add(const rbk_store_ops *ops);
/* The backend for a dsn ("sqlite:ringback.db"), or NULL. */
const rbk_store_ops *rbk_stores_find(rbk_str dsn);
/* The i-th backend, NULL at the end. */
const rbk_store_ops *rbk_stores_at(size_t i);

#endif
