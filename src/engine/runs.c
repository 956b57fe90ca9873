/* SPDX-License-Identifier: Apache-2.0 */
/* engine/runs.c - see runs.h. The file is one header row and RUNS_MAX rows; a row is
 * in use when its seq is not 0. The kernel keeps the pages when the process dies. */
#include "engine/runs.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RUNS_MAX = 65536 };

typedef struct row {
    int64_t seq, rnd;
    uint32_t run, spare;
} row;

static const char magic[8] = "RBKRUNS1";

struct rbk_runs {
    pthread_mutex_t lock;
    row *rows; /* rows[0] is the header: the magic in its seq */
    uint32_t *free_rows;
    uint32_t n_free, next; /* rows from `next` on were never used in this process */
};

static size_t file_size(void)
{
    return sizeof(row) * (RUNS_MAX + 1);
}

/* All of the file's blocks are there before it is mapped: a page that the disk has no room
 * for would kill the process when it is first written. */
static int open_file(const rbk_log *log, const char *store_path, int *ret_fd, rbk_error *err)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s.runs", store_path);
    if (n < 0 || (size_t)n >= sizeof path)
        return rbk_fail(err, RBK_E_CONFIG, "the store's path is too long");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return rbk_fail(err, RBK_E_SYS, "%s: %s", path, strerror(errno));
    int e = ftruncate(fd, (off_t)file_size()) < 0 ? errno
                                                  : posix_fallocate(fd, 0, (off_t)file_size());
    if (e != 0) {
        rbk_event(log, RBK_WARN, "start.runs_in_memory", RBK_FZ("detail", strerror(e)));
        close(fd);
        fd = -1;
    }
    *ret_fd = fd;
    return 0;
}

static int map_file(rbk_runs *r, const rbk_log *log, const char *store_path, rbk_error *err)
{
    int fd = -1, e = store_path ? open_file(log, store_path, &fd, err) : 0;
    if (e < 0)
        return e;
    int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    void *p = mmap(NULL, file_size(), PROT_READ | PROT_WRITE, flags, fd, 0);
    if (fd >= 0)
        close(fd);
    if (p == MAP_FAILED)
        return rbk_fail(err, RBK_E_SYS, "cannot map the table of running methods: %s",
                        strerror(errno));
    r->rows = p;
    return 0;
}

int rbk_runs_open(const rbk_log *log, const char *store_path, rbk_runs **ret, rbk_error *err)
{
    rbk_runs *r = calloc(1, sizeof *r);
    if (r == NULL || (r->free_rows = malloc(RUNS_MAX * sizeof *r->free_rows)) == NULL) {
        free(r);
        return rbk_fail(err, RBK_E_NOMEM, "the table of running methods");
    }
    int e = map_file(r, log, store_path, err);
    if (e < 0) {
        free(r->free_rows);
        free(r);
        return e;
    }
    pthread_mutex_init(&r->lock, NULL);
    r->next = 1;
    if (memcmp(&r->rows[0].seq, magic, sizeof magic) != 0)
        rbk_runs_clear(r); /* new, or not ours */
    *ret = r;
    return 0;
}

void rbk_runs_close(rbk_runs *r)
{
    if (r == NULL)
        return;
    munmap(r->rows, file_size());
    pthread_mutex_destroy(&r->lock);
    free(r->free_rows);
    free(r);
}

int rbk_runs_left(rbk_runs *r, rbk_run_left **ret)
{
    int n = 0, at = 0;
    for (uint32_t i = 1; i <= RUNS_MAX; i++)
        n += r->rows[i].seq != 0;
    *ret = NULL;
    if (n == 0)
        return 0;
    rbk_run_left *list = malloc((size_t)n * sizeof *list);
    if (list == NULL)
        return RBK_E_NOMEM;
    for (uint32_t i = 1; i <= RUNS_MAX; i++)
        if (r->rows[i].seq)
            list[at++] = (rbk_run_left){r->rows[i].seq, r->rows[i].rnd, r->rows[i].run};
    *ret = list;
    return n;
}

void rbk_runs_clear(rbk_runs *r)
{
    for (uint32_t i = 1; i <= RUNS_MAX; i++)
        if (r->rows[i].seq)
            r->rows[i] = (row){0};
    memcpy(&r->rows[0].seq, magic, sizeof magic);
}

void rbk_runs_keep(rbk_runs *r)
{
    for (uint32_t i = 1; i <= RUNS_MAX; i++)
        if (r->rows[i].seq)
            r->next = i + 1;
}

uint32_t rbk_runs_start(rbk_runs *r, const rbk_job *job, uint32_t run)
{
    uint32_t at = RBK_NO_SLOT;
    pthread_mutex_lock(&r->lock);
    if (r->n_free)
        at = r->free_rows[--r->n_free];
    else if (r->next <= RUNS_MAX)
        at = r->next++;
    pthread_mutex_unlock(&r->lock);
    if (at == RBK_NO_SLOT)
        return at;
    row *w = &r->rows[at];
    w->rnd = job->rnd;
    w->run = run;
    /* The row counts from here on; a death before this line is a run not begun. */
    __atomic_store_n(&w->seq, job->seq, __ATOMIC_RELEASE);
    return at;
}

void rbk_runs_end(rbk_runs *r, uint32_t slot)
{
    if (slot == RBK_NO_SLOT)
        return;
    __atomic_store_n(&r->rows[slot].seq, 0, __ATOMIC_RELEASE);
    pthread_mutex_lock(&r->lock);
    r->free_rows[r->n_free++] = slot;
    pthread_mutex_unlock(&r->lock);
}
