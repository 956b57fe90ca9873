/* SPDX-License-Identifier: Apache-2.0 */
/* A resolver that says what the test wants: the program is linked with
 * --wrap=rbk_resolve. While no attempt is under way the test sets `err`, or `n` and
 * `addrs`; with neither the real one is asked. */
#ifndef RBK_TEST_FAKE_RESOLVE_H
#define RBK_TEST_FAKE_RESOLVE_H

#include <stdatomic.h>

#include "net/resolver.h"

static struct {
    rbk_addr addrs[RBK_ADDRS_MAX];
    atomic_int err;
    atomic_size_t n;
} fake_resolve;

void __real_rbk_resolve(rbk_resolver *r, rbk_str name, int64_t timeout_ms, rbk_resolved_fn fn,
                        void *user);
void __wrap_rbk_resolve(rbk_resolver *r, rbk_str name, int64_t timeout_ms, rbk_resolved_fn fn,
                        void *user);

void __wrap_rbk_resolve(rbk_resolver *r, rbk_str name, int64_t timeout_ms, rbk_resolved_fn fn,
                        void *user)
{
    int err = fake_resolve.err;
    size_t n = err ? 0 : fake_resolve.n;
    if (err == 0 && n == 0)
        __real_rbk_resolve(r, name, timeout_ms, fn, user);
    else
        fn(user, err, fake_resolve.addrs, n);
}

#endif
