/* SPDX-License-Identifier: Apache-2.0 */
/* seam/transports.c - see transports.h. A small array, looked up by scheme.
 *
 * Refuses a backend that was compiled against another ABI or lacks a MUST slot, so
 * that nobody finds out at the first delivery. */
#include "seam/transports.h"

enum { TRANSPORTS_MAX = 8 };

static const rbk_transport_ops *table[TRANSPORTS_MAX];
static size_t n_table;

int rbk_transports_add(const rbk_transport_ops *ops)
{
    if (ops == NULL || ops->abi != RBK_TRANSPORT_ABI || n_table == TRANSPORTS_MAX)
        return RBK_E_STATE;
    if (ops->scheme == NULL || ops->scheme[0] == 0 || !ops->open || !ops->close || !ops->send)
        return RBK_E_STATE;
    if (rbk_transports_find(rbk_str_z(ops->scheme)))
        return RBK_E_STATE;
    table[n_table++] = ops;
    return 0;
}

const rbk_transport_ops *rbk_transports_find(rbk_str scheme)
{
    for (size_t i = 0; i < n_table; i++)
        if (rbk_str_eqz(scheme, table[i]->scheme))
            return table[i];
    return NULL;
}

const rbk_transport_ops *rbk_transports_at(size_t i)
{
    return i < n_table ? table[i] : NULL;
}
