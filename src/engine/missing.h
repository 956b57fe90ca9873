/* SPDX-License-Identifier: Apache-2.0 */
/* engine/missing.h - methods that stored jobs ask for and that are gone: since when. A start
 * begins anew. Store thread. */
#ifndef RBK_ENGINE_MISSING_H
#define RBK_ENGINE_MISSING_H

#include "base/str.h"

enum { RBK_MISSING_NAMES = 1000 };

typedef struct rbk_missing rbk_missing;

rbk_missing *rbk_missing_new(void); /* NULL when memory is out */
void rbk_missing_free(rbk_missing *m);
/* The method is gone at `now`: since when it has been, as far as known. *ret_first: it was there
 * when last asked for. */
rbk_wall_ms rbk_missing_since(rbk_missing *m, rbk_str method, rbk_wall_ms now, bool *ret_first);
void rbk_missing_found(rbk_missing *m, rbk_str method);
/* How long a job waits before its method is asked for again. */
int64_t rbk_missing_wait(rbk_wall_ms since, rbk_wall_ms now);

#endif
