/* SPDX-License-Identifier: Apache-2.0 */
/* The resolver against a name server of the test's own, on a thread. The source is taken
 * in whole, so that the tests can look at lifetimes without waiting for them. */
#include "net/resolver.c" /* NOLINT */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"

enum { A = 1, AAAA = 28, LIMIT_MS = 20000 };

/* --- the name server --- */

typedef struct record {
    const char *name;
    int type;
    unsigned ttl;
    const char *ip;
} record;

static const record zone[] = {
    {"one.test", A, 60, "192.0.2.1"},       {"both.test", A, 60, "192.0.2.1"},
    {"both.test", A, 60, "192.0.2.2"},      {"both.test", AAAA, 60, "2001:db8::1"},
    {"six.test", AAAA, 60, "2001:db8::6"},  {"brief.test", A, 1, "192.0.2.3"},
    {"brief.test", A, 100, "192.0.2.4"},    {"long.test", A, 86400, "192.0.2.5"},
    {"mid.test", A, 77, "192.0.2.6"},       {"mid.test", AAAA, 99, "2001:db8::6"},
    {"localhost.test", A, 60, "192.0.2.7"},
};

typedef struct dns {
    int fd;
    uint16_t port;
    pthread_t thread;
    atomic_int queries; /* for the names that were asked, "silent" ones too */
    atomic_int odd;     /* queries that are neither A nor AAAA, or not absolute */
} dns;

/* The name in a question, with dots. What it took of `p`, or 0. */
static size_t read_question(const unsigned char *p, size_t n, char name[256], int *ret_type)
{
    size_t at = 12, to = 0;
    while (at < n && p[at] > 0 && p[at] < 64 && at + p[at] + 5 < n && to + p[at] + 2 < 256) {
        if (to > 0)
            name[to++] = '.';
        memcpy(name + to, p + at + 1, p[at]);
        to += p[at];
        at += p[at] + 1u;
    }
    name[to] = 0;
    if (at + 5 > n)
        return 0;
    *ret_type = p[at + 1] << 8 | p[at + 2];
    return at + 5;
}

static size_t add_record(unsigned char *p, const record *r)
{
    size_t n = r->type == A ? 4 : 16;
    const unsigned char head[] = {0xc0,
                                  12,
                                  0,
                                  (unsigned char)r->type,
                                  0,
                                  1,
                                  (unsigned char)(r->ttl >> 24),
                                  (unsigned char)(r->ttl >> 16),
                                  (unsigned char)(r->ttl >> 8),
                                  (unsigned char)r->ttl,
                                  0,
                                  (unsigned char)n};
    memcpy(p, head, sizeof head);
    inet_pton(r->type == A ? AF_INET : AF_INET6, r->ip, p + sizeof head);
    return sizeof head + n;
}

/* "silent…": no answer. "fail…": SERVFAIL. "n…": an address of its own. "wide17…": that
 * many. */
static size_t make_answer(unsigned char *p, size_t n, const char *name, int type)
{
    const record any = {name, A, 60, "10.9.9.9"};
    unsigned count = 0, authorities = 0;
    bool known = false;
    for (size_t i = 0; i < sizeof zone / sizeof *zone; i++) {
        known |= strcmp(zone[i].name, name) == 0;
        if (strcmp(zone[i].name, name) == 0 && zone[i].type == type) {
            n += add_record(p + n, &zone[i]);
            count++;
        }
    }
    if (name[0] == 'n' && type == A) {
        n += add_record(p + n, &any);
        count++;
    }
    bool wide = strncmp(name, "wide", 4) == 0;
    for (int i = 0; wide && type == A && i < atoi(name + 4); i++) {
        n += add_record(p + n, &any);
        count++;
    }
    if (strcmp(name, "soa.test") == 0) {
        static const unsigned char soa[] = {0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0,
                                            [33] = 1};
        memcpy(p + n, soa, sizeof soa);
        n += sizeof soa;
        authorities = 1;
    }
    known |= name[0] == 'n' || wide;
    p[2] = 0x81;
    p[3] = strncmp(name, "fail", 4) == 0 ? 0x82 : known ? 0x80 : 0x83;
    p[6] = 0;
    p[7] = (unsigned char)count;
    memset(p + 8, 0, 4);
    p[9] = (unsigned char)authorities;
    return n;
}

static void *serve(void *arg)
{
    dns *d = arg;
    unsigned char p[1500];
    char name[256];
    struct sockaddr_in from;
    for (;;) {
        socklen_t len = sizeof from;
        int type = 0;
        ssize_t n = recvfrom(d->fd, p, 512, 0, (struct sockaddr *)&from, &len);
        if (n < 12)
            return NULL; /* the test's own word to end */
        size_t at = read_question(p, (size_t)n, name, &type);
        atomic_fetch_add(&d->queries, 1);
        if (at == 0 || (type != A && type != AAAA))
            atomic_fetch_add(&d->odd, 1);
        else if (strncmp(name, "silent", 6) != 0)
            sendto(d->fd, p, make_answer(p, at, name, type), 0, (struct sockaddr *)&from, len);
    }
}

static void start_dns(dns *d)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof addr;
    memset(d, 0, sizeof *d);
    d->fd = socket(AF_INET, SOCK_DGRAM, 0);
    int room = 4 * 1024 * 1024;
    setsockopt(d->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    assert_int_equal(bind(d->fd, (struct sockaddr *)&addr, sizeof addr), 0);
    getsockname(d->fd, (struct sockaddr *)&addr, &n);
    d->port = ntohs(addr.sin_port);
    assert_int_equal(pthread_create(&d->thread, NULL, serve, d), 0);
}

static void stop_dns(dns *d)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons(d->port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    sendto(fd, "end", 3, 0, (struct sockaddr *)&addr, sizeof addr);
    pthread_join(d->thread, NULL);
    close(fd);
    close(d->fd);
}

/* --- the rig --- */

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

/* --- tests --- */

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
