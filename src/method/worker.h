/* SPDX-License-Identifier: Apache-2.0 */
/* method/worker.h - methods run by programs that ringback starts: a request a line on their
 * standard input, a response a line on their standard output (docs/workers.md).
 *
 * One rbk_workers is one command, as so many processes, on a loop thread of its own. Calls wait
 * in order for a process with room. What a process does wrong costs the calls that it had, and
 * itself: it is killed with its children, and another one is started, later each time it dies
 * without having answered. */
#ifndef RBK_METHOD_WORKER_H
#define RBK_METHOD_WORKER_H

#include "base/log.h"
#include "ringback.h"

typedef struct rbk_workers rbk_workers;

enum {
    RBK_WORKERS_MAX = 1024,      /* processes of one command */
    RBK_WORKER_PIPELINE_MAX = 1024,
    RBK_WORKER_ARGS_MAX = 64,    /* words of a command */
    RBK_WORKER_COMMAND_MAX = 4096,
    RBK_WORKERS_QUEUE_MAX = 65536 /* calls in hand; one more is answered -32009 */
};

/* Strings are copied. A 0 means what stands behind it. */
typedef struct rbk_workers_conf {
    const char *command;  /* program and arguments: see rbk_worker_split() */
    const char *name;     /* for the log; NULL: the program */
    size_t workers;       /* processes: 1 */
    size_t pipelining;    /* calls that one process has at a time: 1 */
    unsigned retries;     /* how often a repeatable call is begun anew when its process died */
    size_t max_result;    /* bytes of a result; a line may have a little more: 1M */
    int64_t memory;       /* bytes of address space of a process: no limit */
    int64_t cpu_s;        /* seconds of processor time in its whole life: no limit */
    int64_t files;        /* file descriptors: no limit */
    int64_t eof_ms;       /* after end of file on its input, until it gets SIGTERM: 2 s */
    int64_t term_ms;      /* after SIGTERM, until it gets SIGKILL: 2 s */
} rbk_workers_conf;

/* Take a command apart into words, divided by blanks and tabs. A part in double quotes is as it
 * stands, blanks and all, but for \" and \\; nothing else is special. `ret` is one block: an
 * array of pointers that ends in NULL, to be freed as a whole. RBK_E_CONFIG with what is wrong in
 * err->detail, RBK_E_NOMEM. Any thread. */
int rbk_worker_split(const char *command, char ***ret, rbk_error *err);

/* Can the command be taken apart, and its program be executed? RBK_E_CONFIG with the program's name,
 * RBK_E_NOMEM. Any thread. */
int rbk_worker_check(const char *command, rbk_error *err);

/* Find the program, start the loop and the processes. `log` lives longer. RBK_E_CONFIG with the
 * program's name when it cannot be run, RBK_E_NOMEM, RBK_E_SYS. */
int rbk_workers_new(const rbk_workers_conf *conf, const rbk_log *log, rbk_workers **ret,
                    rbk_error *err);

/* An rbk_method_fn: `user` is the rbk_workers. Any thread; never blocks. */
void rbk_workers_call(rbk_call *call, void *user);

/* Orderly: no new calls; those in hand are finished, for `grace_ms`, then let go of; then the
 * processes see end of file, and are ended where that is not enough. Returns when all is ended.
 * Twice is legal. Any thread but the loop's. */
void rbk_workers_stop(rbk_workers *w, int64_t grace_ms);
/* Begins that, and does not wait for it. */
void rbk_workers_close(rbk_workers *w, int64_t grace_ms);
void rbk_workers_free(rbk_workers *w); /* stops first, without a grace; NULL is legal */

#endif
