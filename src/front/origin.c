/* SPDX-License-Identifier: Apache-2.0 */
/* front/origin.c - see origin.h.
 *
 * Only the list of origins opens anything: there is no "*", since a page that nobody knows
 * would run methods with it, and credentials are not offered, so that no cookie and no
 * certificate of the browser's goes along. A token is the page's own affair. */
#include "front/origin.h"

#include "core/hosts.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ANY_PORT = -1,
    ITEMS_MAX = 256,
    ORIGIN_MAX = RBK_HOST_MAX + 16 /* "https://", the host, ":65535", NUL */
};

typedef struct host_rule {
    rbk_hosts host; /* one glob */
    int32_t port;
} host_rule;

typedef struct origin_rule {
    size_t n;
    char p[ORIGIN_MAX];
} origin_rule;

struct rbk_origins {
    atomic_uint refs;
    bool asks_clients;
    host_rule *hosts;
    origin_rule *origins;
    size_t n_hosts, n_origins;
};

/* --- Text ---------------------------------------------------------------------------------- */

/* "host", "host:", "host:80", "[v6]:80"; without a port *ret_port is as before. */
static bool split_port(rbk_str text, rbk_str *ret_host, int32_t *ret_port)
{
    uint64_t port = 0;
    const char *from = text.n && text.p[0] == '[' ? memchr(text.p, ']', text.n) : text.p;
    if (text.n == 0 || from == NULL)
        return false;
    const char *colon = memchr(from, ':', text.n - (size_t)(from - text.p));
    rbk_str host = {text.p, colon ? (size_t)(colon - text.p) : text.n};
    *ret_host = host;
    if (host.n == 0 || (host.p[0] == '[' && host.p[host.n - 1] != ']'))
        return false;
    rbk_str rest = {text.p + host.n + (colon != NULL), text.n - host.n - (colon != NULL)};
    if (rest.n == 0)
        return true;
    if (rbk_str_u64(rest, 65535, &port) < 0)
        return false;
    *ret_port = (int32_t)port;
    return true;
}

/* As rbk_hosts_fit() wants it: lower case, no trailing dot, IPv6 in its one spelling. */
static bool make_plain(rbk_str host, char room[RBK_HOST_MAX + 1], rbk_str *ret)
{
    uint8_t addr[16];
    if (host.n > 2 && host.p[0] == '[') {
        if (rbk_parse_ipv6((rbk_str){host.p + 1, host.n - 2}, addr) < 0)
            return false;
        rbk_format_addr(RBK_HOST_IPV6, addr, room);
        *ret = rbk_str_z(room);
        return true;
    }
    if (host.n > 1 && host.p[host.n - 1] == '.')
        host.n--;
    if (host.n == 0 || host.n > RBK_HOST_MAX)
        return false;
    for (size_t i = 0; i < host.n; i++)
        room[i] = rbk_lower(host.p[i]);
    *ret = (rbk_str){room, host.n};
    return true;
}

static bool is_own_name(rbk_str host)
{
    uint8_t addr[4];
    return rbk_str_eqz(host, "localhost") || rbk_str_eqz(host, "::1") ||
           (rbk_parse_ipv4(host, addr) == 0 && addr[0] == 127);
}

/* --- Making --------------------------------------------------------------------------------- */

static int fail_host(rbk_str item, rbk_error *err)
{
    item.n = item.n > 80 ? 80 : item.n;
    return rbk_fail(err, RBK_E_CONFIG,
                    "server.hosts: '%.*s' is not a host like api.example, *.example.org or "
                    "127.0.0.1:7600",
                    RBK_FMT(item));
}

static int read_host(host_rule *r, rbk_str item, rbk_error *err)
{
    rbk_str host;
    rbk_error what = {0};
    r->port = ANY_PORT;
    if (!split_port(item, &host, &r->port))
        return fail_host(item, err);
    int e = rbk_hosts_read(&r->host, "server.hosts", host, &what);
    if (e == RBK_E_NOMEM)
        return rbk_fail(err, e, "server.hosts");
    return e < 0 ? fail_host(item, err) : 0;
}

/* A letter of a host as browsers write it in an Origin. */
static bool is_origin_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static bool is_origin_host(rbk_str host)
{
    uint8_t addr[16];
    if (host.n > 2 && host.p[0] == '[')
        return rbk_parse_ipv6((rbk_str){host.p + 1, host.n - 2}, addr) == 0;
    for (size_t i = 0; i < host.n; i++)
        if (!is_origin_letter(rbk_lower(host.p[i])) || (host.p[i] == '.' && i == 0))
            return false;
    return host.n > 0 && host.n <= RBK_HOST_MAX;
}

/* The port that browsers leave out; -1: not a scheme that pages come by. */
static int32_t scheme_port(rbk_str item, size_t *ret_n)
{
    rbk_str https = RBK_STR("https://"), http = RBK_STR("http://");
    bool secure = rbk_str_starts(item, https);
    *ret_n = secure ? https.n : http.n;
    if (!secure && !rbk_str_starts(item, http))
        return -1;
    return secure ? 443 : 80;
}

static int fail_origin(rbk_str item, rbk_error *err)
{
    item.n = item.n > 80 ? 80 : item.n;
    return rbk_fail(err, RBK_E_CONFIG,
                    "server.origins: '%.*s' is not an origin like https://app.example or "
                    "http://localhost:3000",
                    RBK_FMT(item));
}

/* As browsers write it: lower case, IPv6 in its one spelling, no usual port. */
static void write_origin(origin_rule *r, rbk_str scheme, rbk_str host, int32_t port)
{
    uint8_t addr[16];
    char text[RBK_HOST_MAX + 1], number[8] = "";
    bool v6 = host.p[0] == '[' && rbk_parse_ipv6((rbk_str){host.p + 1, host.n - 2}, addr) == 0;
    if (v6)
        rbk_format_addr(RBK_HOST_IPV6, addr, text);
    if (port != ANY_PORT)
        snprintf(number, sizeof number, ":%u", (unsigned)port % 65536);
    int n = v6 ? snprintf(r->p, sizeof r->p, "%.*s[%s]%s", RBK_FMT(scheme), text, number)
               : snprintf(r->p, sizeof r->p, "%.*s%.*s%s", RBK_FMT(scheme), RBK_FMT(host), number);
    for (r->n = 0; r->n < (size_t)n; r->n++)
        r->p[r->n] = rbk_lower(r->p[r->n]);
}

static int read_origin(origin_rule *r, rbk_str item, rbk_error *err)
{
    size_t n;
    int32_t port = scheme_port(item, &n), usual = port;
    rbk_str host;
    if (port < 0 || !split_port((rbk_str){item.p + n, item.n - n}, &host, &port) ||
        !is_origin_host(host) || item.p[item.n - 1] == ':')
        return fail_origin(item, err);
    write_origin(r, (rbk_str){item.p, n}, host, port == usual ? ANY_PORT : port);
    return 0;
}

/* RBK_E_CONFIG when there are too many. */
static int count_items(const char *key, rbk_str list, size_t *ret, rbk_error *err)
{
    rbk_str item;
    *ret = 0;
    while (rbk_list_next(&list, &item))
        ++*ret;
    return *ret <= ITEMS_MAX ? 0
                             : rbk_fail(err, RBK_E_CONFIG, "%s: more than %d items", key, ITEMS_MAX);
}

static int read_hosts(rbk_origins *o, rbk_str list, rbk_error *err)
{
    rbk_str item;
    size_t n;
    int r = count_items("server.hosts", list, &n, err);
    if (r < 0 || n == 0)
        return r;
    if ((o->hosts = calloc(n, sizeof *o->hosts)) == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "server.hosts");
    while (r == 0 && rbk_list_next(&list, &item))
        r = read_host(&o->hosts[o->n_hosts++], item, err);
    return r;
}

static int read_origins(rbk_origins *o, rbk_str list, rbk_error *err)
{
    rbk_str item;
    size_t n;
    int r = count_items("server.origins", list, &n, err);
    if (r < 0 || n == 0)
        return r;
    if ((o->origins = calloc(n, sizeof *o->origins)) == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "server.origins");
    while (r == 0 && rbk_list_next(&list, &item))
        r = read_origin(&o->origins[o->n_origins++], item, err);
    return r;
}

int rbk_origins_new(const rbk_origins_conf *conf, rbk_origins **ret, rbk_error *err)
{
    rbk_origins *o = calloc(1, sizeof *o);
    if (o == NULL)
        return rbk_fail(err, RBK_E_NOMEM, "server.hosts");
    atomic_init(&o->refs, 1);
    o->asks_clients = conf->asks_clients;
    int r = read_hosts(o, rbk_str_trim(conf->hosts), err);
    if (r == 0)
        r = read_origins(o, rbk_str_trim(conf->origins), err);
    if (r < 0) {
        rbk_origins_unref(o);
        return r;
    }
    *ret = o;
    return 0;
}

rbk_origins *rbk_origins_ref(rbk_origins *o)
{
    atomic_fetch_add(&o->refs, 1);
    return o;
}

void rbk_origins_unref(rbk_origins *o)
{
    if (o == NULL || atomic_fetch_sub(&o->refs, 1) != 1)
        return;
    for (size_t i = 0; i < o->n_hosts; i++)
        rbk_hosts_free(&o->hosts[i].host);
    free(o->hosts);
    free(o->origins);
    free(o);
}

/* --- Asking ---------------------------------------------------------------------------------- */

static bool host_fits(const rbk_origins *o, rbk_origins_door door, rbk_str value)
{
    char room[RBK_HOST_MAX + 1];
    rbk_str host = value;
    int32_t port = ANY_PORT; /* not written: fits no rule that has one */
    bool any = door == RBK_DOOR_OTHER || o->asks_clients;
    if (door == RBK_DOOR_UNIX || (o->n_hosts == 0 && any))
        return true;
    if (value.n && (!split_port(value, &host, &port) || !make_plain(host, room, &host)))
        return false; /* HTTP/1.0 may have none, which "**" alone fits */
    for (size_t i = 0; i < o->n_hosts; i++)
        if ((o->hosts[i].port == ANY_PORT || o->hosts[i].port == port) &&
            rbk_hosts_fit(&o->hosts[i].host, host))
            return true;
    return o->n_hosts == 0 && is_own_name(host);
}

static bool origin_fits(const rbk_origins *o, rbk_str value)
{
    for (size_t i = 0; i < o->n_origins; i++)
        if (rbk_str_eq(value, (rbk_str){o->origins[i].p, o->origins[i].n}))
            return true;
    return false;
}

static void add_header(rbk_http_request *rq, rbk_str name, rbk_str value)
{
    if (rq->n_extra < RBK_HTTP_EXTRA_MAX)
        rq->extra[rq->n_extra++] = (rbk_http_header){name, value};
}

static int forbid(rbk_http_request *rq, const char *why, rbk_str value, rbk_str *ret_value)
{
    rq->why = why;
    *ret_value = value;
    return 403;
}

int rbk_origins_check(const rbk_origins *o, rbk_origins_door door, rbk_http_request *rq,
                      rbk_str *ret_value)
{
    rbk_str origin = RBK_STR_NONE;
    rbk_str host = rbk_http_find(rq->headers, rq->n_headers, "host");
    if (!host_fits(o, door, host))
        return forbid(rq, "this Host is not allowed", host, ret_value);
    for (size_t i = 0; i < rq->n_headers; i++) {
        rbk_str value = rq->headers[i].value;
        if (!rbk_str_ieqz(rq->headers[i].name, "origin"))
            continue;
        if (origin.p || !origin_fits(o, value))
            return forbid(rq, "this Origin is not allowed", value, ret_value);
        origin = value;
    }
    if (o->n_origins)
        add_header(rq, RBK_STR("Vary"), RBK_STR("Origin"));
    if (origin.p) {
        add_header(rq, RBK_STR("Access-Control-Allow-Origin"), origin);
        add_header(rq, RBK_STR("Access-Control-Expose-Headers"),
                   RBK_STR("Ringback-Job, Ringback-Batch-Job, Preference-Applied, Retry-After"));
    }
    return 0;
}

static bool has(const rbk_http_request *rq, const char *name)
{
    return rbk_http_find(rq->headers, rq->n_headers, name).p != NULL;
}

/* Nobody's token is asked for, so that no body is taken, either. */
bool rbk_origins_asked(const rbk_http_request *rq)
{
    return rbk_str_eqz(rq->method, "OPTIONS") && has(rq, "origin") &&
           has(rq, "access-control-request-method") && !has(rq, "content-length") &&
           !has(rq, "transfer-encoding");
}

void rbk_origins_reply(rbk_http_request *rq, const char *methods)
{
    /* "*" is every header but Authorization, for requests without credentials; older browsers
     * need the names. */
    const rbk_http_header h[] = {
        {RBK_STR("Access-Control-Allow-Methods"), rbk_str_z(methods)},
        {RBK_STR("Access-Control-Allow-Headers"),
         RBK_STR("Content-Type, Authorization, Idempotency-Key, Prefer, Ringback-Batch-Callback, *")},
        {RBK_STR("Access-Control-Max-Age"), RBK_STR("600")}};
    rbk_http_reply_send(rq, &(rbk_http_reply){.status = 204, .headers = h, .n_headers = 3});
}
