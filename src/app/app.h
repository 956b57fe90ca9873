/* SPDX-License-Identifier: Apache-2.0 */
/* app/app.h - what the commands of the program share.
 *
 * A command is a row of the table in main.c: a function that gets the words behind its
 * name and returns an exit code. */
#ifndef RBK_APP_APP_H
#define RBK_APP_APP_H

#include "app/args.h"
#include "ringback.h"
#include "server/options.h"

enum {
    RBK_EXIT_OK = 0,
    RBK_EXIT_FAILED = 1, /* the thing asked for failed */
    RBK_EXIT_USAGE = 2,  /* command line or configuration */
    RBK_EXIT_STORE = 74  /* the store cannot be trusted (EX_IOERR) */
};

typedef struct rbk_command {
    const char *name, *words; /* "call", "URL METHOD [PARAMS]" */
    const char *summary;      /* one line */
    const char *help;         /* options and what to expect; ends with a newline */
    bool settings;            /* the option table is part of its help */
    int (*run)(int argc, char **argv);
} rbk_command;

int rbk_cmd_serve(int argc, char **argv);
int rbk_cmd_demo(int argc, char **argv);
int rbk_cmd_listen(int argc, char **argv);
int rbk_cmd_keygen(int argc, char **argv);
int rbk_cmd_call(int argc, char **argv);
int rbk_cmd_check_dsn(int argc, char **argv);
int rbk_cmd_jobs(int argc, char **argv);
int rbk_cmd_receivers(int argc, char **argv);
int rbk_cmd_stats(int argc, char **argv);
int rbk_cmd_store(int argc, char **argv);
int rbk_cmd_token(int argc, char **argv);
int rbk_cmd_config(int argc, char **argv);

/* "ringback: …" on stderr; returns RBK_EXIT_USAGE. */
int rbk_usage(const char *fmt, ...) RBK_PRINTF(1, 2);
/* "ringback: …" on stderr; returns the exit code of the rbk_err `r`. */
int rbk_failed(int r, const char *what);

/* --- settings.c: -c FILE and --set key=value, as several commands take them --- */

#define RBK_SETTINGS_FLAGS {"config", 'c', true}, {"set", 0, true}
enum { RBK_FLAG_CONFIG, RBK_FLAG_SET, RBK_SETTINGS_N };

/* File < environment < --set, whatever their order on the command line. */
typedef struct rbk_settings {
    const char *file;
    const char **sets;
    size_t n_sets;
} rbk_settings;

/* One of the two flags above. 0, or told to stderr and RBK_E_CONFIG or RBK_E_NOMEM. */
int rbk_settings_add(rbk_settings *s, int flag, const char *value);
/* Read everything and check it. NULL with `err`. */
rbk_options *rbk_settings_load(const rbk_settings *s, rbk_error *err);
void rbk_settings_free(rbk_settings *s);

/* --- process.c: signals, limits, output --- */

/* Ignore SIGPIPE. */
void rbk_process_init(void);
void rbk_process_raise_files(void);
/* What large bodies took is given back when they are gone. Before there are threads. */
void rbk_process_return_memory(void);
/* Block SIGTERM, SIGINT and SIGHUP in this thread and those that it starts from now on.
 * A SIGHUP that is ignored (nohup) stays ignored, unless `reload`: it is wanted then. */
void rbk_process_hold(bool reload);
/* Between these two, SIGTERM and SIGINT end the process at once although they are held: a
 * start may take long. 0 or RBK_E_SYS. */
int rbk_process_starting(void);
void rbk_process_started(void);
/* The next signal that was held, or 0 after `timeout_ms`. Main thread. */
int rbk_process_wait(int timeout_ms);
/* The next SIGTERM or SIGINT ends the process at once. */
void rbk_process_end_at_once(void);
/* Print peer bytes on a terminal: control characters become \xNN. */
void rbk_print_peer(rbk_buf *b, rbk_str s);
/* All of `s` to stdout, unbuffered. */
void rbk_print(rbk_str s);

#endif
