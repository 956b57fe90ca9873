/* SPDX-License-Identifier: Apache-2.0 */
/* engine/reader.h - look-ups in the store beside its writer: a thread of its own, so that
 * they never hold up an acknowledgement. */
#ifndef RBK_ENGINE_READER_H
#define RBK_ENGINE_READER_H

#include "base/id.h"
#include "engine/engine_impl.h"

int rbk_reader_new(rbk_engine *e, rbk_reader **ret, rbk_error *err);
int rbk_reader_start(rbk_reader *r, rbk_error *err);
void rbk_reader_free(rbk_reader *r); /* answers what waits, ends the thread */

/* `fn` is called once on the reader thread. RBK_E_BUSY when too many wait, RBK_E_NOMEM:
 * then it is not. Any thread. */
int rbk_reader_job(rbk_reader *r, rbk_id id, rbk_job_fn fn, void *user);

#endif
