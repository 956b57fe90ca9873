/* SPDX-License-Identifier: Apache-2.0 */
/* engine/missing.c - see missing.h. */
#include "engine/missing.h"

#include "base/map.h"

#include <stdlib.h>

enum { WAIT_MIN_MS = 1000, WAIT_MAX_MS = 60000, WAIT_SHARE = 4 };

struct rbk_missing {
    rbk_map *since; /* rbk_wall_ms, malloc'ed */
};

rbk_missing *rbk_missing_new(void)
{
    rbk_missing *m = calloc(1, sizeof *m);
    if (m && (m->since = rbk_map_new()) == NULL) {
        free(m);
        return NULL;
    }
    return m;
}

static void free_one(rbk_str key, void *value, void *user)
{
    (void)key;
    (void)user;
    free(value);
}

void rbk_missing_free(rbk_missing *m)
{
    if (m == NULL)
        return;
    rbk_map_each(m->since, free_one, NULL);
    rbk_map_free(m->since);
    free(m);
}

/* What cannot be remembered is gone since now: its jobs wait longer. */
rbk_wall_ms rbk_missing_since(rbk_missing *m, rbk_str method, rbk_wall_ms now, bool *ret_first)
{
    rbk_wall_ms *since = rbk_map_get(m->since, method);
    *ret_first = since == NULL;
    if (since)
        return *since;
    since = rbk_map_size(m->since) < RBK_MISSING_NAMES ? malloc(sizeof *since) : NULL;
    if (since)
        *since = now;
    if (since && rbk_map_put(m->since, method, since, NULL) < 0)
        free(since);
    return now;
}

void rbk_missing_found(rbk_missing *m, rbk_str method)
{
    if (rbk_map_size(m->since))
        free(rbk_map_remove(m->since, method));
}

int64_t rbk_missing_wait(rbk_wall_ms since, rbk_wall_ms now)
{
    int64_t wait = (now - since) / WAIT_SHARE;
    return wait < WAIT_MIN_MS ? WAIT_MIN_MS : wait > WAIT_MAX_MS ? WAIT_MAX_MS : wait;
}
