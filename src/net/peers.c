/* SPDX-License-Identifier: Apache-2.0 */
/* net/peers.c - see peers.h.
 *
 * A table of sets of WAYS places; an address has its place in one set, by a hash that nobody
 * outside can compute, so that a flood of addresses cannot aim at others. In a full set the address
 * that has no connection and the fullest bucket gives way. A set whose places all have connections
 * lets more in uncounted: with four places for each connection there is none. A lock for each group
 * of sets. */
#include "net/peers.h"

#include "base/map.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>

enum { WAYS = 8, LOCKS = 64, PLACES_MIN = 1 << 16, PLACES_MAX = 1 << 22, NAME_MAX_HASHED = 255 };

typedef struct place {
    uint8_t addr[16];
    rbk_bucket bucket;
    uint32_t connections;
    bool used;
} place;

struct rbk_peers {
    unsigned per_address;
    rbk_cidrs exempt;
    size_t n_sets; /* a power of two */
    place *places;
    pthread_mutex_t locks[LOCKS];
};

rbk_peers *rbk_peers_new(const rbk_peers_conf *conf)
{
    size_t n = PLACES_MIN;
    while (n < PLACES_MAX && n / 4 < conf->max_connections)
        n *= 2;
    rbk_peers *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->per_address = conf->per_address;
    p->n_sets = n / WAYS;
    p->places = calloc(n, sizeof *p->places); /* a page is real once an address is in it */
    size_t n_exempt = conf->exempt ? conf->exempt->n : 0;
    if (p->places && n_exempt)
        p->exempt.v = malloc(n_exempt * sizeof *p->exempt.v);
    if (p->places == NULL || (n_exempt && p->exempt.v == NULL)) {
        free(p->places);
        free(p);
        return NULL;
    }
    for (p->exempt.n = 0; p->exempt.n < n_exempt; p->exempt.n++)
        p->exempt.v[p->exempt.n] = conf->exempt->v[p->exempt.n];
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&p->locks[i], NULL);
    return p;
}

void rbk_peers_free(rbk_peers *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&p->locks[i]);
    rbk_cidrs_free(&p->exempt);
    free(p->places);
    free(p);
}

/* --- Whom a connection is from ------------------------------------------------------------- */

void rbk_peer_of(const rbk_peers *p, const struct sockaddr *addr, rbk_peer *ret)
{
    rbk_host_kind kind = addr->sa_family == AF_INET ? RBK_HOST_IPV4 : RBK_HOST_IPV6;
    const uint8_t *bytes = addr->sa_family == AF_INET
                               ? (const void *)&((const struct sockaddr_in *)(const void *)addr)->sin_addr
                               : (const void *)&((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr;
    *ret = (rbk_peer){.counts = false};
    if (addr->sa_family != AF_INET && addr->sa_family != AF_INET6)
        return;
    rbk_addr_unmap(&kind, &bytes);
    if (rbk_cidrs_have(p->exempt.v, p->exempt.n, kind, bytes))
        return;
    ret->counts = true;
    if (kind == RBK_HOST_IPV4) {
        ret->addr[10] = ret->addr[11] = 0xff;
        memcpy(ret->addr + 12, bytes, 4);
    } else {
        memcpy(ret->addr, bytes, 8);
    }
}

/* Two hashes of 64 bits: nobody has another's. */
void rbk_peer_of_name(rbk_str name, rbk_peer *ret)
{
    uint64_t hash[2] = {rbk_hash(name)};
    char text[NAME_MAX_HASHED + 1] = "+";
    size_t n = name.n < NAME_MAX_HASHED ? name.n : NAME_MAX_HASHED;
    memcpy(text + 1, name.p, n);
    hash[1] = rbk_hash((rbk_str){text, n + 1});
    *ret = (rbk_peer){.counts = true};
    memcpy(ret->addr, hash, sizeof hash);
}

void rbk_peer_of_socket(const rbk_peers *p, int fd, rbk_peer *ret)
{
    struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
    socklen_t n = sizeof ss;
    if (getpeername(fd, (struct sockaddr *)&ss, &n) < 0)
        ss.ss_family = AF_UNSPEC;
    rbk_peer_of(p, (const struct sockaddr *)&ss, ret);
}

/* --- Places -------------------------------------------------------------------------------- */

/* The set of an address, locked. */
static place *lock_set(rbk_peers *p, const rbk_peer *peer, pthread_mutex_t **ret_lock)
{
    size_t set = rbk_hash((rbk_str){(const char *)peer->addr, sizeof peer->addr}) & (p->n_sets - 1);
    *ret_lock = &p->locks[set % LOCKS];
    pthread_mutex_lock(*ret_lock);
    return &p->places[set * WAYS];
}

static place *find(place *set, const rbk_peer *peer)
{
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].used && memcmp(set[i].addr, peer->addr, sizeof peer->addr) == 0)
            return &set[i];
    return NULL;
}

/* The place of the address, which it may have to take from another one; NULL: all have
 * connections. */
static place *find_or_make(place *set, const rbk_peer *peer)
{
    place *at = find(set, peer);
    for (size_t i = 0; at == NULL && i < WAYS; i++)
        if (!set[i].used)
            at = &set[i];
    if (at == NULL)
        for (size_t i = 0; i < WAYS; i++)
            if (set[i].connections == 0 &&
                (at == NULL || set[i].bucket.full_at < at->bucket.full_at))
                at = &set[i];
    if (at && (!at->used || memcmp(at->addr, peer->addr, sizeof peer->addr) != 0)) {
        *at = (place){.used = true};
        memcpy(at->addr, peer->addr, sizeof at->addr);
    }
    return at;
}

bool rbk_peers_enter(rbk_peers *p, rbk_peer *peer)
{
    pthread_mutex_t *lock;
    if (!peer->counts || p->per_address == 0)
        return true;
    place *at = find_or_make(lock_set(p, peer, &lock), peer);
    bool room = at == NULL || at->connections < p->per_address;
    peer->entered = at && room;
    if (peer->entered)
        at->connections++;
    pthread_mutex_unlock(lock);
    return room;
}

void rbk_peers_leave(rbk_peers *p, rbk_peer *peer)
{
    pthread_mutex_t *lock;
    if (!peer->entered)
        return;
    peer->entered = false;
    place *at = find(lock_set(p, peer, &lock), peer);
    if (at)
        at->connections--;
    pthread_mutex_unlock(lock);
}

int64_t rbk_peers_take(rbk_peers *p, const rbk_peer *peer, const rbk_taking *t, rbk_mono_ms now)
{
    pthread_mutex_t *lock;
    if (!peer->counts || t->rate->n == 0)
        return 0;
    place *at = find_or_make(lock_set(p, peer, &lock), peer);
    int64_t wait = at ? rbk_bucket_take(&at->bucket, t->rate, t->n, t->held, now) : 0;
    pthread_mutex_unlock(lock);
    return wait;
}

void rbk_peers_give(rbk_peers *p, const rbk_peer *peer, const rbk_taking *t)
{
    pthread_mutex_t *lock;
    if (!peer->counts || t->rate->n == 0)
        return;
    place *at = find(lock_set(p, peer, &lock), peer);
    if (at) /* else it was forgotten, and is full */
        rbk_bucket_give(&at->bucket, t->rate, t->n);
    pthread_mutex_unlock(lock);
}
