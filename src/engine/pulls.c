/* SPDX-License-Identifier: Apache-2.0 */
/* engine/pulls.c - see pulls.h. A short array, in no order. */
#include "engine/pulls.h"

static rbk_pull *find(rbk_pulls *p, rbk_str lane)
{
    for (size_t i = 0; i < p->n; i++)
        if (rbk_str_eqz(lane, p->list[i].lane))
            return &p->list[i];
    return NULL;
}

void rbk_pulls_add(rbk_pulls *p, rbk_str lane, rbk_mono_ms now)
{
    rbk_pull *pull = find(p, lane);
    if (pull == NULL && p->n < RBK_PULLS && lane.n <= RBK_LANE_MAX)
        pull = &p->list[p->n++];
    if (pull == NULL)
        return;
    *pull = (rbk_pull){.next = now};
    memcpy(pull->lane, lane.p, lane.n);
}

rbk_pull *rbk_pulls_next(rbk_pulls *p, rbk_mono_ms now)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->list[i].next > now)
            continue;
        p->list[i].next = now + RBK_PULL_EVERY_MS;
        return &p->list[i];
    }
    return NULL;
}

void rbk_pulls_end(rbk_pulls *p, rbk_pull *pull)
{
    *pull = p->list[--p->n];
}

void rbk_pulls_failed(rbk_pulls *p, rbk_str lane)
{
    rbk_pull *pull = p->n ? find(p, lane) : NULL;
    if (pull && ++pull->fails >= RBK_PULL_FAILS)
        rbk_pulls_end(p, pull);
}

rbk_mono_ms rbk_pulls_wake(const rbk_pulls *p)
{
    rbk_mono_ms wake = INT64_MAX;
    for (size_t i = 0; i < p->n; i++)
        if (p->list[i].next < wake)
            wake = p->list[i].next;
    return wake;
}
