/* SPDX-License-Identifier: Apache-2.0 */
/* seam/transports.h - which transports are built in. Filled once, before threads. */
#ifndef RBK_SEAM_TRANSPORTS_H
#define RBK_SEAM_TRANSPORTS_H

#include "base/str.h"
#include "ringback/transport.h"

int rbk_transports_add(const rbk_transport_ops *ops); /* 0 or RBK_E_STATE */
const rbk_transport_ops *rbk_transports_find(rbk_str scheme); /* or NULL */
const rbk_transport_ops *rbk_transports_at(size_t i);         /* NULL at the end */

#endif
