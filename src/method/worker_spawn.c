/* SPDX-License-Identifier: Apache-2.0 */
/* method/worker_spawn.c - see worker_spawn.h.
 *
 * Not uv_spawn(): it needs a handler for SIGCHLD, and a library that others embed sets none; a
 * pidfd tells the end of a process to the loop as any other file does. And the limits, the end
 * with the parent and the closed descriptors are settled before the program runs its first
 * instruction. Pipes rather than sockets, since `>/dev/stderr` of a shell cannot open those.
 *
 * Between fork and exec the child calls only what is safe in a child of many threads. */
#include "method/worker_spawn.h"

#include "base/error.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { CLOSE_RANGE_ON_EXEC = 4, FILES_LOOKED_AT = 65536 };

extern char **environ;

/* --- In the child --- */

/* Handlers go at the exec by themselves, what is ignored stays so. */
static void reset_signals(void)
{
    sigset_t none;
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Ours are all O_CLOEXEC; those of an embedder may not be. */
static void close_at_exec(int from)
{
    if (syscall(SYS_close_range, (unsigned)from, ~0u, CLOSE_RANGE_ON_EXEC) == 0)
        return;
    for (int fd = from; fd < FILES_LOOKED_AT; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int set_limit(int what, int64_t soft, int64_t hard)
{
    const struct rlimit limit = {(rlim_t)soft, (rlim_t)hard};
    return soft > 0 ? setrlimit(what, &limit) : 0;
}

/* What would be past a limit of our own stays within it. */
static int64_t at_most(int what, int64_t v)
{
    struct rlimit now;
    if (v <= 0 || getrlimit(what, &now) < 0 || now.rlim_max == RLIM_INFINITY)
        return v;
    return (rlim_t)v < now.rlim_max ? v : (int64_t)now.rlim_max;
}

static int set_limits(const rbk_spawn_conf *conf)
{
    int64_t memory = at_most(RLIMIT_AS, conf->memory), files = at_most(RLIMIT_NOFILE, conf->files);
    int64_t cpu = at_most(RLIMIT_CPU, conf->cpu_s);
    if (set_limit(RLIMIT_AS, memory, memory) < 0 || set_limit(RLIMIT_NOFILE, files, files) < 0)
        return -1;
    return set_limit(RLIMIT_CPU, cpu, at_most(RLIMIT_CPU, cpu + 1)); /* SIGXCPU, then SIGKILL */
}

static void run_child(const rbk_spawn_conf *conf, const int ends[3], int report, pid_t parent)
{
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127); /* it is dead already */
    for (int i = 0; i < 3; i++)
        if (dup2(ends[i], i) < 0)
            goto fail;
    close_at_exec(3);
    if (set_limits(conf) < 0)
        goto fail;
    reset_signals();
    execve(conf->path, conf->argv, conf->envp);
fail:;
    int e = errno;
    while (write(report, &e, sizeof e) < 0 && errno == EINTR)
        ;
    _exit(127);
}

/* --- In the parent --- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A pipe whose ends are above those that the child puts its own on. */
static int make_pipe(int fds[2])
{
    if (pipe2(fds, O_CLOEXEC) < 0) {
        fds[0] = fds[1] = -1;
        return -errno;
    }
    for (int i = 0; i < 2; i++) {
        if (fds[i] > 2)
            continue;
        int up = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        if (up < 0)
            return -errno;
        close(fds[i]);
        fds[i] = up;
    }
    return 0;
}

/* What kept the child from its program: an errno, or 0 when it runs. */
static int read_report(int fd)
{
    int e = 0;
    ssize_t n;
    do
        n = read(fd, &e, sizeof e);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof e ? e : 0;
}

static int start(const rbk_spawn_conf *conf, const int ends[3], int report[2], pid_t *ret)
{
    pid_t self = getpid(), pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        run_child(conf, ends, report[1], self);
    close_fd(&report[1]);
    int e = read_report(report[0]);
    if (e == 0) {
        *ret = pid;
        return 0;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return -e;
}

int rbk_spawn(const rbk_spawn_conf *conf, rbk_spawned *ret)
{
    int p[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}}; /* in, out, err, report */
    int r = 0;
    for (int i = 0; i < 4 && r == 0; i++)
        r = make_pipe(p[i]);
    if (r == 0)
        r = start(conf, (const int[3]){p[0][0], p[1][1], p[2][1]}, p[3], &ret->pid);
    if (r == 0) {
        ret->in = p[0][1];
        ret->out = p[1][0];
        ret->err = p[2][0];
        ret->pidfd = (int)syscall(SYS_pidfd_open, ret->pid, 0);
        p[0][1] = p[1][0] = p[2][0] = -1;
    }
    for (int i = 0; i < 4; i++) {
        close_fd(&p[i][0]);
        close_fd(&p[i][1]);
    }
    return r;
}

bool rbk_spawn_ended(pid_t pid, int *ret_status)
{
    siginfo_t info = {0};
    *ret_status = -1;
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        return errno == ECHILD;
    if (info.si_pid == 0)
        return false;
    kill(-pid, SIGKILL); /* before it is reaped: until then nobody else gets the number */
    if (waitpid(pid, ret_status, WNOHANG) != pid)
        *ret_status = -1;
    return true;
}

/* --- Before the start --- */

/* 0, or an errno. */
static int try_program(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return errno;
    if (!S_ISREG(st.st_mode))
        return EACCES;
    return access(path, X_OK) < 0 ? errno : 0;
}

static int find_along(const char *path, const char *name, char **ret)
{
    size_t n = strlen(path) + strlen(name) + 3;
    char *full = malloc(n);
    if (full == NULL)
        return ENOMEM;
    for (const char *end; path; path = end ? end + 1 : NULL) {
        end = strchr(path, ':');
        int len = (int)(end ? end - path : (ptrdiff_t)strlen(path));
        snprintf(full, n, "%.*s/%s", len ? len : 1, len ? path : ".", name);
        if (try_program(full) == 0) {
            *ret = full;
            return 0;
        }
    }
    free(full);
    return ENOENT;
}

int rbk_spawn_find(const char *name, char **ret, rbk_error *err)
{
    const char *path = getenv("PATH");
    if (strchr(name, '/') == NULL) {
        int r = find_along(path ? path : "/usr/local/bin:/usr/bin:/bin", name, ret);
        if (r == ENOMEM)
            return rbk_fail(err, RBK_E_NOMEM, "worker %s", name);
        if (r != 0)
            return rbk_fail(err, RBK_E_CONFIG,
                            "worker %s: it is not in PATH; a file of this folder is written ./%s",
                            name, name);
        return 0;
    }
    int r = try_program(name);
    if (r != 0)
        return rbk_fail(err, RBK_E_CONFIG, "worker %s: %s", name,
                        r == EACCES ? "it is not an executable file" : strerror(r));
    *ret = strdup(name);
    return *ret ? 0 : rbk_fail(err, RBK_E_NOMEM, "worker %s", name);
}

char **rbk_spawn_env(void)
{
    static const char ours[] = "RINGBACK_";
    size_t n = 0, bytes = 0, at = 0;
    for (char **e = environ; e && *e; e++) {
        n++;
        bytes += strlen(*e) + 1;
    }
    char **block = malloc((n + 1) * sizeof *block + bytes);
    if (block == NULL)
        return NULL;
    char *text = (char *)(block + n + 1);
    for (char **e = environ; e && *e && at < n; e++) {
        if (strncmp(*e, ours, sizeof ours - 1) == 0)
            continue;
        size_t len = strlen(*e) + 1;
        block[at++] = memcpy(text, *e, len);
        text += len;
    }
    block[at] = NULL;
    return block;
}
