/* SPDX-License-Identifier: Apache-2.0 */
/* The resolver: addresses, failures, how long an answer is kept, bounds, and its end. */
#include "resolver_rig.h"

static void test_addresses(void **state)
{
    (void)state;
    rig g;
    set_up(&g);
    seen s = resolve(&g, "one.test", 5000);
    assert_int_equal(s.err, 0);
    assert_int_equal(s.n, 1);
    assert_addr(&s.addrs[0], "192.0.2.1");
    s = resolve(&g, "six.test", 5000);
    assert_int_equal(s.n, 1);
    assert_addr(&s.addrs[0], "2001:db8::6");
    s = resolve(&g, "both.test", 5000);
    assert_int_equal(s.n, 3);
    assert_false(s.addrs[0].v6);
    assert_addr(&s.addrs[1], "2001:db8::1");
    assert_false(s.addrs[2].v6);
    struct sockaddr_storage sa;
    rbk_addr_to_sockaddr(&s.addrs[1], 443, &sa);
    assert_int_equal(sa.ss_family, AF_INET6);
    assert_int_equal(((struct sockaddr_in6 *)(void *)&sa)->sin6_port, htons(443));
    rbk_addr_to_sockaddr(&s.addrs[0], 80, &sa);
    assert_int_equal(sa.ss_family, AF_INET);
    assert_int_equal(((struct sockaddr_in *)(void *)&sa)->sin_port, htons(80));
    assert_int_equal(g.dns.queries, 6); /* one A and one AAAA each */
    tear_down(&g, false);
}

static void test_failures(void **state)
{
    (void)state;
    rig g;
    char longest[256];
    set_up(&g);
    assert_int_equal(resolve(&g, "missing.test", 5000).err, RBK_E_RESOLVE);
    int asked = g.dns.queries;
    assert_int_equal(asked, 2); /* no search list, no second try */
    assert_int_equal(resolve(&g, "missing.test", 5000).err, RBK_E_RESOLVE);
    assert_int_equal(g.dns.queries, asked); /* known to fail */
    assert_int_equal(resolve(&g, "fail.test", 9000).err, RBK_E_CONNECT);
    asked = g.dns.queries;
    memset(longest, 'a', 255);
    longest[255] = 0;
    assert_int_equal(resolve(&g, longest, 5000).err, RBK_E_RESOLVE);
    assert_int_equal(resolve(&g, "", 5000).err, RBK_E_RESOLVE);
    assert_int_equal(resolve(&g, ".", 5000).err, RBK_E_RESOLVE);
    assert_int_equal(resolve(&g, "a..test", 5000).err, RBK_E_RESOLVE);
    seen s = {0};
    rbk_resolve(g.r, (rbk_str){"one.test\0x", 10}, 5000, on_answer, &s);
    assert_int_equal(s.err, RBK_E_RESOLVE);
    assert_int_equal(g.dns.queries, asked);
    assert_int_equal(rbk_resolver_set_servers(g.r, "nonsense"), RBK_E_CONFIG);
    tear_down(&g, false);
}

static int64_t lifetime(rig *g, const char *name)
{
    resolve(g, name, 5000);
    entry *e = rbk_map_get(g->r->entries, rbk_str_z(name));
    assert_non_null(e);
    return e->expires - rbk_mono_now();
}

static void assert_about(int64_t ms, int64_t want)
{
    assert_true(ms <= want && ms > want - 2000);
}

static void test_lifetimes(void **state)
{
    (void)state;
    rig g;
    set_up(&g);
    assert_about(lifetime(&g, "brief.test"), 5000);
    assert_about(lifetime(&g, "long.test"), 300 * 1000);
    assert_about(lifetime(&g, "mid.test"), 77 * 1000);
    assert_about(lifetime(&g, "missing.test"), 5000);
    int asked = g.dns.queries;
    resolve(&g, "mid.test", 5000);
    resolve(&g, "MID.Test.", 5000); /* the same name */
    assert_int_equal(g.dns.queries, asked);
    entry *e = rbk_map_get(g.r->entries, RBK_STR("mid.test"));
    e->expires = rbk_mono_now();
    seen s = resolve(&g, "mid.test", 5000); /* its time is over: asked again */
    assert_int_equal(s.n, 2);
    assert_int_equal(g.dns.queries, asked + 2);
    tear_down(&g, false);
}

static void test_hosts_file(void **state)
{
    (void)state;
    rig g;
    set_up(&g);
    seen s = resolve(&g, "localhost", 5000);
    assert_int_equal(s.err, 0);
    for (size_t i = 0; i < s.n; i++)
        if (s.addrs[i].v6)
            assert_addr(&s.addrs[i], "::1");
        else
            assert_addr(&s.addrs[i], "127.0.0.1");
    assert_int_equal(g.dns.queries, 0);
    tear_down(&g, false);
}

/* Each waiter has its own deadline, and what the lookup finds is kept nevertheless. */
static void test_timeout(void **state)
{
    (void)state;
    rig g;
    seen slow = {0}, quick = {0};
    set_up(&g);
    rbk_mono_ms before = rbk_mono_now();
    rbk_resolve(g.r, RBK_STR("silent.test"), 400, on_answer, &slow);
    rbk_resolve(g.r, RBK_STR("silent.test"), 50, on_answer, &quick);
    until(&g, quick.calls);
    assert_int_equal(quick.err, RBK_E_TIMEOUT);
    assert_int_equal(slow.calls, 0);
    assert_true(rbk_mono_now() - before >= 50);
    until(&g, slow.calls);
    assert_int_equal(slow.err, RBK_E_TIMEOUT);
    assert_true(rbk_mono_now() - before >= 400);
    assert_true(g.r->n_pending == 1); /* goes on */
    assert_int_equal(g.r->n_waiting, 0);
    tear_down(&g, false);
}

/* An answer that comes in the turn of the deadline is one. */
static void test_answer_at_the_deadline(void **state)
{
    (void)state;
    rig g;
    set_up(&g);
    seen s = resolve(&g, "localhost", 0);
    assert_int_equal(s.err, 0);
    assert_true(s.n > 0);
    assert_int_equal(g.r->n_waiting, 0);
    tear_down(&g, false);
}

/* A name whose servers never answer frees its place soon. */
static void test_silent_ends(void **state)
{
    (void)state;
    rig g;
    set_up(&g);
    rbk_mono_ms before = rbk_mono_now();
    assert_int_equal(resolve(&g, "silent.test", 15000).err, RBK_E_TIMEOUT);
    assert_in_range(rbk_mono_now() - before, RBK_LOOKUP_MS / 2, RBK_LOOKUP_MS * 2);
    assert_int_equal(g.r->n_pending, 0);
    assert_int_equal(g.dns.queries, 2 * RBK_LOOKUP_TRIES);
    tear_down(&g, false);
}

/* All addresses are judged, or none is used. */
static void test_too_many_addresses(void **state)
{
    (void)state;
    rig g;
    set_up(&g);
    seen s = resolve(&g, "wide16.test", 5000);
    assert_int_equal(s.err, 0);
    assert_int_equal(s.n, RBK_ADDRS_MAX);
    s = resolve(&g, "wide17.test", 5000);
    assert_int_equal(s.err, RBK_E_RESOLVE);
    assert_int_equal(s.n, 0);
    tear_down(&g, false);
}

static void test_joined(void **state)
{
    (void)state;
    rig g;
    seen s[100] = {0};
    set_up(&g);
    for (int i = 0; i < 100; i++)
        rbk_resolve(g.r, RBK_STR("one.test"), 5000, on_answer, &s[i]);
    for (int i = 0; i < 100; i++) {
        until(&g, s[i].calls);
        assert_int_equal(s[i].err, 0);
        assert_addr(&s[i].addrs[0], "192.0.2.1");
    }
    assert_int_equal(g.dns.queries, 2);
    tear_down(&g, false);
}

static void test_busy(void **state)
{
    (void)state;
    rig g;
    static seen s[1001];
    memset(s, 0, sizeof s);
    set_up(&g);
    for (int i = 0; i < 1000; i++)
        rbk_resolve(g.r, RBK_STR("silent.test"), 100, on_answer, &s[i]);
    rbk_resolve(g.r, RBK_STR("one.test"), 5000, on_answer, &s[1000]);
    assert_int_equal(s[1000].calls, 1);
    assert_int_equal(s[1000].err, RBK_E_BUSY);
    for (int i = 0; i < 1000; i++)
        until(&g, s[i].calls);
    assert_int_equal(resolve(&g, "one.test", 5000).err, 0); /* room again */
    tear_down(&g, false);
}

/* Who asks for names that nobody answers leaves the others their places, and gets its own
 * back when its lookups have ended, not when it stops waiting. */
static void test_shares(void **state)
{
    (void)state;
    rig g;
    static seen s[600];
    char name[32];
    int busy = 0, more = 0;
    memset(s, 0, sizeof s);
    set_up(&g);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "silent%d.test", i);
        rbk_resolve_shared(g.r, &(rbk_lookup){rbk_str_z(name), RBK_STR("mallory"), 50, on_answer, &s[i]});
        busy += s[i].err == RBK_E_BUSY;
    }
    assert_int_equal(busy, 50); /* a quarter of 1,000 went in */
    for (int i = 300; i < 600; i++) {
        snprintf(name, sizeof name, "silent%d.test", i);
        rbk_resolve_shared(g.r, &(rbk_lookup){rbk_str_z(name), RBK_STR("trudy"), 50, on_answer, &s[i]});
        more += s[i].err == RBK_E_BUSY;
    }
    assert_int_equal(more, 113); /* a quarter of the 750 that were left: 187 */
    seen good = {0};
    rbk_resolve_shared(g.r, &(rbk_lookup){RBK_STR("one.test"), RBK_STR("alice"), 5000, on_answer, &good});
    for (int i = 0; i < 600; i++)
        until(&g, s[i].calls);
    assert_int_equal(g.r->n_waiting, good.calls ? 0 : 1);
    s[0] = (seen){0};
    rbk_resolve_shared(g.r, &(rbk_lookup){RBK_STR("silent.test"), RBK_STR("mallory"), 50, on_answer, &s[0]});
    assert_int_equal(s[0].err, RBK_E_BUSY);
    until(&g, good.calls);
    assert_int_equal(good.err, 0);
    until(&g, g.r->n_pending == 0);
    assert_int_equal(rbk_map_size(g.r->shares), 0);
    tear_down(&g, false);
}

/* "soa.test" is denied with the SOA record of who says so, "missing.test" without. */
static void test_proof(void **state)
{
    (void)state;
    rig g;
    set_up(&g);
    rbk_resolver_want_proof(g.r);
    assert_int_equal(resolve(&g, "missing.test", 5000).err, RBK_E_CONNECT);
    assert_int_equal(g.dns.queries, 3);
    assert_int_equal(resolve(&g, "soa.test", 5000).err, RBK_E_RESOLVE);
    assert_int_equal(resolve(&g, "one.test", 5000).err, 0);
    assert_int_equal(g.dns.queries, 8);
    assert_int_equal(resolve(&g, "soa.test", 5000).err, RBK_E_RESOLVE);
    assert_int_equal(g.dns.queries, 8);
    assert_in_range(rbk_resolver_keeps(g.r, RBK_STR("soa.test")), 1, FAILED_S * 1000);
    assert_in_range(rbk_resolver_keeps(g.r, RBK_STR("One.test.")), 30000, 60000);
    assert_int_equal(rbk_resolver_keeps(g.r, RBK_STR("two.test")), 0);
    tear_down(&g, false);
}

/* More names than the cache holds: the oldest go. */
static void test_bounded(void **state)
{
    (void)state;
    rig g;
    char name[32];
    static seen s[ENTRIES_MAX + 100];
    memset(s, 0, sizeof s);
    set_up(&g);
    for (int i = 0; i < ENTRIES_MAX + 100; i++) {
        snprintf(name, sizeof name, "n%d.test", i);
        rbk_resolve(g.r, rbk_str_z(name), 15000, on_answer, &s[i]);
        until(&g, s[i].calls);
        assert_int_equal(s[i].err, 0);
    }
    assert_int_equal(rbk_map_size(g.r->entries), ENTRIES_MAX);
    int asked = g.dns.queries;
    resolve(&g, name, 5000);
    assert_int_equal(g.dns.queries, asked);
    resolve(&g, "n0.test", 5000);
    assert_int_equal(g.dns.queries, asked + 2);
    tear_down(&g, false);
}

static void test_from_callbacks(void **state)
{
    (void)state;
    rig g;
    seen s = {.again = &g}, others[3] = {0};
    set_up(&g);
    rbk_resolve(g.r, RBK_STR("one.test"), 5000, on_answer, &s);
    until(&g, s.calls == 2);
    assert_int_equal(s.n, 3); /* both.test */
    memset(&s, 0, sizeof s);
    s.again = &g;
    s.free_it = true;
    rbk_resolve(g.r, RBK_STR("mid.test"), 5000, on_answer, &s);
    for (int i = 0; i < 2; i++)
        rbk_resolve(g.r, RBK_STR("mid.test"), 5000, on_answer, &others[i]);
    rbk_resolve(g.r, RBK_STR("silent.test"), 5000, on_answer, &others[2]);
    until(&g, s.calls);
    assert_int_equal(s.err, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(others[i].calls, 1);
        assert_int_equal(others[i].err, RBK_E_CLOSED);
    }
    tear_down(&g, true);
}

static void test_freed(void **state)
{
    (void)state;
    rig g;
    seen s[2] = {0};
    set_up(&g);
    rbk_resolve(g.r, RBK_STR("silent.test"), 5000, on_answer, &s[0]);
    rbk_resolve(g.r, RBK_STR("silent2.test"), 5000, on_answer, &s[1]);
    rbk_resolver_free(g.r);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(s[i].calls, 1);
        assert_int_equal(s[i].err, RBK_E_CLOSED);
    }
    rbk_resolver_free(NULL);
    tear_down(&g, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),      cmocka_unit_test(test_failures),
        cmocka_unit_test(test_lifetimes),      cmocka_unit_test(test_hosts_file),
        cmocka_unit_test(test_answer_at_the_deadline),
        cmocka_unit_test(test_timeout),        cmocka_unit_test(test_joined),
        cmocka_unit_test(test_busy),           cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_from_callbacks), cmocka_unit_test(test_freed),
        cmocka_unit_test(test_shares),         cmocka_unit_test(test_proof),
        cmocka_unit_test(test_silent_ends),    cmocka_unit_test(test_too_many_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
