/* SPDX-License-Identifier: Apache-2.0 */
/* engine/store_names.c - what courier loops tell the store thread of lanes, by their names: whose
 * receivers have come back, and whose take nothing. */
#include "engine/store_thread_impl.h"

#include "base/clock.h"
#include "engine/session_fetch.h"

#include <stdlib.h>

void rbk_store_name_lane(rbk_list *l, rbk_str lane)
{
    rbk_lane_name *o = lane.n <= RBK_LANE_MAX ? calloc(1, sizeof *o) : NULL;
    if (o == NULL)
        return;
    memcpy(o->lane, lane.p, lane.n);
    rbk_list_push(l, &o->node);
}

void rbk_store_pull(rbk_store_thread *s, rbk_str lane)
{
    rbk_list one = {0};
    rbk_store_name_lane(&one, lane); /* without memory they wait for their time */
    pthread_mutex_lock(&s->lock);
    rbk_list_join(&s->pulls, &one);
    if (s->asleep)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void rbk_store_fetch(rbk_store_thread *s, rbk_fetching *f)
{
    pthread_mutex_lock(&s->lock);
    rbk_list_push(&s->fetches, &f->node);
    if (s->asleep)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void rbk_store_free_names(rbk_list *l)
{
    for (rbk_node *n; (n = rbk_list_pop(l));)
        free(n);
}

/* Nobody is woken: the thread looks now and then anyway. */
void rbk_store_behind(rbk_store_thread *s, rbk_list *lanes)
{
    pthread_mutex_lock(&s->lock);
    if (s->behind.n < RBK_AGING_LANES)
        rbk_list_join(&s->behind, lanes);
    pthread_mutex_unlock(&s->lock);
    rbk_store_free_names(lanes);
}

/* A pause that has ended comes after what was said before. */
void rbk_store_take_names(rbk_store_thread *s, rbk_list *behind, rbk_list *pulls)
{
    rbk_mono_ms now = rbk_mono_now();
    for (rbk_node *n; (n = rbk_list_pop(behind));) {
        rbk_flow_behind(s->flow, rbk_str_z(((rbk_lane_name *)(void *)n)->lane), now);
        free(n);
    }
    for (rbk_node *n; (n = rbk_list_pop(pulls));) {
        rbk_flow_pull(s->flow, rbk_str_z(((rbk_lane_name *)(void *)n)->lane));
        free(n);
    }
}
