/* SPDX-License-Identifier: Apache-2.0 */
/* engine/call.h - one run of a method, inside the engine.
 *
 * Those who may answer hold it: the engine while the method runs, and whoever took
 * rbk_call_ref(). When the last of them lets go without an answer, it is -32603. The
 * reaper only keeps the memory while a time-out is armed. The first answer counts; where it goes
 * depends on the source: a member of an exchange, or a job and so the store. */
#ifndef RBK_ENGINE_CALL_H
#define RBK_ENGINE_CALL_H

#include "base/id.h"
#include "engine/exchange.h"

struct rbk_call {
    rbk_node node; /* first: a place in execute's queues */
    rbk_engine *e;
    const rbk_method_entry *method; /* until the stop */
    rbk_handler *handler;           /* what runs it, from then on; a reference */
    size_t pool;                    /* the method's index */
    bool counted;                   /* it has a place among the pool's calls under way */
    rbk_waiter begin;               /* it waits for the store to know that it runs */
    bool linked;                    /* synchronous, and one of those of engine/links.h: it begins
                                       on a method thread */
    bool once, started;             /* at-most-once; the store knows that it runs */
    atomic_uint holders; /* who may answer; all of them together are one of `refs` */
    atomic_uint refs;    /* of the memory */
    atomic_int state; /* OPEN, ANSWERED, EXPIRED */
    rbk_str name, params;
    rbk_exchange *ex; /* a synchronous call: a reference */
    uint32_t item;
    rbk_buf headers;  /* the same: that its method is told */
    rbk_job *request;  /* a job: the call's own, the method may read it until the end */
    rbk_ticket *ticket; /* a job: given on with the answer; its job has no params */
    unsigned run;
    int64_t timeout_ms;
    rbk_wall_ms not_after; /* nothing is run after this; 0: none */
    rbk_mono_ms deadline; /* while in the reaper's heap */
    bool awaited; /* a job that waits for a thread: the reaper ends it at the job's own deadline */
    atomic_int_fast64_t ends; /* the same on the wall clock; 0: it has not begun */
    size_t heap_at;       /* place in it, 1 and up; 0: not there. The reaper's */
    rbk_report *report; /* what it told of itself (engine/progress.h), under the lock there */
    atomic_bool reports; /* there is, or was, one */
    char job_text[RBK_ID_TEXT + 1];
    struct yyjson_doc *doc; /* params, parsed when first asked for */
    struct raw_text *raws;  /* texts of rbk_param_raw() */
    rbk_json *json;
};

/* A member of an exchange; takes a reference of it. NULL when memory is out. */
rbk_call *rbk_call_new_sync(rbk_engine *e, rbk_exchange *ex, uint32_t item,
                            const rbk_method_entry *method);
/* A job that is to run; takes the ticket. NULL when memory is out: the ticket is then
 * still the caller's, unchanged. */
rbk_call *rbk_call_new_job(rbk_engine *e, rbk_ticket *t);

/* Answer with the error `err`. False when there was an answer already. */
bool rbk_call_fail(rbk_call *c, int err);
/* The time is up: -32002. Later answers count as late. A job that waited for a thread leaves
 * its queue. */
void rbk_call_expire(rbk_call *c);
/* The call begins: its time-out ends no later than its deadline. False: that is over. */
bool rbk_call_in_time(rbk_call *c);
/* An operator cancels the job: -32005; the method's own answer is late. Its ticket takes the
 * waiter to the store. False when there was an answer already: nothing is taken then. */
bool rbk_call_cancel(rbk_call *c, rbk_waiter *waiter);
/* The call will not run, or nobody waits for it any more: a synchronous one is answered
 * BUSY, a job stays as the store has it. */
void rbk_call_drop(rbk_call *c);
/* The server stops while the method is at it: a synchronous call is answered -32004, for
 * it may have done its work; a job stays as the store has it and runs again. That is no
 * death: the row in the table of running methods goes. False when there was an answer. */
bool rbk_call_cut(rbk_call *c);
/* The store is asked to know that the job runs: the ticket goes there. When it does not, the
 * call is let go of, and the job stays as the store has it. */
void rbk_call_mark(rbk_call *c);
rbk_call *rbk_call_of(rbk_waiter *begin);
/* The job cannot run now: it waits in the store and comes back in a while. */
void rbk_call_postpone(rbk_call *c);

void rbk_call_keep(rbk_call *c);    /* the memory alone */
void rbk_call_release(rbk_call *c);

/* A finished response for the job of `t`, without a run: moves it to DUE with the error
 * `err` and asks the store. 0 or RBK_E_NOMEM: nothing has changed then. */
int rbk_job_answer_fault(rbk_engine *e, rbk_ticket *t, int err);
/* The same with JSON text as the error's data. */
int rbk_job_answer_data(rbk_engine *e, rbk_ticket *t, int err, rbk_str data);
/* The response of a member goes to the job of its batch, and the member ends: what moves it to DUE
 * was done, the rest is. */
void rbk_job_collect(rbk_ticket *t);

/* The method's answer is broken: -32603, and the log says why. RBK_E_PARSE, or RBK_E_STATE
 * when there was an answer already. */
int rbk_call_broken(rbk_call *c, const char *why);
/* Answer with JSON text; `checked` says that it is known to be one JSON value. */
int rbk_call_answer_text(rbk_call *c, rbk_str json, bool checked);

/* Parts of the public API that need the inside: call_params.c, call_json.c. */
void rbk_call_params_free(rbk_call *c);
void rbk_json_free(rbk_json *j);

#endif
