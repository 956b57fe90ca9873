/* SPDX-License-Identifier: Apache-2.0 */
/* fault/fault_vfs.h - a SQLite VFS over the real one, named "fault", that fails a chosen
 * call, or remembers what a power cut would leave.
 *
 * Calls that are counted: write, sync, truncate, and the opening of a file. The shared
 * memory of the WAL index is passed through: a power cut loses it whole. One test at a
 * time, one thread. */
#ifndef RBK_TEST_FAULT_VFS_H
#define RBK_TEST_FAULT_VFS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct fault_plan {
    int fail_at;   /* the call that fails, from 1; 0: none */
    bool for_ever; /* and all after it */
    int error;     /* EIO, ENOSPC, EDQUOT */
    int cut_at;    /* the call before which the power goes; 0: never */
    uint32_t seed; /* of what the cut does to writes not synced */
    const char *cut_dir; /* where the files are put as the cut leaves them */
    void (*on_cut)(void);
} fault_plan;

void fault_vfs_register(void);
void fault_vfs_plan(const fault_plan *plan); /* and count from 0 */
int fault_vfs_calls(void);                   /* since the plan */
bool fault_vfs_fired(void);

#endif
