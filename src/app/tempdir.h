/* SPDX-License-Identifier: Apache-2.0 */
/* app/tempdir.h - a folder of our own for as long as a command runs. */
#ifndef RBK_APP_TEMPDIR_H
#define RBK_APP_TEMPDIR_H

#include "ringback/types.h"

/* A new folder in $TMPDIR (or /tmp), for us alone; its path into `out`. 0 or RBK_E_SYS. */
int rbk_tempdir_make(char out[400], rbk_error *err);
/* Remove the folder and the files in it; it holds no folders. */
void rbk_tempdir_remove(const char *path);

#endif
