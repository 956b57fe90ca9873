/* SPDX-License-Identifier: Apache-2.0 */
/* engine/engine.c - makes the parts, starts them in the order of the flow backwards, and
 * ends them forwards: nothing is sent to a part that is not there. */
#include "engine/engine_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "engine/builtin.h"
#include "engine/change.h"
#include "engine/courier.h"
#include "engine/execute.h"
#include "engine/names.h"
#include "engine/progress.h"
#include "engine/quotas.h"
#include "engine/reader.h"
#include "engine/reaper.h"
#include "engine/runs.h"
#include "engine/store_thread.h"
#include "engine/watch.h"

#include <stdlib.h>
#include <time.h>

enum { DRAIN_LOOK_MS = 5, LATE_MS = 2000 };

int rbk_engine_new(const rbk_engine_conf *conf, rbk_engine **ret, rbk_error *err)
{
    rbk_engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "engine");
    e->conf = *conf;
    atomic_init(&e->refs, 1);
    pthread_mutex_init(&e->keys_lock, NULL);
    pthread_mutex_init(&e->changes_lock, NULL);
    rbk_link_init(&e->changes);
    int r;
    if ((r = (e->quotas = rbk_quotas_new()) ? 0 : rbk_fail(err, RBK_E_NOMEM, "engine")) < 0 ||
        (r = rbk_store_thread_new(e, &e->store, err)) < 0 ||
        (r = rbk_runs_open(e->conf.log, rbk_store_path(e->store), &e->runs, err)) < 0 ||
        (r = rbk_reaper_new(&e->reaper, err)) < 0 ||
        (r = rbk_execute_new(e, &e->execute, err)) < 0 ||
        (r = rbk_reader_new(e, &e->reader, err)) < 0 ||
        (r = rbk_watches_new(e, &e->watches, err)) < 0 ||
        (r = (e->discover = rbk_builtin_discover()) ? 0 : rbk_fail(err, RBK_E_NOMEM, "engine")) < 0 ||
        (r = rbk_progress_new(e, &e->progress, err)) < 0 ||
        (r = rbk_names_new(e->conf.name_servers, &e->names, err)) < 0 ||
        (r = rbk_couriers_new(e, &e->couriers, err)) < 0) {
        rbk_engine_free(e);
        return r;
    }
    *ret = e;
    return 0;
}

int rbk_engine_start(rbk_engine *e, rbk_error *err)
{
    int r;
    if ((r = rbk_couriers_start(e->couriers, err)) < 0 ||
        (r = rbk_reaper_start(e->reaper, err)) < 0 ||
        (r = rbk_execute_start(e->execute, err)) < 0 ||
        (r = rbk_names_start(e->names, err)) < 0 ||
        (r = rbk_reader_start(e->reader, err)) < 0 ||
        (r = rbk_watches_start(e->watches, err)) < 0)
        return r;
    return rbk_store_thread_start(e->store, err);
}

void rbk_engine_refuse(rbk_engine *e)
{
    atomic_store(&e->refusing, true);
}

/* Until methods and deliveries under way are done, or the time is up. What they hand
 * to the store meanwhile may start no new ones. */
static bool wait_until_idle(rbk_engine *e, int64_t drain_ms)
{
    rbk_mono_ms now = rbk_mono_now(), end = now + drain_ms, late = now + LATE_MS;
    while (rbk_execute_busy(e->execute) || rbk_reaper_armed(e->reaper) ||
           rbk_couriers_in_flight(e->couriers) || (rbk_couriers_late(e->couriers) && now < late)) {
        now = rbk_mono_now();
        if (now >= end)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = DRAIN_LOOK_MS * 1000000L}, NULL);
    }
    return true;
}

int rbk_engine_stop(rbk_engine *e, int64_t drain_ms)
{
    e->stopped = true;
    rbk_engine_refuse(e);
    rbk_names_stop(e->names); /* what waits for a name goes to the store, or is refused */
    rbk_execute_drain(e->execute);
    rbk_couriers_drain(e->couriers);
    bool idle = wait_until_idle(e, drain_ms);
    rbk_progress_stop(e->progress);
    rbk_couriers_end(e->couriers);
    size_t stuck = rbk_execute_stop(e->execute);
    size_t cut = rbk_reaper_stop(e->reaper);
    rbk_watches_stop(e->watches);
    rbk_reader_stop(e->reader);
    rbk_watches_end(e->watches);
    rbk_store_thread_close(e->store);
    rbk_couriers_stop(e->couriers);
    rbk_changes_end(e);
    if (stuck)
        rbk_event(RBK_LOG(e), RBK_WARN, "stop.methods_stuck", RBK_F("threads", stuck));
    e->stuck = stuck > 0;
    return idle && !stuck && !cut ? 0 : 1;
}

bool rbk_engine_free(rbk_engine *e)
{
    if (e == NULL)
        return true;
    if (!e->stopped && e->couriers) /* made, and perhaps half started */
        rbk_engine_stop(e, 0);
    rbk_watches_free(e->watches);
    rbk_discover_free(e->discover);
    e->discover = NULL;
    rbk_reader_free(e->reader);
    rbk_names_free(e->names);
    e->names = NULL;
    if (e->stuck)
        return false;
    rbk_store_thread_free(e->store);
    rbk_reaper_free(e->reaper);
    rbk_couriers_free(e->couriers);
    rbk_runs_close(e->runs);
    rbk_engine_unref(e);
    return true;
}

void rbk_engine_unref(rbk_engine *e)
{
    if (atomic_fetch_sub(&e->refs, 1) != 1)
        return;
    rbk_execute_free(e->execute);
    rbk_progress_free(e->progress);
    rbk_quotas_free(e->quotas);
    rbk_sign_keys_unref(e->keys);
    rbk_netpolicy_unref(e->policy);
    rbk_callers_unref(e->callers);
    pthread_mutex_destroy(&e->keys_lock);
    pthread_mutex_destroy(&e->changes_lock);
    free(e);
}

void rbk_engine_use_policy(rbk_engine *e, rbk_netpolicy *policy)
{
    pthread_mutex_lock(&e->keys_lock);
    rbk_netpolicy *old = e->policy;
    e->policy = policy;
    pthread_mutex_unlock(&e->keys_lock);
    rbk_netpolicy_unref(old);
}

rbk_netpolicy *rbk_engine_policy(rbk_engine *e)
{
    pthread_mutex_lock(&e->keys_lock);
    rbk_netpolicy *policy = rbk_netpolicy_ref(e->policy);
    pthread_mutex_unlock(&e->keys_lock);
    return policy;
}

void rbk_engine_stats(const rbk_engine *e, rbk_stats *ret)
{
    *ret = (rbk_stats){
        .accepted = atomic_load(&e->accepted),
        .delivered = atomic_load(&e->delivered),
        .dead = atomic_load(&e->dead),
        .attempts = atomic_load(&e->attempts),
        .late = atomic_load(&e->late),
        .sync_calls = atomic_load(&e->sync_calls),
        .pending = rbk_engine_pending(e),
        .in_memory = atomic_load(&e->in_memory),
    };
}

const char *rbk_engine_store_path(const rbk_engine *e)
{
    return rbk_store_path(e->store);
}

int rbk_engine_health(const rbk_engine *e)
{
    return atomic_load(&e->health);
}

int rbk_engine_job(rbk_engine *e, const char *id, rbk_job_fn fn, void *user)
{
    rbk_id parsed;
    int r = rbk_id_parse(rbk_str_z(id), &parsed);
    return r < 0 ? r : rbk_reader_job(e->reader, parsed, fn, user);
}
