/* SPDX-License-Identifier: Apache-2.0 */
/* engine/follows.c - see follows.h. The table is empty but for batches whose synchronous calls name
 * jobs, and is asked only then. It is no larger than the number of members of exchanges that are
 * open. */
#include "engine/follows.h"

#include "base/map.h"
#include "engine/exchange.h"
#include "engine/links.h"

#include <stdlib.h>

typedef struct follower {
    rbk_exchange *ex;
    uint32_t item;
} follower;

struct rbk_follows {
    rbk_map *by_seq;
    rbk_map *spare; /* empty: for the end, which may not fail for want of memory */
};

rbk_follows *rbk_follows_new(void)
{
    rbk_follows *w = calloc(1, sizeof *w);
    if (w && (w->by_seq = rbk_map_new()) && (w->spare = rbk_map_new()))
        return w;
    rbk_follows_free(w);
    return NULL;
}

static rbk_str key_of(const int64_t *seq)
{
    return (rbk_str){(const char *)seq, sizeof *seq};
}

void rbk_follows_add(rbk_follows *w, const rbk_job *job, rbk_exchange *ex, uint32_t item)
{
    follower *one = malloc(sizeof *one);
    if (one)
        *one = (follower){rbk_exchange_ref(ex), item};
    if (one && rbk_map_put(w->by_seq, key_of(&job->seq), one, NULL) == 0)
        return;
    rbk_links_lost(rbk_exchange_links(ex), item);
    if (one)
        rbk_exchange_unref(ex);
    free(one);
}

void rbk_follows_tell(rbk_follows *w, const rbk_job *job)
{
    follower *one = rbk_map_size(w->by_seq) ? rbk_map_remove(w->by_seq, key_of(&job->seq)) : NULL;
    if (one == NULL)
        return;
    rbk_links_done(rbk_exchange_links(one->ex), one->item, job->response, true);
    rbk_exchange_unref(one->ex);
    free(one);
}

static void end_one(rbk_str key, void *value, void *user)
{
    follower *one = value;
    (void)key;
    (void)user;
    rbk_links_lost(rbk_exchange_links(one->ex), one->item);
    rbk_exchange_unref(one->ex);
    free(one);
}

/* The map goes first: whoever is told may not find itself in it. */
void rbk_follows_end(rbk_follows *w)
{
    rbk_map *all = w->by_seq;
    if (w->spare == NULL)
        return; /* it has ended already; nobody is added behind that */
    w->by_seq = w->spare;
    w->spare = NULL;
    rbk_map_each(all, end_one, NULL);
    rbk_map_free(all);
}

void rbk_follows_free(rbk_follows *w)
{
    if (w == NULL)
        return;
    if (w->by_seq)
        rbk_follows_end(w);
    rbk_map_free(w->by_seq);
    rbk_map_free(w->spare);
    free(w);
}
