/* SPDX-License-Identifier: Apache-2.0 */
/* engine/builtin.h - the server's own methods on the public side: what a caller may ask of its
 * jobs. They are answered like synchronous calls, and never become jobs. */
#ifndef RBK_ENGINE_BUILTIN_H
#define RBK_ENGINE_BUILTIN_H

#include "engine/discover.h"
#include "engine/exchange.h"

/* Runs the member when its method is one of ours: it will be answered. False: it is not. Any
 * thread; never blocks. `caller` may go when this returns. */
bool rbk_builtin(rbk_engine *e, rbk_exchange *ex, uint32_t item, rbk_str caller);

/* They describe themselves. NULL when memory is out. */
rbk_discover *rbk_builtin_discover(void);

#endif
