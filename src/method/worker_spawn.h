/* SPDX-License-Identifier: Apache-2.0 */
/* method/worker_spawn.h - starting a program with three pipes, and ending it. */
#ifndef RBK_METHOD_WORKER_SPAWN_H
#define RBK_METHOD_WORKER_SPAWN_H

#include <sys/types.h>

#include "ringback/types.h"

typedef struct rbk_spawn_conf {
    const char *path;   /* of the program */
    char *const *argv, *const *envp;
    int64_t memory, cpu_s, files; /* limits; 0: none */
} rbk_spawn_conf;

typedef struct rbk_spawned {
    pid_t pid;       /* also its process group */
    int in, out, err; /* our ends */
    int pidfd;       /* readable once the process has ended; -1: this system has none */
} rbk_spawned;

/* Start it. 0; or a negative errno, with nothing started: also when the program itself cannot be
 * executed. Waits for the exec. The calling thread has its signals blocked; when it ends, the
 * process is killed. */
int rbk_spawn(const rbk_spawn_conf *conf, rbk_spawned *ret);

/* Has it ended? True, and it is reaped with what was left of its group killed; `ret_status` as
 * waitpid() gives it, -1 when somebody else reaped it. */
bool rbk_spawn_ended(pid_t pid, int *ret_status);

/* The path of the program `name`: with a slash as it is, else found along PATH. RBK_E_CONFIG
 * with the name in err->detail when there is none that can be executed; RBK_E_NOMEM. */
int rbk_spawn_find(const char *name, char **ret, rbk_error *err);

/* The environment without variables that begin with RINGBACK_: some hold tokens. One block;
 * NULL when memory is out. */
char **rbk_spawn_env(void);

#endif
