/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_origin.c - lists of hosts and origins, and what a request says of itself: four lines, server.hosts,
 * server.origins, Host, Origin.
 *
 * Beyond the sanitizers: without a list nothing but this machine's own names comes in by the loopback
 * door, found here by another way; an Origin that comes in is in the list, but for case and spelling of
 * an address or a port; and what a door refuses no answer allows. */
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

#include "front/origin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static rbk_str take_line(rbk_str *rest)
{
    const char *lf = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
    rbk_str line = {rest->p, lf ? (size_t)(lf - rest->p) : rest->n};
    *rest = lf ? (rbk_str){lf + 1, rest->n - line.n - 1} : (rbk_str){rest->p + rest->n, 0};
    return line;
}

static bool begins(rbk_str s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && strncasecmp(s.p, with, n) == 0;
}

/* Nothing else than digits, dots and a port may follow 127. */
static bool is_of_this_machine(rbk_str host)
{
    if (begins(host, "localhost"))
        return host.n == 9 || host.p[9] == ':' || host.p[9] == '.';
    if (!begins(host, "127."))
        return host.n > 4 && host.p[0] == '[' && memchr(host.p, '1', host.n);
    for (size_t i = 0; i < host.n; i++)
        if (!strchr("0123456789.:", host.p[i]))
            return false;
    return true;
}

/* Its scheme, and unless it is an address the host, stand in the list as they are. */
static bool is_listed(rbk_str list, rbk_str origin)
{
    rbk_str item;
    const char *colon = memchr(origin.p, ':', origin.n);
    size_t n = colon ? (size_t)(colon - origin.p) + 3 : 0;
    if (n >= origin.n)
        return false;
    while (n < origin.n && origin.p[n] != '[' && origin.p[n] != ':')
        n++;
    while (rbk_list_next(&list, &item))
        if (item.n >= n && strncasecmp(item.p, origin.p, n) == 0)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    rbk_str rest = {(const char *)data, n};
    rbk_str hosts = rbk_str_trim(take_line(&rest)), origins = rbk_str_trim(take_line(&rest));
    rbk_http_header h[2] = {{RBK_STR("Host"), rbk_str_trim(take_line(&rest))},
                            {RBK_STR("Origin"), rbk_str_trim(take_line(&rest))}};
    rbk_origins *o = NULL;
    rbk_error err = {0};
    int r = rbk_origins_new(&(rbk_origins_conf){.hosts = hosts, .origins = origins}, &o, &err);
    require(r == 0 || err.detail[0]);
    for (rbk_origins_door door = RBK_DOOR_UNIX; r == 0 && door <= RBK_DOOR_OTHER; door++) {
        rbk_http_request rq = {.headers = h, .n_headers = h[1].value.n ? 2 : 1};
        rbk_str value = RBK_STR_NONE;
        int status = rbk_origins_check(o, door, &rq, &value);
        rbk_str allowed = rbk_http_find(rq.extra, rq.n_extra, "access-control-allow-origin");
        require(status == 0 ? rq.why == NULL : status == 403 && rq.why && value.p);
        require((allowed.p != NULL) == (status == 0 && rq.n_headers == 2));
        require(allowed.p == NULL || is_listed(origins, allowed));
        if (status == 0 && door == RBK_DOOR_LOOPBACK && hosts.n == 0)
            require(is_of_this_machine(h[0].value));
    }
    rbk_origins_unref(o);
    return 0;
}
