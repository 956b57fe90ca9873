/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_config.c - `ringback config`: what the settings are, once everything was read. */
#include "app/app.h"

static int print(rbk_buf *b)
{
    int r = rbk_buf_err(b);
    if (r == 0)
        rbk_print(rbk_buf_view(b));
    rbk_buf_free(b);
    return r == 0 ? RBK_EXIT_OK : rbk_failed(r, rbk_strerror(r));
}

static int run(const rbk_settings *settings, bool test)
{
    rbk_error err = {0};
    rbk_buf b = RBK_BUF(4 << 20);
    rbk_options *o = rbk_settings_load(settings, &err);
    if (o == NULL)
        return rbk_failed(err.code, err.detail);
    int r = test ? rbk_options_check_files(o, NULL, &err) : 0;
    if (test)
        rbk_buf_lit(&b, "good\n");
    else
        rbk_options_dump(o, &b);
    rbk_options_free(o);
    if (r < 0) {
        rbk_buf_free(&b);
        return rbk_failed(r, err.detail);
    }
    return print(&b);
}

static int print_doc(void)
{
    rbk_buf b = RBK_BUF(1 << 20);
    rbk_options_doc(&b, true);
    return print(&b);
}

int rbk_cmd_config(int argc, char **argv)
{
    static const rbk_flag flags[] = {
        RBK_SETTINGS_FLAGS, {"test", 't', false}, {"doc", 0, false}, {NULL, 0, false}};
    enum { TEST = RBK_SETTINGS_N, DOC };
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    rbk_settings settings = {0};
    bool test = false, doc = false;
    int code = RBK_EXIT_USAGE, i;
    while ((i = rbk_args_next(&a)) != RBK_ARG_END) {
        if (i == RBK_ARG_BAD)
            goto out;
        if (i == RBK_ARG_WORD) {
            rbk_usage("'%s' is too much: config takes options only", a.value);
            goto out;
        }
        test = test || i == TEST;
        doc = doc || i == DOC;
        if (i < RBK_SETTINGS_N && rbk_settings_add(&settings, i, a.value) < 0)
            goto out;
    }
    code = doc ? print_doc() : run(&settings, test);
out:
    rbk_settings_free(&settings);
    return code;
}
