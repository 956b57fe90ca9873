/* SPDX-License-Identifier: Apache-2.0 */
/* store/memory_idem.c - the idempotency keys of the store `memory:`: a map by caller and key, and
 * a list by the time at which the sweep looks at them, which is nearly the order in which they come.
 * Under the store's lock. */
#include "store/memory_impl.h"

#include "base/map.h"
#include "base/str.h"

#include <stdlib.h>

/* The caller and the key as one name, malloc'ed. */
static char *make_name(const rbk_job *job, size_t *ret_n)
{
    size_t n = job->idem_key.n;
    char *p = malloc(sizeof n + n + job->caller.n);
    if (p == NULL)
        return NULL;
    memcpy(p, &n, sizeof n);
    if (n)
        memcpy(p + sizeof n, job->idem_key.p, n);
    if (job->caller.n)
        memcpy(p + sizeof n + n, job->caller.p, job->caller.n);
    *ret_n = sizeof n + n + job->caller.n;
    return p;
}

static void unlink_key(rbk_store *st, rbk_key *k)
{
    *(k->prev ? &k->prev->next : &st->first_key) = k->next;
    *(k->next ? &k->next->prev : &st->last_key) = k->prev;
}

static void link_key(rbk_store *st, rbk_key *k)
{
    rbk_key *before = st->last_key;
    while (before && before->look > k->look)
        before = before->prev;
    k->prev = before;
    k->next = before ? before->next : st->first_key;
    *(k->prev ? &k->prev->next : &st->first_key) = k;
    *(k->next ? &k->next->prev : &st->last_key) = k;
}

static void look_at(rbk_store *st, rbk_key *k, rbk_wall_ms at)
{
    unlink_key(st, k);
    k->look = at;
    link_key(st, k);
}

static void remove_key(rbk_store *st, rbk_key *k)
{
    unlink_key(st, k);
    rbk_map_remove(st->keys, k->name);
    free(k);
}

static bool is_pending(rbk_store *st, const rbk_idem *i)
{
    rbk_row *r = rbk_rows_find(st, i->seq);
    return r && r->job->rnd == i->rnd && r->shelf <= RBK_SHELF_WAIT;
}

static rbk_idem idem_of(const rbk_store_op *op)
{
    rbk_idem i = *op->idem;
    i.seq = op->job->seq;
    i.rnd = op->job->rnd;
    return i;
}

static int make_key(rbk_store *st, const rbk_store_op *op, rbk_str name, rbk_key_change *c)
{
    rbk_key *k = calloc(1, sizeof *k);
    if (k == NULL || rbk_map_put(st->keys, name, k, &k->name) < 0) {
        free(k);
        return RBK_E_NOMEM;
    }
    k->idem = idem_of(op);
    k->look = k->idem.until;
    link_key(st, k);
    *c = (rbk_key_change){.key = k, .made = true};
    return 0;
}

static void give_key(rbk_store *st, rbk_store_op *op, rbk_key *k, rbk_key_change *c)
{
    rbk_idem found = k->idem;
    found.same = memcmp(found.print, op->idem->print, sizeof found.print) == 0;
    if (rbk_store_is_duplicate(&found, op,
                               rbk_store_key_ends(&found, op) && is_pending(st, &found))) {
        rbk_store_tell_duplicate(&found, op);
        return;
    }
    *c = (rbk_key_change){.key = k, .before = k->idem, .look = k->look};
    k->idem = idem_of(op);
    look_at(st, k, k->idem.until);
}

int rbk_memory_take_key(rbk_store *st, rbk_store_op *op, rbk_key_change *c)
{
    size_t n = 0;
    int r = 0;
    char *name = make_name(op->job, &n);
    if (name == NULL)
        return RBK_E_NOMEM;
    rbk_key *k = rbk_map_get(st->keys, (rbk_str){name, n});
    if (k)
        give_key(st, op, k, c);
    else
        r = make_key(st, op, (rbk_str){name, n}, c);
    free(name);
    return r;
}

void rbk_memory_give_key_back(rbk_store *st, const rbk_key_change *c)
{
    if (c->key == NULL)
        return;
    if (c->made) {
        remove_key(st, c->key);
    } else {
        c->key->idem = c->before;
        look_at(st, c->key, c->look);
    }
}

int rbk_memory_sweep_keys(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now, int max)
{
    int n = 0;
    for (; n < max && st->first_key && st->first_key->look <= now; n++) {
        rbk_key *k = st->first_key;
        if (is_pending(st, &k->idem))
            look_at(st, k, rbk_store_look_at(keep, now));
        else
            remove_key(st, k);
    }
    return n;
}

void rbk_memory_free_keys(rbk_store *st)
{
    while (st->first_key)
        remove_key(st, st->first_key);
    rbk_map_free(st->keys);
}
