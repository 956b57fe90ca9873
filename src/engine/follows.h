/* SPDX-License-Identifier: Apache-2.0 */
/* engine/follows.h - stored jobs whose response members of their batch wait for in memory
 * (engine/links.h). Store thread; at the stop whoever ends it. */
#ifndef RBK_ENGINE_FOLLOWS_H
#define RBK_ENGINE_FOLLOWS_H

#include "engine/engine_impl.h"

typedef struct rbk_follows rbk_follows;

rbk_follows *rbk_follows_new(void); /* NULL when memory is out */
/* The job is in the store now, and was member `item` of `ex`. */
void rbk_follows_add(rbk_follows *w, const rbk_job *job, rbk_exchange *ex, uint32_t item);
/* The job's response is in the store. */
void rbk_follows_tell(rbk_follows *w, const rbk_job *job);
/* Nobody will be told any more: who waits is answered that. */
void rbk_follows_end(rbk_follows *w);
void rbk_follows_free(rbk_follows *w);

#endif
