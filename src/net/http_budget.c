/* SPDX-License-Identifier: Apache-2.0 */
/* net/http_budget.c - bytes held for peers, counted against one budget of the process.
 *
 * Each limit of one connection is generous, and a thousand connections at their limits
 * are too much. So all loops share one counter: what a body being received and what the
 * answers of a connection hold beyond RBK_HTTP_FREE. Small requests and answers are not
 * counted, and so get through whatever others do.
 *
 * A share is set, not added to: whoever calls says what is held now. Between calls the
 * count may be too high (bytes went out), never too low by more than one read of the
 * socket or one answer. Loop threads; the counter is atomic. */
#include "net/http_server_impl.h"

enum { ANSWERS_MAX = 1 << 20 }; /* of one connection while the budget is used up */

/* Set a share to what `n` bytes count for. What all hold then; 0 when it did not grow. */
static size_t set_share(rbk_http_conn *c, size_t *share, size_t n)
{
    atomic_size_t *all = c->s->conf.buffered;
    size_t old = *share;
    n = n > RBK_HTTP_FREE ? n - RBK_HTTP_FREE : 0;
    if (n == old || all == NULL)
        return 0;
    *share = n;
    if (n > old)
        return atomic_fetch_add(all, n - old) + (n - old);
    atomic_fetch_sub(all, old - n);
    return 0;
}

bool rbk_http_charge_body(rbk_http_conn *c, size_t n)
{
    return set_share(c, &c->body_charged, n) <= c->s->conf.max_buffered;
}

/* Over twice the budget it is many connections with less than ANSWERS_MAX each. */
bool rbk_http_charge_answers(rbk_http_conn *c)
{
    size_t max = c->s->conf.max_buffered;
    size_t all = set_share(c, &c->out_charged, c->waiting + rbk_stream_held(c->st));
    return all <= max || (c->out_charged <= ANSWERS_MAX && all - max <= max);
}

void rbk_http_uncharge(rbk_http_conn *c)
{
    set_share(c, &c->body_charged, 0);
    set_share(c, &c->out_charged, 0);
}
