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

/* Write all of it and sync. False with errno set. */
bool rbk_secret_write(int fd, rbk_str text);
/* Sync the folder that a file was put into. */
void rbk_secret_sync_folder(const char *path);
/* Put a text in the place of the file's, whole or not at all; owner and mode stay. 0; RBK_E_SYS,
 * RBK_E_NOMEM. */
int rbk_secret_replace(const char *path, rbk_str text, rbk_error *err);

#endif
