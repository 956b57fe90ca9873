/* SPDX-License-Identifier: Apache-2.0 */
/* core/schema.h - the JSON Schema of a method's params, as far as it is checked before a call is
 * taken: names and JSON types of the members at the top. Pure.
 *
 * Read of a schema are `type`, `properties`, `required`, `additionalProperties` (false or not),
 * `prefixItems`, `items` (false or not), `minItems`, `maxItems`, and of each property or item its
 * `type`. All else in it is for people and for the method. A schema does not change once it is
 * made: any thread may check by it. */
#ifndef RBK_CORE_SCHEMA_H
#define RBK_CORE_SCHEMA_H

#include "base/str.h"

enum {
    RBK_SCHEMA_TEXT_MAX = 64 << 10, /* bytes of the schema */
    RBK_SCHEMA_MEMBERS_MAX = 256,   /* properties, required names, items: each */
    RBK_SCHEMA_NAME_MAX = 255,
    RBK_SCHEMA_REASON_MAX = 128
};

typedef struct rbk_schema rbk_schema;

/* Make one of its text: an object, or true. RBK_E_CONFIG with what is wrong in err->detail;
 * RBK_E_NOMEM. The text may go. */
int rbk_schema_new(rbk_str text, rbk_schema **ret, rbk_error *err);
void rbk_schema_free(rbk_schema *s); /* NULL is legal */

/* What is wrong with some params. */
typedef struct rbk_schema_fault {
    char name[RBK_SCHEMA_NAME_MAX + 1]; /* of the member, NUL-terminated, cut to fit: a property, an
                                           index, or "params" */
    char reason[RBK_SCHEMA_REASON_MAX]; /* "must be a string" */
} rbk_schema_fault;

/* Do params (a valid JSON object or array, that ends in NUL or stands in such a text; absent:
 * none) fit? On false `ret` names the first member that does not. Allocates only where the name of
 * a member is spelt with escapes. */
bool rbk_schema_fits(const rbk_schema *s, rbk_str params, rbk_schema_fault *ret);

/* May params be an object, an array? And the schema's own text. */
bool rbk_schema_takes_object(const rbk_schema *s);
bool rbk_schema_takes_array(const rbk_schema *s);
rbk_str rbk_schema_text(const rbk_schema *s);

#endif
