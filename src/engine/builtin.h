/* SPDX-License-Identifier: Apache-2.0 */
/* engine/builtin.h - the server's own methods on the public side: what a caller may ask of its
 * jobs. They are answered like synchronous calls, and never become jobs. */
#ifndef RBK_ENGINE_BUILTIN_H
#define RBK_ENGINE_BUILTIN_H

#include "engine/discover.h"
#include "engine/exchange.h"

/* Who asks. */
typedef struct rbk_asker {
    rbk_str name;             /* absent: nobody in particular */
    const rbk_caller *caller; /* NULL: it may do everything */
    rbk_str session;          /* of the websocket that it asks on; absent: none */
} rbk_asker;

/* Runs the member when its method is one of ours: it will be answered. False: it is not. Any
 * thread; never blocks. What `who` points to may go when this returns. */
bool rbk_builtin(rbk_engine *e, rbk_exchange *ex, uint32_t item, const rbk_asker *who);

/* They describe themselves. NULL when memory is out. */
rbk_discover *rbk_builtin_discover(void);

#endif
