/* SPDX-License-Identifier: Apache-2.0 */
/* core/refs.h - references of one member of a batch to the results of others, as UFO-RPC has
 * them: a string value of its params that is exactly "@FROM:<id>", "@FROM:<id>()" or
 * "@FROM:<id>(<path>)", at any depth.
 *
 * The JSON text of the result, or of the part that the path names, takes the place of the
 * string, digit for digit. All are replaced in one pass over the params as they came: what a
 * result brings is never read as a reference. Pure; any thread. */
#ifndef RBK_CORE_REFS_H
#define RBK_CORE_REFS_H

#include "base/arena.h"
#include "base/buf.h"

enum { RBK_REFS_MAX = 64 }; /* of one member */

typedef struct rbk_ref {
    rbk_str id;     /* as text, without escapes */
    rbk_str path;   /* the same; empty: the whole result */
    rbk_str member; /* the member of params that it stands in, without escapes; by position its
                       number */
    size_t at, n;   /* the string, with its quotes, in params */
    uint32_t part;  /* which of the ids: 0 and up, in the order in which they first come */
} rbk_ref;

typedef struct rbk_refs {
    size_t n;
    uint32_t parts; /* different ids */
    rbk_ref ref[RBK_REFS_MAX];
} rbk_refs;

/* Is it worth looking? Most params have neither the mark nor an escape. */
bool rbk_refs_may_be(rbk_str params);

/* All references of `params` (valid JSON, an object or an array, or absent), in the order of the
 * text; what they point to lies in `params` or in `a`. 0; RBK_E_TOO_LARGE: there are more, the
 * first RBK_REFS_MAX are given; RBK_E_NOMEM. */
int rbk_refs_find(rbk_arena *a, rbk_str params, rbk_refs *ret);

/* An id as references name it: a string's text, a number's digits; absent for null and where
 * memory is out. `id` is JSON text. */
rbk_str rbk_refs_id(rbk_arena *a, rbk_str id);

/* The result in the text of a response object; absent: it is an error. */
rbk_str rbk_response_result(rbk_str response);

/* The part of a value that `path` names: members of objects and numbers of array elements with
 * dots between them; of a member that stands twice the last. `value` is valid JSON inside a text
 * that goes on behind it, or ends in NUL. Absent: there is no such part. `a` for names with
 * escapes. */
rbk_str rbk_value_at(rbk_arena *a, rbk_str value, rbk_str path);

/* Calls back for the response of a part; it is valid until the next call. 0, or an error that
 * ends it all. */
typedef int (*rbk_part_fn)(void *user, uint32_t part, rbk_str *ret_response);

/* The params with all references replaced, appended to `to`. 0; RBK_E_PARAMS: one of them cannot
 * be, and `ret_fault` takes JSON text for the error's data, {"<member>":"<reason>"} (absent when
 * memory is out); or the error of `part`, or RBK_E_NOMEM. The text is then of no use. More than
 * to->max bytes, or a text that is nested too deep, is RBK_E_PARAMS too. */
int rbk_refs_replace(rbk_str params, rbk_part_fn part, void *user, rbk_buf *to,
                     rbk_buf *ret_fault);

/* Writes {"<member>":"<reason>"}: `why` with the id of the reference, cut short, in the place of
 * its %. */
void rbk_ref_fault(rbk_buf *b, const rbk_ref *ref, const char *why);
/* Why a member that names one that failed fails. */
#define RBK_REF_FAILED "the member % has no result"

#endif
