/* SPDX-License-Identifier: Apache-2.0 */
/* base/error.h - filling an rbk_error. The list itself is in ringback/types.h. */
#ifndef RBK_BASE_ERROR_H
#define RBK_BASE_ERROR_H

#include "ringback/types.h"

/* Set `err` (may be NULL) to `code`, its standard text, and an operator's detail.
 * Returns `code`, so that a caller can `return rbk_fail(err, RBK_E_IO, ...)`. */
int rbk_fail(rbk_error *err, int code, const char *fmt, ...) RBK_PRINTF(3, 4);

/* The same for a fault of the caller: the message is `text` too. */
int rbk_fail_text(rbk_error *err, int code, const char *fmt, ...) RBK_PRINTF(3, 4);

#endif
