/* SPDX-License-Identifier: Apache-2.0 */
/* engine/runs.h - the table of running methods, in a memory-mapped file beside the store.
 *
 * It survives the process, not the machine, and needs no fsync: it tells the next start
 * which jobs were running when the last process died. A row is held from the start of
 * a run until its result is in the store. Any thread. */
#ifndef RBK_ENGINE_RUNS_H
#define RBK_ENGINE_RUNS_H

#include "engine/engine_impl.h"

typedef struct rbk_run_left {
    int64_t seq, rnd;
    uint32_t run;
} rbk_run_left;

/* `store_path` + ".runs"; NULL, or no room on the disk for it: in memory alone (the log
 * says so). RBK_E_SYS, RBK_E_NOMEM. */
int rbk_runs_open(const rbk_log *log, const char *store_path, rbk_runs **ret, rbk_error *err);
void rbk_runs_close(rbk_runs *r);

/* What the process before left running: *ret is malloc'ed, the caller's. Returns how many. */
int rbk_runs_left(rbk_runs *r, rbk_run_left **ret);
void rbk_runs_clear(rbk_runs *r);
/* Leave what the process before left to the next start: its rows are not used. */
void rbk_runs_keep(rbk_runs *r);

/* A row for run number `run` of a job, or RBK_NO_SLOT when the table is full. */
uint32_t rbk_runs_start(rbk_runs *r, const rbk_job *job, uint32_t run);
void rbk_runs_end(rbk_runs *r, uint32_t slot); /* RBK_NO_SLOT is legal */

#endif
