/* SPDX-License-Identifier: Apache-2.0 */
/* app/cmd_serve.c - `ringback serve`: the server as a process of its own.
 *
 * Reads the settings, starts the library, and then only waits for signals: SIGTERM and
 * SIGINT drain and end (a second one at once, one before the server is up within a second),
 * SIGHUP reads the settings and the files of keys anew. The main thread alone. */
#include "app/app.h"
#include "app/log_writer.h"

#include "base/error.h"
#include "net/passed.h"
#include "server/server_internal.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { HEALTH_MS = 500 };

static void write_line(void *user, rbk_level level, const char *line, size_t n)
{
    (void)n;
    rbk_log_writer_line(user, (rbk_log_level)level, line);
}

static rbk_log make_log(const rbk_options *o)
{
    return (rbk_log){
        .level = (rbk_level)o->log_level, .json = o->log_json != 0, .write = write_line};
}

/* A fault of the settings leaves all of them as they are; the files of keys are read again
 * in any case. The library logs what comes of it. */
static void reload(rbk_server *s, const rbk_settings *settings, rbk_log *log)
{
    rbk_error err = {0};
    rbk_options *o = rbk_settings_load(settings, &err);
    rbk_server *fresh = o ? rbk_server_new() : NULL;
    rbk_level level = o ? (rbk_level)o->log_level : log->level;
    if (o && fresh == NULL)
        rbk_fail(&err, RBK_E_NOMEM, "out of memory");
    if (fresh)
        rbk_server_use_options(fresh, o);
    else
        rbk_options_free(o);
    if (fresh == NULL)
        rbk_event(log, RBK_ERROR, "config.refused", RBK_FZ("detail", err.detail));
    if (rbk_server_reload(s, fresh) == 0 && fresh)
        log->level = level;
    rbk_server_free(fresh);
}

static int wait_for_end(rbk_server *s, const rbk_settings *settings, rbk_log *log)
{
    while (rbk_server_health(s) != RBK_E_IO) {
        int signum = rbk_process_wait(HEALTH_MS);
        if (signum == SIGHUP)
            reload(s, settings, log);
        else if (signum > 0)
            return RBK_EXIT_OK;
    }
    return RBK_EXIT_STORE;
}

static _Noreturn void end_now(int code)
{
    rbk_log_writer_stop();
    _exit(code);
}

static int serve(rbk_options *o, const rbk_settings *settings)
{
    rbk_log log = make_log(o);
    if (rbk_log_writer_start(STDERR_FILENO, log.json) < 0) {
        rbk_options_free(o);
        return rbk_failed(RBK_E_SYS, "the log's thread cannot start");
    }
    rbk_server *s = rbk_server_new();
    int r = s ? rbk_server_use_options(s, o) : RBK_E_NOMEM;
    if (s == NULL) {
        rbk_options_free(o);
        return rbk_failed(r, rbk_strerror(r));
    }
    rbk_server_log(s, rbk_log_writer_line, NULL);
    if (r == 0)
        r = rbk_server_start(s);
    if (r < 0) {
        rbk_log_writer_stop();
        int code = rbk_failed(r, rbk_server_error(s));
        rbk_server_free(s);
        return code;
    }
    rbk_process_started();
    int code = wait_for_end(s, settings, &log);
    if (code == RBK_EXIT_STORE) /* nothing of it can be finished; the jobs are on the disk */
        end_now(code);
    rbk_process_end_at_once();
    if (rbk_server_stop(s) != 0) /* a method may still run: nothing is taken from under it */
        end_now(code);
    rbk_server_free(s);
    rbk_log_writer_stop();
    return code;
}

int rbk_cmd_serve(int argc, char **argv)
{
    static const rbk_flag flags[] = {RBK_SETTINGS_FLAGS, {NULL, 0, false}};
    rbk_args a = {.argc = argc, .argv = argv, .flags = flags};
    rbk_settings settings = {0};
    rbk_error err = {0};
    int code = RBK_EXIT_USAGE, i;
    while ((i = rbk_args_next(&a)) != RBK_ARG_END) {
        if (i == RBK_ARG_WORD)
            rbk_usage("'%s' is too much: serve takes options only; a file is given as -c %s", a.value,
                      a.value);
        if (i < 0 || rbk_settings_add(&settings, i, a.value) < 0)
            goto out;
    }
    rbk_passed_take(); /* no thread reads the environment yet */
    rbk_process_raise_files();
    rbk_process_return_memory();
    rbk_process_hold(true);
    if (rbk_process_starting() < 0) {
        code = rbk_failed(RBK_E_SYS, "no thread can start");
        goto out;
    }
    rbk_options *o = rbk_settings_load(&settings, &err);
    code = o ? serve(o, &settings) : rbk_failed(err.code, err.detail);
out:
    rbk_settings_free(&settings);
    return code;
}
