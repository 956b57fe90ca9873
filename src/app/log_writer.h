/* SPDX-License-Identifier: Apache-2.0 */
/* app/log_writer.h - log lines to standard error, from a thread of their own.
 *
 * Whoever reads them may be slow or stand still: that must not hold the threads that
 * serve. Lines wait in a ring of 1 MiB; those that do not fit are dropped, counted, and
 * told of by the event log.dropped. There is one writer in a process. */
#ifndef RBK_APP_LOG_WRITER_H
#define RBK_APP_LOG_WRITER_H

#include "ringback.h"

/* From now on lines go to `fd`, which stays the caller's. 0 or RBK_E_SYS. */
int rbk_log_writer_start(int fd, bool json);
/* An rbk_log_fn. Any thread; never waits for the reader. Before the start and after the
 * stop it does nothing. */
void rbk_log_writer_line(void *user, rbk_log_level level, const char *line);
/* Write what waits, for 200 ms at most; a thread that is held by the reader then is left
 * behind, and the process must end without another start. */
void rbk_log_writer_stop(void);

#endif
