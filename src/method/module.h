/* SPDX-License-Identifier: Apache-2.0 */
/* method/module.h - methods from shared objects that export ringback_module_init.
 *
 * Loaded before the server starts, on one thread; never unloaded: threads of a module, or
 * a method that never returns, may still run in it. */
#ifndef RBK_METHOD_MODULE_H
#define RBK_METHOD_MODULE_H

#include "seam/methods.h"

typedef struct rbk_modules rbk_modules;

/* Says whether a method of the module at `path` is wanted under its name. */
typedef bool (*rbk_module_want_fn)(void *user, const char *path, rbk_str name);

rbk_modules *rbk_modules_new(rbk_methods *into, rbk_module_want_fn want, void *user);
/* Load the shared object at `path`, once however often asked. RBK_E_CONFIG with the path
 * and the reason in `err`; RBK_E_NOMEM. */
int rbk_modules_load(rbk_modules *m, const char *path, rbk_error *err);
void rbk_modules_free(rbk_modules *m);

#endif
