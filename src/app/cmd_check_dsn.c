/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_check_dsn.c - `ringback check-dsn`: would this callback be accepted, and which
 * check refuses it? Asks the policy that the server asks; no packet is sent. */
#include "app/app.h"
#include "core/netpolicy.h"

#include <stdio.h>
#include <stdlib.h>

enum { OWN_MAX = 24 };

/* The addresses of an option that options_check has looked at, behind `n` others. */
static size_t find_own(const char *listen, size_t n, rbk_own_listener own[OWN_MAX])
{
    for (const char *p = listen; *p && n < OWN_MAX;) {
        size_t len = strcspn(p, ",");
        rbk_str item = rbk_str_trim((rbk_str){p, len});
        const char *colon = memrchr(item.p, ':', item.n);
        rbk_str host = {item.p, colon ? (size_t)(colon - item.p) : 0};
        uint64_t port = 0;
        if (colon)
            rbk_str_u64((rbk_str){colon + 1, item.n - host.n - 1}, 65535, &port);
        own[n] = (rbk_own_listener){.kind = RBK_HOST_IPV4, .port = (uint16_t)port};
        if (host.n > 2 && host.p[0] == '[') {
            own[n].kind = RBK_HOST_IPV6;
            rbk_parse_ipv6((rbk_str){host.p + 1, host.n - 2}, own[n].addr);
        } else if (host.n) {
            rbk_parse_ipv4(host, own[n].addr);
        }
        n++;
        p += len + (p[len] == ',');
    }
    return n;
}

static int check(const rbk_options *o, const char *text)
{
    rbk_own_listener own[OWN_MAX];
    rbk_netpolicy_conf conf = {
        .schemes = rbk_str_z(o->schemes), .hosts = rbk_str_z(o->hosts),
        .allow = rbk_str_z(o->allow), .deny = rbk_str_z(o->deny), .ports = rbk_str_z(o->ports)};
    rbk_netpolicy *policy = NULL;
    rbk_error err = {0};
    rbk_dsn dsn;
    char reason[160];
    size_t n = find_own(o->admin_listen, find_own(o->listen, 0, own), own);
    int r = rbk_netpolicy_new(&conf, own, n, &policy, &err);
    if (r < 0)
        return rbk_failed(r, err.detail);
    rbk_dsn_fault fault = rbk_netpolicy_check(policy, rbk_str_z(text), &dsn);
    rbk_netpolicy_free(policy);
    if (fault == RBK_DSN_OK) {
        printf("accepted\nreceiver: %s\n", dsn.receiver);
        return RBK_EXIT_OK;
    }
    rbk_dsn_reason(fault, rbk_str_z(text), conf.schemes, reason);
    printf("refused: %s\ncheck: %s\n", reason, rbk_dsn_check(fault));
    return RBK_EXIT_FAILED;
}

int rbk_cmd_check_dsn(int argc, char **argv)
{
    static const rbk_flag flags[] = {RBK_SETTINGS_FLAGS, {NULL, 0, false}};
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    rbk_settings settings = {0};
    rbk_options *o = NULL;
    rbk_error err = {0};
    const char *text = NULL;
    int code = RBK_EXIT_USAGE, i;
    while ((i = rbk_args_next(&a)) != RBK_ARG_END) {
        if (i == RBK_ARG_BAD || (i >= 0 && rbk_settings_add(&settings, i, a.value) < 0))
            goto out;
        if (i == RBK_ARG_WORD && text) {
            rbk_usage("check-dsn takes one DSN");
            goto out;
        }
        if (i == RBK_ARG_WORD)
            text = a.value;
    }
    if (text == NULL) {
        rbk_usage("check-dsn wants a DSN, like https://example.com/callback");
        goto out;
    }
    o = rbk_settings_load(&settings, &err);
    code = o ? check(o, text) : rbk_failed(err.code, err.detail);
out:
    rbk_options_free(o);
    rbk_settings_free(&settings);
    return code;
}
