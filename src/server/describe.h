/* SPDX-License-Identifier: Apache-2.0 */
/* server/describe.h - the files that describe methods: [method "…"] describe=FILE.
 *
 *     {"orders.add": {"description": "Adds an order.",
 *                     "params": {"type": "object", …}, "result": {…}}, …}
 *
 * Names are exact, and names of the section; each member may be absent. One thread. */
#ifndef RBK_SERVER_DESCRIBE_H
#define RBK_SERVER_DESCRIBE_H

#include "server/options.h"

enum {
    RBK_DESCRIBE_FILE_MAX = 1 << 20, /* bytes of one file */
    RBK_DESCRIBED_MAX = 10000        /* methods of all files */
};

typedef struct rbk_described {
    rbk_about **list; /* references */
    size_t n;
} rbk_described;

/* Read the files of all sections. RBK_E_CONFIG naming section, file and method; RBK_E_NOMEM.
 * On failure `ret` is empty. */
int rbk_describe(const rbk_options *o, rbk_described *ret, rbk_error *err);
void rbk_described_free(rbk_described *d);

#endif
