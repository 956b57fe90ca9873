/* SPDX-License-Identifier: Apache-2.0 */
/* app/process.c - what belongs to the process and not to the library: signals, limits,
 * standard output and error. */
#include "app/app.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static sigset_t our_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

void rbk_process_init(void)
{
    sigset_t set = our_signals();
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

void rbk_process_raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int rbk_process_wait(int timeout_ms)
{
    sigset_t set = our_signals();
    struct timespec t = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    int signum = sigtimedwait(&set, NULL, &t);
    return signum > 0 ? signum : 0;
}

bool rbk_process_ends(int signum)
{
    return signum == SIGTERM || signum == SIGINT;
}

void rbk_process_end_at_once(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
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

void rbk_log_stderr(void *user, rbk_log_level level, const char *line)
{
    char text[4096];
    size_t n = strnlen(line, sizeof text - 1);
    (void)user, (void)level;
    memcpy(text, line, n);
    text[n] = '\n';
    write_all(STDERR_FILENO, text, n + 1);
}

void rbk_print(rbk_str s)
{
    write_all(STDOUT_FILENO, s.p, s.n);
}
