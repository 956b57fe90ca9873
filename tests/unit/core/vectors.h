/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/core/vectors.h - reads the files of tests/data, and small helpers.
 *
 * RBK_TEST_DATA names the folder. A file that is missing or broken fails the test. */
#ifndef RBK_TESTS_VECTORS_H
#define RBK_TESTS_VECTORS_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>
#include <yyjson.h>

#include "base/str.h"

static inline yyjson_doc *vectors_open(const char *name)
{
    char path[4096];
    yyjson_read_err err;
    const char *dir = getenv("RBK_TEST_DATA");
    snprintf(path, sizeof path, "%s/%s", dir ? dir : "tests/data", name);
    yyjson_doc *doc = yyjson_read_file(path, 0, NULL, &err);
    if (doc == NULL)
        fail_msg("%s: %s", path, err.msg);
    return doc;
}

/* The array under `key`; it must hold something. */
static inline yyjson_val *vectors_list(yyjson_doc *doc, const char *key)
{
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), key);
    assert_true(yyjson_arr_size(list) > 0);
    return list;
}

static inline rbk_str vectors_str(yyjson_val *row, const char *key)
{
    yyjson_val *v = yyjson_obj_get(row, key);
    return (rbk_str){yyjson_get_str(v), yyjson_get_len(v)};
}

/* xorshift64: the same numbers in every run. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
