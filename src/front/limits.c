/* SPDX-License-Identifier: Apache-2.0 */
/* front/limits.c - see limits.h. Each reason has its own line a second in the log, so that a flood
 * of one kind hides no other. */
#include "front/limits.h"

#include "base/error.h"

static const char *const reasons[RBK_REFUSALS] = {
#define REASON(sym, label) label,
    RBK_REFUSAL_MAP(REASON)
#undef REASON
};

int rbk_limits_init(rbk_limits *l, const rbk_limits_conf *conf, rbk_error *err)
{
    rbk_cidrs exempt;
    *l = (rbk_limits){.rate = conf->rate, .log = conf->log};
    int r = rbk_cidrs_read("server.exempt", rbk_str_trim(conf->exempt), &exempt, err);
    if (r == 0) {
        l->addresses = rbk_peers_new(&(rbk_peers_conf){.per_address = conf->per_address,
                                                       .max_connections = conf->max_connections,
                                                       .exempt = &exempt});
        l->callers = rbk_peers_new(&(rbk_peers_conf){.max_connections = 0});
        if (l->addresses == NULL || l->callers == NULL) {
            rbk_limits_free(l);
            r = rbk_fail(err, RBK_E_NOMEM, "front");
        }
    }
    rbk_cidrs_free(&exempt);
    return r;
}

void rbk_limits_free(rbk_limits *l)
{
    rbk_peers_free(l->addresses);
    rbk_peers_free(l->callers);
    l->addresses = l->callers = NULL;
}

/* --- What is counted and said ----------------------------------------------------------------- */

/* One is refused: is it time for a line that says so? front/auth.c says why a token is not taken,
 * front/http_front.c what a browser was talked into, engine/admit.c who has too much pending. */
static bool count(rbk_limits *l, rbk_front_numbers *n, rbk_refusal reason, uint64_t *ret_more)
{
    rbk_count(&n->refused[reason], 1);
    return reason != RBK_REFUSAL_UNAUTHORIZED && reason != RBK_REFUSAL_FORBIDDEN &&
           reason != RBK_REFUSAL_TOKEN_PENDING &&
           rbk_seldom_now(&l->lines[reason], ret_more);
}

static void refuse(const rbk_limits_who *who, rbk_refusal reason, int status)
{
    uint64_t more;
    if (count(who->l, who->numbers, reason, &more))
        rbk_event(who->l->log, RBK_WARN, "request.refused", RBK_FZ("peer", who->peer),
                  RBK_FZ("caller", who->caller ? who->caller->name : ""),
                  RBK_FZ("reason", reasons[reason]), RBK_F("status", status), RBK_F("more", more));
}

static rbk_refusal reason_of(int status)
{
    switch (status) {
    case 401:
        return RBK_REFUSAL_UNAUTHORIZED;
    case 403:
        return RBK_REFUSAL_FORBIDDEN;
    case 404:
        return RBK_REFUSAL_PATH;
    case 405:
        return RBK_REFUSAL_METHOD;
    case 408:
        return RBK_REFUSAL_SLOW;
    case 413:
        return RBK_REFUSAL_TOO_LARGE;
    case 415:
        return RBK_REFUSAL_CONTENT_TYPE;
    case 503:
        return RBK_REFUSAL_BUSY;
    case 400:
    case 414:
    case 417:
    case 426:
    case 431:
    case 501:
    case 505:
        return RBK_REFUSAL_MALFORMED;
    default:
        return RBK_REFUSAL_OTHER;
    }
}

void rbk_limits_refused(const rbk_limits_who *who, int status)
{
    if (status != 429)
        refuse(who, reason_of(status), status);
}

void rbk_limits_busy(const rbk_limits_who *who, bool over_quota)
{
    refuse(who, over_quota ? RBK_REFUSAL_TOKEN_PENDING : RBK_REFUSAL_BUSY, 503);
}

void rbk_limits_shed(const rbk_limits_who *who, rbk_http_shed why)
{
    uint64_t more;
    rbk_refusal reason =
        why == RBK_HTTP_SHED_ADDRESS ? RBK_REFUSAL_PER_ADDRESS : RBK_REFUSAL_CONNECTIONS;
    if (count(who->l, who->numbers, reason, &more))
        rbk_event(who->l->log, RBK_WARN, "connection.refused", RBK_FZ("peer", who->peer),
                  RBK_FZ("reason", reasons[reason]), RBK_F("more", more));
}

/* --- Tokens ----------------------------------------------------------------------------------- */

static unsigned seconds_of(int64_t ms)
{
    int64_t s = ms / 1000 + (ms % 1000 != 0);
    return s < INT32_MAX ? (unsigned)s : INT32_MAX;
}

static unsigned take_of_address(const rbk_limits_who *who, size_t n)
{
    rbk_limits *l = who->l;
    if (l->rate.n == 0)
        return 0;
    rbk_taking t = {&l->rate, n, who->held};
    int64_t ms = rbk_peers_take(l->addresses, who->from, &t, rbk_mono_now());
    if (ms)
        refuse(who, RBK_REFUSAL_RATE, 429);
    return seconds_of(ms);
}

static void give_to_address(const rbk_limits_who *who, size_t n)
{
    rbk_peers_give(who->l->addresses, who->from, &(rbk_taking){&who->l->rate, n, who->held});
}

static unsigned take_of_caller(const rbk_limits_who *who, size_t n)
{
    rbk_peer peer;
    if (who->caller == NULL || who->caller->rate.n == 0)
        return 0;
    rbk_taking t = {&who->caller->rate, n, who->held};
    rbk_peer_of_name(rbk_str_z(who->caller->name), &peer);
    int64_t ms = rbk_peers_take(who->l->callers, &peer, &t, rbk_mono_now());
    if (ms)
        refuse(who, RBK_REFUSAL_TOKEN_RATE, 429);
    return seconds_of(ms);
}

unsigned rbk_limits_address(const rbk_limits_who *who)
{
    return take_of_address(who, 1);
}

unsigned rbk_limits_caller(const rbk_limits_who *who)
{
    return take_of_caller(who, 1);
}

unsigned rbk_limits_gate(size_t n, void *user)
{
    const rbk_limits_who *who = user;
    size_t more = n > who->held ? n - who->held : 0;
    unsigned wait = more ? take_of_address(who, more) : 0;
    if (wait || more == 0)
        return wait;
    wait = take_of_caller(who, more);
    if (wait)
        give_to_address(who, more);
    return wait;
}
