/* SPDX-License-Identifier: Apache-2.0 */
/* engine/names.h - addresses of callback hosts, before the acknowledgement.
 *
 * What is known of a name is kept for the whole process and read by any thread at the cost
 * of a lock and a hash: the usual call waits for nobody. What is not known is asked for on
 * one loop of its own, so that reading the hosts file or a slow name server holds no front. */
#ifndef RBK_ENGINE_NAMES_H
#define RBK_ENGINE_NAMES_H

#include "engine/engine_impl.h"
#include "net/loop.h"
#include "net/resolver.h"

/* What is known. With `err` 0 `n` addresses; RBK_E_RESOLVE: the name has none; any other
 * error: nobody can say. */
typedef struct rbk_name {
    int err;
    size_t n;
    rbk_addr addrs[RBK_ADDRS_MAX];
} rbk_name;

/* Names that are looked up together. Made by who asks, who gets it back by `done`. */
typedef struct rbk_name_query rbk_name_query;
typedef struct rbk_name_group {
    rbk_task task; /* first */
    rbk_names *names;
    rbk_mono_ms deadline;
    rbk_str share; /* whose look-ups they are; empty: those of the names' own domain */
    size_t n, open;
    rbk_name_query *queries;
    void (*done)(struct rbk_name_group *g); /* once, on the names' loop; must not stop it */
} rbk_name_group;

struct rbk_name_query {
    rbk_name_group *group;
    char host[RBK_HOST_MAX + 1];
    rbk_name answer;
};

int rbk_names_new(const char *servers, rbk_names **ret, rbk_error *err);
int rbk_names_start(rbk_names *n, rbk_error *err);
/* Look-ups under way end with RBK_E_CLOSED, and their groups are done, before this returns. */
void rbk_names_stop(rbk_names *n);
void rbk_names_free(rbk_names *n);

/* Is it known now? Any thread. */
bool rbk_names_known(rbk_names *n, rbk_str host, rbk_name *ret);
/* All queries of `g` at once, until its deadline. False: there is no loop any more, and
 * `done` is not called. Any thread. */
bool rbk_names_ask(rbk_names *n, rbk_name_group *g);

#endif
