/* SPDX-License-Identifier: Apache-2.0 */
/* seam/job.c - copying, freeing and weighing an rbk_job.
 *
 * A copy owns one block, mem[0], with all its strings one behind the other, each with
 * a NUL behind its end that `n` does not count. Absent strings (`p` NULL) stay absent,
 * empty ones stay empty. No state; any thread. */
#include "ringback/store.h"

#include <stdlib.h>
#include <string.h>

/* Every string of a job, so that none is forgotten in one of the three functions. */
#define JOB_STRINGS(X)                                                                             \
    X(lane) X(method) X(rpc_id) X(params) X(callback) X(caller) X(ray_id) X(headers)               \
    X(response) X(reason) X(failure_callback) X(idem_key) X(order_key) X(method_headers)     \
    X(chain)

#define ONE(f) +1
enum { JOB_STRINGS_N = JOB_STRINGS(ONE) };
#undef ONE

static size_t count_bytes(const rbk_job *job)
{
    size_t n = 0;
#define ADD(f) n += job->f.p ? job->f.n : 0;
    JOB_STRINGS(ADD)
#undef ADD
    return n;
}

static rbk_str copy_str(rbk_str s, char **at)
{
    if (s.p == NULL)
        return (rbk_str){NULL, 0};
    char *to = *at;
    if (s.n)
        memcpy(to, s.p, s.n);
    to[s.n] = 0;
    *at = to + s.n + 1;
    return (rbk_str){to, s.n};
}

rbk_job *rbk_job_copy(const rbk_job *from)
{
    size_t n = count_bytes(from);
    rbk_job *job = malloc(sizeof *job);
    /* room for the NUL of each string, present or not */
    char *block = malloc(n + JOB_STRINGS_N);
    if (job == NULL || block == NULL) {
        free(job);
        free(block);
        return NULL;
    }
    *job = *from;
    job->next = NULL;
    job->mem[0] = block;
    job->mem[1] = job->mem[2] = NULL;
#define COPY(f) job->f = copy_str(from->f, &block);
    JOB_STRINGS(COPY)
#undef COPY
    return job;
}

void rbk_job_free(rbk_job *job)
{
    if (job == NULL)
        return;
    for (size_t i = 0; i < sizeof job->mem / sizeof job->mem[0]; i++)
        free(job->mem[i]);
    free(job);
}

size_t rbk_job_bytes(const rbk_job *job)
{
    return sizeof *job + count_bytes(job);
}
