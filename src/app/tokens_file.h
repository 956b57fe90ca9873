/* SPDX-License-Identifier: Apache-2.0 */
/* app/tokens_file.h - a tokens file that is changed: what is not asked about stays as it is,
 * comments included. One thread, and one process at a time. */
#ifndef RBK_APP_TOKENS_FILE_H
#define RBK_APP_TOKENS_FILE_H

#include "base/buf.h"
#include "engine/callers.h"

typedef struct rbk_tokens_file {
    char *path; /* without symbolic links */
    int fd;     /* locked */
    rbk_buf text;
    rbk_callers *callers;
} rbk_tokens_file;

/* Lock and read it; with `make` it is made where there is none. rbk_tokens_file_close() whatever
 * the result. 0; RBK_E_CONFIG, RBK_E_SYS, RBK_E_NOMEM with the file in `err`. */
int rbk_tokens_file_open(rbk_tokens_file *f, const char *path, bool make, rbk_error *err);
/* Put lines behind the end, or behind the head of the section of `name`, and write the file; what
 * comes of it must be a good one. */
int rbk_tokens_file_append(rbk_tokens_file *f, rbk_str lines, rbk_error *err);
int rbk_tokens_file_insert(rbk_tokens_file *f, const char *name, rbk_str lines, rbk_error *err);
/* Take out the section of `name`, from its head to its last key, and write the file. */
int rbk_tokens_file_remove(rbk_tokens_file *f, const char *name, rbk_error *err);
void rbk_tokens_file_close(rbk_tokens_file *f);

#endif
