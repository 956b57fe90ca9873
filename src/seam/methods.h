/* SPDX-License-Identifier: Apache-2.0 */
/* seam/methods.h - the registry of methods: a name to what runs it.
 *
 * Filled before the server starts, then immutable: any thread may look up. */
#ifndef RBK_SEAM_METHODS_H
#define RBK_SEAM_METHODS_H

#include "base/str.h"
#include "ringback.h"

typedef struct rbk_methods rbk_methods;

typedef struct rbk_method_entry {
    rbk_str name;
    rbk_method_fn fn;
    void *user;
    unsigned flags;
    int64_t timeout_ms; /* of one run; 0: the general one */
    size_t index;       /* 0, 1, 2 … in order of adding */
    rbk_str lane;       /* "run:<name>": its jobs wait there */
    char *description;
} rbk_method_entry;

rbk_methods *rbk_methods_new(void);
void rbk_methods_free(rbk_methods *m);

/* Strings are copied. RBK_E_INVAL for a name that is empty, reserved ("rpc." in front) or
 * longer than RBK_METHOD_NAME_MAX; RBK_E_STATE when it is taken; RBK_E_NOMEM. */
int rbk_methods_add(rbk_methods *m, const rbk_method *method);
/* The time-out of one run of the i-th method; before the server starts. */
void rbk_methods_set_timeout(rbk_methods *m, size_t i, int64_t timeout_ms);
const rbk_method_entry *rbk_methods_find(const rbk_methods *m, rbk_str name); /* or NULL */
size_t rbk_methods_count(const rbk_methods *m);
const rbk_method_entry *rbk_methods_at(const rbk_methods *m, size_t i);

enum { RBK_METHOD_NAME_MAX = 255 };

#endif
