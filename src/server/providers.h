/* SPDX-License-Identifier: Apache-2.0 */
/* server/providers.h - what the [method "…"] sections name: modules, workers, upstreams and settings, put into the
 * registry of methods at the start and at each reload. The thread of start and stop. */
#ifndef RBK_SERVER_PROVIDERS_H
#define RBK_SERVER_PROVIDERS_H

#include "seam/methods.h"
#include "server/options.h"

typedef struct rbk_providers rbk_providers;

/* `methods` and `log` outlive it. NULL when memory is out. */
rbk_providers *rbk_providers_new(rbk_methods *methods, const rbk_log *log);
/* Load what the sections name, and let the registry use it. RBK_E_CONFIG, RBK_E_NOMEM: what
 * was in force stays. */
int rbk_providers_use(rbk_providers *p, const rbk_options *o, rbk_error *err);
/* One line for each method and pattern in force. */
void rbk_providers_log(const rbk_providers *p, const rbk_options *o);
/* No call is run any more: end workers and upstreams. */
void rbk_providers_stop(rbk_providers *p);
void rbk_providers_free(rbk_providers *p); /* behind the registry; NULL is legal */

#endif
