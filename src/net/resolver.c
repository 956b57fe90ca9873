/* SPDX-License-Identifier: Apache-2.0 */
/* net/resolver.c - see resolver.h.
 *
 * An entry is a name: being looked up (with those who wait for it), or known, or known
 * to fail. A waiter has its own deadline; when it passes the lookup goes on, for the
 * cache. c-ares calls back from deep inside its own work, so what it says is only noted
 * there; users are called by answer(), where nothing of c-ares is on the stack, and may
 * look up further names or free the resolver.
 *
 * What c-ares says is read in resolver_answer.c. Addresses are not sorted by it: for that it
 * would connect sockets to them. Loop thread. */
#include "net/resolver.h"

#include <ares.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "base/ring.h"
#include "net/dns_reply.h"
#include "net/resolver_answer.h"
#include "net/resolver_channel.h"
#include "net/resolver_share.h"

enum {
    WAITERS_MAX = 1000,
    LOOKUPS_MAX = 1000,
    ENTRIES_MAX = 4096,
    NAME_MAX_N = 253,
    FAILED_S = 5,
};

typedef struct entry {
    rbk_resolver *r;
    rbk_link by_use; /* the last used at the end */
    rbk_str name;    /* the map's copy */
    rbk_link waiters;
    unsigned pins; /* waiters, also those that are ready */
    bool pending;
    rbk_share *share; /* of the lookup; NULL: nobody's */
    int err;
    rbk_mono_ms expires;
    rbk_addr *addrs;
    size_t n;
} entry;

typedef struct waiter {
    rbk_link link; /* in the entry's `waiters`, or in `ready` */
    rbk_link all;
    entry *e;
    rbk_share *share; /* NULL: nobody's */
    rbk_mono_ms deadline;
    int err; /* its own, not the entry's */
    rbk_resolved_fn fn;
    void *user;
} waiter;

typedef struct sock {
    uv_poll_t poll;
    rbk_link link;
    rbk_resolver *r;
    ares_socket_t fd;
} sock;

struct rbk_resolver {
    rbk_loop *loop;
    ares_channel channel;
    uv_timer_t timer;
    unsigned open; /* handles of libuv */
    bool freed, proves;
    rbk_map *entries, *shares;
    rbk_link by_use, socks;
    rbk_link all, ready;
    unsigned n_waiting, n_pending;
    rbk_mono_ms deadline; /* not later than the first of all waiters */
};

/* --- entries --- */

static void end_lookup(entry *e)
{
    e->pending = false;
    e->r->n_pending--;
    if (e->share)
        e->share->lookups--;
    rbk_share_drop(e->r->shares, e->share);
    e->share = NULL;
}

static void drop_entry(entry *e)
{
    rbk_link_remove(&e->by_use);
    rbk_map_remove(e->r->entries, e->name);
    free(e->addrs);
    free(e);
}

/* There is always one: fewer entries are pinned or pending than there may be. */
static void evict(rbk_resolver *r)
{
    for (rbk_link *l = r->by_use.next; l != &r->by_use; l = l->next) {
        entry *e = RBK_OF_LINK(l, entry, by_use);
        if (e->pins == 0 && !e->pending) {
            drop_entry(e);
            return;
        }
    }
}

static entry *get_entry(rbk_resolver *r, rbk_str name)
{
    entry *e = rbk_map_get(r->entries, name);
    if (e == NULL) {
        if (rbk_map_size(r->entries) >= ENTRIES_MAX)
            evict(r);
        e = calloc(1, sizeof *e);
        if (e == NULL || rbk_map_put(r->entries, name, e, &e->name) < 0) {
            free(e);
            return NULL;
        }
        e->r = r;
        rbk_link_init(&e->by_use);
        rbk_link_init(&e->waiters);
    }
    rbk_link_append(&r->by_use, &e->by_use);
    return e;
}

/* --- answers --- */

static void call_waiter(waiter *w, int err)
{
    entry *e = w->e;
    rbk_resolver *r = e->r;
    rbk_addr addrs[RBK_ADDRS_MAX];
    size_t n = err ? 0 : e->n;
    rbk_resolved_fn fn = w->fn;
    void *user = w->user;
    if (n > 0)
        memcpy(addrs, e->addrs, n * sizeof *addrs);
    rbk_link_remove(&w->link);
    rbk_link_remove(&w->all);
    if (w->share)
        w->share->waits--;
    rbk_share_drop(r->shares, w->share);
    free(w);
    e->pins--;
    r->n_waiting--;
    fn(user, err, addrs, n);
}

static void answer(rbk_resolver *r)
{
    while (!rbk_link_empty(&r->ready)) {
        waiter *w = RBK_OF_LINK(r->ready.next, waiter, link);
        call_waiter(w, w->err ? w->err : w->e->err);
    }
}

/* Whose answer is there gets it, however late: else its user would take the name for one whose
 * servers are silent, while the entry is good for long. */
static void expire(rbk_resolver *r)
{
    rbk_mono_ms now = rbk_loop_now(r->loop);
    if (now < r->deadline)
        return;
    r->deadline = INT64_MAX;
    for (rbk_link *l = r->all.next; l != &r->all; l = l->next) {
        waiter *w = RBK_OF_LINK(l, waiter, all);
        if (!w->e->pending)
            continue;
        if (w->deadline <= now) {
            w->err = RBK_E_TIMEOUT;
            rbk_link_append(&r->ready, &w->link);
        } else if (w->deadline < r->deadline) {
            r->deadline = w->deadline;
        }
    }
}

static int keep_answer(entry *e, const struct ares_addrinfo *ai)
{
    rbk_addr addrs[RBK_ADDRS_MAX];
    size_t n = ai ? rbk_answer_addrs(ai, addrs) : 0;
    if (n == 0)
        return RBK_E_RESOLVE;
    e->addrs = malloc(n * sizeof *addrs);
    if (e->addrs == NULL)
        return RBK_E_NOMEM;
    memcpy(e->addrs, addrs, n * sizeof *addrs);
    e->n = n;
    return 0;
}

static void end_with(entry *e, int err, int ttl)
{
    rbk_resolver *r = e->r;
    end_lookup(e);
    e->err = err;
    e->expires = rbk_loop_now(r->loop) + ttl * INT64_C(1000);
    while (!rbk_link_empty(&e->waiters))
        rbk_link_append(&r->ready, e->waiters.next);
}

/* From within c-ares. */
static void on_proof(void *arg, int status, int timeouts, unsigned char *p, int n)
{
    int err = rbk_answer_error(status);
    (void)timeouts;
    bool proven = err == RBK_E_RESOLVE && rbk_dns_has_soa(p, n > 0 ? (size_t)n : 0);
    if (status == ARES_SUCCESS || (err == RBK_E_RESOLVE && !proven))
        err = RBK_E_CONNECT;
    end_with(arg, err, err == RBK_E_NOMEM ? 0 : FAILED_S);
}

/* From within c-ares. */
static void on_result(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
    entry *e = arg;
    (void)timeouts;
    int err = rbk_answer_error(status);
    if (err == 0)
        err = keep_answer(e, ai);
    int ttl = err == 0 ? rbk_answer_ttl(ai) : err == RBK_E_NOMEM ? 0 : FAILED_S;
    if (ai)
        ares_freeaddrinfo(ai);
    if (e->r->proves && (status == ARES_ENOTFOUND || status == ARES_ENODATA))
        ares_query(e->r->channel, e->name.p, 1, 1, on_proof, e); /* class IN, type A */
    else
        end_with(e, err, ttl);
}

/* --- sockets and time --- */

static void on_timer(uv_timer_t *h);

static void arm(rbk_resolver *r)
{
    struct timeval tv;
    int64_t ms = INT64_MAX;
    if (r->freed)
        return;
    if (r->n_pending > 0 && ares_timeout(r->channel, NULL, &tv))
        ms = (int64_t)tv.tv_sec * 1000 + tv.tv_usec / 1000 + 1;
    if (r->deadline != INT64_MAX) {
        int64_t left = r->deadline - rbk_loop_now(r->loop);
        ms = left < ms ? left : ms;
    }
    if (ms == INT64_MAX)
        uv_timer_stop(&r->timer);
    else
        uv_timer_start(&r->timer, on_timer, ms > 0 ? (uint64_t)ms : 0, 0);
}

/* At the end of whatever was done with c-ares. `r` may be freed by a user, but its
 * memory stays until the close callbacks of libuv. */
static void settle(rbk_resolver *r)
{
    expire(r);
    answer(r);
    arm(r);
}

static void on_timer(uv_timer_t *h)
{
    rbk_resolver *r = h->data;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    settle(r);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    sock *k = h->data;
    rbk_resolver *r = k->r;
    bool in = status < 0 || (events & UV_READABLE), out = status < 0 || (events & UV_WRITABLE);
    ares_process_fd(r->channel, in ? k->fd : ARES_SOCKET_BAD, out ? k->fd : ARES_SOCKET_BAD);
    settle(r);
}

static void close_handle(rbk_resolver *r)
{
    if (--r->open > 0)
        return;
    rbk_map_free(r->entries);
    rbk_map_free(r->shares);
    free(r);
}

static void on_sock_closed(uv_handle_t *h)
{
    sock *k = h->data;
    close_handle(k->r);
    free(k);
}

static void on_timer_closed(uv_handle_t *h)
{
    close_handle(h->data);
}

static sock *find_sock(rbk_resolver *r, ares_socket_t fd)
{
    for (rbk_link *l = r->socks.next; l != &r->socks; l = l->next) {
        sock *k = RBK_OF_LINK(l, sock, link);
        if (k->fd == fd)
            return k;
    }
    return NULL;
}

/* Without memory nobody listens to the socket, and its queries time out. */
static sock *add_sock(rbk_resolver *r, ares_socket_t fd)
{
    sock *k = calloc(1, sizeof *k);
    if (k == NULL || uv_poll_init_socket(rbk_loop_uv(r->loop), &k->poll, fd) < 0) {
        free(k);
        return NULL;
    }
    k->poll.data = k;
    k->r = r;
    k->fd = fd;
    rbk_link_init(&k->link);
    rbk_link_append(&r->socks, &k->link);
    r->open++;
    return k;
}

/* From within c-ares, which closes the socket right after it wants nothing more of it. */
static void on_sock_state(void *arg, ares_socket_t fd, int in, int out)
{
    rbk_resolver *r = arg;
    sock *k = find_sock(r, fd);
    if (in || out) {
        if (k == NULL)
            k = add_sock(r, fd);
        if (k)
            uv_poll_start(&k->poll, (in ? UV_READABLE : 0) | (out ? UV_WRITABLE : 0), on_poll);
    } else if (k) {
        rbk_link_remove(&k->link);
        uv_close((uv_handle_t *)&k->poll, on_sock_closed);
    }
}

/* --- lookups --- */

static atomic_uint_fast64_t lookups_begun; /* of all resolvers */

uint64_t rbk_resolver_lookups(void)
{
    return atomic_load_explicit(&lookups_begun, memory_order_relaxed);
}

static void start_lookup(entry *e, rbk_share *s)
{
    static const struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    free(e->addrs);
    e->addrs = NULL;
    e->n = 0;
    e->pending = true;
    e->r->n_pending++;
    e->share = s;
    if (s)
        s->lookups++;
    atomic_fetch_add_explicit(&lookups_begun, 1, memory_order_relaxed);
    ares_getaddrinfo(e->r->channel, e->name.p, NULL, &hints, on_result, e);
}

/* May it wait, and begin a lookup where there is none? */
static bool has_place(const rbk_resolver *r, const rbk_share *s, bool begin)
{
    if (r->n_waiting >= WAITERS_MAX || (begin && r->n_pending >= LOOKUPS_MAX))
        return false;
    if (s == NULL)
        return true;
    return !rbk_share_is_full(s->waits, r->n_waiting, WAITERS_MAX) &&
           !(begin && rbk_share_is_full(s->lookups, r->n_pending, LOOKUPS_MAX));
}

/* 0, or RBK_E_NOMEM: then nobody waits. */
static int add_waiter(rbk_resolver *r, const rbk_lookup *l, rbk_share *s)
{
    waiter *w = calloc(1, sizeof *w);
    entry *e = w ? get_entry(r, l->name) : NULL;
    if (e == NULL) {
        free(w);
        return RBK_E_NOMEM;
    }
    rbk_link_init(&w->link);
    rbk_link_init(&w->all);
    w->e = e;
    w->share = s;
    w->deadline = rbk_loop_now(r->loop) + (l->timeout_ms > 0 ? l->timeout_ms : 0);
    w->fn = l->fn;
    w->user = l->user;
    e->pins++;
    r->n_waiting++;
    if (s)
        s->waits++;
    rbk_link_append(&r->all, &w->all);
    rbk_link_append(&e->waiters, &w->link);
    if (w->deadline < r->deadline)
        r->deadline = w->deadline;
    if (!e->pending)
        start_lookup(e, s);
    return 0;
}

static int wait_for(rbk_resolver *r, const rbk_lookup *l)
{
    const entry *e = rbk_map_get(r->entries, l->name);
    rbk_share *s = l->share.n ? rbk_share_get(r->shares, l->share) : NULL;
    if (l->share.n && s == NULL)
        return RBK_E_NOMEM;
    int err = has_place(r, s, e == NULL || !e->pending) ? add_waiter(r, l, s) : RBK_E_BUSY;
    if (err < 0)
        rbk_share_drop(r->shares, s);
    return err;
}

/* Lower case, without the dot at the end. False: no name at all. */
static bool read_name(rbk_str name, char out[NAME_MAX_N + 1], rbk_str *ret)
{
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 || name.n > NAME_MAX_N || memchr(name.p, 0, name.n))
        return false;
    for (size_t i = 0; i < name.n; i++)
        out[i] = rbk_lower(name.p[i]);
    out[name.n] = 0;
    *ret = (rbk_str){out, name.n};
    return true;
}

static void answer_known(entry *e, rbk_resolved_fn fn, void *user)
{
    rbk_addr addrs[RBK_ADDRS_MAX];
    size_t n = e->n;
    if (n > 0)
        memcpy(addrs, e->addrs, n * sizeof *addrs);
    rbk_link_append(&e->r->by_use, &e->by_use);
    fn(user, e->err, addrs, n);
}

void rbk_resolve_shared(rbk_resolver *r, const rbk_lookup *asked)
{
    char text[NAME_MAX_N + 1];
    rbk_lookup l = *asked;
    if (r->freed) {
        l.fn(l.user, RBK_E_CLOSED, NULL, 0);
        return;
    }
    if (!read_name(asked->name, text, &l.name)) {
        l.fn(l.user, RBK_E_RESOLVE, NULL, 0);
        return;
    }
    entry *e = rbk_map_get(r->entries, l.name);
    if (e && !e->pending && rbk_loop_now(r->loop) < e->expires) {
        answer_known(e, l.fn, l.user);
        return;
    }
    int err = wait_for(r, &l);
    if (err < 0)
        l.fn(l.user, err, NULL, 0);
    else
        settle(r); /* the hosts file answers at once */
}

void rbk_resolve(rbk_resolver *r, rbk_str name, int64_t timeout_ms, rbk_resolved_fn fn, void *user)
{
    rbk_resolve_shared(
        r, &(rbk_lookup){.name = name, .timeout_ms = timeout_ms, .fn = fn, .user = user});
}

int64_t rbk_resolver_keeps(const rbk_resolver *r, rbk_str name)
{
    char text[NAME_MAX_N + 1];
    const entry *e = read_name(name, text, &name) ? rbk_map_get(r->entries, name) : NULL;
    rbk_mono_ms now = rbk_loop_now(r->loop);
    return e && !e->pending && now < e->expires ? e->expires - now : 0;
}

/* --- making and freeing --- */

int rbk_resolver_new(rbk_loop *l, rbk_resolver **ret, rbk_error *err)
{
    rbk_resolver *r = calloc(1, sizeof *r);
    if (r == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "resolver");
    r->loop = l;
    r->deadline = INT64_MAX;
    rbk_link_init(&r->by_use);
    rbk_link_init(&r->socks);
    rbk_link_init(&r->all);
    rbk_link_init(&r->ready);
    r->entries = rbk_map_new();
    r->shares = rbk_map_new();
    rbk_channel_conf channel_conf = {.on_sock = on_sock_state, .user = r};
    int status = ARES_ENOMEM;
    if (r->entries && r->shares)
        status = rbk_channel_open(&r->channel, &channel_conf);
    if (status != ARES_SUCCESS) {
        rbk_map_free(r->entries);
        rbk_map_free(r->shares);
        free(r);
        return rbk_fail(err, status == ARES_ENOMEM ? RBK_E_NOMEM : RBK_E_SYS, "resolver: %s",
                        ares_strerror(status));
    }
    uv_timer_init(rbk_loop_uv(l), &r->timer);
    r->timer.data = r;
    r->open = 1;
    *ret = r;
    return 0;
}

void rbk_resolver_want_proof(rbk_resolver *r)
{
    r->proves = true;
}

/* A channel of its own: how long a try may take depends on how many servers there are. */
int rbk_resolver_set_servers(rbk_resolver *r, const char *servers)
{
    rbk_channel_conf conf = {.on_sock = on_sock_state, .user = r, .servers = servers};
    ares_channel fresh;
    if (rbk_channel_open(&fresh, &conf) != ARES_SUCCESS)
        return RBK_E_CONFIG;
    ares_destroy(r->channel);
    r->channel = fresh;
    return 0;
}

void rbk_resolver_free(rbk_resolver *r)
{
    if (r == NULL || r->freed)
        return;
    r->freed = true;
    ares_destroy(r->channel); /* ends the lookups and their sockets */
    while (!rbk_link_empty(&r->all))
        call_waiter(RBK_OF_LINK(r->all.next, waiter, all), RBK_E_CLOSED);
    while (!rbk_link_empty(&r->by_use))
        drop_entry(RBK_OF_LINK(r->by_use.next, entry, by_use));
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}
