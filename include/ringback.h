/* SPDX-License-Identifier: Apache-2.0 */
/* ringback.h - embed a JSON-RPC 2.0 server that can answer later.
 *
 *     rbk_server *s = rbk_server_new();
 *     rbk_server_set(s, "store.dsn", "sqlite:jobs.db");
 *     rbk_server_method(s, &(rbk_method){.name = "sum", .fn = sum});
 *     if (rbk_server_start(s) < 0) fprintf(stderr, "%s\n", rbk_server_error(s));
 *     ...
 *     rbk_server_stop(s);
 *     rbk_server_free(s);
 *
 * The library sets no signal handler, never exits, and writes only through the
 * function given to rbk_server_log(). A handle belongs to whoever made it. Functions
 * that can fail return 0 or a count, or a negative rbk_err.
 *
 * Threads: each function below says which thread may call it, each callback which
 * thread runs it. */
#ifndef RINGBACK_H
#define RINGBACK_H

#include "ringback/types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rbk_server rbk_server;
typedef struct rbk_call rbk_call;
typedef struct rbk_json rbk_json;

/* "0.1.0". Any thread. */
RBK_API const char *rbk_version(void);

/* --- Server ------------------------------------------------------------------
 * new, then set/load/method/log, then start, stop, free: from one thread. */

/* A server with default settings, or NULL when memory is out. */
RBK_API rbk_server *rbk_server_new(void);

/* Set one option ("store.dsn", "delivery.schedule", `method."Order.*".timeout`; the
 * list is docs/configuration.md) from its text. RBK_E_CONFIG for an unknown key or a
 * bad value, RBK_E_STATE after start; rbk_server_error() names it. */
RBK_API int rbk_server_set(rbk_server *s, const char *key, const char *value);

/* Read an INI file of options. RBK_E_CONFIG naming file, line and key. */
RBK_API int rbk_server_load(rbk_server *s, const char *path);

/* The last failure of a function on `s`, one line, valid until the next one. Never
 * NULL. */
RBK_API const char *rbk_server_error(const rbk_server *s);

typedef enum rbk_log_level {
    RBK_LOG_DEBUG,
    RBK_LOG_INFO,
    RBK_LOG_WARN,
    RBK_LOG_ERROR
} rbk_log_level;

/* One event as one line (logfmt, or JSON by log.format), NUL-terminated, no newline;
 * docs/events.md lists them. Called from any thread of the server, also from several
 * at once; must not call back into the server. */
typedef void (*rbk_log_fn)(void *user, rbk_log_level level, const char *line);
RBK_API void rbk_server_log(rbk_server *s, rbk_log_fn fn, void *user);

/* Open the store, recover its jobs, listen, and run. 0; RBK_E_CONFIG, RBK_E_LOCKED,
 * RBK_E_SCHEMA, RBK_E_IO, RBK_E_SYS, RBK_E_NOMEM, with rbk_server_error(). After a
 * failure the server may only be freed. */
RBK_API int rbk_server_start(rbk_server *s);

/* The port that the i-th address of server.listen got (it may have asked for port 0);
 * 0 when there is none. After start; any thread. */
RBK_API uint16_t rbk_server_port(const rbk_server *s, size_t i);

/* Stop accepting, let running methods and deliveries under way finish within
 * server.drain, store the rest for the next start, close the store. Returns 0 when
 * everything under way was finished, 1 when the rest was left to the store. */
RBK_API int rbk_server_stop(rbk_server *s);

/* Take new settings while the server runs: those of `fresh`, a server made for this alone
 * (new, then set and load; never started; afterwards good for rbk_server_free() only). The
 * options that docs/configuration.md marks take effect at once: on new calls, and on
 * stored jobs at their next attempt. Others that differ wait for the next start, and are
 * named in the log. The files of keys are read again; NULL for `fresh` does only that.
 * 0; RBK_E_CONFIG, RBK_E_SYS, RBK_E_NOMEM with rbk_server_error(): what could not be used
 * stays as it was. RBK_E_STATE unless `s` runs. The thread of start and stop. */
RBK_API int rbk_server_reload(rbk_server *s, rbk_server *fresh);

/* RBK_OK while the server works; RBK_E_IO once its store cannot be trusted: nothing
 * is accepted any more, and the process should end. Any thread. */
RBK_API int rbk_server_health(const rbk_server *s);

/* NULL is legal; a running server is stopped first. When a method has not returned by then,
 * what it may still use is kept until the process ends. */
RBK_API void rbk_server_free(rbk_server *s);

typedef struct rbk_stats {
    uint64_t accepted;  /* jobs acknowledged since start */
    uint64_t delivered; /* jobs whose receiver took the response */
    uint64_t dead;      /* jobs given up since start */
    uint64_t attempts;  /* deliveries tried */
    uint64_t late;      /* answers of methods that came after the time-out */
    uint64_t sync_calls;
    int64_t pending;    /* jobs in the store that are not finished */
    int64_t in_memory;  /* of these, how many are in memory too */
} rbk_stats;

/* Any thread, between start and stop. */
RBK_API void rbk_server_stats(const rbk_server *s, rbk_stats *ret);

typedef struct rbk_job_info {
    const char *id;    /* "0198…", 36 characters */
    const char *state; /* "QUEUED", "DUE", "DEAD" …: what the store has */
    uint32_t runs, attempts;
    int last_status;
    rbk_wall_ms created, due;
    rbk_str method, callback, response, reason; /* absent: p is NULL */
} rbk_job_info;

/* `info` is NULL when there is no such job (ended ones are kept for store.retention). Runs on the
 * reader thread; what `info` points to is valid in the call alone. */
typedef void (*rbk_job_fn)(void *user, const rbk_job_info *info);

/* Look up a job by its id. 0 and `fn` is called exactly once; RBK_E_INVAL for a text
 * that is no job id, RBK_E_BUSY, RBK_E_STATE before start: `fn` is not called. Any
 * thread. */
RBK_API int rbk_server_job(rbk_server *s, const char *id, rbk_job_fn fn, void *user);

/* --- Methods ----------------------------------------------------------------- */

/* Answers the call, now or later from any thread. The call is valid until the function
 * returns; to answer later, take rbk_call_ref(). A call whose last reference goes
 * without an answer is answered -32603. Runs on a method thread, or on a front loop with
 * RBK_METHOD_INLINE. */
typedef void (*rbk_method_fn)(rbk_call *call, void *user);

/* The function is short and never blocks: it runs on the front loop for synchronous
 * calls, without a change of thread. */
#define RBK_METHOD_INLINE 1u

typedef struct rbk_method {
    const char *name; /* exact, case-sensitive; names with "rpc." in front are reserved */
    rbk_method_fn fn;
    void *user;
    unsigned flags;
    const char *description; /* for people; may be NULL */
    /* JSON Schemas as text, each may be NULL; rpc.discover shows them. Of that of params, names and
     * types of the members at the top are checked before a call is taken: docs/builtin.md. */
    const char *params_schema;
    const char *result_schema;
} rbk_method;

/* Add a method; strings are copied. RBK_E_INVAL for a reserved or empty name, RBK_E_STATE
 * when the name is taken or the server has started, RBK_E_CONFIG for a malformed schema. */
RBK_API int rbk_server_method(rbk_server *s, const rbk_method *m);

/* --- Calls: any thread that holds a reference --------------------------------- */

RBK_API rbk_call *rbk_call_ref(rbk_call *call); /* returns `call` */
RBK_API void rbk_call_unref(rbk_call *call);

RBK_API rbk_str rbk_call_method(const rbk_call *call);
/* The params as JSON text without $rpc members; absent when the request had none.
 * Valid as long as the reference. */
RBK_API rbk_str rbk_call_params(const rbk_call *call);
/* The job id (36 characters, NUL-terminated), or NULL for a synchronous call. */
RBK_API const char *rbk_call_job(const rbk_call *call);
/* 1 for the first run; more when crashes cut earlier runs off. */
RBK_API unsigned rbk_call_run(const rbk_call *call);
/* The id of the request as JSON text, numbers as the caller wrote them; absent for a notification.
 * Valid as long as the reference. */
RBK_API rbk_str rbk_call_id(const rbk_call *call);
/* Header lines of the request that its method asked for (method."…".forward_headers),
 * "Name: value\r\n" each; absent when there are none. Valid as long as the reference. */
RBK_API rbk_str rbk_call_headers(const rbk_call *call);
/* When the run times out; 0 before it has begun. */
RBK_API rbk_wall_ms rbk_call_deadline(const rbk_call *call);
/* May what runs the method begin this run anew, when it broke off? True for a job whose method
 * is at-least-once; not for synchronous calls. */
RBK_API bool rbk_call_repeatable(const rbk_call *call);
/* True once nobody waits for the answer: timed out, cancelled, or the client has gone. */
RBK_API bool rbk_call_cancelled(const rbk_call *call);

/* Values of params by JSON Pointer (RFC 6901). 0; RBK_E_NOTFOUND when nothing is there,
 * RBK_E_PARAMS when it has another type or does not fit. Text is UTF-8, may hold NUL
 * bytes, and is valid as long as the reference. One thread at a time for one call. */
RBK_API int rbk_param_str(rbk_call *call, const char *pointer, rbk_str *ret);
RBK_API int rbk_param_int(rbk_call *call, const char *pointer, int64_t *ret);
RBK_API int rbk_param_double(rbk_call *call, const char *pointer, double *ret);
RBK_API int rbk_param_bool(rbk_call *call, const char *pointer, bool *ret);
RBK_API int rbk_param_raw(rbk_call *call, const char *pointer, rbk_str *ret); /* JSON text */

/* Tell how far the run of a job is: `value` of `total` (0: not known), in a unit of the method's own,
 * with a message for people (NUL-terminated UTF-8, at most 1,000 bytes; NULL: none). rpc.job.get
 * shows the last one; a callback that asked for it ($rpc.events) gets two a second at most, the newest
 * each time, so tell as often as is easy. In memory alone; a synchronous call tells nobody. 0;
 * RBK_E_STATE: the call has its answer; RBK_E_INVAL: a number is not finite, or the message is not
 * UTF-8; RBK_E_TOO_LARGE; RBK_E_NOMEM. Nothing comes of a fault. */
RBK_API int rbk_call_progress(rbk_call *call, double value, double total, const char *message);

/* Answer. The first answer counts; each later one changes nothing and returns
 * RBK_E_STATE. A text that is not one JSON value is answered -32603 and returns
 * RBK_E_PARSE. A result over method.max_result is answered -32008. */
RBK_API int rbk_call_result(rbk_call *call, const char *json, size_t n);
/* `code` is a JSON-RPC error code; `message` NUL-terminated UTF-8; `data` JSON text or
 * NULL. */
RBK_API int rbk_call_error(rbk_call *call, int64_t code, const char *message, const char *data);
/* -32602 Invalid params, `data` {"<member>":"<reason>"}. */
RBK_API int rbk_call_bad_param(rbk_call *call, const char *member, const char *reason);

/* --- Builder: JSON text piece by piece ---------------------------------------- */

/* A builder that belongs to the call and goes with it; NULL when memory is out. Faults
 * (a value without a key, too deep, out of memory) are kept and reported by
 * rbk_call_result_json(). */
RBK_API rbk_json *rbk_call_json(rbk_call *call);
RBK_API void rbk_json_object(rbk_json *j); /* { */
RBK_API void rbk_json_array(rbk_json *j);  /* [ */
RBK_API void rbk_json_end(rbk_json *j);    /* closes the innermost */
RBK_API void rbk_json_key(rbk_json *j, const char *key);
RBK_API void rbk_json_str(rbk_json *j, rbk_str s);
RBK_API void rbk_json_text(rbk_json *j, const char *z); /* NUL-terminated */
RBK_API void rbk_json_int(rbk_json *j, int64_t v);
RBK_API void rbk_json_double(rbk_json *j, double v); /* shortest text that reads back the
                                                        same; not finite: null */
RBK_API void rbk_json_bool(rbk_json *j, bool v);
RBK_API void rbk_json_null(rbk_json *j);
RBK_API void rbk_json_raw(rbk_json *j, rbk_str json); /* JSON text as it is */
/* Answer with what was built; 0, or as rbk_call_result(). */
RBK_API int rbk_call_result_json(rbk_call *call, rbk_json *j);

/* --- The door: JSON-RPC bytes in, an answer out -------------------------------- */

typedef struct rbk_header {
    rbk_str name, value;
} rbk_header;

typedef struct rbk_request {
    rbk_str body;              /* JSON text, one request or a batch */
    const rbk_header *headers; /* of the request, for delivery.forward_headers */
    size_t n_headers;
    rbk_str peer;   /* where it came from, for the log */
    rbk_str caller; /* whose request it is; absent: anonymous */
} rbk_request;

typedef struct rbk_reply {
    int status;     /* an HTTP status: 200, 204, 413, 503 */
    const rbk_header *headers;
    size_t n_headers;
    rbk_str body;
} rbk_reply;

/* Exactly once for each request, on any thread of the server or of a method, perhaps
 * before rbk_server_handle() returns. `reply` is valid in the call alone. Where it holds the
 * response of a job that its caller waited for ($rpc.wait), the job counts as delivered when the
 * function returns; a crash before that sends it to its callback. */
typedef void (*rbk_reply_fn)(void *user, const rbk_reply *reply);

/* Handle a request as the HTTP front does. What `rq` points to may go when this returns.
 * 0, or RBK_E_STATE when the server does not run (`fn` is not called). Any thread. */
RBK_API int rbk_server_handle(rbk_server *s, const rbk_request *rq, rbk_reply_fn fn, void *user);

/* --- Receiving callbacks --------------------------------------------------------- */

typedef struct rbk_webhook {
    const rbk_header *headers; /* of the callback; names in any case, values without blanks around */
    size_t n_headers;
    rbk_str body;    /* byte for byte as it came */
    rbk_str keys;    /* whsec_…, whpk_… or whsk_…, divided by blanks or lines; `#` begins a comment;
                        at most 16. Several while keys are changed: one that fits is enough */
    rbk_wall_ms now; /* the time of day; a callback may be 300 s old, or ahead */
} rbk_webhook;

/* Was this callback sent by who has one of the keys, and a moment ago? A program that
 * receives callbacks asks this before it believes the body (Standard Webhooks 1.0).
 * 0: yes. RBK_E_PARAMS: webhook-id, webhook-timestamp or webhook-signature is absent,
 * malformed, or there twice; RBK_E_TIMEOUT: too old, or ahead; RBK_E_UNAUTHORIZED: no
 * signature is of these keys; RBK_E_TOO_LARGE: more than 32 signatures; RBK_E_CONFIG: a
 * key is malformed; RBK_E_INVAL: `now` is no time; RBK_E_NOMEM. `err` (may be NULL) tells
 * more, and never holds a secret. Keeps nothing; any thread. */
RBK_API int rbk_webhook_verify(const rbk_webhook *w, rbk_error *err);

/* --- Modules ------------------------------------------------------------------- */

#define RBK_MODULE_ABI 2 /* 2: rbk_method has schemas */

typedef struct rbk_module rbk_module;

/* A shared object for `module=` exports this function. It adds its methods with
 * rbk_module_method() and returns 0, or a negative number to refuse. Runs once, before
 * the server starts, on the thread that starts it. */
#define RBK_MODULE_INIT ringback_module_init
/* 0, or negative: the server does not start, and says why. `abi` is RBK_MODULE_ABI; one of another
 * ABI is refused. */
RBK_API int rbk_module_add(rbk_module *m, const rbk_method *method, unsigned abi);
/* What modules of ABI 1 call; it refuses them. Source that says rbk_module_method() is right once
 * it is compiled again. */
RBK_API int rbk_module_method(rbk_module *m, const rbk_method *method);
#define rbk_module_method(module, method) rbk_module_add((module), (method), RBK_MODULE_ABI)
/* RBK_MODULE_ABI that the library was built with. */
RBK_API unsigned rbk_module_abi(const rbk_module *m);
typedef int (*rbk_module_init_fn)(rbk_module *m);

#ifdef __cplusplus
}
#endif
#endif
