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
        if (l->addresses == NULL)
            r = rbk_fail(err, RBK_E_NOMEM, "front");
    }
    rbk_cidrs_free(&exempt);
    return r;
}

void rbk_limits_free(rbk_limits *l)
{
    rbk_peers_free(l->addresses);
    l->addresses = NULL;
}

/* --- What is counted and said ----------------------------------------------------------------- */

/* `status` 0: it was a connection. */
static void note(rbk_limits *l, rbk_front_numbers *n, rbk_refusal reason, int status, const char *peer)
{
    uint64_t more;
    rbk_count(&n->refused[reason], 1);
    if (reason == RBK_REFUSAL_UNAUTHORIZED || !rbk_seldom_now(&l->lines[reason], &more))
        return; /* front/auth.c says why a token is not taken */
    if (status)
        rbk_event(l->log, RBK_WARN, "request.refused", RBK_FZ("peer", peer),
                  RBK_FZ("reason", reasons[reason]), RBK_F("status", status), RBK_F("more", more));
    else
        rbk_event(l->log, RBK_WARN, "connection.refused", RBK_FZ("peer", peer),
                  RBK_FZ("reason", reasons[reason]), RBK_F("more", more));
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

void rbk_limits_refused(rbk_limits *l, rbk_front_numbers *n, const rbk_http_request *rq, int status,
                        const char *why)
{
    (void)why;
    if (status != 429)
        note(l, n, reason_of(status), status, rq->peer);
}

void rbk_limits_shed(rbk_limits *l, rbk_front_numbers *n, const char *peer, rbk_http_shed why)
{
    note(l, n, why == RBK_HTTP_SHED_ADDRESS ? RBK_REFUSAL_PER_ADDRESS : RBK_REFUSAL_CONNECTIONS, 0,
         peer);
}

void rbk_limits_busy(rbk_limits *l, rbk_front_numbers *n, const char *peer)
{
    note(l, n, RBK_REFUSAL_BUSY, 503, peer);
}

/* --- Tokens ----------------------------------------------------------------------------------- */

static unsigned seconds_of(int64_t ms)
{
    int64_t s = ms / 1000 + (ms % 1000 != 0);
    return s < INT32_MAX ? (unsigned)s : INT32_MAX;
}

static unsigned take(const rbk_limits_who *who, size_t n)
{
    rbk_limits *l = who->l;
    if (l->rate.n == 0 || n == 0)
        return 0;
    rbk_taking t = {&l->rate, n, who->held};
    int64_t ms = rbk_peers_take(l->addresses, who->from, &t, rbk_mono_now());
    if (ms)
        note(l, who->numbers, RBK_REFUSAL_RATE, 429, who->peer);
    return seconds_of(ms);
}

unsigned rbk_limits_head(const rbk_limits_who *who)
{
    return take(who, 1);
}

unsigned rbk_limits_gate(size_t n, void *user)
{
    const rbk_limits_who *who = user;
    return take(who, n > who->held ? n - who->held : 0);
}
