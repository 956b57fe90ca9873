/* SPDX-License-Identifier: Apache-2.0 */
/* http_vectors.h - the request vectors of tests/data/http as bytes. Their strings hold
 * one byte a code point (latin-1). */
#ifndef RBK_TEST_HTTP_VECTORS_H
#define RBK_TEST_HTTP_VECTORS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "base/buf.h"

typedef struct vector {
    const char *id, *want; /* want: "reject", "accept" … */
    rbk_buf bytes;
} vector;

static inline void add_latin1(rbk_buf *b, const yyjson_val *v)
{
    const char *p = v ? yyjson_get_str((yyjson_val *)(uintptr_t)v) : NULL;
    size_t n = p ? yyjson_get_len((yyjson_val *)(uintptr_t)v) : 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c >= 0x80 && i + 1 < n) /* c2 or c3: U+0080 to U+00FF */
            c = (unsigned char)(c << 6 | ((unsigned char)p[++i] & 0x3f));
        rbk_buf_c(b, (char)c);
    }
}

static inline void add_step(rbk_buf *b, yyjson_val *step)
{
    add_latin1(b, yyjson_obj_get(step, "prefix"));
    for (uint64_t i = yyjson_get_uint(yyjson_obj_get(step, "times")); i > 0; i--)
        add_latin1(b, yyjson_obj_get(step, "repeat"));
    add_latin1(b, yyjson_obj_get(step, "suffix"));
}

/* Call `fn` for every vector of the file that has bytes; how many there were. */
static inline size_t each_vector(const char *file, void (*fn)(const vector *v, void *user),
                                 void *user)
{
    char path[512];
    const char *dir = getenv("RBK_TEST_DATA");
    snprintf(path, sizeof path, "%s/http/%s", dir ? dir : "tests/data", file);
    yyjson_doc *doc = yyjson_read_file(path, 0, NULL, NULL);
    size_t i, max, j, n_steps, n = 0;
    yyjson_val *one, *step;
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "cases"), i, max, one)
    {
        vector v = {.id = yyjson_get_str(yyjson_obj_get(one, "id")),
                    .want = yyjson_get_str(yyjson_obj_get(one, "ringback")),
                    .bytes = RBK_BUF(16 << 20)};
        add_latin1(&v.bytes, yyjson_obj_get(one, "input"));
        yyjson_arr_foreach(yyjson_obj_get(one, "steps"), j, n_steps, step) add_step(&v.bytes, step);
        if (v.bytes.n) {
            fn(&v, user);
            n++;
        }
        rbk_buf_free(&v.bytes);
    }
    yyjson_doc_free(doc);
    return n;
}

/* The status that a vector asks for; 0: it is accepted. */
static inline int vector_status(const vector *v)
{
    if (strcmp(v->want, "reject_501") == 0)
        return 501;
    if (strncmp(v->want, "reject", 6) != 0)
        return 0;
    return strcmp(v->id, "trailer-flood") == 0 ? 431 : 400; /* it shares the head's limits */
}

#endif
