/* SPDX-License-Identifier: Apache-2.0 */
/* base/map.c - chained buckets, doubled when full. SipHash: Aumasson and
 * Bernstein, "SipHash: a fast short-input PRF" (2012), with 1 and 3 rounds. */
#include "base/map.h"

#include "base/id.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct entry {
    struct entry *next;
    uint64_t hash;
    void *value;
    size_t n;
    char key[];
} entry;

struct rbk_map {
    entry **bucket;
    size_t mask, n;
};

static uint64_t hash_key[2];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void make_hash_key(void)
{
    rbk_random(hash_key, sizeof hash_key);
}

static uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotl(v[1], 13) ^ v[0], v[0] = rotl(v[0], 32);
    v[2] += v[3], v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotl(v[1], 17) ^ v[2], v[2] = rotl(v[2], 32);
}

uint64_t rbk_hash(rbk_str s)
{
    pthread_once(&hash_once, make_hash_key);
    uint64_t v[4] = {hash_key[0] ^ UINT64_C(0x736f6d6570736575),
                     hash_key[1] ^ UINT64_C(0x646f72616e646f6d),
                     hash_key[0] ^ UINT64_C(0x6c7967656e657261),
                     hash_key[1] ^ UINT64_C(0x7465646279746573)};
    size_t i = 0;
    uint64_t m;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&m, s.p + i, 8);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    m = (uint64_t)s.n << 56;
    for (size_t k = 0; i + k < s.n; k++)
        m |= (uint64_t)(unsigned char)s.p[i + k] << (8 * k);
    v[3] ^= m;
    sip_round(v);
    v[0] ^= m;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

rbk_map *rbk_map_new(void)
{
    rbk_map *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->mask = 15;
    m->bucket = calloc(m->mask + 1, sizeof(entry *));
    if (m->bucket == NULL) {
        free(m);
        return NULL;
    }
    return m;
}

void rbk_map_free(rbk_map *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i <= m->mask; i++)
        for (entry *e = m->bucket[i], *next; e; e = next) {
            next = e->next;
            free(e);
        }
    free(m->bucket);
    free(m);
}

/* The link that points to the entry of `key`, or to the NULL at its chain's end. */
static entry **find(const rbk_map *m, rbk_str key, uint64_t hash)
{
    entry **at = &m->bucket[hash & m->mask];
    while (*at && ((*at)->hash != hash || !rbk_str_eq((rbk_str){(*at)->key, (*at)->n}, key)))
        at = &(*at)->next;
    return at;
}

void *rbk_map_get(const rbk_map *m, rbk_str key)
{
    entry *e = *find(m, key, rbk_hash(key));
    return e ? e->value : NULL;
}

/* More buckets are a matter of speed: without memory for them the map goes on. */
static void grow(rbk_map *m)
{
    size_t mask = m->mask * 2 + 1;
    entry **bucket = calloc(mask + 1, sizeof(entry *));
    if (bucket == NULL)
        return;
    for (size_t i = 0; i <= m->mask; i++)
        for (entry *e = m->bucket[i], *next; e; e = next) {
            next = e->next;
            e->next = bucket[e->hash & mask];
            bucket[e->hash & mask] = e;
        }
    free(m->bucket);
    m->bucket = bucket;
    m->mask = mask;
}

int rbk_map_put(rbk_map *m, rbk_str key, void *value, rbk_str *ret_key)
{
    uint64_t hash = rbk_hash(key);
    entry **at = find(m, key, hash);
    if (*at == NULL) {
        entry *e = malloc(sizeof *e + key.n + 1);
        if (e == NULL)
            return RBK_E_NOMEM;
        *e = (entry){.hash = hash, .n = key.n};
        if (key.n)
            memcpy(e->key, key.p, key.n);
        e->key[key.n] = 0;
        if (m->n > m->mask) {
            grow(m);
            at = find(m, key, hash);
        }
        *at = e;
        m->n++;
    }
    (*at)->value = value;
    if (ret_key)
        *ret_key = (rbk_str){(*at)->key, (*at)->n};
    return 0;
}

void *rbk_map_remove(rbk_map *m, rbk_str key)
{
    entry **at = find(m, key, rbk_hash(key)), *e = *at;
    if (e == NULL)
        return NULL;
    void *value = e->value;
    *at = e->next;
    free(e);
    m->n--;
    return value;
}

size_t rbk_map_size(const rbk_map *m)
{
    return m->n;
}

void rbk_map_each(const rbk_map *m, void (*fn)(rbk_str key, void *value, void *user), void *user)
{
    for (size_t i = 0; i <= m->mask; i++)
        for (entry *e = m->bucket[i], *next; e; e = next) {
            next = e->next;
            fn((rbk_str){e->key, e->n}, e->value, user);
        }
}
