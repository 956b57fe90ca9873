/* SPDX-License-Identifier: Apache-2.0 */
/* app/process.c - what belongs to the process and not to the library: signals, limits,
 * standard output and error. The main thread alone, but for the printing. */
#include "app/app.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { UP = SIGUSR1 }; /* tells the thread that waits for signals: the start is through */

static sigset_t held;
static sem_t started;
static pthread_t starter;

void rbk_process_init(void)
{
    signal(SIGPIPE, SIG_IGN);
}

static sigset_t ending_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

static bool is_ignored(int signum)
{
    struct sigaction now;
    return sigaction(signum, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

void rbk_process_hold(bool reload)
{
    held = ending_signals();
    if (reload || !is_ignored(SIGHUP))
        sigaddset(&held, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &held, NULL);
}

/* Nobody waits for a start that takes long: the signal ends the process, as if nothing held it. */
static void end_by(int signum)
{
    sigset_t set = ending_signals();
    signal(signum, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(signum);
}

/* The one thread that waits for them. Callers may be served a moment before the start is through: so
 * a signal is kept for that moment, and then is the main thread's. */
static void *take_signals(void *arg)
{
    enum { MOMENT_S = 1 };
    sigset_t set = ending_signals();
    struct timespec by;
    int signum;
    sigaddset(&set, UP);
    while (sigwait(&set, &signum) != 0)
        ;
    if (signum == UP)
        return arg;
    clock_gettime(CLOCK_REALTIME, &by);
    by.tv_sec += MOMENT_S;
    int r;
    while ((r = sem_timedwait(&started, &by)) < 0 && errno == EINTR)
        ;
    if (r < 0)
        end_by(signum);
    kill(getpid(), signum);
    return arg;
}

int rbk_process_starting(void)
{
    sigset_t up, before;
    sem_init(&started, 0, 0);
    sigemptyset(&up);
    sigaddset(&up, UP);
    pthread_sigmask(SIG_BLOCK, &up, &before); /* the thread's from its first moment */
    int r = pthread_create(&starter, NULL, take_signals, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r == 0 ? 0 : RBK_E_SYS;
}

void rbk_process_started(void)
{
    sem_post(&started);
    pthread_kill(starter, UP);
    pthread_join(starter, NULL);
}

void rbk_process_raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* glibc raises its threshold to 32 MiB when it has freed a block of that size, and then keeps such
 * blocks: a burst of large bodies cost hundreds of MiB for good. From 4 MiB on a block is
 * the kernel's; at 1 MiB a body of the usual limit cost three times the time. */
void rbk_process_return_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20); /* as the other would have it */
#endif
}

int rbk_process_wait(int timeout_ms)
{
    struct timespec t = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    int signum = sigtimedwait(&held, NULL, &t);
    return signum > 0 ? signum : 0;
}

void rbk_process_end_at_once(void)
{
    sigset_t set = ending_signals();
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int rbk_usage(const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fprintf(stderr, "ringback: %s\n", text);
    return RBK_EXIT_USAGE;
}

int rbk_failed(int r, const char *what)
{
    fprintf(stderr, "ringback: %s\n", what);
    if (r == RBK_E_CONFIG)
        return RBK_EXIT_USAGE;
    return r == RBK_E_IO ? RBK_EXIT_STORE : RBK_EXIT_FAILED;
}

void rbk_print_peer(rbk_buf *b, rbk_str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        unsigned char next = i + 1 < s.n ? (unsigned char)s.p[i + 1] : 0;
        if (c == 0xc2 && next >= 0x80 && next <= 0x9f) /* U+0080 to U+009F steer terminals too */
            rbk_buf_addf(b, "\\xc2\\x%02x", (unsigned char)s.p[++i]);
        else if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
            rbk_buf_addf(b, "\\x%02x", c);
        else
            rbk_buf_c(b, (char)c);
    }
}

static void write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done <= 0)
            return;
        p += done;
        n -= (size_t)done;
    }
}

void rbk_print(rbk_str s)
{
    write_all(STDOUT_FILENO, s.p, s.n);
}
