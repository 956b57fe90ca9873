/* SPDX-License-Identifier: Apache-2.0 */
/* net/passed.h - sockets that whoever started the process opened for it: sd_listen_fds(3), by
 * LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES of the environment, descriptors from 3 on. */
#ifndef RBK_NET_PASSED_H
#define RBK_NET_PASSED_H

#include "base/str.h"

enum { RBK_PASSED_MAX = 64 }; /* more are left alone */

/* Take note of them, once in a process: the variables leave the environment, and no program that
 * we start gets the descriptors. It changes the environment, so where other threads may read that, it
 * has to be called before. */
void rbk_passed_take(void);
/* The i-th of that name, of all where the name is empty; -1: there is none. It stays open, for the
 * next who asks. Takes note first, where nobody did. Any thread. */
int rbk_passed_find(rbk_str name, size_t i);

#endif
