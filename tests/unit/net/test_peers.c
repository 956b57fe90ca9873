/* SPDX-License-Identifier: Apache-2.0 */
/* The table of client addresses: who counts as one, what one may have, and a flood of them. */
#include "net/peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

static rbk_peer peer_of(const rbk_peers *p, const char *text)
{
    rbk_peer ret;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(1234)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(1234)};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        rbk_peer_of(p, (const struct sockaddr *)&v4, &ret);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        rbk_peer_of(p, (const struct sockaddr *)&v6, &ret);
    }
    return ret;
}

static rbk_peers *peers_of(unsigned per_address, const char *exempt)
{
    rbk_cidrs list;
    rbk_error err;
    assert_int_equal(rbk_cidrs_read("k", rbk_str_z(exempt), &list, &err), 0);
    rbk_peers *p = rbk_peers_new(&(rbk_peers_conf){
        .per_address = per_address, .exempt = &list, .max_connections = 100});
    assert_non_null(p);
    rbk_cidrs_free(&list);
    return p;
}

static rbk_rate rate; /* of take() */

static int64_t take(rbk_peers *p, const rbk_peer *peer, uint64_t n, uint64_t held, rbk_mono_ms now)
{
    return rbk_peers_take(p, peer, &(rbk_taking){&rate, n, held}, now);
}

static void test_who_is_one(void **state)
{
    (void)state;
    rbk_peers *p = peers_of(1, "");
    static const struct {
        const char *a, *b;
        bool same;
    } pairs[] = {
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1", "::ffff:192.0.2.1", true},
        {"192.0.2.1", "::192.0.2.1", false},
        {"2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true},
        {"2001:db8:0:1::1", "2001:db8:0:2::1", false},
        {"0.0.0.1", "::1", false},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        rbk_peer a = peer_of(p, pairs[i].a), b = peer_of(p, pairs[i].b);
        assert_true(a.counts && b.counts);
        assert_true(rbk_peers_enter(p, &a));
        assert_int_equal(rbk_peers_enter(p, &b), !pairs[i].same);
        rbk_peers_leave(p, &a);
        rbk_peers_leave(p, &b);
        rbk_peers_leave(p, &b); /* who has not entered does not leave */
        assert_true(rbk_peers_enter(p, &b));
        rbk_peers_leave(p, &b);
    }
    rbk_peers_free(p);
}

static void test_exempt(void **state)
{
    (void)state;
    rate = (rbk_rate){1, 1000};
    rbk_peers *p = peers_of(1, "127.0.0.0/8, 2001:db8::/32");
    static const char *const free_ones[] = {"127.0.0.1", "::ffff:127.0.0.2", "2001:db8::1"};
    for (size_t i = 0; i < 3; i++) {
        rbk_peer a = peer_of(p, free_ones[i]);
        assert_false(a.counts);
        for (int k = 0; k < 3; k++) {
            assert_true(rbk_peers_enter(p, &a));
            assert_int_equal(take(p, &a, 1, 0, 1000), 0);
        }
    }
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    rbk_peer a;
    rbk_peer_of(p, (const struct sockaddr *)&un, &a);
    assert_false(a.counts);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    rbk_peer_of_socket(p, fds[0], &a);
    assert_false(a.counts);
    close(fds[0]);
    close(fds[1]);
    rbk_peer_of_socket(p, -1, &a);
    assert_false(a.counts);
    a = peer_of(p, "::1");
    assert_true(a.counts);
    rbk_peers_free(p);
}

static void test_names(void **state)
{
    (void)state;
    rate = (rbk_rate){2, 1000};
    rbk_peers *p = peers_of(0, "");
    static char longest[600];
    memset(longest, 'x', sizeof longest - 1);
    const char *const names[] = {"a", "b", "ab", "", "+a", longest};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rbk_peer a, again;
        rbk_peer_of_name(rbk_str_z(names[i]), &a);
        rbk_peer_of_name(rbk_str_z(names[i]), &again);
        assert_int_equal(take(p, &a, 2, 0, 1000), 0);
        assert_int_equal(take(p, &again, 1, 0, 1000), 500);
    }
    rbk_peers_free(p);
}

static void test_rate(void **state)
{
    (void)state;
    rate = (rbk_rate){2, 1000};
    rbk_peers *p = peers_of(0, "");
    rbk_peer a = peer_of(p, "192.0.2.1"), b = peer_of(p, "192.0.2.2");
    assert_int_equal(take(p, &a, 1, 0, 1000), 0);
    assert_int_equal(take(p, &a, 1, 0, 1000), 0);
    assert_int_equal(take(p, &a, 1, 0, 1000), 500);
    assert_int_equal(take(p, &b, 2, 0, 1000), 0);
    assert_int_equal(take(p, &a, 1, 0, 1500), 0);
    for (int i = 0; i < 100; i++) {
        rbk_peer c = a; /* connections are not bounded here */
        assert_true(rbk_peers_enter(p, &c));
    }
    rbk_peers_free(p);
}

/* A million addresses: what has connections stays, and what is in debt is the last that goes. */
static void test_flood(void **state)
{
    (void)state;
    rate = (rbk_rate){1, 1000};
    rbk_peers *p = peers_of(2, "");
    rbk_peer kept = peer_of(p, "192.0.2.1");
    rbk_peer first = kept, second = kept, third = kept;
    assert_true(rbk_peers_enter(p, &first));
    assert_true(rbk_peers_enter(p, &second));
    assert_int_equal(take(p, &kept, 3, 0, 1000), 0);
    rbk_peer debtor = peer_of(p, "192.0.2.2");
    assert_int_equal(take(p, &debtor, 1000, 0, 1000), 0);
    for (uint32_t i = 0; i < 1000000; i++) {
        rbk_peer other = {.counts = true, .addr = {0x20, 0x01}};
        memcpy(other.addr + 2, &i, sizeof i);
        assert_int_equal(take(p, &other, 1, 0, 1000 + i / 1000), 0);
    }
    assert_false(rbk_peers_enter(p, &third));
    assert_int_equal(take(p, &kept, 1, 0, 1000), 3000);
    assert_int_not_equal(take(p, &debtor, 1, 0, 1000), 0);
    rbk_peers_leave(p, &first);
    assert_true(rbk_peers_enter(p, &third));
    rbk_peers_free(p);
}

/* More addresses with connections than a set has places: let in, and the count stays right. */
static void test_full_sets(void **state)
{
    (void)state;
    rate = (rbk_rate){1, 1000};
    enum { N = 200000 };
    rbk_peers *p = peers_of(1, "");
    rbk_peer *all = calloc(N, sizeof *all);
    assert_non_null(all);
    size_t counted = 0;
    for (uint32_t i = 0; i < N; i++) {
        all[i] = (rbk_peer){.counts = true, .addr = {0x20, 0x01}};
        memcpy(all[i].addr + 2, &i, sizeof i);
        assert_true(rbk_peers_enter(p, &all[i]));
        counted += all[i].entered;
    }
    assert_in_range(counted, 60000, 65536);
    for (uint32_t i = 0; i < N; i++)
        rbk_peers_leave(p, &all[i]);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(rbk_peers_enter(p, &all[i]));
        assert_true(all[i].entered);
        rbk_peers_leave(p, &all[i]);
    }
    free(all);
    rbk_peers_free(p);
}

static void *come_and_go(void *arg)
{
    rbk_peers *p = arg;
    for (int i = 0; i < 20000; i++) {
        rbk_peer a = {.counts = true, .addr = {[15] = (uint8_t)(i % 7)}};
        if (rbk_peers_enter(p, &a))
            rbk_peers_leave(p, &a);
        take(p, &a, 1, 0, i);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    rate = (rbk_rate){100, 1000};
    pthread_t t[4];
    rbk_peers *p = peers_of(2, "");
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, come_and_go, p), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    for (uint8_t i = 0; i < 7; i++) {
        rbk_peer a = {.counts = true, .addr = {[15] = i}}, b = a;
        assert_true(rbk_peers_enter(p, &a) && rbk_peers_enter(p, &b));
        rbk_peers_leave(p, &a);
        rbk_peers_leave(p, &b);
    }
    rbk_peers_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_one), cmocka_unit_test(test_exempt),
        cmocka_unit_test(test_names),      cmocka_unit_test(test_rate),
        cmocka_unit_test(test_flood),      cmocka_unit_test(test_full_sets),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
