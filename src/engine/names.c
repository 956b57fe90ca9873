/* SPDX-License-Identifier: Apache-2.0 */
/* engine/names.c - see names.h.
 *
 * One loop asks, by a resolver of net/resolver.h: it joins look-ups of one name, bounds
 * them, and gives each caller its share. So names whose servers never answer take places
 * from their own caller alone, and a look-up never queues behind another: it is sent at
 * once or not at all. Without a caller the share is the domain's (the last two labels).
 *
 * That a name has no address refuses a call, so it must be known: a closed network's server
 * that denies every name, with nobody's word for it, refuses nothing.
 *
 * What was answered is copied to `known` until the resolver would ask again. Entries are
 * dropped in the order in which they came; the lock is held for a look or a change. */
#include "engine/names.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/map.h"
#include "base/ring.h"

#include <stdlib.h>

enum { KNOWN_MAX = 4096 };

typedef struct known {
    rbk_link link; /* the oldest first */
    rbk_str name;  /* the map's copy */
    rbk_mono_ms expires;
    int err;
    size_t n;
    rbk_addr addrs[];
} known;

struct rbk_names {
    rbk_loop *loop;
    rbk_resolver *resolver;
    bool started, stopped;
    pthread_mutex_t lock; /* of what follows */
    bool closed;
    rbk_map *known;
    rbk_link by_age;
};

/* --- What is known ------------------------------------------------------------------------ */

static void drop_known(rbk_names *n, known *k)
{
    rbk_link_remove(&k->link);
    rbk_map_remove(n->known, k->name);
    free(k);
}

/* Without memory it is asked for again. */
static void keep(rbk_names *n, rbk_str host, const rbk_name *answer, int64_t ms)
{
    size_t bytes = answer->n * sizeof *answer->addrs;
    known *k = calloc(1, sizeof *k + bytes);
    if (k == NULL)
        return;
    rbk_link_init(&k->link);
    k->expires = rbk_mono_now() + ms;
    k->err = answer->err;
    k->n = answer->n;
    if (bytes)
        memcpy(k->addrs, answer->addrs, bytes);
    pthread_mutex_lock(&n->lock);
    known *old = rbk_map_get(n->known, host);
    if (old)
        drop_known(n, old);
    else if (rbk_map_size(n->known) >= KNOWN_MAX)
        drop_known(n, RBK_OF_LINK(n->by_age.next, known, link));
    if (rbk_map_put(n->known, host, k, &k->name) == 0)
        rbk_link_append(&n->by_age, &k->link);
    else
        free(k);
    pthread_mutex_unlock(&n->lock);
}

bool rbk_names_known(rbk_names *n, rbk_str host, rbk_name *ret)
{
    rbk_mono_ms now = rbk_mono_now();
    pthread_mutex_lock(&n->lock);
    const known *k = rbk_map_get(n->known, host);
    bool found = k && now < k->expires;
    if (found) {
        ret->err = k->err;
        ret->n = k->n;
        if (k->n)
            memcpy(ret->addrs, k->addrs, k->n * sizeof *k->addrs);
    }
    pthread_mutex_unlock(&n->lock);
    return found;
}

/* --- Groups: the loop's thread ---------------------------------------------------------------- */

static void close_one(rbk_name_group *g)
{
    if (--g->open == 0)
        g->done(g);
}

static void on_resolved(void *user, int err, const rbk_addr *addrs, size_t n)
{
    rbk_name_query *q = user;
    rbk_names *names = q->group->names;
    q->answer.err = err;
    q->answer.n = n;
    if (n)
        memcpy(q->answer.addrs, addrs, n * sizeof *addrs);
    int64_t keeps = err == RBK_E_CLOSED ? 0 : rbk_resolver_keeps(names->resolver, rbk_str_z(q->host));
    if (keeps > 0)
        keep(names, rbk_str_z(q->host), &q->answer, keeps);
    close_one(q->group);
}

/* "a.b.example.com": "example.com". */
static rbk_str domain_of(const char *host)
{
    rbk_str s = rbk_str_z(host);
    size_t dots = 0, at = s.n;
    while (at > 0 && (s.p[at - 1] != '.' || ++dots < 2))
        at--;
    return (rbk_str){s.p + at, s.n - at};
}

static void on_group(rbk_task *task)
{
    rbk_name_group *g = (rbk_name_group *)(void *)task;
    rbk_names *names = g->names;
    int64_t left = g->deadline - rbk_loop_now(names->loop);
    g->open = g->n + 1;
    for (size_t i = 0; i < g->n; i++) {
        rbk_name_query *q = &g->queries[i];
        rbk_resolve_shared(names->resolver, &(rbk_lookup){
                                                .name = rbk_str_z(q->host),
                                                .share = g->share.n ? g->share : domain_of(q->host),
                                                .timeout_ms = left,
                                                .fn = on_resolved,
                                                .user = q,
                                            });
    }
    close_one(g);
}

bool rbk_names_ask(rbk_names *n, rbk_name_group *g)
{
    g->task.fn = on_group;
    g->names = n;
    for (size_t i = 0; i < g->n; i++)
        g->queries[i].group = g;
    pthread_mutex_lock(&n->lock);
    bool ok = n->started && !n->closed;
    if (ok)
        rbk_loop_post(n->loop, &g->task);
    pthread_mutex_unlock(&n->lock);
    return ok;
}

/* --- Life --------------------------------------------------------------------------------------- */

int rbk_names_new(const char *servers, rbk_names **ret, rbk_error *err)
{
    rbk_names *n = calloc(1, sizeof *n);
    if (n == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "names");
    pthread_mutex_init(&n->lock, NULL);
    rbk_link_init(&n->by_age);
    n->known = rbk_map_new();
    int r = n->known ? rbk_loop_new("rbk-names", &n->loop, err) : rbk_fail(err, RBK_E_NOMEM, "names");
    if (r == 0)
        r = rbk_resolver_new(n->loop, &n->resolver, err);
    if (r == 0)
        rbk_resolver_want_proof(n->resolver);
    if (r == 0 && servers && rbk_resolver_set_servers(n->resolver, servers) < 0)
        r = rbk_fail(err, RBK_E_CONFIG, "callback.name_servers: %s", servers);
    if (r < 0) {
        rbk_names_free(n);
        return r;
    }
    *ret = n;
    return 0;
}

int rbk_names_start(rbk_names *n, rbk_error *err)
{
    int r = rbk_loop_start(n->loop, err);
    pthread_mutex_lock(&n->lock);
    n->started = r == 0;
    pthread_mutex_unlock(&n->lock);
    return r;
}

static void close_resolver(void *arg)
{
    rbk_names *n = arg;
    rbk_resolver_free(n->resolver);
}

void rbk_names_stop(rbk_names *n)
{
    if (n == NULL || n->stopped)
        return;
    n->stopped = true;
    pthread_mutex_lock(&n->lock);
    n->closed = true;
    pthread_mutex_unlock(&n->lock);
    if (n->started)
        rbk_loop_call(n->loop, close_resolver, n);
    else
        close_resolver(n);
    if (n->loop)
        rbk_loop_stop(n->loop);
}

void rbk_names_free(rbk_names *n)
{
    if (n == NULL)
        return;
    rbk_names_stop(n);
    rbk_loop_free(n->loop);
    while (!rbk_link_empty(&n->by_age))
        drop_known(n, RBK_OF_LINK(n->by_age.next, known, link));
    rbk_map_free(n->known);
    pthread_mutex_destroy(&n->lock);
    free(n);
}
