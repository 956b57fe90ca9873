/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_dsn.c - the DSN parser, the network policy and its settings on any bytes.
 *
 * The first line of the input goes to the policy's settings (host globs, CIDR lists and
 * ports, all the same text), the rest is the DSN. What must hold:
 *   - a DSN that is accepted, put together again from its parts, gives the same parts;
 *   - the policy accepts nothing that the parser refuses, nor a literal address that the
 *     address check refuses;
 *   - an IPv4 literal is in its canonical spelling;
 *   - a reason is at most 159 bytes, and printable when the text is. */
#include <stdio.h>
#include <stdlib.h>

#include "core/netpolicy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "fuzz_dsn: %s does not hold\n", #x);                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static const rbk_str schemes = {"https,wss", 9};

/* scheme "://" host [":" port] target. The host is lower case and without its trailing
 * dot, so the text may differ, but what it means may not. */
static void check_again(const rbk_dsn *d)
{
    static char text[RBK_DSN_MAX + 300];
    rbk_dsn again;
    int n = snprintf(text, sizeof text, "%s%s%.*s", d->receiver, d->target_slash ? "/" : "",
                     RBK_FMT(d->target));
    if (n > RBK_DSN_MAX) /* the port, a "/" or zeros of an address made it longer */
        return;
    MUST(rbk_dsn_parse((rbk_str){text, (size_t)n}, schemes, &again) == RBK_DSN_OK);
    MUST(strcmp(again.scheme_lower, d->scheme_lower) == 0);
    MUST(strcmp(again.host_lower, d->host_lower) == 0);
    MUST(strcmp(again.receiver, d->receiver) == 0);
    MUST(again.kind == d->kind && again.port == d->port);
    MUST(d->kind == RBK_HOST_NAME || memcmp(again.addr, d->addr, sizeof d->addr) == 0);
    rbk_str target = again.target;
    if (d->target_slash) {
        MUST(target.n > 0 && target.p[0] == '/');
        target.p++, target.n--;
    }
    MUST(rbk_str_eq(target, d->target));
}

static void check_parts(rbk_str text, const rbk_dsn *d)
{
    MUST(d->host.n > 0 && d->host.p >= text.p && d->host.p + d->host.n <= text.p + text.n);
    MUST(d->target.n > 0 && d->target.p[0] == (d->target_slash ? '?' : '/'));
    MUST(d->port > 0);
    MUST(d->kind != RBK_HOST_IPV4 || rbk_str_eqz(d->host, d->host_lower));
    for (const char *c = d->host_lower; *c; c++)
        MUST(rbk_lower(*c) == *c && *c > ' ' && *c < 0x7f && !strchr("/?#@%\\[]", *c));
    check_again(d);
}

static void check_reason(rbk_dsn_fault fault, rbk_str text)
{
    char out[160];
    memset(out, 1, sizeof out);
    rbk_dsn_reason(fault, text, schemes, out);
    MUST(memchr(out, 0, sizeof out) != NULL);
    for (const char *c = out; *c; c++)
        MUST(*c >= ' ' && *c < 0x7f);
    MUST((fault == RBK_DSN_OK) == (out[0] == 0));
}

static void check_policy(rbk_str setting, rbk_str text, rbk_dsn_fault parsed)
{
    const rbk_netpolicy_conf confs[] = {
        {.schemes = schemes},
        {.schemes = schemes, .hosts = setting},
        {.schemes = schemes, .allow = setting},
        {.schemes = schemes, .deny = setting},
        {.schemes = schemes, .ports = setting},
        {.schemes = setting},
    };
    for (size_t i = 0; i < sizeof confs / sizeof *confs; i++) {
        rbk_netpolicy *p = NULL;
        rbk_error err = {0};
        rbk_dsn d;
        if (rbk_netpolicy_new(&confs[i], NULL, 0, &p, &err) < 0) {
            MUST(err.code == RBK_E_CONFIG && err.detail[0]);
            MUST(i > 0);
            continue;
        }
        rbk_dsn_fault f = rbk_netpolicy_check(p, text, &d);
        MUST(f != RBK_DSN_OK || parsed == RBK_DSN_OK || i == 5);
        if (f == RBK_DSN_OK && d.kind != RBK_HOST_NAME)
            MUST(rbk_netpolicy_addr_ok(p, d.kind, d.addr, d.port));
        rbk_netpolicy_unref(p);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;
    const char *end = size ? memchr(p, '\n', size) : NULL;
    size_t n = end ? (size_t)(end - p) : 0;
    rbk_str setting = {p, n};
    rbk_str text = end ? (rbk_str){end + 1, size - n - 1} : (rbk_str){p, size};
    rbk_dsn d;
    rbk_dsn_fault fault = rbk_dsn_parse(text, schemes, &d);
    check_reason(fault, text);
    if (fault == RBK_DSN_OK)
        check_parts(text, &d);
    check_policy(setting, text, fault);
    return 0;
}
