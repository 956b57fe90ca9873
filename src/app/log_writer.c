/* SPDX-License-Identifier: Apache-2.0 */
/* app/log_writer.c - see log_writer.h.
 *
 * Any thread appends a line to the ring under the lock; the writer's thread takes whole
 * lines out of it and writes them without the lock. After the first line that does not fit
 * all are dropped until half of the ring is free, so that the log has one gap and not many.
 * Everything is static: a thread that is left behind at the end may still use it. */
#include "app/log_writer.h"

#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

/* A write of PIPE_BUF (4096) bytes or less is not torn apart by other writers. */
enum { RING_BYTES = 1 << 20, CHUNK = 4096, FLUSH_MS = 200 };

static char ring[RING_BYTES];
static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake, end;
    pthread_t thread;
    int fd;
    bool json, running, ending, ended;
    size_t head, n; /* what waits: `n` bytes of the ring from `head` on */
    uint64_t dropped;
} w = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- The ring; with the lock held ----------------------------------------------------------- */

static void put(const char *p, size_t n)
{
    size_t at = (w.head + w.n) % RING_BYTES;
    size_t first = n < RING_BYTES - at ? n : RING_BYTES - at;
    memcpy(ring + at, p, first);
    memcpy(ring, p + first, n - first);
    w.n += n;
}

static bool append(const char *line)
{
    size_t n = strnlen(line, CHUNK - 1);
    if (n + 1 > RING_BYTES - w.n)
        return false;
    put(line, n);
    put("\n", 1);
    return true;
}

/* Whole lines, as many as fit: at least one, for none is longer than a chunk. */
static size_t take(char out[CHUNK])
{
    size_t n = 0, fit = w.n < CHUNK ? w.n : CHUNK;
    for (size_t i = 0; i < fit; i++) {
        out[i] = ring[(w.head + i) % RING_BYTES];
        if (out[i] == '\n')
            n = i + 1;
    }
    w.head = (w.head + n) % RING_BYTES;
    w.n -= n;
    return n;
}

static void append_own(void *user, rbk_level level, const char *line, size_t n)
{
    (void)user, (void)level, (void)n;
    append(line);
}

static void tell_dropped(void)
{
    rbk_log log = {.json = w.json, .write = append_own};
    rbk_event(&log, RBK_WARN, "log.dropped", RBK_F("lines", w.dropped));
    w.dropped = 0;
}

/* --- The thread ------------------------------------------------------------------------------- */

static void write_chunk(const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(w.fd, p, n);
        if (done < 0 && errno == EAGAIN)
            poll(&(struct pollfd){.fd = w.fd, .events = POLLOUT}, 1, -1);
        else if (done < 0 && errno != EINTR)
            return; /* nobody reads it any more */
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        }
    }
}

static void *run_writer(void *arg)
{
    char chunk[CHUNK];
    pthread_mutex_lock(&w.lock);
    for (;;) {
        if (w.dropped && w.n <= RING_BYTES / 2)
            tell_dropped();
        if (w.n == 0 && w.ending)
            break;
        if (w.n == 0) {
            pthread_cond_wait(&w.wake, &w.lock);
            continue;
        }
        size_t n = take(chunk);
        pthread_mutex_unlock(&w.lock);
        write_chunk(chunk, n);
        pthread_mutex_lock(&w.lock);
    }
    w.ended = true;
    pthread_cond_signal(&w.end);
    pthread_mutex_unlock(&w.lock);
    return arg;
}

int rbk_log_writer_start(int fd, bool json)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w.wake, NULL);
    pthread_cond_init(&w.end, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&w.lock);
    w.fd = fd;
    w.json = json;
    w.ending = w.ended = false;
    w.head = w.n = 0;
    w.dropped = 0;
    w.running = pthread_create(&w.thread, NULL, run_writer, NULL) == 0;
    int r = w.running ? 0 : RBK_E_SYS;
    pthread_mutex_unlock(&w.lock);
    return r;
}

void rbk_log_writer_line(void *user, rbk_log_level level, const char *line)
{
    (void)user, (void)level;
    pthread_mutex_lock(&w.lock);
    bool idle = w.n == 0;
    if (w.running && (w.dropped || !append(line)))
        w.dropped++;
    if (w.running && idle)
        pthread_cond_signal(&w.wake);
    pthread_mutex_unlock(&w.lock);
}

void rbk_log_writer_stop(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += FLUSH_MS * 1000000L;
    if (t.tv_nsec >= 1000000000)
        t.tv_sec++, t.tv_nsec -= 1000000000;
    pthread_mutex_lock(&w.lock);
    bool running = w.running;
    w.running = false;
    w.ending = true;
    if (running)
        pthread_cond_signal(&w.wake);
    for (int r = 0; running && !w.ended && r == 0;)
        r = pthread_cond_timedwait(&w.end, &w.lock, &t);
    bool ended = w.ended;
    pthread_mutex_unlock(&w.lock);
    if (!running)
        return;
    if (!ended) {
        pthread_detach(w.thread);
        return;
    }
    pthread_join(w.thread, NULL);
    pthread_cond_destroy(&w.wake);
    pthread_cond_destroy(&w.end);
}
