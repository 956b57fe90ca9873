/* SPDX-License-Identifier: Apache-2.0 */
/* engine/shares.c - see shares.h. A map of counts behind a mutex: the loops meet here
 * twice an attempt. */
#include "engine/shares.h"

#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>

struct rbk_shares {
    pthread_mutex_t lock;
    rbk_map *map; /* name -> share */
    size_t slots, most;
};

typedef struct share {
    rbk_str name; /* the map's copy */
    size_t n;
} share;

rbk_shares *rbk_shares_new(size_t slots, size_t most)
{
    rbk_shares *s = calloc(1, sizeof *s);
    if (s == NULL || (s->map = rbk_map_new()) == NULL) {
        free(s);
        return NULL;
    }
    pthread_mutex_init(&s->lock, NULL);
    s->slots = slots;
    s->most = most;
    return s;
}

static void free_share(rbk_str name, void *value, void *user)
{
    (void)name;
    (void)user;
    free(value);
}

void rbk_shares_free(rbk_shares *s)
{
    if (s == NULL)
        return;
    rbk_map_each(s->map, free_share, NULL);
    rbk_map_free(s->map);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static share *find_or_make(rbk_shares *s, rbk_str name)
{
    share *one = rbk_map_get(s->map, name);
    if (one)
        return one;
    one = calloc(1, sizeof *one);
    if (one && rbk_map_put(s->map, name, one, &one->name) < 0) {
        free(one);
        one = NULL;
    }
    return one;
}

bool rbk_shares_enter(rbk_shares *s, rbk_str name, size_t all)
{
    bool ok = false;
    pthread_mutex_lock(&s->lock);
    share *one = find_or_make(s, name);
    if (one) {
        size_t others = all > one->n ? all - one->n : 0;
        ok = one->n == 0 || (one->n < s->most && one->n < rbk_share_of(s->slots, others));
        one->n += ok;
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

void rbk_shares_leave(rbk_shares *s, rbk_str name)
{
    pthread_mutex_lock(&s->lock);
    share *one = rbk_map_get(s->map, name);
    if (one && --one->n == 0) {
        rbk_map_remove(s->map, one->name);
        free(one);
    }
    pthread_mutex_unlock(&s->lock);
}
