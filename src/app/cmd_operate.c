/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_operate.c - `ringback receivers`, `ringback stats` and `ringback store`. The first
 * two ask a running server; a backup reads the store's own file, beside whoever uses it. */
#include "app/admin_client.h"

#include "base/error.h"
#include "seam/stores.h"

#include <stdio.h>

static const char *text_of(yyjson_val *obj, const char *name)
{
    yyjson_val *v = yyjson_obj_get(obj, name);
    return yyjson_is_raw(v) ? yyjson_get_raw(v) : yyjson_get_str(v);
}

/* --- Receivers --------------------------------------------------------------------------- */

static void print_receivers(const rbk_admin_client *c, yyjson_val *list, bool first)
{
    static const char *const heads[] = {"RECEIVER", "STATE", "QUEUED", "IN FLIGHT", "FAILS", "WHY"};
    static const char *const names[] = {"receiver", NULL, "queued", "in_flight", "fails", "why"};
    rbk_columns t = {.n = sizeof heads / sizeof heads[0]};
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    for (size_t i = 0; first && !c->json && i < t.n; i++)
        rbk_columns_add(&t, heads[i]);
    for (yyjson_val *r; (r = yyjson_arr_iter_next(&it));) {
        bool held = yyjson_get_bool(yyjson_obj_get(r, "held"));
        bool paused = yyjson_get_bool(yyjson_obj_get(r, "paused"));
        if (c->json)
            rbk_print_json(r);
        for (size_t i = 0; !c->json && i < t.n; i++)
            rbk_columns_add(&t, names[i]  ? text_of(r, names[i])
                                : held    ? "held"
                                : paused  ? "paused"
                                          : "ok");
    }
    if (t.cells.n)
        rbk_columns_print(&t);
}

static int list_receivers(const rbk_admin_client *c)
{
    char after[512] = "";
    int code = RBK_EXIT_OK;
    bool first = true;
    do {
        rbk_buf params = RBK_BUF(4096);
        yyjson_val *result = NULL;
        rbk_buf_lit(&params, "{\"limit\":500");
        if (after[0]) {
            rbk_buf_lit(&params, ",\"after\":");
            rbk_buf_json_str(&params, rbk_str_z(after));
        }
        rbk_buf_c(&params, '}');
        yyjson_doc *doc =
            rbk_admin_ask(c, "rpc.receivers.list", rbk_buf_view(&params), &result, &code);
        rbk_buf_free(&params);
        if (doc == NULL)
            return code;
        const char *next = text_of(result, "after");
        print_receivers(c, yyjson_obj_get(result, "receivers"), first);
        snprintf(after, sizeof after, "%s", next ? next : "");
        yyjson_doc_free(doc);
        first = false;
    } while (after[0]);
    return code;
}

static int hold_receiver(const rbk_admin_client *c, const char *verb, const char *receiver)
{
    rbk_buf params = RBK_BUF(8192);
    yyjson_val *result = NULL;
    char method[40];
    int code = RBK_EXIT_OK;
    snprintf(method, sizeof method, "rpc.receivers.%s", verb);
    rbk_buf_lit(&params, "{\"receiver\":");
    rbk_buf_json_str(&params, rbk_str_z(receiver));
    rbk_buf_c(&params, '}');
    yyjson_doc *doc = rbk_admin_ask(c, method, rbk_buf_view(&params), &result, &code);
    rbk_buf_free(&params);
    if (doc && c->json)
        rbk_print_json(result);
    else if (doc)
        puts(strcmp(verb, "pause") == 0 ? "paused: nothing is sent to it until it is resumed"
                                        : "resumed");
    yyjson_doc_free(doc);
    return code;
}

int rbk_cmd_receivers(int argc, char **argv)
{
    static const rbk_flag flags[] = {RBK_ADMIN_FLAGS, {NULL, 0, false}};
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    rbk_admin_client c = {0};
    const char *words[2] = {NULL, NULL};
    size_t n = 0;
    for (int i; (i = rbk_args_next(&a)) != RBK_ARG_END;) {
        if (i == RBK_ARG_BAD)
            return RBK_EXIT_USAGE;
        if (i == RBK_ARG_WORD && n == 2)
            return rbk_usage("'%s' is too much", a.value);
        if (i == RBK_ARG_WORD)
            words[n++] = a.value;
        else
            rbk_admin_client_flag(&c, i, a.value);
    }
    if (n == 1 && strcmp(words[0], "list") == 0)
        return list_receivers(&c);
    if (n == 2 && (strcmp(words[0], "pause") == 0 || strcmp(words[0], "resume") == 0))
        return hold_receiver(&c, words[0], words[1]);
    return rbk_usage("receivers wants list, or pause or resume with a receiver like "
                     "https://example.com:443");
}

/* --- Numbers ----------------------------------------------------------------------------- */

static void add_callers(rbk_columns *t, yyjson_val *callers)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(callers);
    for (yyjson_val *one; (one = yyjson_arr_iter_next(&it));) {
        char name[100];
        snprintf(name, sizeof name, "pending of %s", text_of(one, "caller"));
        rbk_columns_add(t, name);
        rbk_columns_add(t, yyjson_get_raw(yyjson_obj_get(one, "pending")));
        snprintf(name, sizeof name, "pending_bytes of %s", text_of(one, "caller"));
        rbk_columns_add(t, name);
        rbk_columns_add(t, yyjson_get_raw(yyjson_obj_get(one, "pending_bytes")));
    }
}

int rbk_cmd_stats(int argc, char **argv)
{
    static const rbk_flag flags[] = {RBK_ADMIN_FLAGS, {NULL, 0, false}};
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    rbk_admin_client c = {0};
    yyjson_val *result = NULL;
    int code = RBK_EXIT_OK;
    for (int i; (i = rbk_args_next(&a)) != RBK_ARG_END;) {
        if (i == RBK_ARG_BAD)
            return RBK_EXIT_USAGE;
        if (i == RBK_ARG_WORD)
            return rbk_usage("'%s' is too much: stats takes options only", a.value);
        rbk_admin_client_flag(&c, i, a.value);
    }
    yyjson_doc *doc = rbk_admin_ask(&c, "rpc.stats", RBK_STR("{}"), &result, &code);
    if (doc && c.json) {
        rbk_print_json(result);
    } else if (doc) {
        rbk_columns t = {.n = 2};
        yyjson_obj_iter it = yyjson_obj_iter_with(result);
        for (yyjson_val *key; (key = yyjson_obj_iter_next(&it));) {
            yyjson_val *v = yyjson_obj_iter_get_val(key);
            if (yyjson_is_obj(v) || yyjson_is_arr(v))
                continue;
            rbk_columns_add(&t, yyjson_get_str(key));
            rbk_columns_add(&t, yyjson_is_raw(v) ? yyjson_get_raw(v) : yyjson_get_str(v));
        }
        yyjson_obj_iter tries = yyjson_obj_iter_with(yyjson_obj_get(result, "attempts"));
        for (yyjson_val *key; (key = yyjson_obj_iter_next(&tries));) {
            char name[80];
            snprintf(name, sizeof name, "attempts %s", yyjson_get_str(key));
            rbk_columns_add(&t, name);
            rbk_columns_add(&t, yyjson_get_raw(yyjson_obj_iter_get_val(key)));
        }
        add_callers(&t, yyjson_obj_get(result, "callers"));
        rbk_columns_print(&t);
    }
    yyjson_doc_free(doc);
    return code;
}

/* --- Backups ----------------------------------------------------------------------------- */

static int back_up(const rbk_options *o, const char *path)
{
    rbk_server *s = rbk_server_new(); /* whose making fills the table of stores */
    const rbk_store_ops *ops = s ? rbk_stores_find(rbk_str_z(o->store_dsn)) : NULL;
    rbk_error err = {0};
    int r = ops ? 0 : rbk_fail(&err, RBK_E_CONFIG, "store.dsn: %s: no such store", o->store_dsn);
    if (r == 0 && ops->backup == NULL)
        r = rbk_fail(&err, RBK_E_CONFIG, "store.dsn: %s: this store has no backup", o->store_dsn);
    if (r == 0)
        r = ops->backup(&(rbk_store_conf){.dsn = o->store_dsn}, path, &err);
    rbk_server_free(s);
    if (r < 0)
        return rbk_failed(r, err.detail[0] ? err.detail : rbk_strerror(r));
    printf("%s is a copy of %s\n", path, o->store_dsn);
    return RBK_EXIT_OK;
}

int rbk_cmd_store(int argc, char **argv)
{
    static const rbk_flag flags[] = {RBK_SETTINGS_FLAGS, {NULL, 0, false}};
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    rbk_settings settings = {0};
    rbk_error err = {0};
    const char *words[2] = {NULL, NULL};
    size_t n = 0;
    int code = RBK_EXIT_USAGE, i;
    while ((i = rbk_args_next(&a)) != RBK_ARG_END) {
        if (i == RBK_ARG_BAD || (i >= 0 && rbk_settings_add(&settings, i, a.value) < 0))
            goto out;
        if (i == RBK_ARG_WORD && n == 2) {
            rbk_usage("'%s' is too much", a.value);
            goto out;
        }
        if (i == RBK_ARG_WORD)
            words[n++] = a.value;
    }
    if (n != 2 || strcmp(words[0], "backup") != 0) {
        rbk_usage("store wants: backup FILE");
        goto out;
    }
    rbk_options *o = rbk_settings_load(&settings, &err);
    code = o ? back_up(o, words[1]) : rbk_failed(err.code, err.detail);
    rbk_options_free(o);
out:
    rbk_settings_free(&settings);
    return code;
}
