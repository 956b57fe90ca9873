/* SPDX-License-Identifier: Apache-2.0 */
/* core/json.h - JSON text: is it valid, and walking over text that is.
 *
 * yyjson decides what is JSON, once, for the whole text; its tree is dropped. What is
 * kept of a request are slices of its own text, so numbers keep their digits, strings
 * their spelling, and memory is bounded by the text. The walkers trust the text: they
 * may only be given valid JSON that ends in NUL. Pure; any thread. */
#ifndef RBK_CORE_JSON_H
#define RBK_CORE_JSON_H

#include "base/arena.h"

struct yyjson_alc;

/* What stands at the top of a text. */
typedef struct rbk_json_top {
    bool object, array; /* neither: a scalar */
    size_t n;           /* elements of the array */
} rbk_json_top;

/* Is `text` one JSON value (RFC 8259, UTF-8, no BOM, depth at most
 * RBK_RPC_DEPTH_MAX)? 0, RBK_E_PARSE or RBK_E_NOMEM. `alc` NULL: malloc. */
int rbk_json_validate(rbk_str text, const struct yyjson_alc *alc, rbk_json_top *ret_top);

/* Behind the blanks at `p`. */
static inline const char *rbk_json_blanks(const char *p)
{
    while (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')
        p++;
    return p;
}

/* `*p` stands on a value: the value's text, and `*p` behind it. */
rbk_str rbk_json_value(const char **p);

/* `*p` stands on '{', or behind a member's value: true, the next member's name as it is
 * spelt between its quotes, and `*p` on its value; at the end false, and `*p` behind
 * '}'. */
bool rbk_json_member(const char **p, rbk_str *ret_name);

/* `*p` stands on '[', or behind an element: true and `*p` on the next element; at the
 * end false, and `*p` behind ']'. */
bool rbk_json_element(const char **p);

/* The text of a string, given as it is spelt between its quotes: `raw` itself where it
 * has no escapes, else a copy in `a`. `p` is NULL when memory is out. */
rbk_str rbk_json_unescape(rbk_arena *a, rbk_str raw);

/* A number, in any spelling of JSON. False: it is none, or greater than any double. */
bool rbk_json_number(rbk_str value, double *ret);

/* A string value without its quotes. */
static inline rbk_str rbk_json_unquote(rbk_str value)
{
    return (rbk_str){value.p + 1, value.n - 2};
}

#endif
