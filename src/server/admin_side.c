/* SPDX-License-Identifier: Apache-2.0 */
/* server/admin_side.c - see admin_side.h. */
#include "server/admin_side.h"

#include "base/error.h"
#include "server/signing.h"

/* One line; blanks and the end of line around it do not count. */
static int find_token(const rbk_buf *text, rbk_str *ret)
{
    rbk_str token = rbk_str_trim(rbk_buf_view(text));
    while (token.n && strchr(" \t\r\n", token.p[token.n - 1]))
        token.n--;
    for (size_t i = 0; i < token.n; i++)
        if (token.p[i] <= ' ' || token.p[i] > '~')
            return RBK_E_CONFIG;
    *ret = token;
    return token.n >= RBK_ADMIN_TOKEN_MIN && token.n <= RBK_ADMIN_TOKEN_MAX ? 0 : RBK_E_CONFIG;
}

int rbk_admin_side_reload(rbk_admin_front *f, const rbk_options *o, rbk_error *err)
{
    const char *path = o->admin_token_file;
    rbk_buf text;
    rbk_error what = {0};
    rbk_str token = RBK_STR_NONE;
    if (path[0] == 0 && rbk_admin_front_has_token(f)) /* it may be all that guards the address */
        return rbk_fail(err, RBK_E_CONFIG, "admin.token_file: goes away only with a new start");
    if (path[0] == 0)
        return 0;
    int r = rbk_secret_read(path, &text, &what);
    if (r < 0)
        rbk_fail(err, r, "admin.token_file: %s", what.detail);
    else if ((r = find_token(&text, &token)) < 0)
        rbk_fail(err, r,
                 "admin.token_file: %s: must be one line of %d to %d ASCII characters without "
                 "blanks", path, RBK_ADMIN_TOKEN_MIN, RBK_ADMIN_TOKEN_MAX);
    else
        rbk_admin_front_use_token(f, token);
    rbk_secret_free(&text);
    return r;
}

int rbk_admin_side_new(const rbk_options *o, const rbk_log *log, bool few_files,
                       rbk_admin_front **ret, rbk_error *err)
{
    rbk_admin_front_conf conf = {.listen = rbk_str_z(o->admin_listen), .few_files = few_files,
                                 .socket_mode = rbk_options_socket_mode(o), .log = log};
    int r = rbk_admin_front_new(&conf, ret, err);
    return r < 0 ? r : rbk_admin_side_reload(*ret, o, err);
}
