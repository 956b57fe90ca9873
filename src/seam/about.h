/* SPDX-License-Identifier: Apache-2.0 */
/* seam/about.h - what is known of one method besides what runs it: for people, for rpc.discover,
 * and for the check of params before a call is taken. Never changes once made; counted, so that a
 * reload may replace it. Any thread. */
#ifndef RBK_SEAM_ABOUT_H
#define RBK_SEAM_ABOUT_H

#include <stdatomic.h>

#include "core/schema.h"

enum { RBK_ABOUT_TEXT_MAX = 4096 }; /* bytes of a description */

typedef struct rbk_about {
    rbk_str name;
    rbk_str description; /* for people, UTF-8; absent: none */
    rbk_str result;      /* JSON Schema of the result, as text; absent: not known */
    rbk_schema *params;  /* NULL: not known */
    atomic_uint refs;
} rbk_about;

/* What it is made of; absent strings are not known. */
typedef struct rbk_about_spec {
    rbk_str name, description, params, result;
} rbk_about_spec;

/* A reference. RBK_E_CONFIG with err->detail ("params: …"): a text is too long or no schema;
 * RBK_E_NOMEM. Strings are copied. */
int rbk_about_new(const rbk_about_spec *spec, rbk_about **ret, rbk_error *err);
rbk_about *rbk_about_ref(rbk_about *a);
void rbk_about_unref(rbk_about *a); /* NULL is legal */

#endif
