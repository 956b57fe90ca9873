/* SPDX-License-Identifier: Apache-2.0 */
/* server/proxy.h - where `delivery.proxy` is. */
#ifndef RBK_SERVER_PROXY_H
#define RBK_SERVER_PROXY_H

#include "base/error.h"
#include "base/str.h"

#include <sys/socket.h>

/* The address of a proxy that rbk_check_proxy() takes; a name is looked up by the system, which
 * may take its time. An empty text gives AF_UNSPEC. RBK_E_CONFIG, with a line that names the
 * key. */
int rbk_proxy_find(rbk_str text, struct sockaddr_storage *ret, rbk_error *err);

#endif
