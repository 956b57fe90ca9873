/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_config.c - any bytes as the file of settings.
 *
 * Beyond the sanitizers: what is refused says why in printable text; what is accepted, written as
 * a file, is accepted again and gives the same file. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool ok)
{
    if (!ok)
        abort();
}

/* The settings of these bytes, or NULL. */
static rbk_options *load(rbk_str text)
{
    static int fd = -1;
    char path[64];
    rbk_error err = {0};
    if (fd < 0)
        fd = memfd_create("settings", MFD_CLOEXEC);
    require(fd >= 0 && ftruncate(fd, 0) == 0);
    require(pwrite(fd, text.p, text.n, 0) == (ssize_t)text.n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    rbk_options *o = rbk_options_new();
    require(o != NULL);
    if (rbk_options_load(o, path, &err) == 0)
        return o;
    rbk_options_free(o);
    require(err.text[0] != 0 || err.detail[0] != 0);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    rbk_options *o = load((rbk_str){(const char *)data, n}), *again;
    if (o == NULL)
        return 0;
    rbk_error err = {0};
    rbk_buf a = RBK_BUF(16 << 20), b = RBK_BUF(16 << 20);
    rbk_options_check(o, &err);
    rbk_options_dump(o, &a);
    again = load(rbk_buf_view(&a));
    require(again != NULL);
    rbk_options_dump(again, &b);
    require(rbk_str_eq(rbk_buf_view(&a), rbk_buf_view(&b)));
    rbk_options_free(o);
    rbk_options_free(again);
    rbk_buf_free(&a);
    rbk_buf_free(&b);
    return 0;
}
