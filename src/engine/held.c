/* SPDX-License-Identifier: Apache-2.0 */
/* engine/held.c - see held.h. Between admit's two halves:
 *
 *     admit -> names known? -> yes: hand over at once, on the front's loop
 *                           -> no: HELD -> names' loop: judge, hand over
 *
 * Tickets and exchange are owned objects: nothing of the request's bytes is needed any
 * more. What waits is bounded by the number of look-ups and by HELD_BYTES. */
#include "engine/held.h"

#include "base/clock.h"
#include "base/map.h"
#include "engine/links.h"
#include "engine/names.h"

#include <stdlib.h>

enum { ASKS_MAX = 1000 }; /* of one body: more would find no place anyway */
#define HELD_BYTES ((size_t)64 << 20)

typedef struct ask {
    size_t place; /* of its ticket among those of the body */
    size_t query;
    uint16_t port;
    bool failure;
} ask;

struct rbk_held {
    rbk_name_group group; /* first */
    rbk_engine *e;
    rbk_exchange *ex;
    rbk_netpolicy *policy;
    rbk_list jobs;
    bool late; /* a job that is no part of its body's group */
    size_t bytes;
    char *caller;
    size_t n_asks, n_queries; /* as far as they are filled */
    size_t room_asks, room_queries;
    ask *asks;
    rbk_name_query *queries;
    rbk_map *by_host; /* the query's number, plus one */
};

/* --- The verdict ------------------------------------------------------------------------------ */

static bool are_allowed(const rbk_netpolicy *p, const rbk_name *name, uint16_t port)
{
    for (size_t i = 0; i < name->n; i++)
        if (!rbk_netpolicy_addr_ok(p, name->addrs[i].v6 ? RBK_HOST_IPV6 : RBK_HOST_IPV4,
                                   name->addrs[i].ip, port))
            return false;
    return name->n > 0;
}

/* A name without any address has no allowed one. */
static rbk_name_verdict judge(const rbk_netpolicy *p, const rbk_name *name, uint16_t port)
{
    if (name->err && name->err != RBK_E_RESOLVE)
        return RBK_NAME_FINE;
    return are_allowed(p, name, port) ? RBK_NAME_FINE : RBK_NAME_REFUSED;
}

rbk_name_verdict rbk_held_look(rbk_engine *e, const rbk_netpolicy *policy, const rbk_dsn *dsn)
{
    rbk_name name;
    if (dsn->kind != RBK_HOST_NAME || rbk_netpolicy_resolve_ms(policy) == 0)
        return RBK_NAME_FINE;
    if (rbk_names_known(e->names, rbk_str_z(dsn->host_lower), &name))
        return judge(policy, &name, dsn->port);
    return RBK_NAME_ASK;
}

/* --- Collecting --------------------------------------------------------------------------------- */

/* Room for one more of `n`; the list may move. */
static bool grow(void **list, size_t *room, size_t n, size_t size)
{
    if (n < *room)
        return true;
    size_t more = *room ? *room * 2 : 1;
    void *bigger = realloc(*list, more * size);
    if (bigger == NULL)
        return false;
    *list = bigger;
    *room = more;
    return true;
}

static bool add_query(rbk_held *h, rbk_str host, size_t *ret)
{
    uintptr_t number = h->by_host ? (uintptr_t)rbk_map_get(h->by_host, host) : 0;
    if (number) {
        *ret = number - 1;
        return true;
    }
    void *list = h->queries;
    bool ok = grow(&list, &h->room_queries, h->n_queries, sizeof *h->queries);
    h->queries = list;
    if (!ok || (h->by_host == NULL && (h->by_host = rbk_map_new()) == NULL) ||
        rbk_map_put(h->by_host, host, (void *)(uintptr_t)(h->n_queries + 1), NULL) < 0)
        return false;
    *ret = h->n_queries;
    rbk_name_query *q = &h->queries[h->n_queries++];
    memset(q, 0, sizeof *q);
    memcpy(q->host, host.p, host.n);
    return true;
}

/* The whole comes first, then the members. */
static size_t place_of(const rbk_ticket *t)
{
    rbk_links *links = rbk_exchange_links(t->ex);
    return links && rbk_links_is_whole(links, t) ? 0 : (size_t)t->item + 1;
}

void rbk_held_add(rbk_held **held, const rbk_held_name *name, const rbk_ticket *t)
{
    const rbk_dsn *dsn = name->dsn;
    rbk_held *h = *held ? *held : calloc(1, sizeof *h);
    if (h == NULL)
        return;
    *held = h;
    ask one = {.place = place_of(t), .port = dsn->port, .failure = name->failure};
    void *list = h->asks;
    bool ok = h->n_asks < ASKS_MAX && grow(&list, &h->room_asks, h->n_asks, sizeof *h->asks);
    h->asks = list;
    if (ok && add_query(h, rbk_str_z(dsn->host_lower), &one.query))
        h->asks[h->n_asks++] = one;
}

/* --- The answer ----------------------------------------------------------------------------------- */

static void free_held(rbk_held *h)
{
    if (h->e)
        atomic_fetch_sub(&h->e->held_bytes, h->bytes);
    rbk_exchange_unref(h->ex); /* the engine may go with it */
    rbk_netpolicy_unref(h->policy);
    rbk_map_free(h->by_host);
    free(h->caller);
    free(h->asks);
    free(h->queries);
    free(h);
}

/* The callback of the whole body is refused, and so is all of it. */
static void refuse_body(rbk_held *h)
{
    char reason[160];
    rbk_dsn_reason(RBK_DSN_NO_ADDRESS, rbk_links_callback(rbk_exchange_links(h->ex)),
                   rbk_netpolicy_schemes(h->policy), reason);
    rbk_exchange_refuse_body(h->ex, RBK_BATCH_HEADER, reason);
    for (rbk_node *node; (node = rbk_list_pop(&h->jobs));) {
        rbk_ticket *t = (rbk_ticket *)(void *)node;
        if (!rbk_links_is_whole(rbk_exchange_links(h->ex), t))
            rbk_exchange_silent(h->ex, t->item);
        rbk_exchange_unref(t->ex);
        rbk_ticket_free(t);
    }
}

/* The first host of the ticket that is refused; NULL: none. *i goes on to the next ticket's, past those
 * of tickets that were dropped before the question. */
static const ask *find_refused(const rbk_held *h, const rbk_ticket *t, size_t *i)
{
    const ask *refused = NULL;
    size_t place = place_of(t);
    while (*i < h->n_asks && h->asks[*i].place < place)
        ++*i;
    for (; *i < h->n_asks && h->asks[*i].place == place; ++*i) {
        const ask *a = &h->asks[*i];
        if (!refused &&
            judge(h->policy, &h->queries[a->query].answer, a->port) == RBK_NAME_REFUSED)
            refused = a;
    }
    return refused;
}

/* Those that are fine go on, in order. */
static void judge_all(rbk_held *h)
{
    rbk_links *links = rbk_exchange_links(h->ex);
    rbk_list fine = {0};
    size_t i = 0;
    for (rbk_node *node; (node = rbk_list_pop(&h->jobs));) {
        rbk_ticket *t = (rbk_ticket *)(void *)node;
        const ask *a = find_refused(h, t, &i);
        if (a && links && rbk_links_is_whole(links, t)) {
            rbk_exchange_unref(t->ex);
            rbk_ticket_free(t);
            refuse_body(h);
        } else if (a) {
            rbk_admit_refuse(h->ex, t->item, h->policy,
                             &(rbk_admit_fault){RBK_DSN_NO_ADDRESS, a->failure});
            rbk_exchange_unref(t->ex);
            rbk_ticket_free(t);
        } else {
            rbk_list_push(&fine, &t->node);
        }
    }
    if (links && !h->late)
        rbk_links_group(links, &fine);
    rbk_admit_hand_over(h->e, h->ex, &fine);
}

static void on_done(rbk_name_group *g)
{
    rbk_held *h = (rbk_held *)(void *)g;
    judge_all(h);
    free_held(h);
}

static bool has_room(rbk_held *h)
{
    for (const rbk_node *node = h->jobs.head; node; node = node->next)
        h->bytes += rbk_job_bytes(((const rbk_ticket *)(const void *)node)->job);
    return atomic_fetch_add(&h->e->held_bytes, h->bytes) + h->bytes <= HELD_BYTES;
}

void rbk_held_ask(rbk_held *h, const rbk_held_call *call)
{
    h->e = call->e;
    h->ex = rbk_exchange_ref(call->ex);
    h->policy = rbk_netpolicy_ref(call->policy);
    h->late = call->late;
    rbk_list_join(&h->jobs, call->jobs);
    h->caller = call->caller.n ? strndup(call->caller.p, call->caller.n) : NULL;
    h->group.deadline = rbk_mono_now() + rbk_netpolicy_resolve_ms(h->policy);
    h->group.share = h->caller ? rbk_str_z(h->caller) : RBK_STR_NONE;
    h->group.queries = h->queries;
    h->group.n = h->n_queries;
    h->group.done = on_done;
    if (has_room(h) && rbk_names_ask(h->e->names, &h->group))
        return;
    rbk_admit_hand_over(h->e, h->ex, &h->jobs);
    free_held(h);
}
