/* SPDX-License-Identifier: Apache-2.0 */
/* app/tempdir.c - see tempdir.h. */
#include "app/tempdir.h"

#include "base/error.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int rbk_tempdir_make(char out[400], rbk_error *err)
{
    const char *base = getenv("TMPDIR");
    int n = snprintf(out, 400, "%s/ringback-XXXXXX", base && base[0] == '/' ? base : "/tmp");
    if (n >= 400)
        return rbk_fail(err, RBK_E_SYS, "TMPDIR is too long");
    if (mkdtemp(out) == NULL)
        return rbk_fail(err, RBK_E_SYS, "%s: %s", out, strerror(errno));
    return 0;
}

void rbk_tempdir_remove(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(path);
}
