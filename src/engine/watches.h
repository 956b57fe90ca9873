/* SPDX-License-Identifier: Apache-2.0 */
/* engine/watches.h - stored jobs whose response members of their batch wait for in memory
 * (engine/links.h). Store thread; at the stop whoever ends it. */
#ifndef RBK_ENGINE_WATCHES_H
#define RBK_ENGINE_WATCHES_H

#include "engine/engine_impl.h"

typedef struct rbk_watches rbk_watches;

rbk_watches *rbk_watches_new(void); /* NULL when memory is out */
/* The job is in the store now, and was member `item` of `ex`. */
void rbk_watches_add(rbk_watches *w, const rbk_job *job, rbk_exchange *ex, uint32_t item);
/* The job's response is in the store. */
void rbk_watches_tell(rbk_watches *w, const rbk_job *job);
/* Nobody will be told any more: who waits is answered that. */
void rbk_watches_end(rbk_watches *w);
void rbk_watches_free(rbk_watches *w);

#endif
