/* SPDX-License-Identifier: Apache-2.0 */
/* base/secret.h - files that hold secrets. Any thread. */
#ifndef RBK_BASE_SECRET_H
#define RBK_BASE_SECRET_H

#include "base/buf.h"

/* The text of a regular file of 64 KiB at most, which nobody but its owner may read or write.
 * rbk_secret_free() it whatever the result. 0; RBK_E_CONFIG, and `err` names file and fault,
 * never a byte of it; RBK_E_NOMEM. */
int rbk_secret_read(const char *path, rbk_buf *text, rbk_error *err);
/* The same for a file of `max` bytes at most. */
int rbk_secret_read_max(const char *path, size_t max, rbk_buf *text, rbk_error *err);
void rbk_secret_free(rbk_buf *text); /* the bytes are wiped */

#endif
