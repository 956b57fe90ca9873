/* SPDX-License-Identifier: Apache-2.0 */
/* resolver_rig.h - a name server of the test's own, a loop with a resolver that asks it, and what its
 * answers were. The resolver's source is taken in whole, so that the tests can look at
 * lifetimes without waiting for them. One test is one rig: set_up(), resolve(), tear_down(). */
#ifndef RBK_TEST_RESOLVER_RIG_H
#define RBK_TEST_RESOLVER_RIG_H

#include "net/resolver.c" /* NOLINT */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "dns_server.h"

enum { LIMIT_MS = 60000 };

typedef struct rig {
    dns dns;
    rbk_loop *l;
    rbk_resolver *r;
    uv_timer_t limit;
    bool late;
} rig;

typedef struct seen {
    int calls, err;
    size_t n;
    rbk_addr addrs[RBK_ADDRS_MAX];
    rig *again; /* look up again from within */
    bool free_it;
} seen;

static void on_answer(void *user, int err, const rbk_addr *addrs, size_t n)
{
    seen *s = user;
    s->calls++;
    s->err = err;
    s->n = n;
    if (n > 0)
        memcpy(s->addrs, addrs, n * sizeof *addrs);
    rig *again = s->again;
    s->again = NULL;
    if (again && s->free_it)
        rbk_resolver_free(again->r);
    else if (again)
        rbk_resolve(again->r, RBK_STR("both.test"), 5000, on_answer, s);
}

static void on_limit(uv_timer_t *h)
{
    ((rig *)h->data)->late = true;
}

static void set_up(rig *g)
{
    char servers[32];
    rbk_error err = {0};
    memset(g, 0, sizeof *g);
    start_dns(&g->dns);
    assert_int_equal(rbk_loop_new("test", &g->l, &err), 0);
    assert_int_equal(rbk_resolver_new(g->l, &g->r, &err), 0);
    snprintf(servers, sizeof servers, "127.0.0.1:%u", g->dns.port);
    assert_int_equal(rbk_resolver_set_servers(g->r, servers), 0);
    uv_timer_init(rbk_loop_uv(g->l), &g->limit);
    g->limit.data = g;
    uv_timer_start(&g->limit, on_limit, LIMIT_MS, 0);
}

static void tear_down(rig *g, bool freed)
{
    if (!freed)
        rbk_resolver_free(g->r);
    uv_close((uv_handle_t *)&g->limit, NULL);
    rbk_loop_free(g->l);
    stop_dns(&g->dns);
    assert_int_equal(g->dns.odd, 0);
}

#define until(g, cond)                                                                             \
    do {                                                                                           \
        while (!(cond) && !(g)->late)                                                              \
            uv_run(rbk_loop_uv((g)->l), UV_RUN_ONCE);                                              \
        assert_true(cond);                                                                         \
    } while (0)

static seen resolve(rig *g, const char *name, int64_t timeout_ms)
{
    seen s = {0};
    rbk_resolve(g->r, rbk_str_z(name), timeout_ms, on_answer, &s);
    until(g, s.calls);
    assert_int_equal(s.calls, 1);
    return s;
}

static void assert_addr(const rbk_addr *a, const char *text)
{
    char got[64];
    inet_ntop(a->v6 ? AF_INET6 : AF_INET, a->ip, got, sizeof got);
    assert_string_equal(got, text);
}

#endif
