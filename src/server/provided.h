/* SPDX-License-Identifier: Apache-2.0 */
/* server/provided.h - the workers and upstreams that the [method "…"] sections name.
 *
 * A section that says the same after a reload keeps its provider; one that changed gets another,
 * and the old one ends when its last call has. The thread of start and stop. */
#ifndef RBK_SERVER_PROVIDED_H
#define RBK_SERVER_PROVIDED_H

#include "seam/methods.h"
#include "server/options.h"

typedef struct rbk_provided rbk_provided;

rbk_provided *rbk_provided_new(const rbk_log *log); /* NULL when memory is out */

/* What runs the calls of this rule, kept or started, into setup->provider, and how many calls it
 * takes where the rule does not say. NULL: the rule names none; another one's runs them. RBK_E_CONFIG, RBK_E_NOMEM,
 * RBK_E_SYS. Whatever came before stays in use until rbk_provided_keep(). */
int rbk_provided_take(rbk_provided *p, const rbk_options *o, const rbk_method_rule *rule,
                      rbk_method_setup *setup, rbk_error *err);
/* Those that were taken since the last time are in use; the others end without losing a call.
 * With `undo` it is the other way round: those that were started since then end. */
void rbk_provided_keep(rbk_provided *p, bool undo);

/* "worker", "upstream", or NULL. */
const char *rbk_provided_kind(const rbk_method_rule *rule);

/* End all of them; calls that are still in their hands are let go of. */
void rbk_provided_stop(rbk_provided *p);
void rbk_provided_free(rbk_provided *p); /* stops first; NULL is legal */

#endif
