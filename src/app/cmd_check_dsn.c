/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_check_dsn.c - `ringback check-dsn`: would this callback be accepted, and which
 * check refuses it? Asks the policy that the server asks; no packet is sent. */
#include "app/app.h"
#include "core/netpolicy.h"
#include "server/own.h"

#include <stdio.h>
#include <stdlib.h>

/* The addresses of an option that options_check has looked at. */
static int find_own(const char *listen, rbk_own *own, rbk_error *err)
{
    rbk_str rest = rbk_str_z(listen), text;
    int r = 0;
    while (r == 0 && rbk_list_next(&rest, &text))
        r = rbk_own_add_text(own, text, err);
    return r;
}

static int check(const rbk_options *o, const char *text)
{
    rbk_own own = {0};
    rbk_netpolicy_conf conf = {
        .schemes = rbk_str_z(o->schemes), .hosts = rbk_str_z(o->hosts),
        .allow = rbk_str_z(o->allow), .deny = rbk_str_z(o->deny), .ports = rbk_str_z(o->ports)};
    rbk_netpolicy *policy = NULL;
    rbk_error err = {0};
    rbk_dsn dsn;
    char reason[160];
    int r = find_own(o->listen, &own, &err);
    if (r == 0)
        r = find_own(o->admin_listen, &own, &err);
    if (r == 0)
        r = rbk_netpolicy_new(&conf, own.list, own.n, &policy, &err);
    rbk_own_free(&own);
    if (r < 0)
        return rbk_failed(r, err.detail);
    rbk_dsn_fault fault = rbk_netpolicy_check(policy, rbk_str_z(text), &dsn);
    rbk_netpolicy_unref(policy);
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
