/* SPDX-License-Identifier: Apache-2.0 */
/* tests/support/failing_alloc.h - lets allocations fail, by default one of one thread. The program is
 * linked with -Wl,--wrap for malloc, calloc and realloc, so this sees the calls of its own
 * objects and of the static floors, not those of shared libraries. */
#ifndef RBK_TESTS_FAILING_ALLOC_H
#define RBK_TESTS_FAILING_ALLOC_H

#include <stddef.h>

#ifndef RBK_FAILS_NOW /* a test that picks otherwise defines it, and a function fails_now() */
static _Thread_local int fail_in; /* 1: the next allocation of this thread fails */

static inline int fails_now(void)
{
    return fail_in > 0 && --fail_in == 0;
}

/* For another thread, to be called there. */
typedef struct alloc_failure {
    int n, left; /* the n-th fails; more than 0 left: there were not so many */
} alloc_failure;

static inline void do_fail_in(void *arg)
{
    fail_in = ((alloc_failure *)arg)->n;
}

static inline void do_fail_stop(void *arg)
{
    ((alloc_failure *)arg)->left = fail_in;
    fail_in = 0;
}
#endif

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    return fails_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails_now() ? NULL : __real_realloc(p, n);
}

#endif
