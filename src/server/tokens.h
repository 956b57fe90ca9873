/* SPDX-License-Identifier: Apache-2.0 */
/* server/tokens.h - the file of callers, `auth.tokens_file`. */
#ifndef RBK_SERVER_TOKENS_H
#define RBK_SERVER_TOKENS_H

#include "engine/engine.h"
#include "server/options.h"

/* The table in a file that its owner alone may read. 0; RBK_E_CONFIG with file, line and key in
 * err->detail, never a secret; RBK_E_NOMEM. */
int rbk_tokens_read(const char *path, rbk_callers **ret, rbk_error *err);

/* Have the engine use the table of the file that the options name, if they name one; says so in
 * the log. `read`: that table, taken, where it was read already; NULL: it is read here. Once there is a table, options without a file are a fault: it may be all that guards
 * the server. After a fault nothing has changed. Errors as rbk_tokens_read(). */
int rbk_tokens_use(rbk_engine *e, const rbk_options *o, rbk_callers *read, const rbk_log *log,
                   rbk_error *err);

#endif
