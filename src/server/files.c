/* SPDX-License-Identifier: Apache-2.0 */
/* server/files.c - see files.h.
 *
 * Whoever needs a descriptor and gets none fails: a store that cannot open its journal, an
 * attempt that then counts against the receiver. Clients alone lose nothing by waiting. So
 * the limit is looked at once, before anything is made, and everybody is bounded to a part of it: a
 * fixed reserve for what the server itself holds, a quarter of the rest for upstreams, and of what is
 * left half for deliveries and half for clients, unless one side needs less.
 *
 * An attempt is counted as three: the connection in use, a second one when addresses of a
 * receiver race, and one that is kept or being closed. More of them race at one time only where
 * there is more than that for every attempt. Of the clients' part a quarter is for
 * those over the limit, who are told so. Any thread. */
#include "server/files.h"

#include "base/error.h"
#include "net/connect.h"

#include <dirent.h>
#include <string.h>
#include <sys/resource.h>

enum { OPEN_UNKNOWN = 16 };

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t count_addresses(const char *list)
{
    int64_t n = list[0] != 0;
    for (const char *p = list; (p = strchr(p, ',')) != NULL; p++)
        n++;
    return n;
}

/* Connections to upstreams: all that are wanted, and the few that each has at least. */
static int64_t count_calls(const rbk_options *o, bool least_of)
{
    int64_t n = 0;
    for (size_t i = 0; i < o->n_rules; i++) {
        int64_t wanted = o->rules[i].upstream ? o->rules[i].upstream_connections : 0;
        n += least_of ? least(wanted, RBK_FILES_LEAST) : wanted;
    }
    return n;
}

/* What everybody else needs, operators not counted. */
static int64_t reserve_of(const rbk_options *o, size_t threads, size_t couriers)
{
    int64_t loops = (int64_t)(threads + couriers) + 2; /* the store's and the operators' */
    int64_t pipes = 0;
    for (size_t i = 0; i < o->n_rules; i++) {
        loops += o->rules[i].upstream || o->rules[i].worker;
        pipes += o->rules[i].worker ? RBK_FILES_WORKER * o->rules[i].workers : 0;
    }
    return RBK_FILES_OTHER + RBK_FILES_LOOP * loops + pipes +
           (int64_t)threads * count_addresses(o->listen) + count_addresses(o->admin_listen);
}

static void use_all(const rbk_options *o, unsigned shed, rbk_files *ret)
{
    *ret = (rbk_files){
        .limit = ret->limit,
        .wanted = ret->wanted,
        .connections = (unsigned)o->max_connections,
        .shed = shed,
        .in_flight = (size_t)o->in_flight,
    };
}

int rbk_files_share(int64_t limit, int64_t open, const rbk_options *o, size_t threads,
                    size_t couriers, rbk_files *ret, rbk_error *err)
{
    int64_t shed = RBK_FILES_SHED * (int64_t)threads;
    int64_t clients = o->max_connections + shed, deliveries = RBK_FILES_ATTEMPT * o->in_flight;
    int64_t reserve = open + reserve_of(o, threads, couriers);
    int64_t floor = RBK_FILES_ATTEMPT * most(RBK_FILES_LEAST, (int64_t)couriers);
    int64_t left = limit - reserve - RBK_FILES_ADMIN;
    ret->limit = limit;
    int64_t calls = count_calls(o, false), calls_least = count_calls(o, true);
    int64_t spare = left - floor - RBK_FILES_LEAST;
    ret->wanted = reserve + RBK_FILES_ADMIN_FULL + clients + deliveries + calls;
    use_all(o, (unsigned)shed, ret);
    ret->few = limit < ret->wanted;
    if (spare < calls_least)
        return rbk_fail(err, RBK_E_SYS,
                        "RLIMIT_NOFILE is %lld, and with %zu threads and %lld files open already at "
                        "least %lld are needed: raise the limit, or lower server.threads",
                        (long long)limit, threads, (long long)open,
                        (long long)(limit - spare + calls_least));
    if (ret->few)
        calls = least(calls, most(calls_least, least(left / 4, spare)));
    ret->calls = calls;
    left -= calls;
    int64_t half = most(least(left / 2, deliveries), floor);
    int64_t theirs = least(left - half, clients), ours = left - theirs;
    if (theirs < clients) {
        ret->shed = (unsigned)least(theirs / 4, shed);
        ret->connections = (unsigned)least(theirs - ret->shed, o->max_connections);
    }
    ret->in_flight = (size_t)least(ours / RBK_FILES_ATTEMPT, o->in_flight);
    int64_t each = ours / (int64_t)ret->in_flight - (RBK_FILES_ATTEMPT - RBK_FILES_DIAL);
    ret->dial_sockets = (unsigned)least(most(each, RBK_FILES_DIAL), RBK_DIAL_MAX);
    int64_t racing = (int64_t)ret->in_flight * (ret->dial_sockets - 1);
    ret->held = (unsigned)least(ours - racing, UINT32_MAX);
    return 0;
}

/* Each has its least, and of the rest a share by what it wants. */
void rbk_files_bound_calls(const rbk_files *f, rbk_options *o)
{
    int64_t wanted = count_calls(o, false), least_of = count_calls(o, true);
    int64_t room = f->calls + most(f->limit - f->wanted, 0);
    if (f->limit == 0 || wanted <= room)
        return;
    for (size_t i = 0; i < o->n_rules; i++) {
        int64_t *n = &o->rules[i].upstream_connections, first = least(*n, RBK_FILES_LEAST);
        if (o->rules[i].upstream && wanted > least_of)
            *n = first + (*n - first) * most(room - least_of, 0) / (wanted - least_of);
    }
}

static int64_t count_open(void)
{
    DIR *d = opendir("/proc/self/fd");
    int64_t n = 0;
    if (d == NULL)
        return OPEN_UNKNOWN;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n - 1; /* the folder itself */
}

int rbk_files_plan(const rbk_options *o, size_t threads, size_t couriers, rbk_files *ret,
                   rbk_error *err)
{
    struct rlimit limit;
    *ret = (rbk_files){0};
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) {
        use_all(o, (unsigned)(RBK_FILES_SHED * threads), ret);
        return 0;
    }
    return rbk_files_share(least((int64_t)limit.rlim_cur, INT32_MAX), count_open(), o, threads, couriers, ret, err);
}
