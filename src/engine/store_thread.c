/* SPDX-License-Identifier: Apache-2.0 */
/* engine/store_thread.c - see store_thread.h.
 *
 * A turn: take the inbox, prepare each ticket, apply all as one transaction, settle each
 * ticket; then page in what has room; then let the store tidy up. Commits are of whatever
 * is there: no timer waits for more.
 *
 * When the disk is full, new jobs are refused and progress is held until there is room.
 * When the disk fails, the store is closed, opened and checked again; if that does not
 * help, the engine is ill and accepts nothing more. Nothing is acknowledged meanwhile. */
#include "engine/store_thread_impl.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "engine/courier.h"
#include "engine/holds.h"
#include "engine/keys.h"
#include "engine/links.h"
#include "engine/session_fetch.h"
#include "seam/stores.h"

#include <stdlib.h>
#include <time.h>

enum {
    ORDERS_MAX = 64,        /* of operators, in the inbox */
    ADMIT_MAX = 16384,      /* new jobs in the inbox */
    HOLD_MS = 250,          /* between tries when the disk is full, or a claim failed */
    CHANGES_ALONE = 500,    /* of operators, in one commit */
    CHANGES_BESIDE = 100,   /* the same when others wait for it */
    FULL_MS = 1000,         /* no new jobs so long after a write found no room */
    LOOK_MS = 100,          /* between looks at the free space */
    UNKNOWN_TRIES = 10,
    UNKNOWN_WAIT_MS = 100,
    OWED_MS = 1000,         /* at the stop, for news of answers that are being written */
    OWED_LOOK_MS = 5,
};
#define COMMIT_BYTES ((size_t)4 << 20)
#define ADMIT_BYTES ((size_t)32 << 20)

static void warn_line(void *user, const char *line)
{
    rbk_event(RBK_LOG(((rbk_store_thread *)user)->e), RBK_WARN, "store.warning", RBK_FZ("text", line));
}

static void on_released(void *user, rbk_str lane)
{
    rbk_keys_released(((rbk_store_thread *)user)->flow, lane);
}

static int open_store(rbk_store_thread *s, rbk_error *err)
{
    rbk_store_conf conf = {
        .dsn = s->e->conf.store_dsn, .warn = warn_line, .released = on_released,
        .counted = rbk_store_counted, .user = s};
    return s->ops->open(&conf, &s->st, err);
}

int rbk_store_thread_new(rbk_engine *e, rbk_store_thread **ret, rbk_error *err)
{
    rbk_store_thread *s = calloc(1, sizeof *s);
    if (s == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "store thread");
    s->e = e;
    s->keeps = e->conf.keep.done_ms > 0 && e->conf.keep.done_bytes > 0;
    s->ops = rbk_stores_find(rbk_str_z(e->conf.store_dsn));
    int r = 0;
    if (s->ops == NULL)
        r = rbk_fail(err, RBK_E_CONFIG, "store.dsn: no store is built in for %s",
                     e->conf.store_dsn);
    if (r == 0)
        r = rbk_flow_new(e, &s->flow, err);
    if (r == 0)
        r = open_store(s, err);
    if (r < 0) {
        rbk_flow_free(s->flow);
        free(s);
        return r;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&s->lock, NULL);
    pthread_rwlock_init(&s->handle, NULL);
    *ret = s;
    return 0;
}

const char *rbk_store_path(const rbk_store_thread *s)
{
    return s->ops->path ? s->ops->path(s->st) : NULL;
}

void rbk_store_read(rbk_store_thread *s,
                    void (*fn)(const rbk_store_ops *ops, rbk_store *st, void *arg), void *arg)
{
    pthread_rwlock_rdlock(&s->handle);
    fn(s->ops, s->st, arg);
    pthread_rwlock_unlock(&s->handle);
}

/* --- The inbox ------------------------------------------------------------------------ */

bool rbk_store_admit(rbk_store_thread *s, rbk_list *tickets, size_t bytes)
{
    pthread_mutex_lock(&s->lock);
    bool ok = !s->stopping &&
              (s->admissions.head == NULL || (s->admissions.n + tickets->n <= ADMIT_MAX &&
                                              s->admit_bytes + bytes <= ADMIT_BYTES));
    if (ok) {
        rbk_list_join(&s->admissions, tickets);
        s->admit_bytes += bytes;
        if (s->asleep)
            pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

void rbk_store_push_list(rbk_store_thread *s, rbk_list *tickets)
{
    pthread_mutex_lock(&s->lock);
    rbk_list_join(&s->progress, tickets);
    if (s->asleep)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

void rbk_store_push(rbk_store_thread *s, rbk_ticket *t)
{
    rbk_list one = {0};
    rbk_list_push(&one, &t->node);
    rbk_store_push_list(s, &one);
}

void rbk_store_push_change(rbk_store_thread *s, rbk_ticket *t)
{
    pthread_mutex_lock(&s->lock);
    rbk_list_push(&s->changes, &t->node);
    if (s->asleep)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}

int rbk_store_order_push(rbk_store_thread *s, rbk_store_order *o)
{
    pthread_mutex_lock(&s->lock);
    bool ok = !s->stopping && s->orders.n < ORDERS_MAX;
    if (ok)
        rbk_list_push(&s->orders, &o->node);
    if (ok && s->asleep)
        pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    return ok ? 0 : RBK_E_BUSY;
}

static void run_orders(rbk_store_thread *s, rbk_list *orders)
{
    rbk_store *st = atomic_load(&s->e->health) ? NULL : s->st;
    for (rbk_node *n; (n = rbk_list_pop(orders));) {
        rbk_store_order *o = (rbk_store_order *)(void *)n;
        o->run(o, s->ops, st);
    }
}

/* With the lock held: until there is work, or `until` (monotonic). */
static void sleep_for_work(rbk_store_thread *s, rbk_mono_ms until)
{
    struct timespec t;
    rbk_mono_ms left = until - rbk_mono_now();
    if (left <= 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += left / 1000;
    t.tv_nsec += left % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000)
        t.tv_sec++, t.tv_nsec -= 1000000000;
    s->asleep = true;
    pthread_cond_timedwait(&s->wake, &s->lock, &t);
    s->asleep = false;
}

/* To `quarters` of what one commit may hold, at least one. */
static void move_some(rbk_list *from, rbk_list *to, size_t *bytes, size_t quarters)
{
    bool more = false; /* a group goes as one, whatever its size */
    while (from->head && (more || (to->n < RBK_COMMIT_OPS / 4 * quarters &&
                                   (*bytes < COMMIT_BYTES / 4 * quarters || to->n == 0)))) {
        rbk_ticket *t = (rbk_ticket *)(void *)rbk_list_pop(from);
        *bytes += rbk_job_bytes(t->job);
        more = t->op == RBK_OP_PUT && t->more;
        rbk_list_push(to, &t->node);
    }
}

/* Few at a time while others wait for the commit. */
static void move_changes(rbk_store_thread *s, rbk_list *work, size_t *bytes)
{
    size_t max = s->admissions.head || s->progress.head ? CHANGES_BESIDE : CHANGES_ALONE;
    while (s->changes.head && work->n < max) {
        rbk_ticket *t = (rbk_ticket *)(void *)rbk_list_pop(&s->changes);
        *bytes += rbk_job_bytes(t->job);
        rbk_list_push(work, &t->node);
    }
}

/* How long the thread may sleep when its inbox is empty. */
static rbk_mono_ms sleep_end(const rbk_store_thread *s, rbk_mono_ms now)
{
    rbk_mono_ms end = s->next_look > now ? s->next_look : now + LOOK_MS;
    if (s->held.head && s->hold_until < end)
        end = s->hold_until;
    if (s->next_sweep < end)
        end = s->next_sweep;
    if (atomic_load(&s->e->health) || s->st == NULL)
        return end;
    int64_t wait = rbk_flow_wait_ms(s->flow);
    rbk_mono_ms page_in = wait < end - now ? now + wait : end;
    if (page_in < s->page_in_after)
        page_in = s->page_in_after;
    end = page_in < end ? page_in : end;
    return rbk_aging_busy(rbk_flow_aging(s->flow)) && s->next_expire < end ? s->next_expire : end;
}

/* With the lock held. */
static bool has_work(const rbk_store_thread *s, bool holding)
{
    return s->admissions.head || s->changes.head || s->pulls.head || s->orders.head ||
           s->fetches.head ||
           (s->progress.head && !holding);
}

/* What the next commit holds: progress first, but never all of it while new jobs wait.
 * With a full disk only what was held, when its time has come, and the new jobs, to be
 * refused. False when the thread may end. */
static bool take_work(rbk_store_thread *s, rbk_list *work)
{
    size_t bytes = 0;
    rbk_list behind = {0}, pulls = {0}, orders = {0};
    rbk_mono_ms now = rbk_mono_now(), until = sleep_end(s, now);
    bool holding = s->held.head != NULL && now < s->hold_until;
    pthread_mutex_lock(&s->lock);
    bool owed = s->stopping && atomic_load(&s->e->answered_jobs) && now < s->owed_until;
    if (!has_work(s, holding) && (owed || !s->stopping))
        sleep_for_work(s, owed ? now + OWED_LOOK_MS : until);
    move_changes(s, work, &bytes);
    if (!holding || s->stopping) {
        size_t quarters = s->admissions.head ? 3 : 4;
        move_some(&s->held, work, &bytes, quarters);
        move_some(&s->progress, work, &bytes, quarters);
    }
    size_t before = bytes;
    move_some(&s->admissions, work, &bytes, 4);
    s->admit_bytes = s->admissions.head ? s->admit_bytes - (bytes - before) : 0;
    bool more = !s->stopping || work->head || owed;
    rbk_list_join(&behind, &s->behind);
    rbk_list_join(&pulls, &s->pulls);
    rbk_list_join(&orders, &s->orders);
    rbk_flow_fetch(s->flow, &s->fetches);
    pthread_mutex_unlock(&s->lock);
    rbk_store_take_names(s, &behind, &pulls);
    run_orders(s, &orders);
    return more;
}

/* --- A commit ---------------------------------------------------------------------------- */

static void set_full(rbk_store_thread *s, bool full)
{
    if (atomic_exchange(&s->e->full, full) != full)
        rbk_event(RBK_LOG(s->e), full ? RBK_ERROR : RBK_INFO,
                  full ? "store.full" : "store.has_room", RBK_F("min_free", s->e->conf.min_free));
}

static void get_ill(rbk_store_thread *s, const rbk_error *err)
{
    if (atomic_exchange(&s->e->health, RBK_E_IO) == 0)
        rbk_event(RBK_LOG(s->e), RBK_ERROR, "store.failed", RBK_FZ("detail", err->detail));
}

/* A group is whole: its jobs have their seqs. */
static void end_group(const rbk_store_thread *s, size_t n, size_t *group)
{
    const rbk_ticket *t = s->ticket[n];
    if (t->op != RBK_OP_PUT)
        return;
    if (t->more) {
        ++*group;
        return;
    }
    if (*group || t->job->chain.n)
        rbk_links_resolve(&s->ticket[n - *group], *group + 1);
    *group = 0;
}

static size_t fill_ops(rbk_store_thread *s, rbk_list *work)
{
    size_t n = 0, group = 0;
    rbk_wall_ms now = rbk_engine_now(s->e);
    bool keep = s->keeps && !atomic_load(&s->e->full); /* without room jobs that end make some */
    for (rbk_node *node; (node = rbk_list_pop(work)); n++) {
        rbk_ticket *t = (rbk_ticket *)(void *)node;
        rbk_flow_prepare(s->flow, t, now);
        /* By its time a redrive is told from the one before it. */
        bool same = t->op == RBK_OP_REDRIVE && t->job->first_attempt >= now;
        s->ticket[n] = t;
        s->op[n] = (rbk_store_op){.kind = t->op,
                                  .from = t->from,
                                  .shelf = t->shelf,
                                  .keep = keep,
                                  .divert = t->divert,
                                  .waiting = t->waiting,
                                  .now = same ? t->job->first_attempt + 1 : now,
                                  .job = t->job};
        if (t->note)
            s->op[n].note = *t->note;
        if (t->op == RBK_OP_PUT && t->key)
            s->op[n].key = rbk_str_z(t->key);
        if (t->op == RBK_OP_PUT && t->idem) {
            t->idem->until = now + s->e->conf.dedup_ms;
            s->op[n].idem = t->idem;
        }
        end_group(s, n, &group);
    }
    return n;
}

/* Nothing on the old handle may be trusted: open the store anew, which checks it. */
static int reopen(rbk_store_thread *s, rbk_error *err)
{
    rbk_event(RBK_LOG(s->e), RBK_ERROR, "store.reopening", RBK_FZ("detail", err->detail));
    pthread_rwlock_wrlock(&s->handle);
    s->ops->close(s->st);
    s->st = NULL;
    int r = open_store(s, err);
    pthread_rwlock_unlock(&s->handle);
    return r;
}

void rbk_store_distrust(rbk_store_thread *s, rbk_error *err)
{
    if (reopen(s, err) < 0)
        get_ill(s, err);
}

static void wait_to_repeat(rbk_store_thread *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s->op[i].again = true;
    nanosleep(&(struct timespec){.tv_nsec = UNKNOWN_WAIT_MS * 1000000L}, NULL);
}

int rbk_store_apply(rbk_store_thread *s, size_t n, rbk_error *err)
{
    int r = RBK_E_UNKNOWN;
    bool reopened = false;
    for (int i = 0; r == RBK_E_UNKNOWN && i < UNKNOWN_TRIES; i++) {
        if (i > 0)
            wait_to_repeat(s, n);
        r = s->st ? s->ops->apply(s->st, s->op, n, err) : RBK_E_IO;
        if (r == RBK_E_IO && !reopened && s->st) {
            reopened = true;
            /* What was in doubt is applied again: operations are idempotent. */
            r = reopen(s, err) == 0 ? RBK_E_UNKNOWN : RBK_E_IO;
        }
    }
    if (r == 0)
        rbk_store_count(s, n);
    return r == RBK_E_UNKNOWN ? RBK_E_IO : r;
}

/* What needs room and nobody has a right to. */
static bool is_refused(const rbk_ticket *t)
{
    bool ends = t->op == RBK_OP_DONE || t->op == RBK_OP_PURGE;
    return t->op == RBK_OP_PUT || (t->waiting && !ends);
}

/* New jobs are refused; what is left in the arrays is progress. Returns how many. */
static size_t refuse_new(rbk_store_thread *s, size_t n)
{
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_refused(s->ticket[i])) {
            rbk_flow_fail(s->flow, s->ticket[i]);
        } else {
            s->ticket[left] = s->ticket[i];
            s->op[left++] = s->op[i];
        }
    }
    return left;
}

static void hold(rbk_store_thread *s, size_t n)
{
    rbk_list l = {0};
    for (size_t i = 0; i < n; i++) {
        if (s->ticket[i]->waiting)
            rbk_flow_fail(s->flow, s->ticket[i]); /* its operator may ask again */
        else
            rbk_list_push(&l, &s->ticket[i]->node);
    }
    rbk_list_join(&l, &s->held);
    s->held = l;
    s->hold_until = rbk_mono_now() + HOLD_MS;
}

static void settle_all(rbk_store_thread *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        rbk_flow_settle(s->flow, s->ticket[i], s->op[i].outcome);
    rbk_flow_settled(s->flow);
    rbk_couriers_flush(s->e->couriers);
}

/* Jobs that end make room: they go first, and alone if need be. What is left in the arrays
 * is the rest. Returns how many. */
static size_t end_some(rbk_store_thread *s, size_t n, rbk_error *err)
{
    size_t ends = 0;
    for (size_t i = 0; i < n; i++) {
        rbk_ticket *t = s->ticket[i];
        rbk_store_op op = s->op[i];
        if (op.kind != RBK_OP_DONE && op.kind != RBK_OP_PURGE)
            continue;
        op.keep = false;
        s->ticket[i] = s->ticket[ends];
        s->op[i] = s->op[ends];
        s->ticket[ends] = t;
        s->op[ends++] = op;
    }
    if (ends == 0 || ends == n || rbk_store_apply(s, ends, err) < 0)
        return n;
    settle_all(s, ends);
    memmove(s->ticket, s->ticket + ends, (n - ends) * sizeof *s->ticket);
    memmove(s->op, s->op + ends, (n - ends) * sizeof *s->op);
    return n - ends;
}

static void commit(rbk_store_thread *s, rbk_list *work)
{
    rbk_error err = {0};
    size_t n = fill_ops(s, work);
    if (atomic_load(&s->e->full) || atomic_load(&s->e->health))
        n = refuse_new(s, n);
    if (n == 0)
        return;
    int r = atomic_load(&s->e->health) ? RBK_E_IO : rbk_store_apply(s, n, &err);
    if (r == RBK_E_DISK_FULL || r == RBK_E_NOMEM || r == RBK_E_BUSY) {
        if (r == RBK_E_DISK_FULL) {
            s->full_until = rbk_mono_now() + FULL_MS;
            set_full(s, true);
        }
        size_t left = refuse_new(s, n);
        r = left && left < n ? rbk_store_apply(s, left, &err) : r;
        n = left;
        if (r == RBK_E_DISK_FULL)
            n = end_some(s, n, &err);
    }
    if (r == 0) {
        settle_all(s, n);
        return;
    }
    if (r == RBK_E_IO)
        get_ill(s, &err);
    else if (!s->stopping) {
        hold(s, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        rbk_flow_fail(s->flow, s->ticket[i]);
}

/* --- The thread ----------------------------------------------------------------------------- */

static void look_at_space(rbk_store_thread *s, rbk_mono_ms now)
{
    int64_t space = INT64_MAX;
    rbk_error err = {0};
    if (now < s->next_look)
        return;
    s->next_look = now + LOOK_MS;
    if (now >= s->full_until && s->st && s->ops->free_bytes(s->st, &space, &err) == 0)
        set_full(s, space < s->e->conf.min_free);
}

static void page_in(rbk_store_thread *s)
{
    rbk_error err = {0};
    if (atomic_load(&s->e->health) || s->st == NULL || atomic_load(&s->e->refusing) ||
        rbk_mono_now() < s->page_in_after)
        return;
    int r = rbk_flow_turn(s->flow, s->ops, s->st, &err);
    rbk_couriers_flush(s->e->couriers);
    rbk_flow_fetched(s->flow);
    if (r == 0)
        return;
    s->page_in_after = rbk_mono_now() + HOLD_MS;
    rbk_event(RBK_LOG(s->e), RBK_WARN, "store.claim_failed", RBK_FZ("detail", err.detail));
    if (r == RBK_E_IO)
        rbk_store_distrust(s, &err);
}

static void *run_store(void *arg)
{
    rbk_store_thread *s = arg;
    pthread_setname_np(pthread_self(), "rbk-store");
    for (;;) {
        rbk_list work = {0};
        if (!take_work(s, &work))
            break;
        rbk_mono_ms now = rbk_mono_now();
        look_at_space(s, now);
        bool others = work.head != NULL;
        commit(s, &work);
        rbk_flow_answer(s->flow, atomic_load(&s->e->refusing));
        page_in(s);
        rbk_store_sweep(s, now);
        rbk_store_expire(s, now, others);
        rbk_store_look(s, now);
        if (s->st && s->ops->idle && atomic_load(&s->e->health) == 0)
            s->ops->idle(s->st);
    }
    rbk_flow_answer(s->flow, true);
    return NULL;
}

/* --- Start and stop --------------------------------------------------------------------- */

int rbk_store_thread_start(rbk_store_thread *s, rbk_error *err)
{
    rbk_store_stats stats;
    int r = s->ops->stats(s->st, &stats, err);
    if (r < 0)
        return r;
    rbk_store_publish(s, &stats);
    rbk_store_count(s, 0);
    s->e->clock =
        rbk_sched_begin(rbk_wall_now(), rbk_mono_now(), rbk_id_ms((uint64_t)stats.max_seq));
    rbk_flow_begin(s->flow, stats.max_seq);
    if ((r = rbk_holds_recover(s->e, s->ops, s->st, err)) < 0 ||
        (r = rbk_store_recover(s, err)) < 0)
        return r;
    if (pthread_create(&s->thread, NULL, run_store, s) != 0)
        return rbk_fail(err, RBK_E_SYS, "cannot start the store thread");
    s->started = true;
    return 0;
}

void rbk_store_thread_stop(rbk_store_thread *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    s->owed_until = rbk_mono_now() + OWED_MS;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->thread, NULL);
    s->started = false;
    rbk_flow_end(s->flow);
}

static void free_tickets(rbk_list *l)
{
    for (rbk_node *n; (n = rbk_list_pop(l));)
        rbk_ticket_free((rbk_ticket *)(void *)n);
}

void rbk_store_thread_close(rbk_store_thread *s)
{
    rbk_store_thread_stop(s);
    pthread_rwlock_wrlock(&s->handle);
    s->ops->close(s->st);
    s->st = NULL;
    pthread_rwlock_unlock(&s->handle);
}

void rbk_store_thread_free(rbk_store_thread *s)
{
    if (s == NULL)
        return;
    rbk_store_thread_close(s);
    free_tickets(&s->held);
    free_tickets(&s->progress);
    free_tickets(&s->admissions);
    free_tickets(&s->changes);
    rbk_store_free_names(&s->behind);
    rbk_store_free_names(&s->pulls);
    rbk_store_free_names(&s->fetches);
    rbk_flow_free(s->flow);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_rwlock_destroy(&s->handle);
    free(s);
}
