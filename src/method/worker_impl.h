/* SPDX-License-Identifier: Apache-2.0 */
/* method/worker_impl.h - shared by worker.c, which deals out calls, and worker_process.c, which
 * looks after one process. Everything here is the loop thread's, but for what says otherwise. */
#ifndef RBK_METHOD_WORKER_IMPL_H
#define RBK_METHOD_WORKER_IMPL_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/ring.h"
#include "method/worker.h"
#include "method/worker_spawn.h"
#include "net/loop.h"

enum {
    RBK_WORKER_TICK_MS = 100,
    RBK_WORKER_BACK_OFF_MS = 100, /* doubled with each death in a row */
    RBK_WORKER_BACK_OFF_MAX_MS = 30000,
    RBK_WORKER_ENVELOPE = 4096,   /* of a line, besides the result */
    RBK_WORKER_READ = 64 * 1024,
    RBK_WORKER_NOTE = 240         /* of a line on standard error: what a log line shows */
};

typedef struct rbk_worker rbk_worker;

/* A call in hand. */
typedef struct rbk_run {
    rbk_task task; /* first: how it comes to the loop */
    rbk_link link; /* of `waiting`, `resting`, or its worker's `unsent` or `asked` */
    rbk_workers *w;
    rbk_call *call;   /* a reference */
    uint64_t id;      /* of the request that it was last sent as */
    unsigned broken;  /* how often it was begun and broke off */
    unsigned retries; /* of these, how often that was held against it */
    bool sent;        /* a byte of the request went to the process */
    rbk_mono_ms rest_until;
} rbk_run;

typedef enum rbk_worker_state {
    RBK_WORKER_DOWN,   /* no process; one is started at `restart_at` */
    RBK_WORKER_UP,
    RBK_WORKER_ENDING, /* still runs, and gets no more calls */
    RBK_WORKER_KILLED, /* SIGKILL is sent, its calls are gone */
    RBK_WORKER_CLOSING /* the process is gone, its handles go */
} rbk_worker_state;

/* The place of one process, and its process. */
struct rbk_worker {
    rbk_workers *all;
    rbk_worker_state state;
    pid_t pid;
    int pidfd;
    uv_pipe_t in, out, err;
    uv_poll_t end;
    unsigned open;         /* handles */
    rbk_link unsent, asked; /* calls it has, in order */
    size_t n;              /* of both */
    bool alone;            /* its call wants no other beside it */
    rbk_buf line;          /* what it has written of a line */
    uv_write_t write;
    rbk_buf request;       /* what is being written to it */
    rbk_run *writing;      /* whose request that is; NULL: nobody's any more */
    bool busy;             /* `write` is under way */
    bool wanted;           /* it ends because we want it to */
    bool termed, reaped;
    rbk_mono_ms next_at;   /* ENDING, KILLED: when patience ends */
    unsigned deaths;       /* in a row, without an answer in between */
    rbk_mono_ms restart_at;
    char note[RBK_WORKER_NOTE];
    size_t note_n, note_cut;
    bool progress_told;    /* one that could not be read was logged */
    rbk_mono_ms second;    /* the second that `notes` counts lines of */
    unsigned notes;
    uint64_t notes_dropped;
};

struct rbk_workers {
    char *name, *path;
    char **argv, **env;
    size_t n, pipelining, max_line;
    unsigned retries;
    int64_t memory, cpu_s, files, eof_ms, term_ms;
    const rbk_log *log;
    rbk_loop *loop;
    pthread_mutex_t lock; /* of `closed` and `down` */
    pthread_cond_t cond;
    bool closed, down;
    atomic_size_t in_hand; /* runs; any thread */
    uint64_t last_id;
    uv_timer_t tick;
    bool stopping;
    rbk_mono_ms grace_end;
    rbk_link waiting, resting;
    size_t next; /* worker to ask first */
    char *read_buf; /* RBK_WORKER_READ bytes, free again when a read callback returns */
    rbk_worker worker[];
};

/* --- worker.c --- */

/* Deal out what waits. */
void rbk_workers_deal(rbk_workers *w);
/* The timer runs as long as something may need it. */
void rbk_workers_wake(rbk_workers *w);
void rbk_workers_look_at_stop(rbk_workers *w);
/* The process of `k` has broken off: its calls are begun anew, or answered -32603. `fault`: it is
 * held against those that it had begun. */
void rbk_workers_lose(rbk_worker *k, const char *why, bool fault);
/* The call is out of hand: answered, or not needed any more. Frees `run`. */
void rbk_run_end(rbk_run *run);
/* It waits anew in `ms`. */
void rbk_run_rest(rbk_run *run, int64_t ms);
/* Out of its worker's hands; the run is then in no ring. */
void rbk_run_take_back(rbk_worker *k, rbk_run *run);

/* --- worker_process.c --- */

/* 0, or a negative errno: it is DOWN and will be started later. */
int rbk_worker_start(rbk_worker *k);
/* Hand it a call; it is UP. */
void rbk_worker_give(rbk_worker *k, rbk_run *run);
/* Kill it and its children: `why` for the log, or NULL because we want it so. */
void rbk_worker_kill(rbk_worker *k, const char *why);
/* End of file on its input, and what else is needed by and by. `now`: SIGTERM at once. */
void rbk_worker_finish(rbk_worker *k, bool now);
void rbk_worker_tick(rbk_worker *k, rbk_mono_ms now);

#endif
