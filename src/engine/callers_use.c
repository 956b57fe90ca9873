/* SPDX-License-Identifier: Apache-2.0 */
/* engine/callers_use.c - the table of callers that an engine uses now. The lock is held only while
 * a reference is taken; without a table it is not taken at all. */
#include "engine/engine_impl.h"

void rbk_engine_use_callers(rbk_engine *e, rbk_callers *callers)
{
    pthread_mutex_lock(&e->keys_lock);
    rbk_callers *old = e->callers;
    e->callers = callers;
    atomic_store(&e->has_callers, true);
    atomic_fetch_add(&e->callers_version, 1);
    pthread_mutex_unlock(&e->keys_lock);
    rbk_callers_unref(old);
}

rbk_callers *rbk_engine_callers(rbk_engine *e)
{
    if (!atomic_load(&e->has_callers))
        return NULL;
    pthread_mutex_lock(&e->keys_lock);
    rbk_callers *callers = rbk_callers_ref(e->callers);
    pthread_mutex_unlock(&e->keys_lock);
    return callers;
}

uint64_t rbk_engine_callers_version(const rbk_engine *e)
{
    return atomic_load(&e->callers_version);
}
