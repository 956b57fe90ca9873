/* SPDX-License-Identifier: Apache-2.0 */
/* transport/transports.h - the backends of this folder. */
#ifndef RBK_TRANSPORT_TRANSPORTS_H
#define RBK_TRANSPORT_TRANSPORTS_H

#include "ringback/transport.h"

extern const rbk_transport_ops rbk_transport_https;
extern const rbk_transport_ops rbk_transport_wss;

#endif
