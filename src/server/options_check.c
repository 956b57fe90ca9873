/* SPDX-License-Identifier: Apache-2.0 */
/* server/options_check.c - checks of options whose text has a grammar of its own.
 *
 * What a callback may reach is judged by core/netpolicy.h, the schedule by
 * core/retry.h: a text that passes here is one that they take. Pure; any thread. */
#include "server/options_impl.h"

#include "core/bucket.h"
#include "core/cidrs.h"
#include "core/dsn.h"
#include "core/header.h"
#include "core/netpolicy.h"
#include "core/retry.h"
#include "method/upstream.h"
#include "method/worker.h"
#include "net/listen.h"

#include <stdio.h>
#include <stdlib.h>

/* Takes the next item of a comma-separated list off `rest`; false at the end. */
static bool next_item(rbk_str *rest, rbk_str *ret_item)
{
    if (rest->p == NULL)
        return false;
    const char *comma = rest->n ? memchr(rest->p, ',', rest->n) : NULL;
    size_t n = comma ? (size_t)(comma - rest->p) : rest->n;
    *ret_item = rbk_str_trim((rbk_str){rest->p, n});
    *rest = comma ? (rbk_str){comma + 1, rest->n - n - 1} : RBK_STR_NONE;
    return true;
}

static const char *complain(char out[160], const char *fmt, rbk_str item)
{
    char shown[81];
    snprintf(shown, sizeof shown, "%.*s", RBK_FMT(item));
    snprintf(out, 160, "'%s' %s", shown, fmt);
    return out;
}

/* "127.0.0.1:7600", "[::1]:7600", ":7600". */
static bool is_address(rbk_str s)
{
    uint8_t addr[16];
    uint64_t port = 0;
    const char *colon = s.n ? memrchr(s.p, ':', s.n) : NULL;
    if (colon == NULL)
        return false;
    rbk_str host = {s.p, (size_t)(colon - s.p)};
    if (rbk_str_u64((rbk_str){colon + 1, s.n - host.n - 1}, 65535, &port) < 0)
        return false;
    if (host.n == 0)
        return true;
    if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        return rbk_parse_ipv6((rbk_str){host.p + 1, host.n - 2}, addr) == 0;
    return rbk_parse_ipv4(host, addr) == 0;
}

const char *rbk_check_listen(rbk_str text, char out[160])
{
    rbk_str item;
    while (next_item(&text, &item))
        if (rbk_listen_fault(item))
            return complain(out, rbk_listen_fault(item), item);
    return NULL;
}

const char *rbk_check_admin_listen(rbk_str text, char out[160])
{
    return text.n ? rbk_check_listen(text, out) : NULL;
}

bool rbk_is_loopback_listen(rbk_str text)
{
    rbk_str item;
    while (text.n && next_item(&text, &item))
        if (!rbk_str_starts(item, RBK_STR("127.")) && !rbk_str_starts(item, RBK_STR("[::1]:")) &&
            !rbk_str_starts(item, RBK_STR("unix:")))
            return false;
    return true;
}

static bool read_mode(rbk_str text, unsigned *ret)
{
    *ret = 0;
    if (text.n != 4 || text.p[0] != '0')
        return false;
    for (size_t i = 1; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '7')
            return false;
        *ret = *ret * 8 + (unsigned)(text.p[i] - '0');
    }
    return true;
}

const char *rbk_check_mode(rbk_str text, char out[160])
{
    unsigned mode;
    return read_mode(text, &mode) ? NULL : complain(out, "is not a mode like 0600 or 0660", text);
}

unsigned rbk_options_socket_mode(const rbk_options *o)
{
    unsigned mode;
    return read_mode(rbk_str_z(o->socket_mode), &mode) ? mode : 0600;
}

const char *rbk_check_path(rbk_str text, char out[160])
{
    bool ok = text.n > 0 && text.p[0] == '/';
    for (size_t i = 0; ok && i < text.n; i++)
        ok = text.p[i] > ' ' && text.p[i] <= '~' && !strchr("?#\"<>\\^`{|}", text.p[i]);
    return ok ? NULL : complain(out, "is not a path like /api", text);
}

const char *rbk_check_store(rbk_str text, char out[160])
{
    rbk_str sqlite = RBK_STR("sqlite:"), memory = RBK_STR("memory:");
    if (rbk_str_eq(text, memory) || (rbk_str_starts(text, sqlite) && text.n > sqlite.n))
        return NULL;
    return complain(out, "is neither sqlite:FILE nor memory:", text);
}

const char *rbk_check_schemes(rbk_str text, char out[160])
{
    rbk_str item;
    while (next_item(&text, &item)) {
        if (rbk_str_eqz(item, "http"))
            return "http is not encrypted, use https";
        if (rbk_str_eqz(item, "ws"))
            return "ws is not encrypted, use wss";
        if (!rbk_str_eqz(item, "https") && !rbk_str_eqz(item, "wss"))
            return complain(out, "is not a scheme of this version; it has https, wss", item);
    }
    return NULL;
}

/* Asks the policy itself, which names the item that is wrong. */
static const char *check_policy(const rbk_netpolicy_conf *conf, char out[160])
{
    rbk_netpolicy *policy = NULL;
    rbk_error err = {0};
    int r = rbk_netpolicy_new(conf, NULL, 0, &policy, &err);
    rbk_netpolicy_unref(policy);
    if (r >= 0)
        return NULL;
    const char *detail = err.detail[0] ? err.detail : rbk_strerror(r);
    const char *key_end = strncmp(detail, "callback.", 9) == 0 ? strstr(detail, ": ") : NULL;
    snprintf(out, 160, "%.159s", key_end ? key_end + 2 : detail); /* the caller says the key */
    return out;
}

const char *rbk_check_hosts(rbk_str text, char out[160])
{
    return check_policy(&(rbk_netpolicy_conf){.schemes = RBK_STR("https"), .hosts = text}, out);
}

const char *rbk_check_cidrs(rbk_str text, char out[160])
{
    return check_policy(&(rbk_netpolicy_conf){.schemes = RBK_STR("https"), .allow = text}, out);
}

const char *rbk_check_exempt(rbk_str text, char out[160])
{
    rbk_cidrs list;
    rbk_error err = {0};
    int r = rbk_cidrs_read("exempt", rbk_str_trim(text), &list, &err);
    rbk_cidrs_free(&list);
    if (r == 0)
        return NULL;
    snprintf(out, 160, "%.159s", r == RBK_E_CONFIG ? err.detail + strlen("exempt: ") : rbk_strerror(r));
    return out;
}

const char *rbk_check_rate(rbk_str text, char out[160])
{
    rbk_rate rate;
    if (text.n == 0 || rbk_rate_read(text, &rate) == 0)
        return NULL;
    return complain(out, "is not a rate of 1 to 1000000000, like 50/s, 1000/m or 20000/h", text);
}

const char *rbk_check_ports(rbk_str text, char out[160])
{
    return check_policy(&(rbk_netpolicy_conf){.schemes = RBK_STR("https"), .ports = text}, out);
}

const char *rbk_check_name_servers(rbk_str text, char out[160])
{
    rbk_str item;
    uint8_t addr[16];
    if (text.n == 0)
        return NULL;
    while (next_item(&text, &item))
        if (rbk_parse_ipv4(item, addr) < 0 &&
            (!is_address(item) || item.p[0] == ':'))
            return complain(out, "is not an address like 10.0.0.53, 127.0.0.1:5353 or [::1]:53",
                            item);
    return NULL;
}

/* What stands before an @ may be a password: it is not shown. */
const char *rbk_check_proxy(rbk_str text, char out[160])
{
    rbk_dsn dsn;
    if (text.n == 0)
        return NULL;
    if (memchr(text.p, '@', text.n))
        return "user info not allowed: a proxy that asks for credentials is not supported";
    if (rbk_dsn_parse(text, RBK_STR("http"), &dsn) == RBK_DSN_OK && dsn.port &&
        !dsn.target_slash && rbk_str_eqz(dsn.target, "/"))
        return NULL;
    return complain(out, "is not a proxy like http://10.0.0.8:3128 or http://proxy.example:3128",
                    text);
}

const char *rbk_check_schedule(rbk_str text, char out[160])
{
    rbk_retry_conf conf = {0};
    if (rbk_retry_parse(text, &conf) == 0)
        return NULL;
    snprintf(out, 160, "is not a list of 1 to %d waits of 1ms to 30d, like 5s,30s,2m",
             RBK_RETRY_STEPS_MAX);
    return out;
}

/* Headers that ringback writes itself, or that carry the caller's secrets. */
static bool is_never_forwarded(rbk_str name)
{
    return rbk_header_is_ours(name) || rbk_str_ieqz(name, "authorization") ||
           rbk_str_ieqz(name, "cookie");
}

/* Who writes the key itself where its file belongs has shown it to `ps`; it must not get
 * into a log as well. */
const char *rbk_check_key_path(rbk_str text, char out[160])
{
    (void)out;
    if (rbk_str_starts(text, RBK_STR("whsec_")) || rbk_str_starts(text, RBK_STR("whsk_")))
        return "is a key, and should be the name of a file that holds it";
    return NULL;
}

const char *rbk_check_tokens_path(rbk_str text, char out[160])
{
    (void)out;
    if (rbk_str_starts(text, RBK_STR("rbk_")) && !memchr(text.p, '/', text.n))
        return "is a token, and should be the name of a file";
    return NULL;
}

/* Headers of one connection, of the framing, and those that ringback writes itself. */
static bool is_never_told(rbk_str name)
{
    static const char *const names[] = {
        "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "http2-settings", "expect", "proxy-authorization", "proxy-authenticate", "host",
        "content-length", "content-type", "content-encoding", "accept", "accept-encoding",
        "user-agent", "ringback-job", "ringback-run", "ringback-deadline"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (rbk_str_ieqz(name, names[i]))
            return true;
    return false;
}

static const char *check_names(rbk_str text, bool (*is_refused)(rbk_str name), char out[160])
{
    rbk_str item;
    if (text.n == 0)
        return NULL;
    while (next_item(&text, &item)) {
        if (!rbk_header_is_name(item))
            return complain(out, "is not a header name", item);
        if (is_refused(item))
            return complain(out, "is never forwarded", item);
    }
    return NULL;
}

const char *rbk_check_forward(rbk_str text, char out[160])
{
    return check_names(text, is_never_forwarded, out);
}

const char *rbk_check_method_forward(rbk_str text, char out[160])
{
    return check_names(text, is_never_told, out);
}

/* What stands before an @ may be a password: it is not shown. */
const char *rbk_check_upstream(rbk_str text, char out[160])
{
    rbk_upstream_url url;
    const char *wrong = text.n ? rbk_upstream_url_parse(text, &url) : NULL;
    if (wrong == NULL || memchr(text.p, '@', text.n))
        return wrong;
    return complain(out, wrong, text);
}

/* Its words; whether there is such a program is asked when it is needed. */
const char *rbk_check_worker(rbk_str text, char out[160])
{
    rbk_error err = {0};
    char **words, *copy = text.n ? strndup(text.p, text.n) : NULL;
    if (copy == NULL)
        return NULL;
    if (rbk_worker_split(copy, &words, &err) == 0)
        free(words);
    else
        snprintf(out, 160, "is %.150s", err.detail);
    free(copy);
    return err.code ? out : NULL;
}
