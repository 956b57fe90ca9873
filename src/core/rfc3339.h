/* SPDX-License-Identifier: Apache-2.0 */
/* core/rfc3339.h - a moment as people write it (RFC 3339). Pure; any thread. */
#ifndef RBK_CORE_RFC3339_H
#define RBK_CORE_RFC3339_H

#include "base/str.h"

/* "2026-11-23T21:04:05Z", with a fraction or an offset ("+02:00") where wanted; a day alone
 * is its midnight UTC. 0, or RBK_E_INVAL. */
int rbk_rfc3339_parse(rbk_str s, rbk_wall_ms *ret);

#endif
