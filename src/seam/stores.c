/* SPDX-License-Identifier: Apache-2.0 */
/* seam/stores.c - the table of store backends.
 *
 * Filled once, at start, before threads; after that only read, by any thread. A
 * backend is found by the scheme of a dsn: what stands before the first colon. */
#include "seam/stores.h"

enum { STORES_MAX = 16 };

static const rbk_store_ops *table[STORES_MAX];
static size_t count;

static bool has_must_slots(const rbk_store_ops *o)
{
    return o->scheme && o->scheme[0] && o->help && o->open && o->close && o->apply && o->claim &&
           o->aged && o->lanes && o->recover && o->stats && o->count_callers && o->free_bytes &&
           o->get && o->list && o->attempts && o->sweep && o->hold && o->holds;
}

static const rbk_store_ops *find_scheme(rbk_str scheme)
{
    for (size_t i = 0; i < count; i++)
        if (rbk_str_eqz(scheme, table[i]->scheme))
            return table[i];
    return NULL;
}

int rbk_stores_add(const rbk_store_ops *ops)
{
    if (ops->abi != RBK_STORE_ABI || !has_must_slots(ops) || count == STORES_MAX ||
        find_scheme(rbk_str_z(ops->scheme)))
        return RBK_E_STATE;
    table[count++] = ops;
    return 0;
}

const rbk_store_ops *rbk_stores_find(rbk_str dsn)
{
    const char *colon = dsn.n ? memchr(dsn.p, ':', dsn.n) : NULL;
    return colon ? find_scheme((rbk_str){dsn.p, (size_t)(colon - dsn.p)}) : NULL;
}

const rbk_store_ops *rbk_stores_at(size_t i)
{
    return i < count ? table[i] : NULL;
}
