/* SPDX-License-Identifier: Apache-2.0 */
/* store/memory_caller.c - what each caller has pending in the store `memory:`. Rows count
 * themselves where they are linked and unlinked (memory_rows.c); that must not fail, so whoever is
 * to be counted is met before. Under the store's lock. */
#include "store/memory_impl.h"

#include "base/map.h"

#include <stdlib.h>

int rbk_memory_meet_caller(rbk_store *st, rbk_str name)
{
    if (name.n == 0 || rbk_map_get(st->callers, name))
        return 0;
    rbk_memory_caller *c = calloc(1, sizeof *c);
    if (c && rbk_map_put(st->callers, name, c, &c->name) == 0) {
        rbk_memory_count_caller(st, name, 0, 0); /* if nothing comes of it, it goes again */
        return 0;
    }
    free(c);
    return RBK_E_NOMEM;
}

void rbk_memory_count_caller(rbk_store *st, rbk_str name, int64_t jobs, int64_t bytes)
{
    rbk_memory_caller *c = name.n ? rbk_map_get(st->callers, name) : NULL;
    if (c == NULL)
        return;
    c->jobs += jobs;
    c->bytes += bytes;
    if (c->changed)
        return;
    c->changed = true;
    c->next = st->changed_callers;
    st->changed_callers = c;
}

static void tell(rbk_store *st, rbk_memory_caller *c)
{
    if (c->jobs == c->told_jobs && c->bytes == c->told_bytes)
        return;
    c->told_jobs = c->jobs;
    c->told_bytes = c->bytes;
    if (st->counted)
        st->counted(st->user, c->name, c->jobs, c->bytes);
}

void rbk_memory_end_callers(rbk_store *st, bool committed)
{
    while (st->changed_callers) {
        rbk_memory_caller *c = st->changed_callers;
        st->changed_callers = c->next;
        c->changed = false;
        if (committed)
            tell(st, c);
        if (c->jobs == 0)
            free(rbk_map_remove(st->callers, c->name));
    }
}

static void tell_again(rbk_str name, void *value, void *user)
{
    const rbk_memory_caller *c = value;
    const rbk_store *st = user;
    st->counted(st->user, name, c->jobs, c->bytes);
}

int rbk_memory_count_callers(rbk_store *st, rbk_error *err)
{
    (void)err;
    pthread_mutex_lock(&st->lock);
    if (st->counted)
        rbk_map_each(st->callers, tell_again, st);
    pthread_mutex_unlock(&st->lock);
    return 0;
}

static void free_one(rbk_str name, void *value, void *user)
{
    (void)name;
    (void)user;
    free(value);
}

void rbk_memory_free_callers(rbk_store *st)
{
    rbk_map_each(st->callers, free_one, NULL);
    rbk_map_free(st->callers);
}
