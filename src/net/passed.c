/* SPDX-License-Identifier: Apache-2.0 */
/* net/passed.c - see passed.h. */
#include "net/passed.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIRST = 3, NAMES_MAX = 16 << 10 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static rbk_str names[RBK_PASSED_MAX];
static size_t n_passed;

/* Theirs are those that are meant for this very process. */
static size_t count(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    uint64_t whose = 0, fds = 0;
    if (pid == NULL || n == NULL || rbk_str_u64(rbk_str_z(pid), INT32_MAX, &whose) < 0 ||
        rbk_str_u64(rbk_str_z(n), INT32_MAX - FIRST, &fds) < 0 || whose != (uint64_t)getpid())
        return 0;
    return fds < RBK_PASSED_MAX ? (size_t)fds : RBK_PASSED_MAX;
}

/* "web:unix-web". The copy stays as long as the process. */
static void read_names(void)
{
    const char *env = n_passed ? getenv("LISTEN_FDNAMES") : NULL;
    rbk_str rest = rbk_str_z(env ? strndup(env, NAMES_MAX) : NULL);
    for (size_t i = 0; i < n_passed && rest.p; i++) {
        const char *colon = rest.n ? memchr(rest.p, ':', rest.n) : NULL;
        names[i] = (rbk_str){rest.p, colon ? (size_t)(colon - rest.p) : rest.n};
        rest = colon ? (rbk_str){colon + 1, rest.n - names[i].n - 1} : RBK_STR_NONE;
    }
}

static void take(void)
{
    n_passed = count();
    for (size_t i = 0; i < n_passed; i++)
        fcntl(FIRST + (int)i, F_SETFD, FD_CLOEXEC);
    read_names();
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

void rbk_passed_take(void)
{
    pthread_once(&once, take);
}

int rbk_passed_find(rbk_str name, size_t i)
{
    rbk_passed_take();
    for (size_t k = 0; k < n_passed; k++)
        if ((name.n == 0 || rbk_str_eq(names[k], name)) && i-- == 0)
            return FIRST + (int)k;
    return -1;
}
