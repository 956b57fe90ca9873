/* SPDX-License-Identifier: Apache-2.0 */
/* store/memory_impl.h - what the files of the store `memory:` share.
 *
 * memory.c       open, close, apply(), held receivers, the table of functions
 * memory_rows.c  the rows and the lists that hold them
 * memory_idem.c  idempotency keys
 * memory_turn.c  order keys
 * memory_caller.c what each caller has pending
 * memory_feed.c  jobs that wait for others of their batch
 * memory_read.c  claim(), expired(), aged(), lanes(), recover(), stats(), get(), list(), attempts(), sweep()
 *
 * A row never changes but for its shelf: an operation puts a new version in its place, so
 * that a transaction which runs out of memory halfway can be taken back. */
#ifndef RBK_STORE_MEMORY_IMPL_H
#define RBK_STORE_MEMORY_IMPL_H

#include "ringback/store.h"
#include "store/rules.h"

#include <pthread.h>

enum { RBK_ROW_LEVELS = 14 };

/* By seq, over all shelves; by lane, due and seq, over the wait shelf; by deadline and seq, over
 * those of the wait shelf that may expire; by shelf, end and seq, over the dead and done shelves;
 * by order key, over those that have one and have not ended. */
typedef enum rbk_row_list {
    RBK_ROWS_BY_SEQ,
    RBK_ROWS_BY_LANE,
    RBK_ROWS_BY_DEADLINE,
    RBK_ROWS_BY_END,
    RBK_ROWS_BY_KEY,
    RBK_ROW_LISTS
} rbk_row_list;

/* The place of a job in the order of its key. */
typedef struct rbk_turn {
    rbk_str key;  /* absent: it has none */
    rbk_str lane; /* where it goes when it is released; absent: it is not blocked */
    bool ran;     /* it has its result */
} rbk_turn;

/* A response that a HELD job has got, shared by the versions of its row. */
typedef struct rbk_part {
    uint32_t n;
    struct rbk_part_text *text;
} rbk_part;

typedef struct rbk_row {
    rbk_job *job;
    rbk_turn turn;
    rbk_part *parts;
    size_t n_parts;
    char *turn_text; /* what its strings lie in */
    int shelf;
    rbk_wall_ms ended; /* meaningful on the dead and done shelves */
    rbk_attempt_note *notes;
    size_t n_notes;
    int height;
    struct rbk_row *next[RBK_ROW_LISTS][RBK_ROW_LEVELS];
} rbk_row;

/* An idempotency key, in the list of all by `look`: when the sweep looks at it next. */
typedef struct rbk_key {
    struct rbk_key *next, *prev;
    rbk_idem idem;
    rbk_wall_ms look;
    rbk_str name; /* the map's */
} rbk_key;

/* What a caller has on the job and wait shelves; kept as long as that is anything. */
typedef struct rbk_memory_caller {
    struct rbk_memory_caller *next; /* of those that are changed */
    rbk_str name;                   /* the map's */
    int64_t jobs, bytes, told_jobs, told_bytes;
    bool changed;
} rbk_memory_caller;

struct rbk_store {
    pthread_mutex_t lock;
    rbk_row head; /* its job is NULL: before every other */
    rbk_store_stats stats;
    struct rbk_map *keys, *callers;
    rbk_memory_caller *changed_callers;
    rbk_key *first_key, *last_key;
    char **holds; /* names of held receivers, in byte order */
    size_t n_holds;
    uint32_t coin;
    void (*released)(void *user, rbk_str lane);
    void (*counted)(void *user, rbk_str caller, int64_t jobs, int64_t bytes);
    void *user;
};

/* The first row of the list that is not less than `key`, or NULL. `key` need only have what
 * the list is ordered by. */
rbk_row *rbk_rows_seek(rbk_store *st, rbk_row_list list, const rbk_row *key);
rbk_row *rbk_rows_find(rbk_store *st, int64_t seq);
void rbk_rows_link(rbk_store *st, rbk_row *r);
void rbk_rows_unlink(rbk_store *st, rbk_row *r);
/* From the wait shelf to the job shelf, as it stands. */
void rbk_rows_claim(rbk_store *st, rbk_row *r);

/* A row with copies of `job` and `turn`, the notes of `old` (may be NULL) and `note` where it is one
 * and new, not linked yet; NULL when memory is out. */
rbk_row *rbk_row_new(rbk_store *st, const rbk_job *job, const rbk_row *old,
                     const rbk_attempt_note *note, const rbk_turn *turn);
void rbk_row_free(rbk_row *r);

/* What one operation did to a row, to finish or to take back. */
typedef struct rbk_row_change {
    rbk_row *old, *new;
} rbk_row_change;

/* The turn that the job has after the operation, before it is written: it is blocked when `lane` is
 * there and was not. */
rbk_turn rbk_memory_take_turn(rbk_store *st, const rbk_store_op *op, const rbk_row *old);
/* The operation is written, and moved a job of this key: who is next is released. 0 or
 * RBK_E_NOMEM; `c` is filled as far as it came. */
int rbk_memory_pass_turn(rbk_store *st, const rbk_store_op *op, rbk_str key, rbk_row_change c[2]);

/* The operation is written: jobs that wait for its response get it. 0 or RBK_E_NOMEM; *ret_c is
 * filled as far as it came, and the caller's to free. */
int rbk_memory_feed(rbk_store *st, const rbk_store_op *op, rbk_row_change **ret_c, size_t *ret_n);
/* The new version of a row that is HELD as before has its parts too. False: memory is out. */
bool rbk_memory_take_parts(rbk_row *r, const rbk_row *old);
void rbk_memory_free_parts(rbk_row *r);
int64_t rbk_memory_part_bytes(const rbk_row *r);

/* What a PUT did to a key, to be taken back: made it, or gave it to its own job. */
typedef struct rbk_key_change {
    rbk_key *key; /* NULL: nothing */
    bool made;
    rbk_idem before;
    rbk_wall_ms look;
} rbk_key_change;

/* The job of the PUT takes its key, or the outcome is DUPLICATE. 0 or RBK_E_NOMEM. */
int rbk_memory_take_key(rbk_store *st, rbk_store_op *op, rbk_key_change *c);
void rbk_memory_give_key_back(rbk_store *st, const rbk_key_change *c);
/* Keys that are free again go, up to `max`. Returns how many were looked at. */
int rbk_memory_sweep_keys(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now, int max);
void rbk_memory_free_keys(rbk_store *st);

/* There will be something to count of this caller. 0 or RBK_E_NOMEM. */
int rbk_memory_meet_caller(rbk_store *st, rbk_str name);
/* So many more, of a caller that was met. */
void rbk_memory_count_caller(rbk_store *st, rbk_str name, int64_t jobs, int64_t bytes);
/* Behind a transaction: `counted` is told, or it was taken back. */
void rbk_memory_end_callers(rbk_store *st, bool committed);
void rbk_memory_free_callers(rbk_store *st);

/* Slots. */
int rbk_memory_claim(rbk_store *st, rbk_str lane, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                     rbk_wall_ms *ret_next, rbk_error *err);
int rbk_memory_aged(rbk_store *st, rbk_aged *a, rbk_error *err);
int rbk_memory_expired(rbk_store *st, rbk_wall_ms now, size_t max, rbk_job **ret_jobs,
                       rbk_wall_ms *ret_next, rbk_error *err);
int rbk_memory_lanes(rbk_store *st, rbk_str after, size_t max, rbk_lane_due *ret, rbk_error *err);
int rbk_memory_recover(rbk_store *st, int64_t after, size_t max, rbk_job **ret_jobs,
                       rbk_error *err);
int rbk_memory_stats(rbk_store *st, rbk_store_stats *ret, rbk_error *err);
int rbk_memory_count_callers(rbk_store *st, rbk_error *err);
int rbk_memory_get(rbk_store *st, int64_t seq, int64_t rnd, rbk_job **ret_job, rbk_error *err);
int rbk_memory_list(rbk_store *st, const rbk_job_filter *filter, int64_t after, size_t max,
                    rbk_job **ret_jobs, int64_t *ret_next, rbk_error *err);
int rbk_memory_attempts(rbk_store *st, int64_t seq, size_t max, rbk_attempt_note *ret,
                        rbk_error *err);
int rbk_memory_sweep(rbk_store *st, const rbk_store_keep *keep, rbk_wall_ms now, size_t max,
                     rbk_error *err);

#endif
