/* SPDX-License-Identifier: Apache-2.0 */
/* engine/discover.h - the OpenRPC document of rpc.discover. Made when somebody asks for it, and anew
 * when the table of methods has changed. Any thread. */
#ifndef RBK_ENGINE_DISCOVER_H
#define RBK_ENGINE_DISCOVER_H

#include "base/buf.h"
#include "engine/engine_impl.h"

enum { RBK_DISCOVER_MAX = 4 << 20 }; /* bytes of the document */

/* One of the server's own methods. */
typedef struct rbk_discover_own {
    const char *name, *description;
    const char *params; /* JSON Schema */
    const char *result;
} rbk_discover_own;

typedef struct rbk_discover rbk_discover;

/* `own` outlives it. NULL when memory is out. */
rbk_discover *rbk_discover_new(const rbk_discover_own *own, size_t n);
void rbk_discover_free(rbk_discover *d); /* NULL is legal */

/* The document behind `b`, with the methods that `caller` may call (NULL: all). RBK_E_NOMEM; RBK_E_RESULT_SIZE when it would be larger than
 * RBK_DISCOVER_MAX. */
int rbk_discover_write(rbk_discover *d, rbk_engine *e, const rbk_caller *caller, rbk_buf *b);

#endif
