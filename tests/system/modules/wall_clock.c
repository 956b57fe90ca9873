/* SPDX-License-Identifier: Apache-2.0 */
/* Sets the wall clock of the process that it is preloaded into, and nothing else: by as many
 * nanoseconds as the 8 bytes of the file $RBK_WALL_CLOCK say at that moment. The monotonic clock
 * goes on. Any thread. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int clock_fn(clockid_t id, struct timespec *t);

static _Atomic(clock_fn *) real_clock;
static const _Atomic int64_t *offset; /* set before main() */

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("RBK_WALL_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p == MAP_FAILED)
        abort();
    close(fd);
    offset = p;
}

static int get_real(clockid_t id, struct timespec *t)
{
    clock_fn *fn = atomic_load(&real_clock);
    if (fn == NULL) {
        *(void **)&fn = dlsym(RTLD_NEXT, "clock_gettime");
        atomic_store(&real_clock, fn);
    }
    return fn(id, t);
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *t)
{
    const int64_t second = 1000000000;
    int r = get_real(id, t);
    if (r != 0 || offset == NULL || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
        return r;
    int64_t ns = (int64_t)t->tv_sec * second + t->tv_nsec + atomic_load(offset);
    t->tv_sec = (time_t)(ns / second);
    t->tv_nsec = (long)(ns % second);
    return 0;
}

__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec ts;
    (void)zone;
    int r = clock_gettime(CLOCK_REALTIME, &ts);
    t->tv_sec = ts.tv_sec;
    t->tv_usec = ts.tv_nsec / 1000;
    return r;
}

__attribute__((visibility("default"))) time_t time(time_t *ret)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (ret)
        *ret = ts.tv_sec;
    return ts.tv_sec;
}
