/* SPDX-License-Identifier: Apache-2.0 */
/* dns_server.h - a name server on a thread of its own, over UDP at a free port, with a zone that is
 * written here. What it is asked it counts. cmocka.h comes before this. */
#ifndef RBK_TEST_DNS_SERVER_H
#define RBK_TEST_DNS_SERVER_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { A = 1, AAAA = 28 };

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

#endif
