/* SPDX-License-Identifier: Apache-2.0 */
/* ringback/store.h - the seam for job stores.
 *
 * A store keeps jobs. It has four shelves:
 *   job   what is in the server's memory too; found by seq alone, no other index
 *   wait  what is in the store only: delayed, retrying, held, or more than memory
 *         takes; found by (lane, due, seq)
 *   dead  what could not be delivered
 *   done  what was delivered or cancelled, as long as it is kept
 * and two threads use it: the store thread calls all slots but those marked READER,
 * one at a time; READER slots run on the reader thread, beside the others. Slots may
 * block. A slot that fails leaves the store as it was, and fills `err`.
 *
 * Stored numbers (states, kinds of shelf, flags) are frozen. */
#ifndef RINGBACK_STORE_H
#define RINGBACK_STORE_H

#include "ringback/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RBK_STORE_ABI 5

typedef struct rbk_store rbk_store; /* a backend's own */

/* Order keys. Jobs of one key go one behind the other, in the order of their PUTs: one may run when
 * all before it have their results, and is sent when all before it have ended (on the dead or done
 * shelf, or gone). The store keeps that by itself, each step in the transaction that makes it true:
 *   - PUT, while a job before it has no result: the job stands on the wait shelf as HELD, in the lane
 *     that is its key.
 *   - RESULT, while a job before it has not ended: it stands on the wait shelf in that lane, with
 *     first_attempt 0. The outcome of both is BLOCKED: all is stored, and the job is the store's.
 *   - RESULT, or an end: the next that may run becomes QUEUED, the next that may be sent gets
 *     `now` for its first_attempt; each stands on the wait shelf in the lane that it was given,
 *     and rbk_store_conf.released is told.
 * Lanes that begin with "key:" are never claimed, but expired() takes from them; where such a job goes
 * back (PARK), it is blocked as before, or released. A job that is redriven has no place in the
 * order. */

#define RBK_JOB_VERSIONED 1u    /* the request carried "jsonrpc":"2.0" */
#define RBK_JOB_NOTIFICATION 2u /* no id: nothing is delivered */
#define RBK_JOB_BATCH 4u        /* no method's: waits for all of a batch, and delivers the array */
#define RBK_JOB_MEMBER 8u       /* its response goes to the job of its batch alone */
#define RBK_JOB_PROGRESS 16u    /* its callback gets notifications of progress too */

/* One job. Whoever holds the pointer owns it, strings included: all of them lie in
 * blocks that rbk_job_free() frees. An absent string (`p` NULL) is stored as NULL. */
typedef struct rbk_job {
    struct rbk_job *next; /* a link for the owner of the moment */
    int64_t seq;          /* 60 bits, rising with commits: time in ms << 12 | counter */
    int64_t rnd;          /* the other 62 bits of the job id (UUIDv7) */
    uint8_t state;        /* QUEUED 1, RUNNING 2, DUE 3, SENDING 4, … HELD 8 */
    uint8_t flags;        /* RBK_JOB_… */
    uint32_t runs;        /* runs of the method that a crash cut off */
    uint32_t attempts;    /* finished attempts to deliver */
    int32_t last_status;  /* HTTP status of the last attempt; 0: none */
    int64_t timeout_ms;   /* of one run; 0: the method's */
    rbk_wall_ms created;  /* when it was accepted */
    rbk_wall_ms due;      /* not before this; meaningful on the wait shelf */
    rbk_wall_ms first_attempt; /* when the first attempt began; before that, when the response was
                                  there to be sent; 0: it is not yet */
    rbk_wall_ms deadline; /* nothing is run after this; 0: none */
    rbk_str lane;         /* what it waits for: "run:<pool>", "send:<receiver>" */
    rbk_str method;
    rbk_str rpc_id;   /* JSON text; absent for a notification */
    rbk_str params;   /* JSON text; absent when the request had none */
    rbk_str callback; /* the DSN, as the caller wrote it */
    rbk_str caller;
    rbk_str ray_id;
    rbk_str headers;  /* forwarded headers, "Name: value\r\n" each */
    rbk_str response; /* the response object, from RESULT on */
    rbk_str reason;   /* why the last attempt failed, short */
    rbk_str failure_callback; /* the DSN that an error response goes to instead */
    rbk_str idem_key;         /* the caller's idempotency key */
    rbk_str order_key;        /* the caller's: jobs of one key go one behind the other */
    rbk_str method_headers;   /* of the request, for the method alone, as `headers` */
    rbk_str chain; /* what it has to do with other jobs of its batch (core/chain.h) */
    void *mem[3];     /* blocks that the strings lie in, freed with the job. A backend uses
                         mem[0] alone, the others are the engine's */
} rbk_job;

/* A job with copies of all strings of `from` in one block of its own; NULL when
 * memory is out. Any thread. */
RBK_API rbk_job *rbk_job_copy(const rbk_job *from);
RBK_API void rbk_job_free(rbk_job *job);
/* The bytes that `job` takes, strings included. */
RBK_API size_t rbk_job_bytes(const rbk_job *job);

typedef enum rbk_shelf {
    RBK_SHELF_JOB = 0,
    RBK_SHELF_WAIT = 1,
    RBK_SHELF_DEAD = 2,
    RBK_SHELF_DONE = 3
} rbk_shelf;

typedef enum rbk_op_kind {
    RBK_OP_PUT = 1, /* a new job; `from` is 0. Idempotent by seq and rnd */
    RBK_OP_RESULT,  /* `response`, state and first_attempt are new, perhaps lane, due, shelf; with
                       `divert` also callback */
    RBK_OP_RETRY,   /* attempts, last_status, reason, first_attempt, due are new */
    RBK_OP_PARK,    /* to the wait shelf with lane and due; nothing else is new */
    RBK_OP_RUNS,    /* `runs` is new (an absolute number) */
    RBK_OP_DONE,    /* delivered or cancelled, as job->state says: the job goes, or with `keep`
                       stands on the done shelf, with attempts and last_status where the job's
                       are greater, or given */
    RBK_OP_DEAD,    /* to the dead shelf, with attempts, last_status and reason */
    RBK_OP_REDRIVE, /* from the dead or done shelf, state `from`, to the wait shelf as DUE with
                       lane and due, and with `callback` where the job has one; attempts,
                       last_status and reason begin anew, first_attempt is `now`. With `waiting`
                       the stored first_attempt must be the job's: no other redrive came
                       between. Done before, where the job is DUE, without attempts, and has
                       these values */
    RBK_OP_PURGE,   /* a job of the dead or done shelf, state `from`, goes for good; OK also when
                       it is gone */
    RBK_OP_STATE    /* `state` is new, nothing else: the job stays on its shelf */
} rbk_op_kind;

typedef enum rbk_op_outcome {
    RBK_OUTCOME_NONE = 0,
    RBK_OUTCOME_OK,        /* done; also when it had been done before (idempotent) */
    RBK_OUTCOME_DUPLICATE, /* PUT: another job has its idempotency key; nothing is stored */
    RBK_OUTCOME_STALE,     /* the job is not there, or not in state `from` */
    RBK_OUTCOME_TOO_BIG,   /* the backend cannot hold it */
    RBK_OUTCOME_BLOCKED,   /* an order key's predecessor is not through. PUT, RESULT: done, and the job
                              stands on the wait shelf until it is. PARK: it stands there, its lane
                              and due as they were */
    RBK_OUTCOME_IN_MEMORY  /* `waiting` was asked for, and the job stands on the job shelf */
} rbk_op_outcome;

/* A failed attempt to deliver. The store keeps the last RBK_ATTEMPTS_KEPT of a job, as long as
 * the job, over a redrive too, after which `number` begins anew. One of the same number and
 * beginning is the same. */
typedef struct rbk_attempt_note {
    uint32_t number;  /* 1 and up; 0: there is no note */
    int32_t status;   /* HTTP status; 0: none came */
    rbk_wall_ms at;   /* when it began */
    int64_t ms;       /* how long it took */
    char reason[32];  /* NUL-terminated: "STATUS", "CONNECT" … */
    char host[64];    /* the address that was used, or empty */
} rbk_attempt_note;

enum { RBK_ATTEMPTS_KEPT = 32 };

/* What keeps a PUT from making a second job under its caller's idempotency key (job->caller,
 * job->idem_key). A key is taken until `until` of the job that took it, and as long as that job
 * is pending; then it is free again, whether the store still has a row of it or not. */
typedef struct rbk_idem {
    rbk_wall_ms until;
    uint8_t print[32]; /* of the request: tells it from another one under the same key */
    /* DUPLICATE: what the backend has found. */
    int64_t seq, rnd; /* the job that has the key */
    bool same;        /* and was made by a request with the same `print` */
} rbk_idem;

/* One change of one job: the row of job->seq, expected in stored state `from`,
 * takes those of job's values that its kind names as new (the job may lack others, so
 * they are kept as stored) and stands on `shelf`. The backend writes `outcome` alone; the
 * job stays the caller's. */
typedef struct rbk_store_op {
    rbk_op_kind kind;
    uint8_t from;
    rbk_shelf shelf; /* where the job stands afterwards (PUT, RESULT, RETRY) */
    bool keep;       /* DONE: onto the done shelf */
    bool divert;     /* RESULT: an error, which goes to another callback than a result */
    bool waiting;    /* only if the job does not stand on the job shelf, nor is to; not for PUT */
    bool again;      /* it may be made already: apply() could not say. `waiting` without it: what
                      * the row shows is somebody else's doing, and counts for him */
    rbk_wall_ms now; /* DONE, DEAD: since when it is ended; REDRIVE: since when it is to be sent */
    rbk_attempt_note note; /* RETRY, DEAD: the attempt that failed */
    rbk_str key;    /* PUT: the lane "key:…" of its order key; absent: it has none, whatever it says */
    rbk_idem *idem; /* PUT: the key that the job takes; NULL: it has none, whatever it says */
    rbk_op_outcome outcome;
    rbk_job *job;
} rbk_store_op;

typedef struct rbk_store_conf {
    const char *dsn;    /* the whole: "sqlite:ringback.db" */
    int64_t page_cache; /* bytes that the backend may use for caching; 0: its default */
    /* A place for lines that the operator must see; may be NULL. */
    void (*warn)(void *user, const char *line);
    /* Within apply(): a job of the wait shelf that waited for another one stands in this lane, or
     * will when the transaction is through. Must not call the store. May be NULL. */
    void (*released)(void *user, rbk_str lane);
    /* What a caller has on the job and wait shelves now, counted as rbk_store_stats does: at the end
     * of an apply() that changed it, when all is on stable storage, and from count_callers(). Must
     * not call the store. May be NULL. */
    void (*counted)(void *user, rbk_str caller, int64_t jobs, int64_t bytes);
    void *user;
} rbk_store_conf;

typedef struct rbk_store_stats {
    int64_t pending;       /* jobs on the job and wait shelves */
    int64_t pending_bytes; /* their requests and responses, as accepted, and what HELD ones of a
                              batch were fed so far */
    int64_t held, queued, due; /* pending, by stored state: SENDING counts as due, and what is
                                  neither held nor due as queued */
    int64_t dead;
    int64_t done, done_bytes; /* on the done shelf */
    int64_t max_seq; /* greatest seq ever stored; survives deletion */
} rbk_store_stats;

/* Which jobs are meant. All that is given must fit; an absent string is any. Nothing is
 * normalised: upper and lower case differ. */
typedef struct rbk_job_filter {
    uint32_t states;   /* bits 1 << state; 0: any */
    rbk_str method;    /* exact, or with a `*` at its end a prefix */
    rbk_str receiver;  /* "https://host:port" of the callback, as lanes have it: the host in
                          lower case, the port written out */
    rbk_str rpc_id;    /* the caller's own id, as JSON text */
    rbk_str caller;
    rbk_wall_ms from, to; /* created in [from, to); 0: open */
} rbk_job_filter;

/* What ended jobs are kept for; INT64_MAX: for ever, any number. */
typedef struct rbk_store_keep {
    int64_t done_ms, dead_ms; /* since they ended */
    int64_t done_bytes;       /* of all of the done shelf, requests and responses */
    int64_t idem_ms;          /* how long the key of a pending job is let alone before it is
                                 looked at again */
} rbk_store_keep;

/* A lane with waiting jobs, and when the first of them is due. */
typedef struct rbk_lane_due {
    char lane[320]; /* NUL-terminated */
    rbk_wall_ms due;
} rbk_lane_due;

enum { RBK_LANE_MAX = 319 };

/* A look for old jobs in a lane, and what came of it. */
typedef struct rbk_aged {
    rbk_str lane;
    rbk_wall_ms before; /* whose first_attempt is not later than this is old */
    size_t look;        /* jobs to look at, at most */
    rbk_wall_ms at_due; /* from behind this job on; then: the last one that was looked at */
    int64_t at_seq;
    rbk_job *jobs;      /* then: the old ones, a chain by `next`, the caller's to free */
    rbk_wall_ms oldest; /* then: the earliest first_attempt of the others; INT64_MAX: none */
} rbk_aged;

typedef struct rbk_store_ops {
    uint32_t abi;       /* RBK_STORE_ABI that this backend was compiled against */
    const char *scheme; /* "sqlite" in sqlite:ringback.db */
    const char *help;   /* one line for the documentation of store.dsn */

    /* MUST. Open or make the store. RBK_E_LOCKED, RBK_E_SCHEMA (a newer one wrote
     * it), RBK_E_IO, RBK_E_CONFIG (bad dsn), RBK_E_NOMEM. */
    int (*open)(const rbk_store_conf *conf, rbk_store **ret, rbk_error *err);

    /* MUST. Closes; NULL is legal. */
    void (*close)(rbk_store *st);

    /* MUST. One durable transaction, in order; each op gets its own outcome, and a
     * bad one fails nobody else. 0, and all of it is on stable storage. Otherwise
     * nothing is, and the outcomes mean nothing:
     *   RBK_E_DISK_FULL  try again when there is room (ENOSPC, EDQUOT)
     *   RBK_E_UNKNOWN    nobody can say whether it committed: apply the same again
     *   RBK_E_IO         nothing on this handle may be trusted: close, reopen, check
     *   RBK_E_BUSY       another program held the store's lock too long: try again
     *   RBK_E_NOMEM */
    int (*apply)(rbk_store *st, rbk_store_op *ops, size_t n, rbk_error *err);

    /* MUST. Take up to `max` jobs of `lane` that are due at `now` from the wait shelf
     * to the job shelf, oldest due first, into *ret_jobs (a chain by `next`, yours to
     * free). *ret_next is when the first job left in the lane is due, INT64_MAX when none
     * is left. Returns how many. A claim that a crash undoes is harmless, so it needs
     * no sync of its own. Errors as apply(). */
    int (*claim)(rbk_store *st, rbk_str lane, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                 rbk_wall_ms *ret_next, rbk_error *err);

    /* MUST. The same of jobs of any lane that have not run, QUEUED or HELD, and whose deadline is
     * there and not later than `now`: earliest deadline first. *ret_next is the earliest
     * deadline of such jobs that are left on the wait shelf. */
    int (*expired)(rbk_store *st, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                   rbk_wall_ms *ret_next, rbk_error *err);

    /* MUST. Look at up to `look` jobs of a lane on the wait shelf, due or not, in the order of
     * claim() (by due, then seq), from behind (at_due, at_seq). The DUE ones whose
     * first_attempt is not 0 and not later than `before` are `jobs`, in that order, with
     * seq, rnd, state, attempts, last_status, first_attempt and reason alone. Nothing is changed.
     * Returns how many were looked at; fewer than `look`: the lane has no more. */
    int (*aged)(rbk_store *st, rbk_aged *a, rbk_error *err);

    /* MUST. Up to `max` lanes with waiting jobs, in byte order behind `after` (empty:
     * from the first), each with its earliest due. Returns how many. */
    int (*lanes)(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret, rbk_error *err);

    /* MUST. Up to `max` jobs of the job shelf with a seq greater than `after`, by seq:
     * what was in memory when the server ended. Returns how many. */
    int (*recover)(rbk_store *st, int64_t after, size_t max, rbk_job **ret_jobs, rbk_error *err);

    /* MUST. */
    int (*stats)(rbk_store *st, rbk_store_stats *ret, rbk_error *err);

    /* MUST. rbk_store_conf.counted is told of each caller that has pending jobs, in no order. It
     * costs as much as there are such callers, however many jobs they have; a job without a
     * caller, or whose caller is empty, is nobody's. All jobs of a batch have one caller. */
    int (*count_callers)(rbk_store *st, rbk_error *err);

    /* MUST. Bytes that the store's disk has left for it; INT64_MAX where that has no
     * meaning. */
    int (*free_bytes)(rbk_store *st, int64_t *ret, rbk_error *err);

    /* MUST, READER. The job with this seq and rnd from any shelf, or RBK_E_NOTFOUND. */
    int (*get)(rbk_store *st, int64_t seq, int64_t rnd, rbk_job **ret_job, rbk_error *err);

    /* MUST, READER. Up to `max` jobs that `filter` means, of all shelves, whose seq is greater
     * than `after`, by seq. Returns how many; *ret_next is the `after` of the next page, 0 when
     * there is none. A page may be short, even empty, before the end: a backend bounds `max`,
     * the bytes of a page, and the time that it looks. */
    int (*list)(rbk_store *st, const rbk_job_filter *filter, int64_t after, size_t max,
                rbk_job **ret_jobs, int64_t *ret_next, rbk_error *err);

    /* MUST, READER. The failed attempts that are kept of the job, in the order in which they
     * came; up to `max`. Returns how many; none for a job that is not there. */
    int (*attempts)(rbk_store *st, int64_t seq, size_t max, rbk_attempt_note *ret, rbk_error *err);

    /* MUST. Remove up to `max` jobs of the dead and done shelves that need not be kept any longer
     * at `now`, those that ended first before others, and idempotency keys that are free again.
     * Returns how many were looked at; fewer than `max`: that was all. In a transaction of its
     * own, that needs no sync. */
    int (*sweep)(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now, size_t max,
                 rbk_error *err);

    /* MUST. Receivers that an operator holds: set and durable, and all of them by name from
     * behind `after`, up to `max`; `due` means nothing. Returns how many. RBK_E_INVAL: the name
     * is empty, longer than RBK_LANE_MAX, or has a NUL byte. */
    int (*hold)(rbk_store *st, rbk_str receiver, bool hold, rbk_error *err);
    int (*holds)(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret, rbk_error *err);

    /* MAY be NULL. Copy the store that `conf` names, whole and consistent, into the new file
     * `path` (mode 0600), beside a server that uses it. Any thread; no open store is needed.
     * RBK_E_CONFIG: bad dsn, no store there, `path` is there already or cannot be made.
     * RBK_E_IO, RBK_E_DISK_FULL, RBK_E_BUSY, RBK_E_NOMEM. */
    int (*backup)(const rbk_store_conf *conf, const char *path, rbk_error *err);

    /* MAY be NULL. The file beside which the server may keep small files of its own
     * (the table of running methods), NUL-terminated, valid until close; NULL: none. */
    const char *(*path)(rbk_store *st);

    /* MAY be NULL. Work that may wait, such as a checkpoint; called when the
     * acknowledgements of a commit have gone out. */
    void (*idle)(rbk_store *st);
} rbk_store_ops;

#ifdef __cplusplus
}
#endif
#endif
