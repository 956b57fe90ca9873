/* SPDX-License-Identifier: Apache-2.0 */
/* seam/methods.c - see methods.h. An array for the order, a map for the names. */
#include "seam/methods.h"

#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>

struct rbk_methods {
    rbk_map *by_name;
    rbk_method_entry **list;
    size_t n;
};

rbk_methods *rbk_methods_new(void)
{
    rbk_methods *m = calloc(1, sizeof *m);
    if (m == NULL || (m->by_name = rbk_map_new()) == NULL) {
        free(m);
        return NULL;
    }
    return m;
}

static void free_entry(rbk_method_entry *e)
{
    if (e == NULL)
        return;
    free(e->description);
    free(e);
}

void rbk_methods_free(rbk_methods *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n; i++)
        free_entry(m->list[i]);
    free(m->list);
    rbk_map_free(m->by_name);
    free(m);
}

/* The entry and its lane's name are one block: "run:<name>" ends with the name. */
static rbk_method_entry *make_entry(const rbk_method *method, size_t name_n)
{
    size_t lane_n = name_n + 4;
    rbk_method_entry *e = calloc(1, sizeof *e + lane_n + 1);
    if (e == NULL)
        return NULL;
    char *lane = (char *)(e + 1);
    memcpy(lane, "run:", 4);
    memcpy(lane + 4, method->name, name_n + 1);
    e->lane = (rbk_str){lane, lane_n};
    e->name = (rbk_str){lane + 4, name_n};
    e->fn = method->fn;
    e->user = method->user;
    e->flags = method->flags;
    if (method->description && (e->description = strdup(method->description)) == NULL) {
        free(e);
        return NULL;
    }
    return e;
}

int rbk_methods_add(rbk_methods *m, const rbk_method *method)
{
    if (method == NULL || method->name == NULL || method->fn == NULL)
        return RBK_E_INVAL;
    rbk_str name = rbk_str_z(method->name);
    if (name.n == 0 || name.n > RBK_METHOD_NAME_MAX || rbk_str_starts(name, RBK_STR("rpc.")))
        return RBK_E_INVAL;
    if (rbk_map_get(m->by_name, name))
        return RBK_E_STATE;
    rbk_method_entry **list = realloc(m->list, (m->n + 1) * sizeof *list);
    if (list == NULL)
        return RBK_E_NOMEM;
    m->list = list;
    rbk_method_entry *e = make_entry(method, name.n);
    if (e == NULL || rbk_map_put(m->by_name, name, e, NULL) < 0) {
        free_entry(e);
        return RBK_E_NOMEM;
    }
    e->index = m->n;
    m->list[m->n++] = e;
    return 0;
}

void rbk_methods_set_timeout(rbk_methods *m, size_t i, int64_t timeout_ms)
{
    m->list[i]->timeout_ms = timeout_ms;
}

const rbk_method_entry *rbk_methods_find(const rbk_methods *m, rbk_str name)
{
    return rbk_map_get(m->by_name, name);
}

size_t rbk_methods_count(const rbk_methods *m)
{
    return m->n;
}

const rbk_method_entry *rbk_methods_at(const rbk_methods *m, size_t i)
{
    return i < m->n ? m->list[i] : NULL;
}
